"""How far a set is, from what lies at its output: no runner is asked, and none need be there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from transforms.errors import UsageError
from transforms.storage.claim import SUBMITTED, WRITING
from transforms.storage.local import LocalStore
from transforms.storage.manifest_parts import RowCounts
from transforms.storage.names import DATASET_DICT, MANIFEST
from transforms.storage.reader import DatasetReader, LocalReader, S3Reader, complete_set
from transforms.storage.s3.store import S3Store
from transforms.storage.s3.uri import S3Options, S3Uri, is_s3
from transforms.storage.store import DatasetStore
from transforms.text.visible import visible

COMPLETE = "complete"


@dataclass(frozen=True)
class Status:
    """Of the set at ``address``.

    Attributes:
        state: ``complete``; ``writing`` (a command works on it), ``submitted`` (a job does, as far
            as anybody knows) or ``stopped``.
        units, finished: work units of the plan, None where nobody wrote it down, and how many of
            them are done.
        rows: source rows that are read so far.
        started: ISO 8601 time; None for a complete set.
        job: what was said of a submitted job: its name and page.
        counts: the manifest's, of a complete set.
    """

    address: str
    state: str
    units: int | None
    finished: int
    rows: int
    started: str | None = None
    job: str | None = None
    counts: RowCounts | None = None

    def describe(self) -> str:
        """Lines for the user: what it is, and what to do; claims may come from anybody."""
        address = visible(self.address)
        if self.counts:
            return (
                f"✓ Complete: {self.counts.train:,} training and "
                f"{self.counts.validation:,} validation examples at {address}"
            )
        begun, job = visible(str(self.started)), visible(str(self.job))
        total = "?" if self.units is None else f"{self.units:,}"
        line = f"{self.finished:,} of {total} units, {self.rows:,} rows, begun {begun}"
        if self.state == WRITING:
            return f"🔄 Being made: {line}"
        if self.state == SUBMITTED:
            return (
                f"🔄 Submitted: {line}\n  {job}\n  If the job is dead, go on with the same "
                f"flags and --resume {address}"
            )
        return f"Stopped: {line}\n  Go on with the same flags and --resume {address}"

    def to_json(self) -> dict[str, object]:
        """What ``--json`` prints."""
        return {**asdict(self), "counts": msgspec.to_builtins(self.counts)}


def look(address: str, options: S3Options) -> Status:
    """The status of the set at a folder or an S3 address.

    Raises:
        UsageError: nothing of ours is there.
        VerificationFailed: a set is there whose manifest is damaged, or of a newer version.
    """
    folder: DatasetStore
    if is_s3(address):
        folder = S3Store(S3Uri.parse(address, "the address"), options)
    else:
        path = Path(address)
        # A link is written where it points.
        folder = LocalStore(str(path.resolve() if path.is_symlink() else path.absolute()))
    claim = folder.claim()
    reports = folder.reports() if claim else []
    # Asked last: a set that was put in place meanwhile is complete.
    manifest = folder.manifest()
    theirs = claim.plan_digest if claim else None  # another plan's, where one is replaced
    if manifest is not None and theirs in (None, manifest.plan_digest):
        counts = manifest.counts
        units = sum(file.path.startswith("train/data-") for file in manifest.files)
        return Status(address, COMPLETE, units, units, counts.read, counts=counts)
    if claim is None:
        _check_readable(address, options)
        raise UsageError(
            f"{address} holds no data set, and none was begun there; give the output of prepare "
            "or submit"
        )
    return Status(
        address=address,
        state=claim.state,
        units=claim.units,
        finished=len(reports),
        rows=sum(report["rows"] for report in reports),
        started=claim.started,
        job=claim.job,
    )


def _check_readable(address: str, options: S3Options) -> None:
    """``VerificationFailed`` where a set is there, but not one that can be read."""
    at: DatasetReader = (
        S3Reader(S3Uri.parse(address), options) if is_s3(address) else LocalReader(address)
    )
    if any(at.look(name) is not None for name in (MANIFEST, DATASET_DICT)):
        complete_set(at)
