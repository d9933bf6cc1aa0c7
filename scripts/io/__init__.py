"""Files in and out: NIfTI, cases, datalists, the ISLES 2018 folder layout."""

from .atomic import atomic_path, write_json
from .case import MIN_FRAMES, case_name, check_headers, load_case
from .errors import CaseError, DatasetError
from .nifti import Volume, frame_interval_s, read_nifti, write_nifti

__all__ = [
    "MIN_FRAMES",
    "CaseError",
    "DatasetError",
    "Volume",
    "atomic_path",
    "case_name",
    "check_headers",
    "frame_interval_s",
    "load_case",
    "read_nifti",
    "write_json",
    "write_nifti",
]
