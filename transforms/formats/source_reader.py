"""The seam to source files: one module a format, all with the same three functions.

    peek(path, form)                     -> Peek: the columns with their types, and a sample
    cuts(path, form, name, size, names, unit_bytes) -> Iterator[Cut]: where units may start and stop
    read(path, form, piece, columns, batch_bytes)   -> Iterator[Rows]: a piece's rows, in order

``path`` is a local path or an ``hf://datasets/NAME@REVISION/FILE`` address; ``name`` is what the
plan calls the file.  Only the columns that are asked for are read, and no media is ever decoded.
Local and remote files go through the same readers, so the same file gives the same bytes from
either: the packaged builders of ``datasets`` would write a JSON column of mixed types as JSON text
(a quoted string), cast numbers to text without a word, and give no row numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import numpy as np

from transforms.errors import UsageError
from transforms.formats.opening import reading
from transforms.formats.source_rows import BATCH_BYTES, Format, Peek, Rows
from transforms.records import Column, FileRange
from transforms.work_units import Cut

__all__ = [
    "BATCH_BYTES",
    "EXTENSIONS",
    "Format",
    "Peek",
    "Rows",
    "Source",
    "count_rows",
    "cuts",
    "first_row",
    "format_of_name",
    "is_columnar",
    "peek",
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
    form: Format
    columns: tuple[Column, ...]

    def path(self, file: str) -> str:
        """The path or address of a file that the plan names."""
        return self.root + file


def format_of_name(file: str) -> Format:
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
    return Format(
        name=EXTENSIONS[extension],
        compression=_COMPRESSIONS.get(ending),
        delimiter="\t" if extension == ".tsv" else ",",
    )


def _module(form: Format) -> ModuleType:
    return import_module(f"transforms.formats.{form.name}")


def peek(path: str, form: Format) -> Peek:
    """The columns and a sample of one file; may settle a JSON file as an array of objects."""
    with reading(path):
        found: Peek = _module(form).peek(path, form)
        return found


def cuts(
    path: str, form: Format, name: str, size: int, names: Sequence[str], unit_bytes: int
) -> Iterator[Cut]:
    """Where units may start and stop in one file of ``size`` bytes, for these column names."""
    with reading(path):
        find: Callable[..., Iterator[Cut]] = _module(form).cuts
        yield from find(path, form, name, size, names, unit_bytes)


def read(
    path: str,
    form: Format,
    piece: FileRange,
    columns: Sequence[Column],
    batch_bytes: int = BATCH_BYTES,
    wanted: np.ndarray | None = None,
) -> Iterator[Rows]:
    """The rows of one piece in order, with a ``ROW`` column, stopping at the piece's limit.

    ``wanted``, row numbers in ascending order, are all that is needed: of a file whose parts can be
    told apart those without any of them are passed over.
    """
    left = piece.limit
    args = (piece, columns, batch_bytes, *((wanted,) if is_columnar(form) else ()))
    with reading(path):
        for rows in _module(form).read(path, form, *args):
            if left is not None:
                rows = rows.head(left)
                left -= rows.read
            yield rows
            if left == 0:
                return


def is_columnar(form: Format) -> bool:
    """Is a column read without the others, and a row group without its neighbours?

    An Arrow file is neither from the hub, where it is one stream, and from a disk it costs little.
    """
    return form.name == "parquet"


def count_rows(path: str, form: Format, cut: Cut, at_most: int) -> int:
    """The rows of a cut, counted by reading it, but no further than ``at_most``."""
    piece = FileRange(cut.file, cut.start, cut.stop, at_most)
    return sum(rows.read for rows in read(path, form, piece, ()))


def first_row(path: str, form: Format, piece: FileRange) -> int:
    """What to add to a row's number in its piece for its number in the file."""
    with reading(path):
        before: int = _module(form).rows_before(path, piece)
        return before
