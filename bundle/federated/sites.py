"""Hospitals with scanners of their own, as phantoms."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from scripts.phantom.parameters import ScanParameters


@dataclass(frozen=True)
class Site:
    """A hospital: what its scanner and its software fix among the parameters of a scan.

    Attributes:
        name: as FLARE and the tables show it.
        scanner: in words.
        fixed: for each part of :class:`scripts.phantom.parameters.ScanParameters` the values of its parameters.
    """

    name: str
    scanner: str
    fixed: Mapping[str, Mapping[str, Any]]

    def scan(self, scan: ScanParameters) -> ScanParameters:
        """Return a scan as this site would have made it."""
        return replace(scan, **{part: replace(getattr(scan, part), **values) for part, values in self.fixed.items()})


SITES = (
    Site(
        "site-1",
        "little noise, a frame a second, much contrast medium, little smoothing of the maps",
        {
            "acquisition": {"noise_hu": 2.5, "frame_interval_s": 1.0, "skull_stripped": False},
            "bolus": {"peak_hu": 350.0},
            "vendor": {"smoothing_mm": 1.3, "map_smoothing_mm": 0.4, "method": "bcsvd", "scale_error": 1.0},
        },
    ),
    Site(
        "site-2",
        "much noise, a frame every two seconds, little contrast medium, smooth maps that are too low",
        {
            "acquisition": {"noise_hu": 7.0, "frame_interval_s": 2.0, "skull_stripped": False, "cupping_hu": 4.0},
            "bolus": {"peak_hu": 130.0},
            "vendor": {"smoothing_mm": 3.0, "map_smoothing_mm": 1.2, "method": "osvd", "scale_error": 0.7},
        },
    ),
    Site(
        "site-3",
        "skull-stripped series, maps without fluid and vessels that are too high and partly clipped, a faint DWI",
        {
            "acquisition": {"noise_hu": 4.0, "frame_interval_s": 1.5, "skull_stripped": True},
            "vendor": {
                "method": "osvd",
                "scale_error": 1.35,
                "hides_fluid": True,
                "hides_vessels": True,
                "tmax_limit_s": 12.0,
            },
            "dwi": {"lesion_gain": 0.5, "noise": 0.07},
        },
    ),
)
