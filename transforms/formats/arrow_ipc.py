"""Arrow streams and files: local ones are cut at record batches, remote ones are read whole.

To plan a local file it is mapped into memory, so that looking at a batch costs nothing.  Rows that
travel are read from a ``PrivateFile``, as the file may change while they do.

A stream that was truncated at a batch boundary reads without an error, only shorter.  So the
end-of-stream marker, which every closed writer leaves, is required and must be last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import pyarrow as pa

from transforms.errors import BadInput
from transforms.formats.arrow_messages import FILE_MAGIC, PrivateFile, messages
from transforms.formats.arrow_types import (
    as_bytes,
    as_text,
    check_schema,
    sampled,
    text_rows,
    typed_columns,
)
from transforms.formats.opening import is_remote, open_binary
from transforms.formats.source_rows import (
    SAMPLE_ROWS,
    FileFormat,
    FileSample,
    SourceRows,
    numbered,
    whole_file,
)
from transforms.records import Column, FileRange
from transforms.work_units import Cut

_STREAM_END = (
    b"\x00\x00\x00\x00"  # a message of length 0; Arrow columnar format, "IPC Streaming Format"
)


def read_sample(path: str, file_format: FileFormat) -> FileSample:
    """Columns from the schema; the sample has those that can become text."""
    schema, batches = _open(path)
    columns = typed_columns(schema, path)
    first = next((b for b in batches if b.num_rows), None)
    if first is None:
        return FileSample(file_format, columns, [])
    part = _validated(first, sampled(schema)).slice(0, SAMPLE_ROWS)
    return FileSample(file_format, columns, text_rows(pa.table(part)))


def read_columns(path: str, file_format: FileFormat) -> tuple[Column, ...]:
    """Columns from the schema."""
    return typed_columns(_open(path)[0], path)


def cuts(
    path: str, file_format: FileFormat, name: str, size: int, names: Sequence[str], unit_bytes: int
) -> Iterator[Cut]:
    """One cut per record batch, sized by the columns that are read."""
    if is_remote(path):
        yield from whole_file(file_format, name, size)
        return
    _, batches = _open(path)
    for index, batch in enumerate(batches):
        batch.validate()
        # A missing column is reported when the file is read.
        text = sum(batch[column].nbytes for column in names if column in batch.schema.names)
        yield Cut(name, index, index + 1, text, batch.num_rows)


def read(
    path: str,
    file_format: FileFormat,
    file_range: FileRange,
    columns: Sequence[Column],
    batch_bytes: int,
) -> Iterator[SourceRows]:
    """The record batches of the range in parts of about ``batch_bytes``, numbered within it."""
    schema, batches = _open(path, file_range.start)
    names = check_schema(schema, columns, path)
    first = 1
    count = file_range.stop - file_range.start if file_range.stop else None
    for batch in islice(batches, count):
        part = pa.table(_validated(batch, names))
        step = max(1, batch.num_rows * batch_bytes // max(part.nbytes, batch_bytes))
        for start in range(0, batch.num_rows, step):
            table = as_text(part.slice(start, step), columns)
            yield SourceRows(numbered(table, first))
            first += table.num_rows


def rows_before(path: str, file_range: FileRange) -> int:
    """The number of rows in the record batches before the range."""
    rows = (each.rows for each in messages(path) if each.rows is not None)
    return sum(islice(rows, file_range.start))


def byte_places(path: str, file_range: FileRange) -> Iterator[tuple[int, int]]:
    """The messages of the range's record batches, and those that are none before them."""
    index = -1
    for message in messages(path):
        index += message.rows is not None
        if index >= file_range.stop:
            return
        if message.rows is None or index >= file_range.start:
            yield message.start, message.stop


def _validated(batch: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
    """These columns, validated: Arrow trusts the offsets of a file, and those of a damaged one
    could end the process or read foreign memory.
    """
    part = batch.select(names)
    for column in part.columns:
        as_bytes(column).validate(full=True)
    return part


def _open(path: str, start: int | None = None) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The schema, and the batches from number ``start`` on; None looks at all of a mapped file."""
    if is_remote(path):
        source = pa.PythonFile(open_binary(path), mode="r")
    elif start is None:
        source = pa.memory_map(path)
    else:
        source = pa.PythonFile(PrivateFile(path, start), mode="r")
    if source.read(len(FILE_MAGIC)) == FILE_MAGIC:
        reader = pa.ipc.open_file(source)
        numbers = range(start or 0, reader.num_record_batches)
        return reader.schema, (reader.get_batch(number) for number in numbers)
    source.seek(max(0, source.size() - len(_STREAM_END)))
    if source.read() != _STREAM_END:
        raise _cut(path)
    source.seek(0)
    stream = pa.ipc.open_stream(source)
    return stream.schema, _whole(stream, source, path)


def _whole(
    stream: pa.RecordBatchReader, source: pa.NativeFile, path: str
) -> Iterator[pa.RecordBatch]:
    """The batches, then ``BadInput`` unless the stream ends as a closed writer ends it.

    The last bytes alone do not prove that, since padding may look the same.
    """
    end = source.tell()
    for batch in stream:
        end = source.tell()
        yield batch
    if source.tell() == end:
        raise _cut(path)
    if source.tell() != source.size():
        raise BadInput(
            f"{path} has data after the end of its Arrow stream, and those rows would be lost; "
            "write it again as one stream"
        )


def _cut(path: str) -> BadInput:
    return BadInput(
        f"{path} has no end-of-stream marker: the Arrow stream is truncated and rows are missing; "
        "write it again"
    )
