import copy

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from torch import nn
from torch.nn import functional as F

from scripts.losses import DiscriminatorLoss, GeneratorLoss
from scripts.workflow import (
    AdversarialTerms,
    PrepareTraining,
    PseudoDwiAdversarialTrainer,
    pseudo_dwi_discriminator,
)
from scripts.workflow.adversarial import JudgeInferer, judged_images
from tests.workflow.test_train import same, state, stop_in_second_epoch

ROWS = ["table1_gan", "table1_l2_gan"]


class Synthesiser(nn.Module):
    """A network whose only parts are one convolution that makes the DWI and one that makes the logits."""

    def __init__(self):
        super().__init__()
        self.generator = nn.Conv2d(2, 1, 3, padding=1)
        self.segmentor = nn.Conv2d(2, 2, 1)

    def forward(self, image):
        return {"logits": self.segmentor(image), "pseudo_dwi": self.generator(image)}


class Loss(nn.Module):
    """Cross entropy plus ``alpha`` times L2 over the items with a DWI, as a reader would write it."""

    def __init__(self, alpha=1.0):
        super().__init__()
        self.alpha = alpha
        self.terms = {}

    def forward(self, outputs, targets):
        loss = F.cross_entropy(outputs["logits"], targets["label"][:, 0].long())
        self.terms = {"segmentation": loss.detach()}
        chosen = targets["has_dwi"].bool()
        if chosen.any():
            loss = loss + self.alpha * F.mse_loss(outputs["pseudo_dwi"][chosen], targets["dwi"][chosen])
        return loss


def batches(count=3, has_dwi=(True, False, True), size=32):
    """Batches of which the items without a DWI have NaN for it."""
    generator = torch.Generator().manual_seed(0)
    result = []
    for _ in range(count):
        chosen = torch.tensor(has_dwi)
        dwi = torch.rand(len(chosen), 1, size, size, generator=generator)
        dwi[~chosen] = torch.nan
        image = torch.rand(len(chosen), 2, size, size, generator=generator)
        label = (torch.rand(len(chosen), 1, size, size, generator=generator) > 0.8).float()
        result.append({"image": image, "label": label, "dwi": dwi, "has_dwi": chosen})
    return result


def engine(data, network, loss, discriminator=None, **kwargs):
    optimizer = torch.optim.Adam(filter(lambda p: p.requires_grad, network.parameters()), lr=0.01)
    common = {
        "device": torch.device("cpu"),
        "max_epochs": 1,
        "train_data_loader": data,
        "prepare_batch": PrepareTraining(),
    }
    if discriminator is None:
        return SupervisedTrainer(network=network, optimizer=optimizer, loss_function=loss, **common)
    return PseudoDwiAdversarialTrainer(
        g_network=network,
        g_optimizer=optimizer,
        g_loss_function=GeneratorLoss(),
        recon_loss_function=loss,
        d_network=discriminator,
        d_optimizer=torch.optim.Adam(discriminator.parameters(), lr=0.02, betas=(0.5, 0.999)),
        d_loss_function=DiscriminatorLoss(),
        **common,
        **kwargs,
    )


@pytest.fixture
def networks():
    torch.manual_seed(0)
    return Synthesiser(), pseudo_dwi_discriminator(2, channels=2, image_size=32)


