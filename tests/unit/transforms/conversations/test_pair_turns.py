"""Questions and answers with reasoning, a system prompt, a history, or JSON to be opened."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.conversations.normalize_rows import rows_of
from transforms.conversations.pair_mapping import PairMapping
from transforms.conversations.rules import ConversationRules
from transforms.conversations.turns import ASSISTANT, SYSTEM, USER, Turn, Turns
from transforms.records import ROW


def run(
    mapping: PairMapping,
    rules: ConversationRules = ConversationRules(),  # noqa: B008 (immutable)
    **columns: Any,
) -> tuple[dict[int, list[Turn]], dict[int, str]]:
    """Row -> turns, and row -> reject code, of rows that are numbered from 1."""
    table = pa.table(columns)
    table = table.append_column(ROW, pa.array(range(1, table.num_rows + 1), pa.int64()))
    kept, rejects = rows_of(table, mapping, None, rules)
    turns = Turns.of_column(kept["turns"].combine_chunks()).to_rows()
    good = dict(zip(kept[ROW].to_pylist(), turns, strict=True))
    bad = dict(zip(rejects["row"].to_pylist(), rejects["code"].to_pylist(), strict=True))
    assert sorted([*good, *bad]) == list(range(1, table.num_rows + 1))
    return good, bad


QA = [Turn(USER, "q"), Turn(ASSISTANT, "a")]


class TestReasoning:
    MAPPING = PairMapping(("q",), ("a",), reasoning="r")

    def test_stays_apart_from_the_answer(self) -> None:
        good, bad = run(self.MAPPING, q=["q"] * 4, a=["a"] * 4, r=["r", None, "", " \n"])
        assert good[1] == [Turn(USER, "q"), Turn(ASSISTANT, "a", "r")]
        assert (good[2], good[3], good[4], bad) == (QA, QA, QA, {})

    def test_alone_is_no_answer(self) -> None:
        assert run(self.MAPPING, q=["q"], a=[" "], r=["r"])[1] == {1: "blank-response"}

    def test_in_bytes_that_are_no_utf8_costs_its_row(self) -> None:
        column = pa.array([b"\xff", b"r"], pa.binary()).view(pa.string())
        good, bad = run(self.MAPPING, q=["q"] * 2, a=["a"] * 2, r=column)
        assert (list(good), bad) == ([2], {1: "invalid-unicode"})


def test_a_system_prompt_comes_first() -> None:
    mapping = PairMapping(("q",), ("a",), system="s")
    good, _ = run(mapping, q=["q"] * 3, a=["a"] * 3, s=["s", " ", None])
    assert good == {1: [Turn(SYSTEM, "s"), *QA], 2: QA, 3: QA}


class TestHistory:
    MAPPING = PairMapping(("q",), ("a",), system="s", history="h")
    EARLIER = [Turn(USER, "u"), Turn(ASSISTANT, "v")]

    @pytest.mark.parametrize(
        "cells",
        [
            [[["u", "v"]], [], None],
            ['[["u", "v"]]', "[]", None],
            ['[["u", "v"]]', "", " "],
            ['[["u", "v"]]', "null", ""],
        ],
    )
    def test_stands_between_the_system_prompt_and_the_question(self, cells: list[Any]) -> None:
        good, bad = run(self.MAPPING, q=["q"] * 3, a=["a"] * 3, s=["s", "", None], h=cells)
        assert bad == {}
        assert good == {1: [Turn(SYSTEM, "s"), *self.EARLIER, *QA], 2: QA, 3: QA}

    @pytest.mark.parametrize(
        "cell",
        [
            *("{", "{}", "5", '"a"', '["u", "v"]', '[["u"]]', '[["u", "v", "w"]]', "[[]]"),
            *('[["u", null]]', '[["u", 5]]', "[null]", '[["u", "\\ud800"]]'),
            '[{"a": "u"}]',
        ],
    )
    def test_of_another_form_is_a_reject(self, cell: str) -> None:
        good, bad = run(self.MAPPING, q=["q"] * 2, a=["a"] * 2, s=[""] * 2, h=[cell, "[]"])
        assert (good, bad) == ({2: QA}, {1: "bad-history"})

    def test_a_turn_s_role_and_text_are_no_question_and_answer(self) -> None:
        turns = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "v"}]
        for cell in (turns, json.dumps(turns)):
            _, bad = run(self.MAPPING, q=["q"], a=["a"], s=[""], h=[cell])
            assert bad == {1: "bad-history"}

    def test_the_rules_of_conversations_hold(self) -> None:
        cells = [[["", "v"]], [["u", " "]]]
        _, bad = run(self.MAPPING, q=["q"] * 2, a=["a"] * 2, s=[""] * 2, h=cells)
        assert bad == {1: "empty-turn", 2: "empty-turn"}

    @given(
        st.lists(
            st.lists(st.lists(st.text(min_size=1, max_size=3), min_size=2, max_size=2), max_size=3),
            max_size=4,
        )
    )
    def test_a_column_of_lists_and_one_of_json_text_are_the_same(self, rows: list[Any]) -> None:
        count = len(rows)
        more = {
            "q": pa.array(["q"] * count, pa.string()),
            "a": pa.array(["a"] * count, pa.string()),
        }
        more["s"] = pa.nulls(count, pa.string())
        lists = pa.array(rows, pa.list_(pa.list_(pa.string())))
        text = pa.array([json.dumps(row) for row in rows], pa.string())
        assert run(self.MAPPING, **more, h=lists) == run(self.MAPPING, **more, h=text)


class TestUnpacking:
    MAPPING = PairMapping(("q",), ("a",), unpack=True)

    @pytest.mark.parametrize(
        ("thoughts", "final"),
        [
            ("process", "final_answer"),
            ("reasoning", "solution"),
            ("reasoning", "answer"),
            ("thinking", "answer"),
            ("reasoning", "final_answer"),
        ],
    )
    def test_opens_an_object_of_reasoning_and_answer(self, thoughts: str, final: str) -> None:
        good, _ = run(self.MAPPING, q=["q"], a=[json.dumps({"x": 1, final: "ä", thoughts: "r"})])
        assert good[1] == [Turn(USER, "q"), Turn(ASSISTANT, "ä", "r")]

    def test_blank_reasoning_is_none(self) -> None:
        good, _ = run(self.MAPPING, q=["q"], a=['{"process": " ", "final_answer": "a"}'])
        assert good == {1: QA}

    @pytest.mark.parametrize(
        "answer",
        [
            *("a", "{", "[]", "5", "null", '"a"', "{}", "[" * 100_000),
            *('{"process": "r"}', '{"process": "r", "final_answer": null}'),
            *('{"process": 5, "final_answer": "a"}', '{"process": "r", "solution": "a"}'),
            '{"process": "r", "final_answer": "\\ud800"}',
        ],
    )
    def test_anything_else_is_a_reject_even_of_a_whole_batch(self, answer: str) -> None:
        assert run(self.MAPPING, q=["q"], a=[answer]) == ({}, {1: "response-not-json"})

    def test_an_answer_may_be_a_number(self) -> None:
        good, _ = run(self.MAPPING, q=["q"], a=['{"process": "r", "final_answer": 42}'])
        assert good[1][-1] == Turn(ASSISTANT, "42", "r")

    def test_an_answer_of_nothing_is_an_empty_turn(self) -> None:
        answers = ['{"process": "r", "final_answer": ""}']
        assert run(self.MAPPING, q=["q"], a=answers)[1] == {1: "empty-turn"}


def test_faults_of_the_pair_and_of_its_turns_are_told_together() -> None:
    mapping = PairMapping(("q",), ("a",), history="h")
    table: dict[str, Any] = {"q": [None, "q", "q"], "a": ["a", "a", ""], "h": ["{", "{", "{"]}
    assert run(mapping, **table)[1] == {
        1: "null-instruction",
        2: "bad-history",
        3: "empty-response",
    }


def test_a_pair_needs_no_mending() -> None:
    rules = ConversationRules("merge", "trim")
    mapping = PairMapping(("q",), ("a",), history="h")
    good, bad = run(mapping, rules, q=["q", "q"], a=["a", "a"], h=["[]", "{"])
    assert (good, bad) == ({1: QA}, {2: "bad-history"})


def test_the_instruction_is_the_first_question_of_the_history() -> None:
    table = pa.table(
        {
            "q": ["second", "third"],
            "a": ["x", "y"],
            "h": ['[["first", "v"]]'] * 2,
            ROW: pa.array([1, 2]),
        }
    )
    kept, _ = rows_of(table, PairMapping(("q",), ("a",), history="h"))
    assert kept["instruction"].to_pylist() == ["first", "first"]
    kept, _ = rows_of(table, PairMapping(("q",), ("a",), history="h"), key="h")
    assert kept["key"].to_pylist() == ['[["first", "v"]]'] * 2
