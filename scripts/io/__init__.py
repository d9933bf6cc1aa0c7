"""Files in and out: NIfTI, cases, datalists, safe writing."""

from .atomic import atomic_path, write_json
from .case import MIN_FRAMES, case_name, check_headers, load_case
from .datalist import SECTIONS, load_datalist, write_datalist
from .errors import CaseError, DatasetError
from .nifti import Volume, frame_interval_s, read_nifti, write_nifti
from .splits import PAPER_COUNTS, k_folds, split_cases

__all__ = [
    "MIN_FRAMES",
    "PAPER_COUNTS",
    "SECTIONS",
    "CaseError",
    "DatasetError",
    "Volume",
    "atomic_path",
    "case_name",
    "check_headers",
    "frame_interval_s",
    "k_folds",
    "load_case",
    "load_datalist",
    "read_nifti",
    "split_cases",
    "write_datalist",
    "write_json",
    "write_nifti",
]
