"""True and computed maps of one phantom case, side by side."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from scripts.io import atomic_path
from scripts.perfusion import perfusion_maps
from scripts.perfusion.panel import MAPS as WINDOWS

from .cases import MAPS, examine


def draw_truth(seed: int, noise_hu: float, out: Path) -> None:
    """Draw the slice of a seed with the most delayed tissue: each map true, computed, and one against the other."""
    case, series, dt_s, spacing_mm = examine(seed, noise_hu)
    found = perfusion_maps(series, dt_s, spacing_mm)
    truth = case.truth
    index = int((truth["brain"] & (truth["tmax"] > 6)).sum(axis=(0, 1)).argmax())
    tissue = truth["brain"] & (truth["cbf"] > 1) & (truth["vessels"] < 0.05)
    figure = Figure(figsize=(9.6, 9.4), dpi=120, layout="constrained")
    axes = figure.subplots(len(MAPS), 3)
    windows = {name: (title, unit, top) for name, title, unit, top in WINDOWS}
    for row, name in zip(axes, MAPS, strict=True):
        title, unit, top = windows[name]
        computed = getattr(found, name).numpy()
        for axis, what, volume in zip(row, ("true", "computed"), (truth[name], computed), strict=False):
            shown = np.ma.masked_where(~truth["brain"][..., index], volume[..., index])
            image = axis.imshow(shown.T, cmap="jet", vmin=0, vmax=top, origin="lower")
            axis.set(xticks=[], yticks=[], title=f"{what} {title}")
            axis.set_facecolor("black")
        figure.colorbar(image, ax=row[1], label=f"{title} ({unit})")
        edges = np.linspace(0, top, 80)
        counts, _, _ = np.histogram2d(truth[name][tissue], computed[tissue], bins=(edges, edges))
        row[2].imshow(np.log1p(counts.T), extent=(0, top, 0, top), origin="lower", cmap="magma")
        row[2].plot([0, top], [0, top], color="white", linewidth=0.8, linestyle=":")
        r = np.corrcoef(truth[name][tissue], computed[tissue])[0, 1]
        row[2].set(xlabel=f"true {title} ({unit})", ylabel=f"computed ({unit})", title=f"tissue, r = {r:.2f}")
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
