"""Perfusion maps from a CT-perfusion series: arterial input, deconvolution, quality control, clinical reading."""

from .deconvolution import PerfusionMaps, deconvolve

__all__ = ["PerfusionMaps", "deconvolve"]
