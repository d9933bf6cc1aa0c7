import itertools
import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose

from scripts.io.case import MAP_KEYS
from scripts.transforms import CasePreprocessing
from scripts.transforms.preprocessing import WINDOWS
from scripts.workflow.case_dataset import root_error
from tests.conftest import axial_affine
from tests.perfusion.head import N_FRAMES, SPACING_MM, head


def scaled(volume, key):
    low, high = WINDOWS[key]
    return np.clip((volume - low) / (high - low), 0, 1)


def read(path):
    return np.asarray(nib.load(path).dataobj)


def test_the_channels_and_their_order(write_case):
    case = write_case()
    image = CasePreprocessing(size=64)(case)["image"]
    assert image.shape == (11, 64, 64, 3)
    assert image.dtype == torch.float32
    series = read(case["image"])
    for channel, key in enumerate(("cbf", "cbv", "mtt", "tmax"), start=6):
        np.testing.assert_allclose(image[channel], scaled(read(case[key]), key), atol=1e-5)
    np.testing.assert_allclose(image[10], scaled(series.max(axis=3), "mip"), atol=1e-5)
    # The summed curve of the case rises from frame 3 and falls until frame 17; the end of the crop is among its frames.
    np.testing.assert_allclose(image[0], scaled(series[..., 3], "image"), atol=1e-5)


def test_training_brings_label_and_dwi_along(write_case):
    case = write_case(affine=axial_affine(codes="LPS"))
    output = CasePreprocessing(("image", "dwi", "label"), size=64)(case)
    np.testing.assert_array_equal(output["label"][0], read(case["label"])[::-1, ::-1])
    dwi = read(case["dwi"])
    expected = np.clip((dwi - dwi.min()) / (np.percentile(dwi, 99) - dwi.min()), 0, 1)
    np.testing.assert_allclose(output["dwi"][0], expected[::-1, ::-1], atol=1e-5)


def test_evaluation_leaves_label_and_dwi_on_the_grid_of_the_case(write_case):
    case = write_case(shape=(48, 40, 3))
    output = CasePreprocessing(size=64)(case)
    assert output["image"].shape == (11, 64, 64, 3)
    assert output["label"].shape == output["dwi"].shape == (1, 48, 40, 3)


def test_only_the_series_is_required(write_case):
    case = write_case()
    output = CasePreprocessing(size=64)({"image": case["image"]})
    assert output["image"].shape == (11, 64, 64, 3)
    assert output["case"] == "case_1"
    assert "label" not in output
    assert torch.isfinite(output["image"]).all()
    assert output["image"][6].max() > 0.1, "the flow was computed"


def test_a_given_map_is_kept_and_a_missing_one_computed(write_case):
    case = write_case()
    del case["cbv"]
    image = CasePreprocessing(size=64)(case)["image"]
    np.testing.assert_allclose(image[6], scaled(read(case["cbf"]), "cbf"), atol=1e-5)
    assert image[7].max() > 0


@pytest.mark.parametrize("frames", [2, 6, 10])
def test_the_number_of_frames_is_free(write_case, frames):
    assert CasePreprocessing(frames=frames, size=64)(write_case())["image"].shape[0] == frames + 5


@pytest.mark.parametrize(
    ("channels", "same_as"),
    [(["cbf", "cbv", "mtt", "tmax"], range(6, 10)), (["image"], range(6)), (["tmax", "mip"], [9, 10])],
)
def test_fewer_channels_are_the_same_ones(write_case, channels, same_as):
    case = write_case()
    chosen = CasePreprocessing(size=64, channels=channels)(case)
    assert "cbf" not in chosen
    assert torch.equal(chosen["image"], CasePreprocessing(size=64)(case)["image"][list(same_as)])


def test_the_true_dwi_as_the_input(write_case):
    output = CasePreprocessing(("image", "dwi", "label"), size=64, channels=["dwi"])(write_case())
    assert torch.equal(output["image"], output["dwi"])


def test_a_case_without_the_dwi_that_is_the_input_is_named(write_case):
    with pytest.raises(RuntimeError) as caught:
        CasePreprocessing(size=64, channels=["dwi"])(write_case(dwi=False))
    assert "case 'case_1', dwi" in str(root_error(caught.value))


@pytest.mark.parametrize("channels", [[], ["cbf", "cbf"], ["adc"]])
def test_unknown_channels(channels):
    with pytest.raises(ValueError, match="channels must be different ones of"):
        CasePreprocessing(channels=channels)


