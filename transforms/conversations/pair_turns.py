"""Makes turns of a question and an answer with reasoning, a system prompt or a history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.conversations.cells import InvalidConversation, cells, parsed, text_cells
from transforms.conversations.pair_mapping import PairMapping
from transforms.conversations.rejected_rows import split_rejects
from transforms.conversations.rules import ConversationRules, reject_codes
from transforms.conversations.turn_keys import find_turn_keys
from transforms.conversations.turns import ASSISTANT, SYSTEM, USER, Turns
from transforms.records import ROW, one_array, rejects_table

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
    question, answer = one_array(pairs["instruction"]), one_array(pairs["response"])
    thinking = one_array(pairs["reasoning"]) if fields.reasoning is not None else None
    system = one_array(pairs["system"]) if fields.system is not None else None
    codes: list[str | None] = [None] * len(question)
    history = None
    if fields.history is not None:
        history, codes = _read_histories(pairs["history"])
    if fields.unpack:
        thinking, answer, unusable = _unpack_all(answer)
        codes = [code or other for code, other in zip(unusable, codes, strict=True)]
    turns = _arranged(system, history, question, answer, thinking)
    # Such turns alternate and end with an answer, so that there is nothing to repair.
    codes = [code or other for code, other in zip(codes, reject_codes(turns, rules), strict=True)]
    kept = [name for name in ("key", ROW) if name in pairs.column_names]
    made = pairs.select(kept).append_column("turns", turns.column())
    # The first question, which may be one of the history.
    made = made.append_column("instruction", turns.content_at(turns.first(USER)))
    if not any(codes):
        return made, rejects_table([])
    good, rejects = split_rejects(pairs, codes, ("instruction", "response"))
    return made.filter(good), rejects


class _Histories(NamedTuple):
    """The earlier questions and answers of some rows.

    Attributes:
        counts: how many pairs each row has; int64.
        texts: a question, its answer, the next question …, of all rows.
    """

    counts: np.ndarray
    texts: pa.StringArray


def _arranged(
    system: pa.StringArray | None,
    history: _Histories | None,
    question: pa.StringArray,
    answer: pa.StringArray,
    thinking: pa.StringArray | None,
) -> Turns:
    """The turns of the rows: system prompt, history, question, answer with its reasoning."""
    count = len(question)
    has_system = np.zeros(count, bool) if system is None else _are_filled(system)
    earlier = np.zeros(count, np.int64) if history is None else 2 * history.counts
    offsets = np.concatenate(([0], np.cumsum(2 + has_system + earlier)))
    texts, start = [question, answer], 2 * count
    last = offsets[1:] - 1
    # Where each turn's text lies in the arrays, one after the other.
    places = np.empty(int(offsets[-1]), np.int64)
    places[last - 1], places[last] = np.arange(count), np.arange(count, 2 * count)
    roles = np.empty(len(places), np.int8)
    roles[last - 1], roles[last] = USER, ASSISTANT
    if system is not None:
        first = offsets[:-1][has_system]
        places[first], roles[first] = start + np.flatnonzero(has_system), SYSTEM
        texts.append(system)
        start += count
    if history is not None:
        begins = np.repeat(offsets[:-1] + has_system - np.cumsum(earlier) + earlier, earlier)
        of_history = begins + np.arange(len(begins))
        places[of_history] = start + np.arange(len(begins))
        roles[of_history] = np.where(np.arange(len(begins)) % 2, ASSISTANT, USER)
        texts.append(history.texts)
    content = pa.concat_arrays(texts).take(pa.array(places))
    reasoning = None
    if thinking is not None:
        filled = _are_filled(thinking)
        if filled.any():
            rows = np.full(len(places), -1)
            rows[last[filled]] = np.flatnonzero(filled)
            reasoning = thinking.take(pa.array(rows, mask=rows < 0))
    return Turns(offsets, roles, content, reasoning)


def _are_filled(texts: pa.StringArray) -> np.ndarray:
    """Which texts are neither null nor blank; bool."""
    blank = pc.or_(pc.equal(pc.binary_length(texts), 0), pc.utf8_is_space(texts))
    return ~np.asarray(pc.fill_null(blank, True).to_numpy(zero_copy_only=False), bool)


def _unpack_all(
    answers: pa.StringArray,
) -> tuple[pa.StringArray, pa.StringArray, list[str | None]]:
    """(reasoning, answers, reject codes) of JSON objects of both."""
    found: list[tuple[str, str]] = []
    codes: list[str | None] = []
    for answer in answers.to_pylist():
        try:
            found.append(_unpacked(answer))
            codes.append(None)
        except InvalidConversation as unusable:
            found.append(("", ""))
            codes.append(unusable.code)
    thinking, final = ([pair[n] for pair in found] for n in (0, 1))
    return pa.array(thinking, pa.string()), pa.array(final, pa.string()), codes


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


def _read_histories(column: pa.ChunkedArray) -> tuple[_Histories, list[str | None]]:
    """(the histories, reject codes); one that is rejected counts as empty."""
    array = one_array(column)
    codes: list[str | None] = [None] * len(array)
    found = _list_histories(array)
    if found is not None:
        return found, codes
    counts, texts = np.zeros(len(array), np.int64), []
    for row, cell in enumerate(_histories(array)):
        try:
            pairs = _history(cell)
        except InvalidConversation as unusable:
            codes[row] = unusable.code
            continue
        counts[row] = len(pairs)
        texts += [text for pair in pairs for text in pair]
    return _Histories(counts, pa.array(texts, pa.string())), codes


def _list_histories(array: pa.Array) -> _Histories | None:
    """The histories of lists of pairs of text; None where a cell has another form."""
    if array.type != pa.list_(pa.list_(pa.string())):
        return None
    pairs = array.flatten()
    if pairs.null_count or not pc.all(pc.equal(pairs.value_lengths(), 2)).as_py():
        return None
    texts = pairs.flatten()
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        return None  # text that is not UTF-8
    if texts.null_count:
        return None
    counts = pc.fill_null(array.value_lengths(), 0).to_numpy(zero_copy_only=False)
    return _Histories(np.asarray(counts, np.int64), texts)


def _histories(array: pa.Array) -> list[Any]:
    """Lists, or JSON text of lists; a blank cell, as in CSV, is no history."""
    if not pa.types.is_string(array.type):
        return list(cells(pa.chunked_array([array])))
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
