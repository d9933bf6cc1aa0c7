"""A small CT perfusion as DICOM, as the scanners of several vendors lay it out.

Nothing of the reader is used: tags, positions and times are set here by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    XRayRadiationDoseSRStorage,
    generate_uid,
)

PATIENT = {"PatientName": "Doe^Jane", "PatientID": "ID-4711", "PatientBirthDate": "19440102", "PatientSex": "F"}
STUDY, FRAME_OF_REFERENCE = generate_uid(entropy_srcs=["study"]), generate_uid(entropy_srcs=["frame"])
START = datetime(2024, 3, 9, 10, 15, 1, 250000)

Change = Callable[[Dataset, int, int], None]
"""Changes the header of a slice (second argument) at a time (third)."""


@dataclass(frozen=True)
class Scan:
    """A series with its truth."""

    hu: np.ndarray
    """(columns, rows, slices, frames) int16."""
    times_s: np.ndarray
    """(slices, frames)."""
    origin_mm: tuple[float, float, float] = (-50.0, -71.5, 12.25)
    row: tuple[float, float, float] = (1.0, 0.0, 0.0)
    column: tuple[float, float, float] = (0.0, 1.0, 0.0)
    spacing_mm: tuple[float, float] = (1.5, 2.25)
    """Between rows, between columns."""
    step_mm: tuple[float, float, float] = (0.0, 0.0, 5.0)
    thickness_mm: float = 5.0
    start: datetime = START

    @property
    def affine(self) -> np.ndarray:
        """(4, 4), RAS."""
        lps = np.eye(4)
        lps[:3, 0] = np.multiply(self.row, self.spacing_mm[1])
        lps[:3, 1] = np.multiply(self.column, self.spacing_mm[0])
        lps[:3, 2], lps[:3, 3] = self.step_mm, self.origin_mm
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps

    def position(self, index: int) -> list[float]:
        """Center of the first pixel of a slice, LPS."""
        return [round(float(o + index * s), 6) for o, s in zip(self.origin_mm, self.step_mm, strict=True)]

    def taken(self, index: int, frame: int) -> datetime:
        """When a slice was taken."""
        return self.start + timedelta(seconds=round(float(self.times_s[index, frame]), 6))


def scan(
    columns: int = 20, rows: int = 24, slices: int = 3, frames: int = 14, dt_s: float = 1.5, seed: int = 0
) -> Scan:
    """A head of noise with a bolus in air; no two voxels lie on a line, so that a wrong order shows."""
    rng = np.random.default_rng(0)
    hu = rng.integers(20, 60, (columns, rows, slices, frames)).astype(np.int16)
    hu += (100 * np.exp(-(((np.arange(frames) - frames / 2) / 2) ** 2))).astype(np.int16)
    hu[:2], hu[-2:], hu[:, :2], hu[:, -3:] = -1000, -1000, -1000, -1000
    return Scan(hu, np.tile(np.arange(frames) * dt_s, (slices, 1)))


def classic(scan: Scan, index: int, frame: int) -> Dataset:
    """The header and the pixels of an image, without times."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = CTImageStorage
    uid = generate_uid(entropy_srcs=["classic", str(index), str(frame), str(scan.hu.shape)])
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = uid
    data.StudyInstanceUID, data.FrameOfReferenceUID = STUDY, FRAME_OF_REFERENCE
    data.SeriesInstanceUID, data.SeriesNumber = generate_uid(entropy_srcs=["ctp"]), 5
    for name, value in PATIENT.items():
        setattr(data, name, value)
    data.ImageType, data.Modality = ["ORIGINAL", "PRIMARY", "AXIAL"], "CT"
    data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = "20240309", "101000", "1", "A1"
    data.ReferringPhysicianName, data.PatientPosition, data.PositionReferenceIndicator = "Roe^Ann", "HFS", ""
    data.KVP, data.ConvolutionKernel, data.SliceThickness = 80, "H20f", scan.thickness_mm
    data.AcquisitionNumber, data.InstanceNumber = frame + 1, frame * scan.hu.shape[2] + index + 1
    data.ImagePositionPatient = scan.position(index)
    data.ImageOrientationPatient = [*scan.row, *scan.column]
    data.PixelSpacing = list(scan.spacing_mm)
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = scan.hu.shape[1], scan.hu.shape[0]
    set_pixels(data, scan.hu[:, :, index, frame].T, bits=12, signed=False, intercept=-1024)
    return data


