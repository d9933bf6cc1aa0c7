import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from monai.losses import DiceLoss, GeneralizedDiceLoss
from torch.nn import functional as F

from scripts.losses import (
    CrossEntropyLoss,
    HardnessAwareGeneralizedDiceLoss,
    SegmentationLoss,
    WeightedCrossEntropyLoss,
    hardness_aware_generalized_dice_loss,
    weighted_cross_entropy_loss,
)


def logits_of(lesion_probabilities):
    """Two-class logits (1, 2, 1, W) whose softmax gives the probabilities."""
    p = torch.tensor(lesion_probabilities, dtype=torch.double)
    return torch.stack([torch.log(1 - p), torch.log(p)])[None, :, None, :]


def label_of(values):
    return torch.tensor(values)[None, None, None, :]


def batch(seed=0, items=4, size=16, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(items, 2, size, size, generator=generator, dtype=dtype)
    label = (torch.rand(items, 1, size, size, generator=generator) > 0.8).long()
    weight = torch.rand(items, 1, size, size, generator=generator, dtype=dtype) + 0.5
    return logits, label, weight


class TestWeightedCrossEntropy:
    def test_hand_computed(self):
        loss = weighted_cross_entropy_loss(
            logits_of([0.5, 0.25, 0.8]), label_of([1, 0, 1]), torch.tensor([1.5, 0.5, 1.0])[None, None, None, :]
        )
        expected = -(1.5 * math.log(0.5) + 0.5 * math.log(0.75) + math.log(0.8)) / 3.0
        assert loss.item() == pytest.approx(expected)

    def test_without_weight_is_cross_entropy(self):
        logits, label, _ = batch()
        torch.testing.assert_close(weighted_cross_entropy_loss(logits, label), F.cross_entropy(logits, label[:, 0]))

    def test_scaling_the_weight_changes_nothing(self):
        logits, label, weight = batch()
        first = weighted_cross_entropy_loss(logits, label, weight)
        torch.testing.assert_close(weighted_cross_entropy_loss(logits, label, 7 * weight), first)

    def test_zero_weight_is_finite(self):
        logits, label, weight = batch()
        assert weighted_cross_entropy_loss(logits, label, 0 * weight).item() == 0.0


class TestHardnessAwareGeneralizedDice:
    def test_hand_computed(self):
        """One lesion pixel of four: m = 1/9 and 1, overlaps 2.1 and 0.6, sizes 3 + 2.5 and 1 + 1.5."""
        loss = hardness_aware_generalized_dice_loss(logits_of([0.6, 0.4, 0.3, 0.2]), label_of([1, 0, 0, 0]))
        dice = 2 * (2.1 / 9 + 0.6) / (5.5 / 9 + 2.5)
        assert loss.item() == pytest.approx(-math.log(dice), abs=1e-5)

    def test_equals_monai_without_smoothing(self):
        logits, label, _ = batch(dtype=torch.double)
        label[1], label[2] = 0, 1
        monai_loss = GeneralizedDiceLoss(softmax=True, to_onehot_y=True, smooth_nr=0, smooth_dr=0, reduction="none")
        ours = hardness_aware_generalized_dice_loss(logits, label, "none", smooth=0.0)
        expected = -torch.log(1 - monai_loss(logits, label).flatten())
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)  # MONAI's class weights are float32

    @pytest.mark.parametrize("value", [0, 1])
    def test_item_with_one_class(self, value):
        """Both classes weigh the same, which leaves -log of the class's mean probability."""
        logits, label, _ = batch(dtype=torch.double)
        label = torch.full_like(label, value)
        loss = hardness_aware_generalized_dice_loss(logits, label, "none", smooth=0.0)
        torch.testing.assert_close(loss, -torch.log(torch.softmax(logits, 1)[:, value].mean((1, 2))))

    def test_perfect_prediction_is_zero(self):
        _, label, _ = batch()
        logits = 100 * torch.cat([0.5 - label, label - 0.5], 1)
        assert hardness_aware_generalized_dice_loss(logits, label).item() == pytest.approx(0, abs=1e-6)

    def test_worst_prediction_is_bounded(self):
        _, label, _ = batch(size=256)
        logits = 1000 * torch.cat([label - 0.5, 0.5 - label], 1)
        assert 10 < hardness_aware_generalized_dice_loss(logits, label).item() < 40

    def test_single_lesion_pixel_in_a_full_slice(self):
        logits = torch.zeros(1, 2, 256, 256, requires_grad=True)
        label = torch.zeros(1, 1, 256, 256)
        label[0, 0, 100, 100] = 1
        loss = hardness_aware_generalized_dice_loss(logits, label)
        loss.backward()
        assert loss.item() == pytest.approx(math.log(1 + 256**2 / 2), rel=1e-3)  # -log(2 * 0.5 / (1 + sum P))
        assert logits.grad[0, 1, 100, 100].item() == pytest.approx(-0.5, rel=1e-2)

    def test_three_classes(self):
        logits = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        label = torch.arange(128).reshape(2, 1, 8, 8) % 3
        assert torch.isfinite(hardness_aware_generalized_dice_loss(logits, label))


