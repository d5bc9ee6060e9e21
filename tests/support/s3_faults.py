"""Commands in this very process against the S3 server, and faults between the two.

A fault is either one of Toxiproxy, through which all requests of a `Site` go, or a reply that a
hook of the client gives in place of the server's. boto3's pauses between its tries take no time:
`Pauses` notes them, and does what a test wants to happen meanwhile.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from ended import Ended
from made_sets import make_set
from means import REPOSITORY
from s3_servers import ROOT_ACCESS, ROOT_SECRET, Proxy, S3Server, Toxiproxy

from pipeline.cli.main import main
from transforms.storage.local import LocalStore
from transforms.storage.s3 import bucket as s3_bucket
from transforms.storage.s3 import client as s3_client
from transforms.storage.s3.store import S3Store
from transforms.storage.s3.uri import S3Options, S3Uri

SAMPLE = REPOSITORY / "pipeline" / "sample" / "reasoning.jsonl"
WAYS = ("upload", "straight")  # a prepared folder is sent, or the workers write to S3 themselves
# For faults that both ways meet in the same code: the other way is tried at night.
ONE_WAY = ("upload", pytest.param("straight", marks=pytest.mark.nightly))
ATTEMPTS, REAL_ATTEMPTS = 3, s3_client.ATTEMPTS

_NOBODY = "http://127.0.0.1:9"  # where requests go that do not heed --endpoint-url


class Pauses:
    """Takes the place of boto3's sleep."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._then: list[Callable[[], object]] = []
        self._lock = Lock()

    def __call__(self, seconds: float) -> None:
        with self._lock:  # other threads' pauses last until it is done
            self.seconds.append(seconds)
            if self._then:
                self._then.pop(0)()

    def during_next(self, act: Callable[[], object]) -> None:
        """Does this once, when a request has failed and before it is tried again."""
        self._then.append(act)


class Once:
    """True for the first so many calls (None: for all), whichever threads they come from."""

    def __init__(self, times: int | None = 1) -> None:
        self._left = times
        self._lock = Lock()

    def __call__(self) -> bool:
        with self._lock:
            if self._left:
                self._left -= 1
                return True
            return self._left is None


