"""Metrics of one case, summaries by lesion size, and thresholds of the maps as a baseline."""

from .case import METRICS, case_metrics
from .handler import CaseMetrics
from .segmentation import EmptyMaskValues, lesion_metrics
from .strata import STRATA, by_stratum, size_stratum, summarize
from .synthesis import synthesis_metrics
from .thresholds import CLINICAL_RULES, RCBF_30, TMAX_6S, ThresholdRule, best_rule, threshold_grid

__all__ = [
    "CLINICAL_RULES",
    "METRICS",
    "RCBF_30",
    "STRATA",
    "TMAX_6S",
    "CaseMetrics",
    "EmptyMaskValues",
    "ThresholdRule",
    "best_rule",
    "by_stratum",
    "case_metrics",
    "lesion_metrics",
    "size_stratum",
    "summarize",
    "synthesis_metrics",
    "threshold_grid",
]
