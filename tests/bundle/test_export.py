"""Exports agree with PyTorch, and a file that does not agree never appears."""

import json
import sys
from types import ModuleType

import nibabel as nib
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from monai.data import load_net_with_metadata

from bundle import export
from bundle.__main__ import main
from scripts.networks import StrokeLesionNet
from tests.conftest import ROOT

WIDTHS = [2, 4, 4]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of small widths, with statistics of batch normalization that differ from those it starts with."""
    torch.manual_seed(0)
    network = StrokeLesionNet(WIDTHS)
    for _ in range(3):
        network(torch.rand(2, 11, 32, 32))
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def network(weights):
    net = StrokeLesionNet(WIDTHS)
    net.load_state_dict(torch.load(weights, weights_only=True))
    return net.eval()


def command(form, weights, out):
    return main(
        ["export", "--format", form, "--out", str(out), "--ckpt-path", str(weights), "--features", *map(str, WIDTHS)]
    )


def test_torchscript_holds_the_network_and_the_metadata(weights, network, tmp_path, capsys):
    assert command("ts", weights, tmp_path / "model.ts") == 0
    assert capsys.readouterr().out.count("largest difference from PyTorch") == 4
    scripted, metadata, extra = load_net_with_metadata(str(tmp_path / "model.ts"), more_extra_files=["inference.json"])
    assert metadata == json.loads((ROOT / "configs" / "metadata.json").read_text())
    assert json.loads(extra["inference.json"]) == json.loads((ROOT / "configs" / "inference.json").read_text())
    image = torch.rand(2, 11, 47, 32)
    with torch.no_grad():
        torch.testing.assert_close(scripted(image), network(image), atol=1e-4, rtol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["model.ts"]


@pytest.mark.slow
def test_onnx_takes_any_batch_and_any_size(weights, network, tmp_path, capsys):
    assert command("onnx", weights, tmp_path / "model.onnx") == 0
    assert "onnx -> " in capsys.readouterr().out
    model = onnx.load(tmp_path / "model.onnx")
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    assert {"name", "version", "intended_use", "copyright"} == {entry.key for entry in model.metadata_props}
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (entry,), (result,) = session.get_inputs(), session.get_outputs()
    assert (entry.name, entry.shape) == ("image", ["batch", 11, "height", "width"])
    assert (result.name, result.shape) == ("pred", ["batch", 2, "height", "width"])
    for batch, height, width in [(1, 4, 4), (1, 31, 17), (2, 63, 95), (3, 64, 48), (4, 256, 256), (7, 41, 32)]:
        image = torch.rand(batch, 11, height, width)
        with torch.no_grad():
            expected = network(image)
        np.testing.assert_allclose(session.run(None, {"image": image.numpy()})[0], expected, atol=1e-4, rtol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("error", [1e-3, float("nan")])
def test_a_file_that_disagrees_does_not_appear(error, weights, network, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.jit, "load", lambda path, map_location: lambda image: network(image) + error)
    (tmp_path / "model.ts").write_text("what was there")
    with pytest.raises(
        ValueError, match=r"expected the logits of PyTorch to 1.0e-04 .* got a difference of (1.0e-03|nan)"
    ):
        export.export("ts", tmp_path / "model.ts", weights, WIDTHS)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["what was there"]


def test_weights_of_other_widths_are_named(weights, tmp_path, capsys):
    out = tmp_path / "model.ts"
    assert main(["export", "--format", "ts", "--out", str(out), "--ckpt-path", str(weights)]) == 2
    assert "expected the weights of widths [16, 32, 64, 128, 256], got others" in capsys.readouterr().err
    assert not out.exists()


def test_the_exporter_s_packages_are_asked_for(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "HAS_ONNXSCRIPT", False)
    with pytest.raises(ValueError, match="expected the packages onnx, onnxscript and onnxruntime"):
        export.export("onnx", tmp_path / "model.onnx", weights, WIDTHS)


def masks(folder):
    return {path.name: np.asarray(nib.load(path).dataobj) for path in folder.rglob("*_probability.nii.gz")}


def test_the_tensorrt_config_infers_with_the_engine_s_file(weights, dataset_dir, workflow, monkeypatch):
    """All of it but TensorRT, which needs CUDA: a TorchScript file stands in for the engine, which is one too."""
    (dataset_dir / "models").mkdir()
    export.export("ts", dataset_dir / "models" / "model_trt.ts", weights, WIDTHS)
    monkeypatch.setitem(sys.modules, "torch_tensorrt", ModuleType("torch_tensorrt"))
    settings = {"workflow_type": "infer", "features": WIDTHS, "use_given_maps": True}
    engine = workflow("inference", "inference_trt", **settings, bundle_root=str(dataset_dir))
    assert isinstance(engine.parser.get_parsed_content("network_def"), torch.jit.ScriptModule)
    engine.run()
    found = masks(dataset_dir / "eval")
    out = dataset_dir / "reference"
    workflow("inference", **settings, ckpt_path=str(weights), output_dir=str(out)).run()
    reference = masks(out)
    assert len(found) == 3
    for name, probability in found.items():
        np.testing.assert_allclose(probability, reference[name], atol=1e-5)
