"""How values and masks are shown, the same in every picture and page: windows, units and colors."""

from __future__ import annotations

from typing import NamedTuple


class Scale(NamedTuple):
    """What a color scale shows."""

    name: str
    """Of the file: ``<case>_<name>.nii.gz``."""
    title: str
    unit: str
    """Empty for arbitrary units."""
    limits: tuple[float, float]
    colors: str
    """Name of matplotlib's color map."""


RAINBOW = "turbo"
"""Perfusion software shows flow, volume and times in rainbow colors."""

CT = Scale("ct", "CT", "HU", (0.0, 80.0), "gray")
MAPS = (
    Scale("cbf", "CBF", "ml/100 g/min", (0.0, 80.0), RAINBOW),
    Scale("cbv", "CBV", "ml/100 g", (0.0, 6.0), RAINBOW),
    Scale("mtt", "MTT", "s", (0.0, 15.0), RAINBOW),
    Scale("tmax", "Tmax", "s", (0.0, 12.0), RAINBOW),
)

COLORS = {
    "lesion": "#FF4FD8",  # neither in the rainbow nor in the gray of a CT
    "core": "#FF6A13",
    "delay": "#56B4E9",
    "AIF": "#F0E442",
    "VOF": "#CC79A7",
}
"""Of masks and curves; after Okabe and Ito 2008, but for the lesion."""

PNG = {"compress_level": 3}
"""How pictures are packed: half of the time of the default level for a twentieth more bytes."""
