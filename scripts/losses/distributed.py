"""The loss in one of several processes, scaled so that the mean over the processes is the loss of all items."""

import torch
from torch import Tensor, distributed

from .stroke_lesion_loss import StrokeLesionLoss


class DistributedStrokeLesionLoss(StrokeLesionLoss):
    """`StrokeLesionLoss` for data parallel training, which averages over the processes.

    The average equals the loss of all items if each process has the same number of items. This holds for the synthesis
    terms, too: they are means over the items with a DWI, and processes may have different numbers of these. In a single
    process the loss is unchanged.

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
