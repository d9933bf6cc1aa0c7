"""What is written of a case: which objects, in whose study, the same twice, and nothing of anybody else."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR

from scripts.dicom import write
from scripts.dicom.case_files import RESEARCH_ONLY
from scripts.dicom.identity import PATIENT_AND_STUDY
from scripts.dicom.perfusion_series import Instance, SourceSeries
from scripts.dicom.uids import ResultUIDs
from tests.dicom.conftest import FRAMES, PDF, SHAPE
from tests.dicom.simple_ct import (
    FRAME_OF_REFERENCE_UID,
    SERIES_UID,
    STUDY_UID,
    axial_affine,
    classic_headers,
    classic_source,
    enhanced_source,
    make_results,
    read_source,
    write_ct,
)

AFFINE = axial_affine()
MAPS = {"cbf", "cbv", "mtt", "tmax", "probability"}
OVERLAYS = {f"overlay_{number:03d}" for number in range(1, SHAPE[2] + 1)}


def write_case(folder: Path, source: SourceSeries, **options) -> dict[str, Dataset]:
    results = make_results(folder / "case_a", AFFINE, SHAPE, **options)
    return {path.stem: dcmread(path) for path in write.write_dicom_results(results, source, folder / "out")}


def walk(dataset: Dataset):
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from walk(item)


def text_of(report: Dataset) -> list[str]:
    return [str(element.value) for element in walk(report) if element.keyword == "TextValue"]


def numbers_of(report: Dataset) -> dict[str, list]:
    """The numeric items of a report below the measurement groups, by the name of the group and of the number."""
    found = {}
    for group in report.ContentSequence[-1].ContentSequence:
        name = next(item.TextValue for item in group.ContentSequence if item.ValueType == "TEXT")
        for item in group.ContentSequence:
            if item.ValueType == "NUM":
                found[f"{name}, {item.ConceptNameCodeSequence[0].CodeMeaning}"] = item
    return found


def evaluations_of(report: Dataset) -> dict[str, str]:
    """What the groups say by codes in place of numbers."""
    own = ("Mismatch ratio", "Hypoperfusion intensity ratio", "Mismatch volume", "Volume")
    return {
        name: item.ConceptCodeSequence[0].CodeMeaning
        for group in report.ContentSequence[-1].ContentSequence
        for item in group.ContentSequence
        if item.ValueType == "CODE" and (name := item.ConceptNameCodeSequence[0].CodeMeaning) in own
    }


def value(item: Dataset) -> float:
    return float(item.MeasuredValueSequence[0].NumericValue)


def test_every_object_is_written_the_measurements_last(written):
    assert set(written) == {"seg", "sr", "panel", "report"} | MAPS | OVERLAYS
    assert list(written)[-1] == "sr"
    assert written["seg"].parent.parts[-2:] == ("case_a", "dicom")


def test_all_are_of_the_source_s_study_and_patient_with_series_of_their_own(written):
    numbers = {}
    for name, path in written.items():
        dataset = dcmread(path)
        assert (dataset.StudyInstanceUID, dataset.PatientName, dataset.PatientID) == (STUDY_UID, "Doe^Jane", "P-1")
        assert dataset.SeriesInstanceUID != SERIES_UID
        assert dataset.SeriesDescription.startswith("RESEARCH ONLY")
        numbers.setdefault(int(dataset.SeriesNumber), set()).add((dataset.SeriesInstanceUID, dataset.Modality))
        if name in MAPS | {"seg"}:
            assert dataset.FrameOfReferenceUID == FRAME_OF_REFERENCE_UID
    assert all(len(series) == 1 for series in numbers.values())
    assert sorted(numbers) == [5901, 5902, 5903, 5904, 5905, 5911, 5912, 5913, 5914, 5915]


def test_patient_and_study_alone_are_copied(written):
    for path in written.values():
        copied = {
            element.keyword
            for element in walk(dcmread(path))
            if element.VM == 1 and str(element.value) in {"Hospital of nowhere", "CT1", "Op^Erator", "Phantom"}
        }
        assert not copied


def test_there_are_no_private_elements(written):
    assert not [element.tag for path in written.values() for element in walk(dcmread(path)) if element.tag.is_private]


def test_two_runs_give_the_same_bytes(tmp_path):
    results = make_results(tmp_path / "case_a", AFFINE, SHAPE)
    (tmp_path / "report.pdf").write_bytes(PDF)
    source = classic_source(AFFINE, (*SHAPE, FRAMES))
    first, second = (
        write.write_dicom_results(results, source, tmp_path / out, report_pdf=tmp_path / "report.pdf") for out in "ab"
    )
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["settings"].update(version="0.2.0"),
        lambda record: record["settings"].update(weights="cd" * 32),
        lambda record: record["series"].update(sha256="1" * 64),
        lambda record: record["row"].update(lesion_volume_ml=1.0),
    ],
)
def test_another_version_weights_series_or_result_gives_other_uids(change):
    source = classic_source(AFFINE, (*SHAPE, FRAMES))
    record = {
        "row": {"case": "case_a", "lesion_volume_ml": 2.0},
        "series": {"path": "/a.nii", "sha256": "0" * 64},
        "settings": {"version": "0.1.0", "weights": "ab" * 32},
    }
    uid = ResultUIDs(SimpleNamespace(record=record, summary=None), source)
    changed = json.loads(json.dumps(record))
    change(changed)
    assert uid("seg") != ResultUIDs(SimpleNamespace(record=changed, summary=None), source)("seg")
    assert uid("seg") != ResultUIDs(SimpleNamespace(record=record, summary={"core_ml": 1.0}), source)("seg")


def test_the_name_and_the_place_of_a_case_change_no_uid():
    source = classic_source(AFFINE, (*SHAPE, FRAMES))
    uids = set()
    for case in ("case_a", "P-1"):
        record = {"row": {"case": case}, "series": {"path": f"/{case}.nii", "sha256": "0" * 64}, "settings": {}}
        uids.add(ResultUIDs(SimpleNamespace(record=record, summary={"case": case}), source)("seg"))
    assert len(uids) == 1


def test_every_uid_is_another_and_within_64_letters(written):
    uids = [dcmread(path).SOPInstanceUID for path in written.values()]
    assert len(set(uids)) == len(uids)
    assert max(map(len, uids)) <= 64


def test_the_time_is_the_acquisition_s(written):
    for path in written.values():
        dataset = dcmread(path)
        assert (dataset.ContentDate, dataset.ContentTime) == ("20240102", "031500.25")
        assert "InstanceCreationDate" not in dataset


def test_masks_and_maps_refer_to_every_instance_of_the_series(written):
    for name in MAPS | {"seg"}:
        series = dcmread(written[name]).ReferencedSeriesSequence
        assert [item.SeriesInstanceUID for item in series] == [SERIES_UID]
        assert len(series[0].ReferencedInstanceSequence) == SHAPE[2] * FRAMES


def test_every_frame_refers_to_the_slice_it_lies_on(written):
    headers = classic_headers(AFFINE, (*SHAPE, FRAMES))
    positions = {header.SOPInstanceUID: list(header.ImagePositionPatient) for header in headers}
    for name in ("seg", "tmax"):
        for frame in dcmread(written[name]).PerFrameFunctionalGroupsSequence:
            reference = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
            assert positions[reference] == list(frame.PlanePositionSequence[0].ImagePositionPatient)


def test_a_series_for_each_time_point_is_referred_to_series_by_series(tmp_path):
    instances = tuple(
        Instance("1.2.840.10008.5.1.4.1.1.2", f"1.9.{frame}.{index}", f"1.9.{frame}")
        for frame in range(FRAMES)
        for index in range(SHAPE[2])
    )
    headers = classic_headers(AFFINE, (*SHAPE, 1), SeriesInstanceUID="1.9.0")
    for index, header in enumerate(headers):
        header.SOPInstanceUID = f"1.9.0.{index}"
    objects = write_case(tmp_path, SourceSeries(tuple(headers), instances, "a series a time point"))
    series = objects["seg"].ReferencedSeriesSequence
    assert [item.SeriesInstanceUID for item in series] == [f"1.9.{frame}" for frame in range(FRAMES)]
    evidence = objects["sr"].CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert {item.SeriesInstanceUID for item in evidence} >= {f"1.9.{frame}" for frame in range(FRAMES)}


def test_slices_of_two_series_are_placed_together(tmp_path):
    lower, upper = (classic_headers(AFFINE, (*SHAPE, 1), SeriesInstanceUID=uid) for uid in ("1.8.1", "1.8.2"))
    headers = (*lower[:2], *upper[2:])
    instances = tuple(Instance(h.SOPClassUID, h.SOPInstanceUID, h.SeriesInstanceUID) for h in headers)
    objects = write_case(tmp_path, SourceSeries(headers, instances, "two slabs"))
    assert [s.SeriesInstanceUID for s in objects["cbf"].ReferencedSeriesSequence] == ["1.8.1", "1.8.2"]
    positions = [
        f.PlanePositionSequence[0].ImagePositionPatient for f in objects["cbf"].PerFrameFunctionalGroupsSequence
    ]
    assert {*map(tuple, positions)} == {tuple(header.ImagePositionPatient) for header in headers}


@pytest.mark.parametrize("per_frame", [True, False])
def test_an_enhanced_source_is_referred_to_by_its_frames(tmp_path, per_frame):
    objects = write_case(tmp_path, enhanced_source(AFFINE, (*SHAPE, FRAMES), per_frame))
    frames = objects["cbf"].PerFrameFunctionalGroupsSequence
    assert len(frames) == SHAPE[2]
    for frame in frames:
        sources = frame.DerivationImageSequence[0].SourceImageSequence
        index = round((frame.PlanePositionSequence[0].ImagePositionPatient[2] - AFFINE[2, 3]) / AFFINE[2, 2])
        assert [item.ReferencedFrameNumber for item in sources] == [index + 1 + SHAPE[2] * t for t in range(FRAMES)]
    assert len(objects["sr"].CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence) == 2


def test_the_masks_are_coded_named_and_colored(written):
    segmentation = hd.seg.segread(written["seg"])
    labels = [segmentation.get_segment_description(number).segment_label for number in (1, 2, 3)]
    assert labels == ["Ischemic lesion", "Infarct core (CTP)", "Tmax > 6 s"]
    types = [segmentation.get_segment_description(number).segmented_property_type for number in (1, 2, 3)]
    assert [(code.value, code.scheme_designator) for code in types] == [
        ("55641003", "SCT"),
        ("55641003", "SCT"),
        ("52674009", "SCT"),
    ]
    for item in segmentation.SegmentSequence:
        algorithm = item.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("ctp-stroke", "0.1.0")
        assert "ab" * 32 in algorithm.AlgorithmParameters
        assert item.SegmentDescription == RESEARCH_ONLY
    orange = segmentation.SegmentSequence[1].RecommendedDisplayCIELabValue
    assert hd.color.CIELabColor(*_lab(orange)).to_rgb() == pytest.approx((255, 106, 19), abs=2)


def _lab(stored) -> tuple[float, float, float]:
    """PS3.3, C.10.7.1.1: L* from 0 to 100, a* and b* from -128 to 127, each over 16 bits."""
    return stored[0] / 65535 * 100, stored[1] / 65535 * 255 - 128, stored[2] / 65535 * 255 - 128


@pytest.mark.parametrize(
    ("name", "code", "unit"),
    [
        ("cbf", "126390", "ml/(100.g)/min"),
        ("cbv", "126391", "ml/(100.g)"),
        ("mtt", "113052", "s"),
        ("tmax", "113084", "s"),
        ("probability", "110854", "1"),
    ],
)
def test_the_maps_have_quantities_and_units(written, name, code, unit):
    mapping = dcmread(written[name]).SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == code
    units = mapping.MeasurementUnitsCodeSequence[0]
    assert (units.CodeValue, units.CodingSchemeDesignator) == (unit, "UCUM")
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)


def test_the_measurements_are_those_of_the_summary(written):
    report = dcmread(written["sr"])
    summary = json.loads((written["seg"].parents[3] / "case_a/summary.json").read_text())
    record = json.loads((written["seg"].parents[3] / "case_a/case_a_result.json").read_text())
    numbers = numbers_of(report)
    assert value(numbers["Ischemic lesion, Volume"]) == record["row"]["lesion_volume_ml"]
    assert value(numbers["Infarct core (CTP), Volume"]) == summary["core_ml"]
    assert value(numbers["Tmax > 6 s, Volume"]) == summary["tmax_ml"]["6"]
    assert value(numbers["Mismatch, Mismatch volume"]) == pytest.approx(summary["mismatch_ml"], abs=1e-9)
    assert value(numbers["Mismatch, Mismatch ratio"]) == summary["mismatch_ratio"]
    assert value(numbers["Mismatch, Hypoperfusion intensity ratio"]) == summary["hypoperfusion_intensity_ratio"]
    core = numbers["Infarct core (CTP), Volume"]
    up, down = (value(item) for item in core.ContentSequence)
    low, high = summary["core_ml_interval"]
    assert (value(core) + up, value(core) - down) == pytest.approx((high, low), abs=1e-3)
    assert {
        item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue for item in core.ContentSequence
    } == {"ml"}


def test_the_measurements_refer_to_the_segments(written):
    segmentation, report = dcmread(written["seg"]), dcmread(written["sr"])
    references = [
        (item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID, item.ReferencedSOPSequence[0].ReferencedSegmentNumber)
        for group in report.ContentSequence[-1].ContentSequence
        for item in group.ContentSequence
        if item.ValueType == "IMAGE"
    ]
    assert references == [(segmentation.SOPInstanceUID, number) for number in (1, 2, 3)]
    findings = [item.TrackingUID for item in segmentation.SegmentSequence]
    assert set(findings) <= {element.value for element in walk(report) if element.keyword == "UID"}


def test_the_report_says_research_only_and_its_numbers_in_words(written):
    text = text_of(dcmread(written["sr"]))
    assert text.count(RESEARCH_ONLY) == 4
    assert any("interval of 90 % 1.1 to infinite" in line for line in text)
    assert "Caution: low flow without delay" in text


def test_an_empty_lesion_is_a_valid_object_and_the_report_says_0_ml(tmp_path):
    objects = write_case(tmp_path, classic_source(AFFINE, (*SHAPE, FRAMES)), empty=True)
    assert not objects["seg"].pixel_array.any()
    assert len(objects["seg"].SegmentSequence) == 3
    numbers = numbers_of(objects["sr"])
    assert value(numbers["Ischemic lesion, Volume"]) == 0
    assert evaluations_of(objects["sr"]) == {
        "Mismatch ratio": "Not a number",
        "Hypoperfusion intensity ratio": "Not a number",
    }


def test_an_empty_segment_next_to_others_has_no_frames(tmp_path):
    results = make_results(tmp_path / "case_a", AFFINE, SHAPE)
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), AFFINE), results.file("core"))
    paths = write.write_dicom_results(results, classic_source(AFFINE, (*SHAPE, FRAMES)), tmp_path / "out")
    segmentation = hd.seg.segread(paths[0])
    frames = segmentation.PerFrameFunctionalGroupsSequence
    assert {frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber for frame in frames} == {1, 3}
    assert segmentation.number_of_segments == 3


def test_an_infinite_ratio_has_a_qualifier(tmp_path):
    results = make_results(tmp_path / "case_a", AFFINE, SHAPE)
    summary = dict(results.summary, mismatch_ratio="infinite", core_ml=0.0, core_ml_interval=[0.0, 0.5])
    changed = dataclasses.replace(results, summary=summary)
    paths = write.write_dicom_results(changed, classic_source(AFFINE, (*SHAPE, FRAMES)), tmp_path / "out")
    assert evaluations_of(dcmread(paths[-1])) == {"Mismatch ratio": "Positive Infinity"}
    assert hd.sr.srread(paths[-1]).content.get_image_measurement_groups()


def test_a_case_without_maps_has_the_lesion_alone(tmp_path):
    objects = write_case(tmp_path, classic_source(AFFINE, (*SHAPE, FRAMES)), maps=False)
    assert set(objects) == {"seg", "sr", "panel", "probability"} | OVERLAYS
    assert len(objects["seg"].SegmentSequence) == 1
    assert list(numbers_of(objects["sr"])) == ["Ischemic lesion, Volume"]


def test_a_second_run_with_less_removes_what_is_old_and_leaves_what_is_not_ours(tmp_path):
    source = classic_source(AFFINE, (*SHAPE, FRAMES))
    write_case(tmp_path, source)
    foreign = tmp_path / "out/case_a/dicom/notes.dcm"
    foreign.write_bytes(b"of somebody")
    for name in ("core", "delay", "cbf", "cbv", "mtt", "tmax"):
        (tmp_path / f"case_a/case_a_{name}.nii.gz").unlink()
    objects = write_case(tmp_path, source, maps=False)
    assert {path.stem for path in foreign.parent.iterdir()} == {*objects, "notes"}
    assert foreign.read_bytes() == b"of somebody"


def test_a_failure_leaves_no_file(tmp_path, monkeypatch):
    save = Dataset.save_as

    def full(dataset, path, **options):
        if Path(path).stem == "mtt":
            raise OSError(28, "No space left on device", str(path))
        save(dataset, path, **options)

    monkeypatch.setattr(Dataset, "save_as", full)
    with pytest.raises(OSError, match="No space left"):
        write_case(tmp_path, classic_source(AFFINE, (*SHAPE, FRAMES)))
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 100", "Müller-Groß^Jörg"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 192", "Дмитрий^Иванов"),
    ],
)
def test_names_in_any_character_set_are_the_same_in_utf_8(tmp_path, character_set, name):
    hu = np.zeros((*SHAPE, 1), np.int16)
    values = {"SpecificCharacterSet": character_set, "PatientName": name, "StudyDescription": "CT"}
    source = read_source(write_ct(tmp_path / "ct", hu, AFFINE, **values), SHAPE[2])
    for dataset in write_case(tmp_path, source).values():
        assert dataset.SpecificCharacterSet == "ISO_IR 192"
        assert str(dataset.PatientName) == name
        assert dataset.PatientName.components == tuple(name.split("="))


def test_what_breaks_the_standard_in_the_source_is_copied_as_it_is(tmp_path):
    hu = np.zeros((*SHAPE, 1), np.int16)
    source = read_source(write_ct(tmp_path / "ct", hu, AFFINE), SHAPE[2])
    for header in source.headers:
        header.PatientSex = "X"
        del header.PatientBirthDate, header.AccessionNumber, header.AcquisitionDate, header.SliceThickness
    objects = write_case(tmp_path, source)
    for dataset in objects.values():
        assert (dataset.PatientSex, dataset.PatientBirthDate, dataset.AccessionNumber) == ("X", "", "")
        assert (dataset.ContentDate, dataset.ContentTime) == ("20240102", "030405")


def test_nested_private_elements_of_the_study_are_left_out(tmp_path):
    source = classic_source(AFFINE, (*SHAPE, FRAMES))
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99X", "Schädel"
    code.add_new((0x0009, 0x0010), "LO", "VENDOR")
    code.add_new((0x0009, 0x1001), "LO", "secret")
    source.headers[0].ProcedureCodeSequence = [code]
    for dataset in write_case(tmp_path, source).values():
        assert dataset.ProcedureCodeSequence[0].CodeMeaning == "Schädel"
        assert not [element for element in walk(dataset) if element.tag.is_private]
    assert len(code) == 5  # the source's own header is as it was


def test_a_source_without_a_frame_of_reference_gets_one(tmp_path):
    source = classic_source(AFFINE, (*SHAPE, FRAMES))
    for header in source.headers:
        del header.FrameOfReferenceUID
    objects = write_case(tmp_path, source)
    assert objects["seg"].FrameOfReferenceUID == objects["cbf"].FrameOfReferenceUID
    assert objects["seg"].FrameOfReferenceUID.startswith("2.25.")


def test_pictures_are_rgb_with_the_statement_burned_in(written):
    for name in OVERLAYS | {"panel"}:
        dataset = dcmread(written[name])
        assert dataset.PhotometricInterpretation == "RGB"
        assert dataset.BurnedInAnnotation == "YES"
        top = dataset.pixel_array[:26]
        assert (top == (240, 228, 66)).all(axis=2).sum() > 200  # the statement, in yellow
    assert list(dcmread(written["overlay_001"]).PatientOrientation) == ["L", "P"]


def test_the_pdf_is_the_report_s(written):
    dataset = dcmread(written["report"])
    assert dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength] == PDF
    assert dataset.MIMETypeOfEncapsulatedDocument == "application/pdf"


def test_a_missing_pdf_is_named(tmp_path):
    results = make_results(tmp_path / "case_a", AFFINE, SHAPE)
    source = classic_source(AFFINE, (*SHAPE, FRAMES))
    with pytest.raises(FileNotFoundError, match=r"none\.pdf"):
        write.write_dicom_results(results, source, tmp_path / "out", report_pdf=tmp_path / "none.pdf")
    assert not (tmp_path / "out").exists()


def test_the_copied_keywords_are_of_the_standard():
    assert all(dictionary_VR(keyword) for keyword in PATIENT_AND_STUDY)


def test_the_statement_is_that_of_the_reading():
    wording = pytest.importorskip("scripts.perfusion.wording")
    assert wording.RESEARCH_ONLY == RESEARCH_ONLY


def test_the_results_of_a_folder_give_the_same_bytes(tmp_path):
    case_results = pytest.importorskip("scripts.report.case_results")
    results = make_results(tmp_path / "case_a", AFFINE, SHAPE)
    loaded = case_results.CaseResults.load(results.folder)
    source = classic_source(AFFINE, (*SHAPE, FRAMES))
    first = write.write_dicom_results(results, source, tmp_path / "first")
    second = write.write_dicom_results(loaded, source, tmp_path / "second")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_volumes_that_are_unknown_are_said_to_be(tmp_path):
    results = make_results(tmp_path / "case_a", AFFINE, SHAPE)
    unknown = dict.fromkeys(("core_ml", "mismatch_ml", "mismatch_ratio", "hypoperfusion_intensity_ratio"))
    intervals = {"core_ml_interval": None, "mismatch_ml_interval": None, "tmax_ml_interval": {"6": None}}
    changed = dataclasses.replace(results, summary=results.summary | unknown | intervals)
    report = dcmread(write.write_dicom_results(changed, classic_source(AFFINE, (*SHAPE, FRAMES)), tmp_path)[-1])
    assert set(numbers_of(report)) == {"Ischemic lesion, Volume", "Tmax > 6 s, Volume"}
    assert set(evaluations_of(report)) == {
        "Volume",
        "Mismatch volume",
        "Mismatch ratio",
        "Hypoperfusion intensity ratio",
    }
    assert "Infarct core (CTP): unknown" in text_of(report)
