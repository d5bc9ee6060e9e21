"""CSV and TSV with a header line: every column is text, and one unit reads a whole file.

Quoted cells may contain line breaks, so a byte range does not know where a row starts.  A row with
more or fewer cells than the header is rejected.  An unclosed quote would make one cell of the rest
of the file, so the file must end outside of quotes.
"""

from __future__ import annotations

import codecs
import io
import re
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from threading import Lock
from time import monotonic, sleep
from typing import Any, BinaryIO
from weakref import ref

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from transforms.errors import BadInput
from transforms.formats.arrow_types import check_schema, text_rows, unique_names
from transforms.formats.opening import open_binary
from transforms.formats.source_rows import (
    BATCH_BYTES,
    SAMPLE_ROWS,
    FileFormat,
    FileSample,
    SourceRows,
)
from transforms.records import EXCERPT_CHARS, ROW, Column, FileRange, rejects_table

_BLOCK = BATCH_BYTES
"""Bytes that Arrow parses at a time; a row that is longer than a block is an error."""

_PATIENCE, _PAUSE = 60.0, 0.001
"""Seconds to wait for Arrow to release its blocks, and between two checks."""

# Noncharacters, which no text contains.
_NOT_UTF8 = "\ufdd0\ufdd1\ufdd2"
_END = "\ufdd0\ufdd2\ufdd1"
_NUL = "\ufdd1\ufdd0\ufdd2"


def read_sample(path: str, file_format: FileFormat) -> FileSample:
    """Columns from the header; the sample's cells are text."""
    names = _header(path, file_format)
    columns = tuple(Column(name, "string") for name in names)
    batches = read(path, file_format, FileRange("", 0, 0), columns, _BLOCK)
    first = next((rows for rows in batches if rows.read), None)
    if first is None:
        return FileSample(file_format, columns, [])
    if first.rejects is not None and not first.table.num_rows:
        raise BadInput(
            f"none of the first {first.read:,} rows of {path} can be read: expected UTF-8 text "
            f"with {len(names):,} cells a row, as in the header, separated by "
            f"{file_format.delimiter!r}"
        )
    return FileSample(file_format, columns, text_rows(first.table.slice(0, SAMPLE_ROWS)))


def read(
    path: str,
    file_format: FileFormat,
    file_range: FileRange,
    columns: Sequence[Column],
    batch_bytes: int,
) -> Iterator[SourceRows]:
    """The rows after the header, numbered from 1, in batches of the parser's own size."""
    header = _header(path, file_format)
    check_schema(pa.schema([(name, pa.string()) for name in header]), columns, path)
    ragged: deque[tuple[int, str, str]] = deque()

    def skip(row: pcsv.InvalidRow) -> str:
        # The parser counts the header as row 1.
        ragged.append((row.number - 1, "ragged-row", row.text[:EXCERPT_CHARS]))
        return "skip"

    last = 0
    end = "\n" + file_format.delimiter.join([_END] * len(header)) + "\n"
    with (
        open_binary(path, file_format.compression) as file,
        closing(_Utf8(file, end)) as text,
        _explained(path, text),
        closing(_open(text, file_format, header, columns, skip)) as batches,
    ):
        for batch in _without_end(batches, path):
            # The parser reads ahead: only the ragged rows before the end of this batch are due.
            numbers, passed = [], []
            for _ in range(batch.num_rows):
                last += 1
                while ragged and ragged[0][0] == last:
                    passed.append(ragged.popleft())
                    last += 1
                numbers.append(last)
            yield _rows(batch, columns, numbers, passed, text)
        if ragged:
            empty = pa.RecordBatch.from_pylist(
                [], pa.schema([(c.name, pa.string()) for c in columns])
            )
            yield _rows(empty, columns, [], list(ragged), text)


class _Utf8:
    """The bytes of a file as valid UTF-8, followed by ``end``.

    ``_NOT_UTF8`` replaces invalid bytes, so that one bad cell rejects one row: Arrow would fail at
    such bytes in a ragged row.  ``_NUL`` replaces NUL: Arrow 25 scans eight bytes at a time with an
    instruction that takes NUL for the end of a string, and so overlooks delimiters and line ends
    shortly after one.

    Arrow reads ahead in a thread of its own, also after its reader is gone or has failed.  A thread
    that requests or releases a block while the interpreter ends aborts the process.  So this is
    closed only when Arrow has released the file and all blocks.
    """

    def __init__(self, file: BinaryIO, end: str) -> None:
        self._file, self._end = file, end.encode()
        self._ready = self._carry = b""
        self._ended = False
        self._lock = Lock()
        self._lent: list[ref[Any]] = []
        self.failed: Exception | None = None
        self.was_repaired = self.has_nul = False

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

    def lend(self) -> _Lent:
        """A file for Arrow, once; the caller keeps no reference to it."""
        lent = _Lent(self)
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
            self._ready += self._valid(self._carry + data) + (self._end if self._ended else b"")

    def _valid(self, data: bytes) -> bytes:
        self._carry = b""
        try:
            data.decode()
        except UnicodeDecodeError:
            decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
            text = decoder.decode(data, final=self._ended)
            self._carry = decoder.getstate()[0]  # a character that goes on in the next block
            repaired, changes = re.subn("[\udc80-\udcff]+", _NOT_UTF8, text)
            self.was_repaired = self.was_repaired or changes > 0
            data = repaired.encode()
        if b"\0" in data:
            self.has_nul = True
            data = data.replace(b"\0", _NUL.encode())
        return data


