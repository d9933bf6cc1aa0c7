import pytest
import torch
from torch import nn
from torch.nn import functional as F

from scripts.losses import ContextualLoss, SynthesisLoss, WeightedL2Loss, weighted_l2_loss


class Quadrants(nn.Module):
    """An encoder whose code can be computed by hand: the means of the four quadrants."""

    def forward(self, image):
        return F.adaptive_avg_pool2d(image, 2).flatten(1)


def images(items=3, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(items, 1, 8, 8, generator=generator, dtype=dtype) for _ in range(3)]


def test_weighted_l2_hand_computed():
    prediction = torch.tensor([[[[1.0, 2.0], [0.0, 1.0]]]])
    target = torch.tensor([[[[0.0, 2.0], [2.0, 0.0]]]])
    weight = torch.tensor([[[[1.5, 1.0], [0.5, 1.0]]]])
    assert weighted_l2_loss(prediction, target, weight).item() == pytest.approx((1.5**2 + 0 + 1 + 1) / 4)
    assert weighted_l2_loss(prediction, target).item() == pytest.approx((1 + 0 + 4 + 1) / 4)


def test_weighted_l2_without_weight_is_mean_squared_error():
    prediction, target, _ = images()
    torch.testing.assert_close(weighted_l2_loss(prediction, target), F.mse_loss(prediction, target))


def test_contextual_hand_computed():
    prediction = torch.zeros(1, 1, 4, 4)
    prediction[..., :2, :2] = 1.0
    target = torch.zeros(1, 1, 4, 4)
    target[..., 2:, 2:] = 3.0
    assert ContextualLoss(Quadrants())(prediction, target).item() == pytest.approx((1 + 0 + 0 + 3) / 4)


def test_synthesis_is_pixel_plus_gamma_context():
    prediction, target, weight = images()
    expected = weighted_l2_loss(prediction, target, weight) + 1.2 * ContextualLoss(Quadrants())(prediction, target)
    torch.testing.assert_close(SynthesisLoss(Quadrants())(prediction, target, weight), expected)
    torch.testing.assert_close(
        SynthesisLoss(Quadrants(), gamma=0.0)(prediction, target), F.mse_loss(prediction, target)
    )


def test_contextual_loss_of_norm_2_is_the_mean_of_squares():
    prediction, target, _ = images()
    encoder = Quadrants()
    expected = F.mse_loss(encoder(prediction), encoder(target))
    torch.testing.assert_close(ContextualLoss(encoder, norm=2)(prediction, target), expected)


@pytest.mark.parametrize("norm", [0, 3, 1.5])
def test_bad_norm(norm):
    with pytest.raises(ValueError, match=f"norm must be 1 or 2, got {norm}"):
        SynthesisLoss(Quadrants(), context_norm=norm)


@pytest.mark.parametrize(
    ("row", "settings", "norm", "weighted", "context"),
    [
        ("L1", {"gamma": 0.0, "pixel": nn.L1Loss()}, 1, False, 0),
        ("L2", {"gamma": 0.0, "pixel": nn.MSELoss()}, 2, False, 0),
        ("w-L2", {"gamma": 0.0}, 2, True, 0),
        ("w-L2 + l_h1", {}, 2, True, 1),
        ("w-L2 + l_h2", {"context_norm": 2}, 2, True, 2),
    ],
)
def test_rows_of_table_1(row, settings, norm, weighted, context):
    prediction, target, weight = (image.double() for image in images())
    a = weight if weighted else torch.ones_like(weight)
    expected = (a * (prediction - target)).abs().pow(norm).mean()
    if context:
        codes = [image.reshape(3, 2, 4, 2, 4).mean((2, 4)) for image in (prediction, target)]
        expected = expected + 1.2 * (codes[0] - codes[1]).abs().pow(context).mean()
    torch.testing.assert_close(SynthesisLoss(Quadrants(), **settings)(prediction, target, weight), expected)


def test_without_contextual_loss_the_encoder_is_not_run():
    class Broken(nn.Module):
        def forward(self, image):
            raise AssertionError("not to be called")

    prediction, target, weight = images()
    assert torch.isfinite(SynthesisLoss(Broken(), gamma=0.0)(prediction, target, weight))


LOSSES = [
    WeightedL2Loss,
    lambda **kw: ContextualLoss(Quadrants(), **kw),
    lambda **kw: SynthesisLoss(Quadrants(), **kw),
    lambda **kw: ContextualLoss(Quadrants(), norm=2, **kw),
]


@pytest.mark.parametrize("make", LOSSES)
def test_equal_images_have_no_loss(make):
    image = images()[0]
    assert make()(image, image).item() == 0.0


@pytest.mark.parametrize("make", LOSSES)
def test_items_do_not_mix(make):
    prediction, target, _ = images()
    values = make(reduction="none")(prediction, target)
    alone = torch.stack([make()(prediction[i : i + 1], target[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(values, alone)
    torch.testing.assert_close(make(reduction="sum")(prediction, target), alone.sum())


@pytest.mark.parametrize("make", LOSSES)
def test_gradcheck(make):
    prediction, target, _ = images(2, torch.double)
    assert torch.autograd.gradcheck(lambda p: make()(p, target), prediction.requires_grad_())


@pytest.mark.parametrize("make", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(make, dtype):
    prediction, target = (300 * image.to(dtype) for image in images()[:2])  # squares overflow float16
    loss = make()(prediction, target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, make()(prediction.float(), target.float()))


@pytest.mark.parametrize("make", LOSSES)
def test_bad_shapes(make):
    with pytest.raises(ValueError, match=r"target must have shape \(2, 1, 8, 8\), got \(2, 1, 8, 4\)"):
        make()(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 4))


def test_bad_weight_shape():
    with pytest.raises(ValueError, match=r"weight must have shape \(2, 1, 8, 8\)"):
        weighted_l2_loss(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8), torch.zeros(2, 8, 8))
