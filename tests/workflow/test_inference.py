import csv

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from scripts.workflow.result_writer import lesion_row
from tests.conftest import axial_affine

CBF = 6
COPY = {
    "network_def": {"_target_": "tests.workflow.copying.CopyChannel", "channel": CBF},
    "checkpoint_loader#_disabled_": True,
    "min_lesion_ml": 0,
    "use_given_maps": True,
}


def oblique(spacing_mm):
    affine = axial_affine(spacing_mm)
    affine[:3, :3] = Rotation.from_euler("xyz", (17, -11, 8), degrees=True).as_matrix() @ affine[:3, :3]
    return affine


def blob(shape, seed=3):
    return gaussian_filter(np.random.default_rng(seed).normal(size=shape), (3, 3, 0.7)) > 0.06


GRIDS = {
    "RAS": ((256, 256, 3), axial_affine((0.9, 0.9, 8.0))),
    "LPS": ((256, 256, 3), axial_affine((0.9, 0.9, 8.0), "LPS")),
    "LAI": ((256, 256, 3), axial_affine((0.9, 0.9, 8.0), "LAI")),
    "oblique": ((256, 256, 3), oblique((0.9, 0.9, 8.0))),
    "220 x 220": ((220, 220, 2), axial_affine((1.0, 1.0, 8.0))),
    "190 x 250": ((190, 250, 2), axial_affine((0.9, 0.9, 8.0), "LPS")),
    "128 x 128": ((128, 128, 2), axial_affine((1.8, 1.8, 5.0))),
    "one slice": ((256, 256, 1), axial_affine((0.9, 0.9, 8.0))),
}


@pytest.mark.parametrize("name", [*GRIDS, "512 x 512", "slices first"])
def test_a_copied_channel_comes_back_on_its_own_grid(name, workflow, write_case, tmp_path):
    if name == "512 x 512":
        # A grid twice as fine as the network's can come back exactly only where it holds blocks of two by two.
        shape, affine = (512, 512, 2), axial_affine((0.45, 0.45, 8.0))
        mask = blob((256, 256, 2)).repeat(2, axis=0).repeat(2, axis=1)
    elif name == "slices first":
        shape, affine = (3, 256, 256), np.eye(4)
        affine[:3, :3] = np.array([[0, 0.9, 0], [0, 0, 0.9], [8.0, 0, 0]])
        mask = np.moveaxis(blob((256, 256, 3)), 2, 0)
    else:
        shape, affine = GRIDS[name]
        mask = blob(shape)
    case = write_case("case_9", shape=(256, 256, 3) if name == "slices first" else shape, affine=affine, frames=14)
    if name == "slices first":  # a head, stored with its slices along the first axis
        for key in set(case) - {"case"}:
            image = nib.load(case[key], mmap=False)
            moved = np.moveaxis(np.asarray(image.dataobj), 2, 0)
            nib.save(nib.Nifti1Image(moved, affine, image.header), case[key])
    nib.save(nib.Nifti1Image(np.where(mask, 60, 40).astype(np.float32), affine), case["cbf"])

    workflow(
        "inference",
        workflow_type="infer",
        image_size=256,
        output_dir=str(tmp_path / "out"),
        **COPY,
        **{"dataset#data": [case]},
    ).run()

    lesion = nib.load(tmp_path / "out" / "case_9" / "case_9_lesion.nii.gz")
    np.testing.assert_array_equal(np.asarray(lesion.dataobj), mask)
    np.testing.assert_allclose(lesion.affine, affine, atol=1e-5)
    assert lesion.get_data_dtype() == np.uint8
    assert not (tmp_path / "out" / "case_9" / "case_9_pseudo_dwi.nii.gz").exists()


def test_a_smooth_lesion_on_a_512_grid_comes_back_to_a_hundredth(workflow, write_case, tmp_path):
    affine = axial_affine((0.45, 0.45, 8.0), "LPS")
    mask = gaussian_filter(np.random.default_rng(1).normal(size=(512, 512, 2)), (14, 14, 0)) > 0.01
    case = write_case("case_9", shape=(512, 512, 2), affine=affine, frames=12)
    nib.save(nib.Nifti1Image(np.where(mask, 60, 40).astype(np.float32), affine), case["cbf"])
    workflow("inference", workflow_type="infer", image_size=256, **COPY, **{"dataset#data": [case]}).run()
    lesion = np.asarray(nib.load(tmp_path / "eval" / "case_9" / "case_9_lesion.nii.gz").dataobj) > 0
    assert 2 * (lesion & mask).sum() / (lesion.sum() + mask.sum()) > 0.99


