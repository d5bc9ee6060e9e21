"""A set on S3: objects appear whole, ``dataset_dict.json`` last; nothing is ever deleted.

    s3://BUCKET/PREFIX/_RUN.json    the claim (``s3_claim``)
    s3://BUCKET/PREFIX/_run/        plan and units of a large run, records of finished units
    s3://BUCKET/PREFIX/...          the set, under its final names from the start

Workers write a shard to a local temporary file, read it once more and send it; its record is
written when the store has confirmed it.  A second attempt sends the same bytes to the same key.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transforms.errors import AccessDenied, DataPrepError, OutputTaken, VerificationFailed
from transforms.layout import DATASET_DICT, MANIFEST
from transforms.records import SetFile, Shard
from transforms.s3 import Bucket
from transforms.s3_claim import Claim
from transforms.s3_place import S3Options, S3Place
from transforms.shards import Written
from transforms.storage import CLAIM, SPLITS_RECORD, WORK, report

REQUESTS_AT_ONCE = 16
_LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class S3Folder:
    """A prefix on S3 for one set; a ``fresh`` one must not have been used before."""

    place: S3Place
    options: S3Options = S3Options()
    fresh: bool = False
    _seen: _Seen = field(default_factory=lambda: _Seen(), compare=False, repr=False)

    @property
    def path(self) -> str:
        """The address."""
        return self.place.uri

    @property
    def bucket(self) -> Bucket:
        """The bucket that holds it."""
        return Bucket(self.place.bucket, self.options)

    # ---- the launcher's side

    def manifest(self) -> dict[str, Any] | None:
        """The manifest of the finished set that is here; None where there is none."""
        # Not a HEAD, whose reply does not tell a missing object from a missing bucket.
        if self.bucket.get(self.place.key(DATASET_DICT)) is None:
            return None
        found = self.bucket.get(self.place.key(MANIFEST))
        try:
            manifest = json.loads(found[0]) if found else None
        except ValueError:
            return None
        ours = isinstance(manifest, dict) and isinstance(manifest.get("plan_digest"), str)
        return manifest if ours else None

    def check_free(self, plan_digest: str, overwrite: bool) -> None:
        """``OutputTaken`` where a finished set is here: it is never replaced, for it is in use."""
        if self.bucket.head(self.place.key(DATASET_DICT)) is not None:
            raise OutputTaken(
                f"{self.path} already holds a data set of another plan than this request's "
                f"({plan_digest[:12]}), and sets on S3 are never replaced, not even with "
                "--overwrite; give another address (one with a closing slash makes a new name)"
            )

    @contextmanager
    def claimed(self, plan_digest: str, resume: bool = False) -> Iterator[None]:
        """Holds the prefix for this run; ``OutputTaken`` where others do, or it has other files."""
        claim_key = self.place.key(CLAIM)
        keys = (key for key, _, _ in self.bucket.keys(self.place.key("")))
        other = next((key for key in keys if key != claim_key), None)
        # Asked after the listing: a run that begins meanwhile writes its claim before all else.
        if other and self.bucket.head(claim_key) is None:
            raise OutputTaken(
                f"{self.path} holds other files, such as {other}; give another output"
            )
        claim = Claim(self.bucket, claim_key, self.path, plan_digest, self.fresh)
        with claim.held(take_over=resume):
            yield

    def reports(self) -> list[dict[str, Any]]:
        """What workers recorded of finished units so far; asks the store now and then only."""
        return self._seen.reports(self)

    def sweep(self) -> list[str]:
        """Ends uploads that were begun below the prefix and never completed: they cost money."""
        try:
            self.bucket.abort_uploads(self.place.key(""))
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

    def put_work(self, name: str, data: bytes) -> None:
        """Writes a file that is needed while the set is made."""
        self.put(f"{WORK}/{name}", data)

    def get_work(self, name: str) -> bytes | None:
        """Reads what ``put_work`` wrote; None where it did not."""
        found = self.bucket.get(self.place.key(f"{WORK}/{name}"))
        return found[0] if found else None

    def confirm(self, shards: Sequence[Shard]) -> None:
        """``VerificationFailed`` unless the store holds each shard's file, as its record says."""
        for shard, is_there in zip(shards, self.present(shards), strict=True):
            if not is_there:
                raise VerificationFailed(
                    f"{self.path}/{shard.path} is gone or is not what was written; the set was not "
                    "completed, run again"
                )

    def present(self, files: Iterable[Shard | SetFile]) -> list[bool]:
        """Which of these files the store holds with their size and SHA-256."""
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            return list(pool.map(self._is_present, files))

    def _is_present(self, file: Shard | SetFile) -> bool:
        if not file.path:  # a unit without rejects
            return True
        found = self.bucket.head(self.place.key(file.path))
        return found is not None and (found.size, found.sha256) == (file.bytes, file.sha256)

    def finish(self, plan_digest: str) -> None:
        """Nothing: the set is in place with its last file."""


def remove_scratch() -> None:
    """Removes this process's temporary files, before it ends without unwinding its threads."""
    for path in Path(tempfile.gettempdir()).glob(f"{_scratch_prefix()}*"):
        path.unlink(missing_ok=True)


def _scratch_prefix() -> str:
    return f"reasonforge-{os.getpid()}-"


class _Seen:
    """The records that were read already, for a progress line that asks often."""

    def __init__(self) -> None:
        self._reports: dict[str, dict[str, Any]] = {}
        self._looked = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {"_reports": {}, "_looked": 0.0}

    def reports(self, folder: S3Folder) -> list[dict[str, Any]]:
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._looked = time.monotonic()
            with suppress(DataPrepError):  # the work itself will meet it, and say so
                self._look(folder.bucket, folder.place.key(f"{WORK}/"))
        return list(self._reports.values())

    def _look(self, bucket: Bucket, prefix: str) -> None:
        for key, _, _ in bucket.keys(prefix):
            if key.endswith(f"-{SPLITS_RECORD}.json") and key not in self._reports:
                found = bucket.get(key)
                if found:
                    self._reports[key] = report(json.loads(found[0]))
