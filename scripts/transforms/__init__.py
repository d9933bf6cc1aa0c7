"""Transforms, in array and dictionary form, and the preprocessing that they compose."""

from .at_frame_times import AtFrameTimesd
from .attention_map import LesionAttentionMap, LesionAttentionMapd
from .load_case import LoadCased
from .perfusion_interval import PerfusionCrop, PerfusionCropd, find_perfusion_interval
from .preprocessing import CasePreprocessing
from .resample_in_plane import ResampleInPlane, ResampleInPlaned
from .split_prediction import SplitPredictiond
from .temporal_mip import TemporalMIP, TemporalMIPd
from .temporal_resample import TemporalResample, TemporalResampled

__all__ = [
    "AtFrameTimesd",
    "CasePreprocessing",
    "LesionAttentionMap",
    "LesionAttentionMapd",
    "LoadCased",
    "PerfusionCrop",
    "PerfusionCropd",
    "ResampleInPlane",
    "ResampleInPlaned",
    "SplitPredictiond",
    "TemporalMIP",
    "TemporalMIPd",
    "TemporalResample",
    "TemporalResampled",
    "find_perfusion_interval",
]
