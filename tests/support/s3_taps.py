"""What goes over the wire to the S3 server, for tests that count or forge it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from made_sets import use_server
from s3_servers import S3Server

from transforms.storage.s3 import client as s3_client
from transforms.storage.s3.uri import S3Options


class Requests:
    """What this process asks the server for from now on."""

    def __init__(self, place: str, options: S3Options = S3Options()) -> None:  # noqa: B008
        self._seen: list[tuple[str, str]] = []
        self._below = f"{place.removeprefix('s3:/')}/"
        tap(options).register("before-send.s3", self._note)

    def _note(self, request: Any, event_name: str, **_: object) -> None:
        name = request.url.partition("?")[0].partition(self._below)[2]
        self._seen.append((event_name.rpartition(".")[2], name))

    def names(self) -> set[str]:
        """The files of the set that were asked for in any way."""
        return {name for _, name in self._seen}

    def fetched(self) -> list[str]:
        """The files whose bytes were asked for, but for the two that say what there is."""
        return sorted(n for what, n in self._seen if what == "GetObject" and n not in LAST)


_tapped: list[S3Options] = []


def tap(options: S3Options = S3Options()) -> Any:  # noqa: B008
    """The events of this process's client, to hook faults into; for this test alone."""
    _tapped.append(options)
    return s3_client.client_for(options).meta.events


@pytest.fixture(autouse=True)
def here(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    use_server(monkeypatch, s3_server)
    yield
    while _tapped:
        s3_client._clients.pop(_tapped.pop(), None)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if not path.is_dir()
    }


def flip(path: Path, at: int = -1000) -> None:
    """Changes one byte in place."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def reply(url: str, body: bytes, is_head: bool = False) -> AWSResponse:
    """A reply of the store that never came from it."""

    class Raw(io.BytesIO):
        def stream(self, *_: object, **__: object) -> Iterator[bytes]:
            yield self.read()

    headers = {
        "content-length": str(len(body)),
        "content-type": "application/xml",
        "date": "Wed, 31 Jan 2024 10:00:00 GMT",
        "etag": '"1"',
        "last-modified": "Wed, 31 Jan 2024 10:00:00 GMT",
    }
    return AWSResponse(url, 200, headers, Raw(b"" if is_head else body))


LAST = ("manifest.json", "dataset_dict.json")  # the files that the manifest does not name
