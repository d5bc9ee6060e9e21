"""The conversation rule: which conversations can be trained on, and why others are rejected.

A conversation is kept as it is or rejected; two flags repair it instead (``merge``, ``trim``).  Of
these reject codes a row has the first that applies:

    null-messages           the row has no conversation
    not-a-conversation      the cell is not a list of objects with a role and a text
    broken-json             the cell is not valid JSON
    invalid-unicode         a text is not UTF-8
    not-text                a text is a number, an object, an image …
    bad-tool-calls          tool calls are not JSON, or have no name
    bad-tools               the cell is not a list of tools
    unknown-role            a role is not in the table
    empty-messages          the list has no turns
    empty-turn              a turn of user, assistant or tool has no content
    no-assistant-turn       there is nothing to learn
    starts-with-assistant   the assistant begins, which ``--assistant-first`` allows
    same-role-twice         two neighbouring turns have one role (other than tool)
    ends-with-user          the answer is missing; also ends-with-tool, ends-with-system
    row-too-large           the row has too much text
    marked-untrained        a mark says that a turn of the assistant is not to be trained on

and, where the plan found other shapes than lists of turns:

    bad-transcript          the text does not begin with a marker, or misses one
    two-conversations       two columns of turns, of which a row uses one, hold different ones
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.conversations.cells import (
    InvalidConversation,
    cells,
    text_cells,
)
from transforms.conversations.conversation_shapes import to_turns
from transforms.conversations.field_mapping import TurnMapping
from transforms.conversations.parse_turns import parse_cell, parse_column
from transforms.conversations.roles import ROLES
from transforms.conversations.tools import tool_list
from transforms.conversations.training_marks import MARKED, has_marks
from transforms.conversations.transcripts import TRANSCRIPTS, system_text
from transforms.conversations.turns import ASSISTANT, SYSTEM, TOOL, USER, Turn, Turns
from transforms.formats.source_rows import MAX_ROW_BYTES
from transforms.records import one_array

_BETWEEN = "\n\n"


@dataclass(frozen=True)
class ConversationRules:
    """What happens to conversations that can be repaired.

    Attributes:
        same_role: "reject", or "merge" neighbouring turns of one role, with a blank line between.
        ends_with_user: "reject", or "trim" the turns after the assistant's last one.
        assistant_first: whether a conversation may begin with the assistant.
    """

    same_role: str = "reject"
    ends_with_user: str = "reject"
    assistant_first: bool = False

    @property
    def repairs(self) -> bool:
        """Do the rules change any conversation?"""
        return self.same_role == "merge" or self.ends_with_user == "trim"


def reject_codes(turns: Turns, rules: ConversationRules) -> list[str | None]:
    """The reject code of each row, or None."""
    count = len(turns)
    starts, ends = turns.offsets[:-1], turns.offsets[1:]
    rows, roles = turns.rows, turns.roles
    filled = ends > starts
    codes = np.zeros(count, np.int8)  # index of the code in names
    names: list[str | None] = [None]

    def mark(code: str, which: np.ndarray) -> None:
        codes[which & (codes == 0)] = len(names)
        names.append(code)

    def any_of(flags: np.ndarray) -> np.ndarray:
        return np.bincount(rows[flags], minlength=count) > 0

    mark("unknown-role", any_of(roles < 0))
    mark("empty-messages", ~filled)
    mark("empty-turn", any_of(_is_blank(turns) & (roles != SYSTEM)))
    mark("no-assistant-turn", ~any_of(roles == ASSISTANT))
    if not rules.assistant_first:
        dialogue = np.flatnonzero(roles != SYSTEM)[::-1]
        first = np.full(count, USER)
        first[rows[dialogue]] = roles[dialogue]  # the last assignment to a row stays
        mark("starts-with-assistant", np.isin(first, (ASSISTANT, TOOL)))
    again = (rows[1:] == rows[:-1]) & (roles[1:] == roles[:-1]) & (roles[1:] != TOOL)
    mark("same-role-twice", any_of(np.concatenate((np.zeros(min(1, len(rows)), bool), again))))
    last = np.where(filled, roles[ends - 1] if len(roles) else ASSISTANT, ASSISTANT)
    for role in (USER, TOOL, SYSTEM):
        mark(f"ends-with-{ROLES[role]}", last == role)
    size = np.bincount(rows, _sizes(turns), minlength=count)
    mark("row-too-large", size > MAX_ROW_BYTES)
    return [names[code] for code in codes.tolist()]


def _is_blank(turns: Turns) -> np.ndarray:
    blank = pc.or_(pc.equal(pc.binary_length(turns.content), 0), pc.utf8_is_space(turns.content))
    if turns.tool_calls is not None:
        blank = pc.and_(blank, pc.is_null(turns.tool_calls))
    return np.asarray(blank.to_numpy(zero_copy_only=False), bool)


def _sizes(turns: Turns) -> np.ndarray:
    size = np.asarray(pc.binary_length(turns.content).to_numpy(zero_copy_only=False), np.int64)
    for other in (turns.reasoning, turns.tool_calls):
        if other is not None:
            size = size + pc.fill_null(pc.binary_length(other), 0).to_numpy(zero_copy_only=False)
    return size


def repair(row: Sequence[Turn], rules: ConversationRules) -> list[Turn]:
    """The conversation, repaired as the rules say."""
    turns = list(row)
    if any(turn.role < 0 for turn in turns):
        return turns  # an unknown role is rejected, not trimmed away
    if rules.same_role == "merge":
        runs = (list(run) for _, run in groupby(turns, key=lambda turn: turn.role))
        turns = [t for run in runs for t in (run if run[0].role == TOOL else [_merged(run)])]
    if rules.ends_with_user == "trim":
        while turns and turns[-1].role != ASSISTANT:
            turns.pop()
    return turns or list(row)  # nothing is left: the original is rejected


def _merged(run: Sequence[Turn]) -> Turn:
    if len(run) == 1:
        return run[0]
    calls = [call for turn in run if turn.tool_calls for call in json.loads(turn.tool_calls)]
    return Turn(
        run[0].role,
        _BETWEEN.join(turn.content for turn in run if turn.content),
        _BETWEEN.join(turn.reasoning for turn in run if turn.reasoning) or None,
        json.dumps(calls, ensure_ascii=False) if calls else None,
        next((turn.name for turn in run if turn.name), None),
    )


def to_conversations(
    table: pa.Table,
    mapping: TurnMapping,
    rules: ConversationRules,
) -> tuple[Turns, pa.Array | None, list[str | None]]:
    """Parses and checks the conversations of a table's rows.

    Args:
        table: the source columns.
        mapping: the columns and the keys of a turn.  A row's own system turn has precedence.
        rules: whether to repair conversations.

    Returns:
        The turns, the tools as JSON (string, nullable) or None, and each row's reject code.
    """
    offered, offered_codes = _tools(table, mapping.tools)
    keys, found = mapping.keys, None
    if len(mapping.turns) == 1 and not mapping.masks and not _any_text(table, mapping.system):
        array = one_array(table[mapping.turns[0]])
        found = parse_column(array, keys) if not pa.types.is_string(array.type) else None
    if found is not None:
        turns = found.turns
        codes = reject_codes(turns, rules)
        if rules.repairs and any(codes):
            turns = Turns.of_rows([repair(row, rules) for row in turns.to_rows()])
            codes = reject_codes(turns, rules)
        if found.nulls.any():
            nulls = found.nulls.tolist()
            codes = ["null-messages" if n else c for c, n in zip(codes, nulls, strict=True)]
        if found.excluded.any():
            marks = found.excluded.tolist()
            codes = [c or (MARKED if m else None) for c, m in zip(codes, marks, strict=True)]
    else:
        rows, faults, marked = _one_by_one(table, mapping)
        if rules.repairs:
            rows = [repair(row, rules) for row in rows]
        turns = Turns.of_rows(rows)
        codes = [
            fault or code or mark
            for fault, code, mark in zip(faults, reject_codes(turns, rules), marked, strict=True)
        ]
    return turns, offered, [code or bad for code, bad in zip(codes, offered_codes, strict=True)]


def _any_text(table: pa.Table, column: str | None) -> bool:
    if column is None:
        return False
    array = _as_text(table[column])
    return bool(pc.any(pc.greater(pc.binary_length(array), 0)).as_py())


def _one_by_one(
    table: pa.Table, mapping: TurnMapping
) -> tuple[list[list[Turn]], list[str | None], list[str | None]]:
    """The turns of each row; the code of one that cannot be parsed; that of one with a mark."""
    keys = mapping.keys
    is_text = mapping.shape in TRANSCRIPTS
    conversations = [
        _texts(table[name]) if is_text else cells(table[name]) for name in mapping.turns
    ]
    masks = [cells(table[name]) for name in mapping.masks]
    prompts: Iterable[Any] = (
        _texts(table[mapping.system]) if mapping.system else [None] * table.num_rows
    )
    rows: list[list[Turn]] = []
    faults: list[str | None] = []
    marks: list[str | None] = []
    for prompt, *found in zip(prompts, *conversations, *masks, strict=True):
        fault, is_marked = None, False
        try:
            if isinstance(prompt, InvalidConversation):
                raise prompt
            lists = [cell for cell in found[: len(conversations)] if cell is not None]
            if not lists:
                raise InvalidConversation("null-messages")
            if keys.shape != "turns":
                lists = [to_turns(cell, keys.shape) for cell in lists]
            parts = [parse_cell(cell, keys) for cell in lists]
            if mapping.either:
                parts = _one_of(parts)
            turns = [turn for part in parts for turn in part]
            is_marked = keys.marks and has_marks(lists, turns, found[len(conversations) :])
            own = not turns or any(turn.role == SYSTEM for turn in turns)
            if prompt and prompt.strip() and not own:
                turns.insert(0, Turn(SYSTEM, system_text(prompt) if is_text else prompt))
        except InvalidConversation as unusable:
            turns, fault = [], unusable.code
        rows.append(turns)
        faults.append(fault)
        marks.append(MARKED if is_marked else None)
    return rows, faults, marks


def _one_of(parts: list[list[Turn]]) -> list[list[Turn]]:
    """The one conversation of columns of which a row uses one; copies of it are fine."""
    filled = [part for part in parts if part] or parts[:1]
    if any(part != filled[0] for part in filled[1:]):
        raise InvalidConversation("two-conversations")
    return filled[:1]


def _texts(column: pa.ChunkedArray) -> list[str | InvalidConversation | None]:
    return list(text_cells(_as_text(column)))


def _as_text(column: pa.ChunkedArray) -> pa.StringArray:
    """A side column as text; ``--fields`` may name a column of numbers."""
    array = one_array(column)
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_finite(array), array, None)
    return array if pa.types.is_string(array.type) else array.cast(pa.string())


def _tools(table: pa.Table, column: str | None) -> tuple[pa.Array | None, list[str | None]]:
    """(tools of each row as JSON, or None without such a column; reject codes)."""
    codes: list[str | None] = [None] * table.num_rows
    if column is None:
        return None, codes
    array = one_array(table[column])
    raw = _texts(table[column]) if pa.types.is_string(array.type) else list(cells(table[column]))
    made: list[str | None] = []
    known: dict[str, str | None] = {}  # most sets repeat the same tools
    for index, value in enumerate(raw):
        try:
            if isinstance(value, InvalidConversation):
                raise value
            if isinstance(value, str):
                if value not in known:
                    known[value] = tool_list(value)
                made.append(known[value])
            else:
                made.append(tool_list(value))
        except InvalidConversation as unusable:
            codes[index] = unusable.code
            made.append(None)
    return pa.array(made, pa.string()), codes
