import sys

import pytest

from scripts.cli import main
from scripts.phantom.anatomy import load_template

LINE = r"need the package nilearn: pip install 'ctp-stroke-lesion-segmentation\[phantom\]'"


@pytest.fixture
def without_nilearn(monkeypatch):
    monkeypatch.setitem(sys.modules, "nilearn", None)
    load_template.cache_clear()
    yield
    load_template.cache_clear()


def test_the_extra_is_named(without_nilearn):
    with pytest.raises(ModuleNotFoundError, match=LINE):
        load_template()


def test_the_command_ends_with_one_line(without_nilearn, tmp_path, capsys):
    options = ["--out", str(tmp_path / "data"), "--cases", "1", "--workers", "1", "--matrix", "32"]
    assert main(["phantom", *options]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.endswith("pip install 'ctp-stroke-lesion-segmentation[phantom]'")
