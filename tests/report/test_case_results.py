"""The results of a case: complete, of one series and on one grid, or refused."""

from pathlib import Path

import numpy as np
import pytest

from scripts.io.errors import CaseError
from scripts.io.nifti import write_nifti
from scripts.report.case_results import CaseResults
from tests.report.made_results import LPS, make_results, rewrite


def test_complete_results_are_loaded_from_any_name_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_results(tmp_path)
    results = CaseResults.load(folder)
    assert (results.case, results.folder, results.shape) == ("case_1", folder, (32, 40, 4))
    np.testing.assert_allclose(results.affine, LPS)
    lesion = results.volume("lesion")
    assert lesion is not None
    assert lesion.sum() * 0.03 == pytest.approx(results.record["row"]["lesion_volume_ml"])
    assert results.volume("dwi") is None
    assert results.series() == tmp_path / "case_1_ctp.nii"
    monkeypatch.chdir(folder)
    assert CaseResults.load(Path()).case == "case_1"
    (tmp_path / "elsewhere").mkdir()
    moved = folder.rename(tmp_path / "elsewhere" / "other_name")
    link = tmp_path / "case_1"
    link.symlink_to(moved)
    assert CaseResults.load(link).case == "case_1"  # the files have the name of the link


def test_what_is_not_complete_is_refused(tmp_path: Path) -> None:
    folder = make_results(tmp_path)
    (folder / "case_1_result.json").unlink()
    with pytest.raises(CaseError, match="case 'case_1', results .*: expected complete results"):
        CaseResults.load(folder)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"case": "case_1", "series": 3}'])
def test_a_damaged_summary_is_a_clear_error(tmp_path: Path, text: str) -> None:
    folder = make_results(tmp_path)
    (folder / "summary.json").write_text(text)
    with pytest.raises(CaseError, match="case 'case_1', summary .*expected a summary of perfusion maps"):
        CaseResults.load(folder)


def test_maps_of_another_series_are_refused(tmp_path: Path) -> None:
    folder = make_results(tmp_path)
    rewrite(folder / "summary.json", series={"path": "x", "sha256": "1" * 64})
    with pytest.raises(CaseError, match="expected maps of the series that was segmented"):
        CaseResults.load(folder)


def test_maps_without_their_summary_are_not_complete(tmp_path: Path) -> None:
    folder = make_results(tmp_path)
    (folder / "summary.json").unlink()
    results = CaseResults.load(folder)
    assert results.summary is None
    assert results.volume("tmax") is None
    assert results.volume("probability") is not None


def test_an_image_on_another_grid_is_refused(tmp_path: Path) -> None:
    folder = make_results(tmp_path)
    write_nifti(folder / "case_1_tmax.nii.gz", np.zeros((32, 40, 3)), LPS)
    with pytest.raises(CaseError, match=r"tmax .*expected the grid of the lesion \(32, 40, 4\), got \(32, 40, 3\)"):
        CaseResults.load(folder).volume("tmax")


def test_a_series_that_has_changed_is_not_that_of_the_results(tmp_path: Path) -> None:
    folder = make_results(tmp_path)
    results = CaseResults.load(folder)
    (tmp_path / "case_1_ctp.nii").write_bytes(b"other")
    assert results.series() is None
    rewrite(folder / "case_1_result.json", series=None)
    rewrite(folder / "summary.json", series=None)
    assert CaseResults.load(folder).series() is None
