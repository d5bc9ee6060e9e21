"""Parses the cells of a source into turns, whatever form they have.

Lists of structs of text are parsed column by column.  Everything else (content in parts, tool
calls, JSON text, a system column) is parsed turn by turn, for the whole batch.  Both ways give the
same turns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.conversations import reasoning
from transforms.conversations.cells import InvalidConversation
from transforms.conversations.roles import FUNCTION_CALL, ROLES, role_of
from transforms.conversations.tools import tool_calls
from transforms.conversations.turn_keys import TurnKeys
from transforms.conversations.turns import ASSISTANT, Turn, Turns


def parse_column(lists: pa.ListArray, keys: TurnKeys) -> tuple[Turns, np.ndarray] | None:
    """The turns of a list of structs of text; an unknown name has the role -1.

    Returns:
        The turns, and for each row whether it is null (bool); None where the turns have to be
        parsed one by one.
    """
    turns = lists.flatten()
    if turns.null_count or not pa.types.is_struct(turns.type):
        return None
    fields = {turns.type.field(i).name: i for i in range(turns.type.num_fields)}
    arrays = {name: turns.field(fields[name]) for name in keys.all if name in fields}
    # A column of nulls has no type of its own; tool calls that are not null are lists.
    filled = {name: array for name, array in arrays.items() if array.null_count < len(array)}
    if "tool_calls" in filled or not all(_is_text(array.type) for array in filled.values()):
        return None
    try:
        texts = {
            name: array.cast(pa.string()) if name in filled else pa.nulls(len(array), pa.string())
            for name, array in arrays.items()
        }
        for array in texts.values():
            array.validate(full=True)
    except pa.ArrowInvalid:
        return None  # text that is not UTF-8
    if keys.role not in texts or keys.text not in texts or texts[keys.text].null_count:
        return None
    roles = _roles(texts[keys.role], keys.roles)
    if roles is None:
        return None
    lengths = pc.fill_null(lists.value_lengths(), 0).to_numpy(zero_copy_only=False)
    kept = [texts[key] for key in reasoning.KEYS if key in texts]
    thinking = pc.coalesce(*kept) if kept else None
    return (
        Turns(
            np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))),
            roles,
            texts[keys.text],
            None if thinking is None or thinking.null_count == len(thinking) else thinking,
            None,
            texts.get("name"),
        ),
        pc.is_null(lists).to_numpy(zero_copy_only=False),
    )


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
    known = np.array([-1 if r is None else ROLES.index(r) for r in found] + [-1], np.int8)
    indices = pc.fill_null(encoded.indices, len(found)).to_numpy(zero_copy_only=False)
    roles: np.ndarray = known[indices]
    return roles


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
    role = role_of(item.get(keys.role), keys.roles)
    if role is None:
        raise InvalidConversation("unknown-role")
    content, thinking = _content(item.get(keys.text), role)
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
    return Turn(
        ROLES.index(role),
        content,
        thinking,
        tool_calls(item.get("tool_calls")),
        name if isinstance(name, str) else None,
    )


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
