"""Which cases an inference runs on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..io.case import check_headers
from ..io.datalist import load_datalist
from ..io.gate import orientation_codes
from ..io.given_cases import given_cases


def inference_cases(
    image: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None,
    datalist: str | os.PathLike[str],
    section: str,
    dataset_dir: str | os.PathLike[str],
    orientation: str | None = None,
) -> list[dict[str, Any]]:
    """Return the cases of CT-perfusion series, or else a section of a datalist.

    The headers of one case are checked at once; those of several when their turn comes, since one bad case does not
    stop the others.

    Args:
        image: one or more paths of 4D series, folders or datalists, see :func:`scripts.io.given_cases.given_cases`;
            or None.
        datalist: JSON file, read where ``image`` is None.
        section: its section.
        dataset_dir: the folder that its paths are relative to.
        orientation: where the voxel axes of cases point to whose headers do not tell, such as ``"RAS"``.

    Raises:
        FileNotFoundError: a file is not there.
        DatasetError: a file is not what it should be.
    """
    if image is None:
        cases = load_datalist(datalist, section, dataset_dir, check=False)
    else:
        cases = given_cases([image] if isinstance(image, (str, os.PathLike)) else image, section)
    if orientation is not None:
        cases = [{"orientation": orientation_codes(orientation), **case} for case in cases]
    if image is not None and len(cases) == 1:
        check_headers(cases)
    return cases
