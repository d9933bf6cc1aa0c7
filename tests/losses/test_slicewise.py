import pytest
import torch

from scripts.losses import SlicewiseLoss, StrokeLesionLoss


@pytest.fixture
def volumes():
    generator = torch.Generator().manual_seed(0)
    outputs = {"logits": torch.randn(2, 2, 8, 8, 3, generator=generator)}
    outputs |= {name: torch.rand(2, 1, 8, 8, 3, generator=generator) for name in ("pseudo_dwi", "high_level_feature")}
    targets = {
        "label": (torch.rand(2, 1, 8, 8, 3, generator=generator) > 0.7).float(),
        "dwi": torch.rand(2, 1, 8, 8, 3, generator=generator),
        "attention": torch.rand(2, 1, 8, 8, 3, generator=generator) + 0.5,
        "has_dwi": torch.tensor([[True] * 3, [False] * 3]),
    }
    return outputs, targets


def test_the_loss_of_a_volume_is_that_of_the_batch_of_its_slices(volumes):
    def slices(entries):  # case by case, slice by slice
        return {
            name: torch.stack([volume[..., i] for volume in volumes for i in range(3)])
            for name, volumes in entries.items()
        }

    torch.manual_seed(0)
    loss = StrokeLesionLoss()
    expected = loss(*(slices(entries) for entries in volumes))
    terms = loss.terms
    slicewise = SlicewiseLoss(loss)
    torch.testing.assert_close(slicewise(*volumes), expected)
    assert slicewise.terms == terms
    assert {"segmentation", "synthesis", "feature"} <= set(slicewise.terms)


def test_what_the_loss_trains_is_trained(volumes):
    loss = SlicewiseLoss(StrokeLesionLoss())
    loss(*volumes).backward()
    parameters = list(loss.parameters())
    assert len(parameters) == 10
    assert all(p.grad is not None for p in parameters)
