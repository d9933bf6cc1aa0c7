"""Training in MONAI Label's own server, from labels that a client submits; `make test-monailabel`."""

import re
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import ROOT
from tests.monailabel.test_server import mask, segment, voxels

pytestmark = pytest.mark.slow

LABELED = ("ras", "lps", "oblique")


def like(volume, series):
    """A volume of the phantom, on the grid of one of the series made from the phantom's."""
    volume = volume.as_reoriented(nib.io_orientation(volume.affine))
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(nib.aff2axcodes(series.affine))
    )
    return nib.Nifti1Image(np.asanyarray(volume.as_reoriented(turn).dataobj), series.affine)


@pytest.fixture(scope="module")
def labeled(server, studies, case, tmp_path_factory):
    """The server, with a final label for each of three series."""
    folder = tmp_path_factory.mktemp("labels")
    for name in LABELED:
        label = like(nib.load(case["label"]), nib.load(studies / f"{name}.nii.gz"))
        nib.save(label, folder / f"{name}.nii.gz")
        server.save_label(name, folder / f"{name}.nii.gz")
    return server


def weights(server):
    return torch.load(server.bundle / "models" / "model.pt", weights_only=True)


def logged(server, tag):
    """The values of a curve in TensorBoard's files of the last training."""
    accumulator = EventAccumulator(str(server.bundle / "eval"))
    accumulator.Reload()
    return [event.value for event in accumulator.Scalars(tag)]


@pytest.mark.parametrize("with_dwi", [False, True])
def test_an_epoch_from_labels_goes_on_from_the_weights_and_is_inferred_with(with_dwi, labeled, studies, case, tmp_path):
    if with_dwi:
        (studies / "dwi").mkdir()
        for name in LABELED:
            nib.save(
                like(nib.load(case["dwi"]), nib.load(studies / f"{name}.nii.gz")), studies / "dwi" / f"{name}.nii.gz"
            )
    shutil.rmtree(labeled.bundle / "eval", ignore_errors=True)
    before = weights(labeled)
    restored = labeled.log.read_text().count("Restored all variables from")

    labeled.train(val_split=0.34)

    after = weights(labeled)
    assert labeled.log.read_text().count("Restored all variables from") == restored + 1
    changes = torch.cat(
        [(after[key] - before[key]).flatten().abs() for key in before if before[key].is_floating_point()]
    )
    assert 0 < changes.median() < 0.01  # from other weights than those before they would differ by more
    assert any(value > 0 for value in logged(labeled, "synthesis")) == with_dwi
    assert len(logged(labeled, "val_mean_dice")) == 1
    found = voxels(mask(labeled.infer("lps")))
    expected = segment(studies / "lps.nii.gz", tmp_path, "--ckpt_path", str(labeled.bundle / "models" / "model.pt"))
    np.testing.assert_array_equal(found, voxels(expected))


def test_other_weights_can_be_asked_for(labeled, studies, tmp_path):
    shutil.copy(ROOT / "models" / "model.pt", labeled.bundle / "models" / "shipped.pt")
    shipped = voxels(mask(labeled.infer("lps", model_filename="shipped.pt")))
    np.testing.assert_array_equal(shipped, voxels(segment(studies / "lps.nii.gz", tmp_path)))
    last = voxels(mask(labeled.infer("lps", model_filename="checkpoint_last.pt")))
    np.testing.assert_array_equal(last, voxels(mask(labeled.infer("lps"))))  # after one epoch the last are the best
    assert (shipped != last).any()


def test_in_the_background_the_log_names_a_bad_label(labeled, studies, case, tmp_path):
    before = weights(labeled)
    label = like(nib.load(case["label"]), nib.load(studies / "ras.nii.gz"))
    nib.save(nib.Nifti1Image(2 * np.asanyarray(label.dataobj), label.affine), tmp_path / "ras.nii.gz")
    labeled.save_label("ras", tmp_path / "ras.nii.gz")
    labeled.train(run_sync=False, val_split=0.34)
    assert labeled.wait_for_training()["status"] == "ERROR"
    log = labeled.text("/logs/?html=false&lines=1000")
    assert re.search(r"case 'ras', label '.*ras.nii.gz': expected only 0 and 1 \(1 = lesion\), got also 2", log)
    assert all(torch.equal(value, before[key]) for key, value in weights(labeled).items())
