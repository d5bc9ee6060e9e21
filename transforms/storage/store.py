"""Where a set is written: each operation of a ``DatasetStore`` may be repeated, none is undone.

The launcher holds the place while it runs; workers write files and records of finished units; a
commit (on any worker, at any time) confirms the shards, writes the folder's own files and finishes.
A local set (``local``) appears by one rename.  On S3 (``s3.store``) each object appears whole, and
the set with its last one, ``dataset_dict.json``, without which nothing loads.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Protocol

import msgspec
from msgspec import Struct

from transforms.errors import StorageError
from transforms.records import DatasetFile, Shard, Written
from transforms.storage.claim import Claim
from transforms.storage.manifest import Manifest

CHUNK_BYTES = 2**20


class Lease(Protocol):
    """A place that this run holds."""

    def hand_over(self, job: str) -> None:
        """From now on a job, which users know by this text, finishes the set without a launcher."""


class DatasetStore(Protocol):
    """A place for one set."""

    @property
    def path(self) -> str:
        """What a user would call it: a path or an address."""

    @property
    def run(self) -> str:
        """Names this run, on all its machines, among those that worked here before."""

    # ---- the launcher's side

    def manifest(self) -> Manifest | None:
        """The manifest of the finished set that is here; None where there is none to read."""

    def check_free(self, plan_digest: str, overwrite: bool) -> None:
        """``OutputTaken`` where something else is here, with what to do about it."""

    def claimed(
        self, plan_digest: str, resume: bool = False, units: int | None = None
    ) -> AbstractContextManager[Lease]:
        """Holds the place for this run, of so many units; ``OutputTaken`` where another run does.

        With ``resume`` what an earlier run of the plan finished is kept, else made again.
        """

    def claim(self) -> Claim | None:
        """Who writes here; None where nobody ever did, or the finished set has taken its place."""

    def reports(self) -> list[dict[str, int]]:
        """Rows and bytes of each finished unit so far."""

    def scanned(self) -> int:
        """How many units the first pass has seen, as of the last look for reports."""

    def sweep(self) -> list[str]:
        """Removes what a finished run may leave behind; warnings about what could not be."""

    # ---- the workers' side

    def scratch_file(self) -> Path:
        """A new path for a temporary local file."""

    def publish(self, temporary: Path, name: str, written: Written) -> None:
        """Moves a finished temporary file to its name in the set."""

    def put(self, name: str, data: bytes) -> None:
        """Writes a small file of the set whole."""

    def put_last(self, data: bytes, manifest_sha256: str) -> None:
        """Writes ``dataset_dict.json``, by which the set loads.

        A store that can keep more of a file than its bytes keeps the manifest's digest with it.
        """

    def put_work(self, name: str, data: bytes) -> None:
        """Writes a file that is needed while the set is made, and is no part of it."""

    def get_work(self, name: str) -> bytes | None:
        """Reads what ``put_work`` wrote; None where it did not."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a file of the set, also while the set is made.

        Raises ``VerificationFailed`` where the file is gone.
        """

    def work_names(self) -> Iterable[str]:
        """The names of the work files that ``put_work`` wrote."""

    def confirm(self, shards: Sequence[Shard]) -> None:
        """``VerificationFailed`` unless each shard's file is here, as its record says."""

    def present(self, files: Iterable[Shard | DatasetFile]) -> list[bool]:
        """Which of these files are here, as their records say."""

    def finish(self, plan_digest: str, names: Iterable[str] | None = None) -> None:
        """Puts the set in place, once all its files are written.

        ``names`` are those that its manifest lists, which is read for them if they are None.
        """


SPLITS_RECORD, REJECTS_RECORD = "splits", "rejects"
"""The two records of a unit: Write and WriteRejects finish it independently of each other."""

_SPLITS, _SCANNED = f"-{SPLITS_RECORD}.json", "-survey.json"


