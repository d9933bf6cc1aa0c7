"""Cases as nnU-Net wants them: one file a channel, one a label, `dataset.json`, and our sections as its only split.

MONAI's `nnUNetV2Runner` copies the files of a datalist and has nnU-Net in the environment of MONAI. Here the channels
are made from a series and nnU-Net stays in an environment of its own, so the files are all that the two share.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scripts.io import SECTIONS, CaseError, load_datalist, write_json, write_nifti
from scripts.io.orientation import CanonicalFrame
from scripts.transforms import CasePreprocessing
from scripts.transforms.resample_in_plane import ResampleInPlaned
from scripts.transforms.temporal_resample import FRAMES

DATASET, DATASET_ID = "Dataset001_CTP", "1"
RAW, PREPROCESSED, RESULTS = "raw", "preprocessed", "results"
"""The folders that nnU-Net knows by its environment variables."""
ENDING = ".nii.gz"


def channel_names(channels: Sequence[str]) -> list[str]:
    """A name for each channel that the keys of a config make: `image` becomes the frames.

    None is a name to which nnU-Net gives a meaning: such channels it scales to zero mean and unit variance, case by
    case.
    """
    frames = [f"frame {index}" for index in range(1, FRAMES + 1)]
    return [name for key in channels for name in (frames if key == "image" else [key])]


def write_dataset(
    folder: Path, datalist: Path, dataset_dir: Path, channels: Sequence[str], *, epochs: int, seed: int
) -> None:
    """Write the raw data set and its split for nnU-Net.

    The channels are those of :class:`scripts.transforms.CasePreprocessing` on the grid of the case: what brings cases
    to one grid is for nnU-Net to decide.

    Args:
        folder: for `raw` and `preprocessed`, where nnU-Net looks for the split.
        datalist: the cases; all need a label.
        dataset_dir: where they are.
        channels: keys of the config that become channels.
        epochs: how often nnU-Net shall see as many slices as the training cases have.
        seed: of its random numbers. Both go into `dataset.json`, where the trainer finds them.

    Raises:
        CaseError: a case has no label, or is not what it should be.
    """
    raw = folder / RAW / DATASET
    preprocessing = CasePreprocessing(channels=channels)
    cases = {section: load_datalist(datalist, section, dataset_dir) for section in SECTIONS}
    slices = {}
    for section, suffix in zip(SECTIONS, ("Tr", "Tr", "Ts"), strict=True):
        places = raw / f"images{suffix}", raw / f"labels{suffix}"
        slices[section] = sum(convert_case(case, preprocessing, *places) for case in cases[section])
    names = {section: [str(case["case"]) for case in cases[section]] for section in SECTIONS}
    train, validate, _ = SECTIONS
    description = {
        "channel_names": {str(index): name for index, name in enumerate(channel_names(channels))},
        "labels": {"background": 0, "lesion": 1},
        "numTraining": len(names[train]) + len(names[validate]),
        "file_ending": ENDING,
        # The default reader refuses a tilted gantry; this one also brings the slices to one orientation.
        "overwrite_image_reader_writer": "NibabelIOWithReorient",
        "schedule": {
            "epochs": epochs,
            "seed": seed,
            "training_slices": slices[train],
            "validation_slices": slices[validate],
        },
    }
    write_json(raw / "dataset.json", description)
    split = [{"train": names[train], "val": names[validate]}]
    write_json(folder / PREPROCESSED / DATASET / "splits_final.json", split)


def convert_case(case: Mapping[str, Any], preprocessing: CasePreprocessing, images: Path, labels: Path) -> int:
    """Write the channels and the label of a case; returns its number of slices.

    Raises:
        CaseError: the case has no label.
    """
    if case.get("label") is None:
        raise CaseError(f"case '{case['case']}', label: expected a file to train or score with, got none")
    geometry = preprocessing.get_index_of_first(lambda transform: isinstance(transform, ResampleInPlaned))
    item = preprocessing(dict(case), end=geometry)
    label, affine = item["label"].numpy()[0], item["label"].affine.numpy()
    frame = CanonicalFrame(affine, label.shape)
    for index, channel in enumerate(item["image"].numpy()):
        write_nifti(images / f"{case['case']}_{index:04d}{ENDING}", frame.to_stored(channel), affine)
    write_nifti(labels / f"{case['case']}{ENDING}", label, affine, dtype=np.uint8)
    return int(item["image"].shape[3])
