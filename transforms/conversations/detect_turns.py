"""The field rule for conversations: detects the column of turns and the keys of a turn.

Known names come first (``messages``, ShareGPT's ``conversations`` …), then any column of lists of
objects with a key for the role and one for the text.  Prompt and completion as lists of messages
(TRL's form) are one conversation.  JSON text counts as the list that it encodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transforms.conversations import reasoning
from transforms.conversations.field_mapping import FieldChoice, TurnMapping
from transforms.conversations.roles import ALIASES, FUNCTION_CALL, role_of
from transforms.conversations.turn_keys import ROLE_KEYS, TEXT_KEYS, find_turn_keys, turns_of_cell
from transforms.errors import UsageError
from transforms.records import Column

NAMES = ("messages", "conversations", "conversation", "dialog", "dialogue", "chat", "turns")
SYSTEM_NAMES = ("system", "system_prompt")
TOOL_NAMES = ("tools", "functions")

Sample = Sequence[Mapping[str, object]]


def detect_turns(
    columns: Sequence[Column], sample: Sample, roles: Mapping[str, str] = ALIASES
) -> FieldChoice | None:
    """The columns of turns of a source, or None; ``roles`` are names of roles -> role."""
    names = [c.name for c in columns if c.type in ("list", "string")]
    known = [name for known in NAMES for name in names if name.lower() == known]
    others = [name for name in names if name not in known]
    lower = {name.lower(): name for name in names}
    pair = (lower.get("prompt"), lower.get("completion"))
    for name in (*known, *others):
        if not _holds_turns(name, sample, roles):
            continue
        turns: tuple[str, ...] = (name,)
        if (
            name in pair
            and pair[0]
            and pair[1]
            and all(_holds_turns(n, sample, roles) for n in pair if n)
        ):
            turns = (pair[0], pair[1])
        elif name in pair:
            continue  # a prompt alone has no answer
        system = next((lower[n] for n in SYSTEM_NAMES if n in lower), None)
        tools = next((lower[n] for n in TOOL_NAMES if n in lower), None)
        mapping = turn_mapping(turns, system, tools, sample, roles)
        strings = [c.name for c in columns if c.type == "string"]
        unused = tuple(n for n in strings if n not in mapping.columns)
        rule = f"column {'+'.join(turns)} holds turns"
        return FieldChoice(mapping, rule, unused)
    return None


def turn_mapping(
    turns: tuple[str, ...],
    system: str | None,
    tools: str | None,
    sample: Sample,
    roles: Mapping[str, str] = ALIASES,
) -> TurnMapping:
    """The mapping of these columns; the sample gives the keys of their turns.

    Raises:
        UsageError: the columns contain no turns with a role and a text.
    """
    keys = [found for name in turns for cell in _cells(name, sample)
            if (found := find_turn_keys(cell))]  # fmt: skip
    if not keys:
        raise UsageError(
            f"the column {'+'.join(turns)} contains no turns: expected lists of objects with a "
            f"role ({', '.join(ROLE_KEYS)}) and a text ({', '.join(TEXT_KEYS)})"
        )
    role_key, text_key = max(dict.fromkeys(keys), key=keys.count)
    seen = [turn for name in turns for cell in _cells(name, sample) for turn in turns_of_cell(cell)]
    return TurnMapping(
        turns,
        role_key,
        text_key,
        system,
        tools,
        has_reasoning=any(_has_reasoning(turn, text_key) for turn in seen),
        has_tool_calls=any(_has_tool_calls(turn, role_key, roles) for turn in seen),
        aliases=dict(roles),
    )


def _has_reasoning(turn: Mapping[str, object], text_key: str) -> bool:
    if any(turn.get(key) for key in reasoning.KEYS):
        return True
    text = turn.get(text_key)
    if isinstance(text, list):
        kinds = (part.get("type") for part in text if isinstance(part, Mapping))
        return any(kind in ("reasoning", "thinking") for kind in kinds)
    return isinstance(text, str) and reasoning.CLOSE in text and reasoning.split(text).closed


def _has_tool_calls(turn: Mapping[str, object], role_key: str, roles: Mapping[str, str]) -> bool:
    role = role_of(turn.get(role_key), roles)
    return bool(turn.get("tool_calls")) or role in (FUNCTION_CALL, "tool")


def _holds_turns(name: str, sample: Sample, roles: Mapping[str, str]) -> bool:
    cells = [cell for cell in _cells(name, sample) if cell not in (None, "", [])]
    turns = [cell for cell in cells if find_turn_keys(cell)]
    if not turns or len(turns) * 2 < len(cells):
        return False
    # Comments also have authors and texts, but no assistant.
    return name.lower() in (*NAMES, "prompt", "completion") or any(
        _has_known_role(cell, roles) for cell in turns
    )


def _has_known_role(cell: Any, roles: Mapping[str, str]) -> bool:
    keys = find_turn_keys(cell)
    return keys is not None and any(role_of(t.get(keys[0]), roles) for t in turns_of_cell(cell))


def _cells(name: str, sample: Sample) -> Iterator[Any]:
    return (row.get(name) for row in sample)
