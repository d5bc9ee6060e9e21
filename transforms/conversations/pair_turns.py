"""Makes turns of a question and an answer with reasoning, a system prompt or a history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from transforms.conversations.cells import InvalidConversation, cells, parsed, text_cells
from transforms.conversations.pair_mapping import PairMapping
from transforms.conversations.rejected_rows import split_rejects
from transforms.conversations.rules import ConversationRules, reject_codes, repair
from transforms.conversations.turn_keys import find_turn_keys
from transforms.conversations.turns import ASSISTANT, SYSTEM, USER, Turn, Turns
from transforms.records import ROW, one_array

UNPACKED = (
    *(("process", "final_answer"), ("reasoning", "solution"), ("reasoning", "answer")),
    *(("thinking", "answer"), ("reasoning", "final_answer")),
)
"""Keys of a JSON object of reasoning and answer, in the order of preference."""


def pair_turns(
    pairs: pa.Table, fields: PairMapping, rules: ConversationRules
) -> tuple[pa.Table, pa.Table]:
    """(kept, rejects) of a table that ``pairs.to_pairs`` made.

    Reject codes, besides those of a conversation: ``response-not-json`` (for ``--unpack-json``) and
    ``bad-history``.
    """
    rows: list[list[Turn]] = []
    codes: list[str | None] = []
    for row in _rows(pairs, fields):
        try:
            rows.append(_turns(row, fields))
            codes.append(None)
        except InvalidConversation as unusable:
            rows.append([])
            codes.append(unusable.code)
    if rules.repairs:
        rows = [repair(turns, rules) for turns in rows]
    turns = Turns.of_rows(rows)
    codes = [code or other for code, other in zip(codes, reject_codes(turns, rules), strict=True)]
    kept = [name for name in ("key", ROW) if name in pairs.column_names]
    made = pairs.select(kept).append_column("turns", turns.column())
    # The first question, which may be one of the history.
    made = made.append_column("instruction", turns.content_at(turns.first(USER)))
    good, rejects = split_rejects(pairs, codes, ("instruction", "response"))
    return made.filter(good), rejects


class _Row(NamedTuple):
    question: str
    answer: str
    reasoning: str | None
    system: str | None
    history: Any


def _rows(pairs: pa.Table, fields: PairMapping) -> Iterator[_Row]:
    nothing = [None] * pairs.num_rows
    columns = (
        pairs["instruction"].to_pylist(),
        pairs["response"].to_pylist(),
        pairs["reasoning"].to_pylist() if fields.reasoning is not None else nothing,
        pairs["system"].to_pylist() if fields.system is not None else nothing,
        _histories(pairs["history"]) if fields.history is not None else nothing,
    )
    return (_Row(*cells) for cells in zip(*columns, strict=True))


def _turns(row: _Row, fields: PairMapping) -> list[Turn]:
    thinking, answer = row.reasoning, row.answer
    if fields.unpack:
        thinking, answer = _unpacked(answer)
    turns = []
    if row.system and row.system.strip():
        turns.append(Turn(SYSTEM, row.system))
    for earlier, reply in _history(row.history):
        turns += [Turn(USER, earlier), Turn(ASSISTANT, reply)]
    thinking = thinking if thinking and thinking.strip() else None
    return [*turns, Turn(USER, row.question), Turn(ASSISTANT, answer, thinking)]


def _unpacked(answer: str) -> tuple[str, str]:
    value = parsed(answer)
    if isinstance(value, Mapping):
        for thinking, final in UNPACKED:
            found = (value.get(thinking), value.get(final))
            if isinstance(found[0], str) and isinstance(found[1], (str, int, float)):
                return found[0], str(found[1])  # an answer may be a number
    raise InvalidConversation("response-not-json")


def is_history(cell: Any) -> bool:
    """Does a sample's cell contain earlier questions and answers, also as JSON text?"""
    value = parsed(cell) if isinstance(cell, str) else cell
    try:
        return bool(_history(value))
    except InvalidConversation:
        return False


def _histories(column: pa.ChunkedArray) -> list[Any]:
    """Lists, or JSON text of lists; a blank cell, as in CSV, is no history."""
    array = one_array(column)
    if not pa.types.is_string(array.type):
        return list(cells(column))
    texts = text_cells(array)
    return [None if isinstance(text, str) and not text.strip() else parsed(text) for text in texts]


def _history(value: Any) -> list[tuple[str, str]]:
    if value is None:
        return []
    # The role and the text of a turn are not a question and an answer.
    if not isinstance(value, list) or find_turn_keys(value):
        raise InvalidConversation("bad-history")
    pairs = []
    for item in value:
        if not isinstance(item, list) or len(item) != 2:
            raise InvalidConversation("bad-history")
        if not all(isinstance(text, str) for text in item):
            raise InvalidConversation("bad-history")
        pairs.append((item[0], item[1]))
    return pairs
