"""The bytes of a CSV file as Arrow's parser takes them: UTF-8, with what it cannot take replaced.

Placeholders of noncharacters stand for what would fail the whole file or be read as other text.
Whoever reads the cells puts the characters back, or rejects the row.
"""

from __future__ import annotations

import codecs
import io
import re
from threading import Lock
from time import monotonic, sleep
from typing import Any, BinaryIO
from weakref import ref

from transforms.errors import BadInput
from transforms.formats.dialects import BACKSLASH, ESCAPED_QUOTES, NO_QUOTES, separator_line
from transforms.formats.quotes import QuoteCheck
from transforms.formats.source_rows import FileFormat

_PATIENCE, _PAUSE = 60.0, 0.001
"""Seconds to wait for Arrow to release its blocks, and between two checks."""

# Noncharacters, which no text contains.
NOT_TEXT = "\ufdd0\ufdd1\ufdd2"
"""Bytes that the encoding does not have."""

NUL = "\ufdd1\ufdd0\ufdd2"
QUOTE = "\ufdd1\ufdd2\ufdd0"
"""A quote after a backslash."""

UNCLEAR = "\ufdd2\ufdd0\ufdd1"
"""A backslash that may stand for itself or not."""

STRAY = "\ufdd2\ufdd1\ufdd0"
"""The place after a closing quote where a separator is expected."""

_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_ERRORS = "noncharacters"
codecs.register_error(_ERRORS, lambda error: (NOT_TEXT, error.end))  # type: ignore[attr-defined]


def restored(text: str) -> str:
    """The text of a cell or row with what the placeholders stand for."""
    for placeholder, own in ((NOT_TEXT, "\ufffd"), (NUL, "\0"), (QUOTE, '"'), (UNCLEAR, "")):
        text = text.replace(placeholder, own)
    return text.partition(STRAY)[0] if STRAY in text else text


