"""Adversarial losses of a synthesized DWI: the least squares of Mao et al. 2017 (LSGAN), which Wang 2020 used.

They take the output of a multi-scale discriminator: a list of logits, one tensor per scale. For an empty list the loss
is 0 and has no gradient.
"""

from collections.abc import Sequence

import torch
from monai.losses import PatchAdversarialLoss
from torch import Tensor, nn


class _LeastSquares(nn.Module):
    """Mean squared distance of the logits of all scales from their target."""

    def __init__(self) -> None:
        super().__init__()
        # Mao et al. give the logits to the loss as they are; MONAI's default is a leaky ReLU in between.
        self.distance = PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)

    def judge(self, logits: Sequence[Tensor], real: bool, train_discriminator: bool) -> Tensor:
        """Mean over the scales of the distance of ``logits`` from 1, if they are to be ``real``, or from 0."""
        if len(logits) == 0:
            return torch.zeros((), requires_grad=True)  # an engine calls ``backward`` on it
        return self.distance(list(logits), target_is_real=real, for_discriminator=train_discriminator)


class GeneratorLoss(_LeastSquares):
    """``weight * mean((D(I_g) - 1)^2)``: the generator is rewarded if the discriminator takes its images for real.

    Args:
        weight: weight relative to the other losses of the generator.

    Raises:
        ValueError: when ``weight`` is negative.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"weight must not be negative, got {weight}.")
        self.weight = weight

    def forward(self, fake_logits: Sequence[Tensor]) -> Tensor:
        """Scalar loss of the discriminator's logits of synthesized images, one tensor (N, 1, h, w) a scale."""
        return self.weight * self.judge(fake_logits, real=True, train_discriminator=False)


class DiscriminatorLoss(_LeastSquares):
    """``mean((D(I_d) - 1)^2) / 2 + mean(D(I_g)^2) / 2``: the discriminator separates real from synthesized images."""

    def forward(self, real_logits: Sequence[Tensor], fake_logits: Sequence[Tensor]) -> Tensor:
        """Scalar loss of the logits of real and of synthesized images, one tensor (N, 1, h, w) a scale each."""
        real = self.judge(real_logits, real=True, train_discriminator=True)
        fake = self.judge(fake_logits, real=False, train_discriminator=True)
        return (real + fake) / 2
