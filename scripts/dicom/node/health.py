"""The node's health over HTTP: numbers and hashes, nothing of a patient."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class HealthServer:
    """Answers GET /health with JSON: status 200 if `ok` is true in it, else 503.

    Args:
        address: host and port; port 0 takes a free one.
        health: gives the content.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, address: tuple[str, int], health: Callable[[], Mapping[str, Any]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 5
            server_version, sys_version = "ctp-stroke", ""

            def do_GET(self) -> None:  # noqa: N802 the name is of http.server
                """Answer."""
                if self.path.split("?")[0] not in ("/", "/health"):
                    self.send_error(404)
                    return
                content = health()
                body = json.dumps(content, indent=2).encode() + b"\n"
                self.send_response(200 if content["ok"] else 503)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the name is of http.server
                """Log nothing: a monitor asks every few seconds."""

        self._server = ThreadingHTTPServer(address, Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
