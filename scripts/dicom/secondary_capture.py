"""Pictures as RGB secondary captures, for viewers that open neither masks nor maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from PIL import Image

from .case_files import CaseFiles
from .heading import MANUFACTURER, Heading
from .overlay import FRONT_TO_BACK, RIGHT_TO_LEFT, banner, overlays
from .segmentation import Segment

PANELS = ("panel", "perfusion")
"""Names of the pictures of a case, by the files' names."""


def make_panels(results: CaseFiles, heading: Heading) -> dict[str, SCImage]:
    """The pictures that a case has, by the names of the objects: ``panel``, ``panel_perfusion``."""
    made = {}
    for number, name in enumerate(PANELS, start=1):
        path = results.file(name).with_name(f"{results.case}_{name}.png")
        if path.is_file():
            instance = "panel" if name == "panel" else f"panel_{name}"
            made[instance] = _capture(_panel(path), heading, "panel", instance, number)
            made[instance].PatientOrientation = []  # several slices and curves
    return made


def make_overlays(results: CaseFiles, heading: Heading, segments: list[Segment]) -> dict[str, SCImage]:
    """The masks' outlines on every slice: ``overlay_001``, ..., from the feet to the head."""
    made = {}
    for number, picture in enumerate(overlays(results, segments), start=1):
        name = f"overlay_{number:03d}"
        made[name] = _capture(picture, heading, "overlay", name, number)
    return made


def _panel(path: Path) -> NDArray[np.uint8]:
    """An RGB picture on black, below the banner."""
    with Image.open(path) as file:
        picture = file.convert("RGBA")
    black = Image.new("RGBA", picture.size, "black")
    black.alpha_composite(picture)
    return banner(black.convert("RGB"))


def _capture(picture: NDArray[np.uint8], heading: Heading, series: str, instance: str, number: int) -> SCImage:
    capture = SCImage(
        pixel_array=picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=(RIGHT_TO_LEFT, FRONT_TO_BACK),
        study_instance_uid=heading.identity.StudyInstanceUID,
        manufacturer=MANUFACTURER,
        **{key: value for key, value in heading.equipment.items() if key != "manufacturer"},
        **heading.naming(series, instance, number),
    )
    capture.BurnedInAnnotation = "YES"
    return heading.finish(capture)
