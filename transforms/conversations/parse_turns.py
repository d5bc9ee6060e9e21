"""Parses the cells of a source into turns, whatever form they have.

Lists of structs of text are parsed column by column.  Everything else (content in parts, tool
calls, JSON text, turns with other keys, a system column) is parsed turn by turn, for the whole
batch.  Both ways give the same turns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.conversations import reasoning
from transforms.conversations.cells import InvalidConversation
from transforms.conversations.roles import FUNCTION_CALL, ROLES, role_of
from transforms.conversations.tools import tool_calls
from transforms.conversations.training_marks import TURN_MARKS
from transforms.conversations.turn_keys import (
    CALL_KEYS,
    TEXT_KEYS,
    TurnKeys,
    first_value,
    role_name,
)
from transforms.conversations.turns import ASSISTANT, Turn, Turns


class ParsedColumn(NamedTuple):
    """The turns of a column.

    Attributes:
        turns: an unknown name has the role -1.
        nulls: for each row whether it is null; bool.
        excluded: for each row whether an assistant's turn is marked as not to be trained on; bool.
    """

    turns: Turns
    nulls: np.ndarray
    excluded: np.ndarray


def parse_column(lists: pa.ListArray, keys: TurnKeys) -> ParsedColumn | None:
    """The turns of a list of structs of text; None where they have to be parsed one by one."""
    turns = lists.flatten()
    if keys.shape != "turns" or turns.null_count or not pa.types.is_struct(turns.type):
        return None
    fields = {turns.type.field(i).name: i for i in range(turns.type.num_fields)}
    arrays = {name: turns.field(fields[name]) for name in keys.all if name in fields}
    # A column of nulls has no type of its own; tool calls that are not null are lists.
    filled = {name: array for name, array in arrays.items() if array.null_count < len(array)}
    texts = {name: array for name, array in arrays.items() if name in keys.texts}
    marks = [filled[name] for name in TURN_MARKS if name in filled and keys.marks]
    if (
        any(name in filled for name in CALL_KEYS)
        or not all(_is_text(array.type) for name, array in texts.items() if name in filled)
        or not all(map(_is_switch, marks))
    ):
        return None
    try:
        texts = {
            name: array.cast(pa.string()) if name in filled else pa.nulls(len(array), pa.string())
            for name, array in texts.items()
        }
        for array in texts.values():
            array.validate(full=True)
    except pa.ArrowInvalid:
        return None  # text that is not UTF-8
    # A turn without one of the two keys may have another name of it.
    if any(key not in texts or texts[key].null_count for key in (keys.role, keys.text)):
        return None
    roles = _roles(texts[keys.role], keys.roles)
    if roles is None:
        return None
    lengths = pc.fill_null(lists.value_lengths(), 0).to_numpy(zero_copy_only=False)
    kept = [texts[key] for key in reasoning.KEYS if key in texts]
    thinking = pc.coalesce(*kept) if kept else None
    made = Turns(
        np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))),
        roles,
        texts[keys.text],
        None if thinking is None or thinking.null_count == len(thinking) else thinking,
        None,
        texts.get("name"),
    )
    excluded = np.zeros(len(lists), bool)
    if marks:
        excluded[made.rows[_are_off(marks) & (roles == ROLES.index("assistant"))]] = True
    return ParsedColumn(made, pc.is_null(lists).to_numpy(zero_copy_only=False), excluded)


def _is_switch(array: pa.Array) -> bool:
    kind = array.type
    return bool(
        pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
    )


def _are_off(marks: list[pa.Array]) -> np.ndarray:
    """For each turn whether one of its marks is zero or false; bool."""
    off = [pc.fill_null(pc.equal(mark.cast(pa.float64()), 0), False) for mark in marks]
    return np.asarray(np.any([one.to_numpy(zero_copy_only=False) for one in off], axis=0), bool)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _roles(names: pa.StringArray, table: Mapping[str, str]) -> np.ndarray | None:
    """Each name's role, -1 for an unknown name; None where one is a function call."""
    encoded = names.dictionary_encode()
    found = [role_of(name, table) for name in encoded.dictionary.to_pylist()]
    if FUNCTION_CALL in found:
        return None
    known = np.array([-1 if r is None else ROLES.index(r) for r in found], np.int8)
    roles: np.ndarray = known[encoded.indices.to_numpy(zero_copy_only=False)]
    return roles


