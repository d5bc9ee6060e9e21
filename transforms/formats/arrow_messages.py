"""The messages of a local Arrow stream, read as bytes of this process's own.

A mapped file may be cut or changed by others.  Reading a page that is cut off ends the process, and
a change after Arrow has checked its offsets reads foreign memory.  So rows that travel are read
from ``PrivateFile``.  Arrow's stream reader cannot pass over a batch without reading it; the file
does that for it, by the lengths in the messages' headers.

Layout: Arrow columnar format, "Encapsulated message format", and Message.fbs (a FlatBuffer).
"""

from __future__ import annotations

import io
import mmap
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from transforms.formats.source_rows import MAX_ROW_BYTES

FILE_MAGIC = b"ARROW1"
_FILE_HEAD = 8  # the magic number, padded: a file is a stream between it and the footer
_CONTINUES = 0xFFFFFFFF
_STEP = 2**20
_RECORD_BATCH = 3  # MessageHeader.RecordBatch

_MOST_IN_MEMORY = MAX_ROW_BYTES
"""A larger body, which is rare, waits in a temporary file, so that memory stays flat."""


@dataclass(frozen=True, slots=True)
class Message:
    """Where a message lies in its file, and its rows; None if it is no record batch."""

    start: int
    stop: int
    rows: int | None


def messages(path: str) -> Iterator[Message]:
    """The messages of a stream, or of the stream in a file, the schema first.

    Raises:
        ValueError: a header is damaged, or the last message is cut.
    """
    with open(path, "rb", buffering=0) as file:
        at = _FILE_HEAD if file.read(len(FILE_MAGIC)) == FILE_MAGIC else 0
        end = file.seek(0, io.SEEK_END)
        while True:
            file.seek(at)
            head = file.read(8)
            if len(head) < 4:
                return
            size, prefix = int.from_bytes(head[:4], "little"), 4
            if size == _CONTINUES:  # older writers leave it out
                size, prefix = int.from_bytes(head[4:], "little"), 8
            if not size:
                return
            if size > MAX_ROW_BYTES:
                raise ValueError(f"the message at byte {at:,} has a header of {size:,} bytes")
            file.seek(at + prefix)
            body, rows = _lengths(file.read(size), at)
            stop = at + prefix + size + body
            if stop > end:
                raise ValueError(f"the message at byte {at:,} goes on past the end of the file")
            yield Message(at, stop, rows)
            at = stop


def _lengths(header: bytes, at: int) -> tuple[int, int | None]:
    """The bytes of a message's body, and its rows if it is a record batch."""
    try:
        (root,) = struct.unpack_from("<I", header)
        body = _field(header, root, 3, "<q")
        rows = None
        if _field(header, root, 1, "<B") == _RECORD_BATCH:
            place = _place(header, root, 2)
            (table,) = struct.unpack_from("<I", header, place)
            rows = _field(header, place + table, 0, "<q")
    except struct.error as error:
        raise ValueError(f"the message at byte {at:,} has a damaged header") from error
    if body < 0 or (rows is not None and rows < 0):
        raise ValueError(f"the message at byte {at:,} has a negative length")
    return body, rows


def _field(data: bytes, table: int, number: int, form: str) -> int:
    place = _place(data, table, number)
    return int(struct.unpack_from(form, data, place)[0]) if place else 0


def _place(data: bytes, table: int, number: int) -> int:
    """Where a field of a FlatBuffer's table is; 0 where it has its default."""
    (distance,) = struct.unpack_from("<i", data, table)
    vtable, slot = table - distance, 4 + 2 * number
    if vtable < 0:
        raise struct.error("outside of the header")
    (length,) = struct.unpack_from("<H", data, vtable)
    (offset,) = struct.unpack_from("<H", data, vtable + slot) if slot < length else (0,)
    return table + offset if offset else 0


class PrivateFile(io.RawIOBase):
    """A local file for Arrow, of which each read gives bytes that nobody else can change.

    Args:
        path: the file.
        start: the number of the first record batch of a stream that is read; those before are
            passed over, dictionaries are not.
    """

    def __init__(self, path: str, start: int = 0) -> None:
        super().__init__()
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 (closed with this)
        self._jumps: dict[int, int] = {}
        for message in messages(path) if start else ():
            if message.rows is not None:
                if not start:
                    break
                self._jumps[message.start] = message.stop
                start -= 1

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1, /) -> bytes | memoryview:
        at = self._file.tell()
        while at in self._jumps:
            at = self._file.seek(self._jumps[at])
        return self._file.read(size) if size <= _MOST_IN_MEMORY else _spooled(self._file, size)

    def close(self) -> None:
        self._file.close()
        super().close()


def _spooled(file: BinaryIO | io.FileIO, size: int) -> bytes | memoryview:
    """The next bytes of a file in a temporary one without a name, which is mapped."""
    with tempfile.TemporaryFile() as copy:
        left = size
        while left and (block := file.read(min(left, _STEP))):
            copy.write(block)
            left -= len(block)
        copy.flush()
        if left == size:
            return b""
        return memoryview(mmap.mmap(copy.fileno(), size - left, access=mmap.ACCESS_READ))
