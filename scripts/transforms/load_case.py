"""Loading of a case: its series and whatever else the case has."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ..io.case import FILE_KEYS, MAP_KEYS, load_case
from ..io.errors import CaseError
from ..io.frame_times import FrameTimes, Stated
from ..io.gate import joined, orientation_codes
from ..io.neighboring_files import with_companions
from ..io.orientation import CanonicalFrame


class LoadCased(MapTransform):
    """Load and check every image that a case has.

    MONAI's ``LoadImaged`` copies a 4D series along its time axis and takes every file for what it is; this transform
    reads it in one pass and checks that the files of a case belong together. Only ``image`` is required, since MONAI
    Label gives nothing else, and what a network takes that cannot be computed. To a case without a name, which no
    datalist lists, come the files beside its series: see :func:`scripts.io.neighboring_files.with_companions`.

    Args:
        required: keys besides ``image`` that a case must have.
        orientation: where the voxel axes point to, such as ``"RAS"``, for cases that do not say it themselves and
            whose headers do not either; None refuses these.
        times: frame times of every case, whatever it, its sidecar and its header state, see
            :func:`scripts.io.load_case`.
        use_given_maps: whether the perfusion maps that a case brings are loaded; otherwise they are as if absent. The
            entry ``use_given_maps`` of a case takes precedence.

    The output holds ``image`` as (T, H, W, D) in HU, and each of ``cbf``, ``cbv``, ``mtt``, ``tmax``, ``dwi`` and
    ``label`` that the case names as (1, H, W, D), all float32 with the affine of their file; ``case``, its name;
    ``dt_s``, the usual time between frames in s, 0 where nothing states it; ``times_s``, a tensor (T,) with the time
    of every frame in s, where they are uneven; ``slice_times_s``, a tensor (D, T) in s, where slices have times of
    their own, in the order that the slices have in RAS; ``times_source``, who states them, and ``times_record``, what
    results record of them, as JSON (see :class:`scripts.io.frame_times.FrameTimes`); and ``warnings``, a string of
    what headers and times warn of.

    Raises:
        FileNotFoundError: a file is missing.
        CaseError: a file is not what it should be, or the case does not name one that is required.
    """

    def __init__(
        self,
        required: Sequence[str] = (),
        orientation: str | None = None,
        times: Stated | None = None,
        use_given_maps: bool = True,
    ) -> None:
        super().__init__(FILE_KEYS, allow_missing_keys=True)
        self.required = tuple(required)
        self.orientation = None if orientation is None else orientation_codes(orientation)
        self.times = times
        self.use_given_maps = use_given_maps

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the images in the place of their paths."""
        output = dict(data)
        case = with_companions({str(key): value for key, value in data.items()})
        if not case.get("use_given_maps", self.use_given_maps):
            case = {key: value for key, value in case.items() if key not in MAP_KEYS}
            output = {key: value for key, value in output.items() if key not in MAP_KEYS}
        if self.orientation is not None:
            case = {"orientation": self.orientation, **case}
        loaded = load_case(case, self.times)
        for key in self.required:
            if key not in loaded:
                raise CaseError.of(loaded["case"], key, None, "a file, which the network takes as its input", "none")
        for key in (key for key in FILE_KEYS if key in loaded):
            array = torch.from_numpy(loaded[key])
            array = array.permute(3, 0, 1, 2) if key == "image" else array[None]
            meta = {
                "filename_or_obj": str(case[key]),
                "original_affine": loaded["affine"].copy(),
                "spatial_shape": tuple(array.shape[1:]),
                "original_channel_dim": "no_channel",
            }
            output[key] = MetaTensor(array, affine=torch.from_numpy(loaded["affine"]), meta=meta)
        frame = CanonicalFrame(loaded["affine"], loaded["image"].shape)
        times = _of_times(loaded["frame_times"], loaded["image"].shape[3], frame)
        output.update(case=loaded["case"], **times, warnings=joined(*loaded["warnings"]))
        return output


def _of_times(found: FrameTimes | None, n_frames: int, frame: CanonicalFrame) -> dict[str, Any]:
    """Frame times in a form that batches of one case can hold."""
    if found is None:
        return {"dt_s": 0.0, "times_source": "", "times_record": ""}
    times: dict[str, Any] = {
        "dt_s": found.dt_s,
        "times_source": found.source,
        "times_record": json.dumps(found.as_json()),
    }
    if found.times_s is not None:
        times["times_s"] = torch.tensor(found.times_s, dtype=torch.float64)
    if (of_slices := found.slice_times_s(n_frames)) is not None:
        times["slice_times_s"] = torch.from_numpy(frame.slices_to_canonical(of_slices).copy())
    return times
