"""Every row of the papers' tables: it builds, learns, saves, comes back, infers, and is what the row says."""

import json
import math
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser

from tests.conftest import ROOT, config_files

FILES = sorted(path.stem for path in (ROOT / "configs" / "experiments").glob("*.json"))
ROWS = [name for name in FILES if "_" in name]
BASES = [name for name in FILES if "_" not in name]

F_O = ["cbf", "cbv", "mtt", "tmax"]
EVERYTHING = ["image", *F_O, "mip"]
END_TO_END = [{"extractor", "generator", "segmentor"}]
SYNTHESIS_FIRST = [{"generator"}, {"segmentor"}]

#: What the papers say of a row, written down here once more: the channels, how many they are, which parts are trained
#: in which stage, and the names of the terms of the loss.
CROSS_ENTROPY = {"segmentation", "cross_entropy"}
BOTH = {"segmentation", "cross_entropy", "dice"}
SYNTHESIS = {"synthesis", "feature"}
EXPECTED = {
    **{
        f"table1_{loss}": (F_O, 4, SYNTHESIS_FIRST, CROSS_ENTROPY | {"synthesis"})
        for loss in ("l1", "l2", "wl2", "wl2_h1", "wl2_h2", "gan", "l2_gan")
    },
    "table2_fo": (F_O, 4, SYNTHESIS_FIRST, CROSS_ENTROPY | {"synthesis"}),
    "table2_fo_fl": ([*F_O, "mip"], 5, SYNTHESIS_FIRST, CROSS_ENTROPY | {"synthesis"}),
    "table2_fo_fl_fh": (EVERYTHING, 11, [{"extractor", "generator"}, {"segmentor"}], CROSS_ENTROPY | SYNTHESIS),
    "table2_fo_fl_fh_unsupervised": (
        EVERYTHING,
        11,
        [{"extractor", "generator"}, {"segmentor"}],
        CROSS_ENTROPY | SYNTHESIS,
    ),
    "table2_real_dwi": (["dwi"], 1, None, CROSS_ENTROPY),
    **{
        f"table3_{network}": (F_O, 4, None, CROSS_ENTROPY)
        for network in ("fcn", "unet", "r2unet", "resunet", "slnet", "slnet_without_se", "slnet_without_sn")
    },
    "table4_ce": (F_O, 4, None, CROSS_ENTROPY),
    "table4_dice": (F_O, 4, None, {"segmentation", "dice"}),
    "table4_gd": (F_O, 4, None, {"segmentation", "dice"}),
    "table4_hgd": (F_O, 4, None, {"segmentation", "dice"}),
    "table4_ce_hgd": (F_O, 4, None, BOTH),
    "table4_wce_hgd": (F_O, 4, None, BOTH),
    "table5_cta": (["image"], 6, None, BOTH),
    "table5_fo": (F_O, 4, None, BOTH),
    "table5_dwi_o": (F_O, 4, [{"generator", "segmentor"}], BOTH | {"synthesis"}),
    "table5_dwi_ol": ([*F_O, "mip"], 5, [{"generator", "segmentor"}], BOTH | {"synthesis"}),
    "table5_dwi_olh": (EVERYTHING, 11, END_TO_END, BOTH | SYNTHESIS),
    "table5_dwi_olh_sequential": (EVERYTHING, 11, [{"extractor"}, {"generator"}, {"segmentor"}], BOTH | SYNTHESIS),
    "table5_fo_dwi_olh": (EVERYTHING, 11, END_TO_END, BOTH | SYNTHESIS),
    "table5_real_dwi": (["dwi"], 1, None, BOTH),
    "song2019_gd_wce": (EVERYTHING, 11, END_TO_END, BOTH | SYNTHESIS),
    **{
        f"abulnaga2018_{network}_{loss}": (F_O, 4, None, {"segmentation", term} | extra)
        for network, extra in (("unet", set()), ("pspnet", {"auxiliary"}), ("vnet", set()))
        for loss, term in (("focal", "focal"), ("ce", "cross_entropy"))
    },
}


STEPS = 8


