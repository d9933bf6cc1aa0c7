"""Train nnU-Net on the cases and the inputs of this bundle, score it as the bundle is, and write a page.

nnU-Net gets the same sections, channels and number of slices to train on. What is done is not done again.
"""

import argparse
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from scipy.stats import wilcoxon

from scripts.metrics import by_stratum
from scripts.metrics.handler import write_rows
from scripts.metrics.strata import ANY_LESION, LARGE, MEDIUM, SMALL
from scripts.phantom import ensure_cohort

from ..case_rows import read_rows
from ..data import DATALIST, PHANTOM, describe_data
from ..markdown import bullets, page, write_text
from ..provenance import ROOT, check_clean, command_line, commit, machine
from ..results import check_same_cases
from ..results_page import COLUMNS, SYNTHETIC, Method, metrics_table
from .peer import Peer, Record

HELP = "train nnU-Net on the same cases and inputs, next to our metrics; write docs/results/nnunet.md"

CONFIGURATIONS = ("2d", "3d_fullres")
COUNTS, QUICK_COUNTS, SEED = (65, 6, 23), (12, 2, 6), 0
NNUNET_EPOCHS, NNUNET_BATCHES = 1000, 250
"""What nnU-Net trains by itself."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--channels", nargs="+", help="keys of the config that become channels; default: train.json's")
    parser.add_argument("--epochs", type=int, help="over the training cases; default: those of train.json")
    parser.add_argument("--seed", type=int, default=0, help="of the training run (default: 0)")
    parser.add_argument(
        "--beside", nargs="+", default=[], metavar="TITLE=FILE", help="metrics.csv of evaluations of the same cases"
    )
    parser.add_argument(
        "--configuration",
        nargs="+",
        choices=CONFIGURATIONS,
        default=["2d"],
        help="of nnU-Net (default: 2d, since slices are 5 to 12 mm thick)",
    )
    parser.add_argument("--data", type=Path, help="data set; default: data/phantom, made where there is none")
    parser.add_argument("--quick", action="store_true", help="a small phantom and 2 epochs, to see that it works")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: a GPU where there is one")
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that augment; with 0, the default, a run can be repeated"
    )
    parser.add_argument(
        "--nnunet",
        type=Path,
        default=ROOT / ".venv-nnunet" / "bin",
        help="folder of nnU-Net's programs; default: that of make env-nnunet",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "nnunet", help="folder of nnU-Net's runs")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "results" / "nnunet.md", help="page to write")


def run(args: argparse.Namespace) -> None:
    """Train, score and write the page, with the metrics of each case next to it."""
    for name, least in (("epochs", 1), ("workers", 0)):
        if getattr(args, name) is not None and getattr(args, name) < least:
            raise ValueError(f"{name}: expected at least {least}, got {getattr(args, name)}")
    check_clean(args.page, commit())
    ours = [Method(title, read_rows(Path(file))) for title, _, file in (text.partition("=") for text in args.beside)]
    config = ConfigParser.load_config_file(ROOT / "configs" / "train.json")
    channels = tuple(args.channels or config["channels"])
    epochs = args.epochs or (2 if args.quick else config["epochs"])
    data = args.data or ROOT / "data" / ("phantom_quick" if args.quick else "phantom")
    if args.data is None:
        ensure_cohort(data, QUICK_COUNTS if args.quick else COUNTS, SEED, matrix=96 if args.quick else 256)
    peer = Peer(data / DATALIST, data, channels, epochs, args.seed, config["min_lesion_ml"], args.out)
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    records = {name: peer.measure(name, args.nnunet, device, args.workers) for name in args.configuration}
    peers = [Method(f"nnU-Net {name}", record["cases"]) for name, record in records.items()]
    for name, record in records.items():
        write_rows(args.page.with_name(f"{args.page.stem}_{name}.csv"), record["cases"])
    check_same_cases([*peers, *ours])
    options = {"channels": " ".join(args.channels or []), "epochs": args.epochs, "seed": args.seed or None}
    options |= {"configuration": " ".join(args.configuration), "data": args.data and args.data.name}
    made = [
        f"command: `{command_line('nnunet', args.quick, options)}`, in the environment of `make env-nnunet`",
        f"commit `{commit()}`; {machine()}",
        *(line for record in records.values() for line in _how_made(record)),
    ]
    write_text(args.page, peer_page(peers, ours, data, channels, [_length(*item) for item in records.items()], made))
    print(f"{len(peers)} configurations -> {args.page}")


def peer_page(
    peers: list[Method], ours: list[Method], data: Path, channels: tuple[str, ...], lengths: list[str], made: list[str]
) -> str:
    """The whole page in Markdown.

    Args:
        peers: nnU-Net's configurations.
        ours: evaluations of the same cases.
        data: the data set.
        channels: keys of the config that became channels.
        lengths: a sentence about the length of each training run.
        made: sentences about what made the numbers.
    """
    counts = {stratum: len(rows) for stratum, rows in by_stratum(peers[0].rows).items()}
    parts = [
        f"Mean ± standard deviation over {counts[ANY_LESION]} test cases with a lesion, of {describe_data(data)}, on "
        f"the grid of each case; the channels are {', '.join(channels)}."
        f"{SYNTHETIC if (data / PHANTOM).is_file() else ''}",
        metrics_table([*peers, *ours], ANY_LESION, COLUMNS),
        bullets(_difference(peer, other) for peer in peers for other in ours),
        "## What is the same, and what is not",
        bullets(
            [
                "The same for all: the training, validation and test cases; the channels, clipped to the same windows; "
                "the number of slices that a training run draws, as near as whole batches allow; the removal of small "
                "components; the metrics.",
                "nnU-Net's own: its plan of the network, the resampling, the scaling of each channel to zero mean and "
                "unit variance in each case, loss, augmentation, optimizer, mirroring in prediction, and the weights "
                "of the last epoch; ours are those with the best validation.",
                *lengths,
            ]
        ),
    ]
    for stratum in (SMALL, MEDIUM, LARGE):
        if counts[stratum]:
            parts += [f"## {stratum.capitalize()}: {counts[stratum]} cases"]
            parts += [metrics_table([*peers, *ours], stratum, COLUMNS)]
    return page("nnU-Net on the same cases", *parts, "## How this was made", bullets(made))


def _difference(peer: Method, other: Method) -> str:
    """How nnU-Net and a row of ours differ in Dice over the cases with a lesion."""
    pairs = zip(by_stratum(peer.rows)[ANY_LESION], by_stratum(other.rows)[ANY_LESION], strict=True)
    differences = [first["dice"] - second["dice"] for first, second in pairs]
    p = wilcoxon(differences).pvalue if any(differences) else 1.0
    return (
        f"{peer.title} minus {other.title}: {sum(differences) / len(differences):+.3f} Dice, higher in "
        f"{sum(value > 0 for value in differences)} of {len(differences)} cases (Wilcoxon, uncorrected, p = {p:.3f})"
    )


def _length(configuration: str, record: Record) -> str:
    training = record["training"]
    own = NNUNET_EPOCHS * NNUNET_BATCHES / (training["epochs"] * training["iterations_per_epoch"])
    return (
        f"nnU-Net {configuration}: {training['epochs']} epochs of {training['iterations_per_epoch']} batches of "
        f"{training['batch_size']} patches of {' x '.join(map(str, training['patch_size']))}; by itself it trains "
        f"{NNUNET_EPOCHS} epochs of {NNUNET_BATCHES} batches, {own:.0f} times as many, and five networks, one for each "
        "fold, whose mean it takes."
    )


def _how_made(record: Record) -> list[str]:
    training = record["training"]
    return [
        f"nnU-Net {training['nnunetv2']}, {training['parameters'] / 1e6:.2f} M parameters, widths "
        f"{', '.join(map(str, training['features']))}, learning rate {training['learning_rate']}",
        "its minutes: " + ", ".join(f"{step} {seconds / 60:.1f}" for step, seconds in record["seconds"].items()),
    ]
