"""From a case to the network's input: the one preprocessing of training, evaluation and inference."""

from __future__ import annotations

from collections.abc import Sequence

from monai.transforms import (
    Compose,
    ConcatItemsd,
    DeleteItemsd,
    Orientationd,
    ResizeWithPadOrCropd,
    ScaleIntensityRanged,
    ScaleIntensityRangePercentilesd,
    Transform,
)

from ..io.errors import OptionError
from ..io.frame_times import Stated
from ..perfusion.transform import MAP_KEYS, PerfusionMapsd
from .at_frame_times import AtFrameTimesd
from .load_case import LoadCased
from .perfusion_interval import CONSECUTIVE_FRAMES, PerfusionCropd
from .resample_in_plane import FIELD_OF_VIEW_MM, ResampleInPlaned
from .temporal_mip import TemporalMIPd
from .temporal_resample import FRAMES, TemporalResampled

#: The windows that are scaled to (0, 1) and clipped. They span what brain tissue shows, normal and diseased.
WINDOWS: dict[str, tuple[float, float]] = {
    "image": (0.0, 80.0),  # HU: cerebrospinal fluid to enhanced gray matter
    "cbf": (0.0, 100.0),  # ml/100 g/min
    "cbv": (0.0, 8.0),  # ml/100 g
    "mtt": (0.0, 20.0),  # s
    "tmax": (0.0, 20.0),  # s
    "mip": (0.0, 160.0),  # HU: as above, and the vessels at their peak
}

#: What the networks of this bundle can take, in the order of the 11 channels; "dwi" is for comparison.
CHANNELS = tuple(WINDOWS)


class CasePreprocessing(Compose):
    """Make the network's ``image`` of a case: by default 6 frames of the perfusion, CBF, CBV, MTT, Tmax, temporal MIP.

    The steps, in order: load and check; bring to RAS orientation, slices last, before anything is computed; compute
    the maps that the case lacks; project to F_l (Eq. 1 of Wang et al. 2020); bring slices that have times of their own
    to those of the frames; crop to the perfusion (Eq. 2-3) and resample to C_e frames; scale intensities, the DWI from
    its minimum and 99th percentile (section 4.1), every other channel by its fixed window; bring to the pixel size and
    the matrix of the networks. Orientation, pixel size and matrix invert exactly, through MONAI's ``Invertd``.

    Args:
        geometry_keys: the images brought to the networks' grid. ``("image",)`` leaves DWI and label on the grid of the
            case, where evaluation needs them; training takes ``("image", "dwi", "label")``.
        frames: C_e, number of frames of the perfusion that become channels.
        consecutive_frames: K of Eq. 2-3.
        size: width and height in pixels of the slices that the networks see.
        field_of_view_mm: their width and height in mm.
        channels: what becomes a channel, in this order: ``image`` (the frames), ``cbf``, ``cbv``, ``mtt``, ``tmax``,
            ``mip`` (F_l) and ``dwi``, the true DWI, with which segmentation is compared (Tables 2 and 5).
        dt_s: time between frames in s of every case, whatever it, its sidecar and its header state; None takes theirs.
        times: path of a file with the time of every frame in s, or these times; in the place of ``dt_s``.
        use_given_maps: whether the perfusion maps that a case brings are used, otherwise all are computed.
        orientation: where the voxel axes point to, such as ``"RAS"``, for files whose headers do not tell.

    The output's ``image`` is (C, ``size``, ``size``, D) float32 in [0, 1].

    Raises:
        ValueError: ``channels`` is empty, repeats one or has another than these.
        OptionError: ``dt_s`` and ``times`` are both given.
    """

    def __init__(
        self,
        geometry_keys: Sequence[str] = ("image",),
        frames: int = FRAMES,
        consecutive_frames: int = CONSECUTIVE_FRAMES,
        size: int = 256,
        field_of_view_mm: float = FIELD_OF_VIEW_MM,
        channels: Sequence[str] = CHANNELS,
        dt_s: float | None = None,
        orientation: str | None = None,
        times: Stated | None = None,
        use_given_maps: bool = True,
    ):
        known = (*CHANNELS, "dwi")
        if not channels or len(set(channels)) < len(channels) or not set(channels) <= set(known):
            raise ValueError(f"channels must be different ones of {known}, at least one, got {tuple(channels)}")
        if dt_s is not None and times is not None:
            raise OptionError(f"times: expected no dt_s next to it, got dt_s {dt_s}")
        maps = [key for key in MAP_KEYS if key in channels]
        computed: list[Transform] = [PerfusionMapsd("image", maps)]  # without maps it checks the series
        if "mip" in channels:
            computed.append(TemporalMIPd("image", output_key="mip"))
        if "image" in channels:
            computed += [
                AtFrameTimesd("image"),
                PerfusionCropd("image", consecutive_frames),
                TemporalResampled("image", frames),
            ]
        scaled = [key for key in channels if key in WINDOWS]
        oriented = list(dict.fromkeys([*geometry_keys, "image", *(key for key in channels if key != "mip"), *maps]))
        super().__init__(
            [
                LoadCased(
                    ["dwi"] if "dwi" in channels else [],
                    orientation,
                    dt_s if times is None else times,
                    use_given_maps,
                ),
                Orientationd(oriented, axcodes="RAS", labels=None, allow_missing_keys=True),
                *computed,
                *(ScaleIntensityRanged(key, *WINDOWS[key], 0.0, 1.0, clip=True) for key in scaled),
                ScaleIntensityRangePercentilesd("dwi", 0, 99, 0.0, 1.0, clip=True, allow_missing_keys=True),
                ConcatItemsd(channels, name="image"),
                DeleteItemsd(CHANNELS[1:]),
                ResampleInPlaned(geometry_keys, size, field_of_view_mm, allow_missing_keys=True),
                ResizeWithPadOrCropd(geometry_keys, (size, size, -1), allow_missing_keys=True),
            ]
        )
