"""JSON Lines: local plain files are cut at any byte; a unit reads the lines that start in it.

One unit reads a compressed or remote file as a whole.  Arrow's JSON parser gets each block of lines
with the plan's types.  A block that it refuses, or that may not have one object per line, is parsed
again line by line, so that a bad line rejects one row.  Which parser reads a line depends on its
neighbours, so both must give the same result.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.json as pj

from transforms.errors import BadInput
from transforms.formats import json_array
from transforms.formats.json_parsing import (
    BROKEN_JSON,
    TOO_LARGE,
    Fault,
    LineParser,
    Numbered,
    arrow_type,
    columns_of,
    parse_line,
    to_rows,
)
from transforms.formats.json_shapes import chosen_key, find_shape
from transforms.formats.opening import is_remote, open_binary
from transforms.formats.source_rows import (
    MAX_ROW_BYTES,
    SAMPLE_ROWS,
    FileFormat,
    FileSample,
    SourceRows,
    numbered,
    whole_file,
)
from transforms.options import NO_FLAGS, TextFlags
from transforms.records import EXCERPT_CHARS, Column, FileRange
from transforms.work_units import Cut, byte_cuts

_BOM = b"\xef\xbb\xbf"
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")
_STEP = 2**20


def read_sample(path: str, file_format: FileFormat, flags: TextFlags = NO_FLAGS) -> FileSample:
    """Columns and types from the first lines, or of the other shape that the file has.

    Raises:
        BadInput: the shape is not read, or no line is an object.
        UsageError: the file has several arrays of rows, and nothing says which.
    """
    with open_binary(path, file_format.compression) as file:
        start = b""
        while len(start) < _STEP and (data := file.read(_STEP - len(start))):
            start += data
    if start.startswith(_WIDE_BOMS):
        raise BadInput(f"{path} is UTF-16 text, expected UTF-8; convert it first (iconv -t UTF-8)")
    start = start.removeprefix(_BOM)
    if _is_array(start):
        return json_array.read_sample(path, replace(file_format, name="json_array"))
    shape = find_shape(start.decode("utf-8", "replace"), len(start) < _STEP, path)
    if shape.values:
        return json_array.read_sample(path, replace(file_format, name="json_values"))
    if shape.keys:
        keys = json_array.row_keys(path, file_format) if shape.cut else shape.keys
        key = chosen_key(keys, flags.split, path)
        found = json_array.read_sample(path, replace(file_format, name="json_array", key=key))
        return replace(found, keys=keys)
    sample: list[dict[str, object]] = []
    faults: list[str] = []
    for _, value, _ in _objects(path, file_format):
        if isinstance(value, Fault):
            faults.append(value.code)
        else:
            sample.append(dict(value))
        if len(sample) + len(faults) >= SAMPLE_ROWS:
            break
    if faults and not sample:
        if set(faults) == {TOO_LARGE}:
            raise BadInput(
                f"the first {len(faults):,} lines of {path} have more than {MAX_ROW_BYTES:,} bytes "
                "each, the limit of a row; if the file is one object around all rows, write the "
                f"rows first: jq -c '.KEY[]' {Path(path).name} > rows.jsonl"
            )
        raise BadInput(
            f"{path} is not JSON Lines: none of its first {len(faults)} lines is a JSON object; "
            "expected one object per line, or one array of objects"
        )
    return FileSample(file_format, columns_of(sample), sample)


def _is_array(start: bytes) -> bool:
    """Does a file begin with one array?  A line may also be a list: a conversation of its own."""
    first, _, rest = start.lstrip().partition(b"\n")
    if not first.startswith(b"["):
        return False
    if not first.rstrip().endswith(b"]") or not rest.lstrip().startswith(b"["):
        return True
    try:
        return not parse_line(first)
    except Fault:
        return True


def _objects(path: str, file_format: FileFormat) -> Iterator[Numbered]:
    with open_binary(path, file_format.compression) as file:
        number, parser = 1, LineParser()
        for block in _blocks(file, 0, None, _STEP):
            yield from _parse_lines(block, number, parser)
            number += block.count(b"\n")


def cuts(
    path: str, file_format: FileFormat, name: str, size: int, names: Sequence[str], unit_bytes: int
) -> Iterator[Cut]:
    """Byte ranges of a local plain file; else the whole file."""
    if file_format.compression is None and not is_remote(path):
        yield from byte_cuts(name, size, unit_bytes)
    else:
        yield from whole_file(file_format, name, size)


def read(
    path: str,
    file_format: FileFormat,
    file_range: FileRange,
    columns: Sequence[Column],
    batch_bytes: int,
) -> Iterator[SourceRows]:
    """The lines that start in the range's bytes, numbered within it."""
    kinds = [arrow_type(column) for column in columns]
    schema = None  # where Arrow's parser has no type for a column
    if all(kind is not None for kind in kinds):
        schema = pa.schema(list(zip((c.name for c in columns), kinds, strict=True)))
    with open_binary(path, file_format.compression) as file:
        number, parser = 1, LineParser(columns)
        for block in _blocks(file, file_range.start, file_range.stop or None, batch_bytes):
            if number == 1 and file_range.start == 0 and _is_array(block):
                raise BadInput(
                    f"{path} contains a JSON array, but the first file has one object per line; "
                    "prepare the files separately"
                )
            if number == 1 and file_range.start == 0:
                _check_shape(block, columns, path)
            ends = _line_ends(block)
            yield _parse_fast(block, number, schema, ends) or to_rows(
                _parse_lines(block, number, parser, schema), columns
            )
            number += len(ends)