class _Lent(io.RawIOBase):
    """``_Utf8`` as a file for Arrow, which alone holds it."""

    def __init__(self, text: _Utf8) -> None:
        super().__init__()
        self._text = text

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> memoryview:
        text = self._text
        del self  # the frames of a failure must not hold this object
        return text.read(size)


@contextmanager
def _explained(path: str, text: _Utf8) -> Iterator[None]:
    """Raises the failure of the file, rather than the error that follows from its early end."""
    try:
        yield
    except (pa.ArrowInvalid, BadInput) as error:
        if text.failed is not None:
            raise text.failed from None
        # A BadInput is ours; it contains the name of the file, which may be any text.
        if isinstance(error, BadInput) or "straddling" not in str(error):
            raise
        raise BadInput(
            f"{path} has a row longer than the limit of {_BLOCK:,} bytes, or an unclosed quote; "
            "correct the row, or convert the file to JSON Lines"
        ) from error


def _header(path: str, file_format: FileFormat) -> list[str]:
    with (
        open_binary(path, file_format.compression) as file,
        closing(_Utf8(file, "\n")) as text,
        _explained(path, text),
    ):
        options = pcsv.ReadOptions(use_threads=False, block_size=_BLOCK)
        parsing = _parsing(file_format, lambda row: "skip")
        names: list[str] = pcsv.open_csv(text.lend(), options, parsing).schema.names
    if any(_NOT_UTF8 in name for name in names):
        raise BadInput(
            f"the header of {path} is not UTF-8 text; convert the file first (iconv -t UTF-8)"
        )
    if any(_NUL in name for name in names):
        raise BadInput(
            f"the header of {path} contains NUL bytes, as UTF-16 text does; convert the file first "
            "(iconv -f UTF-16 -t UTF-8)"
        )
    unique_names(names, path)
    return names


def _open(
    text: _Utf8,
    file_format: FileFormat,
    header: Sequence[str],
    columns: Sequence[Column],
    skip: Callable[[pcsv.InvalidRow], str],
) -> Generator[pa.RecordBatch, None, None]:
    conversion = pcsv.ConvertOptions(
        column_types=dict.fromkeys(header, pa.string()),
        include_columns=[column.name for column in columns],
        strings_can_be_null=False,
        check_utf8=False,  # ``_Utf8`` did
    )
    options = pcsv.ReadOptions(use_threads=False, block_size=_BLOCK)
    yield from pcsv.open_csv(text.lend(), options, _parsing(file_format, skip), conversion)


def _parsing(file_format: FileFormat, skip: Callable[[pcsv.InvalidRow], str]) -> pcsv.ParseOptions:
    return pcsv.ParseOptions(
        delimiter=file_format.delimiter, newlines_in_values=True, invalid_row_handler=skip
    )


def _without_end(batches: Iterator[pa.RecordBatch], path: str) -> Iterator[pa.RecordBatch]:
    """The batches without the last row, which must be the one that ``_Utf8`` added."""
    held: pa.RecordBatch | None = None
    for batch in batches:
        if batch.num_rows:
            if held is not None:
                yield held
            held = batch
    if held is None or held[0][-1].as_py() != _END:
        raise BadInput(
            f"{path} ends inside a quoted cell: an unclosed quote makes one cell of the rest of "
            "the file; close the quote, or double it if it is part of the text"
        )
    yield held.slice(0, held.num_rows - 1)


def _rows(
    batch: pa.RecordBatch,
    columns: Sequence[Column],
    numbers: list[int],
    ragged: list[tuple[int, str, str]],
    text: _Utf8,
) -> SourceRows:
    names = [column.name for column in columns]
    arrays: list[pa.Array] = [batch[name] for name in names]
    if text.has_nul:
        arrays = [pc.replace_substring(array, _NUL, "\0") for array in arrays]
    table = pa.table([*arrays, pa.array(numbers, pa.int64())], names=[*names, ROW])
    rejects = [
        (row, code, excerpt.replace(_NOT_UTF8, "\ufffd").replace(_NUL, "\0"))
        for row, code, excerpt in ragged
    ]
    if text.was_repaired:
        for name in names:
            bad = pc.match_substring(table[name], _NOT_UTF8)
            for row in table.filter(bad).select([ROW, name]).to_pylist():
                excerpt = row[name].replace(_NOT_UTF8, "\ufffd")
                rejects.append((row[ROW], "invalid-unicode", excerpt))
            table = table.filter(pc.invert(bad))
    return SourceRows(table, rejects_table(sorted(rejects)) if rejects else None)
