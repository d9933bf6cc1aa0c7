"""The page of nnU-Net beside our rows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from scripts.metrics import by_stratum
from scripts.metrics.strata import ANY_LESION

from ..experiments.comparison import paired, wilcoxon_p
from ..experiments.outcome import Outcome
from ..experiments.published import Table, load_table
from ..experiments.table_page import Provenance, results_table, size_tables
from ..report import SYNTHETIC

NNUNET_EPOCHS, NNUNET_BATCHES = 1000, 250
"""What nnU-Net trains by itself."""


def peer_table(proposed: str) -> Table:
    """The table: the metrics of the papers' segmentation tables, and the row that the others are tested against."""
    return replace(load_table("nnunet"), proposed=proposed)


def peer_page(
    table: Table,
    peers: Sequence[Outcome],
    ours: Sequence[Outcome],
    records: Sequence[Mapping[str, Any]],
    provenance: Provenance,
    picture: PurePath,
) -> str:
    """The whole page in Markdown.

    Args:
        table: its metrics.
        peers: nnU-Net's rows.
        ours: our rows, of which some may not have been run.
        records: of each of nnU-Net's rows what the training was and took, see :meth:`bundle.nnunet.peer.Peer.measure`.
        provenance: what the numbers come from.
        picture: path of the plot, relative to the page.
    """
    done = [outcome for outcome in ours if outcome.state == "done"]
    parts = [
        "# nnU-Net on the same cases",
        f"Mean ± standard deviation over {len(by_stratum(peers[0].cases)[ANY_LESION])} test cases with a lesion, of "
        f"{provenance.data}, on the grid of each case. Minutes are of training and evaluation together, "
        "nnU-Net's with its preprocessing; the conversion of the cases and its plan are below."
        f"{SYNTHETIC if provenance.synthetic else ''}",
        results_table(table, [*peers, *ours]),
        _note(ours),
        _reading(peers, done),
        f"![Dice of each row, and Dice and relative volume error by lesion size]({picture.as_posix()})",
        "## What is the same, and what is not",
        _fairness(peers, ours, records),
        "## By lesion size",
        *size_tables(table, [*peers, *done]),
        "## How this was made",
        _how_made(peers, ours, records, provenance),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _note(ours: Sequence[Outcome]) -> str:
    if ours[0].state != "done":
        return ""
    return (
        "p: paired Wilcoxon signed-rank test of the Dice of the row against that of "
        f"{ours[0].published.title}, Holm-corrected over the rows."
    )


def _reading(peers: Sequence[Outcome], done: Sequence[Outcome]) -> str:
    """Of each pair of nnU-Net and a row of ours, the difference in Dice."""
    lines = []
    for peer in peers:
        for row in done:
            first, second = paired(peer.lesions, row.lesions)
            p = wilcoxon_p(peer.lesions, row.lesions)
            lines.append(
                f"- {peer.published.title} minus {row.published.title}: {100 * (first - second).mean():+.2f} % Dice, "
                f"higher in {int((first > second).sum())} of {len(first)} cases "
                f"(Wilcoxon, uncorrected, p {'< 0.001' if p < 0.001 else f'= {p:.3f}'})"
            )
    return "\n".join(lines)


def _fairness(peers: Sequence[Outcome], ours: Sequence[Outcome], records: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "The same for all: the training, validation and test cases; the channels, clipped to the same windows; the "
        "number of slices that a training draws, as near as whole batches allow; the removal of small components; the "
        "metrics.",
        "nnU-Net's own, as it comes: its plan of the network, the resampling, the scaling of each channel to zero mean "
        "and unit variance in each case, loss, augmentation, optimiser, mirroring in prediction, and the choice of the "
        "weights, which are those of the last epoch; ours are those with the best validation.",
    ]
    for peer, record in zip(peers, records, strict=True):
        training = record["training"]
        batches = training["epochs"] * training["iterations_per_epoch"]
        lines.append(
            f"{peer.published.title}: {training['epochs']} epochs of {training['iterations_per_epoch']} batches of "
            f"{training['batch_size']} patches of {' x '.join(map(str, training['patch_size']))}; by itself nnU-Net "
            f"trains {NNUNET_EPOCHS} epochs of {NNUNET_BATCHES} batches, "
            f"{NNUNET_EPOCHS * NNUNET_BATCHES / batches:.0f} times as many, and five networks, one "
            "for each fold, whose mean it takes."
        )
    lines += [
        f"{row.published.title}: the DWI of the training cases is a target of its training, which nnU-Net does not see."
        for row in ours
        if row.state == "done" and "ssim" in row.cases[0] and row.cases[0]["ssim"] == row.cases[0]["ssim"]
    ]
    return "\n".join(f"- {line}" for line in lines)


def _how_made(
    peers: Sequence[Outcome], ours: Sequence[Outcome], records: Sequence[Mapping[str, Any]], provenance: Provenance
) -> str:
    lines = [f"- command: `{provenance.command}`, in the environment of `make env-nnunet`"]
    missing = [outcome.name for outcome in ours if outcome.state != "done"]
    if missing:
        quick = " --quick" * ("--quick" in provenance.command)
        lines.append(f"- not run yet: `python -m bundle experiments{quick} --row {' '.join(missing)}` makes these rows")
    for peer, record in zip(peers, records, strict=True):
        steps = ", ".join(
            f"{step} {seconds / 60:.1f} ({cpu / 60:.1f})" for step, (seconds, cpu) in record["costs"].items()
        )
        training = record["training"]
        lines += [
            f"- {peer.published.title}: nnU-Net {training['nnunetv2']}, widths "
            f"{', '.join(map(str, training['features']))}, learning rate {training['learning_rate']}, seed "
            f"{peer.settings['seed']}; commit `{record['commit']}`; {record['machine']}",
            f"- its minutes by the clock (and of the processor): {steps}",
        ]
    for row in ours:
        if row.state == "done":
            settings = ", ".join(f"{key} {row.settings[key]}" for key in ("epochs", "features", "image_size"))
            commits = ", ".join(f"`{commit}`" for commit in sorted(row.commits))
            lines.append(f"- {row.published.title}: {settings}; commit {commits}; {', '.join(sorted(row.machines))}")
    return "\n".join(lines)
