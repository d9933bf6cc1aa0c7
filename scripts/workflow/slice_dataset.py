"""Slices of cached cases, for training: every slice once an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import DistributedSampler
from monai.transforms import Compose
from torch.utils.data import Dataset

from .case_dataset import CaseDataset


class SliceDataset(Dataset):
    """The slices of all cases, augmented at random but reproducibly.

    An item is the dict of one slice: ``image`` (C, H, W), ``label`` (1, H, W), ``dwi`` (1, H, W; zeros where the case
    has none), ``has_dwi`` (bool), plus what ``slice_transform`` adds. Its random numbers depend on the seed, the epoch
    and the slice alone: neither the number of workers nor an interruption changes them.

    Args:
        data: the cases.
        transform: the deterministic transforms of a case, whose results are cached; they must give ``image`` and
            ``label`` as (C, H, W, D).
        slice_transform: the random transforms of a slice.
        seed: seed of the random transforms.
        cache_rate: part of the cases kept in memory. A slice of any other case costs loading that whole case.
        num_workers: threads that fill the cache.
        progress: whether to show the filling of the cache.

    Raises:
        ValueError: there is no case, or a case has no label.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Callable,
        slice_transform: Compose | None = None,
        seed: int = 0,
        cache_rate: float = 1.0,
        num_workers: int | None = None,
        progress: bool = True,
    ):
        if len(data) == 0:
            raise ValueError("data: expected at least one case to train on, got none")
        for case in data:
            if "label" not in case:
                raise ValueError(
                    f"case '{case.get('case', case.get('image'))}': expected a label to train on, got none"
                )
        self.data = data
        self.slice_transform = slice_transform
        self.seed = seed
        self.cases = CaseDataset(data, transform, cache_rate, num_workers, progress)
        self.slices = [(case, i) for case in range(len(data)) for i in range(self.cases[case]["image"].shape[-1])]

    def __len__(self) -> int:
        """Return the number of slices of all cases."""
        return len(self.slices)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        """Return a slice.

        Args:
            key: its index, or the epoch and the index, as :class:`SliceSampler` gives them.
        """
        epoch, index = (0, key) if isinstance(key, (int, np.integer)) else key
        case_index, slice_index = self.slices[index]
        return self._transformed(self._item(case_index, (..., slice_index)), epoch, index)

    def _item(self, case_index: int, part: Any) -> dict[str, Any]:
        """The part of a case that an index of its images takes, with zeros in the place of a missing DWI."""
        case = self.cases[case_index]
        item = {key: case[key][part].as_tensor() for key in ("image", "label", "dwi") if key in case}
        item["has_dwi"] = torch.full(item["label"].shape[3:], "dwi" in item)
        item.setdefault("dwi", torch.zeros_like(item["label"]))
        return item

    def _transformed(self, item: dict[str, Any], epoch: int, index: int) -> dict[str, Any]:
        """A slice after the random transforms, whose numbers depend on the seed, the epoch and the index alone."""
        if self.slice_transform is None:
            return item
        seed = np.random.SeedSequence([self.seed, epoch, index]).generate_state(1)[0]
        self.slice_transform.set_random_state(seed=int(seed))
        return self.slice_transform(item)


class SliceSampler(DistributedSampler):
    """Shuffle the slices anew each epoch and tell the dataset the epoch along with the index.

    A MONAI engine sets the epoch of a ``DistributedSampler``, also after a resume. In one process it has one replica;
    in several each process draws its own part of the same permutation.

    Args:
        dataset: the slices.
        seed: seed of the permutation.
        shuffle: whether to permute at all.
        num_replicas: number of processes, by default those of the process group, or 1 without one.
        rank: number of this process, likewise.
    """

    def __init__(
        self,
        dataset: SliceDataset,
        seed: int = 0,
        shuffle: bool = True,
        num_replicas: int | None = None,
        rank: int | None = None,
    ):
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if num_replicas is None:
            num_replicas = torch.distributed.get_world_size() if distributed else 1
        if rank is None:
            rank = torch.distributed.get_rank() if distributed else 0
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=shuffle, seed=seed)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield (epoch, index) for every slice."""
        return iter([(self.epoch, index) for index in super().__iter__()])
