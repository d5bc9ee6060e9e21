"""The field rule for conversations: detects the column of turns and the keys of a turn.

Known names come first (``messages``, ShareGPT's ``conversations`` …), then any column of lists of
objects with a key for the role and one for the text.  Prompt and completion as lists of messages
(TRL's form) are one conversation.  JSON text counts as the list that it encodes.

Where rows have their turns in different columns, each row is read from the one that it fills.
Other shapes (see ``conversation_shapes``) are taken where no columns are named as a question and an
answer; shapes of other tools are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transforms.conversations import reasoning
from transforms.conversations.cells import InvalidConversation, opened
from transforms.conversations.column_roles import Role, first_named, known_role
from transforms.conversations.conversation_shapes import find_shape, shape_text, to_turns
from transforms.conversations.field_mapping import FieldChoice, TurnMapping
from transforms.conversations.foreign_conversations import cell_refusal, parts_refusal, refusal_of
from transforms.conversations.roles import ALIASES, FUNCTION_CALL, role_of
from transforms.conversations.transcripts import TRANSCRIPTS
from transforms.conversations.turn_keys import (
    CALL_KEYS,
    ROLE_KEYS,
    TEXT_KEYS,
    find_turn_keys,
    role_name,
    turns_of_cell,
)
from transforms.errors import UsageError
from transforms.records import Column

NAMES = ("messages", "conversations", "conversation", "dialog", "dialogue", "chat", "turns")
ALTERNATING_NAMES = ("data",)
"""Columns of UltraChat, whose lists of texts alternate."""

Sample = Sequence[Mapping[str, object]]


def detect_turns(
    columns: Sequence[Column], sample: Sample, roles: Mapping[str, str] = ALIASES
) -> FieldChoice | None:
    """The columns of turns of a source, or None; ``roles`` are names of roles -> role.

    Raises:
        UsageError: the conversations have a shape that is not read.
    """
    names = [c.name for c in columns if c.type in ("list", "string")]
    known = [name for known in NAMES for name in names if name.lower() == known]
    others = [name for name in names if name not in known]
    lower = {name.lower(): name for name in names}
    pair = (lower.get("prompt"), lower.get("completion"))
    for name in (*known, *others):
        if not _holds_turns(name, sample, roles):
            continue
        if (
            name in pair
            and pair[0]
            and pair[1]
            and all(_holds_turns(n, sample, roles) for n in pair if n)
        ):
            return _choice((pair[0], pair[1]), columns, sample, roles)
        if name in pair:
            continue  # a prompt alone has no answer
        why = parts_refusal(name, sample)
        if why is not None:
            raise UsageError(why)
        rest = [n for n in (*known, *others) if n != name and n not in pair]
        more = _alternatives(name, rest, sample, roles)
        return _choice((name, *more), columns, sample, roles)
    return _other_shape([*known, *others], columns, sample, roles)


def _alternatives(
    name: str, others: Sequence[str], sample: Sample, roles: Mapping[str, str]
) -> tuple[str, ...]:
    """Columns of turns of the rows that lack ``name``; () where a row has more than one."""
    lacking = [row for row in sample if not row.get(name)]
    names = [n for n in others if any(row.get(n) for row in lacking)]
    names = [n for n in names if _holds_turns(n, sample, roles)]
    return tuple(names) if _are_alternatives((name, *names), sample) else ()


def _are_alternatives(names: Sequence[str], sample: Sample) -> bool:
    """Does no row fill more than one of these columns, while every column is filled in some?"""
    filled = [[bool(row.get(name)) for name in names] for row in sample]
    once = all(sum(row) <= 1 for row in filled)
    return len(names) > 1 and once and all(any(column) for column in zip(*filled, strict=True))


def _other_shape(
    names: Sequence[str], columns: Sequence[Column], sample: Sample, roles: Mapping[str, str]
) -> FieldChoice | None:
    """The column of conversations in another shape, where no columns are named as a pair."""
    kinds = {known_role(column.name) for column in columns}
    if {Role.CHOSEN, Role.REJECTED} & kinds:
        return None
    if {Role.PROMPT, Role.INPUT} & kinds and {Role.ANSWER, Role.REASONING} & kinds:
        return None
    found = {name: _shape(name, sample) for name in names}
    for name, shape in found.items():
        listed = {"exchanges": NAMES, "alternating": ALTERNATING_NAMES}.get(shape or "", ())
        if name.lower() in listed:
            return _choice((name,), columns, sample, roles)
    transcripts = [name for name, shape in found.items() if shape in TRANSCRIPTS]
    if len(transcripts) > 1:
        flags = " or ".join(f"--fields messages={name}" for name in transcripts)
        raise UsageError(
            f"several columns hold transcripts: {', '.join(transcripts)}. Choose one: {flags}"
        )
    if transcripts:
        return _choice((transcripts[0],), columns, sample, roles)
    why = refusal_of(columns, sample)
    if why is not None:
        raise UsageError(why)
    return None


def _shape(name: str, sample: Sample) -> str | None:
    """The shape, other than turns, that most cells of a column have."""
    cells = [cell for cell in _cells(name, sample) if cell not in (None, "", [])]
    shapes = [shape for cell in cells if (shape := find_shape(cell))]
    if not shapes or len(shapes) * 2 < len(cells):
        return None
    return max(dict.fromkeys(shapes), key=shapes.count)


def _choice(
    turns: tuple[str, ...],
    columns: Sequence[Column],
    sample: Sample,
    roles: Mapping[str, str],
) -> FieldChoice:
    names = [c.name for c in columns if c.type in ("list", "string")]
    system, tools = (first_named(role, names) for role in (Role.SYSTEM, Role.TOOLS))
    mapping = turn_mapping(turns, system, tools, sample, roles)
    strings = [c.name for c in columns if c.type == "string"]
    unused = tuple(n for n in strings if n not in mapping.columns)
    joined = "+".join(turns)
    rule = f"column {joined} holds turns"
    if mapping.either:
        rule = f"columns {joined} hold turns, each row in one of them"
    elif mapping.shape != "turns":
        rule = f"column {joined} holds {shape_text(mapping.shape, '', '')}"
    return FieldChoice(mapping, rule, unused)


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
    shape = "turns"
    if keys:
        role_key, text_key = max(dict.fromkeys(keys), key=keys.count)
    else:
        role_key, text_key = ROLE_KEYS[0], TEXT_KEYS[0]
        shapes = {_shape(name, sample) for name in turns}
        found_shape = shapes.pop() if len(shapes) == 1 else None
        if found_shape is None:
            why = next((why for name in turns if (why := cell_refusal(name, sample))), None)
            raise UsageError(
                why.sentence
                if why
                else f"the column {'+'.join(turns)} contains no turns: expected lists of objects "
                f"with a role ({', '.join(ROLE_KEYS)}) and a text ({', '.join(TEXT_KEYS)})"
            )
        shape = found_shape
    seen = [turn for name in turns for cell in _cells(name, sample) for turn in _turns(cell, shape)]
    return TurnMapping(
        turns,
        role_key,
        text_key,
        system,
        tools,
        has_reasoning=any(_has_reasoning(turn, text_key) for turn in seen),
        has_tool_calls=any(_has_tool_calls(turn, role_key, roles) for turn in seen),
        aliases=dict(roles),
        shape=shape,
        either=_are_alternatives(turns, sample),
    )


def _turns(cell: Any, shape: str) -> list[Mapping[str, object]]:
    if shape == "turns":
        return turns_of_cell(cell)
    try:
        is_list = isinstance(cell, str) and shape not in TRANSCRIPTS
        return turns_of_cell(to_turns(opened(cell) if is_list else cell, shape))
    except InvalidConversation:
        return []


def _has_reasoning(turn: Mapping[str, object], text_key: str) -> bool:
    if any(turn.get(key) for key in reasoning.KEYS):
        return True
    text = turn.get(text_key)
    if isinstance(text, list):
        kinds = (part.get("type") for part in text if isinstance(part, Mapping))
        return any(kind in ("reasoning", "thinking") for kind in kinds)
    return isinstance(text, str) and reasoning.CLOSE in text and reasoning.split(text).closed


def _has_tool_calls(turn: Mapping[str, object], role_key: str, roles: Mapping[str, str]) -> bool:
    role = role_of(role_name(turn, role_key), roles)
    return any(turn.get(key) for key in CALL_KEYS) or role in (FUNCTION_CALL, "tool")


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