@dataclass
class Site:
    """A bucket behind a proxy, a prepared set in the folder `local`, and what was asked of S3."""

    server: S3Server
    proxy: Proxy
    bucket: str
    local: Path
    pauses: Pauses
    endpoint: str
    requests: list[str] = field(default_factory=list)
    _hooks: list[tuple[str, Callable[..., Any]]] = field(default_factory=list)

    @property
    def options(self) -> S3Options:
        return S3Options(endpoint_url=self.endpoint)

    def uri(self, name: str) -> str:
        return f"s3://{self.bucket}/{name}"

    def folder(self, name: str) -> S3Store:
        return S3Store(S3Uri(self.bucket, name), self.options)

    def on(self, event: str, act: Callable[..., Any]) -> None:
        """Has every client call `act` at an event of botocore's."""
        self._hooks.append((event, act))
        for client in s3_client._clients.values():
            client.meta.events.register_first(event, act)

    def equip(self, client: Any) -> Any:
        """A new client, with what the tests want of it."""
        client.meta.events.register_first("before-send.s3", self._hear)
        for event, act in self._hooks:
            client.meta.events.register_first(event, act)
        return client

    def before(self, operation: str, key: str, act: Callable[[], object]) -> None:
        """Does something once, when a request for a key that ends like this is about to go."""
        first = Once()

        def sending(request: AWSPreparedRequest, **_: object) -> None:
            if request.url.split("?")[0].endswith(key) and first():
                act()

        self.on(f"before-send.s3.{operation}", sending)

    def answer(
        self,
        operation: str,
        status: int,
        code: str = "",
        times: int | None = None,
        key: str = "",
        more: str = "",
        **headers: str,
    ) -> list[str]:
        """Gives this error in place of the server's answer, so many times (None: for ever).

        Returns the URLs of the requests that got it, as they come.
        """
        given: list[str] = []
        among_first = Once(times)

        def sending(request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
            if not request.url.split("?")[0].endswith(key) or not among_first():
                return None
            given.append(request.url)
            return error_reply(request, status, code, more, headers)

        self.on(f"before-send.s3.{operation}" if operation else "before-send.s3", sending)
        return given

    def run(self, *words: str) -> Ended:
        """Runs a command line with `endpoint`, which is the proxy's, as its S3."""
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            code = main([*words, "--endpoint-url", self.endpoint])
        return Ended(code, said.getvalue())

    def _hear(self, request: AWSPreparedRequest, **_: object) -> None:
        self.requests.append(f"{request.method} {request.url.split('/', 3)[-1]}")

    def publish(self, way: str, name: str, *more: str) -> Ended:
        """Makes a set at the address, in one of the two ways."""
        if way == "upload":
            return self.run("upload", str(self.local), self.uri(name), *more)
        return self.run("--dataset", str(SAMPLE), "--output", self.uri(name), *more)

    def again(self, way: str, name: str) -> Ended:
        """The same, with a new client and nothing broken, going on with what is there."""
        self.heal()
        if way == "upload":
            return self.publish(way, name, "--resume")
        return self.run("--dataset", str(SAMPLE), "--resume", self.uri(name))

    def heal(self) -> None:
        """Ends all faults."""
        self.proxy.remove_all()
        self.proxy.enable(True)
        self._hooks.clear()
        s3_client._clients.clear()

    def seen(self, name: str) -> str:
        """What a reader finds: "nothing" that loads, or a "complete" set, byte by byte."""
        root = self.server.data / self.bucket / name
        if not (root / "dataset_dict.json").exists():
            return "nothing"
        manifest = json.loads((root / "manifest.json").read_bytes())
        for file in manifest["files"]:
            found = (root / file["path"]).read_bytes()
            assert hashlib.sha256(found).hexdigest() == file["sha256"], file["path"]
        return "complete"

    def pending(self) -> list[str]:
        return self.server.pending_uploads(self.bucket)


class _Raw(io.BytesIO):
    def stream(self, size: int = 2**16, **_: object) -> Iterator[bytes]:
        while block := self.read(size):
            yield block


def raw_reply(
    request: AWSPreparedRequest, status: int, body: bytes, headers: dict[str, str]
) -> AWSResponse:
    """A reply with these headers alone."""
    body = b"" if request.method == "HEAD" else body
    return AWSResponse(request.url, status, headers, _Raw(body))


def error_reply(
    request: AWSPreparedRequest,
    status: int,
    code: str,
    more: str = "",
    headers: dict[str, str] | None = None,
) -> AWSResponse:
    """S3's reply of an error; one to a HEAD does not say which."""
    body = f"<Error><Code>{code}</Code><Message>As asked</Message>{more}</Error>".encode()
    own = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
    own |= {"content-length": str(len(body)), "content-type": "application/xml"}
    return raw_reply(request, status, body, own)


def use_account(
    monkeypatch: pytest.MonkeyPatch,
    server: S3Server,
    access: str = ROOT_ACCESS,
    secret: str = ROOT_SECRET,
) -> None:
    """Makes this process one of this user's, with no client that is another's."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.environment({}, access, secret, _NOBODY).items():
        monkeypatch.setenv(name, value)
    s3_client._clients.clear()


@pytest.fixture(name="pauses")
def pauses_fixture(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    """Few tries, short time limits, and pauses that take no time."""
    pauses = Pauses()
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=pauses))
    monkeypatch.setattr(s3_client, "ATTEMPTS", ATTEMPTS)
    monkeypatch.setattr(s3_client, "_CONNECT_SECONDS", 1)
    monkeypatch.setattr(s3_client, "_READ_SECONDS", 5)  # of a busy machine; black holes want less
    return pauses


@pytest.fixture(name="site")
def site_fixture(
    s3_server: S3Server,
    toxiproxy: Toxiproxy,
    bucket: str,
    tmp_path: Path,
    pauses: Pauses,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    """A new bucket, a new proxy before the server, and a set that was prepared without Beam."""
    use_account(monkeypatch, s3_server)
    monkeypatch.chdir(tmp_path)  # where a run that writes straight to S3 leaves its record
    local = tmp_path / "cache" / "set"
    make_set(LocalStore(str(local)))
    proxy = toxiproxy.proxy(s3_server.endpoint)
    site = Site(s3_server, proxy, bucket, local, pauses, proxy.endpoint)
    new_client = s3_client._new_client
    monkeypatch.setattr(s3_client, "_new_client", lambda options: site.equip(new_client(options)))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    level = logging.getLogger().level
    yield site
    s3_client._clients.clear()
    logging.getLogger().setLevel(level)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(name="in_parts")
def in_parts_fixture(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every shard of `site` is large enough to go as a multipart upload."""
    monkeypatch.setattr(s3_bucket, "_WHOLE_BYTES", 2**15)


class SmallDisk:
    """A file system of its own at `path`, of 24 MiB."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def leave(self, room: int) -> None:
        """Fills it up to so many bytes."""
        self._filler.unlink(missing_ok=True)
        with open(self._filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(self.path).free - room)

    def make_room(self) -> None:
        self._filler.unlink()

    def names(self) -> list[str]:
        """What lies there but for what fills it."""
        return [path.name for path in self.path.iterdir() if path != self._filler]


@pytest.fixture(name="small_disk")
def small_disk_fixture(tmp_path: Path) -> Iterator[SmallDisk]:
    path = tmp_path / "small-disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield SmallDisk(path)
    finally:
        # Lazily, for a failed test may have left a file open.
        subprocess.run(["umount", "--lazy", str(path)], check=True)
