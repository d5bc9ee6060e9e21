"""The rows that readers yield, and the description of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.errors import BadInput
from transforms.records import ROW, Column
from transforms.work_units import Cut

BATCH_BYTES = 4 * 2**20
"""About the bytes of source that a reader takes at a time: some thousand rows, cache-friendly."""

MAX_ROW_BYTES = 64 * 2**20
"""A longer row is rejected: no training example is that long, and memory must stay flat."""

SAMPLE_ROWS = 500

MOST_COLUMNS = 10_000
"""No set of examples has as many columns; beyond it planning would take minutes."""


def require_few(count: int, path: str) -> None:
    """``BadInput`` for more than ``MOST_COLUMNS`` columns."""
    if count > MOST_COLUMNS:
        raise BadInput(
            f"{path} has more than {MOST_COLUMNS:,} columns, or keys in its first rows; if the "
            "keys are data, such as ids, write each row with a fixed set of keys"
        )


@dataclass(frozen=True, slots=True)
class FileFormat:
    """The format of a source's files.

    Attributes:
        name: the module of its reader.
        compression: gzip or zstd.
        delimiter: what separates the cells of a CSV file.
        encoding: of a CSV file, as Python names it; None is UTF-8.
        quotes: what quotes mean in a CSV file, see ``dialects``; None is RFC 4180.
        key: the key of a JSON object whose array holds the rows; None where the array is the file.
    """

    name: str
    compression: str | None = None
    delimiter: str = ","
    encoding: str | None = None
    quotes: str | None = None
    key: str | None = None

    def to_json(self) -> dict[str, str | None]:
        """The format in the plan; the later fields are there only if they are set."""
        first = {"name": self.name, "compression": self.compression, "delimiter": self.delimiter}
        later = {"encoding": self.encoding, "quotes": self.quotes, "key": self.key}
        return {**first, **{name: value for name, value in later.items() if value is not None}}


@dataclass(frozen=True, slots=True)
class FileSample:
    """The columns of a file in order, and the cells of its first rows that can become text.

    ``keys`` are those of a JSON object whose arrays hold rows; ``file_format`` has the one read.
    """

    file_format: FileFormat
    columns: tuple[Column, ...]
    sample: Sequence[Mapping[str, object]]
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceRows:
    """Consecutive rows of a file range.

    Attributes:
        table: the rows that could be read, with the requested columns and ``ROW``.
        rejects: the ``REJECTS`` of the others, or None.
    """

    table: pa.Table
    rejects: pa.Table | None = None

    @property
    def read(self) -> int:
        """The number of source rows, of both kinds."""
        bad = 0 if self.rejects is None else self.rejects.num_rows
        return int(self.table.num_rows + bad)

    def head(self, count: int) -> SourceRows:
        """The first ``count`` of these rows in source order."""
        if self.rejects is None or self.read <= count:
            return self if self.read <= count else SourceRows(self.table.slice(0, count))
        numbers = sorted(self.table[ROW].to_pylist() + self.rejects["row"].to_pylist())
        end = numbers[count - 1]
        rejects = self.rejects.filter(pc.less_equal(self.rejects["row"], end))
        return SourceRows(self.table.filter(pc.less_equal(self.table[ROW], end)), rejects)


def numbered(table: pa.Table, first: int) -> pa.Table:
    """The table with a ``ROW`` column that counts from ``first``."""
    return table.append_column(ROW, pa.array(np.arange(first, first + table.num_rows)))


def whole_file(file_format: FileFormat, name: str, size: int) -> Iterator[Cut]:
    """The one cut of a file that cannot be cut; none where it is empty."""
    if size:
        # Text shrinks to about a quarter; this only decides which small files share a unit.
        yield Cut(name, 0, 0, size * (4 if file_format.compression else 1))
