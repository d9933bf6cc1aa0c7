import pytest

from scripts.io.neighboring_files import with_companions
from scripts.transforms import LoadCased


@pytest.fixture
def studies(tmp_path):
    """A folder as MONAI Label keeps it, and beside the series what it does not know of."""
    for file in ("case_1.nii.gz", "dwi/case_1.nii.gz", "cbf/case_1.nii", "tmax/case_2.nii.gz", "label/case_1.nii.gz"):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def test_a_case_without_a_name_gets_what_lies_beside_its_series(studies):
    case = {"image": str(studies / "case_1.nii.gz"), "label": "final.nii.gz"}
    expected = {**case, "cbf": str(studies / "cbf" / "case_1.nii"), "dwi": str(studies / "dwi" / "case_1.nii.gz")}
    assert with_companions(case) == expected


@pytest.mark.parametrize("value", ["elsewhere.nii.gz", 3])
def test_what_a_case_names_stays(value, studies):
    case = {"image": str(studies / "case_1.nii.gz"), "dwi": value}
    assert with_companions(case)["dwi"] == value


@pytest.mark.parametrize("case", [{"case": "case_1"}, {"case": None}])
def test_a_case_of_a_datalist_is_complete(case, studies):
    case = {"image": str(studies / "case_1.nii.gz"), **case}
    assert with_companions(case) == case


def test_a_case_without_a_path_is_left_to_the_check(studies):
    assert with_companions({"image": None}) == {"image": None}


def test_they_are_loaded(write_case, tmp_path):
    written = write_case("case_1")
    (tmp_path / "case_1" / "dwi").mkdir()
    beside = tmp_path / "case_1" / "dwi" / "image.nii"
    beside.write_bytes((tmp_path / "case_1" / "dwi.nii").read_bytes())
    loaded = LoadCased()({"image": written["image"], "label": written["label"]})
    assert loaded["dwi"].meta["filename_or_obj"] == str(beside)
    assert "dwi" not in LoadCased()({"image": written["image"], "case": "case_1"})
