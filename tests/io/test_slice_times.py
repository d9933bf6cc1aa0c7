"""Times of slices come from the sidecar, are added to the frame times, and follow the slices to RAS."""

import itertools
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from scripts.io import CaseError, load_case
from scripts.io.frame_times import FrameTimes
from scripts.io.orientation import CanonicalFrame
from scripts.transforms import LoadCased

SHAPE, N_FRAMES = (6, 5, 4), 14
OFFSETS_S = np.array([0.0, 0.5, 0.1, 0.6])
FRAMES_S = 1.5 * np.arange(N_FRAMES)
SLICES_S = FRAMES_S + OFFSETS_S[:, None]
"""Times (D, T) of a scanner that takes every other slice first."""
ALTERNATING_S = FRAMES_S + np.where(np.arange(N_FRAMES) % 2 == 0, OFFSETS_S[:, None], 1.4 - OFFSETS_S[:, None])


def axes(codes: str) -> np.ndarray:
    """An affine whose voxel axes point along these letters."""
    affine = np.zeros((4, 4))
    for axis, code in enumerate(codes):
        row = next(row for row, pair in enumerate(("RL", "AP", "SI")) if code in pair)
        affine[row, axis] = (1 if code in "RAS" else -1) * (8.0 if row == 2 else 0.9)
    affine[3, 3] = 1
    return affine


def write(folder: Path, content: dict[str, Any], codes: str = "LPS", dt_s: float = 1.5) -> dict[Any, Any]:
    """A case whose voxels hold the time of their place along the third axis, in ms."""
    values = np.broadcast_to(1000 * SLICES_S, (*SHAPE[:2], *SLICES_S.shape)).astype(np.int16)
    image = nib.Nifti1Image(values, axes(codes))
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = dt_s
    nib.save(image, folder / "ctp.nii")
    (folder / "ctp.json").write_text(json.dumps({"Modality": "CT", **content}))
    return {"image": str(folder / "ctp.nii"), "case": "one"}


def times_of(case: dict[Any, Any], option: Any = None) -> FrameTimes:
    return load_case(case, option)["frame_times"]


def slices_of(found: FrameTimes) -> np.ndarray:
    times_s = found.slice_times_s(N_FRAMES)
    assert times_s is not None
    return times_s


def centered(times_s: np.ndarray) -> np.ndarray:
    return times_s - times_s[:, 0].mean()


@pytest.mark.parametrize("times_s", [SLICES_S, ALTERNATING_S], ids=["alike", "alternating"])
@pytest.mark.parametrize("frames", [True, False], ids=["with frames", "alone"])
def test_times_of_slices_in_a_sidecar(tmp_path: Path, times_s: np.ndarray, frames: bool) -> None:
    means = times_s.mean(axis=0)
    content = {"SliceTimesStart": (times_s + 7).tolist()} | ({"FrameTimesStart": means.tolist()} if frames else {})
    found = times_of(write(tmp_path, content))
    assert found.source == "sidecar"
    assert found.dt_s == pytest.approx(np.median(np.diff(means)))
    np.testing.assert_allclose(slices_of(found), centered(times_s), atol=2e-3)


@pytest.mark.parametrize("direction", [None, "k", "k-"])
def test_slice_timing_of_bids_is_added_to_the_frames(tmp_path: Path, direction: str | None) -> None:
    content: dict[str, Any] = {"SliceTiming": OFFSETS_S.tolist()}
    if direction:
        content["SliceEncodingDirection"] = direction
    case = write(tmp_path, content)
    ordered_s = OFFSETS_S[::-1] if direction == "k-" else OFFSETS_S
    for option, source, dt_s in ((None, "header", 1.5), (2.0, "option", 2.0)):
        found = times_of(case, option)
        assert (found.source, found.dt_s) == (source, dt_s)
        expected = centered(dt_s * np.arange(N_FRAMES) + ordered_s[:, None])
        np.testing.assert_allclose(slices_of(found), expected, atol=1e-5)


def test_better_frame_times_keep_what_slices_differ_by(tmp_path: Path) -> None:
    case = write(tmp_path, {"SliceTimesStart": SLICES_S.tolist()})
    late_s = [*FRAMES_S[:10], *(FRAMES_S[9] + 3.0 * np.arange(1, 5))]
    found = times_of({**case, "times": late_s})
    assert found.source == "case"
    np.testing.assert_allclose(slices_of(found), centered(late_s + OFFSETS_S[:, None]), atol=1e-5)


def test_a_file_of_times_may_state_slices(tmp_path: Path) -> None:
    case = write(tmp_path, {})
    (tmp_path / "other.json").write_text(json.dumps({"SliceTimesStart": SLICES_S.tolist()}))
    found = times_of(case, tmp_path / "other.json")
    assert found.source == "option"
    np.testing.assert_allclose(slices_of(found), centered(SLICES_S), atol=1e-5)


