"""A file that comes in chunks, read as Arrow reads any file; one chunk is in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator


class ChunkedFile(io.RawIOBase):
    """Reads from chunks of bytes, one behind the other."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; fewer than ``size`` only at the end."""
        parts = []
        while size and (self._rest or self._next()):
            part = self._rest[:size] if size > 0 else self._rest
            self._rest = self._rest[len(part) :]
            size -= len(part) if size > 0 else 0
            parts.append(part)
        return b"".join(parts)

    def _next(self) -> bool:
        self._rest = memoryview(next(self._chunks, b""))
        return bool(self._rest)
