"""The loss of end-to-end training, Wang 2020, Eq. 15."""

from collections.abc import Mapping

import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from ..networks.context_encoder import ContextEncoder
from .reduction import check_image
from .segmentation import SegmentationLoss
from .synthesis import SynthesisLoss


class StrokeLesionLoss(nn.Module):
    """``L = L_s(P, Y) + alpha L_g(I_g, I_d) + beta L_g(F_h, I_d)``.

    The two synthesis terms are averaged over the items with a DWI, and are 0 if no item has one. A network that returns
    only "logits" is trained with L_s alone. A term with weight 0 is logged but not trained: with ``beta=0`` F_h has no
    supervision (F_h* of Table 2).

    Args:
        alpha: weight of the pseudo-DWI's synthesis loss.
        beta: weight of the high-level feature's synthesis loss.
        gamma: weight of the contextual loss within a synthesis loss; 0 leaves it out.
        train_context_encoder: train the parameters of the context encoder with those of the network, as in the paper;
            if False they keep their random initial values. Trained jointly, the encoder can collapse to equal codes for
            all images.
        segmentation: loss of (logits, label, attention map); L_s of Eq. 11 by default.
        pixel: the synthesis losses' loss of pixels, see `SynthesisLoss`; that of Eq. 7 by default.
        context_norm: norm of the contextual loss, 1 or 2, see `SynthesisLoss`.
        auxiliary_weight: weight of the segmentation loss of "auxiliary_logits", if the network returns them; 0.4 is
            from Zhao et al. 2017, "Pyramid scene parsing network".

    Raises:
        ValueError: when a weight is negative or the norm is neither 1 nor 2.

    Attributes:
        context_encoder: Phi_c; give its parameters to the optimizer together with those of the network.
        terms: detached values at the last call: "segmentation" and its parts, such as "cross_entropy" and "dice", and,
            if they apply, "auxiliary", "synthesis" (of I_g) and "feature" (of F_h), without their weights.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 1.0,
        gamma: float = 1.2,
        train_context_encoder: bool = True,
        segmentation: nn.Module | None = None,
        pixel: nn.Module | None = None,
        context_norm: int = 1,
        auxiliary_weight: float = 0.4,
    ) -> None:
        super().__init__()
        if min(alpha, beta, gamma, auxiliary_weight) < 0:
            raise ValueError(
                "auxiliary_weight, alpha, beta and gamma must not be negative, "
                f"got {auxiliary_weight}, {alpha}, {beta} and {gamma}."
            )
        self.alpha = alpha
        self.beta = beta
        self.auxiliary_weight = auxiliary_weight
        self.context_encoder = ContextEncoder().requires_grad_(train_context_encoder)
        self.synthesis = SynthesisLoss(self.context_encoder, gamma, "none", pixel, context_norm)
        self.segmentation = SegmentationLoss() if segmentation is None else segmentation
        self.terms: dict[str, Tensor] = {}

    def forward(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Scalar loss of a batch.

        Args:
            outputs: "logits" (N, 2, H, W) and, if the network returns them, "auxiliary_logits" (N, 2, H, W),
                "pseudo_dwi" and "high_level_feature", each (N, 1, H, W).
            targets: "label" (N, 1, H, W) with 0 and 1; optionally "attention", the map A of Eq. 9 (N, 1, H, W), without
                which all pixels have the same weight; "dwi" (N, 1, H, W); "has_dwi" (N,), true for items with a DWI;
                default: all.

        Raises:
            ValueError: when an entry is missing or the shapes do not fit.
        """
        targets = {name: _plain(tensor) for name, tensor in targets.items() if isinstance(tensor, Tensor)}
        for name, entries, key in (("outputs", outputs, "logits"), ("targets", targets, "label")):
            if key not in entries:
                raise ValueError(f"{name} must have the entry {key!r}, got {sorted(entries)}.")
        attention = targets.get("attention")
        loss = self.segmentation(outputs["logits"], targets["label"], attention)
        self.terms = {"segmentation": loss.detach(), **getattr(self.segmentation, "terms", {})}
        if "auxiliary_logits" in outputs:
            auxiliary = self.segmentation(outputs["auxiliary_logits"], targets["label"], attention)
            self.terms["auxiliary"] = auxiliary.detach()
            loss = loss + self.auxiliary_weight * auxiliary
        for name, key, weight in (
            ("synthesis", "pseudo_dwi", self.alpha),
            ("feature", "high_level_feature", self.beta),
        ):
            if key in outputs and "dwi" in targets:
                with torch.set_grad_enabled(weight > 0 and torch.is_grad_enabled()):
                    term = self._synthesis_term(outputs[key], targets["dwi"], targets.get("has_dwi"), attention)
                self.terms[name] = term.detach()
                loss = loss + weight * term if weight > 0 else loss
        return loss

    def _synthesis_term(self, image: Tensor, dwi: Tensor, has_dwi: Tensor | None, attention: Tensor | None) -> Tensor:
        """Mean of Eq. 6 over the items that have a DWI."""
        check_image("dwi", dwi, image, image.shape[1])
        if has_dwi is not None:
            chosen = has_dwi.reshape(-1).to(device=image.device, dtype=torch.bool)
            if len(chosen) != len(image):
                raise ValueError(f"has_dwi must have one value for each of the {len(image)} items, got {len(chosen)}.")
            # Chosen by index rather than multiplied by zero: a missing DWI may hold anything, NaN included.
            image, dwi = image[chosen], dwi[chosen]
            attention = attention[chosen] if attention is not None else None
        # The mean over no item is NaN; the sum of none is 0 and keeps the graph.
        return self.synthesis(image, dwi, attention).mean() if len(image) else image.sum()


def _plain(tensor: Tensor) -> Tensor:
    """The tensor without MONAI's metadata, which would be carried through every operation."""
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
