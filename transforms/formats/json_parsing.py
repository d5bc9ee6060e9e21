"""JSON objects become columns, or rejects with a code; for JSON Lines and JSON arrays.

One object is parsed at a time.  JSON Lines uses this only for blocks that Arrow's parser cannot
take.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
import pyarrow as pa

from transforms.formats.source_rows import SourceRows
from transforms.records import ROW, Column, rejects_table

NOT_AN_OBJECT = "not-an-object"
BROKEN_JSON = "broken-json"
TOO_LARGE = "row-too-large"

_NESTED = ("list", "struct")

_ARROW_TYPES = {
    "string": pa.string(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "null": pa.null(),
}


def arrow_type(column: Column) -> pa.DataType | None:
    """The type of a column that the readers yield.

    A list of objects is a list of structs of text if its cells allow that, else JSON text, since
    cells of one JSON key may have different types.  Any other list, and an object (None here), is
    JSON text.  Structs have the ``other_keys`` with the types of the sample.  Cells with a key that
    the sample lacks do not fit ``null``, so that they are JSON text; such keys cost Arrow's parser
    little.

    A column of the type ``null`` is one that the sample lacks; blocks that fill it do not fit.
    Of numbers that become text Arrow takes the whole ones alone: it would write 3 and 3.0 as one.
    """
    if column.type in _NESTED:
        if column.type == "struct" or not column.keys:
            return None
        others = [(key, _ARROW_TYPES[kind]) for key, kind in column.other_keys]
        return pa.list_(pa.struct([*((key, pa.string()) for key in column.keys), *others]))
    if column.text and column.type not in ("int64", "bool", "null"):
        return pa.string()
    return _ARROW_TYPES[column.type]


def _is_int(cell: object) -> bool:
    return isinstance(cell, int) and not isinstance(cell, bool)


def _is_int64(cell: object) -> bool:
    return _is_int(cell) and -(2**63) <= cell < 2**63  # type: ignore[operator]


_FITS: dict[str, Callable[[object], bool]] = {
    "string": lambda cell: isinstance(cell, str),
    "int64": _is_int64,
    "double": lambda cell: _is_int(cell) or isinstance(cell, float),
    "bool": lambda cell: isinstance(cell, bool),
    "list": lambda cell: True,  # the conversation rule checks it
    "struct": lambda cell: True,
}


class _MinusZero(int):
    """An int that becomes -0.0 in a column of doubles, as Arrow reads it."""

    def __float__(self) -> float:
        return -0.0


def _int(digits: str) -> int | float:
    if digits == "-0":
        return _MinusZero()
    # Python refuses to convert thousands of digits.
    return int(digits) if len(digits) < 1000 else float(digits)


DECODER = json.JSONDecoder(parse_int=_int)
"""Parses a number of any length, so that one in a column that is not read breaks no row."""


class Fault(ValueError):
    """A row that is rejected, with its reject code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


Numbered = tuple[int, Mapping[str, object] | Fault, str]
"""A row's number, its object or fault, and its beginning as text."""


class JsonList(list[object]):
    """A list of valid JSON, with its text in the source.

    Its column may have to hold JSON text; to write the list again takes ten times as long as to
    parse it.
    """

    __slots__ = ("text",)

    def __init__(self, items: list[object], text: str) -> None:
        super().__init__(items)
        self.text = text


class LineParser:
    """Parses lines of one JSON object each; the lists of the ``columns`` come as ``JsonList``."""

    def __init__(self, columns: Sequence[Column] = ()) -> None:
        names = [column.name for column in columns if column.type == "list"]
        fields = [
            (f"list{index}", msgspec.Raw, msgspec.field(name=name, default=msgspec.Raw()))
            for index, name in enumerate(names)
        ]
        texts = msgspec.defstruct("Texts", fields)
        self._names = names
        self._texts = msgspec.json.Decoder(texts)

    def parse(self, line: bytes) -> Mapping[str, object]:
        """The object of one line; raises ``Fault`` where it is not one JSON object."""
        if b"-0" in line:  # msgspec drops the sign
            return parse_line(line)
        try:
            row = as_object(msgspec.json.decode(line))
            texts = msgspec.structs.astuple(self._texts.decode(line)) if self._names else ()
        except (msgspec.MsgspecError, RecursionError):
            return parse_line(line)  # which takes more: NaN, any number, half a surrogate pair
        for name, text in zip(self._names, texts, strict=True):
            if isinstance(value := row.get(name), list):
                row[name] = JsonList(value, str(text, "utf-8"))
        return row


