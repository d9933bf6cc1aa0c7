"""The tables of a record, and the page with them."""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from scripts.io import atomic_path

from ..report import markdown_table
from .figures import plot_found
from .measurement import TIMES, Figure, Found, Record
from .timing import Timing


def write_page(path: Path, record: Record, modules: dict[str, ModuleType]) -> None:
    """Write the page, and its pictures into the folder `images` beside it.

    Args:
        path: of the page.
        record: what was found.
        modules: the benchmarks; the first paragraph of a section is the module's own docstring.
    """
    (path.parent / "images").mkdir(parents=True, exist_ok=True)
    for name, found in record.found.items():
        plot_found(found, path.parent / _picture(path.stem, name))
    with atomic_path(path) as temporary:
        temporary.write_text(page(record, modules, path.stem), encoding="utf-8")


def _picture(stem: str, name: str) -> str:
    return f"images/{stem}_{name}.png"


def page(record: Record, modules: dict[str, ModuleType], stem: str = "performance") -> str:
    """The page in Markdown; the stem of its own name is that of its pictures' names."""
    parts = ["# Performance", _preface(record), _verdict(record)]
    for name, found in record.found.items():
        parts += [f"## {name.capitalize()}", (modules[name].__doc__ or "").strip(), table(found)]
        parts += [f"- {note}" for note in found.notes]
        parts += [f"![times, and how time and memory grow]({_picture(stem, name)})"]
    parts += ["## How this was made", _how_made(record)]
    return "\n\n".join(parts) + "\n"


def _preface(record: Record) -> str:
    quick = "**A quick run at the smallest sizes: it shows that the benchmarks work, and no speed.** "
    return (
        (quick if record.quick else "")
        + f"On {record.machine}. Each figure is a ratio of medians, measured in one process in which the alternatives "
        "take turns; times are "
        + (
            "those between events on the device. "
            if record.device != "cpu"
            else "process time at one thread, in ms, and have quartiles. "
        )
        + "A *floor* is what the machine itself needs at least, measured beside. A number in brackets is the limit "
        "that is wanted, and **bold** marks the figures that miss it. Inputs are synthetic."
    )


def _verdict(record: Record) -> str:
    figures = [
        (f"{benchmark}, {row.case}: {name} {figure_text(figure)}", figure)
        for benchmark, found in record.found.items()
        for row in found.rows
        for name, figure in row.figures.items()
        if figure.wanted is not None
    ]
    missed = [text for text, figure in figures if not figure.met]
    kept = f"{len(figures) - len(missed)} of {len(figures)} limits are kept"
    return f"{kept}." if not missed else f"{kept}. Missed:\n\n" + "\n".join(f"- {text}" for text in missed)


def _how_made(record: Record) -> str:
    lines = [
        f"- command: `{record.command}`; `python -m bundle benchmark compare OLD NEW` compares two of its JSON files",
        f"- commit, in the order of the commands where they are several: `{record.commit}`",
        f"- machine: {record.machine}; device: {record.device}; {record.repeats} rounds",
        "- what it can do at best: " + "; ".join(f"{name} {value:.0f}" for name, value in record.floors.items()),
    ]
    if record.device == "cpu":
        lines.append(
            "- on a GPU nothing was measured: the benchmarks take `--device cuda` and have tests for it, which never "
            "ran for want of a GPU"
        )
    return "\n".join(lines)


def table(found: Found) -> str:
    """The rows of a benchmark, with a column for every figure that one of them has."""
    names = list(dict.fromkeys(name for row in found.rows for name in row.figures))
    body = [
        [row.case, _timing_text(row.timing), *(_cell(row.figures.get(name)) for name in names)] for row in found.rows
    ]
    return markdown_table(["", "ms (quartiles)", *names], body)


def _timing_text(timing: Timing | None) -> str:
    if timing is None:
        return "–"
    low, high = timing.quartiles_ms
    return f"{number(timing.median_ms)} ({number(low)} to {number(high)})"


def _cell(figure: Figure | None) -> str:
    return "–" if figure is None else figure_text(figure)


def figure_text(figure: Figure) -> str:
    """A figure with its unit and its limit, bold where it misses that."""
    unit = "" if figure.unit == TIMES else f" {figure.unit}".rstrip()
    text = f"{number(figure.value)}{unit}"
    if figure.wanted is None:
        return text
    sign = "≥" if figure.higher_is_better else "≤"
    return f"{text if figure.met else f'**{text}**'} ({sign} {figure.wanted:g})"


def number(value: float) -> str:
    """A number to three digits, or as a power of ten where it is tiny."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1e}" if abs(value) < 1e-3 else f"{value:.3g}"


def describe(names: Sequence[str], record: Record) -> str:
    """The tables of some benchmarks, each under its name."""
    return "\n\n".join(f"{name}\n\n{table(record.found[name])}" for name in names)
