"""Cross-validation: one datalist for each fold, none of which parts a patient's scans."""

import json
from pathlib import Path

from scripts.io import SECTIONS, k_folds, write_datalist


def fold_datalists(datalist: Path, folds: int, out: Path) -> list[Path]:
    """Write a datalist for each fold of the training and validation cases: it validates, and the others train.

    The section `testing` stays as it is, for the networks of all folds alike.

    Args:
        datalist: of the data set; its sections are valid.
        folds: their number, at least 2.
        out: folder for the datalists.

    Raises:
        ValueError: there are more folds than patients, or fewer than two.
    """
    training, validation, testing = (json.loads(datalist.read_text(encoding="utf-8"))[name] for name in SECTIONS)
    cases = [case if isinstance(case, dict) else {"image": case} for case in training + validation]
    parts = k_folds(cases, folds)
    paths = [out / f"{folds}_folds" / f"fold_{index + 1}.json" for index in range(folds)]
    for path, held_out in zip(paths, parts, strict=True):
        others = [case for part in parts if part is not held_out for case in part]
        write_datalist(path, dict(zip(SECTIONS, (others, held_out, testing), strict=True)))
    return paths
