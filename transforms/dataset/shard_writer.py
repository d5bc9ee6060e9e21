"""Writing one shard: an Arrow stream whose bytes depend on its rows alone.

Rows arrive in batches of any size and leave in record batches of ``RECORD_BATCH_ROWS``, so neither
batch sizes nor runners show in the file.
"""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
from xxhash import xxh3_128

from transforms.dataset.layout import SCHEMA
from transforms.errors import StorageError
from transforms.records import Written
from transforms.storage.names import RECORD_BATCH_ROWS


class HashingFile(io.RawIOBase):
    """A new file that hashes and counts what is written to it.

    SHA-256 is what the set says of it; XXH3-128 costs little, so that it can be checked once more
    before the set appears.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = open(path, "xb")  # noqa: SIM115 (closed by close)
        self._hash, self._xxh3 = hashlib.sha256(), xxh3_128()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        """Writes all of ``data``, a bytes-like object."""
        view = memoryview(data)  # type: ignore[arg-type]
        self._hash.update(view)
        self._xxh3.update(view)
        try:
            self._file.write(view)
        except OSError as error:
            raise self._failed(error, view.nbytes) from error
        self.size += view.nbytes
        return view.nbytes

    def close(self) -> None:
        if not self.closed:
            try:
                self._file.close()
            except OSError as error:
                raise self._failed(error, 0) from error
        super().close()

    def abandon(self, path: Path) -> None:
        """Closes and removes the file at ``path``, which may have no room for what is buffered."""
        with suppress(StorageError):
            self.close()
        path.unlink(missing_ok=True)

    def _failed(self, error: OSError, size: int) -> StorageError:
        return StorageError(
            f"cannot write the temporary file {self._file.name} ({error.strerror}): "
            f"{self.size + size:,} bytes or more are needed there; make room, or choose another "
            "disk with TMPDIR (for S3) or --output, then run again"
        )

    def written(self, rows: int) -> Written:
        """What a closed file of so many rows holds."""
        return Written(rows, self.size, self._hash.hexdigest(), self._xxh3.hexdigest())


class ShardWriter:
    """Writes tables of a schema (that of the default columns) to a new file at ``path``."""

    def __init__(self, path: Path, schema: pa.Schema = SCHEMA) -> None:
        self.path = path
        self._schema = schema
        self._file = HashingFile(path)
        self._stream = pa.ipc.new_stream(self._file, schema)
        self._pending = schema.empty_table()
        self._rows = 0

    def append(self, table: pa.Table) -> None:
        """Adds rows; whole record batches are written, the rest waits for more."""
        self._rows += table.num_rows
        rows = pa.concat_tables([self._pending, table])
        whole = rows.num_rows // RECORD_BATCH_ROWS * RECORD_BATCH_ROWS
        for start in range(0, whole, RECORD_BATCH_ROWS):
            self._write(rows.slice(start, RECORD_BATCH_ROWS))
        self._pending = rows.slice(whole)

    def _write(self, rows: pa.Table) -> None:
        arrays = [_exact(column) for column in rows.columns]
        self._stream.write_batch(pa.record_batch(arrays, schema=self._schema))

    def close(self) -> Written:
        """Writes what waits and the end of the stream."""
        if self._pending.num_rows:
            self._write(self._pending)
        self._pending = self._schema.empty_table()  # a closed writer holds no rows
        self._stream.close()
        self._file.close()
        return self._file.written(self._rows)

    def abandon(self) -> None:
        """Removes the unfinished file."""
        self._file.abandon(self.path)


def _exact(column: pa.ChunkedArray) -> pa.Array:
    """The column in buffers that hold nothing else.

    Of a slice Arrow writes up to 63 bytes more than its rows, from those that happen to follow in
    memory; a shard's bytes would depend on how its rows were batched.
    """
    if pa.types.is_nested(column.type):
        return _copied(column)
    if column.num_chunks != 1 or column.null_count:
        return pa.concat_arrays(column.chunks)
    array = column.chunk(0)
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    start, size = int(ends[0]), int(ends[-1] - ends[0])
    # The text itself is not copied: it is most of what this job moves.
    text = data.slice(start, size) if size else pa.py_buffer(b"")
    return pa.StringArray.from_buffers(len(array), pa.py_buffer(ends - ends[0]), text)


def _copied(column: pa.ChunkedArray) -> pa.Array:
    """The same for lists and structs, whose inner arrays are copied."""
    places = pa.array(np.arange(len(column)))
    return pa.concat_arrays(column.take(places).chunks)
