"""docs/how-to/pacs.md shows the options, SOP classes, transfer syntaxes and limits as they are."""

import inspect
import json
import re

import pytest

from scripts.commands import node
from scripts.dicom.node.inbox import CT_IMAGES, Limits
from scripts.dicom.node.receiver import PDU_BYTES, Access
from scripts.dicom.node.transfer import PRIVATE, TRANSFER_SYNTAXES
from scripts.dicom.node.worker import MAX_STARTS, Rules
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "how-to" / "pacs.md").read_text(encoding="utf-8")
UID = re.compile(r"\b1(?:\.\d+){5,}\b")


def section(title):
    return PAGE.split(f"# {title}\n")[1].split("\n#")[0]


def test_the_table_lists_every_option_with_its_default():
    rows = dict(re.findall(r"^\| `--([\w-]+)[^|]*\| ([^|]*?) ?\|", section("Options"), re.MULTILINE))
    parameters = inspect.signature(node.run).parameters
    renamed = {"folder": "dir", "filter_by": "filter"}
    options = {renamed.get(name, name.replace("_", "-")): value.default for name, value in parameters.items()}
    assert set(rows) - {""} == set(options) - {"debug", "segment-options"}
    for name, default in options.items():
        if isinstance(default, str) or (isinstance(default, (int, float)) and not isinstance(default, bool)):
            assert rows[name].strip("`") == (default if isinstance(default, str) else f"{default:.10g}"), name


def test_the_defaults_of_the_command_are_those_of_the_classes():
    parameters = {name: value.default for name, value in inspect.signature(node.run).parameters.items()}
    rules, limits, access = Rules(), Limits(), Access()
    assert (parameters["quiet_s"], parameters["instances"], parameters["attempts"]) == (
        rules.quiet_s,
        rules.instances,
        rules.attempts,
    )
    assert parameters["keep_h"] * 3600 == rules.keep_s
    assert parameters["max_instance_mb"] * 2**20 == limits.instance_bytes
    assert parameters["max_study_gb"] * 2**30 == limits.study_bytes
    assert parameters["max_study_instances"] == limits.study_instances
    assert parameters["min_free_gb"] * 2**30 == limits.free_bytes
    assert (parameters["ae"], parameters["listen"]) == (access.ae, access.listen)


def test_the_statement_lists_what_is_accepted():
    statement = section("As SCP (receiving)")
    verification = {"1.2.840.10008.1.1"}
    assert (
        set(UID.findall(statement)) | verification
        == {*CT_IMAGES, *PRIVATE, *map(str, TRANSFER_SYNTAXES)} | verification
    )
    assert "at most 128 KiB" in PAGE
    assert PDU_BYTES == 128 * 1024
    assert f"at most {Access().associations} associations" in PAGE
    assert f"ends the node {MAX_STARTS} times" in PAGE


@pytest.mark.parametrize("block", re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
def test_the_configuration_of_orthanc_is_json(block):
    assert json.loads(block)["DicomModalities"]["node"] == ["CTPSTROKE", "127.0.0.1", 11112]
