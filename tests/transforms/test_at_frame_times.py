"""The network sees slices with times of their own as if they had been taken at once."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from scripts.transforms import AtFrameTimesd, CasePreprocessing
from tests.perfusion.slices import SPACING_MM, jog, sampled_head

INTERVAL_S, N_FRAMES = 1.5, 40
JOG_S = jog(INTERVAL_S, N_FRAMES)
AT_ONCE_S = np.tile(JOG_S.mean(axis=0), (4, 1))


def write(folder: Path, name: str, times_s: np.ndarray, *, stated: bool, codes: str = "RAS") -> dict[str, str]:
    """A case stored with its axes along these letters, and its sidecar."""
    series = sampled_head(times_s, arteries=(0, 1, 2, 3), noise_hu=0.0).permute(1, 2, 3, 0).numpy()
    turned = tuple(axis for axis in range(3) if codes[axis] != "RAS"[axis])
    affine = np.diag([*SPACING_MM, 1.0])
    for axis in turned:
        affine[axis, 3] = (series.shape[axis] - 1) * affine[axis, axis]
        affine[axis, axis] *= -1
    image = nib.Nifti1Image(np.flip(series, turned), affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = INTERVAL_S
    nib.save(image, folder / f"{name}.nii")
    if stated:
        stored_s = np.flip(times_s, 0) if 2 in turned else times_s
        (folder / f"{name}.json").write_text(json.dumps({"SliceTimesStart": stored_s.tolist()}))
    return {"image": str(folder / f"{name}.nii"), "case": name}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("series")
    cases = [
        write(folder, "at_once", AT_ONCE_S, stated=False),
        write(folder, "jog", JOG_S, stated=True),
        write(folder, "stored_lpi", JOG_S, stated=True, codes="LPI"),
        write(folder, "ignored", JOG_S, stated=False),
    ]
    preprocessing = CasePreprocessing(size=64)
    return {case["case"]: preprocessing(case) for case in cases}


def test_the_network_s_input_is_that_of_slices_taken_at_once(inputs: dict[str, dict]) -> None:
    at_once = inputs["at_once"]["image"].numpy()
    errors = {name: np.abs(inputs[name]["image"].numpy() - at_once).mean(axis=(1, 2, 3)) for name in ("jog", "ignored")}
    assert errors["jog"][:6].mean() < 0.5 * errors["ignored"][:6].mean()  # the frames
    assert errors["jog"][9] < 0.5 * errors["ignored"][9]  # Tmax
    assert (errors["jog"] < 0.02).all(), errors["jog"]
    assert "slice_times_s" not in inputs["ignored"]


def test_another_order_in_the_file_gives_the_same_input(inputs: dict[str, dict]) -> None:
    jog_input, turned = inputs["jog"], inputs["stored_lpi"]
    np.testing.assert_allclose(turned["slice_times_s"], jog_input["slice_times_s"], atol=1e-6)
    difference = (turned["image"].as_tensor() - jog_input["image"].as_tensor()).abs().amax(dim=(1, 2, 3))
    assert (difference < 1e-2).all(), difference


def test_a_projection_keeps_the_peaks_that_were_measured(tmp_path: Path) -> None:
    case = write(tmp_path, "jog", JOG_S, stated=True)
    output = CasePreprocessing(size=64, channels=("mip",))(case)["image"][0].numpy()
    with_frames = CasePreprocessing(size=64)(case)["image"][10].numpy()
    np.testing.assert_array_equal(output, with_frames)


def test_a_case_without_times_of_slices_stays_as_it_is() -> None:
    data: dict[Any, Any] = {"image": MetaTensor(torch.rand(12, 4, 4, 3)), "times_s": torch.arange(12)}
    assert AtFrameTimesd()(data)["image"] is data["image"]


def test_keeps_the_affine_and_refuses_times_of_other_slices() -> None:
    affine = torch.diag(torch.tensor([2.0, 2.0, 5.0, 1.0], dtype=torch.float64))
    data: dict[Any, Any] = {
        "image": MetaTensor(torch.rand(12, 4, 4, 3), affine=affine),
        "slice_times_s": torch.arange(12.0).repeat(3, 1),
    }
    output = AtFrameTimesd()(data)["image"]
    assert torch.equal(output.affine, affine)
    torch.testing.assert_close(output.as_tensor(), data["image"].as_tensor())
    with pytest.raises(ValueError, match=r"slice_times_s must have a time for 3 slices in 12 frames, got \(2, 12\)"):
        AtFrameTimesd()({**data, "slice_times_s": data["slice_times_s"][:2]})
