"""The former place of `bundle.provenance`, `bundle.data` and `bundle.run`; import from those."""

from .data import DATALIST, PHANTOM, describe_data, ensure_data, load_cases
from .provenance import ROOT, command_line, commit, machine
from .run import WEIGHTS, check_weights, run_workflow

__all__ = [
    "DATALIST", "PHANTOM", "ROOT", "WEIGHTS", "check_weights", "command_line", "commit", "describe_data",
    "ensure_data", "load_cases", "machine", "run_workflow",
]  # fmt: skip
