"""CSV and TSV with a header line: every column is text, a file is read by one unit.

Cells may hold line breaks inside quotes, so a byte range would not know where a row starts.  A row
with more or fewer cells than the header is a reject.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from transforms.formats.rows import (
    SAMPLE_ROWS,
    Format,
    Peek,
    Rows,
    check_schema,
    open_binary,
    text_rows,
    unique_names,
    whole_file,
)
from transforms.records import ROW, Column, Piece, rejects_table
from transforms.units import Cut

_MIN_BLOCK = 2**20
"""Bytes that Arrow parses at a time; a row must fit into one block."""


def peek(path: str, form: Format) -> Peek:
    """Columns from the header; the sample's cells are text."""
    names = _header(path, form)
    columns = tuple(Column(name, "string") for name in names)
    first = next(read(path, form, Piece("", 0, 0), columns, _MIN_BLOCK), None)
    return Peek(form, columns, text_rows(first.table.slice(0, SAMPLE_ROWS)) if first else [])


def cuts(
    path: str, form: Format, name: str, size: int, names: Sequence[str], unit_bytes: int
) -> Iterator[Cut]:
    """The whole file."""
    yield from whole_file(form, name, size)


def read(
    path: str, form: Format, piece: Piece, columns: Sequence[Column], batch_bytes: int
) -> Iterator[Rows]:
    """The rows after the header, numbered from 1."""
    header = _header(path, form)
    check_schema(pa.schema([(name, pa.string()) for name in header]), columns, path)
    ragged: deque[tuple[int, str, str]] = deque()

    def skip(row: pcsv.InvalidRow) -> str:
        # The parser counts the header as row 1.
        ragged.append((row.number - 1, "ragged-row", row.text))
        return "skip"

    last = 0
    with open_binary(path, form.compression) as file:
        for batch in _open(file, form, max(batch_bytes, _MIN_BLOCK), header, columns, skip):
            # The parser reads ahead: take only the ragged rows that stand before this batch's end.
            numbers, passed = [], []
            for _ in range(batch.num_rows):
                last += 1
                while ragged and ragged[0][0] == last:
                    passed.append(ragged.popleft())
                    last += 1
                numbers.append(last)
            yield _rows(batch, columns, numbers, passed)
        if ragged:
            empty = pa.RecordBatch.from_pylist(
                [], pa.schema([(c.name, pa.binary()) for c in columns])
            )
            yield _rows(empty, columns, [], list(ragged))


def rows_before(path: str, piece: Piece) -> int:
    """None: a piece is a whole file."""
    return 0


def _header(path: str, form: Format) -> list[str]:
    with open_binary(path, form.compression) as file:
        reader = pcsv.open_csv(
            file,
            pcsv.ReadOptions(use_threads=False, block_size=_MIN_BLOCK),
            _parsing(form, lambda row: "skip"),
        )
        names: list[str] = reader.schema.names
    unique_names(names, path)
    return names


def _open(
    file: BinaryIO,
    form: Format,
    block_size: int,
    header: Sequence[str],
    columns: Sequence[Column],
    skip: Callable[[pcsv.InvalidRow], str],
) -> Iterator[pa.RecordBatch]:
    # Cells are read as bytes: one that is no UTF-8 is then one bad row, not a bad file.
    conversion = pcsv.ConvertOptions(
        column_types=dict.fromkeys(header, pa.binary()),
        include_columns=[column.name for column in columns],
        strings_can_be_null=False,
        check_utf8=False,
    )
    options = pcsv.ReadOptions(use_threads=False, block_size=block_size)
    yield from pcsv.open_csv(file, options, _parsing(form, skip), conversion)


def _parsing(form: Format, skip: Callable[[pcsv.InvalidRow], str]) -> pcsv.ParseOptions:
    return pcsv.ParseOptions(
        delimiter=form.delimiter, newlines_in_values=True, invalid_row_handler=skip
    )


def _rows(
    batch: pa.RecordBatch,
    columns: Sequence[Column],
    numbers: list[int],
    ragged: list[tuple[int, str, str]],
) -> Rows:
    arrays = [batch[c.name] for c in columns]
    table = pa.table(
        [*arrays, pa.array(numbers, pa.int64())], names=[*(c.name for c in columns), ROW]
    )
    try:
        text = [array.cast(pa.string()) for array in arrays]
    except pa.ArrowInvalid:
        bad = [n for n, row in zip(numbers, table.to_pylist(), strict=True) if not _is_text(row)]
        ragged = sorted([*ragged, *((number, "invalid-unicode", "") for number in bad)])
        table = table.filter(pc.invert(pc.is_in(table[ROW], pa.array(bad, pa.int64()))))
        text = [table[c.name].cast(pa.string()) for c in columns]
    for index, column in enumerate(columns):
        table = table.set_column(index, column.name, text[index])
    return Rows(table, rejects_table(ragged) if ragged else None)


def _is_text(row: Mapping[str, object]) -> bool:
    try:
        for cell in row.values():
            if isinstance(cell, bytes):
                cell.decode()
    except UnicodeDecodeError:
        return False
    return True
