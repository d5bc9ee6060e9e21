"""The cells of a source column one by one, with JSON text parsed and bad text marked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec
import pyarrow as pa

from transforms.conversations.python_literals import literal
from transforms.records import one_array


class InvalidConversation(ValueError):
    """A conversation that is rejected, with its reject code.

    ``named`` is what the code is about, such as the name of an unknown role.
    """

    def __init__(self, code: str, named: object = None) -> None:
        super().__init__(code)
        self.code = code
        self.named = named


def cells(column: pa.ChunkedArray) -> Iterator[Any]:
    """The values of a column one by one, text opened; ``InvalidConversation`` for bad text."""
    array = one_array(column)
    if pa.types.is_string(array.type):
        yield from map(opened, text_cells(array))
        return
    try:
        yield from map(without_nulls, array.to_pylist())
    except UnicodeDecodeError:
        for scalar in array:
            try:
                yield without_nulls(scalar.as_py())
            except UnicodeDecodeError:
                yield InvalidConversation("invalid-unicode")


def text_cells(array: pa.StringArray) -> Iterator[str | InvalidConversation | None]:
    for cell in array.cast(pa.binary()).to_pylist():
        try:
            yield None if cell is None else cell.decode()
        except UnicodeDecodeError:
            yield InvalidConversation("invalid-unicode")


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parsed(text: str | InvalidConversation | None) -> Any:
    """The value of JSON text; returns ``InvalidConversation`` for invalid JSON or text."""
    if text is None or isinstance(text, InvalidConversation):
        return text
    with suppress(msgspec.MsgspecError, RecursionError, UnicodeEncodeError):
        return msgspec.json.decode(text)
    try:  # which takes more, such as NaN and numbers of any size
        value = json.loads(text)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()  # half of a pair is no text
    except UnicodeEncodeError:
        return InvalidConversation("invalid-unicode")
    except (ValueError, RecursionError):
        return InvalidConversation("broken-json")
    return value


def opened(text: str | InvalidConversation | None) -> Any:
    """The same, but text may also be a Python literal of a list of objects."""
    value = parsed(text)
    if not isinstance(value, InvalidConversation) or not isinstance(text, str):
        return value
    try:
        listed = literal(text)
        json.dumps(listed, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return InvalidConversation("invalid-unicode")
    except (TypeError, ValueError):
        return value  # a literal that JSON has no form for, such as a set
    return listed


def without_nulls(value: Any) -> Any:
    """The value without null keys: Arrow gives each struct the keys of all structs."""
    if isinstance(value, Mapping):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value
