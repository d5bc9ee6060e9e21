"""The rejects of conversations: their places, their codes, and excerpts that show why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from transforms.conversations.cells import InvalidConversation, cells, parsed, without_nulls
from transforms.conversations.conversation_shapes import to_turns
from transforms.conversations.field_mapping import TurnMapping
from transforms.conversations.parse_turns import parse_cell
from transforms.conversations.remedies import UNKNOWN_ROLE, named_excerpt
from transforms.records import EXCERPT_CHARS, ROW, rejects_table


def split_rejects(
    table: pa.Table,
    codes: Sequence[str | None],
    names: Sequence[str],
    mapping: TurnMapping | None = None,
) -> tuple[pa.BooleanArray, pa.Table]:
    """(which rows are good, ``REJECTS`` of the others with their first turns as excerpt).

    With a ``mapping`` the excerpt of an unknown role begins with its name.
    """
    good = pa.array([code is None for code in codes], pa.bool_())
    keys = mapping.keys.in_order if mapping is not None and mapping.shape == "turns" else ()
    rows = []
    for index, code in enumerate(codes):
        if code is None:
            continue
        excerpt = _excerpt(table, index, names, keys)
        if code == UNKNOWN_ROLE and mapping is not None:
            excerpt = named_excerpt(_unknown_name(table, index, mapping), excerpt)
        rows.append((table[ROW][index].as_py(), code, excerpt))
    return good, rejects_table(rows)


def _unknown_name(table: pa.Table, index: int, mapping: TurnMapping) -> object:
    """The first name of a role of a row that is not known."""
    for name in mapping.turns:
        try:
            for cell in cells(table[name].slice(index, 1)):
                parse_cell(to_turns(cell, mapping.shape), mapping.keys)
        except InvalidConversation as unusable:
            return unusable.named
    return None


_SHOWN_TURNS = 3


def _excerpt(table: pa.Table, index: int, names: Sequence[str], keys: Sequence[str]) -> str:
    shown = {}
    for name in names:
        cell = table[name][index]
        try:
            # Only as much of a list as is shown: the rest may be large, or not UTF-8.
            few = cell.is_valid and pa.types.is_nested(cell.type)
            shown[name] = _beginning(
                cell.values.slice(0, _SHOWN_TURNS).to_pylist() if few else cell.as_py(), keys
            )
        except UnicodeDecodeError:
            shown[name] = "(no UTF-8)"
    return json.dumps(shown, ensure_ascii=False, default=str)


def _beginning(value: Any, keys: Sequence[str]) -> Any:
    """The same for a list and its JSON text: which a reader gives depends on other rows.

    Of turns only the ``keys`` that are read are shown, since a list of structs has no others.
    """
    if isinstance(value, str) and value.startswith("["):
        listed = parsed(value)
        value = listed if isinstance(listed, list) else value
    if isinstance(value, list):
        return [_shown(item, keys) for item in without_nulls(value[:_SHOWN_TURNS])]
    return value[:EXCERPT_CHARS] if isinstance(value, str) else value


def _shown(item: Any, keys: Sequence[str]) -> Any:
    if not keys or not isinstance(item, dict):
        return item
    return {key: item[key] for key in keys if key in item}
