"""Perfusion maps from a CT-perfusion series: arterial input, estimate, quality control, clinical reading.

Names are imported when they are first used, so that the command's ``--help`` needs neither torch nor MONAI.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arterial_input import ArterialInput, find_arterial_input, given_arterial_input
    from .brain import brain_mask
    from .cautions import Caution
    from .core_and_mismatch import Reading, read_maps
    from .deconvolution import PerfusionMaps, deconvolve
    from .given_maps import check_given_maps
    from .intervals import MapErrors
    from .maps import perfusion_maps
    from .motion import correct_motion
    from .quality import QualityWarning, check_maps, check_quality, check_reference, check_series
    from .thresholds import ReadingThresholds
    from .transform import PerfusionMapsd
    from .volumes import PerfusionVolumes

__all__ = [
    "ArterialInput",
    "Caution",
    "MapErrors",
    "PerfusionMaps",
    "PerfusionMapsd",
    "PerfusionVolumes",
    "QualityWarning",
    "Reading",
    "ReadingThresholds",
    "brain_mask",
    "check_given_maps",
    "check_maps",
    "check_quality",
    "check_reference",
    "check_series",
    "correct_motion",
    "deconvolve",
    "find_arterial_input",
    "given_arterial_input",
    "perfusion_maps",
    "read_maps",
]
_HOMES = {
    "arterial_input": ("ArterialInput", "find_arterial_input", "given_arterial_input"),
    "brain": ("brain_mask",),
    "cautions": ("Caution",),
    "deconvolution": ("PerfusionMaps", "deconvolve"),
    "intervals": ("MapErrors",),
    "given_maps": ("check_given_maps",),
    "maps": ("perfusion_maps",),
    "motion": ("correct_motion",),
    "quality": ("QualityWarning", "check_maps", "check_quality", "check_reference", "check_series"),
    "core_and_mismatch": ("Reading", "read_maps"),
    "thresholds": ("ReadingThresholds",),
    "transform": ("PerfusionMapsd",),
    "volumes": ("PerfusionVolumes",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
