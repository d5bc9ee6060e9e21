"""A set on S3: objects appear whole, ``dataset_dict.json`` last; nothing is ever deleted.

    s3://BUCKET/PREFIX/_RUN.json    the claim (``s3_claim``)
    s3://BUCKET/PREFIX/_run/        plan and units of a large run, records of finished units
    s3://BUCKET/PREFIX/...          the set, under its final names from the start

Workers write a shard to a local temporary file, read it once more and send it; its record is
written when the store has confirmed it.  A second attempt sends the same bytes to the same key.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from transforms.errors import AccessDenied, DataPrepError, OutputTaken, VerificationFailed
from transforms.records import DatasetFile, Shard, Written
from transforms.storage.claim import CLAIM, SUBMITTED, Claim
from transforms.storage.entries import named
from transforms.storage.manifest import Manifest
from transforms.storage.names import DATASET_DICT, WORK, is_set_file
from transforms.storage.parallel import in_parallel
from transforms.storage.reader import S3Reader, finished_manifest, is_left_by_a_run
from transforms.storage.s3 import lease as s3_claim
from transforms.storage.s3.bucket import Bucket
from transforms.storage.s3.lease import S3Lease
from transforms.storage.s3.uri import S3Options, S3Uri
from transforms.storage.store import CHUNK_BYTES, UnitReports

REQUESTS_AT_ONCE = 16
_LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class S3Store:
    """A prefix on S3 for one set; a ``fresh`` one must not have been used before."""

    place: S3Uri
    options: S3Options = S3Options()
    fresh: bool = False
    _seen: UnitReports = field(default_factory=UnitReports, compare=False, repr=False)

    @property
    def path(self) -> str:
        """The address."""
        return self.place.uri

    @property
    def bucket(self) -> Bucket:
        """The bucket that holds it."""
        return Bucket(self.place.bucket, self.options)

    @property
    def run(self) -> str:
        """Names this run, on all its machines, among those that worked here before."""
        return self._seen.run

    # ---- the launcher's side

    def manifest(self) -> Manifest | None:
        """The manifest of the finished set that is here; None where there is none to read."""
        return finished_manifest(S3Reader(self.place, self.options))

    def check_free(self, plan_digest: str, overwrite: bool) -> None:
        """``OutputTaken`` where a finished set is here: it is never replaced, for it is in use."""
        if self.bucket.head(self.place.key(DATASET_DICT)) is not None:
            raise OutputTaken(
                f"{self.path} already holds a data set of another plan than this request's "
                f"({plan_digest[:12]}), and sets on S3 are never replaced, not even with "
                "--overwrite; give another address (one with a closing slash makes a new name)"
            )

    @contextmanager
    def claimed(
        self, plan_digest: str, resume: bool = False, units: int | None = None
    ) -> Iterator[S3Lease]:
        """Holds the prefix for this run; ``OutputTaken`` where others do, or it has other files."""
        claim_key = self.place.key(CLAIM)
        others = [(name, size) for name, size in self._names() if name != CLAIM]
        strange = [name for name, size in others if not _is_ours(name, size)]
        # Asked after the listing: a run that begins meanwhile writes its claim before all else.
        is_claimed = self.bucket.head(claim_key) is not None if others else True
        if not is_claimed or (strange and self.manifest() is None):  # nobody writes a finished set
            found = named(strange or [name for name, _ in others])
            raise OutputTaken(
                f"{self.path} holds other files ({found}), so nothing was written: move them "
                "away, or give another output"
            )
        claim = S3Lease(self.bucket, claim_key, self.path, plan_digest, self.fresh, units)
        with claim.held(take_over=resume or (bool(others) and self._job_is_done())):
            yield claim

    def _names(self) -> Iterator[tuple[str, int]]:
        """(name, bytes) of every object below the address."""
        start = self.place.key("")
        for key, size, _ in self.bucket.keys(start):
            yield key.removeprefix(start), size

    def _job_is_done(self) -> bool:
        found = s3_claim.read(self.bucket, self.place.key(CLAIM), self.path)
        submitted = found is not None and found[0].state == SUBMITTED
        return submitted and self.manifest() is not None

    def claim(self) -> Claim | None:
        """Who writes here; None where nobody ever did, or the finished set is here."""
        found = s3_claim.read(self.bucket, self.place.key(CLAIM), self.path)
        if found is None or self.manifest() is not None:
            return None
        claim, _, age = found
        return msgspec.structs.replace(claim, state=s3_claim.state_of(claim, age))

    def reports(self) -> list[dict[str, int]]:
        """What workers recorded of finished units so far; asks the store now and then only."""
        with suppress(DataPrepError):  # the work itself will meet it, and say so
            self._seen.look(_LOOK_SECONDS, self.work_names(), self.get_work)
        return self._seen.reports()

    def scanned(self) -> int:
        """How many units the first pass has seen, as of the last look for reports."""
        return self._seen.scanned

    def sweep(self) -> list[str]:
        """Ends uploads of ours below the prefix that were never completed: they cost money."""
        try:
            self.bucket.abort_uploads(self.place.key(""), lambda name: _is_ours(name, size=1))
        except AccessDenied as error:
            return [
                f"uploads that broke off may be left at {self.path}, as this login may not look "
                f"for them ({error}); a lifecycle rule that ends incomplete uploads removes them"
            ]
        except DataPrepError as error:
            return [f"uploads that broke off may be left at {self.path}: {error}"]
        return []

    # ---- the workers' side

    def scratch_file(self) -> Path:
        """A new path in the worker's own temporary folder."""
        return Path(tempfile.gettempdir()) / f"{_scratch_prefix()}{uuid.uuid4().hex}"

    def publish(self, temporary: Path, name: str, written: Written) -> None:
        """Sends a finished temporary file and removes it."""
        try:
            key = self.place.key(name)
            self.bucket.upload(temporary, key, written.bytes, written.sha256)
        finally:
            temporary.unlink(missing_ok=True)

    def put(self, name: str, data: bytes) -> None:
        """Writes a small file of the set whole."""
        self.bucket.put(self.place.key(name), data)

    def put_last(self, data: bytes, manifest_sha256: str) -> None:
        """Writes the file that makes the set load, and keeps the manifest's digest beside it."""
        key = self.place.key(DATASET_DICT)
        self.bucket.put(key, data, manifest_sha256=manifest_sha256)

    def put_work(self, name: str, data: bytes) -> None:
        """Writes a file that is needed while the set is made."""
        self.put(f"{WORK}/{name}", data)

    def get_work(self, name: str) -> bytes | None:
        """Reads what ``put_work`` wrote; None where it did not."""
        found = self.bucket.get(self.place.key(f"{WORK}/{name}"))
        return found[0] if found else None

    def work_names(self) -> Iterator[str]:
        """The names of the work files that ``put_work`` wrote."""
        work = self.place.key(f"{WORK}/")
        return (key[len(work) :] for key, _, _ in self.bucket.keys(work))

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a file of the set, as they come."""
        key = self.place.key(name)
        if self.bucket.head(key) is None:
            raise VerificationFailed(f"{self.path}/{name} is gone; run again")
        yield from self.bucket.chunks(key, CHUNK_BYTES)

    def confirm(self, shards: Sequence[Shard]) -> None:
        """``VerificationFailed`` unless the store holds each shard's file, as its record says."""
        for shard, is_there in zip(shards, self.present(shards), strict=True):
            if not is_there:
                raise VerificationFailed(
                    f"{self.path}/{shard.path} is gone or is not what was written; the set was not "
                    "completed, run again"
                )

    def present(self, files: Iterable[Shard | DatasetFile]) -> list[bool]:
        """Which of these files the store holds with their size and SHA-256."""
        return list(in_parallel(self._is_present, files, REQUESTS_AT_ONCE))

    def _is_present(self, file: Shard | DatasetFile) -> bool:
        if not file.path:  # a unit without rejects
            return True
        found = self.bucket.head(self.place.key(file.path))
        return found is not None and (found.size, found.sha256) == (file.bytes, file.sha256)

    def finish(self, plan_digest: str, names: Iterable[str] | None = None) -> None:
        """Nothing: the set is in place with its last file."""


def _is_ours(name: str, size: int) -> bool:
    return is_set_file(name) or is_left_by_a_run(name, size)


def remove_scratch() -> None:
    """Removes this process's temporary files, before it ends without unwinding its threads."""
    for path in Path(tempfile.gettempdir()).glob(f"{_scratch_prefix()}*"):
        path.unlink(missing_ok=True)


def _scratch_prefix() -> str:
    return f"reasonforge-{os.getpid()}-"
