"""A set in a local folder, or one that launcher and workers share: it appears whole or not at all.

Everything is written into a staging folder beside the target and flushed to disk; one rename puts
it in place.

    data_cache/.processed_reasoning.partial/   staging
    data_cache/.processed_reasoning.work/      temporary files, claim, records of finished units
    data_cache/.processed_reasoning.lock       held by the run that writes
    data_cache/.processed_reasoning.replaced   the old set, between two renames of an overwrite

A run that was stopped, or lost its disk, leaves staging and work where it had finished a unit, for
``--resume``; the next run without it starts by emptying them.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from filelock import Timeout

from transforms.errors import (
    AccessDenied,
    DataPrepError,
    OutputTaken,
    StorageError,
    VerificationFailed,
)
from transforms.records import DatasetFile, Shard, Written
from transforms.storage.checksums import hash_file
from transforms.storage.claim import (
    CLAIM,
    STOPPED,
    SUBMITTED,
    WRITING,
    Claim,
    read_claim,
    taken_by_a_job,
)
from transforms.storage.disk import explained, lock_beside
from transforms.storage.local_lease import LocalLease
from transforms.storage.manifest import Manifest
from transforms.storage.names import DATASET_DICT, SET_FOLDERS, is_set_file, is_work_file
from transforms.storage.own_files import check_working_folder, remove_empty, remove_files
from transforms.storage.parallel import in_parallel
from transforms.storage.reader import LocalReader, finished_manifest
from transforms.storage.replacing import (
    check_replaceable,
    check_staged,
    holds_anything,
    left_over,
    put_in_place,
    restore,
)
from transforms.storage.store import (
    CHUNK_BYTES,
    UnitReports,
)

_REPLACES = "replaces.txt"
"""Work file with the manifest digest of the set that this run was asked to replace."""

_HASHED_AT_ONCE = 8


@dataclass(frozen=True)
class LocalStore:
    """An output folder on a disk that launcher and workers share; ``path`` is absolute."""

    path: str
    _seen: UnitReports = field(default_factory=UnitReports, compare=False, repr=False)

    @property
    def staging(self) -> Path:
        """Where the set grows until it is whole."""
        return self._beside("partial")

    @property
    def work(self) -> Path:
        """Where temporary files and records lie, on the same file system."""
        return self._beside("work")

    def _beside(self, what: str) -> Path:
        target = Path(self.path)
        return target.with_name(f".{target.name}.{what}")

    @property
    def run(self) -> str:
        """Names this run, on all its machines, among those that worked here before."""
        return self._seen.run

    # ---- the launcher's side

    def manifest(self) -> Manifest | None:
        """The manifest of the finished set at the target; None where there is none to read."""
        return finished_manifest(LocalReader(self.path))

    def check_free(self, plan_digest: str, overwrite: bool) -> None:
        """``OutputTaken`` where the target holds anything but nothing, with what to do about it.

        With ``overwrite`` a set of ours may be there, and nothing else; its files are read and
        hashed.  The run that holds the place may then replace that set, and no other.
        """
        target = Path(self.path)
        if not holds_anything(target):
            return
        with explained(self.path):
            old = check_replaceable(target, self._beside("replaced"), plan_digest, overwrite)
        self.put_work(_REPLACES, old.manifest.sha256.encode())

    @contextmanager
    def claimed(
        self, plan_digest: str = "", resume: bool = False, units: int | None = None
    ) -> Iterator[LocalLease]:
        """Holds the target for this run, with an empty staging folder or the one to resume."""
        with explained(self.path):
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            lock = lock_beside(Path(self.path))
            try:
                lock.acquire(timeout=0)
            except Timeout as error:
                raise OutputTaken(
                    f"another run is writing {self.path}; wait for it, or give another --output"
                ) from error
        try:
            hold = LocalLease(self.put_work, plan_digest, units)
            with explained(self.path):
                self._prepare(hold, resume)
            with self._kept_for_resume(hold):
                yield hold
        finally:
            lock.release()

    def claim(self) -> Claim | None:
        """Who writes here; None where nobody did, or the finished set has taken its place."""
        found = self._begun()
        if found and found.state == WRITING:
            lock = lock_beside(Path(self.path))
            try:
                with lock.acquire(timeout=0):
                    found = msgspec.structs.replace(found, state=STOPPED)
            except Timeout:
                pass
        return found

    def _begun(self) -> Claim | None:
        data = self.get_work(CLAIM)
        return read_claim(data) if data else None

    @contextmanager
    def _kept_for_resume(self, hold: LocalLease) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            # Other errors of ours are about the rows or the request; going on would not mend them.
            may_pass = not isinstance(error, DataPrepError) or error.exit_code in (5, 6)
            if not (may_pass and self.reports()) and not hold.handed_over:
                self._clear()
            raise
        if not hold.handed_over:
            self._clear()

    def _prepare(self, hold: LocalLease, resume: bool) -> None:
        restore(Path(self.path), self._beside("replaced"))
        self._check_working_folders()
        begun = self._begun() or Claim()
        if resume and self.work.exists() and self.staging.exists():
            theirs, mine = begun.plan_digest, hold.plan_digest
            if theirs != mine:
                raise OutputTaken(
                    f"the run begun at {self.path} is of plan {theirs[:12]}, but this request's "
                    f"plan is {mine[:12]}; repeat the flags of that run, or leave out --resume to "
                    "start over"
                )
            hold.note(WRITING)
            return
        made = self.manifest()
        # A commit that dies behind its rename leaves the claim of a job that is done.
        is_done = made is not None and made.plan_digest == begun.plan_digest
        if begun.state == SUBMITTED and not (resume or is_done):
            raise taken_by_a_job(self.path, begun)
        self._clear()
        try:
            self.staging.mkdir()
            self.work.mkdir()
            hold.note(WRITING)
        except BaseException:
            self._clear()
            raise

    def _check_working_folders(self) -> None:
        """``OutputTaken`` where one of them holds what no run of ours wrote.

        Both are ours where the claim lies in the work folder.  Without it there can only be what a
        run leaves that died before it wrote its claim.
        """
        is_claimed = self._begun() is not None
        ours, folders = (is_set_file, SET_FOLDERS) if is_claimed else (_is_nothing, ())
        check_working_folder(self.staging, ours, self.path, folders)
        check_working_folder(self.work, _is_of_a_run if is_claimed else _is_scratch, self.path)

    def _clear(self) -> None:
        if (self.work / CLAIM).is_file():
            remove_files(self.staging, is_set_file)
        remove_files(self.work, _is_of_a_run, last=CLAIM)
        remove_empty(self.staging)

    def reports(self) -> list[dict[str, int]]:
        """What workers recorded of finished units so far."""
        # The mere names of 100,000 records take a fifth of a second: then every 2 s is enough.
        self._seen.look(len(self._seen) / 50_000, self.work_names(), self.get_work)
        return self._seen.reports()

    def scanned(self) -> int:
        """How many units the first pass has seen, as of the last look for reports."""
        return self._seen.scanned

    def sweep(self) -> list[str]:
        """Nothing to remove; a warning where the folder of a set that was replaced had to stay."""
        return left_over(self._beside("replaced"))

    # ---- the workers' side; every call may be repeated

    def scratch_file(self) -> Path:
        """A new path for a temporary file, on the same file system as the target."""
        return self.work / uuid.uuid4().hex

    def publish(self, temporary: Path, name: str, written: Written) -> None:
        """Flushes a finished temporary file and moves it to its name in the set."""
        self._publish(temporary, name)

    def _publish(self, temporary: Path, name: str) -> None:
        with explained(self.path):
            target = self.staging / name
            target.parent.mkdir(exist_ok=True)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            temporary.replace(target)

    def put(self, name: str, data: bytes) -> None:
        """Writes a small file whole."""
        with explained(self.path):
            temporary = self.scratch_file()
            temporary.write_bytes(data)
            self._publish(temporary, name)

    def put_last(self, data: bytes, manifest_sha256: str) -> None:
        """Writes the file that makes the set load; a disk keeps no more of it than its bytes."""
        self.put(DATASET_DICT, data)

    def put_work(self, name: str, data: bytes) -> None:
        """Writes a file that is needed while the set is made, and is no part of it."""
        with explained(self.path):
            temporary = self.scratch_file()
            temporary.write_bytes(data)
            temporary.replace(self.work / name)

    def get_work(self, name: str) -> bytes | None:
        """Reads what ``put_work`` wrote; None where it did not."""
        with explained(self.path):
            try:
                return (self.work / name).read_bytes()
            except FileNotFoundError:
                return None

    def work_names(self) -> Iterator[str]:
        """The names of the work files that ``put_work`` wrote."""
        return (path.name for path in self.work.glob("*.json"))

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a staged file, or of the finished set's where nothing is staged any more."""
        root = self.staging if self.staging.exists() else Path(self.path)
        try:
            with open(root / name, "rb", buffering=0) as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
        except FileNotFoundError as error:
            raise VerificationFailed(f"{root / name} is gone; run again") from error
        except PermissionError as error:
            raise AccessDenied(f"no permission to read {root / name}") from error
        except OSError as error:
            raise StorageError(
                f"cannot read {root / name} ({error.strerror or error}); repair the disk, then run "
                "again"
            ) from error

    def confirm(self, shards: Sequence[Shard]) -> None:
        """``VerificationFailed`` unless each shard's file is staged with its bytes.

        Each is read again, and hashed by XXH3-128 as it was when it was written: that takes a
        sixth of the time of SHA-256, and shows a flipped bit as surely.
        """

        def is_as_written(shard: Shard) -> bool:
            if not shard.path:
                return True
            path = self.staging / shard.path
            return _found(path, xxh3=bool(shard.xxh3)) == (shard.bytes, shard.xxh3 or shard.sha256)

        right = in_parallel(is_as_written, shards, _HASHED_AT_ONCE)
        for shard, is_right in zip(shards, right, strict=True):
            if not is_right:
                raise VerificationFailed(
                    f"{self.staging / shard.path} is gone or has changed since it was written; "
                    "nothing was published, run again"
                )

    def present(self, files: Iterable[Shard | DatasetFile]) -> list[bool]:
        """Which of these files are staged with their bytes, read and hashed again."""
        return [
            not file.path or _found(self.staging / file.path) == (file.bytes, file.sha256)
            for file in files
        ]

    def finish(self, plan_digest: str, names: Iterable[str] | None = None) -> None:
        """Puts the whole set in place; doing it again for the same plan changes nothing."""
        with explained(self.path):
            if not self.staging.exists():
                manifest = self.manifest()
                if manifest is None or manifest.plan_digest != plan_digest:
                    raise StorageError(f"the staging folder {self.staging} is gone; run again")
                return
            asked = (self.get_work(_REPLACES) or b"").decode()
            check_staged(self.staging, names)
            put_in_place(self.staging, Path(self.path), self._beside("replaced"), asked)
            remove_files(self.work, _is_of_a_run, last=CLAIM)


def _found(path: Path, xxh3: bool = False) -> tuple[int, str] | None:
    """(bytes, digest) of a file; None where it is missing, or no plain file."""
    if path.is_symlink() or not path.is_file():
        return None
    try:
        return hash_file(path, xxh3=xxh3)
    except FileNotFoundError:
        return None


def _is_nothing(_: str) -> bool:
    return False


def _is_scratch(name: str) -> bool:
    return re.fullmatch("[0-9a-f]{32}", name) is not None


def _is_of_a_run(name: str) -> bool:
    return name == CLAIM or is_work_file(name) or _is_scratch(name)
