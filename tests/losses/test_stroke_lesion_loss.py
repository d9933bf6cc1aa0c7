import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from scripts.losses import SegmentationLoss, StrokeLesionLoss, SynthesisLoss


def batch(items=4, size=32):
    generator = torch.Generator().manual_seed(0)

    def image(channels=1):
        return torch.rand(items, channels, size, size, generator=generator)

    outputs = {"logits": image(2), "pseudo_dwi": image(), "high_level_feature": image()}
    targets = {"label": (image() > 0.8).float(), "dwi": image(), "attention": image() + 0.5}
    return {name: tensor.requires_grad_() for name, tensor in outputs.items()}, targets


@pytest.fixture
def loss():
    torch.manual_seed(0)
    return StrokeLesionLoss()


def test_equation_15(loss):
    outputs, targets = batch()
    loss.alpha, loss.beta = 0.5, 2.0
    synthesis = SynthesisLoss(loss.context_encoder)
    dwi, attention = targets["dwi"], targets["attention"]
    expected = (
        SegmentationLoss()(outputs["logits"], targets["label"], attention)
        + 0.5 * synthesis(outputs["pseudo_dwi"], dwi, attention)
        + 2.0 * synthesis(outputs["high_level_feature"], dwi, attention)
    )
    torch.testing.assert_close(loss(outputs, targets), expected)


def test_terms_add_up(loss):
    value = loss(*batch())
    terms = loss.terms
    assert set(terms) == {"segmentation", "cross_entropy", "dice", "synthesis", "feature"}
    assert not any(term.requires_grad for term in terms.values())
    torch.testing.assert_close(terms["segmentation"] + terms["synthesis"] + terms["feature"], value.detach())
    torch.testing.assert_close(terms["cross_entropy"] + terms["dice"], terms["segmentation"])


def test_items_without_dwi_leave_the_synthesis_terms_out(loss):
    outputs, targets = batch()
    chosen = torch.tensor([True, False, True, False])
    targets["dwi"][~chosen] = torch.nan
    loss(outputs, {**targets, "has_dwi": chosen}).backward()
    mixed = dict(loss.terms)
    with_dwi = {name: tensor[chosen] for name, tensor in targets.items()}
    loss({name: tensor[chosen] for name, tensor in outputs.items()}, with_dwi)
    torch.testing.assert_close(mixed["synthesis"], loss.terms["synthesis"])
    torch.testing.assert_close(mixed["feature"], loss.terms["feature"])
    grad = outputs["pseudo_dwi"].grad
    assert (grad[~chosen] == 0).all()
    assert (grad[chosen] != 0).any()
    assert (outputs["logits"].grad[~chosen] != 0).any()


def test_no_item_with_dwi(loss):
    outputs, targets = batch()
    targets["dwi"].fill_(torch.nan)
    value = loss(outputs, {**targets, "has_dwi": torch.zeros(4, dtype=torch.bool)})
    value.backward()
    torch.testing.assert_close(value.detach(), loss.terms["segmentation"])
    assert loss.terms["synthesis"] == loss.terms["feature"] == 0
    assert (outputs["pseudo_dwi"].grad == 0).all()


@pytest.mark.parametrize("absent", ["dwi", "outputs"])
def test_segmentation_alone(loss, absent):
    outputs, targets = batch()
    if absent == "dwi":
        del targets["dwi"]
    else:
        outputs = {"logits": outputs["logits"]}
    expected = SegmentationLoss()(outputs["logits"], targets["label"], targets["attention"])
    torch.testing.assert_close(loss(outputs, targets), expected)
    assert set(loss.terms) == {"segmentation", "cross_entropy", "dice"}


def test_without_attention_all_pixels_weigh_the_same(loss):
    outputs, targets = batch()
    value = loss(outputs, {**targets, "attention": torch.ones_like(targets["attention"])})
    del targets["attention"]
    torch.testing.assert_close(loss(outputs, targets), value)


@pytest.mark.parametrize("train", [True, False])
def test_context_encoder_is_trained_or_frozen(train):
    loss = StrokeLesionLoss(train_context_encoder=train)
    outputs, targets = batch()
    loss(outputs, targets).backward()
    parameters = list(loss.context_encoder.parameters())
    assert len(parameters) == 10
    assert all((p.grad is not None) == train for p in parameters)
    assert (outputs["pseudo_dwi"].grad != 0).any()


def test_metadata_is_left_behind(loss):
    outputs, targets = batch()
    value = loss(outputs, {**{name: MetaTensor(t) for name, t in targets.items()}, "case": ["a", "b", "c", "d"]})
    assert type(value) is torch.Tensor
    torch.testing.assert_close(value, loss(outputs, targets))


def test_other_segmentation_loss():
    class Constant(nn.Module):
        def forward(self, logits, label, weight):
            return logits.mean() * 0 + 3.0

    outputs, targets = batch()
    loss = StrokeLesionLoss(alpha=0.0, beta=0.0, segmentation=Constant())
    assert loss(outputs, targets).item() == pytest.approx(3.0)
    assert set(loss.terms) == {"segmentation", "synthesis", "feature"}