@pytest.mark.parametrize(
    "content",
    [{"SliceTiming": [0.4] * 4}, {"SliceTimesStart": np.tile(FRAMES_S, (4, 1)).tolist()}, {"SliceTiming": None}],
)
def test_slices_that_are_taken_at_once_have_no_times_of_their_own(tmp_path: Path, content: dict[str, Any]) -> None:
    found = times_of(write(tmp_path, content))
    assert found.slice_times_s(N_FRAMES) is None
    assert "slice_offsets_s" not in found.as_json()
    assert "slice_times_s" not in LoadCased()({"image": str(tmp_path / "ctp.nii")})


def test_what_results_record_is_short(tmp_path: Path) -> None:
    found = times_of(write(tmp_path, {"SliceTimesStart": SLICES_S.tolist()})).as_json()
    assert found == {"source": "sidecar", "dt_s": 1.5, "slice_offsets_s": pytest.approx([-0.3, 0.2, -0.2, 0.3])}
    found = times_of(write(tmp_path, {"SliceTimesStart": ALTERNATING_S.tolist()})).as_json()
    assert np.shape(found["slice_offsets_s"]) == (4, N_FRAMES)
    loaded = LoadCased()({"image": str(tmp_path / "ctp.nii")})
    assert json.loads(loaded["times_record"]) == found


LETTERS = [
    "".join(codes) for pairs in itertools.permutations(("RL", "AP", "SI")) for codes in itertools.product(*pairs)
]


@pytest.mark.parametrize("codes", LETTERS)
def test_times_follow_their_slices_to_ras(tmp_path: Path, codes: str) -> None:
    """Each voxel holds its time, so that the times must be what the turned image says."""
    case = write(tmp_path, {"SliceTimesStart": SLICES_S.tolist()}, codes)
    if codes[2] not in "SI":
        message = (
            rf"^case 'one', image '.*ctp\.nii': expected the third voxel axis to point to S or I.*got {codes}; store"
        )
        with pytest.raises(CaseError, match=message):
            load_case(case)
        assert load_case(write(tmp_path, {}, codes))["frame_times"].slice_offsets_s is None
        return
    loaded = load_case(case)
    frame = CanonicalFrame(loaded["affine"], SHAPE)
    in_ras = frame.to_canonical(loaded["image"])
    found = LoadCased()(case)["slice_times_s"].numpy()
    np.testing.assert_allclose(found - found[0, 0], in_ras[0, 0] / 1000 - in_ras[0, 0, 0, 0] / 1000, atol=2e-3)


ROWS = SLICES_S.tolist()
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "slices": ({"SliceTimesStart": ROWS[:3]}, "SliceTimesStart of 3 slices"),
    "frames": ({"SliceTimesStart": [*ROWS[:3], ROWS[3][:-1]]}, "SliceTimesStart with 13 times for slice 3"),
    "flat": ({"SliceTimesStart": ROWS[0]}, "SliceTimesStart that is no list of lists"),
    "text": ({"SliceTimesStart": [*ROWS[:3], ["a", *ROWS[3][1:]]]}, "of slice 3 with 'a' at 0"),
    "nan": ({"SliceTimesStart": [*ROWS[:3], [float("nan"), *ROWS[3][1:]]]}, "of slice 3 with nan at 0"),
    "order": (
        {"SliceTimesStart": [ROWS[0], ROWS[1][::-1], *ROWS[2:]]},
        r"18\.5 s after 20 s \(slice 1, frame 1\), which",
    ),
    "means": (
        {"SliceTimesStart": ROWS, "FrameTimesStart": (2 * FRAMES_S).tolist()},
        r"whose means are up to 19\.5 s from the frame times in that file",
    ),
    "count": ({"SliceTiming": [0.0, 0.5]}, "SliceTiming of 2 slices"),
    "ms": ({"SliceTiming": [0, 500, 100, 600]}, r"spans 600 s, more than a frame of 1\.5 s: are these milliseconds"),
    "endless": ({"SliceTiming": [0, 0.5, 0.1, float("inf")]}, "SliceTiming with inf at 3"),
    "word": ({"SliceTiming": "ascending"}, "SliceTiming that is no list"),
    "axis": (
        {"SliceTiming": OFFSETS_S.tolist(), "SliceEncodingDirection": "i"},
        "SliceEncodingDirection 'i', where k or",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_times_that_no_slice_has_are_one_clear_error(tmp_path: Path, wrong: str) -> None:
    content, message = WRONG[wrong]
    case = write(tmp_path, content)
    with pytest.raises(CaseError, match=rf"^case 'one', times '.*ctp\.json': expected .*{message}") as caught:
        load_case(case)
    assert "\n" not in str(caught.value)
