"""A real S3 server, and a proxy that breaks connections to it, for tests on this machine alone.

Both are Go programs, built once into the user's cache folder. A mock in Python would be simpler,
but it lets in any secret and stores bodies with a wrong checksum, and these are the tests' point.

Where the server is not like S3: the keys `a` and `a/b` cannot both exist; `a//b` and `b/../a` are
put under the plain path; there are no lifecycle rules; a missing key is 404, not 403, for those who
may not list; those who started a multipart upload may not abort it unless a policy says so.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from botocore.session import Session
from environments import go_program

ROOT_ACCESS = "testkey"  # also the account that owns the buckets, for ExpectedBucketOwner
ROOT_SECRET = "testsecret123"
REGION = "us-east-1"

_START_SECONDS = 10.0  # both listen within 0.1 s; the rest is for a machine that is busy

# Without the user's proxy: it could not reach this machine's loopback addresses.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with _open(url, timeout=0.25) as reply:  # it is asked again
            return bool(reply.status == 200)
    except OSError:  # refused, cut, or an error status
        return False


class _Server:
    """A program that listens on a loopback port and is ended by its own process id."""

    def __init__(
        self, command: Callable[[int], list[str]], environment: dict[str, str], log: Path, path: str
    ) -> None:
        """`path` answers on this server alone: another one may hold the port already."""
        self._command, self._environment, self._log, self._path = command, environment, log, path
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it answers: on a free port first, on the same one later."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            # Anybody may take a port between its choice and its use; then the next one is tried.
            # Not so after a restart, because clients know the port: it has to become free again.
            port = self.port or _free_port()
            with self._log.open("wb") as log:
                self._process = process = subprocess.Popen(
                    self._command(port),
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            try:
                while process.poll() is None and time.monotonic() < deadline:
                    if _answers(f"http://127.0.0.1:{port}{self._path}"):
                        self.port = port
                        return
                    time.sleep(0.02)
            except BaseException:  # Ctrl-C
                self.kill()
                raise
            self.kill()
            said = self._log.read_text(errors="replace")
            if "address already in use" not in said or time.monotonic() >= deadline:
                raise RuntimeError(f"{process.args!r} does not answer. It said:\n{said}")

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash does. May be called twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class S3Server:
    """A running versitygw with data and users of its own; `endpoint` is its URL.

    `data` holds each object as the file BUCKET/KEY. A test may change its bytes in place
    (`write_bytes`); a file put in its stead would lack the object's checksum and metadata.
    """

    def __init__(self) -> None:
        program = str(go_program("versitygw"))
        self._folder = tempfile.TemporaryDirectory(prefix="s3-server-")
        folder = Path(self._folder.name)
        self.data, users = folder / "data", folder / "users"
        self._nowhere = str(folder / "no-such-file")  # instead of the user's AWS settings
        self.data.mkdir()
        users.mkdir()
        health = f"/{uuid4()}"
        self._server = _Server(
            lambda port: [
                program,
                *("--port", f"127.0.0.1:{port}", "--health", health, "--region", REGION),
                *("--keep-alive", "--quiet", "--iam-dir", str(users), "posix", str(self.data)),
            ],
            # Nothing else of this process's environment: VGW_... would change the server.
            {"ROOT_ACCESS_KEY": ROOT_ACCESS, "ROOT_SECRET_KEY": ROOT_SECRET},
            folder / "log",
            health,
        )
        try:
            self.restart()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> S3Server:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    def kill(self) -> None:
        """Crash: nothing is finished, connections are cut, new ones are refused."""
        self._server.kill()

    def restart(self) -> None:
        """Run again after `kill`, at the same endpoint and with the same data."""
        self._server.kill()
        self._server.start()

    def stop(self) -> None:
        """End it for good and delete its data. May be called twice."""
        self._server.kill()
        self._folder.cleanup()

    def client(
        self,
        access: str = ROOT_ACCESS,
        secret: str = ROOT_SECRET,
        endpoint: str | None = None,
        **config: Any,
    ) -> Any:
        """A boto3 client that tries each request once; `config` is for botocore's Config.

        `endpoint` leads through a proxy instead of straight to the server.
        """
        # A profile, a file or a proxy of the user's must not change what the tests see.
        own: dict[str, Any] = {
            "profile": (None, None, None, None),
            "config_file": (None, None, self._nowhere, None),
            "credentials_file": (None, None, self._nowhere, None),
        }
        settings: dict[str, Any] = {
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            "connect_timeout": 5,
            "read_timeout": 30,
            "s3": {"addressing_style": "path"},
            "proxies": {},
        }
        return boto3.Session(botocore_session=Session(session_vars=own)).client(
            "s3",
            endpoint_url=endpoint or self.endpoint,
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            region_name=REGION,
            config=Config(**(settings | config)),
        )

    def environment(
        self,
        base: Mapping[str, str] | None = None,
        access: str = ROOT_ACCESS,
        secret: str = ROOT_SECRET,
        endpoint: str | None = None,
    ) -> dict[str, str]:
        """The environment of a child process that uses this server, with no AWS settings but ours.

        `base` is the environment to start from, for instance the one of the hub's stand-in; it is
        that of this process by default.
        """
        found = os.environ if base is None else base
        return {key: value for key, value in found.items() if not key.startswith("AWS_")} | {
            "AWS_ACCESS_KEY_ID": access,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL_S3": endpoint or self.endpoint,
            "AWS_CONFIG_FILE": self._nowhere,
            "AWS_SHARED_CREDENTIALS_FILE": self._nowhere,
            "AWS_EC2_METADATA_DISABLED": "true",
            **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
        }

    @functools.cached_property
    def _root(self) -> Any:
        """The client of the methods below: a new one for each call would take 0.1 s."""
        return self.client()

    def make_bucket(self, name: str) -> None:
        self._root.create_bucket(Bucket=name)

    def make_user(self, access: str, secret: str) -> None:
        """Add a user, who may do nothing until `set_policy` allows it."""
        run = subprocess.run(
            [
                str(go_program("versitygw")),
                *("admin", "--access", ROOT_ACCESS, "--secret", ROOT_SECRET, "--region", REGION),
                *("--endpoint-url", self.endpoint, "create-user", "--role", "user"),
                *("--access", access, "--secret", secret),
            ],
            env={},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if run.returncode != 0:
            raise RuntimeError(f"cannot make the user {access}: {run.stderr or run.stdout}")

    def set_policy(self, bucket: str, access: str, *actions: str) -> None:
        """Allow a user these actions on a bucket and nothing else; it replaces the old policy."""
        on_bucket = [action for action in actions if "Bucket" in action]
        on_objects = [action for action in actions if "Bucket" not in action]
        arn = f"arn:aws:s3:::{bucket}"
        # The server refuses a statement whose actions do not fit its resource.
        statements = [
            {"Effect": "Allow", "Principal": {"AWS": [access]}, "Action": some, "Resource": [where]}
            for some, where in ((on_bucket, arn), (on_objects, f"{arn}/*"))
            if some
        ]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self._root.put_bucket_policy(Bucket=bucket, Policy=policy)

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """The keys of the objects that a reader can see, sorted."""
        pages = self._root.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", ())]

    def pending_uploads(self, bucket: str) -> list[str]:
        """The keys of multipart uploads that were neither completed nor aborted."""
        pages = self._root.get_paginator("list_multipart_uploads").paginate(Bucket=bucket)
        return [found["Key"] for page in pages for found in page.get("Uploads", ())]


class Proxy:
    """A way to a server that can be made slow, lossy or impassable; `endpoint` is its URL."""

    def __init__(self, call: Callable[..., Any], upstream: str, host: str) -> None:
        self._call, self._name = call, str(uuid4())
        made = {"name": self._name, "listen": f"{host}:0", "upstream": upstream, "enabled": True}
        self.endpoint = f"http://{call('POST', '/proxies', made)['listen']}"

    def add(
        self, toxic_type: str, stream: str = "downstream", toxicity: float = 1.0, **attributes: int
    ) -> None:
        """Break connections, old ones too: `upstream` what is sent, `downstream` the replies.

        The types and their attributes are Toxiproxy's: latency (latency, jitter), bandwidth (rate
        in KB/s), limit_data (bytes), reset_peer (timeout), timeout (timeout; 0 is a black hole).
        `toxicity` is the share of the connections that it befalls.
        """
        toxic = {"type": toxic_type, "stream": stream, "toxicity": toxicity}
        path = f"/proxies/{self._name}/toxics"
        self._call("POST", path, {**toxic, "attributes": attributes})

    def remove_all(self) -> None:
        """Let everything through again."""
        for toxic in self._call("GET", f"/proxies/{self._name}/toxics"):
            self._call("DELETE", f"/proxies/{self._name}/toxics/{toxic['name']}")

    def enable(self, enabled: bool) -> None:
        """False cuts all connections and refuses new ones; True listens on the same port again."""
        self._call("POST", f"/proxies/{self._name}", {"enabled": enabled})


class Toxiproxy:
    """A running Toxiproxy; each `proxy` of it is a way of its own to some server."""

    def __init__(self) -> None:
        program = str(go_program("toxiproxy"))
        self._folder = tempfile.TemporaryDirectory(prefix="toxiproxy-")
        folder, mark = Path(self._folder.name), str(uuid4())
        # A proxy that is off and only says which Toxiproxy this is.
        off = {"name": mark, "listen": "127.0.0.1:0", "upstream": "127.0.0.1:0", "enabled": False}
        (folder / "config.json").write_text(json.dumps([off]))
        self._server = _Server(
            lambda port: [
                program,
                *("-host", "127.0.0.1", "-port", str(port)),
                *("-config", str(folder / "config.json")),
            ],
            {},
            folder / "log",
            f"/proxies/{mark}",
        )
        try:
            self._server.start()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Toxiproxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def proxy(self, upstream: str, host: str = "127.0.0.1") -> Proxy:
        """A new way, at an address of this machine, to a server: its URL, or host:port."""
        return Proxy(self._call, upstream.removeprefix("http://"), host)

    def stop(self) -> None:
        """End it and all its proxies. May be called twice."""
        self._server.kill()
        self._folder.cleanup()

    def _call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self._server.port}{path}"
        request = urllib.request.Request(url, data, method=method)
        try:
            with _open(request, timeout=_START_SECONDS) as reply:
                return json.loads(reply.read() or b"null")
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            raise RuntimeError(f"Toxiproxy refuses {method} {path}: {said}") from error


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A server for all tests; one that kills its server or counts requests starts its own."""
    with S3Server() as server:
        yield server


@pytest.fixture(scope="session")
def toxiproxy() -> Iterator[Toxiproxy]:
    with Toxiproxy() as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    """A new bucket on `s3_server`: what a test finds in it is its own."""
    name = f"bucket-{uuid4()}"
    s3_server.make_bucket(name)
    return name