@pytest.mark.parametrize(("name", "key"), [("alpha", "pseudo_dwi"), ("beta", "high_level_feature")])
def test_a_weight_of_zero_logs_its_term_and_trains_nothing(name, key):
    torch.manual_seed(0)
    loss = StrokeLesionLoss(**{name: 0.0})
    outputs, targets = batch()
    value = loss(outputs, targets)
    value.backward()
    term = loss.synthesis(outputs[key], targets["dwi"], targets["attention"]).mean()
    torch.testing.assert_close(loss.terms["synthesis" if name == "alpha" else "feature"], term.detach())
    assert outputs[key].grad is None
    assert all(outputs[other].grad is not None for other in outputs if other != key)
    others = {key: value for key, value in loss.terms.items() if key in ("segmentation", "synthesis", "feature")}
    torch.testing.assert_close(value.detach(), sum(others.values()) - term.detach())


def test_segmentation_only_leaves_the_context_encoder_alone():
    loss = StrokeLesionLoss(alpha=0.0, beta=0.0)
    outputs, targets = batch()
    targets["dwi"].fill_(torch.nan)  # what is not trained on cannot spoil the training
    value = loss(outputs, targets)
    value.backward()
    torch.testing.assert_close(value.detach(), loss.terms["segmentation"])
    assert all(parameter.grad is None for parameter in loss.context_encoder.parameters())


def test_auxiliary_logits(loss):
    outputs, targets = batch()
    plain = loss({"logits": outputs["logits"]}, targets)
    parts = dict(loss.terms)
    auxiliary = outputs["logits"].detach().flip(2).requires_grad_()
    value = loss({"logits": outputs["logits"], "auxiliary_logits": auxiliary}, targets)
    expected = SegmentationLoss()(auxiliary, targets["label"], targets["attention"])
    torch.testing.assert_close(value, plain + 0.4 * expected)
    assert loss.terms == {**parts, "auxiliary": loss.terms["auxiliary"]}  # the parts are those of the main branch
    torch.testing.assert_close(loss.terms["auxiliary"], expected)
    value.backward()
    assert (auxiliary.grad != 0).any()


def test_settings_of_the_synthesis_loss():
    torch.manual_seed(0)
    loss = StrokeLesionLoss(alpha=0.7, beta=0.0, gamma=0.0, pixel=nn.L1Loss())
    outputs, targets = batch()
    expected = SegmentationLoss()(outputs["logits"], targets["label"], targets["attention"])
    expected = expected + 0.7 * (outputs["pseudo_dwi"] - targets["dwi"]).abs().mean()
    torch.testing.assert_close(loss(outputs, targets), expected)
    chosen = torch.tensor([True, False, False, True])
    targets["dwi"][~chosen] = torch.nan
    loss(outputs, {**targets, "has_dwi": chosen})
    difference = (outputs["pseudo_dwi"] - targets["dwi"])[chosen].abs().mean()
    torch.testing.assert_close(loss.terms["synthesis"], difference.detach())
    loss(outputs, {**targets, "has_dwi": torch.zeros(4)})
    assert loss.terms["synthesis"] == 0


def test_the_names_in_a_checkpoint_do_not_depend_on_the_settings():
    names = StrokeLesionLoss().state_dict().keys()
    other = StrokeLesionLoss(pixel=nn.L1Loss(), context_norm=2, gamma=0.0, segmentation=SegmentationLoss())
    assert other.state_dict().keys() == names


@pytest.mark.parametrize("label", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_zero_outputs_are_finite(loss, label, dtype):
    outputs, targets = batch()
    outputs = {name: torch.zeros_like(t, dtype=dtype).requires_grad_() for name, t in outputs.items()}
    targets["label"].fill_(label)
    value = loss(outputs, targets)
    value.backward()
    assert torch.isfinite(value)
    assert all(torch.isfinite(tensor.grad).all() for tensor in outputs.values())


def test_missing_entries(loss):
    outputs, targets = batch()
    with pytest.raises(ValueError, match=r"outputs must have the entry 'logits', got \['pseudo_dwi'\]"):
        loss({"pseudo_dwi": outputs["pseudo_dwi"]}, targets)
    with pytest.raises(ValueError, match=r"targets must have the entry 'label', got \['dwi'\]"):
        loss(outputs, {"dwi": targets["dwi"]})


def test_shapes_that_do_not_fit(loss):
    outputs, targets = batch()
    with pytest.raises(ValueError, match=r"dwi must have shape \(4, 1, 32, 32\), got \(4, 1, 16, 16\)"):
        loss(outputs, {**targets, "dwi": torch.zeros(4, 1, 16, 16)})
    with pytest.raises(ValueError, match="has_dwi must have one value for each of the 4 items, got 3"):
        loss(outputs, {**targets, "has_dwi": torch.ones(3)})


def test_negative_weights():
    with pytest.raises(ValueError, match="alpha, beta and gamma must not be negative"):
        StrokeLesionLoss(alpha=-1.0)
    with pytest.raises(ValueError, match="auxiliary_weight.* must not be negative, got -0.1"):
        StrokeLesionLoss(auxiliary_weight=-0.1)
