"""JSON arrays of objects: read in steps by the standard library's parser, never held whole.

An array cannot be cut without parsing it, so a file is read by one unit.  A broken element ends the
file with an error: unlike a line, it does not tell where the next one starts.  So does anything
after the closing bracket: it would be left out without a word.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import BinaryIO

from transforms.errors import BadInput
from transforms.formats.json_parsing import (
    DECODER,
    TOO_LARGE,
    Fault,
    Numbered,
    as_object,
    columns_of,
    to_rows,
)
from transforms.formats.opening import open_binary
from transforms.formats.source_rows import (
    MAX_ROW_BYTES,
    SAMPLE_ROWS,
    FileFormat,
    FileSample,
    SourceRows,
    whole_file,
)
from transforms.records import EXCERPT_CHARS, Column, FileRange
from transforms.work_units import Cut

_STEP = 2**20
_SPACE = " \t\r\n"
# Behind a value at the end of a step: a number could go on there in the next one.
_MAY_GO_ON = re.compile(r"\.?|[eE][+-]?")


def read_sample(path: str, file_format: FileFormat) -> FileSample:
    """Columns and types from the first elements."""
    sample = [
        v for _, v, _ in islice(_objects(path, file_format), SAMPLE_ROWS) if isinstance(v, dict)
    ]
    return FileSample(file_format, columns_of(sample), sample)


def cuts(
    path: str, file_format: FileFormat, name: str, size: int, names: Sequence[str], unit_bytes: int
) -> Iterator[Cut]:
    """The whole file."""
    yield from whole_file(file_format, name, size)


def read(
    path: str,
    file_format: FileFormat,
    file_range: FileRange,
    columns: Sequence[Column],
    batch_bytes: int,
) -> Iterator[SourceRows]:
    """The elements in batches of about ``batch_bytes`` of JSON, numbered from 1."""
    batch: list[Numbered] = []
    held = 0
    for number, value, excerpt, size in _sized(path, file_format):
        batch.append((number, value, excerpt))
        held += size
        if held >= batch_bytes:
            yield to_rows(batch, columns)
            batch, held = [], 0
    if batch:
        yield to_rows(batch, columns)


def rows_before(path: str, file_range: FileRange) -> int:
    """None: a piece is a whole file."""
    return 0


def _objects(path: str, file_format: FileFormat) -> Iterator[Numbered]:
    return ((number, value, excerpt) for number, value, excerpt, _ in _sized(path, file_format))


def _sized(
    path: str, file_format: FileFormat
) -> Iterator[tuple[int, dict[str, object] | Fault, str, int]]:
    with open_binary(path, file_format.compression) as file:
        for number, (value, source) in enumerate(_elements(file, path), start=1):
            try:
                if len(source) > MAX_ROW_BYTES:
                    raise Fault(TOO_LARGE)
                parsed: dict[str, object] | Fault = dict(as_object(value))
            except Fault as fault:
                parsed = fault
            yield number, parsed, source[:EXCERPT_CHARS], len(source)


def _elements(file: BinaryIO, path: str) -> Iterator[tuple[object, str]]:
    """Each element of the array with its JSON source."""
    # Bytes that are no UTF-8 become lone surrogates, and their row a reject.
    decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
    parse = DECODER.raw_decode
    text, at, ended = "", 0, False

    def more() -> bool:
        nonlocal text, at, ended
        data = b"" if ended else file.read(max(_STEP, len(text) - at))  # doubling: linear in all
        ended = not data
        text, at = text[at:] + decoder.decode(data, final=ended), 0
        return not ended

    def next_char() -> str:
        nonlocal at
        while True:
            while at < len(text) and text[at] in _SPACE:
                at += 1
            if at < len(text) or not more():
                return text[at : at + 1]

    def broken(found: str) -> BadInput:
        return BadInput(
            f"{path} is not a whole JSON array: {found} after {count:,} elements; the file is cut "
            "or damaged: replace it, or convert it to JSON Lines"
        )

    def end_of_file() -> None:
        if next_char():
            raise broken("more text after the closing bracket")

    count = 0
    if next_char() != "[":
        raise broken("no opening bracket")
    at += 1
    if next_char() == "]":
        at += 1
        return end_of_file()
    while True:
        next_char()
        while True:
            try:
                value, end = parse(text, at)
                if not _MAY_GO_ON.fullmatch(text, end) or not more():
                    break
            except (ValueError, RecursionError) as error:
                if len(text) - at > MAX_ROW_BYTES:
                    raise broken(f"an element of more than {MAX_ROW_BYTES:,} bytes") from error
                if _is_final(error, len(text)) or not more():
                    raise broken(str(error).split(":")[0]) from error
        yield value, text[at:end]
        count += 1
        at = end
        mark = next_char()
        at += 1
        if mark == "]":
            return end_of_file()
        if mark != ",":
            raise broken(f"{mark!r}" if mark else "the end of the file")


def _is_final(error: ValueError | RecursionError, end: int) -> bool:
    """Would the text up to ``end`` still be wrong, whatever follows it?"""
    if not isinstance(error, json.JSONDecodeError):
        return True
    # What is cut in two is seen where it starts: a string anywhere, a literal or escape close by.
    return not error.msg.startswith("Unterminated string") and end - error.pos > 16
