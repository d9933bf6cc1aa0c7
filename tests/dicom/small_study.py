"""Small studies for tests of the node: CT instances, a processing that gives the same result each time, and a PACS.

Needs neither torch nor pytest, so that a node can run as a process of its own with it:
`python -m tests.dicom.small_study FOLDER PORT PACS_PORT`.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt

PREFIX = "1.2.826.0.1.3680043.10.1999"
NAME = "Doe^Jane"
NODE = "CTPSTROKE"
SENDER = "SENDER"


def uid(text: str) -> str:
    """A UID that only depends on a text."""
    return f"{PREFIX}.{int(hashlib.sha256(text.encode()).hexdigest()[:24], 16)}"


def instance(study: str, number: int, sop_class: str = CTImageStorage, pixels: np.ndarray | None = None) -> Dataset:
    """One image of a study; its UIDs depend on the study's name, the class and the number."""
    pixels = np.full((8, 8), number, np.int16) if pixels is None else pixels
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.SOPInstanceUID = uid(f"{study} {sop_class} {number}")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyDate = dataset.SeriesDate = time.strftime("%Y%m%d")
    dataset.StudyTime, dataset.Modality = "120000", "CT" if sop_class == CTImageStorage else "OT"
    dataset.PatientName, dataset.PatientID, dataset.StudyID, dataset.AccessionNumber = NAME, "secret-7", "1", "2"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.ReferringPhysicianName = "19500101", "F", ""
    dataset.StudyInstanceUID = uid(study)
    dataset.SeriesInstanceUID = uid(f"{study} series {sop_class}")
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number
    dataset.ConversionType = "WSD"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.PixelData = pixels.astype("<i2").tobytes()
    return dataset


def instances(study: str, count: int = 3) -> list[Dataset]:
    """The CT images of a study."""
    return [instance(study, number) for number in range(count)]


RESULTS = 2


def process(study: Path, out: Path) -> list[Path]:
    """Write two secondary captures into `out`, whose UIDs and pixels depend on the study's instances alone."""
    datasets = sorted((dcmread(path) for path in study.glob("*.dcm")), key=lambda dataset: dataset.SOPInstanceUID)
    inputs = hashlib.sha256(" ".join(str(dataset.SOPInstanceUID) for dataset in datasets).encode()).hexdigest()
    folder = out / f"ctp-{inputs[:8]}" / "dicom"
    folder.mkdir(parents=True)
    paths = []
    for number in range(RESULTS):
        result = instance(inputs, number, SecondaryCaptureImageStorage)
        result.StudyInstanceUID = datasets[0].StudyInstanceUID
        result.InstanceNumber = sum(int(dataset.InstanceNumber) for dataset in datasets)
        paths.append(folder / f"result_{number}.dcm")
        result.save_as(paths[-1], enforce_file_format=True)
    return paths


def result_uids(study: str, count: int = 3) -> set[str]:
    """The UIDs that `process` gives the results of a study."""
    inputs = " ".join(sorted(dataset.SOPInstanceUID for dataset in instances(study, count)))
    key = hashlib.sha256(inputs.encode()).hexdigest()
    return {uid(f"{key} {SecondaryCaptureImageStorage} {number}") for number in range(RESULTS)}


class Pacs:
    """A storage SCP that remembers what it got; `statuses` are its next answers, success when they are used up."""

    def __init__(self, port: int = 0) -> None:
        self.received: list[Dataset] = []
        self.statuses: list[int] = []
        self._ae = AE("PACS")
        for context in AllStoragePresentationContexts:
            self._ae.add_supported_context(context.abstract_syntax)
        self._server = self._ae.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        self.port = self._server.server_address[1]

    def _store(self, event: evt.Event) -> int:
        status = self.statuses.pop(0) if self.statuses else 0
        if status == 0:
            dataset = event.dataset
            dataset.file_meta = event.file_meta
            self.received.append(dataset)
        return status

    def uids(self) -> Counter[str]:
        """How often each instance came."""
        return Counter(dataset.SOPInstanceUID for dataset in self.received)

    def stop(self) -> None:
        self._ae.shutdown()


def send(
    port: int, datasets: Sequence[Dataset], calling: str = SENDER, called: str = NODE, host: str = "127.0.0.1"
) -> list[int | None]:
    """Send instances; returns the status of each, None where there was no answer; empty without an association."""
    ae = AE(calling)
    ae.dimse_timeout = ae.acse_timeout = 20
    for dataset in datasets:
        syntax = dataset.file_meta.TransferSyntaxUID
        if (dataset.SOPClassUID, syntax) not in [
            (context.abstract_syntax, context.transfer_syntax[0]) for context in ae.requested_contexts
        ]:
            ae.add_requested_context(dataset.SOPClassUID, syntax)
    association = ae.associate(host, port, ae_title=called)
    if not association.is_established:
        return []
    try:
        return [
            association.send_c_store(dataset).get("Status") if association.is_established else None
            for dataset in datasets
        ]
    finally:
        association.release()


def wait_for(condition, seconds: float = 30.0) -> None:
    """Wait until a condition is true; an error after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not come true")
        time.sleep(0.02)


@contextmanager
def running(node, **options):
    """Run a node in a thread until the block ends."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            node.run(**options)
        except BaseException as error:
            failures.append(error)
            raise

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_for(lambda: node.ready.is_set() or failures)
        yield node
    finally:
        node.stop.set()
        thread.join(30)


def main(folder: str, port: str, pacs_port: str) -> None:
    """A node as a process of its own, with the processing above and short times."""
    from scripts.dicom.node.receiver import Access
    from scripts.dicom.node.running import run_until_signal
    from scripts.dicom.node.sender import Peer
    from scripts.dicom.node.service import Settings
    from scripts.dicom.node.worker import Rules

    def slow_process(study: Path, out: Path) -> list[Path]:
        time.sleep(0.2)
        return process(study, out)

    settings = Settings(
        Path(folder),
        Access(NODE, int(port)),
        rules=Rules(quiet_s=1.0, instances=3, retry_s=0.2, retry_max_s=0.5),
        tick_s=0.05,
    )
    run_until_signal(settings, slow_process, Peer("127.0.0.1", int(pacs_port), "PACS", NODE))


if __name__ == "__main__":
    main(*sys.argv[1:])
