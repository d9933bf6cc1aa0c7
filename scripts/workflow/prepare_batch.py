"""How an engine takes its input and its targets from a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.engines import PrepareBatch

#: What :class:`scripts.losses.StrokeLesionLoss` compares the networks' outputs with.
TARGETS = ("label", "dwi", "has_dwi", "attention")


class PrepareTraining(PrepareBatch):
    """Give the network ``image`` and the loss a dict of ``label``, ``dwi``, ``has_dwi`` and ``attention``."""

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return (image, targets) on ``device``, as plain tensors."""

        def to_device(tensor: torch.Tensor) -> torch.Tensor:
            plain = tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor
            return plain.to(device=device, non_blocking=non_blocking, **kwargs)

        return to_device(batchdata["image"]), {key: to_device(batchdata[key]) for key in TARGETS if key in batchdata}
