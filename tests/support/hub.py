"""A Hugging Face hub on localhost, for tests that must not leave the machine.

It answers what `huggingface_hub` and `datasets` ask when they read data sets, or files of a model.
Both read HF_ENDPOINT when they are imported, so the code under test has to run in a child process:
`hub_environment`.

Left out: pages in listings (one reply has everything), `expand`, the redirect of large files to a
content store, Xet, uploads, the data set viewer, refs other than `main`, short commit ids.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

# An id is "name" or "user/name". The short form is tried first: an action or the end must follow.
_REST = (
    r"(?P<id>[^/]+(?:/[^/]+)??)"
    r"(?:/(?P<action>resolve|revision|tree|paths-info|refs|auth-check)(?:/(?P<rest>.+))?)?"
)
_PATH = re.compile(rf"(?:/api)?/datasets/{_REST}")
# The files of a model have no word for its kind in their addresses.
_MODEL_PATH = re.compile(rf"(?:/api/models/|/(?!api/)){_REST}")
_RANGE = re.compile(r"bytes=(?:(\d+)-(\d*)|-(\d+))")

_Folder = dict[str, bytes]
_Query = dict[str, list[str]]


class Request(NamedTuple):
    """One request as it came in; the path is decoded and has no query."""

    method: str
    path: str
    range: str | None
    had_token: bool


class _Repository(NamedTuple):
    private: bool
    gated: bool
    head: str
    revisions: dict[str, _Folder]


@dataclass
class _Fault:
    suffix: str
    times: int | None
    status: int = 0  # 0: the body is cut instead
    after_bytes: int = 0


@dataclass
class _Reply(Exception):  # noqa: N818 - also the good answers
    """An answer; it can be raised too, so that a check ends the request from anywhere."""

    status: int
    body: bytes
    headers: dict[str, str]


def _json(value: object, status: int = 200) -> _Reply:
    return _Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


def _error(status: int, text: str, code: str = "", commit: str = "") -> _Reply:
    """An error the way the hub says it: clients go by these headers, not by the body."""
    reply = _json({"error": text}, status)
    extra = {"X-Error-Message": text, "X-Error-Code": code, "X-Repo-Commit": commit}
    reply.headers |= {key: value for key, value in extra.items() if value}
    return reply


def _blob_id(content: bytes) -> str:
    """The id that git gives to a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub:
    """The running stand-in; `url` is what clients need as HF_ENDPOINT.

    Each of the `valid_tokens` may read every private repository; `grants` says which gated ones a
    token may read. Both may be changed at any time, and `faults` may be cleared.
    """

    def __init__(self) -> None:
        self.valid_tokens: set[str] = set()
        self.grants: dict[str, set[str]] = {}
        self.requests: list[Request] = []
        self._repositories: dict[str, _Repository] = {}
        self._models: dict[str, _Repository] = {}
        self.faults: list[_Fault] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self._connections: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        # The default poll interval of half a second would be spent in every stop().
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def add(self, name: str, folder: _Folder, private: bool = False, gated: bool = False) -> str:
        """Put a data set, or a new head on it; return the commit id, made from the files."""
        return self._add(self._repositories, name, folder, private, gated)

    def add_model(
        self, name: str, folder: _Folder, private: bool = False, gated: bool = False
    ) -> str:
        """Put a model, or a new head on it, as `add` does."""
        return self._add(self._models, name, folder, private, gated)

    def _add(
        self,
        repositories: dict[str, _Repository],
        name: str,
        folder: _Folder,
        private: bool,
        gated: bool,
    ) -> str:
        lines = sorted(f"{_blob_id(content)} {path}" for path, content in folder.items())
        sha = hashlib.sha1("\n".join(lines).encode()).hexdigest()
        old = repositories.get(name)
        revisions = (old.revisions if old else {}) | {sha: dict(folder)}
        # The flags of the latest call hold for the old revisions too.
        repositories[name] = _Repository(private, gated, sha, revisions)
        return sha

    def revoke(self, token: str) -> None:
        """Forget a token: from now on it is refused, for public repositories too."""
        self.valid_tokens.discard(token)
        self.grants.pop(token, None)

    def fail(self, path_suffix: str, status: int = 503, times: int | None = 1) -> None:
        """Answer paths with this ending with an error before any check; None: for ever."""
        self.faults.append(_Fault(path_suffix, times, status))

    def cut(self, path_suffix: str, after_bytes: int, times: int | None = 1) -> None:
        """Close the connection after so many bytes of a body; at least one byte is missing."""
        self.faults.append(_Fault(path_suffix, times, after_bytes=after_bytes))

    def stop(self) -> None:
        """Go down: open connections are closed, new ones are refused. May be called twice."""
        self._server.shutdown()
        self._thread.join()
        # Clients keep connections open. A hub that is down must not serve them any longer, and the
        # threads that wait for their next request would never end.
        for connection in self._connections:
            with contextlib.suppress(OSError):  # most are closed already
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    def _fault(self, path: str, cut: bool) -> _Fault | None:
        """The first fault of this kind that is left for the path; it counts as used."""
        with self._lock:  # two requests must not use up the same fault
            for fault in self.faults:
                is_kind = (not fault.status) == cut and path.endswith(fault.suffix)
                if is_kind and fault.times != 0:
                    fault.times = fault.times and fault.times - 1  # None stays None
                    return fault
        return None

    def _answer(self, path: str, query: _Query, token: str | None, range_: str | None) -> _Reply:
        """The reply to a request; `path` still has its percent signs."""
        if token is not None and token not in self.valid_tokens:
            # Clients tell a bad token from a missing repository by this text without a code.
            raise _error(401, "Invalid credentials in Authorization header")
        if path == "/api/whoami-v2" and token is not None:
            return _json({"type": "user", "name": "tester", "fullname": "Tester", "orgs": []})
        match, repositories = _PATH.fullmatch(path), self._repositories
        if match is None:
            match, repositories = _MODEL_PATH.fullmatch(path), self._models
        if match is None:
            raise _error(401 if path == "/api/whoami-v2" else 404, "Nothing here for you")
        name, action = unquote(match["id"]), match["action"]
        repository = repositories.get(name)
        if repository is None or (repository.private and token is None):
            # The same for both: a stranger must not learn which private repositories exist.
            raise _error(404 if token else 401, "Repository not found", "RepoNotFound")
        # Only the files of a gated repository are kept back. The hub tells its info and listings to
        # everybody, so a client that has asked for these alone has not been let in yet.
        has_grant = name in self.grants.get(token or "", ())
        if repository.gated and action in ("resolve", "auth-check") and not has_grant:
            raise _error(403 if token else 401, f"Access to {name} is restricted.", "GatedRepo")
        if action == "auth-check":
            return _json({})
        if action == "refs":
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.head}
            return _json({"branches": [main], "converts": [], "tags": [], "pullRequests": []})
        # The slashes within a revision are escaped, those within a path need not be.
        revision, _, inner = map(unquote, (match["rest"] or "main").partition("/"))
        sha = repository.head if revision == "main" else revision
        if sha not in repository.revisions:
            raise _error(404, f"Invalid rev id: {sha}", "RevisionNotFound")
        folder = repository.revisions[sha]
        if action == "resolve":
            return _file(folder, inner, sha, range_)
        if action == "tree":
            below, deep = f"{inner}/" if inner else "", "true" in query.get("recursive", ())
            found = [entry for entry in _entries(folder) if entry["path"].startswith(below)]
            if inner and not found:
                raise _error(404, "Entry not found", "EntryNotFound", sha)
            return _json([e for e in found if deep or "/" not in e["path"].removeprefix(below)])
        if action == "paths-info":
            return _json([entry for entry in _entries(folder) if entry["path"] in query["paths"]])
        files = [
            # Sizes only for those who ask, as on the hub.
            {"rfilename": p} | ({"size": len(b), "blobId": _blob_id(b)} if "blobs" in query else {})
            for p, b in sorted(folder.items())
        ]
        info = {"id": name, "sha": sha, "private": repository.private, "siblings": files}
        return _json({**info, "gated": repository.gated and "manual", "disabled": False})


