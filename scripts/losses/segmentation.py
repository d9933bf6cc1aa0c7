"""Segmentation losses of Wang 2020, Eq. 11-14.

All take logits (N, C, H, W) and a label map (N, 1, H, W) of class indices, or volumes with one more dimension. They
compute one value for each item, independent of the other items, in float32 also for half-precision logits, and reduce
it by "mean", "sum" or "none".
"""

import torch
from monai.networks.utils import one_hot
from torch import Tensor, nn
from torch.nn import functional as F

from .reduction import at_least_float32, check_image, reduce_items, with_attention


def weighted_cross_entropy_loss(
    logits: Tensor, label: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Cross entropy averaged over an item's pixels with the weights A (Eq. 12).

    Args:
        logits: shape (N, C, H, W).
        label: class indices, shape (N, 1, H, W).
        weight: non-negative weight map A, shape (N, 1, H, W); None for a plain mean.
        reduction: "mean", "sum" or "none" over the items.

    Raises:
        ValueError: when the shapes do not fit.
    """
    check_image("label", label, logits, 1)
    entropy = F.cross_entropy(at_least_float32(logits), label[:, 0].long(), reduction="none")
    if weight is None:
        return reduce_items(entropy.mean(_spatial(entropy, 1)), reduction)
    check_image("weight", weight, logits, 1)
    weight = weight[:, 0].to(entropy.dtype)
    axes = _spatial(entropy, 1)
    total = weight.sum(axes).clamp_min(torch.finfo(entropy.dtype).tiny)  # an item with no weight has loss 0
    return reduce_items((weight * entropy).sum(axes) / total, reduction)


def hardness_aware_generalized_dice_loss(
    logits: Tensor, label: Tensor, reduction: str = "mean", smooth: float = 1e-5
) -> Tensor:
    """Negative logarithm of the generalized Dice score (Eq. 13-14): ``-log(1 - L_GD)``.

    The class weights are ``m_c = 1 / (number of pixels of the class)^2`` of each item. A class that is absent from the
    item gets the largest weight of the present classes, as in MONAI's ``GeneralizedDiceLoss``; without a lesion the
    loss is therefore ``-log(1 - mean lesion probability)``. MONAI's loss is not used, because its smoothing is not
    negligible compared with weights of 1e-9, and ``1 - L_GD`` rounds to 0 for small lesions.

    Args:
        logits: shape (N, C, H, W).
        label: class indices, shape (N, 1, H, W).
        reduction: "mean", "sum" or "none" over the items.
        smooth: added to numerator and denominator, in pixels of the class with the largest weight; limits the loss.

    Raises:
        ValueError: when the shapes do not fit.
    """
    check_image("label", label, logits, 1)
    probabilities = torch.softmax(at_least_float32(logits), 1)
    truth = one_hot(label, num_classes=logits.shape[1], dtype=probabilities.dtype)
    axes = _spatial(truth, 2)
    pixels = truth.sum(axes)
    # m_c relative to the largest one, that of the item's smallest class.
    smallest = pixels.masked_fill(pixels == 0, torch.inf).amin(1, keepdim=True)
    class_weight = (smallest / pixels.clamp_min(1.0)).clamp_max(1.0).square().masked_fill(pixels == 0, 1.0)
    overlap = (class_weight * (truth * probabilities).sum(axes)).sum(1)
    size = (class_weight * (pixels + probabilities.sum(axes))).sum(1)
    return reduce_items(torch.log(size + smooth) - torch.log(2.0 * overlap + smooth), reduction)


def _spatial(tensor: Tensor, first: int) -> tuple[int, ...]:
    """The axes of ``tensor`` from ``first`` on."""
    return tuple(range(first, tensor.dim()))


class CrossEntropyLoss(nn.Module):
    """Cross entropy averaged over the pixels of an item with equal weights (L_CE of Table 4)."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Cross entropy of ``logits`` (N, C, H, W) and ``label`` (N, 1, H, W)."""
        return weighted_cross_entropy_loss(logits, label, None, self.reduction)


class WeightedCrossEntropyLoss(nn.Module):
    """Module of `weighted_cross_entropy_loss`."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, logits: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        """Eq. 12 of ``logits`` (N, C, H, W), ``label`` and ``weight`` (N, 1, H, W)."""
        return weighted_cross_entropy_loss(logits, label, weight, self.reduction)


class HardnessAwareGeneralizedDiceLoss(nn.Module):
    """Module of `hardness_aware_generalized_dice_loss`."""

    def __init__(self, reduction: str = "mean", smooth: float = 1e-5) -> None:
        super().__init__()
        self.reduction = reduction
        self.smooth = smooth

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Eq. 13 of ``logits`` (N, C, H, W) and ``label`` (N, 1, H, W)."""
        return hardness_aware_generalized_dice_loss(logits, label, self.reduction, self.smooth)


class SegmentationLoss(nn.Module):
    """A sum of segmentation losses; by default L_s, weighted cross entropy plus hardness-aware Dice (Eq. 11).

    MONAI's losses can be used with these settings:

    - ``GeneralizedDiceLoss(softmax=True, to_onehot_y=True, smooth_nr=0, smooth_dr=0)``, L_GD of Eq. 14. Its default
      smoothing of 1e-5 reduces the gradient of a 256 x 256 slice without a lesion by a quarter. Without smoothing its
      ratio is never 0 / 0, because the probabilities of a slice sum to its size.
    - ``DiceLoss(softmax=True, to_onehot_y=True, include_background=False, squared_pred=True, batch=True)``, L_DICE of
      Milletari et al. 2016. Theirs is computed for a volume; the batch replaces it here. For a single slice without a
      lesion the loss would be 1 for any prediction.
    - ``FocalLoss(use_softmax=True, to_onehot_y=True, weight=2.0)`` of Lin et al. 2017, for Abulnaga 2018. It averages
      over the classes, too; the weight, the number of classes, makes it equal to the cross entropy for gamma = 0.

    Args:
        losses: the losses by their name in the log: modules of (logits, label), such as MONAI's with ``to_onehot_y``,
            or of (logits, label, weight), which get the attention map. Default: ``cross_entropy`` and ``dice`` of Eq.
            11.

    Attributes:
        terms: detached values of the losses at the last call, by name, averaged over the items.

    Example:
        >>> SegmentationLoss(cross_entropy=CrossEntropyLoss())(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4))
        tensor(0.6931)
    """

    def __init__(self, **losses: nn.Module) -> None:
        super().__init__()
        self.losses = nn.ModuleDict(
            losses or {"cross_entropy": WeightedCrossEntropyLoss(), "dice": HardnessAwareGeneralizedDiceLoss()}
        )
        self.terms: dict[str, Tensor] = {}

    def forward(self, logits: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        """Scalar loss of ``logits`` (N, C, H, W), ``label`` and ``weight`` (N, 1, H, W)."""
        logits = at_least_float32(logits)
        values = {name: with_attention(loss, logits, label, weight).mean() for name, loss in self.losses.items()}
        self.terms = {name: value.detach() for name, value in values.items()}
        return torch.stack(list(values.values())).sum()
