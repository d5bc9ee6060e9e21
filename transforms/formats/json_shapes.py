"""The shapes of a JSON file that begins with an object: lines, values, a wrapper, or columns.

JSON Lines has one object a line.  Other tools write one object around all rows (``{"data": […]}``,
or splits as keys), objects over several lines or without a line end between them, and tables as
columns, which pandas writes unless it is told otherwise.  A table as columns cannot be read without
holding it whole, so it is refused, with the line that writes rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transforms.errors import BadInput, UsageError
from transforms.formats.json_parsing import DECODER

_SPLITS = ("train", "training", "validation", "valid", "val", "dev", "test", "eval")
_WRAPPERS = (
    *("data", "rows", "examples", "items", "records", "instances", "samples", "entries"),
    *_SPLITS,
)
"""Keys of arrays that hold the rows of a file; other keys may be columns of one row."""

_SPACE = re.compile(r"[ \t\r\n]*")
_KEY = re.compile(r'[ \t\r\n]*("(?:[^"\\]|\\.)*")[ \t\r\n]*:[ \t\r\n]*', re.DOTALL)


_CURE = (
    "\"import pandas; pandas.read_json('{name}', orient='{orient}', dtype=False, "
    "convert_dates=False).to_json('rows.jsonl', orient='records', lines=True, force_ascii=False)\""
)


@dataclass(frozen=True)
class JsonShape:
    """What a file holds.

    Attributes:
        values: the objects are not one a line.
        keys: the keys of the one object whose arrays hold the rows.
        cut: there may be more such keys, behind the beginning of the file.
    """

    values: bool = False
    keys: tuple[str, ...] = ()
    cut: bool = False


LINES = JsonShape()


@dataclass
class _Object:
    """The beginning of the first object of a file.

    Attributes:
        members: its keys and values, of the last one perhaps only the beginning.
        end: where the object ends in the text; None behind it.
    """

    members: dict[str, object] = field(default_factory=dict)
    end: int | None = None


def find_shape(start: str, complete: bool, path: str) -> JsonShape:
    """The shape of a file that begins with ``start``, which is the whole file if ``complete``.

    Raises:
        BadInput: the shape is not read; the message has the line that writes one that is.
    """
    begin = _end_of_space(start, 0)
    if not start.startswith("{", begin):
        return LINES
    first = _first_object(start, begin)
    if first.end is None:
        return _of_one(first, path)
    behind = _end_of_space(start, first.end)
    if start.startswith(",", behind):
        return _with_commas(start, behind, path)
    if start.startswith("{", behind):
        if "\n" in start[begin : first.end]:
            return JsonShape(values=True)
        is_glued = "\n" not in start[first.end : behind] and _is_glued(start, behind)
        return JsonShape(values=is_glued)
    if behind < len(start) or not complete:
        return LINES
    shape = _of_one(first, path)
    return JsonShape(values=True) if shape == LINES and "\n" in start[begin : first.end] else shape


def _is_glued(start: str, at: int) -> bool:
    """Does more, or nothing, follow the second object?  Else the first line alone has two."""
    end = _first_object(start, at).end
    if end is None:
        return True
    behind = _end_of_space(start, end)
    return "\n" not in start[end:behind] or behind == len(start)


def _with_commas(start: str, at: int, path: str) -> JsonShape:
    """Objects with commas between them; a comma behind the first alone is the fault of its line."""
    second = _end_of_space(start, at + 1)
    end = _first_object(start, second).end if start.startswith("{", second) else second
    behind = len(start) if end is None else _end_of_space(start, end)
    if behind < len(start) and not start.startswith(",", behind):
        return LINES
    raise BadInput(
        f"the objects of {path} have commas between them, which JSON Lines does not allow; "
        f"remove them: sed 's/,[[:space:]]*$//' {_name(path)} > fixed.jsonl"
    )


def chosen_key(keys: Sequence[str], split: str | None, path: str) -> str:
    """The key to read: ``split`` if there are several, else ``train`` or the only one.

    Raises:
        UsageError: there are several, and nothing says which.
    """
    if split in keys or ("train" in keys and split is None):
        return split or "train"
    if len(keys) == 1:
        return keys[0]
    found = f"{path} has several arrays of rows, {', '.join(keys)}"
    if split is not None:
        raise UsageError(f"--split {split} is not in {path}; found {', '.join(keys)}")
    if not set(keys) <= set(_SPLITS):
        raise UsageError(f"{found}; choose one, such as --split {keys[0]}")
    return keys[0]


def _end_of_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _first_object(text: str, at: int) -> _Object:
    try:
        value, end = DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        return _beginning(text, at)
    return _Object(dict(value), end)


def _beginning(text: str, at: int) -> _Object:
    """The members of an object that ends behind the text, or is broken."""
    found, at = _Object(), at + 1
    while key := _KEY.match(text, at):
        name = str(DECODER.decode(key[1]))
        try:
            found.members[name], at = DECODER.raw_decode(text, key.end())
        except (ValueError, RecursionError):
            if first := _first_inside(text, key.end()):
                found.members[name] = first
            return found
        at = _end_of_space(text, at)
        if not text.startswith(",", at):
            break
        at += 1
    return found


def _first_inside(text: str, at: int) -> object:
    """A list or an object with the first element that the text holds whole."""
    inside = _end_of_space(text, at + 1)
    try:
        if text.startswith("[", at):
            return [DECODER.raw_decode(text, inside)[0]]
        if text.startswith("{", at) and (key := _KEY.match(text, inside)):
            return {str(DECODER.decode(key[1])): DECODER.raw_decode(text, key.end())[0]}
    except (ValueError, RecursionError):
        pass
    return None


def _of_one(found: _Object, path: str) -> JsonShape:
    """The shape of a file that is one object."""
    members = found.members
    if table := _table(members, whole=found.end is not None):
        form, orient = table
        raise BadInput(
            f"{path} holds a table as {form}, not rows; write rows first: python -c "
            + _CURE.format(name=_name(path), orient=orient)
        )
    if any(_holds_turns(value) for value in members.values()):
        return LINES  # one conversation
    keys = tuple(name for name, value in members.items() if is_row_key(name, value))
    return JsonShape(keys=keys, cut=bool(keys) and found.end is None)


def is_row_key(name: str, value: object) -> bool:
    """Is this a member of an object around all rows, rather than a column of one row?"""
    return name in _WRAPPERS and _holds_rows(value)


def _holds_turns(value: object) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return isinstance(value[0], dict) and bool({"role", "from"} & value[0].keys())


def _holds_rows(value: object) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return isinstance(value[0], dict) or _holds_turns(value[0])


def _table(members: Mapping[str, object], whole: bool) -> tuple[str, str] | None:
    """The form of a table that is not rows, and pandas' name of it; None for another object."""
    values = list(members.values())
    if {"columns", "data"} <= members.keys() and isinstance(members["columns"], list):
        return "lists beside the names of its columns (orient='split' of pandas)", "split"
    if not values:
        return None
    if all(isinstance(value, dict) and value for value in values):
        if all(name.isdecimal() for name in members):
            return "rows by their numbers (orient='index' of pandas)", "index"
        if all(name.isdecimal() for value in values if isinstance(value, dict) for name in value):
            return "columns (orient='columns' of pandas)", "columns"
    lists = [value for value in values if isinstance(value, list)]
    sizes = {len(value) for value in lists}
    scalars = not any(isinstance(cell, (dict, list)) for value in lists for cell in value)
    if whole and len(lists) == len(values) > 1 and len(sizes) == 1 and scalars and sizes != {0}:
        return "one list a column", "columns"
    return None


def _name(path: str) -> str:
    return Path(path).name