LOSSES = [
    (weighted_cross_entropy_loss, WeightedCrossEntropyLoss, True),
    (weighted_cross_entropy_loss, CrossEntropyLoss, False),
    (hardness_aware_generalized_dice_loss, HardnessAwareGeneralizedDiceLoss, False),
]


@pytest.mark.parametrize(("function", "module", "weighted"), LOSSES)
class TestBoth:
    @pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
    def test_module_equals_function(self, function, module, weighted, reduction):
        logits, label, weight = batch()
        arguments = (logits, label, weight) if weighted else (logits, label)
        expected = function(*arguments, reduction=reduction)
        torch.testing.assert_close(module(reduction=reduction)(*arguments), expected, rtol=0, atol=0)

    def test_items_do_not_mix(self, function, module, weighted):
        logits, label, weight = batch()
        label[1] = 0
        arguments = (logits, label, weight) if weighted else (logits, label)
        together = function(*arguments, reduction="none")
        alone = [function(*(a[i : i + 1] for a in arguments)) for i in range(4)]
        torch.testing.assert_close(together, torch.stack(alone))

    def test_gradcheck(self, function, module, weighted):
        logits, label, weight = batch(items=2, size=4, dtype=torch.double)
        label[1] = 0
        others = (label, weight) if weighted else (label,)
        assert torch.autograd.gradcheck(lambda x: function(x, *others), logits.requires_grad_())

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_computed_in_float32(self, function, module, weighted, dtype):
        logits, label, weight = batch(size=64)
        logits = logits.to(dtype).requires_grad_()
        others = (label, weight.to(dtype)) if weighted else (label,)
        loss = function(logits, *others)
        loss.backward()
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, function(logits.float(), *others))
        assert torch.isfinite(logits.grad).all()

    @pytest.mark.parametrize("label_value", [0, 1])
    @pytest.mark.parametrize("scale", [0.0, 1e4])
    def test_extreme_inputs_are_finite(self, function, module, weighted, label_value, scale):
        logits, label, weight = batch()
        logits = (scale * logits).requires_grad_()
        label = torch.full_like(label, label_value)
        loss = function(logits, label, weight) if weighted else function(logits, label)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()

    def test_bad_label_shape(self, function, module, weighted):
        with pytest.raises(ValueError, match=r"label must have shape \(2, 1, 8, 8\), got \(2, 8, 8\)"):
            function(torch.zeros(2, 2, 8, 8), torch.zeros(2, 8, 8))

    def test_bad_reduction(self, function, module, weighted):
        logits, label, _ = batch()
        with pytest.raises(ValueError, match="median"):
            function(logits, label, reduction="median")


def test_bad_weight_shape():
    with pytest.raises(ValueError, match=r"weight must have shape \(2, 1, 8, 8\)"):
        weighted_cross_entropy_loss(torch.zeros(2, 2, 8, 8), torch.zeros(2, 1, 8, 8), torch.ones(2, 8, 8))


