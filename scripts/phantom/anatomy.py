"""The head of a subject on the grid of a scan: tissue fractions, vessels and the layers around the brain.

The tissue maps are the gray and white matter templates MNI152 (ICBM 2009a nonlinear symmetric, Fonov et al.,
NeuroImage 54:313, 2011) that ship inside the nilearn wheel; nothing is downloaded. Each subject has its own affine,
coarse and fine random deformation, and atrophy.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from .fields import SmoothField
from .geometry import Grid, rotation_matrix
from .parameters import PoseParameters, SubjectParameters
from .vessels import ARTERIES_MEDIAN, ARTERIES_RIGHT, VEINS_MEDIAN, VEINS_RIGHT, both_sides, rasterize

INSTALL = "pip install 'ctp-stroke-lesion-segmentation[phantom]'"

_DISPLACEMENT_STEP_MM = 4.2  # well below the lattices of the deformation
_SUBPLANE_MM = 3.0
_SHELL_VOXEL_MM = 3
_SHELL_MARGIN_VOXELS = 15
_PIAL_DEPTH_MM = 18.0
_PIAL_LATTICE_MM = 6.0
_PIAL_HALF_WIDTH = 0.3  # in standard deviations of the field; about 1.2 mm


class Template(NamedTuple):
    """The MNI152 maps from which all subjects are made.

    Attributes:
        maps: (5, X, Y, Z) float32 at 1 mm: gray matter, white matter, brain, artery and vein fractions.
        origin_mm: (3,) MNI position of the first voxel of ``maps``.
        shell: (1, X', Y', Z') float32 at 3 mm: signed distance to the brain's surface in mm, positive outside.
        shell_origin_mm: (3,) MNI position of the first voxel of ``shell``.
    """

    maps: torch.Tensor
    origin_mm: NDArray[np.float64]
    shell: torch.Tensor
    shell_origin_mm: NDArray[np.float64]


class Anatomy(NamedTuple):
    """A head on a grid; every array has the grid's shape (H, W, D).

    Attributes:
        gray: volume fraction of gray matter, float32.
        white: volume fraction of white matter.
        fluid: volume fraction of cerebrospinal fluid within the brain mask.
        artery: volume fraction of large arteries.
        vein: volume fraction of large veins and sinuses.
        brain: bool mask, the intracranial tissue and fluid that the vendor maps cover.
        outside_mm: signed distance from the brain's surface, positive outside.
        mni_mm: (H, W, D, 3) template position of each voxel center.
    """

    gray: NDArray[np.float32]
    white: NDArray[np.float32]
    fluid: NDArray[np.float32]
    artery: NDArray[np.float32]
    vein: NDArray[np.float32]
    brain: NDArray[np.bool_]
    outside_mm: NDArray[np.float32]
    mni_mm: NDArray[np.float32]


def _templates() -> ModuleType:
    """The module of nilearn that reads the templates; nothing else of the bundle needs the package.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        from nilearn import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"the phantom and the demo need the package nilearn: {INSTALL}") from error
    return datasets


@lru_cache(maxsize=1)
def load_template() -> Template:
    """Read the MNI152 maps and paint the vessels; once per process."""
    datasets = _templates()
    gray_image = datasets.load_mni152_gm_template(resolution=1)
    gray, white, brain = (
        np.asarray(image.dataobj, dtype=np.float32)
        for image in (
            gray_image,
            datasets.load_mni152_wm_template(resolution=1),
            datasets.load_mni152_brain_mask(resolution=1),
        )
    )
    origin_mm = np.asarray(gray_image.affine[:3, 3], dtype=float)
    arteries = rasterize(both_sides(ARTERIES_RIGHT, ARTERIES_MEDIAN), gray.shape, origin_mm)
    veins = rasterize(both_sides(VEINS_RIGHT, VEINS_MEDIAN), gray.shape, origin_mm)
    coarse = np.pad(brain[::_SHELL_VOXEL_MM, ::_SHELL_VOXEL_MM, ::_SHELL_VOXEL_MM], _SHELL_MARGIN_VOXELS)
    # The inner table of the skull is smoother than the brain: the mask is blurred, and cut low to stay outside it.
    hull = ndimage.gaussian_filter(coarse, 2.0) > 0.4
    distance = ndimage.distance_transform_edt(~hull) - ndimage.distance_transform_edt(hull)
    return Template(
        maps=torch.from_numpy(np.stack([gray, white, brain, arteries, veins])),
        origin_mm=origin_mm,
        shell=torch.from_numpy((distance * _SHELL_VOXEL_MM).astype(np.float32))[None],
        shell_origin_mm=origin_mm - _SHELL_MARGIN_VOXELS * _SHELL_VOXEL_MM,
    )


