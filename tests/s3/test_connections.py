"""What stands at the other end is not as it should be: clocks, certificates, pages to sign in.

[F32] of the fault table: one sentence, with what to do.
"""

from __future__ import annotations

import datetime
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import botocore.auth
import pytest
from means import absent
from s3_faults import ONE_WAY, WAYS, Site, pauses_fixture, site_fixture  # noqa: F401 - pytest finds them

from transforms.errors import StorageError
from transforms.storage.s3 import client as s3_client
from transforms.storage.s3.bucket import Bucket
from transforms.storage.s3.uri import S3Options


@pytest.mark.parametrize("way", ONE_WAY)
@pytest.mark.parametrize("minutes", [30, -30])
def test_this_machines_clock_is_wrong(
    site: Site, way: str, minutes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = botocore.auth.get_current_datetime
    off = datetime.timedelta(minutes=minutes)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *args, **kw: now() + off)
    ended = site.publish(way, "set")
    assert ended.code == 4
    assert ended.error.startswith("this machine's clock differs too much from that of http://")
    assert site.uri("set/") in ended.error
    assert "set it right (timedatectl set-ntp true), then run again" in ended.error
    monkeypatch.setattr(botocore.auth, "get_current_datetime", now)
    assert site.publish(way, "set").code == 0


def copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(2**16):
            target.sendall(data)
    except OSError:
        pass  # either end went away
    finally:
        for end in (source, target):
            end.close()


class TlsDoor:
    """A TLS port before a plain one, with a certificate that nobody has signed."""

    def __init__(self, upstream: str, folder: Path) -> None:
        self.certificate, key = folder / "certificate.pem", folder / "key.pem"
        made = subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-keyout", str(key), "-out", str(self.certificate), "-subj", "/CN=localhost"),
                *("-addext", "subjectAltName=IP:127.0.0.1"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, key)
        host, _, port = upstream.removeprefix("http://").partition(":")
        self._upstream = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            with self._context.wrap_socket(plain, server_side=True) as door:
                way = socket.create_connection(self._upstream)
                threading.Thread(target=copy, args=(way, door), daemon=True).start()
                copy(door, way)
        except OSError:  # among them ssl.SSLError
            plain.close()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def door(site: Site, tmp_path: Path) -> Iterator[TlsDoor]:
    if shutil.which("openssl") is None:
        absent("needs openssl to make a certificate")
    door = TlsDoor(site.server.endpoint, tmp_path)
    yield door
    door.stop()


class TestCertificates:
    @pytest.mark.parametrize("way", ONE_WAY)
    def test_nobody_that_is_known_has_signed_it(
        self, site: Site, door: TlsDoor, way: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        site.endpoint = f"https://127.0.0.1:{door.port}"
        ended = site.publish(way, "set")
        assert ended.code == 2
        assert ended.error.startswith(f"no safe connection to {site.endpoint} for s3://")
        assert site.uri("set/") in ended.error
        assert "CERTIFICATE_VERIFY_FAILED" in ended.error
        assert "where its certificate is your own, name it in AWS_CA_BUNDLE" in ended.error
        assert site.seen("set") == "nothing"

        monkeypatch.setenv("AWS_CA_BUNDLE", str(door.certificate))  # as the error says
        s3_client._clients.clear()
        ended = site.publish(way, "set")
        assert ended.code == 0, ended.said
        assert site.seen("set") == "complete"

    @pytest.mark.parametrize("way", ONE_WAY)
    def test_the_store_speaks_plain_http(self, site: Site, way: str) -> None:
        site.endpoint = site.proxy.endpoint.replace("http:", "https:")
        ended = site.publish(way, "set")
        assert ended.code == 2
        assert ended.error.startswith(f"no safe connection to {site.endpoint} for s3://")
        assert "where it speaks plain HTTP, give --endpoint-url http://…" in ended.error

    def test_the_store_speaks_tls_and_hangs_up(self, site: Site, door: TlsDoor) -> None:
        site.endpoint = f"http://127.0.0.1:{door.port}"
        ended = site.publish("upload", "set")
        assert ended.code == 5
        assert f"the connection to {site.endpoint} broke" in ended.error


@dataclass
class Page:
    """What a server that is no S3 gives to everybody."""

    status: int
    body: bytes
    kind: str


Serve = Callable[[Page], str]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: clients go away as they please."""


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that gives a page; returns its address."""
    started: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(page: Page) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(page.status)
                self.send_header("Content-Length", str(len(page.body)))
                self.send_header("Content-Type", page.kind)
                if page.status == 301:
                    self.send_header("Location", "https://elsewhere.example/")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(page.body)

            do_GET = do_HEAD = do_PUT = do_POST = answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        server = _Server(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        started.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    s3_client._clients.clear()  # whose connections the server's threads would wait for
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.socket.close()


SIGN_IN = Page(200, b"<!DOCTYPE html><html><body>Sign in, please<br></body>", "text/html")
REDIRECT = Page(301, b"<html>Moved</html>", "text/html")
WANTS_TLS = Page(400, b"Client sent an HTTP request to an HTTPS server.\n", "text/plain")


class TestNotS3:
    @pytest.mark.parametrize(
        ("page", "code", "says"),
        [
            (SIGN_IN, 5, ""),
            (REDIRECT, 2, "check --endpoint-url, and whether it wants https://"),
            (WANTS_TLS, 2, "where it speaks TLS, give --endpoint-url https://…"),
        ],
        ids=["sign in", "redirect", "wants TLS"],
    )
    def test_every_verb_says_so(
        self, site: Site, serve: Serve, page: Page, code: int, says: str
    ) -> None:
        site.endpoint = serve(page)
        for ended in (
            *(site.publish(way, "set") for way in WAYS),
            site.run("download", site.uri("set"), "copy"),
            site.run("verify", site.uri("set")),
            site.run("list", site.uri("set/")),
        ):
            assert ended.code == code, ended.said
            assert site.endpoint in ended.error
            assert site.uri("set/") in ended.error
            assert says in ended.error
        assert not Path("copy").exists()

    @pytest.mark.parametrize("ask", ["keys", "head", "get"])
    def test_a_page_is_not_taken_for_an_empty_bucket(
        self, site: Site, serve: Serve, ask: str
    ) -> None:
        bucket = Bucket(site.bucket, S3Options(endpoint_url=serve(SIGN_IN)))
        with pytest.raises(StorageError, match=f"s3://{site.bucket}/x"):
            tuple(getattr(bucket, ask)("x") or ())
