"""The perfusion maps and the probability as DICOM Parametric Maps: float32, with units and real-world values."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from highdicom import VOILUTTransformation
from highdicom.pm import DerivedPixelContrastValues, ImageFlavorValues, ParametricMap, RealWorldValueMapping
from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.sr.coding import Code

from .case_files import RESEARCH_ONLY, CaseFiles
from .codes import (
    BLOOD_FLOW,
    BLOOD_VOLUME,
    BRAIN,
    MEAN_TRANSIT_TIME,
    ML_PER_100_G,
    ML_PER_100_G_PER_MIN,
    NO_UNITS,
    PROBABILITY,
    SECOND,
    TMAX,
)
from .grid import planes
from .heading import MODEL, Heading


class Quantity(NamedTuple):
    """What a map shows."""

    label: str
    says: str
    code: Code
    unit: Code
    top: float
    """Upper end of the window that is proposed; the lower one is 0."""


MAPS = {
    "cbf": Quantity("CBF", "Cerebral blood flow", BLOOD_FLOW, ML_PER_100_G_PER_MIN, 80.0),
    "cbv": Quantity("CBV", "Cerebral blood volume", BLOOD_VOLUME, ML_PER_100_G, 6.0),
    "mtt": Quantity("MTT", "Mean transit time", MEAN_TRANSIT_TIME, SECOND, 15.0),
    "tmax": Quantity("Tmax", "Time to maximum of the residue function", TMAX, SECOND, 12.0),
    "probability": Quantity("Probability", "Probability of ischemic lesion", PROBABILITY, NO_UNITS, 1.0),
}
"""By the name of the file; windows are those of the panel."""


def make_map(results: CaseFiles, heading: Heading, name: str) -> ParametricMap | None:
    """Make the object of one map; None if the case has none.

    The values are stored as float32 and map to themselves. Integers with a slope would round them, and dcmqi, with
    which 3D Slicer reads parametric maps, reads float32 alone.
    """
    found = results.volume(name)
    if found is None:
        return None
    values, quantity = np.asarray(found, dtype=np.float32), MAPS[name]
    mapping = RealWorldValueMapping(
        lut_label=quantity.label,
        lut_explanation=quantity.says,
        unit=quantity.unit,
        value_range=(float(values.min()), float(values.max())),
        slope=1.0,
        intercept=0.0,
        quantity_definition=quantity.code,
    )
    parametric_map = ParametricMap(
        source_images=heading.primary(),
        pixel_array=planes(values, results.affine, heading.grid, heading.frame_of_reference_uid, heading.case),
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[VOILUTTransformation(window_center=quantity.top / 2, window_width=quantity.top)],
        contains_recognizable_visual_features=False,
        content_label=f"CTP_{name.upper()}",
        content_creator_name=f"{MODEL}^",
        content_description=RESEARCH_ONLY,
        image_flavor=ImageFlavorValues.VOLUME,
        derived_pixel_contrast=DerivedPixelContrastValues.QUANTITY,
        specific_character_set="ISO_IR 192",
        **heading.naming(name),
        **heading.equipment,
    )
    parametric_map.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [_brain()]
    _order_frames(parametric_map)
    heading.finish(parametric_map)
    return ParametricMap.from_dataset(parametric_map, copy=False)  # highdicom indexes the frames anew


def _order_frames(parametric_map: ParametricMap) -> None:
    """Put the frames in the order of their positions along the cross product of rows and columns.

    highdicom goes against it. dcmqi, and 3D Slicer with it, takes the order of the frames for that of their positions.
    """
    frames = parametric_map.PerFrameFunctionalGroupsSequence
    orientation = parametric_map.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    normal = np.cross(*np.reshape(np.asarray(orientation, dtype=np.float64), (2, 3)))
    order = np.argsort([np.dot(frame.PlanePositionSequence[0].ImagePositionPatient, normal) for frame in frames])
    pixels = np.frombuffer(parametric_map.FloatPixelData, dtype="<f4").reshape(len(frames), -1)
    parametric_map.FloatPixelData = pixels[order].tobytes()
    parametric_map.PerFrameFunctionalGroupsSequence = [frames[index] for index in order]
    for number, frame in enumerate(parametric_map.PerFrameFunctionalGroupsSequence, start=1):
        frame.FrameContentSequence[0].DimensionIndexValues = [number]


def _brain() -> Dataset:
    """The anatomy of all frames, which highdicom has no argument for and dcmqi does not read a map without."""
    anatomy = Dataset()
    anatomy.AnatomicRegionSequence = [CodedConcept.from_code(BRAIN)]
    anatomy.FrameLaterality = "U"
    return anatomy
