from copy import deepcopy

import pytest
import torch

from bundle.benchmark.training import PlainOutputs, Trainer, trainers
from scripts.losses import StrokeLesionLoss
from scripts.networks import StrokeLesionNet
from scripts.networks.outputs import TrainingOutputs

FEATURES = (2, 4)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    label = (torch.rand(3, 1, 32, 32) > 0.8).float()
    return torch.rand(3, 11, 32, 32), {"label": label, "dwi": label + 0.1, "attention": 1 + label}


def test_the_plain_network_has_the_outputs_and_weights_of_the_other(batch):
    network = StrokeLesionNet(features=FEATURES)
    plain = PlainOutputs(deepcopy(network))
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in network.parameters())
    expected = TrainingOutputs(network)(batch[0])
    for name, tensor in plain(batch[0]).items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-4, rtol=1e-4)


def test_a_trainer_learns_and_keeps_its_losses(batch):
    torch.manual_seed(0)
    trainer = Trainer(TrainingOutputs(StrokeLesionNet(features=FEATURES)), StrokeLesionLoss(), [batch])
    for _ in range(12):
        trainer.step()
    assert len(trainer.losses) == 12
    assert trainer.losses[-1] < trainer.losses[0]


def test_all_ways_start_alike_and_apart(batch):
    network = StrokeLesionNet(features=FEATURES)
    made = trainers(network, StrokeLesionLoss(), [batch])
    for trainer in made.values():
        trainer.step()
    losses = {name: trainer.losses[0] for name, trainer in made.items()}
    assert losses["float32"] == pytest.approx(losses["plain"], rel=1e-4)
    assert losses["bfloat16"] == pytest.approx(losses["plain"], rel=2e-2)
    parameters = [next(trainer.outputs.parameters()).data_ptr() for trainer in made.values()]
    assert len(set(parameters)) == 3
