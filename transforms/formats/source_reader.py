"""The entry to source files: one module a format, all with the same four functions.

    read_sample(path, file_format) -> FileSample
        the columns with their types, and the first rows
    cuts(path, file_format, name, size, names, unit_bytes) -> Iterator[Cut]
        where a work unit may start and stop
    read(path, file_format, file_range, columns, batch_bytes) -> Iterator[SourceRows]
        the rows of a file range, in order
    rows_before(path, file_range) -> int
        how many rows of the file stand before the range

``path`` is a local path or an ``hf://datasets/NAME@REVISION/FILE`` address; ``name`` is the file's
name in the plan.  A reader reads only the requested columns and decodes no media.

Local and remote files go through the same readers, so a file gives the same bytes from either.  The
packaged builders of ``datasets`` do not serve: they write a JSON column of mixed types as JSON text
(a quoted string), cast numbers to text silently and give no row numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import numpy as np

from transforms.errors import UsageError
from transforms.formats.opening import reading
from transforms.formats.source_rows import BATCH_BYTES, FileFormat, FileSample, SourceRows
from transforms.records import Column, FileRange
from transforms.work_units import Cut

__all__ = [
    "BATCH_BYTES",
    "EXTENSIONS",
    "FileFormat",
    "FileSample",
    "SourceRows",
    "Source",
    "count_rows",
    "cuts",
    "first_row",
    "format_of_name",
    "is_columnar",
    "read_sample",
    "read",
]

EXTENSIONS = {
    ".parquet": "parquet",
    ".jsonl": "json_lines",
    ".ndjson": "json_lines",
    ".json": "json_lines",  # or a JSON array: told by the first byte
    ".csv": "delimited",
    ".tsv": "delimited",
    ".arrow": "arrow_ipc",
}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True)
class Source:
    """What a worker needs to read any piece: where the files lie, their format, the columns."""

    root: str
    file_format: FileFormat
    columns: tuple[Column, ...]

    def path(self, file: str) -> str:
        """The path or address of a file that the plan names."""
        return self.root + file


def format_of_name(file: str) -> FileFormat:
    """The format that a file's name tells.

    Raises ``UsageError`` for a name that tells none, among them every format that would have to
    run code to be read (pickles, scripts).
    """
    lower = file.lower()
    ending = next((e for e in _COMPRESSIONS if lower.endswith(e)), "")
    stem = lower.removesuffix(ending)
    extension = next((e for e in EXTENSIONS if stem.endswith(e)), "")
    compressible = extension and EXTENSIONS[extension] not in ("parquet", "arrow_ipc")
    if not extension or (ending and not compressible):
        raise UsageError(
            f"cannot read {file}: expected {', '.join(EXTENSIONS)} "
            f"(text ones also with {' or '.join(_COMPRESSIONS)})"
        )
    return FileFormat(
        name=EXTENSIONS[extension],
        compression=_COMPRESSIONS.get(ending),
        delimiter="\t" if extension == ".tsv" else ",",
    )


def _module(file_format: FileFormat) -> ModuleType:
    return import_module(f"transforms.formats.{file_format.name}")


def read_sample(path: str, file_format: FileFormat) -> FileSample:
    """The columns and a sample of one file; may settle a JSON file as an array of objects."""
    with reading(path):
        found: FileSample = _module(file_format).read_sample(path, file_format)
        return found


def cuts(
    path: str, file_format: FileFormat, name: str, size: int, names: Sequence[str], unit_bytes: int
) -> Iterator[Cut]:
    """Where units may start and stop in one file of ``size`` bytes, for these column names."""
    with reading(path):
        find: Callable[..., Iterator[Cut]] = _module(file_format).cuts
        yield from find(path, file_format, name, size, names, unit_bytes)


def read(
    path: str,
    file_format: FileFormat,
    file_range: FileRange,
    columns: Sequence[Column],
    batch_bytes: int = BATCH_BYTES,
    wanted: np.ndarray | None = None,
) -> Iterator[SourceRows]:
    """The rows of one piece in order, with a ``ROW`` column, stopping at the piece's limit.

    ``wanted``, row numbers in ascending order, are all that is needed: of a file whose parts can be
    told apart those without any of them are passed over.
    """
    left = file_range.limit
    args = (file_range, columns, batch_bytes, *((wanted,) if is_columnar(file_format) else ()))
    with reading(path):
        for rows in _module(file_format).read(path, file_format, *args):
            if left is not None:
                rows = rows.head(left)
                left -= rows.read
            yield rows
            if left == 0:
                return


def is_columnar(file_format: FileFormat) -> bool:
    """Is a column read without the others, and a row group without its neighbours?

    An Arrow file is neither from the hub, where it is one stream, and from a disk it costs little.
    """
    return file_format.name == "parquet"


def count_rows(path: str, file_format: FileFormat, cut: Cut, at_most: int) -> int:
    """The rows of a cut, counted by reading it, but no further than ``at_most``."""
    file_range = FileRange(cut.file, cut.start, cut.stop, at_most)
    return sum(rows.read for rows in read(path, file_format, file_range, ()))


def first_row(path: str, file_format: FileFormat, file_range: FileRange) -> int:
    """What to add to a row's number in its piece for its number in the file."""
    with reading(path):
        before: int = _module(file_format).rows_before(path, file_range)
        return before
