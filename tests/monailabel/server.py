"""MONAI Label's own server, started on a copy of the bundle, and what a client sends it."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

NAME = "ctp_stroke_lesion_segmentation"
PAGE = ROOT / "docs" / "how-to" / "monai-label.md"
STARTS_WITHIN_S = 300


class Refused(Exception):
    """The server answered with an error status."""

    def __init__(self, status: int, body: str):
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body


def commands() -> list[str]:
    """The commands of the page, without that which makes the environment."""
    return re.findall(r"^    ((?:mkdir|cp|curl|\.venv-monailabel/\S+) .+)$", PAGE.read_text(), flags=re.MULTILINE)


class Server:
    """MONAI Label's server in an environment of its own, prepared and started by the commands of the page."""

    def __init__(self, python: str, folder: Path, studies: Path):
        self.log, self.bundle = folder / "server.log", folder / "monaibundle" / "model" / NAME
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.replaced = {
            ".venv-monailabel/bin/python": python,
            "apps/monaibundle": str(folder / "monaibundle"),
            "--output apps": f"--output {folder}",
            "--studies studies": f"--studies {studies} --port {self.port}",
            "http://127.0.0.1:8000": f"http://127.0.0.1:{self.port}",
        }
        # A path of whoever runs the tests must not reach the server, and no proxy stand between it and its client.
        self.environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1", "no_proxy": "127.0.0.1"}
        *prepare, self.start = (command for command in commands() if not command.startswith("curl"))
        for command in prepare:
            self.run(command, ROOT)

    def run(self, command: str, cwd: Path) -> str:
        """Run a command of the page, with this server's paths and port in it, and return its output."""
        result = subprocess.run(
            self.words(command), cwd=cwd, env=self.environment, capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise RuntimeError(f"{command}: {result.stdout}{result.stderr}")
        return result.stdout

    def words(self, command: str) -> list[str]:
        """Split a command of the page."""
        for text, replacement in self.replaced.items():
            command = command.replace(text, replacement)
        return shlex.split(command)

    def __enter__(self) -> Server:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.words(self.start), cwd=ROOT, env=self.environment, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended:\n{self.log.read_text()[-3000:]}")
            try:
                self.get("/info/")
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.5)
            else:
                return self
        self.__exit__()
        raise TimeoutError(f"no answer within {STARTS_WITHIN_S} s:\n{self.log.read_text()[-3000:]}")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def text(self, path: str) -> str:
        return self._ask(urllib.request.Request(self._url(path))).decode()

    def get(self, path: str) -> Any:
        return json.loads(self.text(path))

    def infer(self, image: str, **params: Any) -> bytes:
        """The mask that the server answers with, a NIfTI file."""
        return self._infer(image, "image", params)

    def infer_json(self, image: str, **params: Any) -> dict[str, Any]:
        """What the server reports next to the mask."""
        return json.loads(self._infer(image, "json", params))

    def _infer(self, image: str, output: str, params: dict[str, Any]) -> bytes:
        params = {"device": "cpu", "result_dtype": "uint8", **params}
        query = {"image": image, "output": output}
        return self._send("POST", f"/infer/{NAME}", query, b'name="params"', json.dumps(params).encode())

    def save_label(self, image: str, label: Path) -> None:
        """Give an image its final label, as the button "Submit Label" of 3D Slicer does."""
        query = {"image": image, "tag": "final"}
        part = f'name="label"; filename="{label.name}"'
        self._send("PUT", "/datastore/label", query, part.encode(), label.read_bytes())

    def _send(self, method: str, path: str, query: dict[str, str], part: bytes, content: bytes) -> bytes:
        """Send one part of a form."""
        line, boundary = b"\r\n", uuid.uuid4().hex.encode()
        head = b"Content-Disposition: form-data; " + part
        body = line.join([b"--" + boundary, head, b"", content, b"--" + boundary + b"--", b""])
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary.decode()}"}
        url = self._url(f"{path}?{urllib.parse.urlencode(query)}")
        return self._ask(urllib.request.Request(url, body, headers, method=method))

    def train(self, *, run_sync: bool = True, **params: Any) -> Any:
        """Train on the labeled studies; the answer comes when it is done, or at once where ``run_sync`` is false."""
        request = urllib.request.Request(
            self._url(f"/train/{NAME}?run_sync={str(run_sync).lower()}"),
            json.dumps({"max_epochs": 1, "device": "cpu", "tracking": "None", **params}).encode(),
            {"Content-Type": "application/json"},
        )
        return json.loads(self._ask(request))

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def wait_for_training(self) -> dict[str, Any]:
        """The state of a training run in the background once it has ended, as 3D Slicer's "Status" shows it."""
        while (state := self.get("/train/"))["status"] in ("SUBMITTED", "RUNNING"):
            time.sleep(1)
        return state

    @staticmethod
    def _ask(request: urllib.request.Request) -> bytes:
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode()) from None
