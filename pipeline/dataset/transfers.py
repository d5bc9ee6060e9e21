"""Objects of a bucket into files below one folder: each whole, checked, and on the disk.

Nothing that came from a store is trusted: not a size, not a name, and not the bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock

from transforms.errors import OutputTaken, StorageError, VerificationFailed
from transforms.storage.checksums import hash_file, sync
from transforms.storage.parallel import for_each
from transforms.storage.s3.bucket import Bucket

FILES_AT_ONCE = 4  # each in parts: together they use the connections of one client
_SPARE_BYTES = 16 * 2**20  # a disk that is full to its last byte harms others

Received = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object to fetch to ``name`` below a folder; ``sha256`` None takes what the store knows."""

    key: str
    name: str
    bytes: int
    sha256: str | None


def fetch(
    bucket: Bucket, objects: Sequence[Wanted], root: Path, received: Received | None = None
) -> None:
    """Fetches objects into files below ``root``, several at once.

    ``received`` hears of bytes as they come, from one thread at a time; a negative number takes
    back bytes that must come again.

    Raises ``VerificationFailed`` where an object has another size or SHA-256, after a second try,
    and ``OutputTaken`` where a link would lead out of ``root``.
    """
    stopped, lock = Event(), Lock()

    def fetch_one(wanted: Wanted) -> None:
        _fetch_one(bucket, wanted, root, _ByteCount(received, stopped, lock))

    for_each(fetch_one, objects, FILES_AT_ONCE, stopped)


def _fetch_one(bucket: Bucket, wanted: Wanted, root: Path, on_bytes: _ByteCount) -> None:
    where = f"s3://{bucket.name}/{wanted.key}"
    stored = bucket.head(wanted.key)
    # Asked before the transfer, which would take any number of bytes.
    if stored is None or stored.size != wanted.bytes:
        found = "it is not there" if stored is None else f"it has {stored.size:,}"
        raise VerificationFailed(
            f"{where} should have {wanted.bytes:,} bytes, but {found}: it was changed since it was "
            "published; publish it again"
        )
    digest = wanted.sha256 or stored.sha256
    path = root / wanted.name
    for is_last in (False, True):
        if not path.resolve().is_relative_to(root.resolve()):
            raise OutputTaken(f"{path} leads out of {root} by a link; remove the link")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            bucket.download(wanted.key, path, on_bytes)
        except VerificationFailed:  # by a checksum that the store keeps
            if is_last:
                raise
        else:
            if is_right(path, wanted.bytes, digest):
                return
            path.unlink()
        on_bytes.take_back()
    raise VerificationFailed(
        f"{where} came twice with other bytes than those of its SHA-256 ({digest}): it is damaged "
        "in the store; publish it again"
    )


def is_right(path: Path, size: int, digest: str | None) -> bool:
    """Has a file this size and SHA-256 in hex (None: any)?  If so it is on the disk as well."""
    try:
        if path.stat().st_size != size:
            return False
        _, found = hash_file(path)
        sync(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return False
    return digest in (None, found)


def check_space(folder: Path, size: int) -> None:
    """``StorageError`` where the disk of ``folder``, which need not exist, has no room for it."""
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if size and free < size + _SPARE_BYTES:
        raise StorageError(
            f"{size:,} bytes are to be fetched, and {_SPARE_BYTES:,} should stay free, but the "
            f"disk of {place} has {free:,} left: make room, or give a folder on another disk, "
            "then run again"
        )


class _Stopped(Exception):
    """Ends a transfer in the middle; nobody sees it, for another error came first."""


class _ByteCount:
    """The bytes of one transfer, for a listener that all share; the way to stop it, too."""

    def __init__(self, received: Received | None, stopped: Event, lock: Lock) -> None:
        self._received, self._stopped, self._lock = received, stopped, lock
        self._count = 0

    def __call__(self, count: int) -> None:
        if self._stopped.is_set():
            raise _Stopped
        with self._lock:
            self._count += count
            if self._received:
                self._received(count)

    def take_back(self) -> None:
        """What came has to come again."""
        self(-self._count)
