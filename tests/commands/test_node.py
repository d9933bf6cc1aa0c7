"""`ctp-stroke node`: what its command line refuses, and a node that starts and stops."""

import json
import signal
import subprocess
import sys
import urllib.request

import pytest

from scripts.cli import main
from tests.conftest import ROOT
from tests.dicom.small_study import wait_for
from tests.processes import free_port

SEND = ["--send", "127.0.0.1:104:PACS"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "expected one of --send and --stow, or --dicomweb"),
        ([*SEND, "--stow", "http://localhost"], "expected one of --send and --stow"),
        (["--send", "127.0.0.1:PACS"], "expected HOST:PORT:AE such as 10.0.0.5:104:PACS, got '127.0.0.1:PACS'"),
        (["--stow", "pacs"], "expected an address such as https://"),
        ([*SEND, "--ae", "MUCH TOO LONG TITLE"], "expected an AE title of 1 to 16 characters"),
        ([*SEND, "--allow", "A\\B"], "expected an AE title"),
        ([*SEND, "--allow-address", "10.0.0.0/99"], "expected an address or network such as 10.0.0.0/24"),
        ([*SEND, "--listen", "0.0.0.0"], "listening on 0.0.0.0 needs --allow-address"),
        ([*SEND, "--study", "1.2.3"], "--study, --poll-s and --once need --dicomweb"),
        (["--dicomweb", "http://localhost"], "--dicomweb needs --study or --poll-s"),
        (["--dicomweb", "http://localhost", "--poll-s", "5", "--once"], "--once ends when --study is done"),
        (["--dicomweb", "http://localhost", "--poll-s", "5", "--filter", "x"], "expected KEYWORD=VALUE such as"),
        ([*SEND, "--port", "99999"], "Invalid value for '--port'"),
    ],
)
def test_a_wrong_command_line_is_one_line(words, line, tmp_path, capsys):
    assert main(["node", "--dir", str(tmp_path / "node"), *words]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
    assert not (tmp_path / "node").exists()


def test_without_the_extra_it_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynetdicom", None)
    assert main(["node", "--dir", str(tmp_path / "node"), *SEND]) == 1
    assert capsys.readouterr().err == (
        "ctp-stroke: error: the node needs pynetdicom: pip install 'ctp-stroke-lesion-segmentation[dicom]'\n"
    )


def test_a_node_starts_tells_its_health_and_stops(tmp_path):
    health, port = free_port(), free_port()
    words = ["--dir", tmp_path / "node", "--port", port, "--health-port", health, "--min-free-gb", 0, *SEND]
    command = [sys.executable, "-m", "scripts", "node", *map(str, words)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        lines = [process.stderr.readline()]
        assert f"CTPSTROKE listens on 127.0.0.1:{port}" in lines[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{health}/health", timeout=10) as answer:
            assert json.load(answer)["queue"] == dict.fromkeys(
                ("waiting", "processing", "sending", "done", "failed"), 0
            )
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: process.poll() is not None)
        lines += process.stderr.readlines()
    assert process.returncode == 0
    assert (second.returncode, second.stderr.count("\n")) == (1, 1)
    assert "another node uses this folder" in second.stderr
    assert [line.split("INFO ")[1].split(";")[0].strip() for line in lines[1:]] == ["stopping", "stopped"]
