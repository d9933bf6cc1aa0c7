"""The results page, from the rows of the cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from scripts.metrics import STRATA, by_stratum, summarize
from scripts.metrics.strata import ANY_LESION, LARGE, LESION_FREE, MEDIUM, SMALL

from . import markdown

COLUMNS = {
    "dice": ("Dice", 3),
    "precision": ("precision", 3),
    "recall": ("recall", 3),
    "hausdorff_mm": ("HD (mm)", 1),
    "assd_mm": ("ASSD (mm)", 2),
    "absolute_volume_error_ml": ("volume error (ml)", 1),
    "relative_volume_error": ("RVE", 2),
}
SYNTHESIS_COLUMNS = {
    "ssim": ("SSIM", 3),
    "local_ssim": ("local SSIM", 3),
    "psnr_db": ("PSNR (dB)", 2),
    "local_psnr_db": ("local PSNR (dB)", 2),
}
BOOTSTRAP_SAMPLES = 10_000
SYNTHETIC = (
    " The data are synthetic: the numbers compare methods, they do not say how well the lesions of patients are found."
)
EMPTY_MASKS = (
    "where one mask alone is empty, HD and ASSD are the diagonal of the image, and precision and recall are 0 "
    "(`scripts.metrics.EmptyMaskValues`)"
)


@dataclass(frozen=True)
class Method:
    """A way to find lesions, with its row for each case.

    Attributes:
        title: as the tables show it.
        rows: `case` and the metrics of each case, see :func:`scripts.metrics.case_metrics`.
    """

    title: str
    rows: list[dict[str, Any]]


def results_page(
    methods: Sequence[Method], introduction: str, made_by: Sequence[str], picture: PurePath, remarks: str = ""
) -> str:
    """The whole page in Markdown.

    Args:
        methods: the network first, the threshold chosen on training cases second.
        introduction: what was measured on what.
        made_by: command, commit, machine, data and rules.
        picture: path of the plots, relative to the page.
        remarks: what a person says of these and other results, in Markdown.
    """
    counts = {stratum: len(rows) for stratum, rows in by_stratum(methods[0].rows).items()}
    parts = [
        introduction,
        difference_line(methods[0], methods[1]),
        f"![predicted and true volumes, their differences, and Dice by lesion size]({picture.as_posix()})",
    ]
    for stratum in (ANY_LESION, SMALL, MEDIUM, LARGE, LESION_FREE):
        if counts[stratum]:
            table = lesion_free_table(methods) if stratum == LESION_FREE else metrics_table(methods, stratum, COLUMNS)
            plural = "s" * (counts[stratum] != 1)
            parts += [f"## {stratum.capitalize()}: {counts[stratum]} case{plural}", table]
    parts += ["## Pseudo-DWI", synthesis_table(methods[0]), "## How this was made", markdown.bullets(made_by)]
    return markdown.page("Results", *parts, remarks.strip())


def difference_line(method: Method, other: Method) -> str:
    """How much the first is better in Dice than the second, over the cases with a lesion, in a sentence.

    The interval is the 2.5th to 97.5th percentile of means over cases drawn with replacement, with a fixed seed.
    """
    names = {row["case"] for row in by_stratum(method.rows)[ANY_LESION]}
    dice = [{row["case"]: row["dice"] for row in m.rows} for m in (method, other)]
    differences = np.array([dice[0][name] - dice[1][name] for name in sorted(names)])
    if differences.size < 2:
        return "Fewer than two cases have a lesion."
    low, high = bootstrap(
        (differences,), np.mean, n_resamples=BOOTSTRAP_SAMPLES, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    wins = int((differences > 0).sum())
    return (
        f"Mean Dice of {method.title} minus {other.title} over the {differences.size} cases with a lesion: "
        f"{differences.mean():+.3f} (95 % bootstrap interval {low:+.3f} to {high:+.3f}); higher in {wins} cases."
    )


def metrics_table(methods: Sequence[Method], stratum: str, columns: Mapping[str, tuple[str, int]]) -> str:
    """One row for each method, one column for each metric, over the cases of a stratum."""
    body = []
    for method in methods:
        summary = summarize(method.rows, columns)[stratum]
        body.append([method.title] + [mean_sd(summary[name], digits) for name, (_, digits) in columns.items()])
    return markdown.table(["", *(title for title, _ in columns.values())], body)


def lesion_free_table(methods: Sequence[Method]) -> str:
    """In how many cases without lesion, of which there is one at least, each method finds nothing, and how much."""
    body = []
    for method in methods:
        found_ml = np.array([row["false_positive_ml"] for row in by_stratum(method.rows)[LESION_FREE]])
        summary = summarize(method.rows, ["false_positive_ml"])[LESION_FREE]["false_positive_ml"]
        nothing = f"{int((found_ml == 0).sum())} of {found_ml.size}"
        body.append([method.title, nothing, mean_sd(summary, 2), f"{found_ml.max():.2f}"])
    return markdown.table(["", "nothing found", "false positive volume (ml)", "largest (ml)"], body)


def synthesis_table(network: Method) -> str:
    """SSIM and PSNR of the network's pseudo-DWI, by stratum."""
    summary, strata = summarize(network.rows, SYNTHESIS_COLUMNS), by_stratum(network.rows)
    body = [
        [stratum] + [mean_sd(summary[stratum][name], digits) for name, (_, digits) in SYNTHESIS_COLUMNS.items()]
        for stratum in STRATA
        if strata[stratum]
    ]
    header = ["", *(title for title, _ in SYNTHESIS_COLUMNS.values())]
    return markdown.table(header, body) + '\n\n"Local" is the lesion dilated by 10 pixels in the slice.'


def mean_sd(values: Mapping[str, Any], digits: int) -> str:
    """Mean ± standard deviation as :func:`scripts.metrics.summarize` gives them."""
    if values["mean"] is None:
        return "–"
    sd = "" if values["sd"] is None else f" ± {values['sd']:.{digits}f}"
    return f"{values['mean']:.{digits}f}{sd}"
