"""Where a finished set lies to be read: a local folder or an S3 address, behind the same methods.

``transforms.storage.store.DatasetStore`` is the seam for writing a set; this one never writes.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from transforms.errors import AccessDenied, UsageError, VerificationFailed
from transforms.storage.s3.bucket import Bucket
from transforms.storage.s3.uri import S3Options, S3Uri, is_s3

_CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it is found without reading it."""

    size: int
    sha256: str | None = None


class DatasetReader(Protocol):
    """Files by their names in the set.  ``VerificationFailed`` is of one damaged file."""

    keeps_checksums: bool

    @property
    def path(self) -> str: ...

    def read(self, name: str) -> bytes | None:
        """A small file; None where it is missing."""

    def look(self, name: str) -> Seen | None:
        """Size and checksum; None where it is missing."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a file that was seen."""

    def names(self, folder: str) -> list[str]:
        """What lies in a folder."""


def open_dataset(place: str, options: S3Options) -> DatasetReader:
    """The place that a user names; ``UsageError`` where that is no folder and no address."""
    if is_s3(place):
        return _OnS3(S3Uri.parse(place), options)
    if not Path(place).is_dir():
        what = "is a file" if Path(place).exists() else "does not exist"
        raise UsageError(f"{place} {what}; expected a prepared set's folder, or s3://BUCKET/PREFIX")
    return _Local(place)


class _Local:
    keeps_checksums = False

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self, name: str) -> bytes | None:
        if self.look(name) is None:
            return None
        return b"".join(self.chunks(name))

    def look(self, name: str) -> Seen | None:
        with _readable(name):
            try:
                found = Path(self.path, name).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return Seen(found.st_size) if stat.S_ISREG(found.st_mode) else None

    def chunks(self, name: str) -> Iterator[bytes]:
        with _readable(name), open(Path(self.path, name), "rb", buffering=0) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    def names(self, folder: str) -> list[str]:
        with _readable(folder):
            try:
                return [path.name for path in Path(self.path, folder).iterdir()]
            except (FileNotFoundError, NotADirectoryError):
                return []


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise AccessDenied(
            f"no permission to read {error.filename or name}: verify as a user who may"
        ) from error
    except OSError as error:
        raise VerificationFailed(f"{name} cannot be read ({error.strerror or error})") from error


class _OnS3:
    keeps_checksums = True

    def __init__(self, place: S3Uri, options: S3Options) -> None:
        self._place, self._bucket = place, Bucket(place.bucket, options)

    @property
    def path(self) -> str:
        return self._place.uri

    def read(self, name: str) -> bytes | None:
        with _undamaged(name):
            found = self._bucket.get(self._place.key(name))
        return found[0] if found else None

    def look(self, name: str) -> Seen | None:
        found = self._bucket.head(self._place.key(name))
        return Seen(found.size, found.sha256) if found else None

    def chunks(self, name: str) -> Iterator[bytes]:
        with _undamaged(name):
            yield from self._bucket.chunks(self._place.key(name), _CHUNK_BYTES)

    def names(self, folder: str) -> list[str]:
        start = self._place.key(f"{folder}/")
        names = (key.removeprefix(start) for key, _, _ in self._bucket.keys(start))
        return [name for name in names if name]  # an S3 console marks a folder by its bare key


@contextmanager
def _undamaged(name: str) -> Iterator[None]:
    try:
        yield
    except VerificationFailed as error:
        raise VerificationFailed(
            f"{name} holds other bytes than its checksum at S3 says"
        ) from error
