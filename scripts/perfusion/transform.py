"""Dictionary transform that gives a case the perfusion maps it lacks."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ..io.errors import CaseError
from .deconvolution import Method
from .maps import DEFAULT_SMOOTHING_MM, perfusion_maps
from .quality import check_quality, refuse_unusable

MAP_KEYS = ("cbf", "cbv", "mtt", "tmax")


class PerfusionMapsd(MapTransform):
    """Compute those of ``cbf``, ``cbv``, ``mtt`` and ``tmax`` that a case lacks from its series.

    Maps that are given stay untouched. The others are added as (1, H, W, D) float32 with the affine of the series.
    What the quality control warns of is added to ``data["warnings"]``, a string.

    Args:
        keys: the key of the series, (T, H, W, D) in HU.
        map_keys: the maps that a case should have afterwards.
        dt_s: time between frames in s, for every case, whatever its header says; None takes ``data["dt_s"]``, or else
            ``pixdim[4]`` of the series' header.
        smoothing_mm: see `perfusion_maps`.
        motion_correction: see `perfusion_maps`.
        method: see `perfusion_maps`.

    Raises:
        CaseError: maps are missing and cannot be computed, because the time between frames is not known or the series
            shows no brain or no contrast.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        map_keys: str | Sequence[str] = MAP_KEYS,
        dt_s: float | None = None,
        smoothing_mm: float = DEFAULT_SMOOTHING_MM,
        motion_correction: bool = False,
        method: Method = "osvd",
    ) -> None:
        super().__init__(keys)
        self.map_keys = (map_keys,) if isinstance(map_keys, str) else tuple(map_keys)
        unknown = set(self.map_keys) - set(MAP_KEYS)
        if unknown:
            raise ValueError(f"map_keys must be among {MAP_KEYS}, got {sorted(unknown)}")
        if dt_s is not None and not (math.isfinite(dt_s) and dt_s > 0):
            raise ValueError(f"dt_s must be a positive time between frames in s, got {dt_s}")
        self.dt_s = dt_s
        self.smoothing_mm = smoothing_mm
        self.motion_correction = motion_correction
        self.method: Method = method

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with all maps."""
        output = dict(data)
        missing = [key for key in self.map_keys if output.get(key) is None]
        if not missing:
            return output
        key = self.keys[0]
        series = output[key]
        meta = series.meta if isinstance(series, MetaTensor) else {}
        case = str(output.get("case", "?"))
        file = meta.get("filename_or_obj")
        dt_s = self._interval_s(output, meta)
        if dt_s is None:
            raise CaseError.of(
                case, str(key), file, "a time between frames", "none in the header: give dt_s, in s, or the maps"
            )
        spacing = series.pixdim.tolist() if isinstance(series, MetaTensor) else [1.0, 1.0, 1.0]
        spacing_mm = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
        values = series.as_tensor() if isinstance(series, MetaTensor) else torch.as_tensor(series)
        try:
            maps = perfusion_maps(
                values,
                dt_s,
                spacing_mm,
                motion_correction=self.motion_correction,
                smoothing_mm=self.smoothing_mm,
                method=self.method,
            )
            warnings = check_quality(values, maps, spacing_mm)
            refuse_unusable(warnings)
        except ValueError as error:
            raise CaseError.of(case, str(key), file, "a CT-perfusion series of a brain", str(error)) from error
        for name in missing:
            volume = getattr(maps, name)[None]
            output[name] = MetaTensor(volume, affine=series.affine) if isinstance(series, MetaTensor) else volume
        notes = [str(output.get("warnings", "")), *(str(warning) for warning in warnings)]
        output["warnings"] = "; ".join(filter(None, notes))
        return output

    def _interval_s(self, data: Mapping[Hashable, Any], meta: Mapping[str, Any]) -> float | None:
        """Time between frames in s from the user, the case or the header, whichever tells it first."""
        pixdim = meta.get("pixdim")
        header_dt_s = float(pixdim[4]) if pixdim is not None and len(pixdim) > 4 else 0.0
        return self.dt_s or float(data.get("dt_s") or 0.0) or header_dt_s or None