class Deformation:
    """The map from a scan's world to template space for one subject and one position on the table."""

    def __init__(self, subject: SubjectParameters, pose: PoseParameters) -> None:
        rng = np.random.default_rng(subject.deformation_seed)
        self._fields = [
            (amplitude_mm, [SmoothField.sample(rng, lattice_mm) for _ in range(3)])
            for amplitude_mm, lattice_mm in (
                (subject.coarse_deformation_mm, subject.coarse_lattice_mm),
                (subject.fine_deformation_mm, subject.fine_lattice_mm),
            )
        ]
        head_to_world = rotation_matrix(pose.head_rotation_deg) @ np.diag(subject.head_scale)
        self._head_to_world = head_to_world
        self._world_to_head = np.linalg.inv(head_to_world)
        self._table_mm = np.array(pose.table_position_mm)

    def affine(self, world_mm: NDArray[np.floating]) -> NDArray[np.float64]:
        """Linear part only: (..., 3) world mm to (..., 3) template mm."""
        return (world_mm - self._table_mm) @ self._world_to_head.T

    def world_mm(self, template_mm: NDArray[np.floating]) -> NDArray[np.float64]:
        """The inverse of `affine`: the approximate world position of a template position."""
        return template_mm @ self._head_to_world.T + self._table_mm

    def displacement(self, template_mm: NDArray[np.floating]) -> NDArray[np.float32]:
        """Nonlinear displacement in mm at (..., 3) template positions."""
        total = np.zeros(template_mm.shape, dtype=np.float32)
        for amplitude_mm, components in self._fields:
            for axis, field in enumerate(components):
                total[..., axis] += np.float32(amplitude_mm) * field(template_mm)
        return total

    def template_mm(self, grid: Grid, subplanes: int = 1) -> NDArray[np.float32]:
        """Template positions of every voxel of ``grid``, (H, W, D * subplanes, 3).

        The smooth displacement is evaluated every few millimeters and interpolated linearly between.
        """
        stride = max(1, int(_DISPLACEMENT_STEP_MM / float(grid.spacing_mm[:2].max())))
        coarse = self.displacement(self.affine(grid.world_mm(stride, subplanes)))
        height, width, planes = coarse.shape[:3]
        nodes = torch.from_numpy(coarse.reshape(height, width, planes * 3)).permute(2, 0, 1)[None]
        size = ((height - 1) * stride + 1, (width - 1) * stride + 1)
        fine = torch.nn.functional.interpolate(nodes, size=size, mode="bilinear", align_corners=True)[0]
        fine = fine[:, : grid.shape[0], : grid.shape[1]].permute(1, 2, 0).reshape(*grid.shape[:2], planes, 3)
        return self.affine(grid.world_mm(subplanes=subplanes)).astype(np.float32) + fine.numpy()


