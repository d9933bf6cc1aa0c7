"""The loss of the end-to-end training, Wang 2020, Eq. 15."""

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

    Items without a DWI leave the two synthesis terms out: these are averaged over the items that have one, and are 0
    where none has. A network that gives only "logits" is trained with L_s alone.

    Args:
        alpha: weight of the pseudo-DWI's synthesis loss.
        beta: weight of the high-level feature's synthesis loss.
        gamma: weight of the contextual loss within a synthesis loss.
        train_context_encoder: let the context encoder's parameters be trained with the network's, as in the paper; with
            False they keep their random start. Trained jointly it can collapse to equal codes for all images.
        segmentation: loss of (logits, label, attention map); L_s of Eq. 11 by default.

    Attributes:
        context_encoder: Phi_c; give its parameters to the optimiser beside the network's.
        terms: detached values at the last call: "segmentation" and its parts "cross_entropy" and "dice", and, where
            they apply, "synthesis" (of I_g) and "feature" (of F_h), before alpha and beta.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 1.0,
        gamma: float = 1.2,
        train_context_encoder: bool = True,
        segmentation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if min(alpha, beta, gamma) < 0:
            raise ValueError(f"alpha, beta and gamma must not be negative, got {alpha}, {beta} and {gamma}.")
        self.alpha = alpha
        self.beta = beta
        self.context_encoder = ContextEncoder().requires_grad_(train_context_encoder)
        self.synthesis = SynthesisLoss(self.context_encoder, gamma, reduction="none")
        self.segmentation = SegmentationLoss() if segmentation is None else segmentation
        self.terms: dict[str, Tensor] = {}

    def forward(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Scalar loss of a batch.

        Args:
            outputs: "logits" (N, 2, H, W) and, from a network with synthesis, "pseudo_dwi" and "high_level_feature",
                each (N, 1, H, W).
            targets: "label" (N, 1, H, W) with 0 and 1; optionally "attention", the map A of Eq. 9 (N, 1, H, W), without
                which all pixels weigh the same; "dwi" (N, 1, H, W); "has_dwi" (N,), which items' DWI is real, all by
                default.

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
        if "dwi" not in targets:
            return loss
        for name, key, weight in (
            ("synthesis", "pseudo_dwi", self.alpha),
            ("feature", "high_level_feature", self.beta),
        ):
            if key in outputs:
                term = self._synthesis_term(outputs[key], targets["dwi"], targets.get("has_dwi"), attention)
                self.terms[name] = term.detach()
                loss = loss + weight * term
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
        return self.synthesis(image, dwi, attention).sum() / max(len(image), 1)


def _plain(tensor: Tensor) -> Tensor:
    """The tensor without MONAI's metadata, which would be carried through every operation."""
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