def test_the_time_between_frames_may_be_given(write_case):
    case = write_case()
    image = nib.load(case["image"], mmap=False)
    image.header["pixdim"][4] = 0  # a header that does not tell
    nib.save(image, case["image"])
    del case["cbf"]
    with pytest.raises(RuntimeError) as caught:
        CasePreprocessing(size=64)(case)
    assert "give dt_s" in str(root_error(caught.value))
    slow, fast = (CasePreprocessing(size=64, channels=["cbf"], dt_s=dt_s)(case)["image"] for dt_s in (3.0, 1.5))
    assert fast.mean() > slow.mean() > 0


def axis_orders():
    """All 48 ways to store three axes: six orders, each axis either way round."""
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            yield np.array(list(zip(order, flips, strict=True)))


def test_the_maps_do_not_depend_on_the_order_of_the_axes(tmp_path):
    series = head(stripped=False)[0][:36, ::2, ::2]  # every other pixel, and fewer frames: 48 cases are many
    affine = np.diag([2 * SPACING_MM[0], 2 * SPACING_MM[1], SPACING_MM[2], 1.0])
    image = nib.Nifti1Image(series.permute(1, 2, 3, 0).numpy(), affine)
    preprocessing = CasePreprocessing(size=48, channels=MAP_KEYS, dt_s=1.0)
    load = Compose(preprocessing.transforms[:2])  # makes all that the maps are computed from
    first = maps = None
    for number, order in enumerate(axis_orders()):
        path = tmp_path / "series.nii"
        reordered = image.as_reoriented(order)
        name = str(nib.aff2axcodes(reordered.affine))
        nib.save(reordered, path)
        case = {"image": str(path)}
        oriented = load(case)["image"]
        first = oriented if first is None else first
        np.testing.assert_array_equal(oriented, first, err_msg=name)
        np.testing.assert_allclose(oriented.affine, first.affine, atol=1e-9, err_msg=name)
        if number % 11 == 0:  # five of all kinds, to the end
            found = preprocessing(case)["image"].numpy()
            maps = found if maps is None else maps
            np.testing.assert_allclose(found, maps, atol=1e-3, err_msg=name)
    assert maps.max(axis=(1, 2, 3)).min() > 0.05, "all four maps show something"


def test_two_phases_show_what_even_frames_do(tmp_path):
    """A late phase with half of the frames gives the same network input with its sidecar, and another without."""
    times_s = np.arange(N_FRAMES, dtype=float)
    kept = np.r_[0:24, 24:N_FRAMES:2]
    series = head(stripped=False, noise_hu=0.0)[0].permute(1, 2, 3, 0).numpy()
    affine = np.diag([*SPACING_MM, 1.0])
    images = {}
    for name, frames in {"even": slice(None), "header": kept, "sidecar": kept}.items():
        image = nib.Nifti1Image(series[..., frames], affine)
        image.header.set_xyzt_units("mm", "sec")
        image.header["pixdim"][4] = np.diff(times_s[frames]).mean()
        nib.save(image, tmp_path / f"{name}.nii")
        if name == "sidecar":
            (tmp_path / "sidecar.json").write_text(json.dumps({"FrameTimesStart": times_s[frames].tolist()}))
        output = CasePreprocessing(size=64)({"image": str(tmp_path / f"{name}.nii")})
        images[name] = output["image"].numpy()
    assert output["times_source"] == "sidecar"
    assert output["times_s"].tolist() == times_s[kept].tolist()
    assert "times_conflict" in output["warnings"]
    errors = {name: np.abs(images[name] - images["even"]).mean(axis=(1, 2, 3)) for name in ("header", "sidecar")}
    for channels in (slice(0, 6), [6], [8], [9]):  # frames, CBF, MTT, Tmax
        assert errors["sidecar"][channels].mean() < 0.5 * errors["header"][channels].mean()


def test_given_maps_can_be_left_out(write_case):
    case = write_case()
    computed = CasePreprocessing(size=64, use_given_maps=False)(case)
    alone = CasePreprocessing(size=64)({"image": case["image"], "case": "case_1"})
    assert torch.equal(computed["image"], alone["image"])
    given = CasePreprocessing(size=64, use_given_maps=False)({**case, "use_given_maps": True})
    assert torch.equal(given["image"], CasePreprocessing(size=64)(case)["image"])
    assert not torch.equal(given["image"], computed["image"])
