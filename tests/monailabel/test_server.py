"""The bundle in MONAI Label's own server, over REST, as 3D Slicer asks it; `make test-monailabel`."""

import gzip
import json
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.monailabel.server import NAME, Refused

pytestmark = pytest.mark.slow


def segment(image, out, *options):
    """The mask of the command line, of the series alone."""
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(ROOT / "configs" / "inference.json")]
    command += ["--image", str(image), "--output_dir", str(out), "--device", "cpu", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=out, env=environment, check=True, capture_output=True)
    name = image.name.removesuffix(".nii.gz")
    return nib.load(out / name / f"{name}_lesion.nii.gz")


def mask(answer):
    return nib.Nifti1Image.from_bytes(gzip.decompress(answer))


def voxels(image):
    return np.asarray(image.dataobj)


def test_info_tells_what_the_model_is(server):
    model = server.get("/info/")["models"][NAME]
    metadata = json.loads((ROOT / "configs" / "metadata.json").read_text())
    assert model["type"] == "segmentation"
    assert model["labels"] == {"ischemic stroke lesion": 1}
    assert model["version"] == metadata["version"]
    assert model["config"]["mirror"] is True
    assert model["config"]["min_lesion_ml"] == 1.0
    assert model["config"]["model_filename"] == ["model.pt"]
    assert NAME in server.get("/info/")["trainers"]


@pytest.mark.parametrize("orientation", ["ras", "lps", "oblique"])
def test_the_mask_is_the_command_line_s_on_the_grid_of_the_image(orientation, server, studies, tmp_path):
    found, expected = mask(server.infer(orientation)), segment(studies / f"{orientation}.nii.gz", tmp_path)
    assert voxels(expected).sum() > 100
    np.testing.assert_array_equal(voxels(found), voxels(expected))
    np.testing.assert_allclose(found.affine, nib.load(studies / f"{orientation}.nii.gz").affine, atol=1e-3)


def test_the_options_of_the_config_change_the_mask_as_on_the_command_line(server, studies, tmp_path):
    found = voxels(mask(server.infer("ras", mirror=False, min_lesion_ml=0)))
    expected = voxels(segment(studies / "ras.nii.gz", tmp_path, "--mirror", "False", "--min_lesion_ml", "0"))
    np.testing.assert_array_equal(found, expected)
    default = voxels(mask(server.infer("ras")))
    assert (found != default).any()
    assert not voxels(mask(server.infer("ras", min_lesion_ml=1e6))).any()
    np.testing.assert_array_equal(voxels(mask(server.infer("ras", mirror=1, cbf=""))), default)  # as Slicer sends them


def test_maps_come_as_paths_or_from_the_folders_beside_the_series(server, studies, case, tmp_path):
    keys = ("cbf", "cbv", "mtt", "tmax")
    paths = {}
    for key in keys:
        image = nib.load(case[key])
        paths[key] = tmp_path / f"{key}.nii.gz"
        nib.save(image.as_reoriented(nib.io_orientation(image.affine)), paths[key])
    given = voxels(mask(server.infer("ras", **{key: str(path) for key, path in paths.items()})))
    assert (given != voxels(mask(server.infer("ras")))).any()
    folders = [studies / key for key in keys]
    try:
        for folder in folders:
            folder.mkdir()
            (folder / "ras.nii.gz").write_bytes(paths[folder.name].read_bytes())
        np.testing.assert_array_equal(voxels(mask(server.infer("ras", use_given_maps=True))), given)
        assert (voxels(mask(server.infer("ras"))) != given).any(), "by default they are computed"
    finally:
        for folder in folders:
            (folder / "ras.nii.gz").unlink(missing_ok=True)
            folder.rmdir()


@pytest.mark.parametrize(
    ("image", "params", "expected"),
    [
        ("flat", {}, r"case 'flat', image '.*flat.nii.gz': expected a 4D series (H, W, D, T), got 3D"),
        ("timeless", {}, "case 'timeless', image '.*timeless.nii.gz': expected a time between frames"),
        ("text", {}, "case 'text', image '.*text.nii.gz': expected a readable NIfTI file"),
        ("ras", {"tmax": "nowhere.nii"}, "case 'ras', tmax 'nowhere.nii': expected a file, got nothing there"),
        ("ras", {"mirror": "$print('run')"}, "mirror: expected true or false"),
        ("ras", {"min_lesion_ml": -1}, "min_lesion_ml: expected a volume in ml"),
    ],
)
def test_the_client_reads_what_is_wrong(image, params, expected, server):
    with pytest.raises(Refused) as refused:
        server.infer(image, **params)
    assert refused.value.status == 422
    detail = json.loads(refused.value.body)["detail"]
    start, _, rest = expected.partition(".*")
    assert start in detail
    assert rest in detail
    assert "\n" not in detail
    assert "Traceback" not in detail


def test_a_map_on_another_grid_is_named(server, case, tmp_path):
    image = nib.load(case["tmax"])
    path = tmp_path / "tmax.nii.gz"
    nib.save(image.slicer[:, :, :-1], path)
    with pytest.raises(Refused, match="expected the grid .* of 'image'"):
        server.infer("ras", tmax=str(path))


def test_the_warnings_of_a_case_come_with_the_mask(server):
    answer = server.infer_json("ras")
    assert isinstance(answer["warnings"], str)
    assert answer["label_names"] == {"ischemic stroke lesion": 1}