def test_components_below_the_smallest_lesion_are_dropped(workflow, write_case, tmp_path):
    mask = np.zeros((64, 64, 3), dtype=bool)
    mask[10:14, 10:13, 1] = True  # 12 voxels of 3.6 x 3.6 x 8 mm: 1.24 ml
    mask[40:43, 40:43, 1] = True  # 9 voxels: 0.93 ml
    case = write_case("case_9")
    nib.save(nib.Nifti1Image(np.where(mask, 60, 40).astype(np.float32), axial_affine()), case["cbf"])
    overrides = {**COPY, "min_lesion_ml": 1.0, "dataset#data": [case]}
    workflow("inference", workflow_type="infer", image_size=64, **overrides).run()
    lesion = np.asarray(nib.load(tmp_path / "eval" / "case_9" / "case_9_lesion.nii.gz").dataobj) > 0
    mask[40:43, 40:43] = False
    np.testing.assert_array_equal(lesion, mask)


@pytest.fixture
def trained(workflow):
    workflow("train").run()


def test_inference_writes_three_images_and_a_row_for_every_case(trained, workflow, dataset_dir):
    inference = workflow("inference", workflow_type="infer", min_lesion_ml=0)
    assert inference.check_properties() == []
    inference.run()
    with (dataset_dir / "eval" / "cases.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["case"] for row in rows] == ["case_4", "case_5"]
    for row in rows:
        folder = dataset_dir / "eval" / row["case"]
        images = {
            name: nib.load(folder / f"{row['case']}_{name}.nii.gz") for name in ("lesion", "probability", "pseudo_dwi")
        }
        series = nib.load(dataset_dir / row["case"] / "image.nii")
        for image in images.values():
            assert image.shape == series.shape[:3]
            np.testing.assert_allclose(image.affine, series.affine)
        lesion, probability = (np.asarray(images[name].dataobj) for name in ("lesion", "probability"))
        np.testing.assert_array_equal(lesion, probability >= 0.5)
        assert [images[name].get_data_dtype() for name in ("probability", "pseudo_dwi")] == [np.float32] * 2
        assert float(row["lesion_volume_ml"]) == pytest.approx(lesion.sum() * 3.6 * 3.6 * 8 / 1000, abs=1e-3)
    assert sorted(path.name for path in (dataset_dir / "eval").iterdir() if path.is_dir()) == ["case_4", "case_5"]


def test_inference_runs_on_the_series_alone(trained, workflow, dataset_dir):
    image = str(dataset_dir / "case_4" / "image.nii")
    workflow("inference", workflow_type="infer", image=image, output_dir=str(dataset_dir / "alone")).run()
    assert (dataset_dir / "alone" / "case_4" / "case_4_lesion.nii.gz").exists()


def test_a_second_run_replaces_the_first(trained, workflow, dataset_dir):
    for _ in range(2):
        workflow("inference", workflow_type="infer").run()
    assert len(list((dataset_dir / "eval" / "case_4").iterdir())) == 4


def test_evaluation_measures_every_case_on_its_own_grid(trained, workflow, dataset_dir):
    evaluation = workflow("evaluate")
    assert evaluation.check_properties() == []
    evaluation.run()
    with (dataset_dir / "eval" / "metrics.csv").open() as stream:
        rows = {row["case"]: row for row in csv.DictReader(stream)}
    workflow("inference", workflow_type="infer").run()
    for case, row in rows.items():
        lesion = np.asarray(nib.load(dataset_dir / "eval" / case / f"{case}_lesion.nii.gz").dataobj) > 0
        label = np.asarray(nib.load(dataset_dir / case / "label.nii").dataobj) > 0
        dice = 2 * (lesion & label).sum() / (lesion.sum() + label.sum())
        assert float(row["dice"]) == pytest.approx(dice, abs=1e-5)


def test_a_row_counts_axial_slices_and_the_largest_component():
    lesion = np.zeros((4, 10, 10), dtype=bool)
    lesion[1:3, 2:4, 2:4] = True
    lesion[2, 8, 8] = True
    affine = np.diag([8.0, 1.0, 1.0, 1.0])[[1, 2, 0, 3]]
    row = lesion_row("case_1", lesion, affine, "a warning")
    assert row == {
        "case": "case_1",
        "lesion_volume_ml": 0.072,
        "lesion_slices": 2,
        "largest_component_ml": 0.064,
        "components": 2,
        "warnings": "a warning",
    }
    assert lesion_row("case_2", np.zeros((3, 3, 3), bool), np.eye(4))["largest_component_ml"] == 0


@pytest.mark.parametrize("config", ["evaluate", "inference"])
def test_the_published_widths_infer(config, workflow):
    parser = workflow(config, "paper", workflow_type="infer", features=[64, 128, 256, 512, 1024]).parser
    network = parser.get_parsed_content("network").eval()
    with torch.no_grad():
        assert network(torch.rand(1, 11, 32, 32)).shape == (1, 2, 32, 32)
    assert sum(parameter.numel() for parameter in network.segmentor.parameters()) > 33e6
