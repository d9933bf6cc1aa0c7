"""Small trees in the layouts of ISLES'24 and of BIDS, of a head given by formulas on any grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE, FRAMES = (40, 44, 5), 14
NCCT_SHAPE = (90, 96, 22)
MAPS = ("cbf", "cbv", "mtt", "tmax")
FILLING = -30.0
LESION_MM, RADII_MM = (8.0, -10.0, 30.0), (14.0, 11.0, 12.0)


def series_affine() -> np.ndarray:
    """2 x 2 x 8 mm, LPS."""
    return np.array([[-2.0, 0, 0, 40], [0, -2.0, 0, 42], [0, 0, 8.0, 14], [0, 0, 0, 1]])


def ncct_affine() -> np.ndarray:
    """0.94 x 0.94 x 2 mm, tilted by 15 degrees around the left-right axis."""
    angle = np.deg2rad(15)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.94, -0.94, 2.0])
    affine[:3, 3] = np.array([0, 0, 30.0]) - affine[:3, :3] @ (np.array(NCCT_SHAPE) / 2 - 0.5)
    return affine


def places_mm(shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """(3, H, W, D): where each voxel lies."""
    indices = np.indices(shape).reshape(3, -1)
    return (affine[:3, :3] @ indices + affine[:3, 3:]).reshape(3, *shape)


def brain(places: np.ndarray) -> np.ndarray:
    return (places[0] / 34) ** 2 + (places[1] / 36) ** 2 + ((places[2] - 30) / 30) ** 2 < 1


def lesion(places: np.ndarray) -> np.ndarray:
    terms = zip(places, LESION_MM, RADII_MM, strict=True)
    return sum(((place - center) / radius) ** 2 for place, center, radius in terms) < 1


def smooth(places: np.ndarray, level: float) -> np.ndarray:
    return level * (2 + np.sin(places[0] / 9) + 0.5 * np.cos(places[1] / 7) + 0.3 * np.sin(places[2] / 8))


def save(path: Path, array: np.ndarray, affine: np.ndarray, dt_s: float | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, affine)
    if array.ndim == 4:
        image.header.set_xyzt_units("mm", "sec")
        image.header["pixdim"][4] = dt_s or 0
    nib.save(image, path)
    return path


def series(seed: int = 0) -> np.ndarray:
    places = places_mm(SHAPE, series_affine())
    inside = brain(places)
    uptake = np.where(inside, np.where(lesion(places), 4.0, 15.0), 0.0)
    curve = np.interp(np.arange(FRAMES), [3, 6, 11], [0, 1, 0])
    hu = np.where(inside, 35.0, -1000.0)[..., None] + uptake[..., None] * curve
    return (hu + np.random.default_rng(seed).normal(0, 1, hu.shape) * inside[..., None]).astype(np.float32)


def volumes(shape: Sequence[int] = NCCT_SHAPE, affine: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Maps with a filling outside of the brain, DWI and label on the grid of the NCCT, or another."""
    places = places_mm(shape, ncct_affine() if affine is None else affine)
    inside = brain(places)
    arrays = {key: np.where(inside, smooth(places, i + 1.0), 0).astype(np.float32) for i, key in enumerate(MAPS)}
    arrays["tmax"][~inside] = FILLING
    arrays["dwi"] = np.where(inside, smooth(places, 100.0), 0).astype(np.float32)
    arrays["lesion-msk"] = lesion(places).astype(np.uint8)
    return arrays


def isles2024(
    root: Path,
    number: int,
    *,
    subject: str = "sub-stroke",
    sessions: tuple[str, str] = ("ses-01", "ses-02"),
    leave_out: Sequence[str] = (),
) -> str:
    """One case of ISLES'24; returns the name of its subject."""
    name = f"{subject}{number:04d}"
    raw, derived = root / "raw_data" / name, root / "derivatives" / name
    first, second = sessions
    save(raw / first / f"{name}_{first}_ctp.nii.gz", series(number), series_affine())
    save(raw / first / f"{name}_{first}_ncct.nii.gz", np.zeros(NCCT_SHAPE, np.int16), ncct_affine())
    for key, array in volumes().items():
        if key not in leave_out:
            folder = derived / first / "perfusion-maps" if key in MAPS else derived / second
            session = first if key in MAPS else second
            save(folder / f"{name}_{session}_space-ncct_{key}.nii.gz", array, ncct_affine())
    (root / "phenotype").mkdir(exist_ok=True)
    (root / "phenotype" / "demographic_baseline.csv").write_text("age\n70\n")
    return name
