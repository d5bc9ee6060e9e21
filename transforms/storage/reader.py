"""Reading a finished set: a local folder or an S3 address, behind the same methods.

``transforms.storage.store.DatasetStore`` is the seam for writing a set; this one never writes.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from transforms.errors import AccessDenied, UsageError, VerificationFailed
from transforms.records import DatasetFile
from transforms.storage.claim import CLAIM
from transforms.storage.entries import FILE, FOLDER, Entry, local_entries
from transforms.storage.manifest import MOST_BYTES, Manifest, read_manifest
from transforms.storage.names import DATASET_DICT, MANIFEST, SET_FOLDERS, WORK, is_work_file
from transforms.storage.s3.bucket import Bucket, TooLarge
from transforms.storage.s3.uri import S3Options, S3Uri, is_s3

_CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it is found without reading it; the digests are None where nothing keeps them.

    ``manifest_sha256`` is kept with a set's last file.
    """

    size: int
    sha256: str | None = None
    manifest_sha256: str | None = None


class DatasetReader(Protocol):
    """The files of a set by their names in it.  ``VerificationFailed`` is of one damaged file."""

    keeps_checksums: bool

    @property
    def path(self) -> str: ...

    def read(self, name: str) -> bytes | None:
        """A small file; None where it is missing."""

    def look(self, name: str) -> Seen | None:
        """Size and checksum; None where it is missing."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a file that is there."""

    def entries(self) -> Iterator[Entry]:
        """Everything that lies at the place, but for what a run on S3 leaves there."""


@dataclass(frozen=True, slots=True)
class CompleteSet:
    """A set that is at ``path`` to its last file, whose content is ``dataset_dict``."""

    path: str
    manifest: Manifest
    dataset_dict: bytes

    @property
    def files(self) -> Sequence[DatasetFile]:
        """The files that the manifest names."""
        return self.manifest.files


def open_dataset(place: str, options: S3Options) -> DatasetReader:
    """The place that a user names; ``UsageError`` where that is no folder and no address."""
    if is_s3(place):
        return S3Reader(S3Uri.parse(place), options)
    if not Path(place).is_dir():
        what = "is a file" if Path(place).exists() else "does not exist"
        raise UsageError(f"{place} {what}; expected a prepared set's folder, or s3://BUCKET/PREFIX")
    return LocalReader(place)


def complete_set(at: DatasetReader) -> CompleteSet:
    """The set at a place.

    Raises:
        VerificationFailed: the last file or the manifest is missing or damaged, or the manifest is
            not the one that the store says the set was published with.
    """
    last = _small(at, DATASET_DICT)
    if last is None:
        raise VerificationFailed(
            f"{at.path} holds no complete set: {DATASET_DICT} is missing, a run broke off or is "
            "still writing; check the place, run it again, or wait for it"
        )
    data = _small(at, MANIFEST)
    if data is None:
        raise VerificationFailed(
            f"{at.path} holds no complete set of this tool: {MANIFEST}, which names its files, is "
            "missing; prepare or fetch the set again"
        )
    manifest = read_manifest(data, at.path)
    seen = at.look(DATASET_DICT)
    published = seen.manifest_sha256 if seen else None
    if published not in (None, manifest.sha256):
        raise VerificationFailed(
            f"{MANIFEST} of {at.path} has the SHA-256 {manifest.sha256}, but the set was published "
            f"with one of {published}: it was changed since; prepare or fetch the set again"
        )
    return CompleteSet(at.path, manifest, last)


def finished_manifest(at: DatasetReader) -> Manifest | None:
    """The manifest of the set at a place; None where there is no complete set to read."""
    # Not the size alone: at S3 that reply does not tell a missing object from a missing bucket.
    data = at.read(MANIFEST) if at.read(DATASET_DICT) is not None else None
    try:
        return None if data is None else read_manifest(data, at.path)
    except VerificationFailed:
        return None


def _small(at: DatasetReader, name: str) -> bytes | None:
    try:
        return at.read(name)
    except VerificationFailed as error:
        raise VerificationFailed(f"{at.path}: {error}; prepare or fetch the set again") from error


def _too_large(name: str) -> VerificationFailed:
    return VerificationFailed(f"{name} has more than the {MOST_BYTES:,} bytes that are read of it")


@dataclass(frozen=True)
class LocalReader:
    """A set in a folder."""

    path: str
    keeps_checksums = False

    def read(self, name: str) -> bytes | None:
        """A small file; None where it is missing."""
        seen = self.look(name)
        if seen is None:
            return None
        if seen.size > MOST_BYTES:
            raise _too_large(name)
        return b"".join(self.chunks(name))

    def look(self, name: str) -> Seen | None:
        """The size; None where it is missing."""
        with readable(name):
            try:
                found = Path(self.path, name).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return Seen(found.st_size) if stat.S_ISREG(found.st_mode) else None

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a file that is there."""
        with readable(name), open(Path(self.path, name), "rb", buffering=0) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    def entries(self) -> Iterator[Entry]:
        """Everything that lies in the folder, also hidden files, links and folders.

        What a run leaves on S3 comes along with a copy that another tool fetched.
        """
        with readable(self.path):
            for one in local_entries(Path(self.path), (*SET_FOLDERS, WORK)):
                is_work = one.kind == FILE and is_left_by_a_run(one.name, size=1)
                if not is_work and one != Entry(f"{WORK}/", FOLDER):
                    yield one


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turns what a disk refuses while a file of a set is read into an error that names the file."""
    try:
        yield
    except PermissionError as error:
        raise AccessDenied(
            f"no permission to read {error.filename or name}: run as a user who may"
        ) from error
    except OSError as error:
        raise VerificationFailed(f"{name} cannot be read ({error.strerror or error})") from error


@dataclass(frozen=True)
class S3Reader:
    """A set at an address."""

    place: S3Uri
    options: S3Options = S3Options()
    keeps_checksums = True

    @property
    def bucket(self) -> Bucket:
        """The bucket that holds it."""
        return Bucket(self.place.bucket, self.options)

    @property
    def path(self) -> str:
        """The address."""
        return self.place.uri

    def read(self, name: str) -> bytes | None:
        """A small file; None where it is missing."""
        try:
            with _undamaged(name):
                found = self.bucket.get(self.place.key(name), MOST_BYTES)
        except TooLarge as error:
            raise _too_large(name) from error
        return found[0] if found else None

    def look(self, name: str) -> Seen | None:
        """The size and the SHA-256 that the store keeps; None where it is missing."""
        found = self.bucket.head(self.place.key(name))
        return Seen(found.size, found.sha256, found.manifest_sha256) if found else None

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a file that is there."""
        with _undamaged(name):
            yield from self.bucket.chunks(self.place.key(name), _CHUNK_BYTES)

    def entries(self) -> Iterator[Entry]:
        """Every object below the address, but for the claim and the work files of a run."""
        start = self.place.key("")
        for key, size, _ in self.bucket.keys(start):
            name = key.removeprefix(start)
            if not is_left_by_a_run(name, size):
                yield Entry(name)


def is_left_by_a_run(name: str, size: int) -> bool:
    """Is an object one that a run leaves beside a set, or one by which a console shows a folder?"""
    folder, _, work = name.partition("/")
    own = name == CLAIM or (folder == WORK and is_work_file(work))
    return own or (not size and (not name or name.endswith("/")))


@contextmanager
def _undamaged(name: str) -> Iterator[None]:
    try:
        yield
    except VerificationFailed as error:
        raise VerificationFailed(
            f"{name} holds other bytes than its checksum at S3 says"
        ) from error