def test_segmentation_loss_is_the_sum_of_its_terms():
    logits, label, weight = batch()
    loss = SegmentationLoss()
    value = loss(logits, label, weight)
    expected = weighted_cross_entropy_loss(logits, label, weight) + hardness_aware_generalized_dice_loss(logits, label)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(loss.terms["cross_entropy"] + loss.terms["dice"], value)


def test_terms_are_means_over_the_items_whatever_the_reduction():
    logits, label, weight = batch()
    loss = SegmentationLoss(pixels=WeightedCrossEntropyLoss(reduction="none"))
    torch.testing.assert_close(loss(logits, label, weight), weighted_cross_entropy_loss(logits, label, weight))
    assert loss.terms["pixels"].ndim == 0


def test_only_a_loss_with_a_weight_sees_the_attention():
    logits, label, weight = batch()
    plain, weighted = SegmentationLoss(ce=CrossEntropyLoss()), SegmentationLoss(ce=WeightedCrossEntropyLoss())
    torch.testing.assert_close(plain(logits, label, weight), F.cross_entropy(logits, label[:, 0]))
    torch.testing.assert_close(weighted(logits, label), F.cross_entropy(logits, label[:, 0]))
    assert weighted(logits, label, weight) != plain(logits, label, weight)


def test_volumes():
    """A volume is one item: the losses of its slices side by side."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 8, 8, 4, generator=generator)
    label = (torch.rand(2, 1, 8, 8, 4, generator=generator) > 0.7).float()
    weight = torch.rand(2, 1, 8, 8, 4, generator=generator)
    flat = (logits.flatten(3), label.flatten(3), weight.flatten(3))
    for loss in (SegmentationLoss(), SegmentationLoss(ce=CrossEntropyLoss())):
        torch.testing.assert_close(loss(logits, label, weight), loss(*flat))


CE = {"_target_": "scripts.losses.CrossEntropyLoss"}
WCE = {"_target_": "scripts.losses.WeightedCrossEntropyLoss"}
HGD = {"_target_": "scripts.losses.HardnessAwareGeneralizedDiceLoss"}
DICE_SETTINGS = {
    "softmax": True,
    "to_onehot_y": True,
    "include_background": False,
    "squared_pred": True,
    "batch": True,
}
DICE = {"_target_": "DiceLoss", **DICE_SETTINGS}
GD_SETTINGS = {"softmax": True, "to_onehot_y": True, "smooth_nr": 0.0, "smooth_dr": 0.0}
GD = {"_target_": "GeneralizedDiceLoss", **GD_SETTINGS}
FOCAL = {"_target_": "FocalLoss", "use_softmax": True, "to_onehot_y": True, "weight": 2.0}


def closed_form(name, logits, label, weight):
    """The published losses of two classes in float64, pixel by pixel."""
    lesion, weight = label[:, 0].double(), weight[:, 0].double()
    probability = torch.sigmoid((logits[:, 1] - logits[:, 0]).double())
    true = torch.where(lesion > 0, probability, 1 - probability)
    if name == "dice":
        return 1 - 2 * (lesion * probability).sum() / (lesion.square() + probability.square()).sum()
    if name == "cross_entropy":
        return -true.log().mean()
    if name == "weighted_cross_entropy":
        return (-(weight * true.log()).sum((1, 2)) / weight.sum((1, 2))).mean()
    if name == "focal":
        return (-((1 - true) ** 2) * true.log()).mean()
    pixels = [lesion.sum((1, 2)), (1 - lesion).sum((1, 2))]
    m = [1 / pixels[c].clamp_min(1e-300) ** 2 for c in (0, 1)]
    m = [torch.where(pixels[c] > 0, m[c], m[1 - c]) for c in (0, 1)]
    overlap = m[0] * (lesion * probability).sum((1, 2)) + m[1] * ((1 - lesion) * (1 - probability)).sum((1, 2))
    size = m[0] * (lesion + probability).sum((1, 2)) + m[1] * (2 - lesion - probability).sum((1, 2))
    score = 2 * overlap / size
    return (1 - score).mean() if name == "generalized_dice" else -score.log().mean()


COMPOSITIONS = {
    "table 4, CE": ({"a": CE}, ["cross_entropy"]),
    "table 4, Dice": ({"a": DICE}, ["dice"]),
    "table 4, GD": ({"a": GD}, ["generalized_dice"]),
    "table 4, HGD": ({"a": HGD}, ["hardness_aware"]),
    "table 4, CE + HGD": ({"a": CE, "b": HGD}, ["cross_entropy", "hardness_aware"]),
    "table 4, WCE + HGD": ({"a": WCE, "b": HGD}, ["weighted_cross_entropy", "hardness_aware"]),
    "Song 2019": ({"a": WCE, "b": GD}, ["weighted_cross_entropy", "generalized_dice"]),
    "Abulnaga 2018": ({"a": FOCAL}, ["focal"]),
}


@pytest.fixture(scope="module")
def composed():
    """The losses of all rows, made from a config as an experiment's is."""
    rows = {
        f"row_{i}": {"_target_": "scripts.losses.SegmentationLoss", **losses}
        for i, (losses, _) in enumerate(COMPOSITIONS.values())
    }
    parser = ConfigParser(rows)
    return {name: parser.get_parsed_content(key) for name, key in zip(COMPOSITIONS, rows, strict=True)}


