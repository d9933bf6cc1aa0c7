"""The page about the robustness of the volumes, from the rows of the cases and variants."""

from collections import Counter
from collections.abc import Mapping, Sequence

from .. import markdown
from .cases import DELAY_S, NOISE_HU
from .robustness import ALLOWED_ML, ALLOWED_SHARE, MOST_SLICES, ONE_SLICE, OUTCOMES, VARIANTS

Rows = Sequence[Mapping[str, str]]

_TITLES = {name: variant.title for name, variant in VARIANTS.items()}
_TITLES[ONE_SLICE] = "the slice with most delay, alone"


def robustness_page(rows: Rows, made_by: Sequence[str]) -> str:
    """Write the page.

    Args:
        rows: of the cases and variants, as a table on disk holds them.
        made_by: command, commit, machine and table.
    """
    bases = [row for row in rows if row["variant"] == "base"]
    changed = [row for row in rows if row["variant"] != "base"]
    silent = [row for row in changed if row["outcome"] == "silent"]
    return markdown.page(
        "Robustness of core and hypoperfusion",
        f"Volumes of the core and of Tmax > {DELAY_S:g} s of {len(bases)} phantom cases (noise of {NOISE_HU:g} HU, at "
        f"most {MOST_SLICES} slices) and of the same patients scanned otherwise. A volume is within the limits if it "
        f"differs from the base by at most {ALLOWED_SHARE:.0%} or {ALLOWED_ML:g} ml, whichever is more. The single "
        "slice is compared with the same slice of the base.",
        f"**{len(silent)} of {len(changed)}** comparisons are silently wrong (wanted: 0).",
        _counts(changed),
        markdown.bullets(f"{name}: {meaning}" for name, meaning in OUTCOMES.items()),
        _refused(bases),
        "## Warnings of what is not within the limits",
        "A warning that the base has, too, has an asterisk.",
        _warnings(changed),
        "## Warnings of what is within the limits",
        _alarms(bases, changed),
        "## Silent changes",
        _silent(silent),
        "## How this was made",
        markdown.bullets(made_by),
    )


def _counts(rows: Rows) -> str:
    body = []
    for name, title in _TITLES.items():
        counts = Counter(row["outcome"] for row in rows if row["variant"] == name)
        body.append([title, *(str(counts[outcome]) for outcome in OUTCOMES)])
    total = Counter(row["outcome"] for row in rows)
    body.append(["all", *(str(total[outcome]) for outcome in OUTCOMES)])
    return markdown.table(["", *OUTCOMES], body)


def _refused(bases: Rows) -> str:
    refused = [f"seed {row['seed']} ({row['error']})" for row in bases if row["error"]]
    return f"The base of {len(refused)} cases is refused: {'; '.join(refused)}." if refused else ""


def _warnings(rows: Rows) -> str:
    body = []
    for name, title in _TITLES.items():
        warned = [row for row in rows if row["variant"] == name and row["outcome"] == "warned"]
        counts = Counter(
            warning if warning in row["new_warnings"].split() else f"{warning}*"
            for row in warned
            for warning in row["warnings"].split()
        )
        if counts:
            body.append([title, ", ".join(f"{warning} ({count})" for warning, count in counts.most_common())])
    return markdown.table(["", "warnings (cases)"], body) if body else "None."


def _alarms(bases: Rows, changed: Rows) -> str:
    """How many of the bases, and of the variants within the limits, have each warning."""
    groups = {"bases": bases, "variants": [row for row in changed if row["outcome"] == "within"]}
    counts = {name: Counter(w for row in rows for w in row["warnings"].split()) for name, rows in groups.items()}
    body = [
        [warning, *(f"{counts[name][warning]} of {len(rows)}" for name, rows in groups.items())]
        for warning in sorted(set().union(*counts.values()))
    ]
    return markdown.table(["", *groups], body) if body else "None."


def _silent(rows: Rows) -> str:
    body = [
        [
            row["seed"],
            _TITLES[row["variant"]],
            *(f"{row['base_' + key]} → {row[key]}" for key in ("core_ml", "delayed_ml")),
        ]
        for row in rows
    ]
    return markdown.table(["seed", "", "core (ml)", f"Tmax > {DELAY_S:g} s (ml)"], body) if body else "None."
