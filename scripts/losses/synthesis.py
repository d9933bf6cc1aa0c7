"""Losses of a synthesized DWI, Wang 2020, Eq. 6-8 and Table 1.

They compute one value for each item, in float32 also for half-precision images, and reduce it by "mean", "sum" or
"none".
"""

from torch import Tensor, nn

from .reduction import at_least_float32, check_image, reduce_items, with_attention


def weighted_l2_loss(
    prediction: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Mean of squares of ``A (I_g - I_d)`` (Eq. 7).

    Args:
        prediction: synthesized image I_g, shape (N, 1, H, W).
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
    """Module of `weighted_l2_loss`."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Eq. 7 of ``prediction``, ``target`` and ``weight``, each (N, 1, H, W)."""
        return weighted_l2_loss(prediction, target, weight, self.reduction)


class ContextualLoss(nn.Module):
    """Mean absolute difference of the codes of two images (Eq. 8).

    Args:
        encoder: Phi_c, which maps (N, 1, H, W) to (N, K).
        reduction: "mean", "sum" or "none" over the items.
        norm: 1 for the absolute difference (Eq. 8, l_h1 of Table 1); 2 for its square (l_h2).

    Raises:
        ValueError: when ``norm`` is neither.
    """

    def __init__(self, encoder: nn.Module, reduction: str = "mean", norm: int = 1) -> None:
        super().__init__()
        if norm not in (1, 2):
            raise ValueError(f"norm must be 1 or 2, got {norm}.")
        self.encoder = encoder
        self.reduction = reduction
        self.norm = norm

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Eq. 8 of ``prediction`` and ``target``, each (N, 1, H, W)."""
        check_image("target", target, prediction, prediction.shape[1])
        difference = self.encoder(at_least_float32(prediction)) - self.encoder(at_least_float32(target))
        difference = at_least_float32(difference)
        return reduce_items((difference.abs() if self.norm == 1 else difference.square()).mean(1), self.reduction)


class SynthesisLoss(nn.Module):
    """L_g, weighted L2 plus ``gamma`` times the contextual loss (Eq. 6), and the other losses of Table 1.

    Args:
        encoder: Phi_c, which maps (N, 1, H, W) to (N, K).
        gamma: weight of the contextual loss; 0 leaves it out.
        reduction: "mean", "sum" or "none" over the items.
        pixel: another pixel loss with its own reduction, a module of (prediction, target) or of (prediction, target,
            weight), such as ``torch.nn.L1Loss()`` for L1 and ``torch.nn.MSELoss()`` for L2.
        context_norm: 1 for l_h1 of Table 1, 2 for l_h2.

    Raises:
        ValueError: when ``context_norm`` is neither.
    """

    def __init__(
        self,
        encoder: nn.Module,
        gamma: float = 1.2,
        reduction: str = "mean",
        pixel: nn.Module | None = None,
        context_norm: int = 1,
    ) -> None:
        super().__init__()
        self.pixel = WeightedL2Loss(reduction) if pixel is None else pixel
        self.context = ContextualLoss(encoder, reduction, context_norm)
        self.gamma = gamma

    def forward(self, prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Eq. 6 of ``prediction``, ``target`` and ``weight``, each (N, 1, H, W)."""
        check_image("target", target, prediction, prediction.shape[1])
        pixel = with_attention(self.pixel, at_least_float32(prediction), at_least_float32(target), weight)
        return pixel if self.gamma == 0 else pixel + self.gamma * self.context(prediction, target)
