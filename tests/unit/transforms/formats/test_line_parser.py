"""Lines of JSON are parsed alike by msgspec, which is fast, and by the parser that takes more."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from transforms.formats.json_parsing import Fault, JsonList, LineParser, parse_line
from transforms.records import Column

_PARSER = LineParser([Column("a", "list"), Column("b", "string")])

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(st.characters(codec=None, exclude_categories=()), max_size=5)
)
_VALUES = st.recursive(
    _SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from("abc"), v)
)
_ROWS = st.dictionaries(st.sampled_from("abc"), _VALUES, max_size=3)

# Bits of which valid and broken lines are made.
_BITS = st.sampled_from(
    [b'{"a":', b'{"b":', b"[", b"]", b"}", b",", b'"', b"1", b"-0", b"-", b"0", b"1e400", b"NaN"]
    + [b"Infinity", b"null", b"\\", b"\\ud800", b"\\udc00", b"\xff", b"\xed\xa0\x80", b"\xc3\xa9"]
    + [
        b" ",
        b"\t",
        b"\r",
        b"\0",
        b"\x0c",
        b'{"a":[{"b":2}]}',
        b'{"a":[-0]}',
        b'{"a":[01]}',
        b"true",
    ]
)


def outcome(line: bytes, parse: object) -> object:
    try:
        return parse(line)  # type: ignore[operator]
    except Fault as fault:
        return fault.code


def text(value: object) -> str:
    """Two values have the same text if a column and a turn get the same of them."""
    return json.dumps(value)


def check(line: bytes) -> None:
    fast, careful = outcome(line, _PARSER.parse), outcome(line, parse_line)
    assert text(fast) == text(careful)
    cell = fast.get("a") if isinstance(fast, dict) else None
    if isinstance(cell, JsonList):
        assert text(json.loads(cell.text)) == text(cell)
        assert cell.text.encode() in line


@given(_ROWS)
def test_a_row_is_the_same(row: dict[str, object]) -> None:
    check(json.dumps(row).encode())
    check(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@given(st.lists(_BITS, max_size=8).map(b"".join))
@example(b'{"a":[1],"a":[2]}')
@example(b'{"a":null,"a":[2]}')
@example(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}")
@example(b'{"a":[' + b"9" * 6000 + b"]}")
@example(b'[{"role": "user"}]')
def test_a_line_of_bits_is_the_same(line: bytes) -> None:
    check(line)


def test_a_list_keeps_its_text() -> None:
    row = _PARSER.parse(b'{"b": "x", "a": [ {"n":1.50, "k" : null} ]}')
    assert isinstance(cell := row["a"], JsonList)
    assert cell.text == '[ {"n":1.50, "k" : null} ]'


@pytest.mark.parametrize(
    "line", [b'{"a": [-0.0], "c": -0}', b'{"a": [NaN]}', b'{"a": ["\\ud800"]}']
)
def test_what_msgspec_reads_otherwise_is_left_to_the_other_parser(line: bytes) -> None:
    row = _PARSER.parse(line)
    assert not isinstance(row["a"], JsonList)
    if "c" in row:
        assert math.copysign(1, float(row["c"])) == -1  # type: ignore[arg-type]
