"""Perfusion maps from a CT-perfusion series: arterial input, deconvolution, quality control, clinical reading.

The names below are imported when they are first used: the command's ``--help`` needs none of them.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "ArterialInput": "arterial_input",
    "PerfusionMaps": "deconvolution",
    "PerfusionMapsd": "transform",
    "PerfusionVolumes": "maps",
    "QualityLimits": "quality",
    "QualityWarning": "quality",
    "Reading": "reading",
    "ReadingThresholds": "reading",
    "brain_mask": "brain",
    "check_quality": "quality",
    "correct_motion": "motion",
    "deconvolve": "deconvolution",
    "find_arterial_input": "arterial_input",
    "given_arterial_input": "arterial_input",
    "perfusion_maps": "maps",
    "read_maps": "reading",
}
__all__ = list(_MODULES)  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