def parse_line(line: bytes) -> dict[str, object]:
    """The object of one line; raises ``Fault`` where it is not one JSON object."""
    try:
        # Invalid UTF-8 becomes lone surrogates, which ``_cell`` rejects.
        value = DECODER.decode(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise Fault(BROKEN_JSON) from error
    return as_object(value)


LISTED = "messages"
"""The column of a row that is a list of objects: a conversation without an object around it."""


def as_object(value: object) -> dict[str, object]:
    """The value if it is an object, or a list of objects as ``LISTED``; else raises ``Fault``."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return {LISTED: value}
    if not isinstance(value, dict):
        raise Fault(NOT_AN_OBJECT)
    return value


def to_rows(numbered: Iterable[Numbered], columns: Sequence[Column]) -> SourceRows:
    """Rows of (number, object or fault, excerpt) triples."""
    numbers: list[int] = []
    cells: list[list[object]] = [[] for _ in columns]
    rejects: list[tuple[int, str, str]] = []
    for number, value, excerpt in numbered:
        try:
            if isinstance(value, Fault):
                raise value
            row = [_cell(value.get(column.name), column) for column in columns]
        except Fault as fault:
            rejects.append((number, fault.code, excerpt))
            continue
        numbers.append(number)
        for array, cell in zip(cells, row, strict=True):
            array.append(cell)
    arrays = [_array(array, column) for array, column in zip(cells, columns, strict=True)]
    table = pa.table(
        [*arrays, pa.array(numbers, pa.int64())], names=[*(c.name for c in columns), ROW]
    )
    return SourceRows(table, rejects_table(rejects) if rejects else None)


def _array(cells: list[object], column: Column) -> pa.Array:
    kind = arrow_type(column)
    if column.text:
        return pa.array(cells, pa.string())
    if column.type not in _NESTED:
        return pa.array(cells, kind)
    if kind is not None and _may_be_structs(cells, column):
        orders: _Orders = {}
        try:
            return pa.array([_read_keys(cell, column, orders) for cell in cells], kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            pass  # such as a turn whose text is a list of parts
    return pa.array([None if c is None else _json(c) for c in cells], pa.string())


def _may_be_structs(cells: Sequence[object], column: Column) -> bool:
    """Are all cells lists of objects without the keys that have no type of Arrow's?"""
    untyped = {key for key, kind in column.other_keys if kind == "null"}
    # Arrow takes an empty text for an empty list.
    return all(
        cell is None
        or (
            isinstance(cell, list)
            and all(
                not isinstance(item, dict)
                or untyped.isdisjoint(item)
                or all(item.get(key) is None for key in untyped)
                for item in cell
            )
        )
        for cell in cells
    )


def _json(cell: object) -> str:
    return cell.text if isinstance(cell, JsonList) else json.dumps(cell, ensure_ascii=False)


def _cell(cell: object, column: Column) -> object:
    if cell is None or isinstance(cell, JsonList):
        return cell
    if column.type == "null":  # not in the sample; what it holds is told, not trained
        cell = cell if isinstance(cell, str) else _json(cell)
    elif column.text:
        cell = scalar_text(cell)
    elif not _FITS[column.type](cell):
        raise Fault("not-text" if column.type == "string" else "wrong-type")
    if column.type == "list":
        cell = _read_keys(cell, column, {})
    text = _nested(cell) if column.type in _NESTED else cell
    if isinstance(text, str):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise Fault("invalid-unicode") from error
    return _double(cell) if column.type == "double" and not column.text else cell


def scalar_text(cell: object) -> str | None:
    """Text as it is, a number or boolean as JSON writes it; NaN and infinity say nothing.

    Raises:
        Fault: the cell is a list or an object.
    """
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, float) and not math.isfinite(cell):
        return None
    if not isinstance(cell, (bool, int, float)):
        raise Fault("not-text")
    return json.dumps(cell)


_Orders = dict[tuple[str, ...], tuple[str, ...]]
"""The keys of an object -> those that are read, in the order of the column's."""

_MOST_ORDERS = 1000


def _read_keys(cell: object, column: Column, orders: _Orders) -> object:
    """The objects of a list with only the keys that are read, as Arrow's parser gives them."""
    if not column.keys or not isinstance(cell, list):
        return cell
    made: list[object] = []
    for item in cell:
        if isinstance(item, dict):
            keys = orders.get(tuple(item))
            if keys is None:
                keys = _in_order(item, column, orders)
            item = {key: item[key] for key in keys if item[key] is not None}
        made.append(item)
    return made


def _in_order(item: Mapping[str, object], column: Column, orders: _Orders) -> tuple[str, ...]:
    names = (*column.keys, *(key for key, _ in column.other_keys))
    if len(orders) > _MOST_ORDERS:
        orders.clear()
    found = orders[tuple(item)] = tuple(name for name in names if name in item)
    return found


def _nested(cell: object) -> str:
    try:
        return _json(cell)
    except RecursionError as error:
        raise Fault(BROKEN_JSON) from error


def _double(cell: object) -> float:
    try:
        return float(cell)  # type: ignore[arg-type]
    except OverflowError:  # an int above all doubles: infinite, as Arrow reads it
        return math.inf if cell > 0 else -math.inf  # type: ignore[operator]


def columns_of(sample: Sequence[Mapping[str, object]]) -> tuple[Column, ...]:
    """The columns of sample objects, in order of first appearance, typed by their values."""
    filled: dict[str, list[object]] = {}
    for row in sample:
        for name, cell in row.items():
            cells = filled.setdefault(name, [])
            if cell is not None:
                cells.append(cell)
    return tuple(Column(name, _type_of(cells)) for name, cells in filled.items())


def _type_of(filled: Sequence[object]) -> str:
    """The type of a column from its cells that are not null."""
    kinds = {type(cell) for cell in filled}
    if not kinds:
        return "string"  # a column such as ``input`` may be filled in later rows only
    if 2 * sum(isinstance(cell, list) for cell in filled) > len(filled):
        return "list"  # other values only reject their rows
    if kinds <= {list, dict}:
        return "list" if list in kinds else "struct"
    if str in kinds:
        return "string"
    if kinds == {bool}:
        return "bool"
    if all(map(_is_int64, filled)):
        return "int64"
    if kinds <= {int, _MinusZero, float}:
        return "double"
    return "mixed"
