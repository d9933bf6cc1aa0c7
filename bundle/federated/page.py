"""The page and the plot of the federated training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from scripts.io import atomic_path
from scripts.metrics import by_stratum
from scripts.metrics.strata import ANY_LESION

from ..plots import COLOURS
from .sites import Site


@dataclass(frozen=True)
class Comparison:
    """What was measured.

    Attributes:
        rows: for each model and site of the test the rows of the cases.
        sites: the sites.
        settings: the command's arguments, and ``epochs``.
        commit: of the repository.
        machine: in words.
    """

    rows: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
    sites: Sequence[Site]
    settings: Mapping[str, Any]
    commit: str
    machine: str

    @property
    def models(self) -> list[str]:
        """Names of the models, in the order of the page: each site's own, the federated, the pooled."""
        own = [site.name for site in self.sites]
        return own + sorted({model for model, _ in self.rows} - set(own))

    def dice(self, model: str, *sites: str) -> np.ndarray:
        """Dice of the test cases with a lesion at these sites."""
        rows = [row for site in sites for row in by_stratum(self.rows[model, site])[ANY_LESION]]
        return np.array([row["dice"] for row in rows])


def federated_page(comparison: Comparison) -> str:
    """The page in Markdown."""
    names = [site.name for site in comparison.sites]
    settings = comparison.settings
    train, val, test = settings["cases"]
    lines = [
        "# Several hospitals: a federated training",
        "",
        f"Made by `python -m bundle federated` (commit {comparison.commit}, {comparison.machine}), with "
        "NVIDIA FLARE's simulator and MONAI's `MonaiAlgo`. How it works, and how to run it at hospitals: "
        "[`../how-to/federated.md`](../how-to/federated.md).",
        "",
        "**Synthetic data and small networks: the numbers compare ways to train, and say nothing about patients.**",
        "",
        f"Each site has {train} training, {val} validation and {test} test cases of its own patients, and a scanner:",
        "",
        *(f"- `{site.name}`: {site.scanner}" for site in comparison.sites),
        "",
        f"Slices of {settings['matrix']} x {settings['matrix']} pixels, widths "
        f"{', '.join(map(str, settings['features']))}. All models begin with the same weights and see each of their "
        f"cases {settings['epochs']} times; the federated one is averaged {settings['rounds']} times, every "
        f"{settings['local_epochs']} epochs. The weights of the last epoch are tested, none is chosen. `pooled` is "
        "what hospitals could have if their data were in one place.",
        "",
        "Mean Dice ± standard deviation over the test cases with a lesion:",
        "",
        f"| trained | {' | '.join(f'tested at {name}' for name in names)} | all |",
        f"|---|{'---|' * (len(names) + 1)}",
        *(_table_row(comparison, model, names) for model in comparison.models),
        "",
        "![Mean Dice of every model at every site](../images/federated.png)",
        "",
        _reading(comparison, names),
    ]
    return "\n".join(lines) + "\n"


def _table_row(comparison: Comparison, model: str, names: Sequence[str]) -> str:
    title = f"at {model} alone" if model in names else model
    groups = [*([name] for name in names), names]
    cells = [f"{dice.mean():.3f} ± {dice.std():.3f}" for dice in (comparison.dice(model, *group) for group in groups)]
    return f"| {title} | {' | '.join(cells)} |"


def _reading(comparison: Comparison, names: Sequence[str]) -> str:
    federated, pooled = (comparison.dice(model, *names).mean() for model in ("federated", "pooled"))
    best = max(names, key=lambda name: comparison.dice(name, *names).mean())
    own = comparison.dice(best, *names).mean()
    at_home = np.mean([comparison.dice(name, name).mean() for name in names])
    abroad = np.mean([comparison.dice(model, name).mean() for model in names for name in names if model != name])
    cases = len(comparison.dice(best, *names))
    return (
        f"Over all {cases} cases the federated model has {federated:.3f}, the best of the sites' own ({best}) "
        f"{own:.3f} and the pooled one {pooled:.3f}. A site's own model has {at_home:.3f} on its own patients, in the "
        f"mean over the sites, and {abroad:.3f} on those of the others. With so few cases differences of a few "
        "hundredths are within chance."
    )


def plot_comparison(comparison: Comparison, out: Path) -> None:
    """Draw the mean Dice of every model at every site, with its standard error, as PNG."""
    names = [site.name for site in comparison.sites]
    groups = [*([name] for name in names), names]
    figure = Figure(figsize=(9, 3.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(comparison.models)
    for index, (model, colour) in enumerate(zip(comparison.models, COLOURS, strict=False)):
        dice = [comparison.dice(model, *group) for group in groups]
        places = np.arange(len(groups)) + (index - (len(comparison.models) - 1) / 2) * width
        axes.bar(
            places,
            [values.mean() for values in dice],
            0.9 * width,
            yerr=[values.std() / np.sqrt(len(values)) for values in dice],
            color=colour,
            label=f"{model} alone" if model in names else model,
            error_kw={"linewidth": 0.8},
        )
    axes.set_xticks(range(len(groups)), [*(f"tested at {name}" for name in names), "all"])
    axes.set(ylabel="mean Dice and its standard error", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=len(comparison.models), frameon=False, fontsize=9)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