def set_pixels(data: Dataset, hu: np.ndarray, *, bits: int, signed: bool, intercept: float, slope: float = 1.0) -> None:
    """Store HU, (rows, columns) or (frames, rows, columns)."""
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, bits, bits - 1
    data.PixelRepresentation = int(signed)
    data.RescaleSlope, data.RescaleIntercept, data.RescaleType = slope, intercept, "HU"
    stored = np.rint((hu.astype(float) - intercept) / slope).astype(np.int64) & ((1 << bits) - 1)
    data.PixelData = stored.astype("<u2").tobytes()
    data["PixelData"].VR = "OW"


def date_time(data: Dataset, prefix: str, when: datetime) -> None:
    """Set a date and a time."""
    setattr(data, f"{prefix}Date", when.strftime("%Y%m%d"))
    setattr(data, f"{prefix}Time", when.strftime("%H%M%S.%f"))


def datasets(scan: Scan, *changes: Change) -> Iterator[Dataset]:
    """All images of a scan, frame after frame."""
    for frame in range(scan.hu.shape[3]):
        for index in range(scan.hu.shape[2]):
            data = classic(scan, index, frame)
            for change in changes:
                change(data, index, frame)
            yield data


def write(folder: Path, data: Iterator[Dataset] | list[Dataset], prefix: str = "IM", seed: int = 3) -> Path:
    """Write objects under names whose order tells nothing."""
    objects = list(data)
    folder.mkdir(parents=True, exist_ok=True)
    names = np.random.default_rng(seed).permutation(len(objects))
    for number, item in zip(names, objects, strict=True):
        dcmwrite(folder / f"{prefix}{number:05d}", item, enforce_file_format=True)
    return folder


def siemens(scan: Scan) -> Change:
    """Acquisition Date Time and Time of each image; Content Time is that of the reconstruction, minutes later."""

    def change(data: Dataset, index: int, frame: int) -> None:
        data.Manufacturer = "SIEMENS"
        taken = scan.taken(index, frame)
        data.AcquisitionDateTime = taken.strftime("%Y%m%d%H%M%S.%f")
        date_time(data, "Acquisition", taken)
        date_time(data, "Content", scan.start + timedelta(seconds=300 + 0.11 * data.InstanceNumber))

    return change


def series_per_time(data: Dataset, index: int, frame: int) -> None:
    """One series for each time, as syngo exports it."""
    data.SeriesInstanceUID, data.SeriesNumber = generate_uid(entropy_srcs=["time", str(frame)]), 7 + frame


def ge_cine(scan: Scan) -> Change:
    """One Acquisition Time of the cine run; Content Time tells the images apart. Signed, padded with -2000."""

    def change(data: Dataset, index: int, frame: int) -> None:
        data.Manufacturer = "GE MEDICAL SYSTEMS"
        date_time(data, "Acquisition", scan.start)
        date_time(data, "Content", scan.taken(index, frame))
        data.AcquisitionNumber = 1
        data.InstanceNumber = index * scan.hu.shape[3] + frame + 1
        hu = scan.hu[:, :, index, frame].T.copy()
        hu[0, 0] = -3024  # a corner of the padding outside of the reconstructed circle
        set_pixels(data, hu, bits=16, signed=True, intercept=-1024)
        data.add_new("PixelPaddingValue", "SS", -2000)

    return change


def philips_jog(scan: Scan) -> Change:
    """Two positions of the table in turn: Acquisition Time differs between slabs, the temporal position does not."""

    def change(data: Dataset, index: int, frame: int) -> None:
        data.Manufacturer = "Philips"
        date_time(data, "Acquisition", scan.taken(index, frame))
        date_time(data, "Content", scan.start + timedelta(seconds=60 + 0.2 * data.InstanceNumber))
        data.TemporalPositionIdentifier, data.NumberOfTemporalPositions = frame + 1, scan.hu.shape[3]
        set_pixels(data, scan.hu[:, :, index, frame].T, bits=12, signed=False, intercept=-1000)

    return change


def canon(scan: Scan) -> Change:
    """One volume for each time, whose slices have one Acquisition Time; the date is that of the first volume."""

    def change(data: Dataset, index: int, frame: int) -> None:
        data.Manufacturer = "TOSHIBA"
        date_time(data, "Acquisition", scan.taken(index, frame))
        data.AcquisitionDate = scan.start.strftime("%Y%m%d")
        set_pixels(data, scan.hu[:, :, index, frame].T, bits=16, signed=True, intercept=0)

    return change


