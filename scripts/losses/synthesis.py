"""Losses of a synthesised DWI, Wang 2020, Eq. 6-8.

They have one value for each item, computed in float32 for half-precision images, and reduce it by "mean", "sum" or
"none".
"""

from torch import Tensor, nn

from .reduction import at_least_float32, check_image, reduce_items


def weighted_l2_loss(
    prediction: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Mean of squares of ``A (I_g - I_d)`` (Eq. 7).

    Args:
        prediction: synthesised image I_g, shape (N, 1, H, W).
        target: true image I_d, shape (N, 1, H, W).
        weight: attention map A, shape (N, 1, H, W); None for 1 everywhere.
        reduction: "mean", "sum" or "none" over the items.

    Raises:
        ValueError: when the shapes do not fit.
    """
    check_image("target", target, prediction, prediction.shape[1])
    difference = at_least_float32(prediction) - at_least_float32(target)
    if weight is not None:
        check_image("weight", weight, prediction, prediction.shape[1])
        difference = difference * weight
    return reduce_items(difference.square().flatten(1).mean(1), reduction)


class WeightedL2Loss(nn.Module):
    """Module of :func:`weighted_l2_loss`."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Eq. 7 of ``prediction``, ``target`` and ``weight``, each (N, 1, H, W)."""
        return weighted_l2_loss(prediction, target, weight, self.reduction)


class ContextualLoss(nn.Module):
    """Mean absolute difference of two images' codes by an encoder (Eq. 8).

    Args:
        encoder: Phi_c, which maps (N, 1, H, W) to (N, K).
        reduction: "mean", "sum" or "none" over the items.
    """

    def __init__(self, encoder: nn.Module, reduction: str = "mean") -> None:
        super().__init__()
        self.encoder = encoder
        self.reduction = reduction

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Eq. 8 of ``prediction`` and ``target``, each (N, 1, H, W)."""
        check_image("target", target, prediction, prediction.shape[1])
        difference = self.encoder(at_least_float32(prediction)) - self.encoder(at_least_float32(target))
        return reduce_items(at_least_float32(difference).abs().mean(1), self.reduction)


class SynthesisLoss(nn.Module):
    """L_g, weighted L2 plus ``gamma`` times the contextual loss (Eq. 6).

    Args:
        encoder: Phi_c, which maps (N, 1, H, W) to (N, K).
        gamma: weight of the contextual loss.
        reduction: "mean", "sum" or "none" over the items.
    """

    def __init__(self, encoder: nn.Module, gamma: float = 1.2, reduction: str = "mean") -> None:
        super().__init__()
        self.pixel = WeightedL2Loss(reduction)
        self.context = ContextualLoss(encoder, reduction)
        self.gamma = gamma

    def forward(self, prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Eq. 6 of ``prediction``, ``target`` and ``weight``, each (N, 1, H, W)."""
        return self.pixel(prediction, target, weight) + self.gamma * self.context(prediction, target)
