"""What a request to MONAI Label's server has that a case of a datalist has not: options, and a client to answer."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any

from monai.transforms import Transform
from monai.utils import optional_import

from ..io.case import MAP_KEYS, SERIES_KEY, case_name
from ..io.errors import CaseError, DatasetError
from ..io.frame_times import INTERVAL_KEY, TIMES_KEY
from .case_dataset import root_error

UNPROCESSABLE = 422
"""The HTTP status of a request that is understood and cannot be fulfilled, such as one with a 3D image."""


class MonaiLabelCase(Transform):
    """Preprocess what a client of MONAI Label asks to infer, and tell the client what is wrong with it.

    MONAI Label hands the request itself to the ``pre_transforms`` of ``configs/inference.json``: ``image``, the path of
    the series, and the parameters that the client sent. Of these the paths of maps and the frame times (``dt_s`` or
    ``times``, the path of a file) become part of the case; an empty one, such as an option that was left blank in 3D
    Slicer, is none. Maps are used if the request names one, or sets ``use_given_maps``. The parameters that MONAI Label
    writes into ``displayable_configs`` are checked here, before the config is evaluated: a string could be an
    expression.

    The server answers "Internal Server Error" to every exception but FastAPI's own, so that the message of a
    :class:`scripts.io.CaseError` would end in the server's log. It is raised as FastAPI's where there is one.

    Args:
        preprocessing: the preprocessing of a case.

    The output is the request with the preprocessed case in it, and ``result``, what goes back to the client beside the
    mask: the ``warnings`` of the preprocessing.

    Raises:
        HTTPException: of FastAPI: a parameter or a file of the case is not what it should be.
        CaseError: the same, without FastAPI.
        FileNotFoundError: a file is missing, without FastAPI.
    """

    def __init__(self, preprocessing: Callable[[Mapping[str, Any]], Mapping[str, Any]]):
        self.preprocessing = preprocessing

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the request ``data`` with the network's ``image`` in it."""
        try:
            check_options(data)
            output = {**data, **self.preprocessing(requested_case(data))}
        except (RuntimeError, ValueError, FileNotFoundError) as error:
            cause = root_error(error)
            if isinstance(cause, (CaseError, DatasetError, FileNotFoundError)):
                raise for_client(cause) from error
            raise
        return {**output, "result": {"warnings": output["warnings"]}}


def requested_case(request: Mapping[str, Any]) -> dict[str, Any]:
    """The case of a request: its files, its frame times, and whether its maps are used."""
    stated = {key: value for key, value in request.items() if value not in (None, "")}
    case = {key: stated[key] for key in (SERIES_KEY, *MAP_KEYS, TIMES_KEY) if key in stated}
    if INTERVAL_KEY in stated:
        case[INTERVAL_KEY] = float(stated[INTERVAL_KEY])
    names_a_map = any(key in case for key in MAP_KEYS)
    return {**case, "use_given_maps": bool(stated.get("use_given_maps", False)) or names_a_map}


def check_options(request: Mapping[str, Any]) -> None:
    """Check the parameters of a request that the config shows in ``displayable_configs``.

    Raises:
        CaseError: ``mirror`` or ``use_given_maps`` is neither true nor false, ``min_lesion_ml`` is not a volume,
            ``dt_s`` is not a number, or ``times`` not a text.
    """
    for key in ("mirror", "use_given_maps"):
        if request.get(key, True) not in (True, False):  # 3D Slicer sends 1 and 0
            raise CaseError.of(case_name(request), key, None, "true or false", repr(request[key]))
    min_lesion_ml = request.get("min_lesion_ml", 0)
    if not isinstance(min_lesion_ml, (int, float)) or not 0 <= min_lesion_ml < math.inf:
        raise CaseError.of(case_name(request), "min_lesion_ml", None, "a volume in ml, 0 or more", repr(min_lesion_ml))
    dt_s, times = request.get(INTERVAL_KEY), request.get(TIMES_KEY)
    if dt_s not in (None, "") and not re.fullmatch(r"\d+(\.\d*)?", str(dt_s)):
        raise CaseError.of(case_name(request), INTERVAL_KEY, None, "a time between frames in s, or nothing", repr(dt_s))
    if not isinstance(times, (str, NoneType)):
        raise CaseError.of(case_name(request), TIMES_KEY, None, "the path of a file, or nothing", repr(times))


def for_client(error: Exception) -> Exception:
    """The exception that FastAPI turns into a message to the client; without FastAPI, ``error`` itself."""
    http_exception, available = optional_import("fastapi", name="HTTPException")
    return http_exception(status_code=UNPROCESSABLE, detail=str(error)) if available else error