def _check_shape(block: bytes, columns: Sequence[Column], path: str) -> None:
    """``BadInput`` where a file has another shape than the first one, which has lines."""
    text = block[:_STEP].removeprefix(_BOM).decode("utf-8", "replace")
    shape = find_shape(text, len(block) < _STEP, path)
    if shape.values or set(shape.keys) - {column.name for column in columns}:
        raise BadInput(
            f"{path} is {'one JSON object around its rows' if shape.keys else 'no JSON Lines'}, "
            "but the first file has one object per line; prepare the files separately"
        )


def _line_ends(block: bytes) -> np.ndarray:
    """The places of line ends; unlike ``bytes.count`` this releases the interpreter's lock."""
    return np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))


def _object_lines(block: bytes, ends: np.ndarray) -> int | None:
    """The number of lines if each must be one object, provided that the block is valid JSON with
    as many values; else None.

    Arrow's parser crashes if the first value is null (apache/arrow issue 47409), takes a null for
    an object without fields, stops at a NUL and ignores line ends.
    """
    if b"\0" in block or not block.lstrip(b" ").startswith(b"{"):
        return None
    data = np.frombuffer(block, np.uint8)
    lines = len(ends) + (not block.endswith(b"\n"))
    inner = ends[: lines - 1]
    before = data[inner - 1]
    before = np.where(before == ord("\r"), data[inner - 2], before)
    whole = (before == ord("}")).all() and (data[inner + 1] == ord("{")).all()
    return lines if whole else None


def _parse_fast(
    block: bytes, number: int, schema: pa.Schema | None, ends: np.ndarray
) -> SourceRows | None:
    if not schema or len(block) > MAX_ROW_BYTES:  # a long line must be rejected
        return None
    lines = _object_lines(block, ends)
    if lines is None:
        return None
    table = _parse_known(block, schema)
    if table is None:
        table = _parse(block, schema, "ignore")
    if table is None or table.num_rows != lines:
        return None
    return SourceRows(numbered(table, number))


def _parse_known(block: bytes, schema: pa.Schema) -> pa.Table | None:
    """The rows where no line has a key besides the columns of the sample that are read.

    Columns that the sample lacks (type null) cost Arrow's parser a look at each row for each of
    them, a third of the time of plain pairs, so a block without them is parsed without them.
    """
    late = [field for field in schema if pa.types.is_null(field.type)]
    if not late:
        return None
    known = pa.schema([field for field in schema if field not in late])
    table = _parse(block, known, "error")
    if table is None:
        return None
    for field in late:
        table = table.append_column(field, pa.nulls(table.num_rows))
    return table.select(schema.names)


