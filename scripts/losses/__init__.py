"""Losses of Wang 2020 (Eq. 6-8 and 11-15)."""

from .segmentation import (
    HardnessAwareGeneralizedDiceLoss,
    SegmentationLoss,
    WeightedCrossEntropyLoss,
    hardness_aware_generalized_dice_loss,
    weighted_cross_entropy_loss,
)
from .stroke_lesion_loss import StrokeLesionLoss
from .synthesis import ContextualLoss, SynthesisLoss, WeightedL2Loss, weighted_l2_loss

__all__ = [
    "ContextualLoss",
    "HardnessAwareGeneralizedDiceLoss",
    "SegmentationLoss",
    "StrokeLesionLoss",
    "SynthesisLoss",
    "WeightedCrossEntropyLoss",
    "WeightedL2Loss",
    "hardness_aware_generalized_dice_loss",
    "weighted_cross_entropy_loss",
    "weighted_l2_loss",
]
