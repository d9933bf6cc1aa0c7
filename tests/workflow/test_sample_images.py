import io

import mlflow
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.utils import path_to_sqlite_uri
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from scripts.workflow.sample_images import PREDICTION_COLOR, TRUTH_COLOR, SampleImages
from tests.conftest import ROOT, axial_affine


def events(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    accumulator.Reload()
    return accumulator


@pytest.fixture
def trained(workflow, dataset_dir):
    workflow("train", epochs=2).run()
    return dataset_dir / "eval"


def test_a_training_shows_terms_learning_rate_metric_and_a_picture_of_every_validation(trained):
    shown = events(trained)
    scalars = shown.Tags()["scalars"]
    assert {"loss", "segmentation", "learning_rate", "val_mean_dice"} <= set(scalars), scalars
    rates = [event.value for event in shown.Scalars("learning_rate")]
    assert rates[0] == pytest.approx(0.001)
    assert rates[-1] < rates[0]
    assert [event.step for event in shown.Images("sample")] == [1, 2]
    last = Image.open(io.BytesIO(shown.Images("sample")[-1].encoded_image_string))
    assert last.size == (4 * 32, 32)  # input, pseudo-DWI, DWI, outlines
    assert np.abs(np.asarray(last).astype(int) - np.asarray(Image.open(trained / "sample.png"))).max() <= 1


def colors(picture):
    """(H, W) masks of the pixels that have the color of the prediction and of the truth."""
    return [
        np.all(np.isclose(picture.numpy(), np.array(color)[:, None, None], atol=1e-6), axis=0)
        for color in (PREDICTION_COLOR, TRUTH_COLOR)
    ]


def image_of(mask, codes):
    """A mask given in RAS, stored along other axes."""
    affine = axial_affine((1, 1, 5))
    image = nib.Nifti1Image(mask.astype(np.float32), affine)
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes))
    image = image.as_reoriented(turn)
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(image.get_fdata()))[None], affine=image.affine)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SLA"])
def test_the_outlines_lie_where_the_masks_are_whatever_grid_they_come_on(codes, tmp_path):
    prediction, truth = np.zeros((2, 40, 30, 4), bool)
    prediction[30:36, 20:26, 2] = True  # to the patient's right, in front
    truth[4:10, 3:9, 2] = True  # to the left, behind
    network_input = MetaTensor(torch.rand(11, 40, 30, 4), affine=axial_affine((1, 1, 5)))
    case = {"image": network_input, "pred": image_of(prediction, codes), "label": image_of(truth, codes)}
    picture = SampleImages(tmp_path).picture(case)
    assert picture.shape == (3, 30, 2 * 40)
    expected = network_input[10, :, :, 2].T.flip(0, 1).as_tensor()
    torch.testing.assert_close(picture[0, :, :40], expected)
    for found, mask in zip(colors(picture[:, :, 40:]), (prediction, truth), strict=True):
        rows, columns = np.nonzero(found)
        x, y = np.nonzero(mask[..., 2])
        assert (rows.min(), rows.max()) == (29 - y.max(), 29 - y.min())  # anterior up
        assert (columns.min(), columns.max()) == (39 - x.max(), 39 - x.min())  # the patient's right on the left


def test_a_case_with_no_lesion_shows_its_middle_slice(tmp_path):
    network_input = MetaTensor(torch.rand(11, 8, 8, 5), affine=axial_affine((1, 1, 5)))
    nothing = MetaTensor(torch.zeros(1, 8, 8, 5), affine=axial_affine((1, 1, 5)))
    picture = SampleImages(tmp_path, channel=0).picture({"image": network_input, "pred": nothing, "label": nothing})
    torch.testing.assert_close(picture[0, :, 8:], network_input[0, :, :, 2].T.flip(0, 1).as_tensor())


def test_mlflow_shows_terms_learning_rate_metric_and_the_picture(workflow, dataset_dir):
    workflow("train", tracking=str(ROOT / "configs" / "mlflow.json"), epochs=2).run()
    client = mlflow.MlflowClient(path_to_sqlite_uri(str(dataset_dir / "eval" / "mlruns.db")))
    experiment = client.get_experiment_by_name("ctp_stroke_lesion_segmentation")
    (run,) = client.search_runs(experiment.experiment_id)
    assert {"loss", "segmentation", "lr_group_0", "val_mean_dice"} <= set(run.data.metrics)
    assert len(client.get_metric_history(run.info.run_id, "val_mean_dice")) == 2
    assert [artifact.path for artifact in client.list_artifacts(run.info.run_id)] == ["sample.png"]


@pytest.mark.parametrize("settings", ["mlflow", str(ROOT / "configs" / "mlflow.json")])
def test_mlflow_has_an_evaluation_that_is_finished(settings, workflow, dataset_dir):
    uri = path_to_sqlite_uri(str(dataset_dir / "mlruns.db"))
    evaluation = workflow(
        "evaluate", tracking=settings, tracking_uri=uri, experiment_name="e", **{"checkpoint_loader#_disabled_": True}
    )
    evaluation.run()
    evaluation.finalize()
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs(client.get_experiment_by_name("e").experiment_id)
    assert "val_mean_dice" in run.data.metrics
    assert run.info.status == "FINISHED"  # the next run without a name would go on with it