@pytest.mark.parametrize("row", COMPOSITIONS)
@settings(max_examples=20)
@given(seed=st.integers(0, 100), scale=st.sampled_from([0.1, 1.0, 5.0]), empty=st.booleans())
def test_published_losses_from_a_config(composed, row, seed, scale, empty):
    losses, names = COMPOSITIONS[row]
    loss = composed[row]
    logits, label, weight = batch(seed, size=24)
    logits = scale * logits
    if empty:
        label[1] = 0  # a slice without a lesion
    value = loss(logits, label.float(), weight)
    expected = sum(closed_form(name, logits, label, weight) for name in names)
    assert value.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)
    assert list(loss.terms) == list(losses)
    torch.testing.assert_close(sum(loss.terms.values()), value)


@pytest.mark.parametrize("row", COMPOSITIONS)
def test_published_losses_fall_along_their_gradient(composed, row):
    logits, label, weight = batch(size=32)
    label[1] = 0
    loss = composed[row]
    before = loss(logits.requires_grad_(), label, weight)
    before.backward()
    step = logits - 0.1 * logits.grad / logits.grad.norm()
    assert loss(step, label, weight) < before


def test_dice_of_a_slice_without_lesion_needs_the_batch():
    """Alone such a slice has no gradient to speak of; in a batch its false positives count."""
    logits, label, _ = batch(items=2, size=64)
    label[1] = 0
    gradients = {}
    for together in (True, False):
        x = logits.clone().requires_grad_()
        DiceLoss(**{**DICE_SETTINGS, "batch": together})(x, label).backward()
        gradients[together] = x.grad[1].abs().sum()
    assert gradients[True] > 1000 * gradients[False]


def test_smoothing_damps_the_generalized_dice_of_a_full_slice():
    """Why L_GD goes without: the classes' weights at 256 x 256 pixels are below MONAI's smoothing of 1e-5."""
    logits = torch.tensor([2.0, -2.0])[None, :, None, None].expand(1, 2, 256, 256)
    label = torch.zeros(1, 1, 256, 256)
    exact = closed_form("generalized_dice", logits, label, label)
    unsmoothed, smoothed = GeneralizedDiceLoss(**GD_SETTINGS), GeneralizedDiceLoss(softmax=True, to_onehot_y=True)
    assert unsmoothed(logits, label).item() == pytest.approx(exact.item(), rel=1e-4)
    assert smoothed(logits, label).item() < 0.8 * exact.item()
