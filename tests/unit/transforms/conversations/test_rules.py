"""The conversation rule: every reject code, what comes first, and what the two flags mend."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.conversations.field_mapping import TurnMapping
from transforms.conversations.normalize_rows import rows_of
from transforms.conversations.rules import ConversationRules, reject_codes, repair
from transforms.conversations.turns import ASSISTANT, SYSTEM, TOOL, USER, Turn, Turns
from transforms.formats.source_rows import MAX_ROW_BYTES
from transforms.records import EXCERPT_CHARS, REJECTS, ROW

MAPPING = TurnMapping(("messages",), "role", "content")
STRICT = ConversationRules()
MERGE = ConversationRules(same_role="merge")
TRIM = ConversationRules(ends_with_user="trim")
BOTH = ConversationRules("merge", "trim")
FIRST = ConversationRules(assistant_first=True)

S, U, A, T = (Turn(role, name) for role, name in enumerate("SUAT"))
LETTERS = {"S": S, "U": U, "A": A, "T": T, "?": Turn(-1, "x"), "_": Turn(USER, " \u3000")}
CALL = '[{"type": "function", "function": {"name": "f", "arguments": {}}}]'
CALLS = Turn(ASSISTANT, "", None, CALL)


def row(letters: str) -> list[Turn]:
    """A conversation such as "SUA": a turn for each letter."""
    return [LETTERS[letter] for letter in letters]


def code(turns: list[Turn], rules: ConversationRules = STRICT) -> str | None:
    return reject_codes(Turns.of_rows([turns]), rules)[0]


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        *((good, None) for good in ("UA", "SUA", "UAUA", "UATTA", "UATA", "SUATTTA")),
        ("?", "unknown-role"),
        ("", "empty-messages"),
        ("_", "empty-turn"),
        ("U", "no-assistant-turn"),
        ("S", "no-assistant-turn"),
        ("A", "starts-with-assistant"),
        ("SA", "starts-with-assistant"),
        ("TA", "starts-with-assistant"),
        ("UUA", "same-role-twice"),
        ("UAA", "same-role-twice"),
        ("SSUA", "same-role-twice"),
        ("UAU", "ends-with-user"),
        ("UAT", "ends-with-tool"),
        ("UAS", "ends-with-system"),
    ],
)
def test_each_code_has_its_smallest_row(letters: str, expected: str | None) -> None:
    assert code(row(letters)) == expected


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("?_AAU", "unknown-role"),
        ("_", "empty-turn"),
        ("A_AAU", "empty-turn"),
        ("UU", "no-assistant-turn"),
        ("AAU", "starts-with-assistant"),
        ("UAAU", "same-role-twice"),
    ],
)
def test_the_first_code_that_applies_is_told(letters: str, expected: str) -> None:
    assert code(row(letters)) == expected


def test_a_row_has_its_code_whatever_the_others_have() -> None:
    rows = [row(letters) for letters in ("", "UA", "?", "", "A", "U", "UA", "")]
    assert reject_codes(Turns.of_rows(rows), STRICT) == [
        *("empty-messages", None, "unknown-role", "empty-messages"),
        *("starts-with-assistant", "no-assistant-turn", None, "empty-messages"),
    ]
    assert reject_codes(Turns.of_rows([[], []]), STRICT) == ["empty-messages"] * 2
    assert reject_codes(Turns.of_rows([]), STRICT) == []


class TestEmptyTurns:
    @pytest.mark.parametrize("role", [USER, ASSISTANT, TOOL])
    @pytest.mark.parametrize("text", ["", " ", "\n\t", "\u00a0\u2003\u3000"])
    def test_a_turn_that_says_nothing_is_a_reject(self, role: int, text: str) -> None:
        assert code([U, A, Turn(role, text), A]) == "empty-turn"
        assert code([U, Turn(role, text, "reasoning alone")]) == "empty-turn"

    @pytest.mark.parametrize("text", ["\u200b", "\0", ".", "\ufeff"])
    def test_what_is_no_white_space_says_something(self, text: str) -> None:
        assert code([Turn(USER, text), A]) is None

    def test_tool_calls_say_something(self) -> None:
        assert code([U, CALLS, T, A]) is None
        assert code([U, CALLS, T, Turn(ASSISTANT, "")]) == "empty-turn"

    def test_a_system_turn_may_be_empty(self) -> None:
        assert code([Turn(SYSTEM, ""), U, A]) is None


class TestSize:
    def test_all_that_a_row_says_is_counted(self) -> None:
        half = "ü" * (MAX_ROW_BYTES // 4)
        assert code([Turn(USER, half), Turn(ASSISTANT, "a" * (MAX_ROW_BYTES // 2))]) is None
        assert code([Turn(USER, half + "a"), Turn(ASSISTANT, half)]) == "row-too-large"
        assert code([Turn(USER, half), Turn(ASSISTANT, half, "r")]) == "row-too-large"
        calls = CALL.replace("f", half)
        assert code([Turn(USER, half), Turn(ASSISTANT, "", None, calls), A]) == "same-role-twice"
        assert code([Turn(USER, half), Turn(ASSISTANT, "", None, calls)]) == "row-too-large"


class TestAssistantFirst:
    def test_a_flag_allows_it(self) -> None:
        assert [code(row(r), FIRST) for r in ("A", "AUA", "SA", "SAUA")] == [None] * 4

    def test_the_other_rules_stay(self) -> None:
        assert code(row("AAU"), FIRST) == "same-role-twice"
        assert code(row("AU"), FIRST) == "ends-with-user"


class TestMerge:
    def test_turns_of_one_role_in_a_row_become_one(self) -> None:
        turns = [S, S, U, U, U, A, A, U, A]
        assert [t.content for t in repair(turns, MERGE)] == [
            "S\n\nS",
            "U\n\nU\n\nU",
            "A\n\nA",
            "U",
            "A",
        ]

    def test_results_of_tools_stay_apart(self) -> None:
        assert repair([U, CALLS, T, T, A], MERGE) == [U, CALLS, T, T, A]

    def test_an_empty_one_adds_no_blank_line(self) -> None:
        assert repair([Turn(USER, ""), U, Turn(USER, "")], MERGE) == [U]
        assert repair([Turn(USER, ""), Turn(USER, "")], MERGE) == [Turn(USER, "")]

    def test_reasoning_calls_and_names_are_kept(self) -> None:
        one = Turn(ASSISTANT, "a", "r", CALL, None)
        two = Turn(ASSISTANT, "", None, CALL.replace('"f"', '"ü"'), "n")
        three = Turn(ASSISTANT, "b", "s", None, "m")
        (merged,) = repair([one, two, three], MERGE)
        assert merged[:3] == (ASSISTANT, "a\n\nb", "r\n\ns")
        assert merged.name == "n"
        assert merged.tool_calls == (
            '[{"type": "function", "function": {"name": "f", "arguments": {}}}, '
            '{"type": "function", "function": {"name": "ü", "arguments": {}}}]'
        )

    def test_a_turn_alone_is_not_changed(self) -> None:
        odd = Turn(ASSISTANT, " a ", "", '[ {"type": "function"} ]', "")
        assert repair([U, odd], MERGE) == [U, odd]


class TestTrim:
    @pytest.mark.parametrize(
        ("letters", "left"),
        [("UAU", "UA"), ("UAUU", "UA"), ("UAT", "UA"), ("UAS", "UA"), ("UAUAUSU", "UAUA")],
    )
    def test_what_follows_the_last_answer_goes(self, letters: str, left: str) -> None:
        assert repair(row(letters), TRIM) == row(left)
        assert code(repair(row(letters), TRIM), TRIM) is None

    @pytest.mark.parametrize("letters", ["", "U", "SU", "S"])
    def test_where_nothing_would_be_left_the_row_is_rejected_for_what_it_is(
        self, letters: str
    ) -> None:
        assert repair(row(letters), TRIM) == row(letters)
        assert code(repair(row(letters), TRIM), TRIM) == code(row(letters))

    def test_a_role_that_nobody_knows_is_not_trimmed_away(self) -> None:
        for form in (native, as_json):
            for rules in (TRIM, BOTH):
                cells = form([[("user", "a"), ("gpt", "b"), ("narrator", "c")]])
                assert codes(cells, rules) == {1: "unknown-role"}

    def test_nor_is_a_call_that_is_no_json(self) -> None:
        cells = as_json([[("user", "a"), ("gpt", "b"), ("function_call", "f()")]])
        assert codes(cells, TRIM) == {1: "bad-tool-calls"}

    def test_an_empty_turn_that_goes_is_no_fault(self) -> None:
        assert code(repair([U, A, Turn(USER, "")], TRIM), TRIM) is None


def test_both_flags_together_merge_and_then_trim() -> None:
    turns = [S, U, U, Turn(ASSISTANT, "a", "r"), CALLS, T, T, A, A, U, U]
    assert repair(turns, BOTH) == [
        S,
        Turn(USER, "U\n\nU"),
        Turn(ASSISTANT, "a", "r", CALL),
        T,
        T,
        Turn(ASSISTANT, "A\n\nA"),
    ]


ROLES = ("system", "user", "assistant", "tool", "narrator")
TEXTS = st.sampled_from(["a", "b", " ", ""])
ROWS = st.lists(
    st.none() | st.lists(st.tuples(st.sampled_from(ROLES), TEXTS), max_size=5), max_size=6
)
RULES = st.builds(
    ConversationRules,
    st.sampled_from(["reject", "merge"]),
    st.sampled_from(["reject", "trim"]),
    st.booleans(),
)


def native(rows: list[Any]) -> pa.Array:
    kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    return pa.array([r and [{"role": a, "content": b} for a, b in r] for r in rows], kind)


def as_json(rows: list[Any]) -> pa.Array:
    cells = [r if r is None else [{"role": a, "content": b} for a, b in r] for r in rows]
    return pa.array([c if c is None else json.dumps(c) for c in cells], pa.string())


def numbered(cells: pa.Array, **more: Any) -> pa.Table:
    table = pa.table({"messages": cells, **more})
    return table.append_column(ROW, pa.array(range(1, table.num_rows + 1), pa.int64()))


def codes(cells: pa.Array, rules: ConversationRules = STRICT) -> dict[int, str]:
    _, rejects = rows_of(numbered(cells), MAPPING, None, rules)
    assert rejects.schema == REJECTS
    return dict(zip(rejects["row"].to_pylist(), rejects["code"].to_pylist(), strict=True))


@given(rows=ROWS, rules=RULES)
def test_every_row_is_kept_or_rejected_in_order_and_mended_only_where_it_may_be(
    rows: list[Any], rules: ConversationRules
) -> None:
    kept, rejects = rows_of(numbered(native(rows)), MAPPING, None, rules)
    good, bad = kept[ROW].to_pylist(), rejects["row"].to_pylist()
    assert sorted([*good, *bad]) == list(range(1, len(rows) + 1))
    assert (good, bad) == (sorted(good), sorted(bad))
    turns = Turns.of_column(kept["turns"].combine_chunks()).to_rows()
    for number, made in zip(good, turns, strict=True):
        given_ = [Turn(ROLES.index(role), text) for role, text in rows[number - 1]]
        assert made == repair(given_, rules)
        if not rules.repairs:
            assert made == given_
        assert code(made, rules) is None
        assert repair(made, rules) == made
        first = next(t.content for t in made if t.role == USER) if "U" in letters(made) else ""
        assert kept["instruction"][good.index(number)].as_py() == first
        if not rules.assistant_first:
            assert letters(made).lstrip("S").startswith("U")
        assert letters(made).endswith("A")
        assert not any(twice in letters(made) for twice in ("SS", "UU", "AA"))


def letters(turns: list[Turn]) -> str:
    return "".join("SUAT"[turn.role] for turn in turns)


class TestCells:
    @pytest.mark.parametrize(
        ("cell", "expected"),
        [
            (None, "null-messages"),
            *((text, "broken-json") for text in ("", "{", "[", "hello", "[{}")),
            *((text, "not-a-conversation") for text in ("{}", "5", '"a"', "true", "[5]", "[[]]")),
            *((text, "not-a-conversation") for text in ("[null]", '["a"]')),
            ("null", "null-messages"),
            ("[]", "empty-messages"),
            ("[{}]", "unknown-role"),
            ('[{"role": "user", "content": 5}]', "not-text"),
            ('[{"role": "user", "content": "\\udfff"}]', "invalid-unicode"),
            ("[" * 10_000, "broken-json"),
            ('[{"role": "gpt", "tool_calls": "{"}]', "bad-tool-calls"),
        ],
    )
    def test_each_code_has_its_cell(self, cell: str | None, expected: str) -> None:
        good = '[{"role": "user", "content": "a"}, {"role": "gpt", "content": "b"}]'
        assert codes(pa.array([cell], pa.string())) == {1: expected}
        assert codes(pa.array([good, cell, good], pa.string())) == {2: expected}

    @pytest.mark.parametrize(
        "cells",
        [
            pa.array([["a"]]),
            pa.array([[5]]),
            pa.array([[None]], pa.list_(pa.null())),
            pa.array([[["a"]]]),
            pa.array([[{"role": "user", "content": "a"}, None]]),
        ],
    )
    def test_lists_of_anything_but_objects_are_no_conversation(self, cells: pa.Array) -> None:
        assert codes(cells) == {1: "not-a-conversation"}

    def test_a_fault_of_the_turns_is_told_before_one_of_the_tools_and_one_of_the_key(self) -> None:
        good = '[{"role": "user", "content": "a"}, {"role": "gpt", "content": "b"}]'
        cells = pa.array(["{", good, good], pa.string())
        table = numbered(cells, tools=["{", "{", ""], key=pa.array(["", "", ""]))
        mapping = TurnMapping(("messages",), "role", "content", tools="tools")
        _, rejects = rows_of(table, mapping, "key", STRICT)
        assert rejects["code"].to_pylist() == ["broken-json", "bad-tools", "empty-split-key"]


class TestExcerpt:
    def test_it_shows_the_first_turns(self) -> None:
        turns = [("user", f"u{n}") for n in range(9)]
        for form in (native, as_json):
            _, rejects = rows_of(numbered(form([turns])), MAPPING, None, STRICT)
            shown = json.loads(rejects["excerpt"][0].as_py())
            assert [turn["content"] for turn in shown["messages"]] == ["u0", "u1", "u2"]

    @given(rows=ROWS)
    def test_it_is_the_same_for_a_list_and_for_its_json_text(self, rows: list[Any]) -> None:
        # Which one a reader of JSON gives depends on the rows beside it.
        _, one = rows_of(numbered(native(rows)), MAPPING, None, STRICT)
        _, two = rows_of(numbered(as_json(rows)), MAPPING, None, STRICT)
        assert one.equals(two)

    def test_it_is_short_and_valid_text(self) -> None:
        cells = pa.array(["[" + "😀" * 500, '[{"role": "\\ud800"}]'])
        _, rejects = rows_of(numbered(cells), MAPPING, None, STRICT)
        rejects.validate(full=True)
        assert max(map(len, rejects["excerpt"].to_pylist())) <= EXCERPT_CHARS
