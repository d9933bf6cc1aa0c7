"""The node and a real PACS: Orthanc with its DICOMweb plugin, on this machine, with its data in a temporary folder.

`make test-pacs` installs Orthanc where it may, names its program in ORTHANC, and runs this; otherwise it is skipped.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import requests
from pydicom import dcmread
from pydicom.uid import CTImageStorage, JPEGLSLossless, SecondaryCaptureImageStorage

from scripts.cli import main
from scripts.dicom import web
from scripts.dicom.node import web_peer
from scripts.dicom.node.identity import study_key
from scripts.dicom.node.processing import SegmentCommand
from scripts.dicom.node.receiver import Access
from scripts.dicom.node.sender import Peer
from scripts.dicom.node.service import Node, Settings
from scripts.dicom.node.web_peer import Fetcher, WebPeer
from scripts.dicom.node.worker import Rules
from tests.conftest import ROOT
from tests.dicom import vendors
from tests.dicom.phantom_study import phantom_scan
from tests.dicom.small_study import NODE, instance, instances, process, result_uids, running, uid, wait_for
from tests.processes import free_port

ORTHANC = os.environ.get("ORTHANC", "")
PLUGINS = [path for path in Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb*.so*")]
pytestmark = pytest.mark.skipif(not ORTHANC, reason="needs the program of Orthanc in ORTHANC: make test-pacs")
PAGE = (ROOT / "docs" / "how-to" / "pacs.md").read_text(encoding="utf-8")
ROUTE = re.search(r"```lua\n(.*?)```", PAGE, re.DOTALL)[1]
RULES = Rules(quiet_s=1.0, instances=3, retry_s=0.5, retry_max_s=1.0)


class Orthanc:
    """A running Orthanc."""

    def __init__(self, folder: Path, node_port: int) -> None:
        self.dicom, http = free_port(), free_port()
        self.url = f"http://127.0.0.1:{http}"
        self.web = f"{self.url}/dicom-web"
        configuration = {
            "Name": "test",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(PLUGINS[0])],
            "HttpPort": http,
            "DicomPort": self.dicom,
            "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomModalities": {"node": {"AET": NODE, "Host": "127.0.0.1", "Port": node_port}},
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "LuaScripts": [str(folder / "route.lua")],
            "StableAge": 2,
        }
        (folder / "route.lua").write_text(ROUTE)
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        self.log = folder / "log.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [ORTHANC, str(folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT, cwd=folder
            )
        wait_for(self._answers, 60)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return requests.get(f"{self.url}/system", timeout=5).ok
        except requests.ConnectionError:
            return False

    def store(self, datasets) -> None:
        """Put instances into it, by its own REST interface."""
        for dataset in datasets:
            file = BytesIO()
            dataset.save_as(file, enforce_file_format=True)
            requests.post(f"{self.url}/instances", data=file.getvalue(), timeout=30).raise_for_status()

    def send(self, study: str) -> dict:
        """Let it send a study to the node, as its users and its routing do; returns its report."""
        found = requests.post(f"{self.url}/tools/lookup", data=uid(study), timeout=30).json()
        identifier = next(item["ID"] for item in found if item["Type"] == "Study")
        answer = requests.post(f"{self.url}/modalities/node/store", data=identifier, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def results(self, study: str) -> dict:
        """The secondary captures of a study, found by QIDO-RS and retrieved by WADO-RS, by their UID."""
        client = web.client(self.web)
        found = client.search_for_instances(uid(study), search_filters={"SOPClassUID": SecondaryCaptureImageStorage})
        return {
            item["00080018"]["Value"][0]: client.retrieve_instance(
                uid(study), item["0020000E"]["Value"][0], item["00080018"]["Value"][0]
            )
            for item in found
        }

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="module")
def node_port():
    return free_port()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory, node_port):
    orthanc = Orthanc(tmp_path_factory.mktemp("orthanc"), node_port)
    yield orthanc
    orthanc.stop()


def expected(study: str, folder: Path) -> dict:
    """The results of a study, made here from the instances that were stored."""
    (folder / "in").mkdir(parents=True)
    for number, dataset in enumerate(instances(study)):
        dataset.save_as(folder / "in" / f"{number}.dcm", enforce_file_format=True)
    return {result.SOPInstanceUID: result for result in map(dcmread, process(folder / "in", folder / "out"))}


def check(found: dict, study: str, folder: Path) -> None:
    wanted = expected(study, folder)
    assert set(found) == set(wanted) == result_uids(study)
    for name, result in found.items():
        np.testing.assert_array_equal(result.pixel_array, wanted[name].pixel_array)
        assert result.PatientID == "secret-7"
        assert result.StudyInstanceUID == uid(study)


def test_orthanc_sends_a_study_and_finds_the_results_in_it(orthanc, node_port, tmp_path):
    orthanc.store(instances("dimse"))
    settings = Settings(tmp_path / "node", Access(NODE, node_port, allowed_aes=("ORTHANC",)), rules=RULES)
    with running(Node(settings, process, Peer("127.0.0.1", orthanc.dicom, "ORTHANC", NODE))) as node:
        report = orthanc.send("dimse")
        assert (report["InstancesCount"], report["FailedInstancesCount"]) == (3, 0)
        wait_for(lambda: node.queue()["done"] == 1, 60)
        check(orthanc.results("dimse"), "dimse", tmp_path)
        # The whole study again, now with the results in it, as a route on "stable study" sends it: nothing new comes.
        assert orthanc.send("dimse")["FailedInstancesCount"] == 0
        wait_for(lambda: node.receiver.counts["not_kept"] == 3 + 2)
        assert node.queue() == {"waiting": 0, "processing": 0, "sending": 0, "done": 1, "failed": 0}
        assert len(orthanc.results("dimse")) == 2


@pytest.mark.slow
def test_a_ct_perfusion_is_segmented_and_the_results_join_it(orthanc, node_port, tmp_path):
    """The node with its own command on a synthetic case, against the command on the same files."""
    scan = phantom_scan(tmp_path / "data")
    study = vendors.write(tmp_path / "study", vendors.datasets(scan, vendors.siemens(scan)))
    assert main(["segment", str(study), "--out", str(tmp_path / "out"), "--dicom", "--report"]) == 0
    wanted = {result.SOPInstanceUID: result for result in map(dcmread, (tmp_path / "out").glob("*/dicom/*.dcm"))}

    for path in study.iterdir():
        requests.post(f"{orthanc.url}/instances", data=path.read_bytes(), timeout=30).raise_for_status()
    settings = Settings(tmp_path / "node", None, rules=Rules(quiet_s=1.0))
    node = Node(settings, SegmentCommand(), WebPeer(orthanc.web))
    make = lambda inbox, note: Fetcher(orthanc.web, inbox, settings.folder, [vendors.STUDY], note=note)  # noqa: E731
    assert node.run(make, once=True) == 0

    client = web.client(orthanc.web)
    found = {
        item["00080018"]["Value"][0]: item["0020000E"]["Value"][0]
        for item in client.search_for_instances(vendors.STUDY)
        if item["00080016"]["Value"][0] != CTImageStorage
    }
    assert set(found) == set(wanted)
    for name, result in wanted.items():
        stored = client.retrieve_instance(vendors.STUDY, found[name], name)
        assert stored.SOPClassUID == result.SOPClassUID
        if "Rows" in result:
            np.testing.assert_array_equal(stored.pixel_array, result.pixel_array)


def test_the_route_of_the_docs_sends_a_stable_study_and_ends(orthanc, node_port, tmp_path):
    settings = Settings(tmp_path / "node", Access(NODE, node_port), rules=RULES)
    with running(Node(settings, process, Peer("127.0.0.1", orthanc.dicom, "ORTHANC", NODE))) as node:
        datasets = instances("routed")
        for dataset in datasets:
            dataset.StudyDescription = "CT STROKE"
        orthanc.store(datasets)
        wait_for(lambda: node.queue()["done"] == 1, 60)
        wait_for(lambda: node.receiver.counts["not_kept"] >= 3 + 2, 60)  # it is stable again, now with the results
        time.sleep(4)  # twice the age at which Orthanc calls it stable: nothing comes any more
        assert node.receiver.counts["not_kept"] == 3 + 2
        assert node.queue() == {"waiting": 0, "processing": 0, "sending": 0, "done": 1, "failed": 0}
    check(orthanc.results("routed"), "routed", tmp_path)


def test_a_compressed_study_arrives_as_it_is_stored(orthanc, node_port, tmp_path):
    pixels = np.arange(4096, dtype=np.int16).reshape(64, 64)
    image = instance("compressed", 0, pixels=pixels)
    image.compress(JPEGLSLossless, generate_instance_uid=False)
    orthanc.store([image])
    settings = Settings(tmp_path / "node", Access(NODE, node_port), rules=Rules(quiet_s=600))
    with running(Node(settings, process, Peer("127.0.0.1", orthanc.dicom, "ORTHANC", NODE))) as node:
        orthanc.send("compressed")
        (path,) = (tmp_path / "node" / "incoming" / study_key(uid("compressed"))).glob("*.dcm")
        assert node.inbox.count(study_key(uid("compressed"))) == 1
    received = dcmread(path)
    assert received.file_meta.TransferSyntaxUID == JPEGLSLossless
    np.testing.assert_array_equal(received.pixel_array, pixels)


def test_by_dicomweb_a_study_is_fetched_and_the_results_are_stored(orthanc, tmp_path):
    orthanc.store(instances("web"))
    settings = Settings(tmp_path / "node", None, rules=RULES)
    node = Node(settings, process, WebPeer(orthanc.web))
    failed = node.run(
        lambda inbox, note: Fetcher(orthanc.web, inbox, settings.folder, [uid("web")], note=note), once=True
    )
    assert failed == 0
    assert node.queue()["done"] == 1
    check(orthanc.results("web"), "web", tmp_path)


def test_a_study_that_was_fetched_in_part_is_not_processed_until_it_is_complete(orthanc, tmp_path, monkeypatch):
    orthanc.store(instances("broken off"))
    settings = Settings(tmp_path / "node", None, rules=Rules(quiet_s=0.1))
    node = Node(settings, process, WebPeer(orthanc.web))
    make = lambda inbox, note: Fetcher(orthanc.web, inbox, settings.folder, [uid("broken off")], note=note)  # noqa: E731
    key, whole = study_key(uid("broken off")), web.iter_study

    def breaks_off(*words, **options):
        yield next(iter(whole(*words, **options)))
        raise requests.ConnectionError("broken off")

    with monkeypatch.context() as patch:
        patch.setattr(web, "iter_study", breaks_off)
        patch.setattr(web_peer, "RETRY_S", (0.3, 0.3))
        assert node.run(make, once=True) == 1
    assert (node.inbox.count(key), node.inbox.held(), node.records.all()) == (1, [key], [])
    node = Node(settings, process, WebPeer(orthanc.web))
    assert node.run(make, once=True) == 0
    check(orthanc.results("broken off"), "broken off", tmp_path)
    assert node.records[key].round == 1


def test_polling_finds_a_study_of_today_once(orthanc, tmp_path):
    orthanc.store(instances("polled"))
    settings = Settings(tmp_path / "node", None, rules=RULES)
    node = Node(settings, process, WebPeer(orthanc.web))
    only = {"StudyInstanceUID": uid("polled")}

    def make(inbox, note):
        return Fetcher(orthanc.web, inbox, settings.folder, poll_s=0.5, filters=only, note=note)

    with running(node, fetcher=make):
        wait_for(lambda: node.records[study_key(uid("polled"))].state == "done", 60)
    check(orthanc.results("polled"), "polled", tmp_path)
    (record,) = node.records.all()  # of no other study
    assert record.round == 1


def test_what_dicomweb_finds_and_retrieves_is_what_was_stored(orthanc, tmp_path):
    orthanc.store([*instances("plain"), instance("plain", 7, SecondaryCaptureImageStorage)])
    studies = {study.uid: study.instances for study in web.find_studies(orthanc.web, {"ModalitiesInStudy": "CT"})}
    assert studies[uid("plain")] == 4
    paths = web.retrieve_study(orthanc.web, uid("plain"), tmp_path / "study")
    read = {dataset.SOPInstanceUID: dataset for dataset in map(dcmread, paths)}
    assert set(read) == {dataset.SOPInstanceUID for dataset in instances("plain")}
    for dataset in instances("plain"):
        np.testing.assert_array_equal(read[dataset.SOPInstanceUID].pixel_array, dataset.pixel_array)
    with pytest.raises(ValueError, match="more than 2 instances"):
        web.retrieve_study(orthanc.web, uid("plain"), tmp_path / "few", max_instances=2)
    with pytest.raises(FileNotFoundError, match="no CT series"):
        web.retrieve_study(orthanc.web, uid("nowhere"), tmp_path / "none")


def test_the_command_runs_once_and_reports_a_study_that_cannot_be_fetched(orthanc, tmp_path):
    words = ["node", "--dir", str(tmp_path / "node"), "--dicomweb", orthanc.web, "--study", uid("nowhere"), "--once"]
    done = subprocess.run(
        [sys.executable, "-m", "scripts", *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1, done.stderr
    assert f"study {study_key(uid('nowhere'))}: not fetched: the server has no CT series of the study" in done.stderr
    assert uid("nowhere") not in done.stderr
