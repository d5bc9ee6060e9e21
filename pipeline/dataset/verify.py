"""Checks a finished set, in a folder or on S3, against its manifest: every file, byte and row.

``datasets`` notices neither a flipped byte nor a shard that was cut between two record batches, and
it follows whatever file name ``state.json`` holds; so this is the only check that a copy is whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import asdict, dataclass
from threading import Event, Lock

import msgspec
import pyarrow as pa

from pipeline.dataset.structure import columns_of, foreign_problems, structure_problems
from pipeline.dataset.sums import wrong_sums
from transforms.errors import VerificationFailed
from transforms.records import DatasetFile
from transforms.storage.chunked_file import ChunkedFile
from transforms.storage.manifest import Manifest
from transforms.storage.manifest_parts import RowCounts
from transforms.storage.names import MANIFEST
from transforms.storage.parallel import in_parallel
from transforms.storage.reader import DatasetReader, complete_set, open_dataset
from transforms.storage.s3.uri import S3Options

_FILES_AT_ONCE = 8
_NAMED_PROBLEMS = 5
_FROM_ENVIRONMENT = S3Options()


@dataclass(frozen=True)
class Verified:
    """A set that is what its manifest says.

    ``files`` and ``bytes`` are those of the manifest's files; with ``quick`` they were not read.
    ``manifest_sha256`` is the digest of the manifest itself.
    """

    path: str
    counts: RowCounts
    files: int
    bytes: int
    quick: bool
    manifest_sha256: str

    def to_json(self) -> dict[str, object]:
        """What ``--json`` prints."""
        return {**asdict(self), "counts": msgspec.to_builtins(self.counts)}


def verify(
    place: str,
    options: S3Options = _FROM_ENVIRONMENT,
    quick: bool = False,
    on_bytes: Callable[[int], None] | None = None,
    manifest_sha256: str | None = None,
) -> Verified:
    """Checks the set at a local path or an ``s3://`` address.

    ``quick`` reads no data: it compares sizes, and on S3 the SHA-256 that the store keeps.
    ``manifest_sha256`` is the digest in hex that the manifest must have: with it the set is the
    very one that was published, for the manifest names the digests of all others.

    Raises:
        VerificationFailed: what is wrong, once every file was checked.
    """
    at = open_dataset(place, options)
    manifest, problems = begin(at)
    if manifest_sha256 is not None and manifest.sha256 != manifest_sha256.lower():
        raise VerificationFailed(
            f"{at.path} is not the set that is expected: its {MANIFEST} has the SHA-256 "
            f"{manifest.sha256}, expected {manifest_sha256.lower()}; fetch the set again, or check "
            "where the digest comes from"
        )
    files = manifest.files
    problems += wrong_sums(manifest)
    problems += foreign_problems(at, files)
    schema = columns_of(manifest, at.path).schema
    problems += _Files(at, quick, on_bytes, schema).problems(files)
    if problems:
        # state.json is read twice: for the names in it, and as one of the files
        raise VerificationFailed(_message(at.path, list(dict.fromkeys(problems))))
    size = sum(file.bytes for file in files)
    return Verified(at.path, manifest.counts, len(files), size, quick, manifest.sha256)


def _message(path: str, problems: Sequence[str]) -> str:
    what = "1 problem" if len(problems) == 1 else f"{len(problems):,} problems"
    lines = [f"  {problem}" for problem in problems[:_NAMED_PROBLEMS]]
    if more := len(problems) - len(lines):
        lines.append(f"  and {more:,} more")
    return "\n".join(
        (
            f"{path} is not the set that its {MANIFEST} describes ({what}):",
            *lines,
            "do not train on it: repair the files, or fetch or prepare the set again",
        )
    )


def begin(at: DatasetReader) -> tuple[Manifest, list[str]]:
    """The manifest, and what is wrong with the files that make the set load."""
    found = complete_set(at)
    return found.manifest, structure_problems(at, found.manifest, found.dataset_dict)


# ---- its files


class _Files:
    """Checks files side by side."""

    def __init__(
        self,
        at: DatasetReader,
        quick: bool,
        on_bytes: Callable[[int], None] | None,
        schema: pa.Schema,
    ) -> None:
        self._at, self._quick, self._report_bytes, self._schema = at, quick, on_bytes, schema
        self._one_at_a_time = Lock()
        self._stopped = Event()

    def problems(self, files: Sequence[DatasetFile]) -> list[str]:
        """What is wrong, in the order of ``files``."""
        found = in_parallel(self._problem, files, _FILES_AT_ONCE, self._stopped)
        return [problem for problem in found if problem]

    def _on_bytes(self, size: int) -> None:
        if self._stopped.is_set():
            raise CancelledError
        if self._report_bytes:
            with self._one_at_a_time:
                self._report_bytes(size)

    def _problem(self, file: DatasetFile) -> str | None:
        try:
            wrong = self._wrong(file)
        except VerificationFailed as error:
            return str(error)
        return f"{file.path} {wrong}" if wrong else None

    def _wrong(self, file: DatasetFile) -> str | None:
        seen = self._at.look(file.path)
        if seen is None:
            return "is missing"
        if seen.size != file.bytes:
            return f"has {seen.size:,} bytes, expected {file.bytes:,}"
        if self._quick:
            self._on_bytes(file.bytes)
            if self._at.keeps_checksums and seen.sha256 is None:
                return "has no checksum at the store: verify without --quick"
            return None if seen.sha256 in (None, file.sha256) else _other(seen.sha256, file)
        stream = Stream(self._at.chunks(file.path), self._on_bytes)
        wrong = _rows(stream, file, self._schema) if file.path.endswith(".arrow") else None
        found = stream.end()
        return wrong if found == file.sha256 else _other(found, file)


def _other(found: str | None, file: DatasetFile) -> str:
    return (
        f"holds other bytes than were written (SHA-256 {str(found)[:12]}…, expected "
        f"{file.sha256[:12]}…)"
    )


def _rows(stream: Stream, file: DatasetFile, schema: pa.Schema) -> str | None:
    """What is wrong with a shard's schema or number of rows; one record batch is in memory."""
    try:
        with pa.ipc.open_stream(stream) as reader:
            if not reader.schema.equals(schema, check_metadata=True):
                return f"has other columns than {', '.join(schema.names)}, or of other types"
            rows = sum(batch.num_rows for batch in reader)
    except (pa.ArrowException, OSError) as error:
        return f"is no Arrow stream ({str(error)[:200]})"
    return None if rows == file.rows else f"holds {rows:,} rows, expected {file.rows:,}"


class Stream(ChunkedFile):
    """A file that comes in chunks, as Arrow reads it; whatever passes is hashed."""

    def __init__(self, chunks: Iterator[bytes], on_bytes: Callable[[int], None]) -> None:
        super().__init__(self._passing(chunks, on_bytes))
        self._hash = hashlib.sha256()

    def _passing(self, chunks: Iterator[bytes], on_bytes: Callable[[int], None]) -> Iterator[bytes]:
        for chunk in chunks:
            self._hash.update(chunk)
            on_bytes(len(chunk))
            yield chunk

    def end(self) -> str:
        """Takes what is left; the SHA-256 of the whole file."""
        while self._next():
            pass
        return self._hash.hexdigest()
