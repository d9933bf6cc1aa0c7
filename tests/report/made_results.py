"""Folders of results as `ctp-stroke segment --maps` leaves them, of a head with a lesion on the right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from scripts.io.atomic import write_json
from scripts.io.nifti import write_nifti
from scripts.io.origin import origin

LPS = np.diag([-2.0, -3.0, 5.0, 1.0])
N_FRAMES = 12


def make_results(
    out: Path,
    case: str = "case_1",
    *,
    maps: bool = True,
    lesion: bool = True,
    series: bool = True,
    shape: tuple[int, int, int] = (32, 40, 4),
    affine: np.ndarray = LPS,
    warnings: str = "",
    summary: dict[str, Any] | None = None,
) -> Path:
    """Write the results of a case and return its folder.

    Args:
        out: folder of the folders of the cases.
        case: name.
        maps: whether there are perfusion maps.
        lesion: whether anything was found.
        series: whether the series is at its place.
        shape: (H, W, D), the first from right to left, the second from front to back.
        affine: (4, 4).
        warnings: of the row.
        summary: what is other in the summary.
    """
    folder = out / case
    x, y = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape[:2]), indexing="ij")
    brain = ((x**2 + y**2) < 0.64)[..., None] & np.ones(shape, bool)
    delay = brain & ((x < -0.2) & (y > 0.1))[..., None] & (np.arange(shape[2]) >= shape[2] // 2) & lesion
    core = delay & (x < -0.4)[..., None]
    images = {"lesion": core, "probability": 0.9 * core, "pseudo_dwi": 0.3 + 0.6 * core}
    time = np.arange(N_FRAMES)
    path = out / f"{case}_ctp.nii"
    if series:
        frames = np.where(brain, 35.0, -1000.0)[..., None] + np.where(brain, 10.0, 0.0)[..., None] * (time == 6)
        write_nifti(path, frames.astype(np.float32), affine, dt_s=1.5)
    made_of = origin(path) if series else {"path": str(path), "sha256": "0" * 64}
    if maps:
        images |= {"brain": brain, "core": core, "delay": delay, "tmax": np.where(delay, 9.0, 1.0) * brain}
        images |= {
            "cbf": np.where(core, 5.0, 50.0) * brain,
            "cbv": np.where(core, 1.0, 4.0) * brain,
            "mtt": 5.0 * brain,
        }
        write_json(folder / "summary.json", make_summary(case, made_of, **(summary or {})))
    for name, image in images.items():
        write_nifti(folder / f"{case}_{name}.nii.gz", image, affine)
    ml = float(core.sum()) * abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    row = {"case": case, "lesion_volume_ml": round(ml, 3), "lesion_slices": int(core.any(axis=(0, 1)).sum())}
    row |= {"largest_component_ml": round(ml, 3), "components": int(lesion), "warnings": warnings}
    settings = {
        "version": "0.1.0",
        "weights": "ab" * 32,
        "amp": False,
        "mirror": True,
        "min_lesion_ml": 1.0,
        "case": {},
    }
    record = {"row": row, "series": made_of, "frame_times": {"source": "header", "dt_s": 1.5}, "settings": settings}
    write_json(folder / f"{case}_result.json", record)
    return folder


def make_summary(case: str, series: dict[str, str], **changes: Any) -> dict[str, Any]:
    """A summary of maps, with changes."""
    aif = [0.0, 0.0, 1.5, 20.25, 180.0, 300.0, 150.0, 60.0, 30.0, 20.0, 15.0, 12.0]
    common = {"reason": None, "core_ml": 12.3456}
    return {
        "case": case,
        "series": series,
        "settings": {"method": "bayesian", "smoothing_mm": 3.5, "core_rcbf": 0.3, "delay_s": 6.0},
        "frame_times": {"source": "header", "dt_s": 1.5},
        "frames_before_contrast": 3,
        "aif_voxels": [[1, 2, 3]],
        "vof_voxels": [[1, 2, 3], [1, 2, 2]],
        "times_s": [1.5 * index for index in range(N_FRAMES)],
        "lost_frames": [],
        "aif_hu": aif,
        "vof_hu": [value / 2 for value in [0.0, 0.0, *aif[:-2]]],
        "aif_scale": 1.5,
        "aif_scale_sd": 0.1,
        "side": "right",
        "core_ml": 12.3456,
        "core_ml_interval": [10.01, 14.04],
        "tmax_ml": {"4": 40.0, "6": 21.9876, "8": 12.0, "10": 5.0},
        "tmax_ml_interval": {"6": [20.0, 24.0]},
        "mismatch_ml": 9.642,
        "mismatch_ml_interval": [7.0, 12.0],
        "mismatch_ratio": 1.781,
        "mismatch_ratio_interval": [1.5, 2.0],
        "hypoperfusion_intensity_ratio": 0.2274,
        "cbv_index": 0.612,
        "reference_cbf": 45.0,
        "reference_cbv": 3.1,
        "reference_ml": 200.0,
        "flags": {
            "defuse3": {
                "met": False,
                "criteria": "core < 70 ml, mismatch >= 15 ml, ratio >= 1.8",
                **common,
                "mismatch_ml": 9.642,
                "mismatch_ratio": 1.781,
            },
            "dawn_a": {"met": True, "criteria": "core < 21 ml; age >= 80 years and NIHSS >= 10", **common},
            "dawn_c": {"met": False, "criteria": "core 31 to < 51 ml; age < 80 years and NIHSS >= 20", **common},
        },
        "cautions": [],
        "warnings": [],
    } | changes


def rewrite(path: Path, **changes: Any) -> None:
    """Change what a JSON file says."""
    write_json(path, json.loads(path.read_text()) | changes)
