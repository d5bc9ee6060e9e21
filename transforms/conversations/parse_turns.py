"""Parses the cells of a source into turns, whatever form they have.

Lists of structs of text are parsed column by column.  Everything else (content in parts, tool
calls, JSON text, a system column) is parsed turn by turn, for the whole batch.  Both ways give the
same turns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.conversations import reasoning
from transforms.conversations.roles import FUNCTION_CALL, ROLES, role_of
from transforms.conversations.turns import ASSISTANT, Turn, Turns
from transforms.records import one_array

ROLE_KEYS = ("role", "from", "speaker", "sender", "author")
TEXT_KEYS = ("content", "value", "text", "message", "utterance")
"""Keys of a turn, in the order of preference."""


class InvalidConversation(ValueError):
    """A conversation that is rejected, with its reject code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class TurnKeys:
    """The keys of the role and the text of a turn; ``roles`` is names of roles -> role."""

    role: str
    text: str
    roles: Mapping[str, str]

    @property
    def all(self) -> tuple[str, ...]:
        """Every key that is read."""
        return tuple(dict.fromkeys((self.role, self.text, *reasoning.KEYS, "tool_calls", "name")))


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


def cells(column: pa.ChunkedArray) -> Iterator[Any]:
    """The values of a column one by one, JSON text parsed; ``InvalidConversation`` for bad text."""
    array = one_array(column)
    if pa.types.is_string(array.type):
        yield from map(parsed, text_cells(array))
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
    try:
        value = json.loads(text)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()  # half of a pair is no text
    except UnicodeEncodeError:
        return InvalidConversation("invalid-unicode")
    except (ValueError, RecursionError):
        return InvalidConversation("broken-json")
    return value


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


def tool_calls(value: Any) -> str | None:
    """Tool calls in one form, None for none.

    Args:
        value: a call or a list of calls, as objects or as JSON text.  Arguments stay as they are:
            an object, or JSON text of one.

    Raises:
        InvalidConversation: these are not tool calls.
    """
    if isinstance(value, str):
        value = parsed(value) if value.strip() else None
    if value is None or value in ([], {}):
        return None
    made = []
    for item in value if isinstance(value, list) else [value]:
        call = _function(item)
        if call is None:
            raise InvalidConversation("bad-tool-calls")
        arguments = call.get("arguments")
        arguments = call.get("parameters") if arguments is None else arguments
        arguments = {} if arguments is None else arguments
        decoded = parsed(arguments) if isinstance(arguments, str) else arguments
        if not isinstance(decoded, Mapping) or not _is_json(decoded):
            raise InvalidConversation("bad-tool-calls")
        made.append(
            {"type": "function", "function": {"name": call["name"], "arguments": arguments}}
        )
    return json.dumps(made, ensure_ascii=False)


def _function(item: Any) -> Mapping[str, Any] | None:
    """A call or a tool without the outer {"type": "function", "function": …}, or None."""
    if not isinstance(item, Mapping):
        return None
    function = item.get("function")
    function = item if function is None else function
    named = isinstance(function, Mapping) and isinstance(function.get("name"), str)
    return function if named and function["name"].strip() else None


def _is_json(value: Any) -> bool:
    """Can the value be written as JSON?  Python also reads and writes NaN, which JSON lacks."""
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return False
    return True


def tool_list(value: Any) -> str | None:
    """The tools that a row offers, each {"type": "function", "function": …}; None for none.

    Args:
        value: a list of tools, as objects or as JSON text, with or without the outer object.

    Raises:
        InvalidConversation: this is not a list of tools.
    """
    if isinstance(value, str):
        if not value.strip():
            return None
        value = parsed(value)
    if value is None:
        return None
    if not isinstance(value, list):
        raise InvalidConversation("bad-tools")
    made = []
    for item in value:
        if isinstance(item, str):
            item = parsed(item)
        tool = _function(item)
        if tool is None or not _is_json(tool):
            raise InvalidConversation("bad-tools")
        made.append({"type": "function", "function": dict(tool)})
    return json.dumps(made, ensure_ascii=False) if made else None


def without_nulls(value: Any) -> Any:
    """The value without null keys: Arrow gives each struct the keys of all structs."""
    if isinstance(value, Mapping):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def find_turn_keys(cell: Any) -> tuple[str, str] | None:
    """(role key, text key) of the objects of a conversation; None for another cell."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        cell = parsed(cell)
    if not isinstance(cell, list) or not cell or not all(isinstance(t, Mapping) for t in cell):
        return None
    present = {key for turn in cell for key in turn}
    role = next((key for key in ROLE_KEYS if key in present), None)
    text = next((key for key in TEXT_KEYS if key in present), None)
    return (role, text) if role and text else None


def turns_of_cell(cell: Any) -> list[Mapping[str, Any]]:
    """The objects in a sample's cell: a list of turns, also as JSON text; [] where it is none."""
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            return []
    return [turn for turn in cell if isinstance(turn, Mapping)] if isinstance(cell, list) else []