def _sample(
    volume: torch.Tensor,
    points_mm: NDArray[np.float32],
    origin_mm: NDArray[np.float64],
    voxel_mm: float,
    padding: str = "zeros",
) -> NDArray[np.float32]:
    """Trilinear samples of a (C, X, Y, Z) volume at (H, W, P, 3) positions; (C, H, W, P)."""
    extent = np.array(volume.shape[1:], dtype=np.float32) - 1
    normalized = (2.0 * (points_mm - origin_mm.astype(np.float32)) / voxel_mm / extent - 1.0).astype(np.float32)
    # grid_sample counts its last coordinate along the first spatial axis of a volume stored (Z, Y, X).
    grid = torch.from_numpy(np.ascontiguousarray(normalized[..., ::-1]))[None]
    sampled = torch.nn.functional.grid_sample(
        volume[None], grid, mode="bilinear", padding_mode=padding, align_corners=True
    )
    return sampled[0].numpy()


def _sharpen(fractions: NDArray[np.float32], power: float) -> NDArray[np.float32]:
    """Move fractions that sum to at most one toward 0 or 1, because the template is a mean of many subjects."""
    raised = fractions**power
    total = raised.sum(axis=0)
    return raised / np.maximum(total, 1e-6) * np.minimum(fractions.sum(axis=0), 1.0)


def build_anatomy(grid: Grid, deformation: Deformation, subject: SubjectParameters) -> Anatomy:
    """Sample the head of the subject on ``grid``, with the partial volume of thick slices.

    Args:
        grid: voxel grid of the scan.
        deformation: world to template map of the subject.
        subject: for atrophy and sharpness.
    """
    template = load_template()
    subplanes = max(1, int(np.ceil(grid.spacing_mm[2] / _SUBPLANE_MM)))
    positions = deformation.template_mm(grid, subplanes)
    gray, white, brain, artery, vein = _sample(template.maps, positions, template.origin_mm, 1.0)
    tissue = np.clip(gray + white, 1e-6, 1.0)
    shrunk = tissue ** np.float32(subject.atrophy_power)
    gray, white = gray / tissue * shrunk, white / tissue * shrunk
    fluid = np.clip(brain - gray - white, 0.0, 1.0)
    gray, white, fluid = _sharpen(np.stack([gray, white, fluid]), subject.sharpness_power)

    def over_slice(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values.reshape(*grid.shape, subplanes).mean(axis=-1)

    center = positions.reshape(*grid.shape, subplanes, 3)[:, :, :, subplanes // 2]
    outside_mm = _sample(template.shell, center, template.shell_origin_mm, float(_SHELL_VOXEL_MM), "border")[0]
    fluid = over_slice(fluid)
    pial_artery, pial_vein = _pial_vessels(center, fluid, outside_mm, subject)
    return Anatomy(
        gray=over_slice(gray),
        white=over_slice(white),
        fluid=fluid,
        artery=np.maximum(over_slice(artery), pial_artery),
        vein=np.maximum(over_slice(vein), pial_vein),
        brain=over_slice(brain) > 0.5,
        outside_mm=outside_mm,
        mni_mm=np.ascontiguousarray(center),
    )


def _pial_vessels(
    template_mm: NDArray[np.float32],
    fluid: NDArray[np.float32],
    outside_mm: NDArray[np.float32],
    subject: SubjectParameters,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fractions of the small arteries and veins in the sulci, (H, W, D) each.

    They follow the zero level of a random field, a net of thin curves in a slice.
    """
    rng = np.random.default_rng(subject.pial_seed)
    vessels = (np.zeros_like(fluid), np.zeros_like(fluid))
    sulci = (fluid > 0.05) & (outside_mm > -_PIAL_DEPTH_MM) & (outside_mm < 2.0)
    points_mm = template_mm[sulci]
    level = SmoothField.sample(rng, _PIAL_LATTICE_MM)(points_mm)
    arterial = SmoothField.sample(rng, 3 * _PIAL_LATTICE_MM)(points_mm) > 0
    share = np.float32(subject.pial_share) * fluid[sulci] * np.exp(-((level / _PIAL_HALF_WIDTH) ** 2))
    vessels[0][sulci] = share * arterial
    vessels[1][sulci] = share * ~arterial
    return vessels
