"""The tables of a record, and the page with them and their plots."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from matplotlib.figure import Figure as Picture

from scripts.io import atomic_path

from ..markdown import bullets, table, write_text
from ..markdown import page as markdown_page
from .measure import TIMES, Figure, Found, Record


def write_page(path: Path, record: Record, modules: Mapping[str, ModuleType]) -> None:
    """Write the page, and its pictures into the folder `images` next to it.

    Args:
        path: of the page.
        record: what was found.
        modules: the benchmarks; the first paragraphs of a section are the module's own docstring.
    """
    (path.parent / "images").mkdir(parents=True, exist_ok=True)
    parts = []
    for name, found in record.found.items():
        picture = f"images/{path.stem}_{name}.png"
        plot(found, path.parent / picture)
        parts += [f"## {name.capitalize()}", (modules[name].__doc__ or "").strip(), rows_table(found)]
        parts += [bullets(found.notes), f"![times, and how time and memory grow]({picture})"]
    made = [f"command: `{record.command}`, {record.rounds} rounds", f"commit: `{record.commit}`", record.machine]
    parts += ["## How this was made", bullets(made)]
    write_text(path, markdown_page("Performance", _preface(record), _verdict(record), *parts))


def _preface(record: Record) -> str:
    quick = "**A quick run at the smallest sizes: it shows that the benchmarks work, and no speed.** "
    clock = "process time at one thread" if record.device == "cpu" else "by the clock, after all work of the device"
    return (
        f"{quick if record.quick else ''}On {record.machine}. Each figure is a ratio of medians, measured by "
        "`torch.utils.benchmark` in one process in which the alternatives take turns; times are in ms, with quartiles, "
        f"{clock}. A *floor* is what the machine itself needs at least. A number in brackets is the limit that is "
        "wanted, and **bold** marks the figures that miss it. Inputs are synthetic."
    )


def _verdict(record: Record) -> str:
    figures = [
        (f"{benchmark}, {row.case}: {name} {figure_text(figure)}", figure)
        for benchmark, found in record.found.items()
        for row in found.rows
        for name, figure in row.figures.items()
        if figure.limit is not None
    ]
    missed = [text for text, figure in figures if not figure.met]
    kept = f"{len(figures) - len(missed)} of {len(figures)} limits are kept"
    return f"{kept}. Missed:\n\n{bullets(missed)}" if missed else f"{kept}."


def rows_table(found: Found) -> str:
    """The rows of a benchmark, with a column for every figure that one of them has."""
    names = list(dict.fromkeys(name for row in found.rows for name in row.figures))
    body = [
        [
            row.case,
            _quartiles(row.ms),
            *(figure_text(row.figures[name]) if name in row.figures else "–" for name in names),
        ]
        for row in found.rows
    ]
    return table(["", "ms (quartiles)", *names], body)


def _quartiles(ms: Sequence[float] | None) -> str:
    return "–" if ms is None else f"{number(ms[1])} ({number(ms[0])} to {number(ms[2])})"


def figure_text(figure: Figure) -> str:
    """A figure with its unit and its limit, bold where it misses that."""
    text = number(figure.value) + ("" if figure.unit == TIMES else f" {figure.unit}".rstrip())
    if figure.limit is None:
        return text
    return f"{text if figure.met else f'**{text}**'} ({'≥' if figure.higher_is_better else '≤'} {figure.limit:g})"


def number(value: float) -> str:
    """A number to three digits, or as a power of ten where it is tiny."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1e}" if abs(value) < 1e-3 else f"{value:.3g}"


def plot(found: Found, out: Path) -> None:
    """Draw the times with their quartiles, and a row of panels for each thing that grows, into one PNG."""
    rows = [(row.case, row.ms) for row in found.rows if row.ms is not None][::-1]
    heights = [1.2 + 0.3 * len(rows), *[3.0] * len(found.growth)]
    picture = Picture(figsize=(10, sum(heights)), dpi=120, layout="constrained")
    grid = picture.add_gridspec(len(heights), 2, height_ratios=heights)
    times = picture.add_subplot(grid[0, :])
    spread = [[ms[1] - ms[0] for _, ms in rows], [ms[2] - ms[1] for _, ms in rows]]
    times.barh([case for case, _ in rows], [ms[1] for _, ms in rows], xerr=spread, color="#00798c")
    times.set(xscale="log", xlabel="time (ms), median and quartiles")
    times.tick_params(axis="y", labelsize=8)
    for index, item in enumerate(found.growth, start=1):
        for column, (curves, label) in enumerate([(item.ms, "time (ms)"), (item.mib, "peak memory (MiB)")]):
            axes = picture.add_subplot(grid[index, column])
            for name, values in curves.items():
                axes.plot(item.points, values, marker="o", markersize=4, label=name)
            axes.set(xlabel=item.axis, ylabel=label, ylim=(0, None))
            axes.legend(frameon=False, fontsize=8)
    with atomic_path(out) as temporary:
        picture.savefig(temporary, format="png", metadata={"Software": None})