class CsvText:
    """The bytes of a file as valid UTF-8, followed by ``end``.

    ``NOT_TEXT`` replaces invalid bytes, so that one bad cell rejects one row: Arrow would fail at
    such bytes in a ragged row.  ``NUL`` replaces NUL: Arrow 25 scans eight bytes at a time with an
    instruction that takes NUL for the end of a string, and so overlooks delimiters and line ends
    shortly after one.

    Arrow reads ahead in a thread of its own, also after its reader is gone or has failed.  A thread
    that requests or releases a block while the interpreter ends aborts the process.  So this is
    closed only when Arrow has released the file and all blocks.

    Args:
        file: the file's bytes.
        path: the file, for messages.
        file_format: its encoding, separator and quotes.
        columns: the number of cells of the header, 0 if it is not known.
        end: what follows the file's text.
    """

    def __init__(
        self, file: BinaryIO, path: str, file_format: FileFormat, columns: int, end: str
    ) -> None:
        self._file, self._path, self._end = file, path, end.encode()
        self._encoding, self._quotes = file_format.encoding, file_format.quotes
        self._decoder: codecs.IncrementalDecoder | None = None
        self._is_utf8 = _Utf8Check()
        stray = STRAY + file_format.delimiter * columns
        self._check = QuoteCheck(file_format.delimiter, stray.encode(), path)
        self._ready = self._carry = self._escape = b""
        self._begun = self._ended = False
        self._lock = Lock()
        self._lent: list[ref[Any]] = []
        self.failed: Exception | None = None
        self.was_repaired = self.has_nul = self.has_escapes = False

    def close(self) -> None:
        """Waits until no thread of Arrow holds the file or a block."""
        with self._lock:
            self._ended, self._ready = True, b""  # so that reading ahead ends soon
        # Polled, since a callback would run in Arrow's thread, inside the interpreter, when nobody
        # waits for it any more.
        end = monotonic() + _PATIENCE
        while self._is_lent() and monotonic() < end:
            sleep(_PAUSE)

    def _is_lent(self) -> bool:
        with self._lock:
            return any(lent() is not None for lent in self._lent)

    def lend(self) -> Lent:
        """A file for Arrow, once; the caller keeps no reference to it."""
        lent = Lent(self)
        self._lent.append(ref(lent))
        return lent

    def read(self, size: int) -> memoryview:
        """The next ``size`` bytes, or fewer at the end; all of them if ``size`` is negative.

        A failure ends the file and is kept in ``failed``: Arrow would hold an exception, and with
        it the file, or release it in its own thread.
        """
        with self._lock:
            try:
                self._fill(size)
            except Exception as error:  # noqa: BLE001 (whoever reads the rows raises it)
                self.failed, self._ended, self._ready = error, True, b""
            # This frame, which a failure would hold, must not hold a block.
            return self._lend_block(len(self._ready) if size < 0 else size)

    def _lend_block(self, size: int) -> memoryview:
        block = memoryview(self._ready[:size])  # a memoryview supports weak references
        self._ready = self._ready[size:]
        self._lent = [*(lent for lent in self._lent if lent() is not None), ref(block)]
        return block

    def _fill(self, size: int) -> None:
        # Full blocks, since Arrow expects a whole line in the first one.
        while len(self._ready) < max(size, 1) and not self._ended:
            data = self._file.read(size)
            self._ended = not data
            text = self._quoted(self._started(self._valid(data)))
            self._ready += text + (self._end if self._ended else b"")

    def _valid(self, data: bytes) -> bytes:
        """The next bytes of the file as UTF-8."""
        data = self._utf8(data) if self._encoding is None else self._transcoded(data)
        if b"\0" in data:
            self.has_nul = True
            data = data.replace(b"\0", NUL.encode())
        return data

    def _utf8(self, data: bytes) -> bytes:
        data, self._carry = self._carry + data, b""
        try:
            data.decode()
        except UnicodeDecodeError:
            decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
            text = decoder.decode(data, final=self._ended)
            self._carry = decoder.getstate()[0]  # a character that goes on in the next block
            repaired, changes = re.subn("[\udc80-\udcff]+", NOT_TEXT, text)
            self.was_repaired = self.was_repaired or changes > 0
            data = repaired.encode()
        return data

    def _transcoded(self, data: bytes) -> bytes:
        name = str(self._encoding)
        if self._decoder is None:
            check_mark(data, name, self._path)
            self._decoder = codecs.getincrementaldecoder(name)(_ERRORS)
        if not name.startswith("utf"):
            self._is_utf8.feed(data, self._ended)
            if self._ended and self._is_utf8.is_certain:
                raise BadInput(
                    f"{self._path} is UTF-8 text, but is read as {name}, as --encoding or the "
                    "first file say; prepare the files separately, or write them all as UTF-8"
                )
        text = self._decoder.decode(data, self._ended)
        self.was_repaired = self.was_repaired or NOT_TEXT in text
        return text.encode()

    def _started(self, data: bytes) -> bytes:
        """The bytes without a byte order mark, Excel's line with the separator, and blank lines."""
        if self._begun or not data:
            return data
        data = data.removeprefix(codecs.BOM_UTF8)
        line = separator_line(data[:16].decode("utf-8", "replace"))
        if line[0] is not None:
            data = data[re.search(rb"[\r\n]+", data).end() :]  # type: ignore[union-attr]
        data = data.lstrip(b"\r\n")
        self._begun = bool(data)
        return data

    def _quoted(self, data: bytes) -> bytes:
        """The bytes with escapes replaced, and marked where text follows a closing quote."""
        if self._quotes == NO_QUOTES:
            return data
        if self._quotes in (BACKSLASH, ESCAPED_QUOTES):
            data, self._escape = self._escape + data, b""
            slashes = len(data) - len(data.rstrip(b"\\"))
            if slashes % 2 and not self._ended:
                data, self._escape = data[:-1], b"\\"
            if b"\\" in data:
                self.has_escapes = True
                data = _ESCAPE.sub(self._unescaped, data)
        return self._check.checked(data)

    def _unescaped(self, found: re.Match[bytes]) -> bytes:
        if found[1] == b'"':
            return QUOTE.encode()
        if self._quotes == ESCAPED_QUOTES:
            return UNCLEAR.encode() + found[0]
        return b"\\" if found[1] == b"\\" else found[0]


class _Utf8Check:
    """Are bytes UTF-8 beyond doubt: valid, and not ASCII alone?"""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._valid, self._has_more = True, False

    def feed(self, data: bytes, final: bool) -> None:
        """Looks at the next bytes."""
        if self._valid:
            self._has_more = self._has_more or not data.isascii()
            try:
                self._decoder.decode(data, final)
            except UnicodeDecodeError:
                self._valid = False

    @property
    def is_certain(self) -> bool:
        return self._valid and self._has_more


def check_mark(start: bytes, encoding: str, path: str) -> None:
    """``BadInput`` where the first bytes of a file show another encoding than the plan's."""
    wide = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if encoding in ("utf-16", "utf-32") and start and not wide and start[:2] != b"\0\0":
        found = "has no byte order mark"
    elif not encoding.startswith("utf") and (wide or start.startswith(codecs.BOM_UTF8)):
        found = "has a byte order mark of Unicode"
    else:
        return
    raise BadInput(
        f"{path} {found}, but is read as {encoding}, as --encoding or the first file say; "
        "prepare the files separately, or write them all as UTF-8"
    )


class Lent(io.RawIOBase):
    """``CsvText`` as a file for Arrow, which alone holds it."""

    def __init__(self, text: CsvText) -> None:
        super().__init__()
        self._text = text

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> memoryview:
        text = self._text
        del self  # the frames of a failure must not hold this object
        return text.read(size)
