"""Chromium without a screen, driven through its DevTools pipe: no package, no port and no network."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
)


class Chromium:
    """A browser with one page."""

    def __init__(self, profile: Path):
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()

        def take_pipes() -> None:  # Chromium reads from descriptor 3 and writes to 4
            first, second = os.dup(to_read), os.dup(to_write)
            os.dup2(first, 3)
            os.dup2(second, 4)

        self._process = subprocess.Popen(
            [PROGRAM or "chromium", *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=take_pipes,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._buffer, self._number, self.events = b"", 0, []
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})
        self._session: str | None = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(30)
        os.close(self._read)
        os.close(self._write)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the page and return its result."""
        return self._call(method, parameters, self._session)

    def open(self, page: Path, fragment: str = "", width: int = 1400, height: int = 1000, **screen: Any) -> None:
        """Open a file and wait until its slices can be turned."""
        dark, scale = screen.get("dark", False), screen.get("scale", 1)
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **metrics)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[feature])
        self.send("Page.navigate", url="about:blank")
        self.events.clear()
        self.send("Page.navigate", url=page.absolute().as_uri() + fragment)
        self.wait("document.body && document.body.dataset.viewer")

    def wait(self, expression: str, seconds: float = 30) -> Any:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            if time.monotonic() > end:
                raise TimeoutError(f"{expression}: {self.events[-3:]}")
            time.sleep(0.05)
        return value

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise AssertionError(result["exceptionDetails"])
        return result["result"].get("value")

    def press(self, key: str, code: int = 0) -> None:
        """Press a key, as a user does, where the focus is."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": key} if len(key) == 1 and kind == "keyDown" else {}
            self.send("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text)

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """Take a picture of the page."""
        picture = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(picture["data"]))

    def pdf(self, width_inch: float, height_inch: float) -> bytes:
        """Print the page."""
        printed = self.send(
            "Page.printToPDF", paperWidth=width_inch, paperHeight=height_inch, preferCSSPageSize=False,
            printBackground=False, marginTop=0.35, marginBottom=0.35, marginLeft=0.4, marginRight=0.4,
        )  # fmt: skip
        return base64.b64decode(printed["data"])

    def problems(self) -> list[str]:
        """What the console has been told that is wrong, and every request but that of the page itself."""
        self.evaluate("1")  # what is under way has come
        found = []
        for event in self.events:
            name, content = event["method"], event["params"]
            if name == "Runtime.exceptionThrown" or (name == "Log.entryAdded" and content["entry"]["level"] == "error"):
                found.append(json.dumps(content))
            if name == "Runtime.consoleAPICalled" and content["type"] in ("error", "warning", "assert"):
                found.append(json.dumps(content))
            url = content.get("request", {}).get("url", "") if name == "Network.requestWillBeSent" else ""
            if url and not url.startswith(("file:", "data:", "about:")):
                found.append(f"request: {url}")
        return found

    def _call(self, method: str, parameters: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._number:
            self.events.append(answer)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], 60)[0]:
                raise TimeoutError("no answer of Chromium in 60 s")
            piece = os.read(self._read, 1 << 20)
            if not piece:
                raise ConnectionError("Chromium has ended")
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)
