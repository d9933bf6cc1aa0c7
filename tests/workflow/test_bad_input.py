"""Bad input to a workflow: one clear error, and nothing written."""

import csv
import json
import re
import shutil

import nibabel as nib
import numpy as np
import pytest

from tests.conftest import axial_affine


def save(path, array, affine=None):
    nib.save(nib.Nifti1Image(array.astype(np.float32), axial_affine() if affine is None else affine), path)


def series(path):
    return np.asarray(nib.load(path).dataobj, dtype=np.float32)


def missing(case):
    case["image"].unlink()


def truncated(case):
    content = case["image"].read_bytes()
    case["image"].write_bytes(content[: len(content) // 2])


def three_dimensional(case):
    save(case["image"], series(case["image"])[..., 0])


def few_frames(case):
    save(case["image"], series(case["image"])[..., :11])


def not_a_number(case):
    array = series(case["image"])
    array[3, 4, 1, 5] = np.nan
    save(case["image"], array)


def all_zeros(case):
    save(case["image"], np.zeros_like(series(case["image"])))


def map_on_another_grid(case):
    save(case["tmax"], series(case["tmax"])[1:])


def map_elsewhere(case):
    affine = axial_affine()
    affine[0, 3] += 10
    save(case["tmax"], series(case["tmax"]), affine)


def label_of_two(case):
    save(case["label"], series(case["label"]) * 2)


FAULTS = {
    missing: ("image", "expected a file, got nothing there"),
    truncated: ("image", "expected a readable NIfTI file .*truncated"),
    three_dimensional: ("image", r"expected a 4D series \(H, W, D, T\), got 3D"),
    few_frames: ("image", "expected at least 12 frames, got 11"),
    not_a_number: ("image", "expected finite values, got 1 NaN"),
    all_zeros: ("image", "expected a series with contrast, got all zeros"),
    map_on_another_grid: ("tmax", r"expected the grid \(32, 32, 3\) of 'image', got \(31, 32, 3\)"),
    map_elsewhere: ("tmax", "expected the affine of 'image'.* up to 10 mm away"),
    label_of_two: ("label", r"expected only 0 and 1 \(1 = lesion\), got also 2"),
}


def causes(error):
    """The messages of an exception and of its causes, the first cause last."""
    messages = [str(error)]
    while error.__cause__ is not None:
        error = error.__cause__
        messages.append(str(error))
    return messages


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("config", ["evaluate", "inference"])
def test_the_error_names_case_file_and_fault(fault, config, workflow, dataset_dir):
    fault({path.stem: path for path in (dataset_dir / "case_4").iterdir()})
    key, expected = FAULTS[fault]
    with pytest.raises((RuntimeError, ValueError, FileNotFoundError)) as caught:
        workflow(config, workflow_type="infer", use_given_maps=True, **{"checkpoint_loader#_disabled_": True}).run()
    message = causes(caught.value)[-1]
    assert f"case 'case_4', {key} '{dataset_dir / 'case_4' / (key + '.nii')}': " in message
    assert message.count("\n") == 0
    assert re.search(expected, message), message
    assert not list((dataset_dir / "eval").rglob("*case_4*"))
    tables = list((dataset_dir / "eval").rglob("*.csv"))
    if config == "evaluate":  # means over fewer cases than asked for would be wrong
        assert not tables
    else:  # one bad case does not stop those after it
        with tables[0].open(encoding="utf-8") as stream:
            assert [row["case"] for row in csv.DictReader(stream)] == ["case_5"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_training_names_it_too_and_saves_nothing(fault, workflow, dataset_dir):
    fault({path.stem: path for path in (dataset_dir / "case_0").iterdir()})
    with pytest.raises((RuntimeError, ValueError, FileNotFoundError)) as caught:
        workflow("train").run()
    assert any(f"case 'case_0', {FAULTS[fault][0]} " in message for message in causes(caught.value))
    assert not (dataset_dir / "models").exists()


def rewrite(dataset_dir, change):
    path = dataset_dir / "datalist.json"
    sections = json.loads(path.read_text())
    change(sections)
    path.write_text(json.dumps(sections))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda sections: sections["testing"].clear(),
            "expected a list of cases in section 'testing', got an empty one",
        ),
        (lambda sections: sections.pop("testing"), "expected a section 'testing'"),
        (lambda sections: sections["testing"][0].update(image="../secret.nii"), "expected a path inside dataset_dir"),
        (lambda sections: sections["testing"][0].update(image="/etc/hostname"), "expected a path inside dataset_dir"),
    ],
)
def test_a_bad_datalist_is_named(change, expected, workflow, dataset_dir):
    rewrite(dataset_dir, change)
    with pytest.raises(RuntimeError) as caught:
        workflow("inference", workflow_type="infer", **{"checkpoint_loader#_disabled_": True}).run()
    assert expected in causes(caught.value)[-1]
    assert not (dataset_dir / "eval").exists()


def test_without_data_the_error_tells_the_command_that_makes_them(workflow, dataset_dir):
    shutil.rmtree(dataset_dir)
    with pytest.raises(RuntimeError) as caught:
        workflow("train").run()
    assert "ctp-stroke phantom --out FOLDER --cases 94" in causes(caught.value)[-1]


def test_weights_that_are_not_there_are_named(workflow, dataset_dir):
    with pytest.raises((RuntimeError, FileNotFoundError)) as caught:
        workflow("inference", workflow_type="infer").run()
    assert str(dataset_dir / "models" / "model.pt") in causes(caught.value)[-1]
