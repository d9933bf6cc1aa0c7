"""Cross-validation: one datalist for each fold, none of which parts a patient's scans."""

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from scripts.io import SECTIONS, k_folds, load_datalist, write_datalist
from scripts.io.case import FILE_KEYS


def fold_datalists(datalist: Path, dataset_dir: Path, folds: int, out: Path) -> list[Path]:
    """Write a datalist for each fold of the training and validation cases: it validates, and the others train.

    The section `testing` stays as it is, for the networks of all folds alike.

    Args:
        datalist: of the data set.
        dataset_dir: the folder that its paths are relative to.
        folds: their number, at least 2.
        out: folder for the datalists.

    Raises:
        ValueError: there are more folds than patients, or fewer than two.
        DatasetError: the datalist is not what it should be.
    """
    training, validation, testing = (
        [_relative(case, dataset_dir) for case in load_datalist(datalist, section, dataset_dir, check=False)]
        for section in SECTIONS
    )
    parts = k_folds(training + validation, folds)
    paths = []
    for index, held_out in enumerate(parts):
        others = [case for part in parts if part is not held_out for case in part]
        path = out / f"{folds}_folds" / f"fold_{index + 1}.json"
        write_datalist(path, dict(zip(SECTIONS, (others, held_out, testing), strict=True)))
        paths.append(path)
    return paths


def _relative(case: Mapping[str, Any], dataset_dir: Path) -> dict[str, Any]:
    root = dataset_dir.absolute()
    return {
        key: PurePath(value).relative_to(root).as_posix() if key in FILE_KEYS else value for key, value in case.items()
    }
