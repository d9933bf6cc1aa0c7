import pytest
import torch

from scripts.losses import DiscriminatorLoss, GeneratorLoss


def scales(seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [2 * torch.randn(3, 1, size, size, generator=generator, dtype=dtype) for size in (7, 3)]


def squared_distance(logits, target):
    """Mean over the scales of the mean squared distance, negative logits included (Mao et al. 2017)."""
    return sum((scale - target).square().mean() for scale in logits) / len(logits)


def test_generator_loss():
    torch.testing.assert_close(GeneratorLoss()(scales(0)), squared_distance(scales(0), 1.0))
    torch.testing.assert_close(GeneratorLoss(0.25)(scales(0)), squared_distance(scales(0), 1.0) / 4)


def test_discriminator_loss():
    expected = (squared_distance(scales(0), 1.0) + squared_distance(scales(1), 0.0)) / 2
    torch.testing.assert_close(DiscriminatorLoss()(scales(0), scales(1)), expected)


def test_hand_computed():
    zero, one = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    assert DiscriminatorLoss()([one], [zero]).item() == 0.0
    assert DiscriminatorLoss()([zero], [one]).item() == 1.0
    assert DiscriminatorLoss()([-one], [zero]).item() == 2.0
    assert [GeneratorLoss()([logit]).item() for logit in (one, zero, -one)] == [0.0, 1.0, 4.0]


def test_gradcheck():
    first, second = (scale.requires_grad_() for scale in scales(0, torch.double))
    assert torch.autograd.gradcheck(lambda *logits: GeneratorLoss()(logits), (first, second))
    real = scales(1, torch.double)
    assert torch.autograd.gradcheck(lambda *logits: DiscriminatorLoss()(real, logits), (first, second))


def test_nothing_to_judge_is_no_loss_that_an_engine_can_still_go_back_from():
    for loss in (GeneratorLoss()([]), DiscriminatorLoss()([], [])):
        assert loss.item() == 0.0
        loss.backward()


def test_negative_weight():
    with pytest.raises(ValueError, match="weight must not be negative, got -1"):
        GeneratorLoss(-1)
