"""Which cases an inference runs on."""

from __future__ import annotations

import os
from typing import Any

from ..io.case import case_name, check_headers
from ..io.datalist import load_datalist
from ..io.gate import orientation_codes


def inference_cases(
    image: str | os.PathLike[str] | None,
    datalist: str | os.PathLike[str],
    section: str,
    dataset_dir: str | os.PathLike[str],
    orientation: str | None = None,
) -> list[dict[str, Any]]:
    """Return the one case of a CT-perfusion series, or else a section of a datalist.

    The headers of the one case are checked at once; those of a datalist when their turn comes, since one bad case does
    not stop the others.

    Args:
        image: path of a 4D series, or None.
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
        case = {"image": os.fspath(image)}
        cases = [{**case, "case": case_name(case)}]
    if orientation is not None:
        cases = [{"orientation": orientation_codes(orientation), **case} for case in cases]
    if image is not None:
        check_headers(cases)
    return cases
