"""What lies beside a series whose case nobody listed."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .case import LABEL_KEY, SERIES_KEY, VOLUME_KEYS

COMPANION_KEYS = tuple(key for key in VOLUME_KEYS if key != LABEL_KEY)


def with_companions(case: Mapping[str, Any]) -> dict[str, Any]:
    """Add the maps and the DWI that lie beside the series, in folders of their own, to a case that no datalist names.

    MONAI Label knows one image and one label of a case, and takes every file of its studies folder for an image of its
    own; into subfolders it does not look. What else a case has therefore lies in ``<studies>/<key>/``, under the name
    of the series: ``studies/case_1.nii.gz`` and ``studies/dwi/case_1.nii.gz``.

    Args:
        case: case dictionary with paths. One that has its name, as every case of a datalist has, is complete.

    Returns:
        A copy of the case, with those of ``cbf``, ``cbv``, ``mtt``, ``tmax`` and ``dwi`` that it does not name and that
        are there.
    """
    output = dict(case)
    if "case" in case or not isinstance(case.get(SERIES_KEY), str):
        return output
    series = Path(case[SERIES_KEY])
    stem = re.sub(r"\.nii(\.gz)?$", "", series.name, flags=re.IGNORECASE)
    for key in COMPANION_KEYS:
        candidates = [series.parent / key / f"{stem}{ending}" for ending in (".nii.gz", ".nii")]
        found = [str(path) for path in candidates if path.is_file()]
        if found and case.get(key) is None:
            output[key] = found[0]
    return output
