"""Arrow streams and files: local ones are cut at record batches, remote ones are read whole.

A stream that was cut at a batch boundary still reads without an error, only shorter; so the
end-of-stream marker that every closed writer leaves is required.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import pyarrow as pa

from transforms.errors import BadInput
from transforms.formats.rows import (
    SAMPLE_ROWS,
    Format,
    Peek,
    Rows,
    as_text,
    check_schema,
    is_remote,
    numbered,
    open_binary,
    text_rows,
    typed_columns,
    whole_file,
)
from transforms.records import Column, Piece
from transforms.units import Cut

_FILE_MAGIC = b"ARROW1"
_STREAM_END = b"\x00\x00\x00\x00"  # the length of the message that is not there; format, "IPC"


def peek(path: str, form: Format) -> Peek:
    """Columns from the schema; the sample holds those that could become text."""
    schema, batches = _open(path)
    columns = typed_columns(schema, path)
    first = next((b for b in batches if b.num_rows), None)
    return Peek(form, columns, text_rows(pa.table(first.slice(0, SAMPLE_ROWS))) if first else [])


def cuts(
    path: str, form: Format, name: str, size: int, names: Sequence[str], unit_bytes: int
) -> Iterator[Cut]:
    """One cut a record batch, sized by the columns that are read."""
    if is_remote(path):
        yield from whole_file(form, name, size)
        return
    _, batches = _open(path)
    for index, batch in enumerate(batches):
        text = sum(batch[column].nbytes for column in names)
        yield Cut(name, index, index + 1, text, batch.num_rows)


def read(
    path: str, form: Format, piece: Piece, columns: Sequence[Column], batch_bytes: int
) -> Iterator[Rows]:
    """The record batches of the piece in parts of about ``batch_bytes``, numbered within it."""
    schema, batches = _open(path)
    check_schema(schema, columns, path)
    names = [column.name for column in columns]
    first = 1
    for batch in islice(batches, piece.start, piece.stop or None):
        part = pa.table(batch.select(names))
        step = max(1, batch.num_rows * batch_bytes // max(part.nbytes, batch_bytes))
        for start in range(0, batch.num_rows, step):
            table = as_text(part.slice(start, step), columns)
            yield Rows(numbered(table, first))
            first += table.num_rows


def rows_before(path: str, piece: Piece) -> int:
    """Rows of the record batches before the piece."""
    _, batches = _open(path)
    return sum(batch.num_rows for batch in islice(batches, piece.start))


def _open(path: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    # A local file is mapped: passing over a batch costs nothing, taking a slice copies nothing.
    source = pa.PythonFile(open_binary(path), mode="r") if is_remote(path) else pa.memory_map(path)
    if source.read(len(_FILE_MAGIC)) == _FILE_MAGIC:
        reader = pa.ipc.open_file(source)
        return reader.schema, (reader.get_batch(i) for i in range(reader.num_record_batches))
    source.seek(max(0, source.size() - len(_STREAM_END)))
    if source.read() != _STREAM_END:
        raise BadInput(
            f"{path} has no end-of-stream marker: the Arrow stream was cut and rows are missing; "
            "write it again"
        )
    source.seek(0)
    stream = pa.ipc.open_stream(source)
    return stream.schema, iter(stream)
