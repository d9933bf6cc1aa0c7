from pathlib import Path

from bundle.markdown import bullets, page, table, write_text


def test_a_page_leaves_out_what_is_empty(tmp_path: Path) -> None:
    text = page("Title", table(["", "Dice"], [["a", 0.5], ["b", 1]]), "", bullets(["one", "", "two"]))
    assert text == "# Title\n\n|  | Dice |\n| --- | ---: |\n| a | 0.5 |\n| b | 1 |\n\n- one\n- two\n"
    write_text(tmp_path / "new" / "page.md", text)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["page.md"]
    assert (tmp_path / "new" / "page.md").read_text() == text