def _parse(block: bytes, schema: pa.Schema, unexpected: str) -> pa.Table | None:
    try:
        table = pj.read_json(
            pa.BufferReader(block),
            pj.ReadOptions(use_threads=False, block_size=len(block) + 1),
            pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior=unexpected),
        )
        table.validate(full=True)
    except pa.ArrowException:
        return None
    return table


_PYTHON_DEPTH = 500
"""Python parses at least so many levels; its limit of 1,000 counts the calls around it, too."""


def _is_deep(line: bytes) -> bool:
    return line.count(b"[") + line.count(b"{") > _PYTHON_DEPTH


def _parse_lines(
    block: bytes, number: int, parser: LineParser, schema: pa.Schema | None = None
) -> Iterator[Numbered]:
    for line in block.split(b"\n") if block.strip() else ():
        if line.strip():
            # Cut before decoding; a character may take four bytes.
            excerpt = line[: 4 * EXCERPT_CHARS].decode("utf-8", "replace")
            try:
                if len(line) > MAX_ROW_BYTES:
                    raise Fault(TOO_LARGE)
                yield number, parser.parse(line), excerpt
            except Fault as fault:
                # Arrow parses deeper nesting than Python, in columns that are not read.
                deep = None
                if schema and fault.code == BROKEN_JSON and _is_deep(line):
                    deep = _parse_fast(line, number, schema, _line_ends(line))
                yield number, deep.table.to_pylist()[0] if deep else fault, excerpt
        number += 1


def _blocks(file: BinaryIO, start: int, stop: int | None, step: int) -> Iterator[bytes]:
    """Whole lines in blocks of about ``step`` bytes: the lines that start in [start, stop).

    Only the beginning of a line longer than ``MAX_ROW_BYTES`` is kept, enough to reject it.
    """
    if start:
        file.seek(start - 1)
    position = max(0, start - 1)
    others = start > 0  # the line that covers start - 1 belongs to the previous range
    carry = b""
    # A long line is read in growing steps, so the time is linear.
    while data := file.read(max(step, len(_BOM), len(carry) // 4)):
        if len(carry) > MAX_ROW_BYTES and b"\n" not in data:
            position += len(data)
            continue
        if position == 0:
            data = data.removeprefix(_BOM).rjust(len(data))  # spaces keep the byte positions
        data_at = position
        position += len(data)
        if others:
            end = data.find(b"\n") + 1
            if not end:
                continue
            data, data_at, others = data[end:], data_at + end, False
            if stop is not None and data_at >= stop:
                return
        block = carry + data
        if stop is not None and position >= stop:
            # The line that covers stop - 1 is the last one here.
            end = block.find(b"\n", max(0, len(carry) + stop - 1 - data_at)) + 1
            if end:
                yield block[:end]
                return
        end = block.rfind(b"\n") + 1
        if end:
            yield block[:end]
        carry = block[end:][: MAX_ROW_BYTES + 1]
    if carry:
        yield carry


_known_lines: dict[tuple[str, int, int], dict[int, int]] = {}
"""Lines before a byte, for files in which this process has counted them: (path, size, time of
change) -> byte -> lines."""


def rows_before(path: str, file_range: FileRange) -> int:
    """The number of lines before the first line of the range.

    Byte ranges are cut without reading, so only a unit with rejects pays for this count.  A process
    reads a file for it at most once.
    """
    end = file_range.start - 1
    state = os.stat(path)  # noqa: PTH116 (a path may be a str)
    known = _known_lines.setdefault((path, state.st_size, state.st_mtime_ns), {0: 0})
    position = max(byte for byte in list(known) if byte <= end)
    lines = known[position]
    with open_binary(path) as file:
        file.seek(position)
        while position < end:
            data = file.read(min(_STEP, end - position))
            if not data:
                break
            lines += data.count(b"\n")
            position += len(data)
    known[end] = lines
    return lines + 1


def byte_places(path: str, file_range: FileRange) -> Iterator[tuple[int, int]]:
    """The range, the byte before it, and what its last line may need of the next one."""
    yield max(0, file_range.start - 1), file_range.stop + _STEP
