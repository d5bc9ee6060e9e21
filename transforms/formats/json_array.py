"""JSON arrays of objects: the standard library parses them in steps, never the whole file.

An array cannot be cut without parsing it, so one unit reads a whole file.  A broken element is an
error for the file: unlike with lines, the start of the next element is unknown.  Text after the
closing bracket is an error, since it would be lost silently.
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
)
from transforms.records import EXCERPT_CHARS, Column, FileRange

_STEP = 2**20
_SPACE = " \t\r\n"
# After a value at the end of a step: a number may continue in the next step.
_MAY_GO_ON = re.compile(r"\.?|[eE][+-]?")


def read_sample(path: str, file_format: FileFormat) -> FileSample:
    """Columns and types from the first elements."""
    sample = [
        v for _, v, _ in islice(_objects(path, file_format), SAMPLE_ROWS) if isinstance(v, dict)
    ]
    return FileSample(file_format, columns_of(sample), sample)


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
    # Invalid UTF-8 becomes lone surrogates, which reject the row.
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
            f"{path} is not a complete JSON array: {found} after {count:,} elements; the file is "
            "truncated or damaged: replace it, or convert it to JSON Lines"
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
    """Is the text up to ``end`` an error, whatever follows it?"""
    if not isinstance(error, json.JSONDecodeError):
        return True
    # A cut token fails where it starts: a string anywhere, a literal or an escape near the end.
    return not error.msg.startswith("Unterminated string") and end - error.pos > 16
