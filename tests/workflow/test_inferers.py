import csv

import pytest
import torch

from scripts.networks import StrokeLesionNet, WithSynthesis
from scripts.workflow import LesionInferer
from tests.conftest import axial_affine


def test_every_slice_as_the_network_with_its_mirror_image_sees_it():
    torch.manual_seed(0)
    network = StrokeLesionNet((4, 8)).eval()
    case = torch.rand(1, 11, 16, 16, 3)
    with torch.no_grad():
        result = LesionInferer((16, 16), mirror=True, sw_batch_size=2)(case, network)
        expected = [WithSynthesis(network, mirror=True)(case[..., i]) for i in range(3)]
    torch.testing.assert_close(result, torch.stack(expected, dim=-1))


def test_the_weights_of_the_moment_are_used():
    torch.manual_seed(0)
    network, case = StrokeLesionNet((4, 8)).eval(), torch.rand(1, 11, 16, 16, 2)
    infer = LesionInferer((16, 16))
    with torch.no_grad():
        for change in (lambda weight: weight.mul_(1.5), lambda weight: weight.data.copy_(-weight.data)):
            result = infer(case, network)
            torch.testing.assert_close(result[0, :2, ..., 0], network(case[..., 0])[0], atol=1e-5, rtol=1e-5)
            change(network.generator.encoder[0].convolutions[0].weight)
            assert not torch.allclose(infer(case, network), result)


def test_gradients_and_batch_statistics_where_something_is_learned():
    network, case = StrokeLesionNet((4, 8)).train(), torch.rand(1, 11, 16, 16, 2)
    statistics = network.generator.encoder[0].convolutions[1].running_mean
    before = statistics.clone()
    LesionInferer((16, 16))(case, network).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert not torch.equal(statistics, before)


def test_bfloat16_is_close():
    torch.manual_seed(0)
    network, case = StrokeLesionNet((4, 8)).eval(), torch.rand(1, 11, 16, 16, 2)
    with torch.no_grad():
        rough, exact = (LesionInferer((16, 16), amp=amp)(case, network)[:, :2].softmax(1) for amp in (True, False))
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 1e-2


class TmaxThreshold(torch.nn.Module):
    """Logits of "Tmax is high" for slices and volumes alike."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (N, 4, ...) to (N, 2, ...)."""
        score = 20 * (image[:, 3:4] - 0.3)
        return torch.cat([-score, score], dim=1)


@pytest.mark.parametrize("codes", ["RAS", "LPS"])
def test_every_inferer_scores_one_function_alike(codes, workflow, write_case, dataset_dir):
    """On a grid that is not the network's: slices of a volume without metadata would come back flipped, 1 mm apart."""
    for name in ("case_4", "case_5"):
        write_case(name, shape=(40, 36, 3), seed=4, affine=axial_affine((2.7, 3.1, 8.0), codes))
    metrics = []
    for row in ("abulnaga2018", "abulnaga2018_vnet_ce"):
        evaluation = workflow(
            "evaluate", f"experiments/{row}", **{"checkpoint_loader#_disabled_": True, "use_given_maps": True}
        )
        evaluation.parser.get_parsed_content("validate#evaluator").network = TmaxThreshold().eval()
        evaluation.run()
        with (dataset_dir / "eval" / "metrics.csv").open() as stream:
            metrics += [case for case in csv.DictReader(stream) if case["case"] == "case_4"]
    slices, volume = metrics
    assert float(slices["dice"]) > 0.8
    for name in ("dice", "predicted_volume_ml", "hausdorff_mm"):
        assert float(volume[name]) == pytest.approx(float(slices[name]), rel=1e-3), name
