"""The node on free ports of this machine: what it takes, what it refuses, what it sends back, and when."""

from __future__ import annotations

import json
import logging
import socket
import stat
import time
import urllib.request
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.pixels import get_decoder
from pydicom.uid import (
    EnhancedCTImageStorage,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE

from scripts.dicom.node import inbox as inbox_module
from scripts.dicom.node import service
from scripts.dicom.node.identity import study_key
from scripts.dicom.node.inbox import Limits
from scripts.dicom.node.receiver import Access
from scripts.dicom.node.sender import Peer
from scripts.dicom.node.service import Node, Settings
from scripts.dicom.node.transfer import PRIVATE, STORAGE, TRANSFER_SYNTAXES
from scripts.dicom.node.worker import Rules
from tests.dicom.small_study import (
    NAME,
    NODE,
    SENDER,
    Pacs,
    instance,
    instances,
    process,
    result_uids,
    running,
    send,
    uid,
    wait_for,
)

RULES = {"quiet_s": 0.3, "retry_s": 0.1, "retry_max_s": 0.3}


@pytest.fixture
def pacs():
    pacs = Pacs()
    yield pacs
    pacs.stop()


@pytest.fixture
def make(tmp_path, pacs):
    """A function that makes a node that sends to the PACS."""

    def make(process=process, access=(), limits=None, rules=(), health=None, peer=None):
        settings = Settings(
            tmp_path / "node",
            Access(**{"port": 0, **dict(access)}),
            limits or Limits(free_bytes=0),
            Rules(**{**RULES, **dict(rules)}),
            health,
            tick_s=0.02,
        )
        return Node(settings, process, peer or Peer("127.0.0.1", pacs.port, "PACS", NODE, timeout_s=10))

    return make


def state(node, study):
    return node.records[study_key(uid(study))].state


def stored(node, study):
    return sorted((node.settings.folder / "incoming" / study_key(uid(study))).glob("*.dcm"))


def test_a_study_is_stored_processed_and_its_results_are_received(make, pacs, caplog):
    caplog.set_level(logging.INFO, "ctp_stroke.node")
    with running(make()) as node:
        assert send(node.receiver.port, instances("a")) == [0, 0, 0]
        assert len(stored(node, "a")) == 3
        wait_for(lambda: state(node, "a") == "done")
    assert pacs.uids() == dict.fromkeys(result_uids("a"), 1)
    assert {result.InstanceNumber for result in pacs.received} == {0 + 1 + 2}  # made of all three
    assert {result.StudyInstanceUID for result in pacs.received} == {uid("a")}
    steps = [record.getMessage() for record in caplog.records if study_key(uid("a")) in record.getMessage()]
    assert [step.split(":")[1].split(",")[0].split(" in ")[0].strip() for step in steps] == [
        "first instance",
        "complete",
        "processed",
        "0000_result_0.dcm sent",
        "0001_result_1.dcm sent",
        "done",
    ]


def test_the_logs_names_and_records_hold_nothing_of_the_patient(make, caplog):
    caplog.set_level(logging.INFO, "ctp_stroke.node")
    with running(make()) as node:
        send(node.receiver.port, instances("a"))
        wait_for(lambda: state(node, "a") == "done")
    folder = node.settings.folder
    texts = [caplog.text, *(str(path) for path in folder.rglob("*")), *(p.read_text() for p in folder.rglob("*.json"))]
    assert any("processed" in text for text in texts)
    assert not [text for text in texts for secret in (NAME, "Jane", "secret-7", uid("a")) if secret in text]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_echo_is_answered(make):
    with running(make()) as node:
        ae = AE(SENDER)
        ae.add_requested_context("1.2.840.10008.1.1")
        association = ae.associate("127.0.0.1", node.receiver.port, ae_title=NODE)
        assert association.send_c_echo().Status == 0
        association.release()


def test_enhanced_and_compressed_images_are_stored_as_they_came(make):
    pixels = np.arange(4096, dtype=np.int16).reshape(64, 64)
    sent = [instance("a", 0, pixels=pixels), instance("a", 1, EnhancedCTImageStorage), instance("a", 2, pixels=pixels)]
    sent[0].compress(JPEG2000Lossless, generate_instance_uid=False)
    sent[2].compress(RLELossless, generate_instance_uid=False)
    with running(make(rules={"quiet_s": 60})) as node:
        assert send(node.receiver.port, sent) == [0, 0, 0]
        read = {path.name: dcmread(path) for path in stored(node, "a")}
    by_uid = {dataset.SOPInstanceUID: dataset for dataset in read.values()}
    for dataset in sent:
        again = by_uid[dataset.SOPInstanceUID]
        assert again.file_meta.TransferSyntaxUID == dataset.file_meta.TransferSyntaxUID
        assert again.PixelData == dataset.PixelData
    np.testing.assert_array_equal(by_uid[sent[0].SOPInstanceUID].pixel_array, pixels)


@pytest.mark.parametrize("syntax", [syntax for syntax in TRANSFER_SYNTAXES if syntax.is_encapsulated], ids=str)
def test_each_compressed_syntax_that_is_accepted_can_be_decoded(syntax):
    assert get_decoder(syntax).is_available


def test_all_storage_classes_are_accepted_and_only_ct_is_kept(make, pacs):
    assert {SegmentationStorage, "1.2.840.10008.5.1.4.1.1.4", *PRIVATE} <= set(STORAGE)
    results = [instance("a", 0, SegmentationStorage), instance("a", 1, SecondaryCaptureImageStorage)]
    private = instance("a", 2, next(iter(PRIVATE)))
    with running(make()) as node:
        assert send(node.receiver.port, [*results, private]) == [0, 0, 0]
        time.sleep(0.6)
        assert node.inbox.studies() == []
        assert node.receiver.counts["not_kept"] == 3
    assert pacs.received == []


def test_results_that_come_back_start_nothing(make, pacs):
    with running(make()) as node:
        send(node.receiver.port, instances("a"))
        wait_for(lambda: state(node, "a") == "done")
        assert send(node.receiver.port, [*pacs.received, *instances("a")]) == [0] * 5  # as a router does
        time.sleep(0.6)
        assert node.queue() == {"waiting": 0, "processing": 0, "sending": 0, "done": 1, "failed": 0}
    assert len(pacs.received) == 2


@pytest.mark.parametrize(("calling", "called"), [("STRANGER", NODE), (SENDER, "OTHER")])
def test_a_wrong_title_is_refused(make, calling, called):
    with running(make(access={"allowed_aes": (SENDER, "SECOND")})) as node:
        assert send(node.receiver.port, instances("a"), calling, called) == []
        assert send(node.receiver.port, instances("a"), "SECOND") == [0, 0, 0]
        assert node.receiver.counts["refused_associations"] == 1
        assert f"{calling} from 127.0.0.1 refused" in node.last_error()["text"]


def test_a_foreign_address_is_refused(make):
    with running(make(access={"allowed_addresses": ("10.0.0.0/8", "127.0.0.2")})) as node:
        assert send(node.receiver.port, instances("a")) == []
        assert node.receiver.counts["refused_connections"] == 1
        assert node.inbox.studies() == []


@pytest.mark.parametrize(
    ("networks", "address", "allowed"),
    [
        ((), "192.0.2.1", True),
        (("10.0.0.0/8",), "10.1.2.3", True),
        (("10.0.0.0/8",), "::ffff:10.1.2.3", True),
        (("10.0.0.0/8",), "11.0.0.1", False),
        (("fe80::/10",), "fe80::1%eth0", True),
        (("fe80::/10", "192.0.2.7"), "192.0.2.8", False),
    ],
)
def test_allowed_addresses(networks, address, allowed):
    assert Access(allowed_addresses=networks).allows(address) is allowed


def test_it_listens_on_this_machine_only_by_default(make):
    with running(make()) as node:
        assert node.receiver._server.server_address[0] == "127.0.0.1"


def test_an_instance_that_is_too_large_is_refused_and_the_rest_of_the_study_is_stored(make):
    large = instance("a", 9, pixels=np.zeros((512, 512), np.int16))
    with running(make(limits=Limits(instance_bytes=300_000, free_bytes=0), rules={"quiet_s": 60})) as node:
        assert send(node.receiver.port, [*instances("a", 2), large, instance("a", 3)]) == [0, 0, 0xA700, 0]
        assert len(stored(node, "a")) == 3
        assert "an instance of more than 300000 bytes" in node.last_error()["text"]


@pytest.mark.parametrize(
    ("limits", "line"),
    [
        ({"study_instances": 2}, "the study has 2 instances, the limit"),
        ({"study_bytes": 2200}, "the limit is 2200"),
        ({"free_bytes": 1 << 60}, "stay free"),
    ],
)
def test_what_is_beyond_a_limit_is_refused(make, limits, line):
    with running(make(limits=Limits(**{"free_bytes": 0, **limits}), rules={"quiet_s": 60})) as node:
        statuses = send(node.receiver.port, instances("a", 3))
        assert statuses[-1] == 0xA700
        assert len(stored(node, "a")) == statuses.count(0)
        assert line in node.last_error()["text"]


def test_a_full_disk_is_answered_and_what_was_sent_again_is_stored(make, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    with running(make(rules={"quiet_s": 60})) as node:
        with monkeypatch.context() as patch:
            patch.setattr(inbox_module.os, "fsync", full)
            assert send(node.receiver.port, instances("a", 1)) == [0xA700]
            assert stored(node, "a") == []
            assert list((node.settings.folder / "receiving").iterdir()) == []
        assert "No space left on device" in node.last_error()["text"]
        assert send(node.receiver.port, instances("a", 1)) == [0]
        assert len(stored(node, "a")) == 1


def test_a_dataset_that_is_not_what_the_request_says_is_refused(make):
    wrong, nameless, broken = instances("a", 3)
    wrong.StudyInstanceUID = "1.2.x"
    nameless.StudyInstanceUID = ""
    with running(make(rules={"quiet_s": 60})) as node:
        assert send(node.receiver.port, [wrong, nameless]) == [0xC000, 0xC000]
        assert "StudyInstanceUID" in node.last_error()["text"]
        assert node.inbox.studies() == []


def test_implicit_and_deflated_datasets_are_read(make):
    implicit, deflated = instances("a", 2)
    implicit.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    deflated.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    with running(make(rules={"quiet_s": 60})) as node:
        assert send(node.receiver.port, [implicit, deflated]) == [0, 0]
        assert len(stored(node, "a")) == 2


@pytest.mark.parametrize(
    "data", [b"\x01\x00\xff\xff\xff\xff", b"\x04\x00\xff\xff\xff\xf0" + b"x" * 1000, b"GET / HTTP/1.1\r\n\r\n"]
)
def test_bytes_that_are_no_dicom_end_the_connection_only(make, data):
    with running(make(rules={"quiet_s": 60})) as node:
        with socket.create_connection(("127.0.0.1", node.receiver.port), timeout=10) as connection:
            connection.sendall(data)
            while connection.recv(4096):
                pass
        assert send(node.receiver.port, instances("a")) == [0, 0, 0]


def test_late_instances_start_a_new_round(make, pacs):
    began = []

    def slow(study, out):
        began.append(len(list(study.iterdir())))
        if len(began) == 1:
            send(node.receiver.port, [instance("a", 3)])  # while the first round is processed
        return process(study, out)

    with running(make(slow)) as node:
        send(node.receiver.port, instances("a"))
        wait_for(lambda: node.records[study_key(uid("a"))].round == 2 and state(node, "a") == "done")
    assert began == [3, 4]
    assert pacs.uids() == dict.fromkeys(result_uids("a", 3) | result_uids("a", 4), 1)


def test_a_study_with_too_few_instances_fails_until_more_come(make, pacs):
    with running(make(rules={"instances": 3})) as node:
        send(node.receiver.port, instances("a", 2))
        wait_for(lambda: state(node, "a") == "failed")
        assert node.records[study_key(uid("a"))].reason == "2 instances came, at least 3 were expected"
        send(node.receiver.port, instances("a", 3))
        wait_for(lambda: state(node, "a") == "done")
    assert set(pacs.uids()) == result_uids("a")


def test_a_pacs_that_is_down_gets_the_results_when_it_is_up(make, pacs):
    pacs.stop()
    with running(make()) as node:
        send(node.receiver.port, instances("a"))
        send(node.receiver.port, instances("b"))
        wait_for(lambda: node.last_error() is not None and node.queue()["sending"] == 2)
        assert "PACS at 127.0.0.1" in node.last_error()["text"]
        again = Pacs(pacs.port)
        try:
            wait_for(lambda: node.queue()["done"] == 2)
        finally:
            again.stop()
    assert again.uids() == dict.fromkeys(result_uids("a") | result_uids("b"), 1)


def test_a_result_that_is_refused_for_now_is_sent_again_and_the_other_once(make, pacs):
    pacs.statuses = [0, 0xA700]
    with running(make()) as node:
        send(node.receiver.port, instances("a"))
        wait_for(lambda: state(node, "a") == "done")
    assert pacs.uids() == dict.fromkeys(result_uids("a"), 1)


def test_a_result_that_is_refused_for_good_is_listed_and_can_be_tried_again(make, pacs):
    pacs.statuses = [0xC001, 0, 0xC001, 0xC001]
    with running(make(rules={"attempts": 3})) as node:
        send(node.receiver.port, instances("a"))
        wait_for(lambda: state(node, "a") == "failed")
        reason = node.health()["studies"][study_key(uid("a"))]["reason"]
        assert reason == "1 of 2 results refused: PACS answered with status 0xC001"
    assert len(pacs.received) == 1
    with running(make(), retry_failed=True) as node:
        wait_for(lambda: state(node, "a") == "done")
    assert pacs.uids() == dict.fromkeys(result_uids("a"), 1)


def test_a_processing_that_fails_is_tried_again_and_then_listed(make, pacs):
    tries = []

    def failing(study, out):
        tries.append(study)
        if any(dataset.InstanceNumber == 1 for dataset in map(dcmread, study.iterdir())):
            raise ValueError("no CT-perfusion series\nin the study")
        return process(study, out)

    with running(make(failing, rules={"attempts": 2})) as node:
        send(node.receiver.port, instances("bad", 2))
        wait_for(lambda: state(node, "bad") == "failed")
        send(node.receiver.port, instances("good", 1))
        wait_for(lambda: state(node, "good") == "done")
    assert len(tries) == 3
    assert node.records[study_key(uid("bad"))].reason == "no CT-perfusion series in the study"
    assert len(stored(node, "bad")) == 2
    assert set(pacs.uids()) == result_uids("good", 1)


def test_a_result_that_is_no_dicom_is_a_failure_that_is_listed(make, pacs):
    def damaged(study, out):
        paths = process(study, out)
        paths[0].write_bytes(paths[0].read_bytes()[:100])
        return paths

    with running(make(damaged, rules={"attempts": 2})) as node:
        send(node.receiver.port, instances("a"))
        wait_for(lambda: state(node, "a") == "failed")
        assert "File is missing DICOM File Meta Information" in node.records[study_key(uid("a"))].reason


def test_health_is_json_of_numbers_and_hashes(make):
    with running(make(health=("127.0.0.1", 0), rules={"instances": 3})) as node:
        url = f"http://127.0.0.1:{node.health_server.port}"
        send(node.receiver.port, instances("a"))
        send(node.receiver.port, instances("short", 2))
        wait_for(lambda: node.queue()["done"] + node.queue()["failed"] == 2)
        with urllib.request.urlopen(f"{url}/health", timeout=10) as answer:
            health = json.load(answer)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{url}/other", timeout=10)
    assert health["ok"] is True
    assert health["queue"] == {"waiting": 0, "processing": 0, "sending": 0, "done": 1, "failed": 1}
    assert health["received"]["stored"] == 5
    assert list(health["studies"]) == [study_key(uid("short"))]
    assert "2 instances came" in health["last_error"]["text"]


def test_health_says_when_the_disk_is_full(make):
    with running(make(health=("127.0.0.1", 0), limits=Limits(free_bytes=1 << 60))) as node:
        with pytest.raises(urllib.error.HTTPError, match="503") as error:
            urllib.request.urlopen(f"http://127.0.0.1:{node.health_server.port}/health", timeout=10)
        assert json.load(error.value)["ok"] is False


def test_studies_that_are_done_are_removed_after_a_time(make):
    with running(make(rules={"keep_s": 0.5})) as node:
        send(node.receiver.port, instances("a"))
        wait_for(lambda: node.queue()["done"] == 1)
        wait_for(lambda: node.queue()["done"] == 0)
        folder = node.settings.folder
        assert [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"] == []


def test_two_nodes_do_not_share_a_folder(make):
    with running(make()), pytest.raises(BlockingIOError, match="another node uses this folder"):
        make().run()


def test_a_stop_waits_for_the_association_and_leaves_the_queue(make, pacs):
    node = make(rules={"quiet_s": 60})
    with running(node):
        ae = AE(SENDER)
        ae.add_requested_context(instances("a")[0].SOPClassUID)
        association = ae.associate("127.0.0.1", node.receiver.port, ae_title=NODE)
        assert association.send_c_store(instance("a", 0)).Status == 0
        node.stop.set()
        time.sleep(0.3)
        assert [association.send_c_store(instance("a", number)).Status for number in (1, 2)] == [0, 0]
        assert send(node.receiver.port, instances("b")) == []  # no new one
        association.release()
    with running(make()) as node:
        wait_for(lambda: state(node, "a") == "done")
    assert pacs.uids() == dict.fromkeys(result_uids("a"), 1)


def test_a_stop_does_not_wait_forever_for_an_association(make, monkeypatch):
    monkeypatch.setattr(service, "GRACE_S", 0.3)
    ae = AE(SENDER)
    ae.add_requested_context("1.2.840.10008.1.1")
    with running(make()) as node:
        association = ae.associate("127.0.0.1", node.receiver.port, ae_title=NODE)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    wait_for(lambda: not association.is_established, 5)


@pytest.mark.parametrize("text", ["pacs", "pacs:104", "pacs:0:PACS", "pacs:104:", "pacs:99999:A", "p:1:A\\B"])
def test_a_receiver_that_is_not_host_port_title_is_refused(text):
    with pytest.raises(ValueError, match="expected HOST:PORT:AE such as"):
        Peer.parse(text, NODE)


def test_a_receiver_is_read():
    assert Peer.parse("[::1]:104:MY PACS", NODE) == Peer("::1", 104, "MY PACS", NODE)
    assert Peer.parse("pacs.example:11112:PACS", NODE) == Peer("pacs.example", 11112, "PACS", NODE)


def test_a_deflated_bomb_takes_no_memory():
    import tracemalloc
    import zlib

    from scripts.dicom.node.identity import uids_of_encoded

    packed = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = b"".join(packed.compress(b"\xff" * (1 << 20)) for _ in range(256)) + packed.flush()
    tracemalloc.start()
    with pytest.raises(ValueError, match="expected a valid SOPClassUID, got none"):
        uids_of_encoded(memoryview(bomb), "1.2.840.10008.1.2.1.99")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("depth", [2000])
def test_a_hostile_depth_of_sequences_is_one_error(depth):
    from scripts.dicom.node.identity import uids_of_encoded

    item = b"\x08\x00\x15\x11" + b"SQ\0\0" + b"\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    with pytest.raises(ValueError, match="."):
        uids_of_encoded(memoryview(BytesIO(item * depth).getbuffer()), "1.2.840.10008.1.2.1")
