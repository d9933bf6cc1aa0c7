"""The source's images as highdicom wants them: what refers to them and where they lie, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from .perfusion_series import Instance

_IDENTITY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID")
_FUNCTIONAL_GROUPS = "PerFrameFunctionalGroupsSequence"


def reduced_images(headers: Sequence[Dataset], frame_of_reference_uid: str) -> list[Dataset]:
    """Headers with references and geometry alone: the patient is copied later, as it is, without highdicom's checks.

    Args:
        headers: of classic CT one a slice; of enhanced CT the multi-frame objects.
        frame_of_reference_uid: theirs, or one that stands in for it.
    """
    images = []
    for header in headers:
        image = _without_identity()
        for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns"):
            setattr(image, keyword, header[keyword].value)
        image.FrameOfReferenceUID = frame_of_reference_uid
        image.PositionReferenceIndicator = header.get("PositionReferenceIndicator")
        image.Modality = "CT"
        if _FUNCTIONAL_GROUPS in header:
            _copy_frames(header, image)
        else:
            _copy_plane(header, image)
        images.append(image)
    return images


def plane_positions(images: Sequence[Dataset]) -> NDArray[np.float64]:
    """(N, 3) ImagePositionPatient of all images, of multi-frame ones that of each frame."""
    positions = []
    for image in images:
        frames = image.get(_FUNCTIONAL_GROUPS)
        planes = [image] if frames is None else [frame.PlanePositionSequence[0] for frame in frames]
        positions += [[float(value) for value in plane.ImagePositionPatient] for plane in planes]
    return np.array(positions)


def plane_of(image: Dataset) -> Dataset:
    """Rows, columns, spacing and orientation at one level, also of a multi-frame image."""
    if _FUNCTIONAL_GROUPS not in image:
        return image
    shared = image.SharedFunctionalGroupsSequence[0]
    plane = Dataset()
    plane.Rows, plane.Columns, plane.FrameOfReferenceUID = image.Rows, image.Columns, image.FrameOfReferenceUID
    plane.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    measures = shared.PixelMeasuresSequence[0]
    plane.PixelSpacing, plane.SliceThickness = measures.PixelSpacing, measures.SliceThickness
    return plane


def references(instances: Sequence[Instance], study_uid: str) -> list[Dataset]:
    """A dataset with the four UIDs of each object that was used, each once."""
    found = {}
    for instance in instances:
        reference = Dataset()
        reference.SOPClassUID, reference.SOPInstanceUID = instance.sop_class_uid, instance.sop_instance_uid
        reference.SeriesInstanceUID, reference.StudyInstanceUID = instance.series_uid, study_uid
        found[instance.sop_instance_uid] = reference
    return list(found.values())


def referenced_series(references: Sequence[Dataset]) -> list[Dataset]:
    """Items of the Referenced Series Sequence (PS3.3, C.12.2), series in the order of their first object."""
    series: dict[str, list[Dataset]] = {}
    for reference in references:
        series.setdefault(str(reference.SeriesInstanceUID), []).append(reference)
    items = []
    for uid, instances in series.items():
        item = Dataset()
        item.SeriesInstanceUID, item.ReferencedInstanceSequence = uid, referenced_instances(instances)
        items.append(item)
    return items


def referenced_instances(objects: Sequence[Dataset]) -> list[Dataset]:
    """Items that name each object by class and UID (PS3.3, table 10-11)."""
    items = []
    for one in objects:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
        items.append(item)
    return items


def _without_identity() -> Dataset:
    image = Dataset()
    for keyword in _IDENTITY:
        setattr(image, keyword, "")
    image.StudyDate, image.StudyTime = None, None
    return image


def _copy_plane(header: Dataset, image: Dataset) -> None:
    for keyword in ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"):
        setattr(image, keyword, header[keyword].value)
    image.SliceThickness = header.get("SliceThickness") or 1


def _copy_frames(header: Dataset, image: Dataset) -> None:
    """Position of each frame, and one orientation and spacing for all, which enhanced CT may give with each frame."""
    shared, frames = header.SharedFunctionalGroupsSequence[0], header[_FUNCTIONAL_GROUPS].value
    image.NumberOfFrames = header.NumberOfFrames
    groups = Dataset()
    for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        item = Dataset()
        item.update(_group(shared, frames[0], keyword)[0])
        setattr(groups, keyword, [item])
    if not groups.PixelMeasuresSequence[0].get("SliceThickness"):
        groups.PixelMeasuresSequence[0].SliceThickness = 1
    image.SharedFunctionalGroupsSequence = [groups]
    positions = []
    for frame in frames:
        position, plane = Dataset(), Dataset()
        plane.ImagePositionPatient = _group(shared, frame, "PlanePositionSequence")[0].ImagePositionPatient
        position.PlanePositionSequence = [plane]
        positions.append(position)
    image.PerFrameFunctionalGroupsSequence = positions


def _group(shared: Dataset, frame: Dataset, keyword: str) -> Sequence[Dataset]:
    return shared[keyword].value if keyword in shared else frame[keyword].value