@pytest.fixture
def with_dwi(dataset_dir):
    """The small data set without the cases that have no DWI, which some rows take as their input."""
    path = dataset_dir / "datalist.json"
    sections = json.loads(path.read_text())
    sections["training"] = [case for case in sections["training"] if "dwi" in case]
    path.write_text(json.dumps(sections))
    return dataset_dir


def test_every_row_is_described_here():
    assert set(EXPECTED) == set(ROWS)


def test_every_row_says_what_it_is():
    for row in ROWS:
        overlay = json.loads((ROOT / "configs" / "experiments" / f"{row}.json").read_text())
        assert overlay["description"].startswith(("Wang 2020, Table", "Song 2019", "Abulnaga 2018")), row


def test_every_base_has_rows():
    assert set(BASES) <= {row.split("_")[0] for row in ROWS}


def blocks(config, path=""):
    """Every key of a nested config, as MONAI names it, with its value."""
    for key, value in config.items():
        yield f"{path}{key}", value
        if isinstance(value, dict):
            yield from blocks(value, f"{path}{key}#")


def leaves(config):
    """The values of a nested config that are no blocks themselves."""
    return {key: value for key, value in blocks(config) if not isinstance(value, dict)}


@pytest.mark.parametrize("name", FILES)
def test_an_overlay_changes_what_it_names_and_no_block_for_a_word_of_it(name):
    *below, overlay = config_files("train", f"experiments/{name}")
    base, config = ConfigParser.load_config_files(below), ConfigParser.load_config_files([*below, overlay])
    named = json.loads(Path(overlay).read_text())
    before, after = leaves(base), leaves(config)
    changed = {key for key in before.keys() | after.keys() if before.get(key, ...) != after.get(key, ...)}
    for key in named:
        own = {other for other in changed if f"{other}#".startswith(f"{key}#")}
        assert own, f"{key} has this value already"
        changed -= own
    assert not changed
    earlier = dict(blocks(base))
    for key, value in named.items():
        block = earlier.get(key)
        if isinstance(value, dict) and isinstance(block, dict) and value["_target_"] == block["_target_"]:
            assert block.keys() - value.keys(), f"{key}: name what changes in it, such as {key}#features"


@pytest.mark.parametrize("row", ROWS)
def test_a_row(row, workflow, with_dwi):
    channels, count, stages, terms = EXPECTED[row]
    training = workflow("train", f"experiments/{row}", learning_rate=0.003, batch_size=6)
    assert training.check_properties() == []
    content = training.parser.get_parsed_content
    assert content("channels") == channels
    network, trainer = content("network"), content("train#trainer")
    batch = next(iter(content("train#dataloader")))
    assert batch["image"].shape[1] == count

    losses, changed, before = {}, [], {}
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: before.update(parameters(network)))
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda engine: changed.append(changed_parts(before, parameters(network)))
    )
    # One batch for every step, so that the loss has one thing to learn.
    trainer.data_loader, trainer.state.epoch_length = [batch] * STEPS, STEPS
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda engine: losses.setdefault(engine.state.epoch, []).append(float(engine.state.output[0]["loss"])),
    )
    training.run()

    loss_function = content("loss_function")
    assert set(loss_function.terms) == terms
    for epoch, values in losses.items():
        assert all(map(math.isfinite, values))
        assert min(values[-3:]) < values[0], f"epoch {epoch}: {values}"
    parts = {name.split(".")[0] for name, _ in network.named_parameters()}
    assert changed == (stages or [parts])

    saved = torch.load(with_dwi / "models" / "model.pt", weights_only=True)
    evaluation = workflow("evaluate", f"experiments/{row}", use_given_maps=True)
    evaluation.run()
    loaded = evaluation.parser.get_parsed_content("network").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in saved.items())
    rows = (with_dwi / "eval" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 3
    summary = json.loads((with_dwi / "eval" / "summary.json").read_text())
    assert (summary["metrics"]["all"]["ssim"]["n"] > 0) == ("synthesis" in terms)


def parameters(network):
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


def changed_parts(before, after):
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