def write_records(store: DatasetStore, unit: int, kind: str, shards: Sequence[Shard]) -> None:
    """Notes at the output that a unit's files are there: for progress, and for ``--resume``."""
    store.put_work(record_name(unit, kind), json.dumps([asdict(s) for s in shards]).encode())


def required_work(store: DatasetStore, name: str) -> bytes:
    """A work file that must be there; ``StorageError`` where it is not."""
    data = store.get_work(name)
    if data is None:
        raise StorageError(f"the file {name} of {store.path} is gone; run again")
    return data


def checked_work(store: DatasetStore, name: str, sha256: str) -> bytes:
    """A work file with these bytes; ``StorageError`` where it is gone or is another one."""
    data = store.get_work(name)
    if data is None or hashlib.sha256(data).hexdigest() != sha256:
        what = "is gone" if data is None else "has other bytes than the job was given"
        raise StorageError(f"{name} beside {store.path} {what}; run again")
    return data


def note_scanned(store: DatasetStore, unit: int, content: str) -> None:
    """Notes at the output that this run's first pass has seen a unit, of this ``content``.

    It is for progress, and for a run that takes over what this one finishes.
    """
    store.put_work(f"{unit:05d}-{content}-{store.run}{_SCANNED}", b"{}")


def scanned_contents(store: DatasetStore) -> set[tuple[int, str]]:
    """(unit, its content) of all that first passes have seen here, those of earlier runs, too."""
    names = [name for name in store.work_names() if name.endswith(_SCANNED)]
    return {(int(unit), content) for unit, content, *_ in (name.split("-") for name in names)}


def read_records(store: DatasetStore, unit: int) -> list[Shard] | None:
    """The shards of a unit that an earlier run finished; None where it did not."""
    shards = []
    for kind in (SPLITS_RECORD, REJECTS_RECORD):
        data = store.get_work(record_name(unit, kind))
        if data is None:
            return None
        try:
            shards += [Shard(**fields) for fields in json.loads(data)]
        except TypeError:  # a record of another version of this project
            return None
    return shards


def record_name(unit: int, kind: str) -> str:
    """``00003-splits.json``."""
    return f"{unit:05d}-{kind}.json"


class _Counted(Struct):
    read: int
    bytes: int


def report(record: bytes) -> dict[str, int]:
    """Rows and bytes of a unit, from its splits' record."""
    shards = msgspec.json.decode(record, type=list[_Counted])
    return {"rows": shards[0].read, "bytes": sum(shard.bytes for shard in shards)}


class UnitReports:
    """The reports of finished units, for those who ask often: no record is read twice.

    A run that goes on with an earlier one's units makes the first pass anew: the earlier one's
    notes must not stand for its own, or it would seem to stand still.
    """

    def __init__(self, run: str | None = None) -> None:
        self.run = run or uuid.uuid4().hex[:8]
        self._reports: dict[str, dict[str, int]] = {}
        self._looked = 0.0
        self.scanned = 0
        self._looking = Lock()

    def __reduce__(self) -> tuple[type[UnitReports], tuple[str]]:
        return UnitReports, (
            self.run,
        )  # a folder travels to the workers without what the launcher saw

    def __len__(self) -> int:
        return len(self._reports)

    def look(
        self, seconds: float, names: Iterable[str], read: Callable[[str], bytes | None]
    ) -> None:
        """Sees the records among the work files ``names``, unless it did ``seconds`` ago."""
        with self._looking:
            if time.monotonic() - self._looked < seconds:
                return
            self._looked = time.monotonic()
            own = f"-{self.run}{_SCANNED}"
            every = [name for name in names if name.endswith((own, _SPLITS))]
            listed = {name for name in every if name.endswith(_SPLITS)}
            self.scanned = len(every) - len(listed)
            for name in listed - self._reports.keys():
                if data := read(name):
                    self._reports[name] = report(data)
            for name in self._reports.keys() - listed:
                del self._reports[name]

    def reports(self) -> list[dict[str, int]]:
        """Rows and bytes of each finished unit, as of the last look."""
        return list(self._reports.values())
