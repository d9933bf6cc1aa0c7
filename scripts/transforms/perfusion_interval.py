"""The perfusion interval of a series and the crop to it (Wang et al. 2020, Eq. 2-3)."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends

#: K of Eq. 2-3: over so many frames in succession the summed intensity must rise, or fall.
CONSECUTIVE_FRAMES = 5


def find_perfusion_interval(
    total_intensity: np.ndarray, consecutive_frames: int = CONSECUTIVE_FRAMES
) -> tuple[int, int] | None:
    """Find the first and the last frame of the perfusion.

    T_s is the first frame from which q rises K times in succession, T_e the last frame up to which it falls K times
    in succession. The paper leaves the derivative open: here it is the forward difference q'(t) = q(t+1) - q(t), and
    a difference of zero counts neither as rising nor as falling.

    Args:
        total_intensity: q(t), the intensity summed over the volume, of shape (T,).
        consecutive_frames: K of Eq. 2-3.

    Returns:
        (T_s, T_e), both inclusive, or None where the rule finds no such frames or finds them in the wrong order.

    Raises:
        ValueError: ``total_intensity`` is not one-dimensional or ``consecutive_frames`` is below 1.
    """
    total_intensity = np.asarray(total_intensity, dtype=np.float64)
    if total_intensity.ndim != 1:
        raise ValueError(f"total_intensity: expected shape (T,), got {total_intensity.shape}")
    if consecutive_frames < 1:
        raise ValueError(f"consecutive_frames: expected at least 1, got {consecutive_frames}")
    difference = np.diff(total_intensity)
    if len(difference) < consecutive_frames:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(difference, consecutive_frames)
    starts = np.flatnonzero((windows > 0).all(axis=1))
    ends = np.flatnonzero((windows < 0).all(axis=1)) + consecutive_frames - 1
    ends = ends[ends >= consecutive_frames]
    if len(starts) == 0 or len(ends) == 0 or ends[-1] <= starts[0]:
        return None
    return int(starts[0]), int(ends[-1])


def usual_frames(times_s: np.ndarray) -> np.ndarray:
    """Times (N,) at the usual (median) interval of frames, from the first of these times (T,) to the last, s."""
    interval_s = float(np.median(np.diff(times_s)))
    return times_s[0] + interval_s * np.arange(int((times_s[-1] - times_s[0]) / interval_s + 1e-3) + 1)


class PerfusionCrop(Transform):
    """Keep the frames from T_s to T_e of a (T, H, W, D) series in HU; the whole series where there is no interval.

    K frames in succession are a time, too. Where frames are unevenly spaced, the rule therefore looks at the summed
    intensity at the usual interval, by lines between the frames; the frames from the last one before T_s to the first
    one after T_e are kept.

    Args:
        consecutive_frames: K of Eq. 2-3.
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]

    def __init__(self, consecutive_frames: int = CONSECUTIVE_FRAMES):
        if consecutive_frames < 1:
            raise ValueError(f"consecutive_frames: expected at least 1, got {consecutive_frames}")
        self.consecutive_frames = consecutive_frames

    def __call__(self, series: NdarrayOrTensor, times_s: NdarrayOrTensor | None = None) -> NdarrayOrTensor:
        """Return the frames of the perfusion as a view; warn where the rule finds none.

        Args:
            series: (T, H, W, D) in HU.
            times_s: (T,) times of the frames in s, where they are uneven.
        """
        return series[self.frames(series, times_s)]

    def frames(self, series: NdarrayOrTensor, times_s: NdarrayOrTensor | None = None) -> slice:
        """Find the frames to keep; arguments as of a call."""
        if series.ndim != 4:
            raise ValueError(f"series: expected 4 dimensions (T, H, W, D), got shape {tuple(series.shape)}")
        tensor = torch.as_tensor(series)
        total_intensity = tensor.sum(dim=(1, 2, 3), dtype=torch.float64).cpu().numpy()
        if times_s is None:
            interval = find_perfusion_interval(total_intensity, self.consecutive_frames)
        else:
            interval = self._uneven_interval(total_intensity, np.asarray(times_s, dtype=np.float64))
        if interval is None:
            warnings.warn(
                f"no perfusion interval found in {len(series)} frames with K = {self.consecutive_frames}; "
                "the whole series is used",
                stacklevel=3,
            )
            return slice(None)
        return slice(interval[0], interval[1] + 1)

    def _uneven_interval(self, total_intensity: np.ndarray, times_s: np.ndarray) -> tuple[int, int] | None:
        if times_s.shape != total_intensity.shape:
            raise ValueError(f"times_s: expected {len(total_intensity)} times, got shape {times_s.shape}")
        even_s = usual_frames(times_s)
        found = find_perfusion_interval(np.interp(even_s, times_s, total_intensity), self.consecutive_frames)
        if found is None:
            return None
        first = np.searchsorted(times_s, even_s[found[0]] + 1e-6, side="right") - 1
        last = np.searchsorted(times_s, even_s[found[1]] - 1e-6)
        return int(first), int(last)


class PerfusionCropd(MapTransform):
    """Dictionary version of :class:`PerfusionCrop`.

    What it warns of is also added to ``data["warnings"]``, a string, so that it reaches the case's row of results.

    Args:
        keys: the key of the series.
        consecutive_frames: K of Eq. 2-3.
        times_key: the key of the frame times in s, of a case whose frames are unevenly spaced; those of the frames that
            are kept come to ``kept_times_s``.
        allow_missing_keys: whether a case may lack the series.
    """

    backend = PerfusionCrop.backend

    def __init__(
        self,
        keys: KeysCollection = "image",
        consecutive_frames: int = CONSECUTIVE_FRAMES,
        allow_missing_keys: bool = False,
        times_key: str = "times_s",
    ):
        super().__init__(keys, allow_missing_keys)
        self.crop = PerfusionCrop(consecutive_frames)
        self.times_key = times_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Crop the series of a copy of ``data``."""
        output = dict(data)
        for key in self.key_iterator(output):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                frames = self.crop.frames(output[key], output.get(self.times_key))
            output[key] = output[key][frames]
            if output.get(self.times_key) is not None:
                output["kept_times_s"] = output[self.times_key][frames]
            messages = [str(warning.message) for warning in caught]
            for message in messages:
                warnings.warn(f"case '{output.get('case', '?')}': {message}", stacklevel=2)
            output["warnings"] = "; ".join(filter(None, [str(output.get("warnings", "")), *messages]))
        return output