def _file(folder: _Folder, path: str, sha: str, range_: str | None) -> _Reply:
    body = folder.get(path)
    if body is None:
        raise _error(404, "Entry not found", "EntryNotFound", sha)
    headers = {"ETag": f'"{_blob_id(body)}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
    match = _RANGE.fullmatch(range_ or "")
    if match is None:
        return _Reply(200, body, headers)
    size = len(body)
    first = max(size - int(match[3]), 0) if match[3] else int(match[1])
    last = min(int(match[2] or size), size - 1)
    if first > last:
        return _Reply(416, b"", headers | {"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return _Reply(206, body[first : last + 1], headers)


def _entries(folder: _Folder) -> list[dict[str, Any]]:
    """The folders and files of a revision as listings show them."""
    parents = {str(parent) for path in folder for parent in Path(path).parents} - {"."}
    named = [("directory", path, b"") for path in sorted(parents)]
    named += [("file", path, body) for path, body in sorted(folder.items())]
    return [{"type": t, "path": p, "oid": _blob_id(b), "size": len(b)} for t, p, b in named]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: a reply could take 40 ms
    server: _Server

    def _handle(self) -> None:
        hub, url = self.server.hub, urlsplit(self.path)
        # The body is read even if nobody needs it, because the connection is used again.
        form = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        path, range_ = unquote(url.path), self.headers.get("Range")
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        hub.requests.append(Request(self.command, path, range_, token is not None))
        try:
            if fault := hub._fault(path, cut=False):
                raise _error(fault.status, "Injected fault")
            reply = hub._answer(url.path, parse_qs(f"{url.query}&{form}"), token, range_)
        except _Reply as error:
            reply = error
        self.send_response(reply.status)
        for key, value in (reply.headers | {"Content-Length": str(len(reply.body))}).items():
            self.send_header(key, value)
        self.end_headers()
        # HEAD requests, errors and empty bodies cannot be cut and do not count.
        body = b"" if self.command == "HEAD" else reply.body
        if body and reply.status < 400 and (cut := hub._fault(path, cut=True)):
            body = body[: min(cut.after_bytes, len(body) - 1)]
            self.close_connection = True
        self.wfile.write(body)

    do_GET = do_HEAD = do_POST = _handle  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: `Hub.requests` is the log."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close() waits for the threads of the connections
    request_queue_size = 128
    hub: Hub

    def get_request(self) -> tuple[socket.socket, Any]:
        request = super().get_request()
        self.hub._connections.append(request[0])
        return request

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # clients may go away at any time
            super().handle_error(request, client_address)


def hub_environment(hub: Hub, tmp_path: Path, token: str | None = None) -> dict[str, str]:
    """The environment of a child process, with a new HF_HOME and none of the user's settings."""
    own = ("HF_", "HUGGINGFACE_", "HUGGING_FACE_", "TRANSFORMERS_OFFLINE")
    return {key: value for key, value in os.environ.items() if not key.startswith(own)} | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": tempfile.mkdtemp(prefix="hf-home-", dir=tmp_path),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
        **({"HF_TOKEN": token} if token else {}),
    }


@pytest.fixture(name="hub")
def hub_fixture() -> Iterator[Hub]:
    """A stand-in of its own for each test."""
    server = Hub()
    yield server
    server.stop()
