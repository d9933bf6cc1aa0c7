"""The loss of one process of several, such that their mean is the loss of all items."""

import torch
from torch import Tensor, distributed

from .stroke_lesion_loss import StrokeLesionLoss


class DistributedStrokeLesionLoss(StrokeLesionLoss):
    """`StrokeLesionLoss`, of which data parallel training takes the mean over the processes.

    That mean is the loss of all their items, provided that each has as many: also for the synthesis terms, which are
    means over the items that have a DWI, and there a process may have more of them than another. In one process it is
    the loss itself.

    Args are those of `StrokeLesionLoss`.
    """

    def _synthesis_term(self, image: Tensor, dwi: Tensor, has_dwi: Tensor | None, attention: Tensor | None) -> Tensor:
        term = super()._synthesis_term(image, dwi, has_dwi, attention)
        return term * _share(len(image) if has_dwi is None else has_dwi.sum(), term)


def _share(items: int | Tensor, like: Tensor) -> Tensor:
    """How many items this process has, relative to the mean over the processes; in the type of ``like``."""
    own = torch.as_tensor(items, dtype=like.dtype, device=like.device)
    if not (distributed.is_available() and distributed.is_initialized()):
        return torch.ones_like(own)
    total = own.clone()
    distributed.all_reduce(total)
    return own * distributed.get_world_size() / total.clamp_min(1)
