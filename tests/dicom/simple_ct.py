"""A small writer of CT perfusion as DICOM, classic or enhanced, and a folder of results on its grid. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

from scripts.dicom.perfusion_series import Instance, SourceSeries

STUDY_UID = "1.2.3.4.5"
FRAME_OF_REFERENCE_UID = "1.2.3.4.6"
SERIES_UID = "1.2.3.4.7"


def axial_affine(spacing_mm=(0.9, 0.9, 8.0), origin=(-20.0, -15.0, 30.0)) -> np.ndarray:
    """(4, 4) RAS+ of axial slices as scanners store them: columns to the left, rows to the back, slices up."""
    affine = np.diag([-spacing_mm[0], -spacing_mm[1], spacing_mm[2], 1.0])
    affine[:3, 3] = origin
    return affine


def patient(header: Dataset, **values: Any) -> Dataset:
    """Patient, study and series of a header, with other values where given."""
    header.SpecificCharacterSet = values.pop("SpecificCharacterSet", "ISO_IR 100")
    defaults = {
        "PatientName": "Doe^Jane",
        "PatientID": "P-1",
        "PatientBirthDate": "19500101",
        "PatientSex": "F",
        "PatientAge": "075Y",
        "StudyInstanceUID": STUDY_UID,
        "StudyDate": "20240102",
        "StudyTime": "030405",
        "StudyID": "S1",
        "StudyDescription": "CT head",
        "AccessionNumber": "A1",
        "ReferringPhysicianName": "Roe^Richard",
        "SeriesInstanceUID": SERIES_UID,
        "SeriesNumber": 5,
        "SeriesDescription": "CTP",
        "FrameOfReferenceUID": FRAME_OF_REFERENCE_UID,
        "PositionReferenceIndicator": "OM",
        "Modality": "CT",
        "Manufacturer": "Phantom",
        "InstitutionName": "Hospital of nowhere",
        "StationName": "CT1",
        "OperatorsName": "Op^Erator",
        "AcquisitionDate": "20240102",
        "AcquisitionTime": "031500.25",
    }
    for keyword, value in (defaults | values).items():
        setattr(header, keyword, value)
    header.add_new((0x0009, 0x0010), "LO", "VENDOR")
    header.add_new((0x0009, 0x1001), "LO", "private of the vendor")
    return header


def lps_planes(affine: np.ndarray, slices: int) -> tuple[list[float], list[float], np.ndarray]:
    """ImageOrientationPatient, PixelSpacing (between rows, between columns) and the ImagePositionPatient of slices."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    orientation = [*(lps[:3, 0] / spacing[0]), *(lps[:3, 1] / spacing[1])]
    positions = lps[:3, 3] + np.arange(slices)[:, None] * lps[:3, 2]
    return orientation, [spacing[1], spacing[0]], positions


def decimal(values: Any) -> list[str]:
    """Numbers as decimal strings (16 letters at most)."""
    return [f"{value:.10g}"[:16] for value in values]


def classic_headers(affine: np.ndarray, shape: tuple[int, ...], **values: Any) -> list[Dataset]:
    """Headers of classic CT without pixels, one a slice and frame, slices first: (columns, rows, slices, frames)."""
    columns, rows, slices, frames = shape
    orientation, spacing, positions = lps_planes(affine, slices)
    headers = []
    for frame in range(frames):
        for index in range(slices):
            header = patient(Dataset(), **values)
            header.SOPClassUID = CTImageStorage
            header.SOPInstanceUID = f"{header.SeriesInstanceUID}.{frame + 1}.{index + 1}"
            header.Rows, header.Columns = rows, columns
            header.PixelSpacing, header.ImageOrientationPatient = decimal(spacing), decimal(orientation)
            header.ImagePositionPatient = decimal(positions[index])
            header.SliceThickness = f"{np.linalg.norm(affine[:3, 2]):.6g}"
            header.InstanceNumber = frame * slices + index + 1
            header.AcquisitionTime = f"0315{frame:02d}.25"
            headers.append(header)
    return headers


def classic_source(affine: np.ndarray, shape: tuple[int, ...], **values: Any) -> SourceSeries:
    """The source that reading such a series gives."""
    headers = classic_headers(affine, shape, **values)
    instances = tuple(Instance(str(h.SOPClassUID), str(h.SOPInstanceUID), str(h.SeriesInstanceUID)) for h in headers)
    return SourceSeries(tuple(headers[: shape[2]]), instances, "the only series")


def enhanced_source(affine: np.ndarray, shape: tuple[int, ...], per_frame: bool = True, **values: Any) -> SourceSeries:
    """One enhanced CT object with all slices of all frames."""
    columns, rows, slices, frames = shape
    orientation, spacing, positions = lps_planes(affine, slices)
    header = patient(Dataset(), **values)
    header.SOPClassUID, header.SOPInstanceUID = EnhancedCTImageStorage, f"{SERIES_UID}.1"
    header.Rows, header.Columns, header.NumberOfFrames = rows, columns, slices * frames
    measures, plane = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = decimal(spacing), f"{np.linalg.norm(affine[:3, 2]):.6g}"
    plane.ImageOrientationPatient = decimal(orientation)
    shared = Dataset()
    groups = []
    for index in range(slices * frames):
        group, position = Dataset(), Dataset()
        position.ImagePositionPatient = decimal(positions[index % slices])
        group.PlanePositionSequence = [position]
        if per_frame:
            group.PixelMeasuresSequence, group.PlaneOrientationSequence = [measures], [plane]
        groups.append(group)
    if not per_frame:
        shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    header.SharedFunctionalGroupsSequence, header.PerFrameFunctionalGroupsSequence = [shared], groups
    instance = Instance(EnhancedCTImageStorage, header.SOPInstanceUID, header.SeriesInstanceUID)
    return SourceSeries((header,), (instance,), "the only series")


