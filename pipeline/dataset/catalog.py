"""The sets below an S3 address: which there are, and how old they are.

A listing trusts what each set's manifest says of the rows; whether its bytes are those of the
manifest ``verify`` tells.  Times are the store's: a manifest "of 2099", from a clock that is ahead,
makes no set newer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TypeVar

from transforms.errors import UsageError, VerificationFailed
from transforms.split import SPLITS
from transforms.storage.claim import (
    CLAIM,
    STOPPED,
    SUBMITTED,
    WRITING,
    Claim,
    read_claim,
)
from transforms.storage.manifest import read_manifest
from transforms.storage.names import DATASET_DICT, MANIFEST
from transforms.storage.parallel import in_parallel
from transforms.storage.s3.bucket import Bucket, Stored
from transforms.storage.s3.lease import COMPLETE, state_of
from transforms.storage.s3.store import REQUESTS_AT_ONCE
from transforms.storage.s3.uri import S3Options, S3Uri
from transforms.text.visible import visible

_FROM_ENVIRONMENT = S3Options()
_Parsed = TypeVar("_Parsed")
_SOURCE_CHARS = 40
_BEGUN = {
    WRITING: "being written",
    SUBMITTED: "being written by a job",
    STOPPED: "broken off",
}
MARKS = (DATASET_DICT, MANIFEST, CLAIM)
"""Any of these files marks a folder as a set; a deletion removes them in this order."""


@dataclass(frozen=True)
class ListedDataset:
    """A set on S3, or what there is of one; ``note`` says why it is not complete.

    ``when`` is the time on the store's clock when its manifest was written, or when the last change
    was made if there is none.  ``dataset``, ``rows`` and ``bytes`` are its manifest's, None without
    one.
    """

    name: str
    uri: str
    when: datetime
    dataset: str | None
    rows: int | None
    bytes: int | None
    complete: bool
    note: str = ""

    def to_json(self) -> dict[str, object]:
        """What ``--json`` prints."""
        return {**asdict(self), "when": self.when.isoformat(timespec="seconds")}


def list_sets(address: str, options: S3Options = _FROM_ENVIRONMENT) -> list[ListedDataset]:
    """The sets right below an address, newest first; folders that hold something else are not."""
    place = S3Uri.parse(address)
    bucket = Bucket(place.bucket, options)
    names = bucket.folders(place.key(""))
    found = in_parallel(lambda name: _look(bucket, place, name), names, REQUESTS_AT_ONCE)
    return newest_first([one for one in found if one])


def newest_first(sets: Sequence[ListedDataset]) -> list[ListedDataset]:
    """The newest first; of one second, the last by name: names with the time go on in its order."""
    return sorted(sets, key=lambda one: (one.when, one.name), reverse=True)


def _look(bucket: Bucket, parent: S3Uri, name: str) -> ListedDataset | None:
    try:
        place = S3Uri.parse(f"s3://{parent.bucket}/{parent.key(name)}")
    except UsageError:
        return None  # no address that this tool would write to
    last = bucket.head(place.key(DATASET_DICT))
    manifest, manifest_stored, damage = _read(
        bucket, place.key(MANIFEST), lambda data: read_manifest(data, place.uri)
    )
    claim, claim_stored, _ = _read(bucket, place.key(CLAIM), _claim)
    newest = max((s.modified for s in (last, manifest_stored, claim_stored) if s), default=None)
    if newest is None:
        return None
    complete = last is not None and manifest is not None
    files = manifest.files if manifest else ()
    rows = sum(file.rows for file in files if file.path.partition("/")[0] in SPLITS)
    return ListedDataset(
        name=name,
        uri=place.uri,
        when=manifest_stored.modified if manifest_stored else newest,
        dataset=manifest.dataset if manifest else None,
        rows=rows if manifest else None,
        bytes=sum(file.bytes for file in files) if manifest else None,
        complete=complete,
        note="" if complete else damage or _unfinished(last, claim, claim_stored),
    )


def _read(
    bucket: Bucket, key: str, parsed: Callable[[bytes], _Parsed]
) -> tuple[_Parsed | None, Stored | None, str]:
    """A JSON file of a set, what the store knows of it, and what is wrong with it."""
    stored = None
    try:
        found = bucket.get(key)
        if found is None:
            return None, None, ""
        stored = found[1]
        return parsed(found[0]), stored, ""
    except VerificationFailed:
        stored = stored or bucket.head(key)
        return None, stored, f"{key.rpartition('/')[2]} is damaged or of another version"


def _claim(data: bytes) -> Claim:
    return read_claim(data) or Claim()


def _unfinished(last: Stored | None, claim: Claim | None, stored: Stored | None) -> str:
    if last is not None:
        return f"{MANIFEST} is missing"
    if claim is None or stored is None:
        return "being written or broken off"
    if claim.state == COMPLETE:
        return "deleted in part"  # a run that succeeds writes the last file
    return _BEGUN[state_of(claim, (stored.now - stored.modified).total_seconds())]


def table(sets: Sequence[ListedDataset], address: str) -> str:
    """The sets as lines for the console."""
    if not sets:
        return f"no data sets at {address}"
    rows = [("name", "when (UTC)", "source", "rows", "size", "state"), *(map(_cells, sets))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in (3, 4) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _cells(one: ListedDataset) -> tuple[str, ...]:
    source = visible(one.dataset or "-")  # here, since its escapes widen the column
    return (
        one.name,
        f"{one.when.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}",
        source if len(source) <= _SOURCE_CHARS else f"{source[: _SOURCE_CHARS - 1]}…",
        "-" if one.rows is None else f"{one.rows:,}",
        "-" if one.bytes is None else f"{one.bytes / 1e6:,.1f} MB",
        "complete" if one.complete else visible(one.note),
    )
