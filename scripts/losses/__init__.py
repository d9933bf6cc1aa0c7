"""Losses of Wang 2020 (Eq. 6-8 and 11-15, Tables 1 and 4) and of Song 2019 and Abulnaga 2018."""

from .adversarial import DiscriminatorLoss, GeneratorLoss
from .segmentation import (
    CrossEntropyLoss,
    HardnessAwareGeneralizedDiceLoss,
    SegmentationLoss,
    WeightedCrossEntropyLoss,
    hardness_aware_generalized_dice_loss,
    weighted_cross_entropy_loss,
)
from .slicewise import SlicewiseLoss
from .stroke_lesion_loss import StrokeLesionLoss
from .synthesis import ContextualLoss, SynthesisLoss, WeightedL2Loss, weighted_l2_loss

__all__ = [
    "ContextualLoss",
    "CrossEntropyLoss",
    "DiscriminatorLoss",
    "GeneratorLoss",
    "HardnessAwareGeneralizedDiceLoss",
    "SegmentationLoss",
    "SlicewiseLoss",
    "StrokeLesionLoss",
    "SynthesisLoss",
    "WeightedCrossEntropyLoss",
    "WeightedL2Loss",
    "hardness_aware_generalized_dice_loss",
    "weighted_cross_entropy_loss",
    "weighted_l2_loss",
]