def write_ct(folder: Path, hu: np.ndarray, affine: np.ndarray, **values: Any) -> list[Path]:
    """Write (columns, rows, slices, frames) in HU as files of classic CT; returns them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, header in enumerate(classic_headers(affine, hu.shape, **values)):
        frame, index = divmod(number, hu.shape[2])
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 1
        header.RescaleSlope, header.RescaleIntercept = 1, 0
        header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        header.PixelData = np.ascontiguousarray(hu[:, :, index, frame].T.astype("<i2")).tobytes()
        paths.append(folder / f"{number:05d}.dcm")
        header.save_as(paths[-1], enforce_file_format=True)
    return paths


def read_source(paths: list[Path], slices: int) -> SourceSeries:
    """The source of such files, slices first."""
    headers = [dcmread(path, stop_before_pixels=True) for path in paths]
    instances = tuple(Instance(h.SOPClassUID, h.SOPInstanceUID, h.SeriesInstanceUID) for h in headers)
    return SourceSeries(tuple(headers[:slices]), instances, "the only series")


@dataclass(frozen=True)
class FolderResults:
    """A folder of results as `scripts.report.case_results.CaseResults` gives it, read by nibabel."""

    folder: Path
    case: str
    record: Mapping[str, Any]
    summary: Mapping[str, Any] | None
    affine: np.ndarray

    def file(self, name: str) -> Path:
        return self.folder / f"{self.case}_{name}.nii.gz"

    def volume(self, name: str) -> np.ndarray | None:
        file = self.file(name)
        return np.asarray(nib.load(file).dataobj) if file.is_file() else None


def make_results(
    folder: Path, affine: np.ndarray, shape: tuple[int, int, int], *, maps: bool = True, empty: bool = False
) -> FolderResults:
    """Write a folder of results: a lesion off the middle, a core in it, delayed tissue around it, smooth maps."""
    folder.mkdir(parents=True, exist_ok=True)
    case, generator = folder.name, np.random.default_rng(7)
    place = np.stack(np.meshgrid(*[np.linspace(-1, 1, size) if size > 1 else [0.4] for size in shape], indexing="ij"))
    far = np.sqrt(
        (((place - np.array([0.3, -0.1, 0.4])[:, None, None, None]) / [[[[0.5]]], [[[0.4]]], [[[0.6]]]]) ** 2).sum(0)
    )
    masks = {"lesion": far < 1.0, "core": far < 0.6, "delay": far < 1.4}
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    if empty:
        masks = {name: np.zeros(shape, bool) for name in masks}
    arrays = {"lesion": masks["lesion"].astype(np.uint8)}
    arrays["probability"] = np.clip(1.5 - far, 0, 1).astype(np.float32)
    arrays["pseudo_dwi"] = generator.normal(0.4, 0.1, shape).astype(np.float32)
    volume_ml = {name: round(float(mask.sum() * voxel_ml), 4) for name, mask in masks.items()}
    summary = None
    if maps:
        arrays |= {name: masks[name].astype(np.uint8) for name in ("core", "delay")}
        for name, top in (("cbf", 60.0), ("cbv", 4.0), ("mtt", 6.0), ("tmax", 9.0)):
            arrays[name] = (top * generator.random(shape)).astype(np.float32)
        core, delay = volume_ml["core"], volume_ml["delay"]
        summary = {
            "case": case,
            "frames_before_contrast": 2,
            "side": "none" if empty else "left",
            "core_ml": core,
            "core_ml_interval": [0.9 * core, 1.2 * core],
            "tmax_ml": {"4": 1.2 * delay, "6": delay, "8": 0.5 * delay, "10": 0.2 * delay},
            "tmax_ml_interval": {"6": [0.95 * delay, 1.1 * delay]},
            "mismatch_ml": delay - core,
            "mismatch_ml_interval": [0.8 * (delay - core), 1.1 * (delay - core)],
            "mismatch_ratio": None if empty else round(delay / core, 4),
            "mismatch_ratio_interval": None if empty else [1.1, "infinite"],
            "hypoperfusion_intensity_ratio": None if empty else 0.2,
            "cautions": [{"name": "old_infarct", "text": "low flow without delay"}],
            "warnings": [],
        }
        (folder / "summary.json").write_text(json.dumps(summary))
    for name, array in arrays.items():
        nib.save(nib.Nifti1Image(array, affine), folder / f"{case}_{name}.nii.gz")
    panel = np.full((60, 300, 4), (20, 30, 40, 255), np.uint8)
    Image.fromarray(panel).save(folder / f"{case}_panel.png")
    record = {
        "row": {
            "case": case,
            "lesion_volume_ml": round(volume_ml["lesion"], 3),
            "lesion_slices": int(masks["lesion"].any(axis=(0, 1)).sum()),
            "largest_component_ml": round(volume_ml["lesion"], 3),
            "components": int(masks["lesion"].any()),
            "warnings": "",
        },
        "series": {"path": str(folder.parent / f"{case}.nii"), "sha256": "0" * 64},
        "settings": {"version": "0.1.0", "weights": "ab" * 32, "case": {}},
    }
    (folder / f"{case}_result.json").write_text(json.dumps(record))
    stored = nib.load(folder / f"{case}_lesion.nii.gz").affine
    return FolderResults(folder, case, record, summary, stored)
