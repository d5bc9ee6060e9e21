"""The types of a source's Arrow columns: text, numbers, lists, structs, or none of these."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from transforms.errors import BadInput
from transforms.records import Column, one_array


def type_name(kind: pa.DataType) -> str:
    """The name of an Arrow type in a ``Column``: every text type is ``string``."""
    if isinstance(kind, pa.BaseExtensionType):
        return type_name(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return type_name(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "string"
    if pa.types.is_integer(kind):
        return "int64"
    if pa.types.is_floating(kind):
        return "double"
    if _is_list(kind):
        return "list"
    if pa.types.is_struct(kind) or pa.types.is_map(kind):
        return "struct"
    return re.sub(r"(?s)(.{60}).+", r"\1…", str(kind))


def _is_list(kind: pa.DataType) -> bool:
    views = pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
    plain = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return bool(views or plain or pa.types.is_fixed_size_list(kind))


def sampled(schema: pa.Schema) -> list[str]:
    """The columns that can become text: text, numbers, and lists without media."""
    return [field.name for field in schema if _could_be_text(field.type)]


def _could_be_text(kind: pa.DataType) -> bool:
    name = type_name(kind)
    if name == "list":
        return _could_be_text(kind.value_type)
    if name == "struct" and pa.types.is_struct(kind):
        return all(_could_be_text(field.type) for field in kind)
    return name in ("string", "int64", "double", "bool", "null")


def typed_columns(schema: pa.Schema, path: str) -> tuple[Column, ...]:
    """The columns of a file that declares its types; ``BadInput`` for a duplicate name."""
    unique_names(schema.names, path)
    return _columns(schema)


def _columns(schema: pa.Schema) -> tuple[Column, ...]:
    labels = _class_labels(schema)
    return tuple(
        Column(field.name, type_name(field.type), labels=labels.get(field.name, ()))
        for field in schema
    )


def _class_labels(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Columns of classes -> the names of the classes, as ``datasets`` stores them in a schema."""
    try:
        stored = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = stored["info"]["features"]
        return {
            name: tuple(map(str, feature["names"]))
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def unique_names(names: Sequence[str], path: str) -> None:
    """``BadInput`` for a duplicate column name, which would be ambiguous."""
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise BadInput(
            f"{path} has more than one column named {', '.join(map(repr, twice))}; rename them"
        )


def check_schema(schema: pa.Schema, columns: Sequence[Column], path: str) -> list[str]:
    """The plan's columns that a file has, in any order; the others are optional ones.

    Raises:
        BadInput: the file lacks a column, or has it with another type.
    """
    found = {column.name: column.type for column in typed_columns(schema, path)}
    present = []
    for column in columns:
        kind = found.get(column.name)
        if column.optional and kind in (None, "null"):
            continue
        if kind is None:
            raise BadInput(
                f"{path} has no column {column.name!r}, which the first file has; found "
                f"{', '.join(found) or 'none'}. Leave the file out, or prepare it by itself"
            )
        if kind != column.type:
            raise BadInput(
                f"column {column.name!r} is {kind} in {path}, but {column.type} in another file; "
                "make the types equal, or prepare the files separately"
            )
        present.append(column.name)
    return present


def as_text(table: pa.Table, columns: Sequence[Column]) -> pa.Table:
    """These columns in this order, with text of any Arrow type as ``string``; null if absent."""
    present = set(table.column_names)
    arrays = [
        _cells(table[c.name], c) if c.name in present else _nulls(c, table.num_rows)
        for c in columns
    ]
    return pa.table(arrays, names=[c.name for c in columns]) if arrays else table.select([])


def _nulls(column: Column, count: int) -> pa.Array:
    kinds = {"int64": pa.int64(), "double": pa.float64(), "bool": pa.bool_()}
    return pa.nulls(count, kinds.get(column.type, pa.string()))  # a list may be JSON text


def _cells(array: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    if column.type == "string":
        return array.cast(pa.string())
    if column.text and column.labels and column.type == "int64":
        known = pc.and_(pc.greater_equal(array, 0), pc.less(array, len(column.labels)))
        return pc.take(pa.array(column.labels), pc.if_else(known, array, None))
    return _storage(array)


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if _holds_json(column.type):
        cells = [_json_cell(cell, column.type) for cell in as_bytes(one_array(column)).to_pylist()]
        return pa.chunked_array([pa.array(cells, pa.binary()).view(pa.string())])
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _holds_json(kind: pa.DataType) -> bool:
    """Are values stored as JSON text, as ``datasets`` stores values without a common type?"""
    if isinstance(kind, pa.JsonType):
        return True
    if pa.types.is_struct(kind):
        return any(_holds_json(field.type) for field in kind)
    return _is_list(kind) and _holds_json(kind.value_type)


def _json_cell(cell: object, kind: pa.DataType) -> bytes | None:
    """A cell as JSON text; one that cannot be written becomes an invalid cell of its row."""
    if cell is None:
        return None
    try:
        return json.dumps(_opened(cell, kind), ensure_ascii=False).encode()
    except UnicodeError:
        return b"\xff"
    except (ValueError, RecursionError):
        return b""


def _opened(value: Any, kind: pa.DataType) -> object:
    if value is None:
        return None
    if isinstance(kind, pa.JsonType):
        return json.loads(value.decode())
    if pa.types.is_struct(kind):
        # Arrow gives each object the keys of all objects.
        kept = {name: item for name, item in value.items() if item is not None}
        return {name: _opened(item, kind.field(name).type) for name, item in kept.items()}
    if _is_list(kind):
        return [_opened(item, kind.value_type) for item in value]
    return value.decode() if isinstance(value, bytes) else value


def text_rows(table: pa.Table) -> list[dict[str, object]]:
    """Sample rows: text, numbers and lists; other columns are left out."""
    names = sampled(table.schema)
    text = as_text(
        table, [replace(c, text=True) for c in _columns(table.schema) if c.name in names]
    )
    try:
        return cast(list[dict[str, object]], text.to_pylist())
    except UnicodeDecodeError:  # the job rejects such a row; the sample replaces the bytes
        raw = [as_bytes(one_array(column)) for column in text.columns]
        rows = pa.table(raw, names=text.column_names).to_pylist()
        return [{name: _repaired(cell) for name, cell in row.items()} for row in rows]


def _repaired(cell: object) -> object:
    if isinstance(cell, list):
        return [_repaired(item) for item in cell]
    if isinstance(cell, dict):
        return {key: _repaired(value) for key, value in cell.items()}
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else cell


def as_bytes(array: pa.Array) -> pa.Array:
    """The array with text, at any depth, as bytes: invalid UTF-8 rejects a row, not the file."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return as_bytes(array.storage)
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(array.indices, as_bytes(array.dictionary))
    raw = _bytes_type(kind)
    return array if raw == kind else array.view(raw)


def _bytes_type(kind: pa.DataType) -> pa.DataType:
    raw = {
        pa.string(): pa.binary(),
        pa.large_string(): pa.large_binary(),
        pa.string_view(): pa.binary_view(),
    }
    if isinstance(kind, pa.BaseExtensionType):
        return _bytes_type(kind.storage_type)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_bytes_type(field.type)) for field in kind])
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _bytes_type(kind.value_type), kind.ordered)
    if not _is_list(kind):
        return raw.get(kind, kind)
    inner = kind.value_field.with_type(_bytes_type(kind.value_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(inner, kind.list_size)
    made = next(make for test, make in _LISTS if test(kind))
    return made(inner)


_LISTS = (
    (pa.types.is_list, pa.list_),
    (pa.types.is_large_list, pa.large_list),
    (pa.types.is_list_view, pa.list_view),
    (pa.types.is_large_list_view, pa.large_list_view),
)
