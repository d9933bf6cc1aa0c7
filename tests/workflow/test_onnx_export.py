"""MONAI's own verb exports the network for inputs of any batch and size."""

import monai.bundle
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from tests.conftest import ROOT

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.mark.slow
def test_the_verb_of_monai_gives_dynamic_shapes(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    features = [2, 2, 4, 4, 4]
    parser = ConfigParser(ConfigParser.load_config_file("configs/inference.json") | {"features": features})
    network = parser.get_parsed_content("network_def").eval()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    monai.bundle.onnx_export(
        args_file="configs/export/onnx.json",
        ckpt_file=str(tmp_path / "model.pt"),
        filepath=str(tmp_path / "model.onnx"),
        features=features,
    )
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    for shape in ((1, 11, 64, 64), (3, 11, 37, 51), (2, 11, 16, 80)):
        image = torch.rand(shape)
        with torch.no_grad():
            expected = network(image).numpy()
        np.testing.assert_allclose(session.run(["pred"], {"image": image.numpy()})[0], expected, atol=1e-4)