@pytest.mark.parametrize("conditional", [True, False])
def test_steps_are_those_of_a_least_squares_gan_written_by_hand(networks, conditional):
    network, discriminator = networks
    if not conditional:
        discriminator = pseudo_dwi_discriminator(0, channels=2, image_size=32)
    expected, judge = copy.deepcopy(network), copy.deepcopy(discriminator)
    data = batches()
    engine(data, network, Loss(), discriminator, conditional=conditional).run()

    g_optimizer = torch.optim.Adam(expected.parameters(), lr=0.01)
    d_optimizer = torch.optim.Adam(judge.parameters(), lr=0.02, betas=(0.5, 0.999))

    def logits(image, dwi):
        chosen = torch.tensor([0, 2])
        parts = [image[chosen], dwi[chosen]] if conditional else [dwi[chosen]]
        return [scale[-1] for scale in (d(torch.cat(parts, 1)) for d in judge.children())]

    for batch in data:
        outputs = expected(batch["image"])
        fake = logits(batch["image"], outputs["pseudo_dwi"])
        loss = Loss()(outputs, batch) + sum((scale - 1).square().mean() for scale in fake) / 2
        g_optimizer.zero_grad()
        loss.backward()
        g_optimizer.step()
        real, fake = logits(batch["image"], batch["dwi"]), logits(batch["image"], outputs["pseudo_dwi"].detach())
        loss = sum((r - 1).square().mean() + f.square().mean() for r, f in zip(real, fake, strict=True)) / 4
        d_optimizer.zero_grad()
        loss.backward()
        d_optimizer.step()

    for ours, theirs in ((network, expected), (discriminator, judge)):
        for name, parameter in theirs.named_parameters():
            torch.testing.assert_close(ours.get_parameter(name), parameter, rtol=1e-4, atol=1e-6, msg=name)


def test_the_loss_that_is_reported_is_what_the_generator_was_trained_with(networks):
    network, discriminator = networks
    loss = Loss()
    trainer = engine(batches(), network, loss, discriminator)
    logged = []
    terms = AdversarialTerms(loss)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: logged.append((terms(e.state.output), e.state)))
    trainer.run()
    for values, _ in logged:
        assert set(values) == {"loss", "segmentation", "adversarial", "discriminator"}
        assert values["adversarial"] > 0
        assert values["discriminator"] > 0
        assert values["loss"] > values["adversarial"] + values["segmentation"]
    items = trainer.state.output
    assert len(items) == 3
    assert items[1]["pred"]["pseudo_dwi"].shape == (1, 32, 32)


@pytest.mark.parametrize("why", ["no item has a DWI", "there is no DWI at all", "the generator is frozen"])
def test_with_nothing_to_judge_a_step_is_that_of_the_supervised_training(networks, why):
    network, discriminator = networks
    network.generator.requires_grad_(why != "the generator is frozen")
    data = batches(has_dwi=[why == "the generator is frozen"] * 3)
    loss = Loss()
    if why == "there is no DWI at all":
        data = [{name: batch[name] for name in ("image", "label")} for batch in data]
        loss.forward = lambda outputs, targets: F.cross_entropy(outputs["logits"], targets["label"][:, 0].long())
    supervised, before = copy.deepcopy(network), copy.deepcopy(discriminator.state_dict())
    trainer = engine(data, network, loss, discriminator)
    # A discriminator that has momentum from steps before.
    for parameter in discriminator.parameters():
        parameter.grad = torch.ones_like(parameter)
        trainer.state.d_optimizer.state[parameter] = {
            "step": torch.tensor(3.0),
            "exp_avg": torch.ones_like(parameter),
            "exp_avg_sq": torch.ones_like(parameter),
        }
    trainer.run()
    engine(data, supervised, loss).run()
    assert same(network.state_dict(), supervised.state_dict())
    assert same(discriminator.state_dict(), before)
    assert float(trainer.state.output[0]["generator_loss"]) == 0.0


def test_judged_images():
    outputs = {"pseudo_dwi": torch.rand(3, 1, 4, 4, requires_grad=True)}
    batch = batches(1, size=4)[0]
    fakes, reals = judged_images(outputs, batch, batch["image"])
    torch.testing.assert_close(fakes, torch.cat([batch["image"], outputs["pseudo_dwi"]], 1)[[0, 2]])
    torch.testing.assert_close(reals, torch.cat([batch["image"], batch["dwi"]], 1)[[0, 2]])
    assert torch.isfinite(reals).all()
    fakes, reals = judged_images(outputs, {"dwi": torch.ones(3, 1, 4, 4)})
    torch.testing.assert_close(fakes, outputs["pseudo_dwi"])
    torch.testing.assert_close(reals, torch.ones(3, 1, 4, 4))


def test_a_network_without_pseudo_dwi_cannot_be_judged():
    with pytest.raises(ValueError, match=r"outputs must have the entry 'pseudo_dwi' to be judged, got \['logits'\]"):
        judged_images({"logits": torch.zeros(1, 2, 4, 4)}, {})


