"""DICOMweb: what is refused before anything is sent, credentials, limits, and answers of servers that are not well."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from scripts.dicom import web
from scripts.dicom.node.web_peer import WebPeer
from scripts.dicom.node.worker import UnreachableError
from tests.dicom.small_study import instance, uid


class Server:
    """An HTTP server that gives the same answer to every request and remembers the requests."""

    def __init__(self):
        self.status, self.body, self.kind = 200, b"", "application/dicom+json"
        self.requests: list[tuple[str, str, dict, bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                outer.requests.append((self.command, self.path, dict(self.headers), self.content()))
                self.send_response(outer.status)
                self.send_header("Content-Type", outer.kind)
                self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            def content(self):
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                pieces = []
                while size := int(self.rfile.readline(), 16):
                    pieces.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(pieces)

            do_GET = do_POST = answer

            def log_message(self, *words):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/dicom-web"


@pytest.fixture
def server(monkeypatch):
    for name in (web.USER, web.PASSWORD, web.TOKEN):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "result.dcm"
    instance("a", 0).save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("pacs.example/dicom-web", "expected an address such as https://"),
        ("ftp://pacs.example", "expected an address such as https://"),
        ("file:///etc/passwd", "expected an address such as https://"),
        ("https://me:secret@pacs.example/dicom-web", "expected an address without credentials"),
    ],
)
def test_an_address_that_is_none_is_refused(url, line):
    with pytest.raises(ValueError, match=line) as error:
        web.client(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("names", [{web.USER: "me", web.PASSWORD: "secret"}, {web.TOKEN: "secret"}])
def test_credentials_do_not_go_without_tls(names, monkeypatch):
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="expected https for a server that needs credentials, got http://pacs.example"):
        web.client("http://pacs.example/dicom-web")
    assert web.client("https://pacs.example/dicom-web")
    assert web.client("http://127.0.0.1:8042/dicom-web")


def test_credentials_of_netrc_do_not_go_without_tls(tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine pacs.example login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(ValueError, match="expected https"):
        web.client("http://pacs.example/dicom-web")


@pytest.mark.parametrize(
    ("names", "header"),
    [
        ({}, None),
        ({web.TOKEN: "token-1"}, "Bearer token-1"),
        ({web.USER: "me", web.PASSWORD: "secret"}, "Basic bWU6c2VjcmV0"),
    ],
)
def test_credentials_come_from_the_environment(server, names, header, monkeypatch):
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    server.body = b"[]"
    assert web.find_studies(server.url, {"StudyDate": "20260101"}, limit=5) == []
    method, path, headers, _ = server.requests[0]
    assert (method, headers.get("Authorization")) == ("GET", header)
    assert path.startswith("/dicom-web/studies?")
    assert {"StudyDate=20260101", "limit=5"} <= set(path.split("?")[1].split("&"))


def test_an_answer_that_is_too_large_is_refused_while_it_is_read(server):
    server.body = b"[" + b" " * 3_000_000 + b"]"
    with pytest.raises(ValueError, match="larger than 1000000 bytes"):
        web.client(server.url, max_bytes=1_000_000).search_for_studies()


def test_a_file_is_stored(server, file):
    server.body = b"{}"
    assert web.store(server.url, [file]) == {}
    method, path, headers, body = server.requests[0]
    assert (method, path) == ("POST", "/dicom-web/studies")
    assert "application/dicom" in headers["Content-Type"]
    assert instance("a", 0).PixelData in body


@pytest.mark.parametrize("status", [400, 409, 415])
def test_a_file_that_the_server_refuses_is_told_and_the_next_is_tried(server, file, status):
    server.status = status
    told = []
    refused = web.store(server.url, [file, file], lambda path, reason: told.append(reason))
    assert refused == {file: f"the server answered with status {status}"}
    assert told == [refused[file]] * 2


def test_a_file_in_the_servers_list_of_failures_is_refused(server, file):
    server.body = b'{"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [272]}}]}}'
    assert web.store(server.url, [file]) == {file: "the server refused it, reason 0x0110"}


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_server_that_is_not_well_is_tried_again_later(server, file, status):
    server.status = status
    with pytest.raises(UnreachableError, match=f"answered with status {status}"):
        WebPeer(server.url)([file], lambda path, reason: pytest.fail("nothing was delivered"))


def test_a_server_that_is_not_there_is_tried_again_later(server, file):
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(UnreachableError, match="does not answer"):
        WebPeer(server.url)([file], lambda path, reason: pytest.fail("nothing was delivered"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_a_certificate_that_nobody_vouches_for_is_refused(server, tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=test"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    subprocess.run(["openssl", *words, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
    server.body, url = b"[]", server.url.replace("http:", "https:")
    with pytest.raises(requests.exceptions.SSLError):
        web.find_studies(url)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert web.find_studies(url) == []


def test_a_study_that_is_not_there_is_one_line(server):
    server.body = b"[]"
    with pytest.raises(FileNotFoundError, match="^the server has no CT series of the study$"):
        list(web.iter_study(server.url, uid("a")))
