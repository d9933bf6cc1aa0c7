"""Resampling within the slice to the pixel size that the networks know, and exactly back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor, get_track_meta
from monai.transforms import InvertibleTransform, MapTransform, TraceableTransform
from monai.transforms.utils import scale_affine
from monai.utils import TraceKeys, TransformBackends, convert_to_tensor

#: ISLES 2018 has 256 pixels of 0.80 to 1.04 mm (Wang et al. 2020, section 4.1); 0.9 mm is the middle.
FIELD_OF_VIEW_MM = 230.4
#: Pixels within this factor of the middle are left as they are: the training's augmentation by scale covers them.
TOLERATED_FACTOR = 1.28


def in_plane_size(size: int, pixel_mm: float, target_size: int, target_mm: float) -> int:
    """Choose the number of pixels to which one axis of a slice is resampled.

    An axis whose pixels are about ``target_mm`` wide is kept. Else a whole factor is preferred, up or down, because
    it loses nothing that the target's pixels can hold; and what would not fit into ``target_size`` is made to fit.

    Args:
        size: pixels along the axis.
        pixel_mm: their width in mm.
        target_size: the largest number of pixels wanted.
        target_mm: the width wanted in mm.

    Returns:
        The number of pixels after resampling, at most ``target_size``.
    """

    def fits(new_size: float, new_mm: float) -> bool:
        return new_size <= target_size and 1 / TOLERATED_FACTOR <= new_mm / target_mm <= TOLERATED_FACTOR

    if fits(size, pixel_mm):
        return size
    for factor in (2, 3, 4):
        if size % factor == 0 and fits(size // factor, pixel_mm * factor):
            return size // factor
        if fits(size * factor, pixel_mm / factor):
            return size * factor
    return max(1, min(target_size, round(size * pixel_mm / target_mm)))


def _resize_in_plane(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize (C, H, W, D) within the slice: by area where an axis shrinks, linearly where it grows."""
    slices = image.permute(3, 0, 1, 2)
    shrunk = tuple(min(new, old) for new, old in zip(size, slices.shape[2:], strict=True))
    if shrunk != tuple(slices.shape[2:]):
        slices = torch.nn.functional.interpolate(slices, shrunk, mode="area")
    if size != shrunk:
        slices = torch.nn.functional.interpolate(slices, size, mode="bilinear", align_corners=False)
    return slices.permute(1, 2, 3, 0)


class ResampleInPlane(InvertibleTransform):
    """Resample the slices of (C, H, W, D) so that the field of view of the training fills ``size`` pixels.

    Shrinking averages over areas and growing interpolates linearly. For whole factors the way there and back, with
    the threshold 0.5, returns a mask exactly, as long as the coarser grid can hold it.

    Args:
        size: width and height in pixels of the slices that the networks see.
        field_of_view_mm: width of those slices in mm.
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, size: int = 256, field_of_view_mm: float = FIELD_OF_VIEW_MM):
        if size < 1:
            raise ValueError(f"size: expected at least 1 pixel, got {size}")
        if field_of_view_mm <= 0:
            raise ValueError(f"field_of_view_mm: expected above 0 mm, got {field_of_view_mm}")
        self.size = size
        self.pixel_mm = field_of_view_mm / size

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Return the resampled image as float32; the slices' number stays."""
        if image.ndim != 4:
            raise ValueError(f"image: expected 4 dimensions (C, H, W, D), got shape {tuple(image.shape)}")
        image = convert_to_tensor(image, track_meta=get_track_meta())
        old_size = tuple(image.shape[1:])
        spacing_mm = np.asarray(image.pixdim if isinstance(image, MetaTensor) else (1.0, 1.0, 1.0), dtype=float)
        height, width = (
            in_plane_size(old_size[axis], float(spacing_mm[axis]), self.size, self.pixel_mm) for axis in (0, 1)
        )
        new_size = (height, width)
        meta = TraceableTransform.track_transform_meta(
            image,
            sp_size=(*new_size, old_size[2]),
            affine=scale_affine(old_size, (*new_size, old_size[2])),
            orig_size=old_size,
            transform_info=self.get_transform_info(),
        )
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        output = _resize_in_plane(plain.to(torch.float32), new_size)
        return MetaTensor(output).copy_meta_from(meta) if isinstance(image, MetaTensor) else output

    def inverse(self, image: MetaTensor) -> MetaTensor:
        """Return the image on the grid that it had before."""
        transform = self.pop_transform(image)
        old_size = transform[TraceKeys.ORIG_SIZE]
        output = _resize_in_plane(image.as_tensor().to(torch.float32), (old_size[0], old_size[1]))
        affine = image.affine @ torch.as_tensor(scale_affine(image.shape[1:], old_size), dtype=image.affine.dtype)
        restored = MetaTensor(output).copy_meta_from(image)
        restored.affine = affine
        return restored


class ResampleInPlaned(MapTransform, InvertibleTransform):
    """Dictionary version of :class:`ResampleInPlane`."""

    backend = ResampleInPlane.backend

    def __init__(
        self,
        keys: KeysCollection,
        size: int = 256,
        field_of_view_mm: float = FIELD_OF_VIEW_MM,
        allow_missing_keys: bool = False,
    ):
        super().__init__(keys, allow_missing_keys)
        self.resample = ResampleInPlane(size, field_of_view_mm)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample the images of a copy of ``data``."""
        output = dict(data)
        for key in self.key_iterator(output):
            output[key] = self.resample(output[key])
        return output

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Undo the resampling in a copy of ``data``."""
        output = dict(data)
        for key in self.key_iterator(output):
            output[key] = self.resample.inverse(output[key])
        return output
