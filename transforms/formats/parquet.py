"""Parquet: cut at row groups, whose rows and sizes are in the footer; none is ever split."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.formats.arrow_types import as_text, check_schema, sampled, text_rows, typed_columns
from transforms.formats.opening import is_remote, open_binary
from transforms.formats.source_rows import SAMPLE_ROWS, FileFormat, FileSample, SourceRows, numbered
from transforms.records import Column, FileRange
from transforms.work_units import Cut

_SAMPLE_BYTES = 256 * 2**20
_BUFFER_BYTES = 2**20  # read column chunks in steps, so that memory does not hold a whole row group


def _open(path: str) -> pq.ParquetFile:
    source = open_binary(path) if is_remote(path) else path
    return pq.ParquetFile(source, pre_buffer=False, buffer_size=_BUFFER_BYTES)


def read_sample(path: str, file_format: FileFormat) -> FileSample:
    """Columns from the schema; the sample has those that can become text."""
    with _open(path) as file:
        columns = typed_columns(file.schema_arrow, path)
        names = sampled(file.schema_arrow)
        return FileSample(file_format, columns, text_rows(_first_rows(file, names)))


def _first_rows(file: pq.ParquetFile, names: Sequence[str]) -> pa.Table:
    """The first rows, at most ``SAMPLE_ROWS`` and about ``_SAMPLE_BYTES``.

    A dictionary may hold one large value for many rows, which sizes in the footer do not show.  So
    a batch has so few rows that it is small even if each were as large as its row group.
    """
    # Of the row group, since Arrow ends the process at a damaged column chunk's metadata.
    largest = file.metadata.row_group(0).total_byte_size if file.num_row_groups else 1
    step = max(1, min(SAMPLE_ROWS, _SAMPLE_BYTES // max(1, largest)))
    rows, found, size = 0, list[pa.Table](), 0
    for batch in file.iter_batches(batch_size=step, columns=names, use_threads=False):
        found.append(pa.table(batch))
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= SAMPLE_ROWS or size >= _SAMPLE_BYTES:
            break
    if not found:
        return file.schema_arrow.empty_table().select(names)
    return pa.concat_tables(found).slice(0, SAMPLE_ROWS)


def read_columns(path: str, file_format: FileFormat) -> tuple[Column, ...]:
    """Columns from the schema."""
    with _open(path) as file:
        return typed_columns(file.schema_arrow, path)


def cuts(
    path: str, file_format: FileFormat, name: str, size: int, names: Sequence[str], unit_bytes: int
) -> Iterator[Cut]:
    """One cut per row group, sized by the uncompressed bytes of the columns that are read."""
    with _open(path) as file:
        metadata = file.metadata
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        sizes = (group.column(i) for i in range(group.num_columns))
        text = sum(
            c.total_uncompressed_size for c in sizes if c.path_in_schema.split(".")[0] in names
        )
        if group.num_rows:
            yield Cut(name, index, index + 1, text, group.num_rows)


def read(
    path: str,
    file_format: FileFormat,
    file_range: FileRange,
    columns: Sequence[Column],
    batch_bytes: int,
    wanted: np.ndarray | None = None,
) -> Iterator[SourceRows]:
    """Batches of about ``batch_bytes``, numbered within the range.

    Row groups without any of the ``wanted`` row numbers (ascending) are skipped.
    """
    with _open(path) as file:
        names = check_schema(file.schema_arrow, columns, path)
        groups = range(file_range.start, min(file_range.stop, file.num_row_groups))
        for first, some in _runs(file.metadata, groups, wanted):
            batches = file.iter_batches(
                batch_size=_rows_per_batch(file.metadata, some, names, batch_bytes),
                row_groups=some,
                columns=names,
                use_threads=False,
            )
            for batch in batches:
                table = as_text(pa.table(batch), columns)
                yield SourceRows(numbered(table, first))
                first += batch.num_rows


def _runs(
    metadata: pq.FileMetaData, groups: range, wanted: np.ndarray | None
) -> Iterator[tuple[int, list[int]]]:
    """(number of the first row, adjacent row groups): those with wanted rows, or all."""
    if wanted is None:
        yield 1, list(groups)
        return
    first, begin, run = 1, 1, list[int]()
    for group in groups:
        end = first + metadata.row_group(group).num_rows
        if np.searchsorted(wanted, first) < np.searchsorted(wanted, end):
            begin, run = (begin, [*run, group]) if run else (first, [group])
        elif run:
            yield begin, run
            run = []
        first = end
    if run:
        yield begin, run


def _rows_per_batch(
    metadata: pq.FileMetaData, groups: Sequence[int], names: Sequence[str], batch_bytes: int
) -> int:
    rows = sum(metadata.row_group(g).num_rows for g in groups)
    size = sum(
        column.total_uncompressed_size
        for g in groups
        for i in range(metadata.row_group(g).num_columns)
        if (column := metadata.row_group(g).column(i)).path_in_schema.split(".")[0] in names
    )
    # At most 8,192: with a dictionary page, decoded rows are larger than the sizes here.
    return max(1, min(8192, batch_bytes * rows // size if size else 8192))


def rows_before(path: str, file_range: FileRange) -> int:
    """The number of rows in the row groups before the range."""
    with _open(path) as file:
        return sum(file.metadata.row_group(g).num_rows for g in range(file_range.start))


def byte_places(path: str, file_range: FileRange) -> Iterator[tuple[int, int]]:
    """The row groups of the range; and what follows the last one of the file, with the footer."""
    with _open(path) as file:
        metadata = file.metadata
    for group in range(file_range.start, min(file_range.stop, metadata.num_row_groups)):
        yield _place(metadata.row_group(group))
    _, end = _place(metadata.row_group(metadata.num_row_groups - 1))
    yield end, os.stat(path).st_size  # noqa: PTH116 (a path may be a str)


def _place(group: pq.RowGroupMetaData) -> tuple[int, int]:
    columns = [group.column(index) for index in range(group.num_columns)]
    starts = [
        min(offset for offset in (c.dictionary_page_offset, c.data_page_offset) if offset)
        for c in columns
    ]
    ends = [s + c.total_compressed_size for s, c in zip(starts, columns, strict=True)]
    return min(starts), max(ends)
