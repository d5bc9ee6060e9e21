"""JSON arrays of objects: the standard library parses them in steps, never the whole file.

The array is the file, or lies under a key of the one object that is (``FileFormat.key``).  The
reader of ``json_values``, objects that are not one a line, is here, too.

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
from pathlib import Path
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
from transforms.formats.json_shapes import is_row_key
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
_INK = re.compile(r"[^ \t\r\n]")
# After a value at the end of a step: a number may continue in the next step.
_MAY_GO_ON = re.compile(r"\.?|[eE][+-]?")


def read_sample(path: str, file_format: FileFormat) -> FileSample:
    """Columns and types from the first elements."""
    first = list(islice(_objects(path, file_format), SAMPLE_ROWS))
    sample = [value for _, value, _ in first if isinstance(value, dict)]
    if first and not sample:
        raise BadInput(
            f"none of the first {len(first):,} elements of {path} is a JSON object; expected an "
            'array of objects, such as [{"prompt": TEXT, "completion": TEXT}]'
        )
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
        for number, (value, source) in enumerate(_found(file, path, file_format), start=1):
            try:
                if len(source) > MAX_ROW_BYTES:
                    raise Fault(TOO_LARGE)
                parsed: dict[str, object] | Fault = dict(as_object(value))
            except Fault as fault:
                parsed = fault
            yield number, parsed, source[:EXCERPT_CHARS], len(source)


def row_keys(path: str, file_format: FileFormat) -> tuple[str, ...]:
    """The keys of arrays of rows in a file that is one object; the whole file is read."""
    with open_binary(path, file_format.compression) as file:
        return tuple(_JsonText(file, path, "JSON object").row_keys())


def _found(file: BinaryIO, path: str, file_format: FileFormat) -> Iterator[tuple[object, str]]:
    if file_format.name == "json_values":
        return _values(file, path)
    return _elements(file, path, file_format.key)


def _elements(file: BinaryIO, path: str, key: str | None = None) -> Iterator[tuple[object, str]]:
    """Each element of the array with its JSON source."""
    text = _JsonText(file, path, "JSON array" if key is None else f"JSON object with {key!r}")
    if key is None:
        yield from text.elements()
    else:
        yield from text.elements_under(key)
    text.end()


def _values(file: BinaryIO, path: str) -> Iterator[tuple[object, str]]:
    """Each value of a file that is one after the other, with its JSON source."""
    text = _JsonText(file, path, "row of JSON objects")
    while mark := text.next_char():
        if mark != "{":
            raise text.broken(f"{mark!r}")
        yield text.value()
        text.count += 1


class _JsonText:
    """The text of a file, some bytes at a time.

    Attributes:
        count: the elements or values that were read.
    """

    def __init__(self, file: BinaryIO, path: str, kind: str) -> None:
        self._file, self._path, self._kind = file, path, kind
        # Invalid UTF-8 becomes lone surrogates, which reject the row.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._text, self._at, self._ended = "", 0, False
        self.count = 0

    def _more(self) -> bool:
        rest = len(self._text) - self._at
        data = b"" if self._ended else self._file.read(max(_STEP, rest))  # doubling: linear in all
        self._ended = not data
        self._text = self._text[self._at :] + self._decoder.decode(data, final=self._ended)
        self._at = 0
        return not self._ended

    def next_char(self) -> str:
        """The next character that is no white space; "" at the end."""
        while True:
            found = _INK.search(self._text, self._at)
            self._at = found.start() if found else len(self._text)
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def take(self, mark: str, missing: str) -> None:
        """Goes past a character that must be next."""
        found = self.next_char()
        if found != mark:
            raise self.broken(missing or (f"{found!r}" if found else "the end of the file"))
        self._at += 1

    def broken(self, found: str) -> BadInput:
        """The error of a file that is damaged here."""
        return BadInput(
            f"{self._path} is not a complete {self._kind}: {found} after {self.count:,} elements; "
            "the file is truncated or damaged: replace it, or convert it to JSON Lines"
        )

    def end(self) -> None:
        """``BadInput`` where more text follows."""
        if self.next_char():
            raise self.broken("more text after the closing bracket")

    def value(self) -> tuple[object, str]:
        """The value that begins here, behind white space, with its source."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
                if not _MAY_GO_ON.fullmatch(self._text, end) or not self._more():
                    break
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._at > MAX_ROW_BYTES:
                    raise self.broken(f"an element of more than {MAX_ROW_BYTES:,} bytes") from error
                if _is_final(error, len(self._text)) or not self._more():
                    raise self.broken(str(error).split(":")[0]) from error
        source = self._text[self._at : end]
        self._at = end
        return value, source

    def elements(self) -> Iterator[tuple[object, str]]:
        """The elements of an array, to its closing bracket."""
        self.take("[", "no opening bracket")
        mark = self.next_char()
        if mark == "]":
            self._at += 1
            return
        while mark != "]":
            yield self.value()
            self.count += 1
            mark = self.next_char()
            self._at += 1
            if mark == ",":
                if self.next_char() != "]":
                    continue
                raise BadInput(
                    f"{self._path} has a comma before the closing bracket, behind "
                    f"{self.count:,} elements, which JSON does not allow; remove it: "
                    f"sed -zE 's/,([[:space:]]*\\][[:space:]]*)$/\\1/' {Path(self._path).name} > "
                    "fixed.json"
                )
            if mark != "]":
                raise self.broken(f"{mark!r}" if mark else "the end of the file")

    def elements_under(self, key: str) -> Iterator[tuple[object, str]]:
        """The elements of the array under a key of an object, to the object's closing brace."""
        found = False
        for name in self._members():
            if name != key:
                self._skip()
                continue
            if found:
                raise self.broken(f"the key {key!r} twice")
            found = True
            yield from self.elements()
        if not found:
            raise BadInput(
                f"{self._path} has no key {key!r}, which the first file has; prepare the files "
                "separately"
            )

    def row_keys(self) -> Iterator[str]:
        """The keys of an object whose arrays hold rows."""
        for name in self._members():
            first = self._skip()
            if is_row_key(name, first):
                yield name

    def _members(self) -> Iterator[str]:
        """The keys of an object; whoever takes one goes past its value."""
        self.take("{", "no opening brace")
        mark = ","
        while mark == ",":
            self.next_char()
            name, _ = self.value()
            self.take(":", "")
            yield str(name)
            mark = self.next_char()
            self._at += 1
        if mark != "}":
            raise self.broken(f"{mark!r}" if mark else "the end of the file")

    def _skip(self) -> object:
        """Goes past a value; an array may be longer than what is held: its first is returned."""
        if self.next_char() != "[":
            return self.value()[0]
        count = self.count
        first = [value for number, (value, _) in enumerate(self.elements()) if not number]
        self.count = count
        return first


def _is_final(error: ValueError | RecursionError, end: int) -> bool:
    """Is the text up to ``end`` an error, whatever follows it?"""
    if not isinstance(error, json.JSONDecodeError):
        return True
    # A cut token fails where it starts: a string anywhere, a literal or an escape near the end.
    return not error.msg.startswith("Unterminated string") and end - error.pos > 16
