"""Checks a finished set, in a folder or on S3, against its manifest: every file, byte and row.

``datasets`` notices neither a flipped byte nor a shard that was cut between two record batches, and
it follows whatever file name ``state.json`` holds; so this is the only check that a copy is whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import asdict, dataclass
from threading import Event, Lock
from typing import Any

import msgspec
import pyarrow as pa

from transforms.chat.output_columns import OutputColumns
from transforms.errors import VerificationFailed
from transforms.records import DatasetFile
from transforms.split import SPLITS
from transforms.storage.chunked_file import ChunkedFile
from transforms.storage.manifest import Manifest
from transforms.storage.manifest_parts import RowCounts
from transforms.storage.names import DATASET_DICT, MANIFEST, REJECTS_FOLDER
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
    """

    path: str
    counts: RowCounts
    files: int
    bytes: int
    quick: bool

    def to_json(self) -> dict[str, object]:
        """What ``--json`` prints."""
        return {**asdict(self), "counts": msgspec.to_builtins(self.counts)}


def verify(
    place: str,
    options: S3Options = _FROM_ENVIRONMENT,
    quick: bool = False,
    on_bytes: Callable[[int], None] | None = None,
) -> Verified:
    """Checks the set at a local path or an ``s3://`` address.

    ``quick`` reads no data: it compares sizes, and on S3 the SHA-256 that the store keeps.  Raises
    ``VerificationFailed`` with what is wrong, once every file was checked.
    """
    at = open_dataset(place, options)
    manifest, problems = begin(at)
    files = manifest.files
    problems += _sums(manifest.counts, files)
    for split in SPLITS:
        problems += _folder_of(at, split, files)
    problems += _Files(at, quick, on_bytes, _schema(manifest, at.path)).problems(files)
    if problems:
        # state.json is read twice: for the names in it, and as one of the files
        raise VerificationFailed(_message(at.path, list(dict.fromkeys(problems))))
    size = sum(file.bytes for file in files)
    return Verified(at.path, manifest.counts, len(files), size, quick)


def _schema(manifest: Manifest, path: str) -> pa.Schema:
    """The schema of a set's shards; sets from before there were shapes have the default columns."""
    found = manifest.shape
    if found is None:
        return OutputColumns().schema
    try:
        return OutputColumns(found.names, found.reasoning, found.tools).schema
    except (KeyError, TypeError, AttributeError) as error:
        raise VerificationFailed(
            f"{path} has a {MANIFEST} whose shape cannot be read; fetch or make the set again"
        ) from error


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


# ---- the set as a whole


def begin(at: DatasetReader) -> tuple[Manifest, list[str]]:
    """The manifest, and what is wrong with the file that makes the set load."""
    found = complete_set(at)
    named = _json(found.dataset_dict)
    right = isinstance(named, dict) and named.get("splits") == list(SPLITS)
    problem = f"{DATASET_DICT} does not name the splits {' and '.join(SPLITS)}"
    return found.manifest, [] if right else [problem]


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _sums(counts: RowCounts, files: Sequence[DatasetFile]) -> list[str]:
    """What does not add up in the manifest itself."""
    problems = []
    rejected = counts.rejected.total
    parts = {**counts.splits, "duplicates": counts.duplicates, "rejected": rejected}
    if counts.read != sum(parts.values()):
        found = " + ".join(f"{count:,} {name}" for name, count in parts.items())
        problems.append(f"{MANIFEST} counts {counts.read:,} rows read, but {found}")
    for folder, name in (*zip(SPLITS, SPLITS, strict=True), (REJECTS_FOLDER, "rejected")):
        rows = sum(file.rows for file in files if file.path.startswith(f"{folder}/"))
        if rows != parts[name]:
            problems.append(
                f"{MANIFEST} counts {parts[name]:,} rows {name}, but the files that it names in "
                f"{folder}/ have {rows:,}"
            )
    return problems


def _folder_of(at: DatasetReader, split: str, files: Sequence[DatasetFile]) -> list[str]:
    """What is wrong with the names in a split's folder and in its ``state.json``."""
    named = [file.path.removeprefix(f"{split}/") for file in files]
    named = [name for name, file in zip(named, files, strict=True) if name != file.path]
    # Sorted by number: from the 100,000th on their numbers are longer.
    shards = sorted((n for n in named if n.endswith(".arrow")), key=lambda n: (len(n), n))
    problems = [] if shards else [f"{split}/ has no shard in {MANIFEST}: the set cannot be loaded"]
    problems += [
        f"{MANIFEST} does not name {split}/{name}"
        for name in ("state.json", "dataset_info.json")
        if name not in named
    ]
    for extra in sorted(set(at.names(split)) - set(named)):
        whose = "left by map() or filter() of datasets" if extra.startswith("cache-") else "extra"
        problems.append(
            f"{f'{split}/{extra}'[:200]!r} is not part of the set ({whose}), but load_dataset "
            "would read it: remove it"
        )
    try:
        state = at.read(f"{split}/state.json")
    except VerificationFailed as error:
        return [*problems, str(error)]
    return problems + ([] if state is None else _state(f"{split}/state.json", state, shards))


def _state(path: str, data: bytes, shards: list[str]) -> list[str]:
    state = _json(data)
    entries = state.get("_data_files") if isinstance(state, dict) else None
    if not isinstance(entries, list):
        return [f"{path} is damaged: it lists no shards"]
    found = [entry.get("filename") if isinstance(entry, dict) else None for entry in entries]
    if found == shards:
        return []
    pairs = enumerate(zip(found, shards, strict=False))
    number = next((n for n, (name, shard) in pairs if name != shard), min(len(found), len(shards)))
    found_name, expected = (
        repr(names[number])[:200] if number < len(names) else "nothing" for names in (found, shards)
    )
    return [f"{path} names {found_name} as shard {number}, expected {expected}"]


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
