"""The cases of a datalist to train on, some with given and some with computed maps."""

from __future__ import annotations

import os
from typing import Any

from ..io.case import MAP_KEYS
from ..io.datalist import load_datalist


def listed_cases(
    datalist: str | os.PathLike[str],
    section: str,
    dataset_dir: str | os.PathLike[str],
    computed_maps: float = 0.0,
    orientation: str | None = None,
) -> list[dict[str, Any]]:
    """Return a section of a datalist, with the given maps of some cases set aside.

    A case without maps has them computed from its series. Maps of different software differ in scale and smoothness:
    a network that is to work with given and with computed ones has to see both.

    Args:
        datalist: the JSON file.
        section: one of its sections.
        dataset_dir: the folder that its paths are relative to.
        computed_maps: the fraction of the cases, in [0, 1], whose maps are computed even if given. The cases are spread
            evenly over the list. Whether the other cases' maps are used is the option ``use_given_maps`` of
            :class:`scripts.transforms.CasePreprocessing`.
        orientation: see :func:`scripts.io.datalist.load_datalist`.

    Raises:
        ValueError: ``computed_maps`` is not in [0, 1].
        DatasetError: see :func:`scripts.io.datalist.load_datalist`.
    """
    if not 0 <= computed_maps <= 1:
        raise ValueError(f"computed_maps: expected a part in [0, 1], got {computed_maps}")
    cases = load_datalist(datalist, section, dataset_dir, orientation=orientation)
    return [
        _without_maps(case) if int((index + 1) * computed_maps) > int(index * computed_maps) else case
        for index, case in enumerate(cases)
    ]


def _without_maps(case: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in case.items() if key not in MAP_KEYS}
