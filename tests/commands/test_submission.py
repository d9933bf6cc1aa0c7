"""`ctp-stroke segment --submission isles2018`: the files that the organizers ask for."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts.cli import main
from scripts.datasets.submission import isles2018_files
from scripts.io.errors import DatasetError

NAME = "SMIR.Brain.XX.O.CT_MTT.{}.nii"


@pytest.fixture
def datalist(write_case, tmp_path) -> Path:
    """Two cases whose MTT maps have names of ISLES 2018."""
    entries = []
    for index, number in enumerate((345561, 345577)):
        case = write_case(f"case_{index}", shape=(32, 32, 3), seed=index)
        renamed = Path(case["mtt"]).with_name(NAME.format(number))
        shutil.move(case["mtt"], renamed)
        files = {key: str(Path(value).relative_to(tmp_path)) for key, value in case.items() if key != "case"}
        entries.append({"case": case["case"], **files, "mtt": str(renamed.relative_to(tmp_path))})
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps({"testing": entries}))
    return path


def test_masks_under_the_names_of_isles_2018(datalist, tmp_path, capsys):
    out = tmp_path / "out"
    words = [
        "segment",
        str(datalist),
        "--out",
        str(out),
        "--no-mirror",
        "--use-given-maps",
        "--submission",
        "isles2018",
    ]
    assert main(words) == 0
    files = {f"SMIR.my_result.{number}.nii": f"case_{i}" for i, number in enumerate((345561, 345577))}
    assert {path.name for path in (out / "submission").iterdir()} == set(files)
    for name, case in files.items():
        submitted, lesion = nib.load(out / "submission" / name), nib.load(out / case / f"{case}_lesion.nii.gz")
        assert submitted.get_data_dtype() == np.uint8
        assert np.array_equal(submitted.dataobj, lesion.dataobj)
        assert np.array_equal(submitted.affine, lesion.affine)
    shutil.rmtree(out / "submission")
    assert main(words) == 0  # of cases that are complete
    assert len(list((out / "submission").iterdir())) == 2
    assert "complete already" in capsys.readouterr().out


def test_cases_without_an_id_are_refused():
    cases = [{"case": "a"}, {"case": "b", "mtt": "mtt.nii"}, {"case": "c", "mtt": f"x/{NAME.format(7)}"}]
    cases.append({"case": "d", "mtt": f"y/{NAME.format(7)}"})
    with pytest.raises(DatasetError) as error:
        isles2018_files(cases, Path("out"))
    assert [line.split(",")[0] for line in error.value.problems] == ["case 'a'", "case 'b'", "case 'd'"]
    assert "expected an ID of its own, got that of 'c'" in error.value.problems[2]
    assert isles2018_files(cases[2:3], Path("out")) == {"c": Path("out/SMIR.my_result.7.nii")}