_REASONING_KEYS = frozenset(reasoning.KEYS)


def parse_cell(cell: Any, keys: TurnKeys) -> list[Turn]:
    """The turns of one conversation.

    Raises:
        InvalidConversation: the cell is not a conversation.
    """
    if isinstance(cell, InvalidConversation):
        raise cell
    if not isinstance(cell, list):
        raise InvalidConversation("not-a-conversation")
    return [_turn(item, keys) for item in cell]


def _turn(item: Any, keys: TurnKeys) -> Turn:
    if not isinstance(item, Mapping):
        raise InvalidConversation("not-a-conversation")
    named = item.get(keys.role)
    if named is None:
        named = role_name(item, keys.role)
    role = role_of(named, keys.roles)
    if role is None:
        raise InvalidConversation("unknown-role", named)
    text = item.get(keys.text)
    if text is None and not any(item.get(key) for key in CALL_KEYS):  # a call needs no text
        text = first_value(item, keys.text, TEXT_KEYS)
    content, thinking = _content(text, role)
    separate = None
    if not _REASONING_KEYS.isdisjoint(item):
        separate = next((item[key] for key in reasoning.KEYS if item.get(key) is not None), None)
    if separate is not None:
        if not isinstance(separate, str):
            raise InvalidConversation("not-text")
        thinking = separate
    if role == FUNCTION_CALL:
        calls = tool_calls(content)
        if calls is None:
            raise InvalidConversation("bad-tool-calls")
        return Turn(ASSISTANT, "", thinking, calls, None)
    name = item.get("name")
    calls = tool_calls(item.get("tool_calls"))
    single = item.get("function_call")
    if single is not None:
        calls = _with_call(calls, tool_calls(single))
    return Turn(
        ROLES.index(role), content, thinking, calls, name if isinstance(name, str) else None
    )


def _with_call(several: str | None, single: str | None) -> str | None:
    """The calls of ``tool_calls``, and a ``function_call`` that is not one of them."""
    if several is None or single is None:
        return several or single
    calls: list[object] = json.loads(several)
    more = [call for call in json.loads(single) if call not in calls]
    return json.dumps([*calls, *more], ensure_ascii=False)


def _content(value: Any, role: str) -> tuple[str, str | None]:
    """(text, reasoning or None) of a turn's content: text, nothing, or a list of parts."""
    if value is None:
        return "", None
    if isinstance(value, str):
        return value, None
    if isinstance(value, list):
        texts: list[str] = []
        thinking: list[str] = []
        for item in value:
            kind, text = _part(item)
            (thinking if kind in _REASONING_PARTS else texts).append(text)
        return "".join(texts), "\n\n".join(thinking) if thinking else None
    if role in ("tool", FUNCTION_CALL) and isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False), None
    raise InvalidConversation("not-text")


_TEXT_PARTS = ("text", "input_text", "output_text")
_REASONING_PARTS = ("reasoning", "thinking")


def _part(item: Any) -> tuple[str, str]:
    """(type, text) of a part such as {"type": "text", "text": …}."""
    if isinstance(item, str):
        return "text", item
    if not isinstance(item, Mapping):
        raise InvalidConversation("not-text")
    kind = item.get("type")
    kind = "text" if kind is None else kind
    if kind not in (*_TEXT_PARTS, *_REASONING_PARTS):
        raise InvalidConversation("not-text")  # an image or a sound
    found = next(
        (item[key] for key in ("text", "value", "content", kind) if item.get(key) is not None), None
    )
    if not isinstance(found, str):
        raise InvalidConversation("not-text")
    return kind, found
