import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bundle.nnunet.convert import channel_names, write_dataset
from scripts.io import CaseError
from tests.bundle.nnunet.conftest import NAMES

MAPS = ("cbf", "cbv", "mtt", "tmax")
RANGES = {"cbf": 100, "cbv": 8, "mtt": 20, "tmax": 20}  # from 0, as docs/README.md has them
ALL = ("image", *MAPS, "mip")


def convert(folder: Path, dataset_dir: Path, channels=(*MAPS, "mip")) -> Path:
    write_dataset(folder, dataset_dir / "datalist.json", dataset_dir, channels, epochs=3, seed=7)
    return folder / "raw" / "Dataset001_CTP"


def test_every_case_has_a_file_for_each_channel_and_one_for_its_label(tmp_path, dataset_dir):
    raw = convert(tmp_path / "out", dataset_dir, ALL)
    for suffix, sections in (("Tr", ("training", "validation")), ("Ts", ("testing",))):
        names = [name for section in sections for name in NAMES[section]]
        expected = {f"{name}_{channel:04d}.nii.gz" for name in names for channel in range(11)}
        assert {path.name for path in (raw / f"images{suffix}").iterdir()} == expected
        assert {path.name for path in (raw / f"labels{suffix}").iterdir()} == {f"{name}.nii.gz" for name in names}


@pytest.mark.parametrize(("suffix", "name"), [("Tr", "case_0"), ("Tr", "case_1"), ("Ts", "case_4")])
def test_channels_are_the_case_on_its_own_grid(tmp_path, dataset_dir, suffix, name):
    raw = convert(tmp_path / "out", dataset_dir)
    for index, key in enumerate(MAPS):
        source = nib.load(dataset_dir / name / f"{key}.nii")
        channel = nib.load(raw / f"images{suffix}" / f"{name}_{index:04d}.nii.gz")
        np.testing.assert_allclose(channel.get_fdata(), np.clip(source.get_fdata() / RANGES[key], 0, 1), atol=1e-6)
        np.testing.assert_allclose(channel.affine, source.affine, atol=1e-5)
    series = nib.load(dataset_dir / name / "image.nii").get_fdata()
    projection = nib.load(raw / f"images{suffix}" / f"{name}_0004.nii.gz").get_fdata()
    np.testing.assert_allclose(projection, np.clip(series.max(axis=-1) / 160, 0, 1), atol=1e-5)


@pytest.mark.parametrize(("suffix", "name"), [("Tr", "case_1"), ("Ts", "case_3"), ("Ts", "case_4")])
def test_labels_are_the_same_voxels(tmp_path, dataset_dir, suffix, name):
    label = nib.load(convert(tmp_path / "out", dataset_dir) / f"labels{suffix}" / f"{name}.nii.gz")
    source = nib.load(dataset_dir / name / "label.nii")
    assert label.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(label.dataobj), np.asarray(source.dataobj))
    np.testing.assert_allclose(label.affine, source.affine, atol=1e-5)
    assert set(np.unique(label.dataobj)) == {0, 1}


def test_frames_are_six_channels_that_differ(tmp_path, dataset_dir):
    raw = convert(tmp_path / "out", dataset_dir, ("image",))
    frames = [nib.load(raw / "imagesTr" / f"case_0_{index:04d}.nii.gz").get_fdata() for index in range(6)]
    assert all(0 <= frame.min() < frame.max() <= 1 for frame in frames)
    assert not any(np.array_equal(a, b) for a, b in zip(frames, frames[1:], strict=False))


def test_the_description_has_channels_labels_and_the_length_of_the_training(tmp_path, dataset_dir):
    content = json.loads((convert(tmp_path / "out", dataset_dir, ALL) / "dataset.json").read_text())
    assert list(content["channel_names"]) == [str(index) for index in range(11)]
    assert list(content["channel_names"].values())[5:8] == ["frame 6", "cbf", "cbv"]
    assert content["labels"] == {"background": 0, "lesion": 1}
    assert content["numTraining"] == 3
    assert content["file_ending"] == ".nii.gz"
    assert content["schedule"] == {"epochs": 3, "seed": 7, "training_slices": 6, "validation_slices": 3}


def test_the_only_split_is_that_of_the_datalist(tmp_path, dataset_dir):
    convert(tmp_path / "out", dataset_dir)
    split = json.loads((tmp_path / "out" / "preprocessed" / "Dataset001_CTP" / "splits_final.json").read_text())
    assert split == [{"train": NAMES["training"], "val": NAMES["validation"]}]


def test_no_channel_has_a_name_that_nnunet_scales_in_another_way():
    meanings = {"ct", "nonorm", "zscore", "rescale_to_0_1", "rgb_to_0_1"}
    assert not meanings & {name.casefold() for name in channel_names((*ALL, "dwi"))}


def test_a_case_without_a_label_is_named(tmp_path, dataset_dir):
    datalist = dataset_dir / "datalist.json"
    content = json.loads(datalist.read_text())
    del content["testing"][1]["label"]
    datalist.write_text(json.dumps(content))
    with pytest.raises(CaseError, match="case 'case_4', label: expected a file to train or score with, got none"):
        convert(tmp_path / "out", dataset_dir)
