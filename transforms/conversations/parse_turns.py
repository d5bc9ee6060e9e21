"""Reading turns: what the cells of a source say, whatever form they have.

Lists of structs of text are taken column by column.  Everything else (parts, tool calls, JSON text,
a system column) is taken turn by turn, for the whole batch; both ways give the same turns.
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
    """A conversation that cannot be taken, with its reject code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class TurnKeys:
    """Where the objects of a list of turns have their role and their text.

    ``roles`` is the table of names (see ``roles.ALIASES``).
    """

    role: str
    text: str
    roles: Mapping[str, str]

    @property
    def all(self) -> tuple[str, ...]:
        """Every key that is read."""
        return tuple(dict.fromkeys((self.role, self.text, *reasoning.KEYS, "tool_calls", "name")))


def parse_column(lists: pa.ListArray, keys: TurnKeys) -> tuple[Turns, np.ndarray] | None:
    """The turns of a list of structs of text, with the role -1 for names that are unknown.

    Returns them with a mark for each row that is null; None where a turn needs a closer look.
    """
    turns = lists.flatten()
    if turns.null_count or not pa.types.is_struct(turns.type):
        return None
    fields = {turns.type.field(i).name: i for i in range(turns.type.num_fields)}
    arrays = {name: turns.field(fields[name]) for name in keys.all if name in fields}
    # What is null throughout is no text as well: tool calls are lists.
    said = {name: array for name, array in arrays.items() if array.null_count < len(array)}
    if "tool_calls" in said or not all(_is_text(array.type) for array in said.values()):
        return None
    try:
        texts = {
            name: array.cast(pa.string()) if name in said else pa.nulls(len(array), pa.string())
            for name, array in arrays.items()
        }
        for array in texts.values():
            array.validate(full=True)
    except pa.ArrowInvalid:
        return None  # text that is no UTF-8
    if keys.role not in texts or keys.text not in texts or texts[keys.text].null_count:
        return None
    roles = _roles(texts[keys.role], keys.roles)
    if roles is None:
        return None
    lengths = pc.fill_null(lists.value_lengths(), 0).to_numpy(zero_copy_only=False)
    kept = [texts[key] for key in reasoning.KEYS if key in texts]
    thoughts = pc.coalesce(*kept) if kept else None
    return (
        Turns(
            np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))),
            roles,
            texts[keys.text],
            None if thoughts is None or thoughts.null_count == len(thoughts) else thoughts,
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
    """Each name's role, -1 for unknown ones; None where one is a call, which is no role."""
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
    """What JSON text says; ``InvalidConversation`` where it is no JSON or no valid text."""
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
    """The turns of one conversation; raises ``InvalidConversation`` where it is none."""
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
    content, thoughts = _content(item.get(keys.text), role)
    apart = next((item[key] for key in reasoning.KEYS if item.get(key) is not None), None)
    if apart is not None:
        if not isinstance(apart, str):
            raise InvalidConversation("not-text")
        thoughts = apart
    if role == FUNCTION_CALL:
        calls = tool_calls(content)
        if calls is None:
            raise InvalidConversation("bad-tool-calls")
        return Turn(ASSISTANT, "", thoughts, calls, None)
    name = item.get("name")
    return Turn(
        ROLES.index(role),
        content,
        thoughts,
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
        thoughts: list[str] = []
        for item in value:
            kind, text = _part(item)
            (thoughts if kind in _REASONING_PARTS else texts).append(text)
        return "".join(texts), "\n\n".join(thoughts) if thoughts else None
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
        raise InvalidConversation("not-text")  # an image, a sound
    found = next(
        (item[key] for key in ("text", "value", "content", kind) if item.get(key) is not None), None
    )
    if not isinstance(found, str):
        raise InvalidConversation("not-text")
    return kind, found


def tool_calls(value: Any) -> str | None:
    """Tool calls in one form, None for none.

    Raises ``InvalidConversation`` where they are no tool calls.
    ``value`` is a call or a list of calls, as objects or as JSON text.  Arguments stay what they
    are: an object, or JSON text of one.
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
        said = parsed(arguments) if isinstance(arguments, str) else arguments
        if not isinstance(said, Mapping) or not _is_json(said):
            raise InvalidConversation("bad-tool-calls")
        made.append(
            {"type": "function", "function": {"name": call["name"], "arguments": arguments}}
        )
    return json.dumps(made, ensure_ascii=False)


def _function(item: Any) -> Mapping[str, Any] | None:
    """A call or a tool without the wrapping {"type": "function", "function": …}, if it is one."""
    if not isinstance(item, Mapping):
        return None
    function = item.get("function")
    function = item if function is None else function
    named = isinstance(function, Mapping) and isinstance(function.get("name"), str)
    return function if named and function["name"].strip() else None


def _is_json(value: Any) -> bool:
    """Python reads and writes NaN, and JSON has none."""
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return False
    return True


def tool_list(value: Any) -> str | None:
    """The tools that a row offers, each {"type": "function", "function": …}; None for none.

    ``value`` is a list of them, as objects or as JSON text, with or without that wrapping.  Raises
    ``InvalidConversation`` where it is none.
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
    """Without the keys that are null: Arrow gives each struct the keys of all the others."""
    if isinstance(value, Mapping):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def find_turn_keys(cell: Any) -> tuple[str, str] | None:
    """(role key, text key) of a conversation's objects; None where the cell is none."""
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