@pytest.mark.parametrize("size", [16, 32, 48, 64, 96, 128, 192, 256])
@pytest.mark.parametrize("conditions", [0, 4])
def test_discriminator_of_every_size(size, conditions):
    discriminator = pseudo_dwi_discriminator(conditions, channels=1, image_size=size)
    local, overall = JudgeInferer()(torch.rand(2, 1 + conditions, size, size), discriminator)
    assert local.shape[:2] == overall.shape[:2] == (2, 1)
    assert local.shape[2] > overall.shape[2] >= 3
    assert torch.isfinite(local).all()
    assert torch.isfinite(overall).all()


def test_discriminator_judges_each_item_for_itself():
    torch.manual_seed(0)
    discriminator = pseudo_dwi_discriminator(0, channels=2, image_size=32)
    images = torch.rand(3, 1, 32, 32)
    together = JudgeInferer()(images, discriminator)
    for scale, alone in zip(together, JudgeInferer()(images[1:2], discriminator), strict=True):
        torch.testing.assert_close(scale[1:2], alone)
    assert JudgeInferer()(images[:0], discriminator) == []


@pytest.mark.parametrize("wrong", [{"conditions": -1}, {"channels": 0}, {"image_size": 8}])
def test_bad_discriminator(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        pseudo_dwi_discriminator(**{"conditions": 4, "channels": 1, "image_size": 32, **wrong})


@pytest.mark.parametrize("row", ROWS)
def test_row_of_table_1(row, workflow, dataset_dir):
    """The generator and the discriminator learn in the first stage, the segmentor alone in the second."""
    training = workflow("train", f"experiments/{row}")
    content = training.parser.get_parsed_content
    trainer, network, discriminator = (content(key) for key in ("train#trainer", "network", "discriminator"))
    parts = {"generator": network.generator, "segmentor": network.segmentor, "discriminator": discriminator}
    before, changed, terms = {}, [], []

    def keep(engine):
        before.update({name: copy.deepcopy(part.state_dict()) for name, part in parts.items()})

    def compare(engine):
        changed.append({name for name, part in parts.items() if not same(before[name], part.state_dict())})
        terms.append(content("train#loss_terms")(engine.state.output))

    trainer.add_event_handler(Events.EPOCH_STARTED, keep)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, compare)
    training.run()
    assert changed == [{"generator", "discriminator"}, {"segmentor"}]
    names = {"loss", "segmentation", "cross_entropy", "synthesis", "adversarial", "discriminator"}
    assert all(set(values) == names for values in terms)
    weighted = terms[0]["segmentation"] + terms[0]["adversarial"]
    weighted += terms[0]["synthesis"] if row == "table1_l2_gan" else 0.0
    assert terms[0]["loss"] == pytest.approx(weighted, rel=1e-5)
    assert terms[1]["adversarial"] == terms[1]["discriminator"] == 0.0


def test_an_interrupted_adversarial_training_ends_with_the_same_bits(workflow, dataset_dir):
    def train(folder, **overrides):
        return workflow("train", "experiments/table1_l2_gan", epochs=2, ckpt_dir=str(dataset_dir / folder), **overrides)

    train("whole").run()
    interrupted = train("parts")

    trainer = interrupted.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.ITERATION_COMPLETED, stop_in_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        interrupted.run()
    train("parts", resume=True).run()
    for name in ("checkpoint_last.pt", "model.pt"):
        assert same(state(dataset_dir / "whole" / name), state(dataset_dir / "parts" / name)), name
    assert {"d_network", "d_optimizer"} < state(dataset_dir / "whole" / "checkpoint_last.pt")["trainer"].keys()


def test_a_supervised_checkpoint_is_not_resumed_adversarially(workflow, dataset_dir):
    workflow("train", "experiments/table1_l2").run()
    with pytest.raises(RuntimeError) as caught:
        workflow("train", "experiments/table1_l2_gan", resume=True).run()
    assert "state of an adversarial training: expected ['d_network', 'd_optimizer']" in str(
        caught.getrepr(style="long")
    )
