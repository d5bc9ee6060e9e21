"""The entry to source files: one module per format, all with the same functions.

    read_sample(path, file_format) -> FileSample
        the columns with their types, and the first rows; text formats take ``TextFlags``, too
    read(path, file_format, file_range, columns, batch_bytes) -> Iterator[SourceRows]
        the rows of a file range, in order

for a format that declares its columns:

    read_columns(path, file_format) -> tuple[Column, ...]
        the columns with their types

and, for a format that can be cut:

    cuts(path, file_format, name, size, names, unit_bytes) -> Iterator[Cut]
        where a work unit may start and stop
    rows_before(path, file_range) -> int
        the number of rows of the file before the range
    byte_places(path, file_range) -> Iterator[(start, stop)]
        where in a local file the bytes of the range are

``path`` is a local path or an ``hf://datasets/NAME@REVISION/FILE`` address; ``name`` is the file's
name in the plan.  A reader reads only the requested columns and decodes no media.

A local file must be as it was when the job was planned, before and after each batch is read (see
``file_state``).

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
from transforms.formats.file_state import require_unchanged
from transforms.formats.opening import reading
from transforms.formats.source_rows import (
    BATCH_BYTES,
    FileFormat,
    FileSample,
    SourceRows,
    whole_file,
)
from transforms.options import NO_FLAGS, TextFlags
from transforms.records import Column, FileRange
from transforms.work_units import Cut

__all__ = [
    "BATCH_BYTES",
    "FileFormat",
    "FileSample",
    "SourceRows",
    "Source",
    "count_rows",
    "cuts",
    "first_row",
    "is_columnar",
    "is_cuttable",
    "read_columns",
    "read_sample",
    "read",
]

_DECLARED = ("parquet", "delimited", "arrow_ipc")
_CUTTABLE = ("parquet", "json_lines", "arrow_ipc")


@dataclass(frozen=True)
class Source:
    """What a worker needs to read a file range: the root, the format and the columns."""

    root: str
    file_format: FileFormat
    columns: tuple[Column, ...]

    def path(self, file: str) -> str:
        """The path or address of a file of the plan."""
        return self.root + file


def _module(file_format: FileFormat) -> ModuleType:
    return import_module(f"transforms.formats.{file_format.name}")


def read_sample(path: str, file_format: FileFormat, flags: TextFlags = NO_FLAGS) -> FileSample:
    """The columns and a sample of one file, with its format, which the file may say better.

    A JSON file may be an array, a CSV file may have another separator than its name says.

    Raises:
        UsageError: ``flags`` do not apply, or more than one reading of the file fits.
        BadInput: the file cannot be read.
    """
    is_delimited = file_format.name == "delimited"
    if flags.of_csv and not is_delimited:
        raise UsageError(
            f"--delimiter, --encoding and --quotes are for CSV and TSV files; {path} is read as "
            f"{file_format.name.replace('_', ' ')}"
        )
    with reading(path):
        args = (flags,) if file_format.name in ("delimited", "json_lines") else ()
        found: FileSample = _module(file_format).read_sample(path, file_format, *args)
        return found


def read_columns(path: str, file_format: FileFormat) -> tuple[Column, ...] | None:
    """The columns that one file declares; None for JSON, whose rows have keys of their own."""
    if file_format.name not in _DECLARED:
        return None
    with reading(path):
        found: tuple[Column, ...] = _module(file_format).read_columns(path, file_format)
        return found


def cuts(
    path: str, file_format: FileFormat, name: str, size: int, names: Sequence[str], unit_bytes: int
) -> Iterator[Cut]:
    """Where units may start and stop in one file of ``size`` bytes, for these column names."""
    with reading(path):
        if is_cuttable(file_format):
            find: Callable[..., Iterator[Cut]] = _module(file_format).cuts
            yield from find(path, file_format, name, size, names, unit_bytes)
        else:
            yield from whole_file(file_format, name, size)


def read(
    path: str,
    file_format: FileFormat,
    file_range: FileRange,
    columns: Sequence[Column],
    batch_bytes: int = BATCH_BYTES,
    wanted: np.ndarray | None = None,
) -> Iterator[SourceRows]:
    """The rows of one file range in order, with a ``ROW`` column, up to the range's limit.

    Args:
        path: a local path or an address.
        file_format: how the file is read.
        file_range: the rows to read.
        columns: the columns to read.
        batch_bytes: about the size of a batch.
        wanted: row numbers (ascending) that suffice; a columnar file skips row groups without any.

    Raises:
        BadInput: the file is not as it was planned any more, or is damaged.
        DataPrepError: the file cannot be read.
    """
    left, planned = file_range.limit, file_range.state
    args = (file_range, columns, batch_bytes, *((wanted,) if is_columnar(file_format) else ()))
    with reading(path, planned):
        require_unchanged(path, planned)
        for rows in _module(file_format).read(path, file_format, *args):
            require_unchanged(path, planned)
            if left is not None:
                rows = rows.head(left)
                left -= rows.read
            yield rows
            if left == 0:
                return
            require_unchanged(path, planned)  # some time has passed
        require_unchanged(path, planned)  # the rows may have ended early


def is_cuttable(file_format: FileFormat) -> bool:
    """Can a unit read a part of a file?"""
    return file_format.name in _CUTTABLE


def is_columnar(file_format: FileFormat) -> bool:
    """Can columns and row groups be read by themselves, so that reading fewer saves time?

    An Arrow file from the hub is one stream, and one on a disk is mapped into memory.
    """
    return file_format.name == "parquet"


def count_rows(path: str, file_format: FileFormat, cut: Cut, at_most: int) -> int:
    """The number of rows of a cut, counted by reading at most ``at_most`` of them."""
    file_range = FileRange(cut.file, cut.start, cut.stop, at_most)
    return sum(rows.read for rows in read(path, file_format, file_range, ()))


def first_row(path: str, file_format: FileFormat, file_range: FileRange) -> int:
    """The number to add to a row's number in the range, to get its number in the file."""
    if not file_range.start:
        return 0
    with reading(path, file_range.state):
        before: int = _module(file_format).rows_before(path, file_range)
        require_unchanged(path, file_range.state)
        return before