def jog_times(scan: Scan) -> Scan:
    """The scan with a table that moves to and fro: the upper slices half an interval later."""
    times_s = scan.times_s.copy()
    times_s[scan.hu.shape[2] // 2 :] += (times_s[0, 1] - times_s[0, 0]) / 2
    return replace(scan, times_s=times_s)


def tilted(scan: Scan, degrees: float = 18.0) -> Scan:
    """The scan with its planes turned about the patient's left-right axis; the table moves along z all the same."""
    angle = np.deg2rad(degrees)
    return replace(scan, column=(0.0, float(np.cos(angle)), float(-np.sin(angle))))


def enhanced(scan: Scan, reference: bool = False) -> Dataset:
    """One multi-frame object; half of the functional groups are shared."""
    first = classic(scan, 0, 0)
    data = Dataset()
    data.file_meta = first.file_meta
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = EnhancedCTImageStorage
    removed = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleType")
    for element in first:
        if element.keyword not in (*removed, "SOPClassUID", "RescaleSlope", "RescaleIntercept", "PixelData"):
            data.add(element)
    data.Manufacturer = "Philips"
    slices, frames = scan.hu.shape[2:]
    data.NumberOfFrames = slices * frames
    planes = scan.hu.transpose(2, 3, 1, 0).reshape(-1, *scan.hu.shape[1::-1])  # slice after slice, all its times
    holder = Dataset()
    set_pixels(holder, planes, bits=16, signed=True, intercept=-1024)
    for name in ("BitsStored", "HighBit", "PixelRepresentation", "PixelData"):
        data[name] = holder[name]
    data.SharedFunctionalGroupsSequence = Sequence([_shared(scan)])
    data.PerFrameFunctionalGroupsSequence = Sequence(
        [_per_frame(scan, index, frame, reference) for index in range(slices) for frame in range(frames)]
    )
    return data


def _shared(scan: Scan) -> Dataset:
    shared, measures, orientation, values = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = list(scan.spacing_mm), scan.thickness_mm
    orientation.ImageOrientationPatient = [*scan.row, *scan.column]
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, -1024, "HU"
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelValueTransformationSequence = Sequence([values])
    return shared


def _per_frame(scan: Scan, index: int, frame: int, reference: bool) -> Dataset:
    group, content, position = Dataset(), Dataset(), Dataset()
    taken = scan.taken(index, frame).strftime("%Y%m%d%H%M%S.%f")
    setattr(content, "FrameReferenceDateTime" if reference else "FrameAcquisitionDateTime", taken)
    content.TemporalPositionIndex = frame + 1
    position.ImagePositionPatient = scan.position(index)
    group.FrameContentSequence, group.PlanePositionSequence = Sequence([content]), Sequence([position])
    return group


def companions(scan: Scan) -> Iterator[Dataset]:
    """What else a study holds: localizer, native CT, CT angiography, an averaged series, a dose report, a capture."""
    localizer = classic(scan, 0, 0)
    localizer.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    localizer.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    yield _as_series(localizer, 1, 0)
    for number, thickness_mm, slices in ((2, 4.0, 9), (3, 0.75, 30)):
        for index in range(slices):
            data = classic(scan, 0, 0)
            data.SliceThickness, data.ImagePositionPatient = thickness_mm, [-50.0, -71.5, 12.25 + thickness_mm * index]
            yield _as_series(data, number, index)
    averaged = replace(scan, hu=scan.hu.mean(axis=3, keepdims=True).astype(np.int16), times_s=scan.times_s[:, :1])
    for index in range(scan.hu.shape[2]):
        data = classic(averaged, index, 0)
        data.ImageType = ["DERIVED", "SECONDARY", "AVERAGE"]
        yield _as_series(data, 6, index)
    dose, capture = Dataset(), classic(scan, 0, 0)
    for name in ("StudyInstanceUID", "PatientName", "PatientID", "StudyDate", "StudyTime", "StudyID"):
        setattr(dose, name, getattr(capture, name))
    dose.file_meta = FileMetaDataset()
    dose.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dose.file_meta.MediaStorageSOPClassUID = dose.SOPClassUID = XRayRadiationDoseSRStorage
    dose.Modality, dose.InstanceNumber = "SR", 1
    dose.ContentDate, dose.ContentTime = "20240309", "101500"
    dose.CompletionFlag, dose.VerificationFlag = "PARTIAL", "UNVERIFIED"
    dose.ConceptNameCodeSequence = [_code("113701", "DCM", "X-Ray Radiation Dose Report")]
    yield _as_series(dose, 99, 0)
    capture.file_meta.MediaStorageSOPClassUID = capture.SOPClassUID = SecondaryCaptureImageStorage
    yield _as_series(capture, 100, 0)


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _as_series(data: Dataset, number: int, index: int) -> Dataset:
    data.SeriesNumber = number
    data.SeriesInstanceUID = generate_uid(entropy_srcs=["companion", str(number)])
    data.SOPInstanceUID = generate_uid(entropy_srcs=["companion", str(number), str(index)])
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    return data
