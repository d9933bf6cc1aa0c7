"""Train nnU-Net on the cases and the inputs of this bundle, score it as the bundle is, and write a page.

nnU-Net gets the same sections, channels and number of slices to train on. What is done is not done again.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from monai.bundle import ConfigParser

from scripts.metrics import by_stratum
from scripts.metrics.handler import write_rows
from scripts.metrics.strata import ANY_LESION, LARGE, MEDIUM, SMALL
from scripts.phantom import ensure_cohort

from ..case_rows import read_rows
from ..data import DATALIST, PHANTOM, describe_data
from ..markdown import bullets, page, write_text
from ..provenance import ROOT, check_clean, command_line, commit, machine
from ..results import check_same_cases
from ..results_page import COLUMNS, SYNTHETIC, Method, difference_line, metrics_table
from .peer import Peer, Record

HELP = "train nnU-Net on the same cases and inputs, next to our metrics; write docs/results/nnunet.md"

COUNTS, QUICK_COUNTS, SEED = (65, 6, 23), (12, 2, 6), 0
NNUNET_EPOCHS, NNUNET_BATCHES = 1000, 250
"""What nnU-Net trains by itself."""
THE_SAME = (
    "The same for all: the training, validation and test cases; the channels, clipped to the same windows; the number "
    "of slices that a training run draws, as near as whole batches allow; the removal of small components; the metrics."
)
ITS_OWN = (
    "nnU-Net's own: its plan of the network, the resampling, the scaling of each channel to zero mean and unit "
    "variance in each case, loss, augmentation, optimizer, mirroring in prediction, and the weights of the last epoch; "
    "ours are those with the best validation."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("--channels", nargs="+", help="keys of the config that become channels; default: train.json's")
    add("--epochs", type=int, help="over the training cases; default: those of train.json")
    add("--seed", type=int, default=0, help="of the training run (default: 0)")
    beside = "metrics.csv of evaluations of the same cases"
    add("--beside", nargs="+", default=[], metavar="TITLE=FILE", help=beside)
    configuration = "of nnU-Net (default: 2d, since slices are 5 to 12 mm thick)"
    add("--configuration", nargs="+", choices=("2d", "3d_fullres"), default=["2d"], help=configuration)
    add("--data", type=Path, help="data set; default: data/phantom, made where there is none")
    add("--quick", action="store_true", help="a small phantom and 2 epochs, to see that it works")
    add("--device", choices=("cpu", "cuda"), help="default: a GPU where there is one")
    workers = "processes that augment; with 0, the default, a run can be repeated"
    add("--workers", type=int, default=0, help=workers)
    nnunet = "folder of nnU-Net's programs; default: that of make env-nnunet"
    add("--nnunet", type=Path, default=ROOT / ".venv-nnunet" / "bin", help=nnunet)
    add("--out", type=Path, default=ROOT / "runs" / "nnunet", help="folder of nnU-Net's runs")
    add("--page", type=Path, default=ROOT / "docs" / "results" / "nnunet.md", help="page to write")


def run(args: argparse.Namespace) -> None:
    """Train, score and write the page, with the metrics of each case next to it."""
    for name, least in (("epochs", 1), ("workers", 0)):
        if getattr(args, name) is not None and getattr(args, name) < least:
            raise ValueError(f"{name}: expected at least {least}, got {getattr(args, name)}")
    check_clean(args.page, commit())
    ours = [Method(title, read_rows(Path(file))) for title, _, file in (text.partition("=") for text in args.beside)]
    config = ConfigParser.load_config_file(ROOT / "configs" / "train.json")
    epochs = args.epochs or (2 if args.quick else config["epochs"])
    data = args.data or ROOT / "data" / ("phantom_quick" if args.quick else "phantom")
    if args.data is None:
        ensure_cohort(data, QUICK_COUNTS if args.quick else COUNTS, SEED, matrix=96 if args.quick else 256)
    channels = tuple(args.channels or config["channels"])
    peer = Peer(data / DATALIST, data, channels, epochs, args.seed, config["min_lesion_ml"], args.out)
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    records = {f"nnU-Net {name}": peer.measure(name, args.nnunet, device, args.workers) for name in args.configuration}
    check_same_cases([*(Method(title, record["cases"]) for title, record in records.items()), *ours])
    for name, record in zip(args.configuration, records.values(), strict=True):
        write_rows(args.page.with_name(f"{args.page.stem}_{name}.csv"), record["cases"])
    options = {"channels": " ".join(args.channels or []), "epochs": args.epochs, "seed": args.seed or None}
    options |= {"configuration": " ".join(args.configuration), "data": args.data and args.data.name}
    command = command_line("nnunet", args.quick, options)
    write_text(args.page, peer_page(records, ours, data, channels, command))
    print(f"{len(records)} configurations -> {args.page}")


def peer_page(
    records: Mapping[str, Record], ours: Sequence[Method], data: Path, channels: Sequence[str], command: str
) -> str:
    """The whole page in Markdown.

    Args:
        records: what was measured of nnU-Net, by title.
        ours: evaluations of the same cases.
        data: the data set.
        channels: keys of the config that became channels.
        command: that makes the page.
    """
    peers = [Method(title, record["cases"]) for title, record in records.items()]
    counts = {stratum: len(rows) for stratum, rows in by_stratum(peers[0].rows).items()}
    sizes = []
    for stratum in (SMALL, MEDIUM, LARGE):
        if counts[stratum]:
            sizes += [f"## {stratum.capitalize()}: {counts[stratum]} cases"]
            sizes += [metrics_table([*peers, *ours], stratum, COLUMNS)]
    made = [f"command: `{command}`, in the environment of `make env-nnunet`", f"commit `{commit()}`; {machine()}"]
    return page(
        "nnU-Net on the same cases",
        f"Mean ± standard deviation over {counts[ANY_LESION]} test cases with a lesion, of {describe_data(data)}, on "
        f"the grid of each case; the channels are {', '.join(channels)}."
        f"{SYNTHETIC if (data / PHANTOM).is_file() else ''}",
        metrics_table([*peers, *ours], ANY_LESION, COLUMNS),
        bullets(difference_line(peer, other) for peer in peers for other in ours),
        "## What is the same, and what is not",
        bullets([THE_SAME, ITS_OWN, *(_length(title, record["training"]) for title, record in records.items())]),
        *sizes,
        "## How this was made",
        bullets([*made, *(_how_made(record) for record in records.values())]),
    )


def _length(title: str, training: Record) -> str:
    own = NNUNET_EPOCHS * NNUNET_BATCHES / (training["epochs"] * training["iterations_per_epoch"])
    return (
        f"{title}: {training['epochs']} epochs of {training['iterations_per_epoch']} batches of "
        f"{training['batch_size']} patches of {' x '.join(map(str, training['patch_size']))}; by itself nnU-Net trains "
        f"{NNUNET_EPOCHS} epochs of {NNUNET_BATCHES} batches, {own:.0f} times as many, and five networks, one for each "
        "fold, whose mean it takes."
    )


def _how_made(record: Record) -> str:
    training, minutes = record["training"], {step: seconds / 60 for step, seconds in record["seconds"].items()}
    return (
        f"nnU-Net {training['nnunetv2']}, {training['parameters'] / 1e6:.2f} M parameters, widths "
        f"{', '.join(map(str, training['features']))}, learning rate {training['learning_rate']}; its minutes: "
        f"{', '.join(f'{step} {value:.1f}' for step, value in minutes.items())}"
    )
