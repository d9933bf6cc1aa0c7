"""Perfusion maps from a CT-perfusion series: arterial input, deconvolution, quality control, clinical reading."""

from .arterial_input import ArterialInput, find_arterial_input, given_arterial_input
from .brain import brain_mask
from .deconvolution import PerfusionMaps, deconvolve
from .given_maps import check_given_maps
from .maps import PerfusionVolumes, perfusion_maps
from .motion import correct_motion
from .quality import QualityWarning, check_maps, check_quality, check_reference, check_series
from .reading import Reading, ReadingThresholds, read_maps
from .transform import PerfusionMapsd

__all__ = [
    "ArterialInput",
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
