"""The turns of a batch: whatever form the source has, the same conversations come out of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.conversations.cells import InvalidConversation
from transforms.conversations.field_mapping import TurnMapping
from transforms.conversations.normalize_rows import rows_of
from transforms.conversations.parse_turns import parse_cell, parse_column
from transforms.conversations.roles import ALIASES
from transforms.conversations.rules import ConversationRules
from transforms.conversations.tools import tool_calls, tool_list
from transforms.conversations.turn_keys import TurnKeys, find_turn_keys
from transforms.conversations.turns import ASSISTANT, SYSTEM, TOOL, TURN, USER, Turn, Turns
from transforms.records import ROW

MAPPING = TurnMapping(("messages",), "role", "content", aliases=ALIASES)
KEYS = MAPPING.keys
Row = list[dict[str, Any]] | None

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["", " ", "\u3000\n", "<think>\na\n</think>\n\nb", "\0", "😀"]
)
ROLE = st.sampled_from(
    ["user", "assistant", "Human", " GPT ", "system", "developer", "tool", "observation", "nobody"]
)
USUAL = st.fixed_dictionaries(
    {"role": ROLE, "content": TEXT},
    optional={
        "reasoning_content": st.none() | TEXT,
        "thinking": st.none() | TEXT,
        "name": st.none() | TEXT,
        "weight": st.none() | st.integers(0, 3),
    },
)
TURN_OBJECT = USUAL | st.fixed_dictionaries(
    {"role": st.none() | ROLE | TEXT | st.just("function_call"), "content": st.none() | TEXT}
)


@st.composite
def good(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A conversation that is mostly one: most others are rejects."""
    roles = ["user", "gpt"] * draw(st.integers(1, 2))
    return [{**draw(USUAL), "role": role, "content": draw(TEXT) + "."} for role in roles]


CONVERSATION: st.SearchStrategy[Row] = st.one_of(
    st.none(), good(), st.lists(USUAL, max_size=4), st.lists(TURN_OBJECT, max_size=4)
)
RULES = st.builds(
    ConversationRules,
    st.sampled_from(["reject", "merge"]),
    st.sampled_from(["reject", "trim"]),
    st.booleans(),
)


def struct(
    role: pa.DataType | None = None, text: pa.DataType | None = None, *more: tuple[str, pa.DataType]
) -> pa.StructType:
    plain = text or pa.string()
    return pa.struct(
        [
            ("weight", pa.int64()),
            ("content", plain),
            ("role", role or pa.string()),
            ("thinking", plain),
            ("reasoning_content", plain),
            ("name", plain),
            *more,
        ]
    )


TURN_OBJECTS = struct()


def source(column: pa.Array | pa.ChunkedArray, **more: Any) -> pa.Table:
    """A table as Read yields it, rows numbered from 1."""
    table = pa.table({"messages": column, **more})
    return table.append_column(ROW, pa.array(range(1, table.num_rows + 1), pa.int64()))


Outcome = tuple[list[dict[str, Any]], list[tuple[int, str, str]]]


def outcome(
    table: pa.Table,
    rules: ConversationRules = ConversationRules(),  # noqa: B008 (immutable)
    mapping: TurnMapping = MAPPING,
    key: str | None = None,
) -> Outcome:
    """Every kept row, and every reject."""
    kept, rejects = rows_of(table, mapping, key, rules)
    assert kept["turns"].type == pa.list_(TURN)
    kept.validate(full=True)
    return kept.to_pylist(), [(r["row"], r["code"], r["excerpt"]) for r in rejects.to_pylist()]


def without_excerpts(found: Outcome) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    return found[0], [(row, code) for row, code, _ in found[1]]


def as_json(rows: list[Row]) -> pa.Array:
    cells = [None if r is None else json.dumps(r, ensure_ascii=False) for r in rows]
    return pa.array(cells, pa.string())


def natively(kind: pa.DataType) -> Callable[[list[Row]], pa.Array]:
    return lambda rows: pa.array(rows, pa.list_(kind))


def with_dictionaries(rows: list[Row]) -> pa.Array:
    plain = pa.array(rows, pa.list_(TURN_OBJECTS))
    turns = plain.flatten()
    fields = [turns.field(i) for i in range(turns.type.num_fields)]
    names = [turns.type.field(i).name for i in range(turns.type.num_fields)]
    encoded = [f if n == "weight" else f.dictionary_encode() for n, f in zip(names, fields)]  # noqa: B905
    lengths = [None if r is None else len(r) for r in rows]
    ends = np.cumsum([0, *(n or 0 for n in lengths)])
    offsets = pa.array(ends, pa.int32(), mask=np.array([*(n is None for n in lengths), False]))
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(encoded, names=names))


FORMS: dict[str, Callable[[list[Row]], pa.Array]] = {
    "list": natively(TURN_OBJECTS),
    "large list": lambda rows: pa.array(rows, pa.large_list(TURN_OBJECTS)),
    "list view": lambda rows: pa.array(rows, pa.list_view(TURN_OBJECTS)),
    "large text": natively(struct(pa.large_string(), pa.large_string())),
    "text view": natively(struct(pa.string_view(), pa.string_view())),
    "dictionaries": with_dictionaries,
    # Keys that no turn has, of a type that is no text.
    "null calls": natively(
        struct(
            None,
            None,
            ("tool_calls", pa.list_(pa.struct([("name", pa.string())]))),
            ("thought", pa.struct([("a", pa.int64())])),
            ("reasoning", pa.null()),
        )
    ),
    # A part anywhere makes the whole batch go turn by turn.
    "JSON text": as_json,
}


@pytest.mark.parametrize("form", list(FORMS))
@given(data=st.data(), rows=st.lists(CONVERSATION, max_size=5), rules=RULES)
def test_every_form_of_a_column_gives_the_same_rows_and_rejects(
    form: str, data: st.DataObject, rows: list[Row], rules: ConversationRules
) -> None:
    systems = data.draw(
        st.none() | st.lists(st.none() | TEXT, min_size=len(rows), max_size=len(rows))
    )
    more: dict[str, Any] = {"id": pa.array([f"k{n}" for n in range(len(rows))], pa.string())}
    mapping = MAPPING
    if systems is not None:
        more["system"] = pa.array(systems, pa.string())
        mapping = TurnMapping(("messages",), "role", "content", system="system")
    expected = outcome(source(natively(TURN_OBJECTS)(rows), **more), rules, mapping, "id")
    found = outcome(source(FORMS[form](rows), **more), rules, mapping, "id")
    assert without_excerpts(found) == without_excerpts(expected)
    assert len(found[0]) + len(found[1]) == len(rows)
    if len(rows) > 1:
        cut = data.draw(st.integers(1, len(rows) - 1))
        table = source(FORMS[form](rows), **more)
        # Slices keep the offsets of the whole, chunks are joined to one array.
        parts = [outcome(part, rules, mapping, "id") for part in (table[:cut], table[cut:])]
        assert [a + b for a, b in zip(*parts, strict=True)] == list(found)
        try:
            chunked = pa.concat_tables([table[:cut], table.slice(cut)])
        except pa.ArrowException:  # pragma: no cover (views of text)
            return
        assert outcome(chunked, rules, mapping, "id") == found


@given(rows=st.lists(CONVERSATION, min_size=1, max_size=4), rules=RULES)
def test_the_neighbours_of_a_row_do_not_change_what_becomes_of_it(
    rows: list[Row], rules: ConversationRules
) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
    alone = outcome(source(natively(TURN_OBJECTS)(rows)), rules)
    beside = outcome(source(as_json([*rows, parts])), rules)
    assert beside[1].pop()[0] == len(rows) + 1
    assert without_excerpts(beside) == without_excerpts(alone)


@given(rows=st.lists(good(), max_size=4), size=st.integers(1, 3))
def test_lists_of_a_fixed_size_are_lists(rows: list[list[dict[str, Any]]], size: int) -> None:
    same: list[Row] = [(row * size)[:size] for row in rows]
    fixed = pa.array([*same, None], pa.list_(TURN_OBJECTS, size))
    plain = pa.array([*same, None], pa.list_(TURN_OBJECTS))
    assert outcome(source(fixed)) == outcome(source(plain))


def raw(rows: list[Any], kind: pa.DataType, bytes_kind: pa.DataType) -> pa.Array:
    """An array of bytes that nobody checked, as a file may hold them."""
    return pa.array(rows, bytes_kind).view(kind)


@pytest.mark.parametrize("form", ["list", "large list", "list view", "fixed size", "JSON text"])
def test_nested_bytes_that_are_no_utf8_cost_their_row_alone(form: str) -> None:
    rows = [
        [{"role": b"user", "content": text}, {"role": b"gpt", "content": b"ok"}]
        for text in (b"one", b"\xff", "drei ü".encode())
    ]
    text = pa.struct([("role", pa.string()), ("content", pa.string())])
    binary = pa.struct([("role", pa.binary()), ("content", pa.binary())])
    made: dict[str, Callable[[], pa.Array]] = {
        "list": lambda: raw(rows, pa.list_(text), pa.list_(binary)),
        "large list": lambda: raw(rows, pa.large_list(text), pa.large_list(binary)),
        "list view": lambda: raw(rows, pa.list_view(text), pa.list_view(binary)),
        "fixed size": lambda: raw(rows, pa.list_(text, 2), pa.list_(binary, 2)),
        "JSON text": lambda: raw(
            [b'[{"role":"user","content":"%s"},{"role":"gpt","content":"ok"}]' % r[0]["content"]
             for r in rows], pa.string(), pa.binary()),
    }  # fmt: skip
    kept, rejects = outcome(source(made[form]()))
    assert [row["instruction"] for row in kept] == ["one", "drei ü"]
    assert rejects == [(2, "invalid-unicode", '{"messages": "(no UTF-8)"}')]


def test_a_role_in_bytes_that_are_no_utf8_is_a_reject_and_no_unknown_role() -> None:
    text = pa.struct([("role", pa.string()), ("content", pa.string())])
    binary = pa.struct([("role", pa.binary()), ("content", pa.binary())])
    rows = [[{"role": b"us\xffer", "content": b"a"}]]
    assert outcome(source(raw(rows, pa.list_(text), pa.list_(binary))))[1][0][1] == (
        "invalid-unicode"
    )


def test_a_null_among_the_values_of_a_dictionary_is_a_null() -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["hi", None]))
    turns = pa.StructArray.from_arrays(
        [pa.array(["user", "gpt"]), texts], names=["role", "content"]
    )
    kept, rejects = outcome(source(pa.ListArray.from_arrays([0, 2], turns)))
    assert (kept, rejects[0][:2]) == ([], (1, "empty-turn"))


def test_half_of_a_surrogate_pair_in_json_text_costs_its_row_alone() -> None:
    def conversation(text: str) -> str:
        return json.dumps([{"role": "user", "content": text}, {"role": "gpt", "content": "ok"}])

    column = pa.array([conversation(text) for text in ("\ud800", "😀", "a \udfff b", "x")])
    kept, rejects = outcome(source(column))
    assert [row["instruction"] for row in kept] == ["😀", "x"]
    assert [(row, code) for row, code, _ in rejects] == [
        (1, "invalid-unicode"),
        (3, "invalid-unicode"),
    ]


def test_text_with_a_backslash_that_only_looks_like_a_surrogate_is_kept() -> None:
    kept, _ = outcome(source(as_json([[turn("user", "\\ud800"), turn("gpt", "ok")]])))
    assert kept[0]["instruction"] == "\\ud800"


def turn(role: str | None, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def taken(item: Any) -> Turn | str:
    """The turn of one object, or the code of what is wrong with it."""
    try:
        return parse_cell([item], KEYS)[0]
    except InvalidConversation as unusable:
        return unusable.code


class TestContent:
    @pytest.mark.parametrize(
        ("content", "text"),
        [
            (None, ""),
            ("", ""),
            ([], ""),
            (["a", "b"], "ab"),
            ([{"type": "text", "text": "a"}, {"type": "text", "value": "b"}], "ab"),
            ([{"text": "a"}, {"content": "b"}, {"type": None, "text": "c"}], "abc"),
            ([{"type": "output_text", "text": "a"}, {"type": "input_text", "text": "b"}], "ab"),
            ([{"type": "text", "text": None, "value": "v"}], "v"),
            ([{"type": "text", "text": ""}], ""),
        ],
    )
    def test_is_text_nothing_or_a_list_of_parts(self, content: Any, text: str) -> None:
        assert taken(turn("user", content)) == Turn(USER, text)

    @pytest.mark.parametrize(
        "content",
        [
            *(5, 0.5, True, False, {"text": "a"}, {}),
            [5],
            [None],
            [["a"]],
            [{"type": "text"}],
            [{"type": "text", "text": 5}],
            [{"type": "text", "text": {"value": "a"}}],
            [{"type": "image_url", "image_url": "http://a"}],
            [{"type": "image", "text": "a"}],
            [{"type": ["text"], "text": "a"}],
        ],
    )
    def test_of_another_kind_is_a_reject(self, content: Any) -> None:
        assert taken(turn("user", content)) == "not-text"

    def test_an_object_that_a_tool_says_is_json(self) -> None:
        assert taken(turn("tool", {"ü": [1, None]})) == Turn(TOOL, '{"ü": [1, null]}')

    def test_parts_of_reasoning_stay_apart_from_the_answer(self) -> None:
        parts = [
            {"type": "reasoning", "reasoning": "r"},
            {"type": "text", "text": "a"},
            {"type": "thinking", "thinking": "s"},
        ]
        assert taken(turn("gpt", parts)) == Turn(ASSISTANT, "a", "r\n\ns")

    @pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking", "thought"])
    def test_reasoning_has_many_keys(self, key: str) -> None:
        assert taken(turn("gpt", "a", **{key: "r"})) == Turn(ASSISTANT, "a", "r")

    def test_the_first_key_of_reasoning_that_is_not_null_counts(self) -> None:
        keys = {"thought": "t", "thinking": "u", "reasoning_content": None}
        assert taken(turn("gpt", "a", **keys)) == Turn(ASSISTANT, "a", "u")

    @pytest.mark.parametrize("value", [5, ["a"], {"a": 1}, False])
    def test_reasoning_that_is_no_text_is_a_reject(self, value: Any) -> None:
        assert taken(turn("gpt", "a", thinking=value)) == "not-text"

    @pytest.mark.parametrize("name", [5, None, ["a"]])
    def test_a_name_that_is_no_text_is_left_out(self, name: Any) -> None:
        assert taken(turn("user", "a", name=name)) == Turn(USER, "a")

    @pytest.mark.parametrize("item", [None, "text", 5, ["user", "a"]])
    def test_a_turn_that_is_no_object_is_a_reject(self, item: Any) -> None:
        assert taken(item) == "not-a-conversation"

    @pytest.mark.parametrize("role", [None, "", "narrator", 5, ["user"], True])
    def test_an_unknown_role_is_a_reject_and_no_empty_turn(self, role: Any) -> None:
        assert taken(turn(role, "a")) == "unknown-role"
        assert taken({"content": "a"}) == "unknown-role"


def calls(*functions: dict[str, Any]) -> str:
    made = [{"type": "function", "function": function} for function in functions]
    return json.dumps(made, ensure_ascii=False)


F = {"name": "f", "arguments": {"ü": [1, None]}}
TEXT_F = {"name": "f", "arguments": '{"ü": 1}'}


class TestToolCalls:
    @pytest.mark.parametrize(
        ("value", "functions"),
        [
            ([{"id": "1", "type": "function", "function": F}], [F]),
            ([F], [F]),
            (F, [F]),
            (json.dumps(F), [F]),
            (json.dumps([F, TEXT_F]), [F, TEXT_F]),
            ([TEXT_F, F], [TEXT_F, F]),
            ({"name": "f"}, [{"name": "f", "arguments": {}}]),
            ({"name": "f", "arguments": None}, [{"name": "f", "arguments": {}}]),
            ({"name": "f", "parameters": {"a": 1}}, [{"name": "f", "arguments": {"a": 1}}]),
            (
                {"function": None, "name": "f", "arguments": None, "parameters": {"a": 1}},
                [{"name": "f", "arguments": {"a": 1}}],
            ),
        ],
    )
    def test_come_in_many_forms(self, value: Any, functions: list[dict[str, Any]]) -> None:
        assert tool_calls(value) == calls(*functions)

    @pytest.mark.parametrize("value", [None, "", " \n", [], {}, "[]", "null", "{}"])
    def test_may_be_none(self, value: Any) -> None:
        assert tool_calls(value) is None
        assert taken(turn("gpt", "a", tool_calls=value)) == Turn(ASSISTANT, "a")

    @pytest.mark.parametrize(
        "value",
        [
            *("{", "f(1)", '"f"', "5", 5, True, [5], [None], [[F]]),
            *({"arguments": {}}, {"name": 5}, {"name": ""}, {"name": " "}, {"function": "f"}),
            {"name": "f", "arguments": "{"},
            {"name": "f", "arguments": ""},
            {"name": "f", "arguments": "5"},
            {"name": "f", "arguments": "[1]"},
            {"name": "f", "arguments": [1]},
            {"name": "f", "arguments": 5},
            {"name": "f", "arguments": '{"a": NaN}'},
            {"name": "f", "arguments": {"a": float("inf")}},
            {"name": "f", "arguments": '{"a": "\\ud800"}'},
            '{"name": "\\ud800"}',
            [F, {"name": "f", "arguments": "{"}],
            "[" * 100_000,
            '{"name": "f", "arguments": ' + '{"a":' * 2000 + "1" + "}" * 2001,
        ],
    )
    def test_that_are_no_json_are_a_reject(self, value: Any) -> None:
        with pytest.raises(InvalidConversation, match="bad-tool-calls"):
            tool_calls(value)

    def test_a_function_call_s_text_is_an_assistant_s_call(self) -> None:
        expected = Turn(ASSISTANT, "", None, calls(F))
        assert taken(turn("function_call", json.dumps(F), name="x")) == expected
        assert taken(turn("Function_Call", F)) == expected
        assert taken(turn("function_call", json.dumps([F, F]))).tool_calls == calls(F, F)  # type: ignore[union-attr]

    @pytest.mark.parametrize("text", [None, "", "f(1)", "[]", "null"])
    def test_a_function_call_that_calls_nothing_is_a_reject(self, text: str | None) -> None:
        assert taken(turn("function_call", text)) == "bad-tool-calls"

    def test_a_json_null_stays_and_the_nulls_of_arrow_s_structs_go(self) -> None:
        rows: list[Row] = [
            [
                turn("user", "a"),
                turn("gpt", None, tool_calls=[{"name": "f", "arguments": {"x": None, "y": 1}}]),
                turn("tool", "b"),
                turn("gpt", None, tool_calls=[{"name": "g", "arguments": {"z": "q"}}]),
                turn("tool", "b"),
                turn("gpt", "c"),
            ]
        ]
        for column, arguments in (
            (as_json(rows), {"x": None, "y": 1}),
            (pa.array(rows), {"y": 1}),  # else g would be called with x and y, too
        ):
            kept, _ = outcome(source(column))
            made = [json.loads(t["tool_calls"]) for t in kept[0]["turns"] if t["tool_calls"]]
            found = [call["function"]["arguments"] for (call,) in made]
            assert found == [arguments, {"z": "q"}]

    def test_calls_that_are_null_in_a_whole_batch_do_not_matter(self) -> None:
        kind = struct(None, None, ("tool_calls", pa.list_(pa.struct([("name", pa.string())]))))
        row = [turn("user", "a"), turn("gpt", "b")]
        kept, rejects = outcome(source(pa.array([row], pa.list_(kind))))
        assert (len(kept), rejects) == (1, [])


TOOL_F = {"name": "f", "parameters": {"type": "object", "default": None}}


class TestTools:
    @pytest.mark.parametrize(
        "value",
        [
            [TOOL_F],
            [{"type": "function", "function": TOOL_F}],
            [json.dumps(TOOL_F)],
            json.dumps([TOOL_F]),
            json.dumps([{"type": "function", "function": TOOL_F}]),
        ],
    )
    def test_are_wrapped_and_kept_as_they_are(self, value: Any) -> None:
        assert tool_list(value) == calls(TOOL_F)

    @pytest.mark.parametrize("value", [None, "", " ", [], "[]", "null"])
    def test_may_be_none(self, value: Any) -> None:
        assert tool_list(value) is None

    @pytest.mark.parametrize(
        "value", ["{", "f", "5", 5, {}, [5], ["f"], [{}], [{"name": 1}], [None], '[{"name": NaN}]']
    )
    def test_that_are_none_are_a_reject(self, value: Any) -> None:
        with pytest.raises(InvalidConversation, match="bad-tools"):
            tool_list(value)


class TestSystemColumn:
    MAPPING = TurnMapping(("messages",), "role", "content", system="system")

    @pytest.mark.parametrize("form", ["list", "JSON text"])
    def test_a_turn_of_the_row_s_own_goes_before_it(self, form: str) -> None:
        rows: list[Row] = [
            [turn("user", "a"), turn("gpt", "b")],
            [turn("developer", "own"), turn("user", "a"), turn("gpt", "b")],
            [turn("user", "a"), turn("gpt", "b")],
            [turn("user", "a"), turn("gpt", "b")],
            [],
        ]
        table = source(FORMS[form](rows), system=["S", "S", " ", None, "S"])
        kept, rejects = outcome(table, mapping=self.MAPPING)
        first = [(row["turns"][0]["role"], row["turns"][0]["content"]) for row in kept]
        assert first == [(SYSTEM, "S"), (SYSTEM, "own"), (USER, "a"), (USER, "a")]
        assert [row[:2] for row in rejects] == [(5, "empty-messages")]

    def test_bytes_that_are_no_utf8_cost_their_row_alone(self) -> None:
        rows: list[Row] = [[turn("user", "a"), turn("gpt", "b")]] * 2
        column = pa.array([b"\xff", b"S"], pa.binary()).view(pa.string())
        kept, rejects = outcome(source(as_json(rows), system=column), mapping=self.MAPPING)
        assert (len(kept), rejects[0][:2]) == (1, (1, "invalid-unicode"))

    def test_numbers_are_written_as_they_are_in_the_other_fields(self) -> None:
        rows: list[Row] = [[turn("user", "a"), turn("gpt", "b")], [turn("user", "a")]]
        table = source(natively(TURN_OBJECTS)(rows), system=pa.array([5, 6]))
        kept, rejects = outcome(table, mapping=self.MAPPING)
        assert kept[0]["turns"][0]["content"] == "5"
        assert rejects[0][1] == "no-assistant-turn"
        table = source(natively(TURN_OBJECTS)(rows), system=pa.array([float("nan"), 6.5]))
        kept, rejects = outcome(table, mapping=self.MAPPING)
        assert [turn["content"] for turn in kept[0]["turns"]] == ["a", "b"]


def test_tools_of_a_row_are_kept_or_cost_the_row() -> None:
    rows: list[Row] = [[turn("user", "a"), turn("gpt", "b")]] * 4
    mapping = TurnMapping(("messages",), "role", "content", tools="tools")
    table = source(as_json(rows), tools=[json.dumps([TOOL_F]), None, "{", json.dumps([TOOL_F])])
    kept, rejects = outcome(table, mapping=mapping)
    assert [row["tools"] for row in kept] == [calls(TOOL_F), None, calls(TOOL_F)]
    assert [row[:2] for row in rejects] == [(3, "bad-tools")]


def test_columns_of_turns_stand_one_behind_the_other() -> None:
    mapping = TurnMapping(("prompt", "completion"), "role", "content")
    prompts: list[Row] = [[turn("user", "a")], None, [turn("user", "a")], None]
    completions: list[Row] = [[turn("gpt", "b")], [turn("gpt", "b")], None, None]
    for form in FORMS.values():
        table = pa.table({"prompt": form(prompts), "completion": form(completions)})
        table = table.append_column(ROW, pa.array([1, 2, 3, 4]))
        kept, rejects = outcome(table, mapping=mapping)
        assert [[t["content"] for t in row["turns"]] for row in kept] == [["a", "b"]]
        assert [row[1] for row in rejects] == [
            *("starts-with-assistant", "no-assistant-turn", "null-messages")
        ]


@pytest.mark.parametrize(
    ("form", "same_role"),
    [
        *(("list", "merge"), ("JSON text", "reject")),
        pytest.param("list", "reject", marks=pytest.mark.nightly),
        pytest.param("JSON text", "merge", marks=pytest.mark.nightly),
    ],
)
def test_a_million_turns_in_a_row_take_seconds(form: str, same_role: str) -> None:
    start = time.monotonic()
    one = [turn("user", "a"), turn("gpt", "b")]
    row = [*[turn("user", "aaaa")] * 500_000, turn("gpt", "b")] if same_role == "merge" else one
    row = row if same_role == "merge" else one * 250_000
    kept, _ = outcome(source(FORMS[form]([row, None])), ConversationRules(same_role))
    assert len(kept[0]["turns"]) == (2 if same_role == "merge" else 500_000)
    assert time.monotonic() - start < 60  # joined turn by turn it would be an hour


@pytest.mark.parametrize("form", ["list", "JSON text"])
def test_too_much_text_is_a_reject(form: str) -> None:
    huge = "x" * (33 * 2**20)
    rows: list[Row] = [
        [turn("user", huge), turn("gpt", huge)],
        [turn("user", "a"), turn("gpt", "b")],
    ]
    kept, rejects = outcome(source(FORMS[form](rows)))
    assert (len(kept), [row[:2] for row in rejects]) == (1, [(1, "row-too-large")])
    assert len(rejects[0][2]) == 200


class TestTurns:
    ROWS: list[list[Turn]] = [
        [],
        [Turn(USER, "a"), Turn(ASSISTANT, "b", "r", "[]", "n")],
        [Turn(SYSTEM, ""), Turn(USER, "c"), Turn(USER, "d")],
        [],
    ]

    @given(
        st.lists(
            st.lists(
                st.builds(
                    Turn, st.integers(0, 3), TEXT, st.none() | TEXT, st.none() | TEXT,
                    st.none() | TEXT,
                ),
                max_size=3,
            ),
            max_size=5,
        )
    )  # fmt: skip
    def test_rows_columns_and_their_slices_are_the_same(self, rows: list[list[Turn]]) -> None:
        turns = Turns.of_rows(rows)
        assert turns.to_rows() == rows
        column = turns.column()
        column.validate(full=True)
        assert Turns.of_column(column).to_rows() == rows
        for cut in range(len(rows) + 1):
            assert Turns.of_column(column[cut:]).to_rows() == rows[cut:]
        good = pa.array([n % 2 == 0 for n in range(len(rows))], pa.bool_())
        assert Turns.of_column(column.filter(good)).to_rows() == rows[::2]

    def test_the_first_and_the_last_turn_of_a_role_are_found(self) -> None:
        turns = Turns.of_rows(self.ROWS)
        assert turns.first(USER).tolist() == [-1, 0, 3, -1]
        assert turns.last(USER).tolist() == [-1, 0, 4, -1]
        assert turns.content_at(turns.last(USER)).to_pylist() == ["", "a", "d", ""]

    def test_fields_that_no_turn_has_are_left_out(self) -> None:
        turns = Turns.of_rows([[Turn(USER, "a")]])
        assert (turns.reasoning, turns.tool_calls, turns.name) == (None, None, None)


def test_turns_of_text_are_taken_column_by_column() -> None:
    # Else a batch takes ten times as long, which no other test would notice.
    rows = [[turn("Human", "a", reasoning_content="r"), turn("gpt", "b")], None]
    kind = struct(
        pa.dictionary(pa.int8(), pa.string()), pa.string_view(), ("tool_calls", pa.null())
    )
    found = parse_column(pa.array(rows, pa.list_(kind)), KEYS)
    assert found is not None
    assert found[0].to_rows() == [[Turn(USER, "a", "r"), Turn(ASSISTANT, "b")], []]
    assert found[1].tolist() == [False, True]


@pytest.mark.parametrize(
    ("cell", "keys"),
    [
        ([{"role": "user", "content": "a"}], ("role", "content")),
        ([{"from": "human", "value": "a"}], ("from", "value")),
        ([{"speaker": "user", "utterance": "a"}], ("speaker", "utterance")),
        ([{"role": "user"}, {"content": "a"}], ("role", "content")),
        ('  [{"role": "user", "content": "a"}]', ("role", "content")),
        (["a", "b"], None),
        ([["a", "b"]], None),
        ([], None),
        (None, None),
        ("", None),
        ("[broken", None),
        ("[" * 100_000, None),
        ('["a"]', None),
        ([{"role": "user"}], None),
        ([{"id": 1, "content": "a"}], None),
        ({"role": "user", "content": "a"}, None),
        ([{"role": "user", "content": "a"}, None], None),
    ],
)
def test_turns_are_lists_of_objects_with_a_role_and_a_text(
    cell: Any, keys: tuple[str, str] | None
) -> None:
    assert find_turn_keys(cell) == keys


def test_more_names_of_roles_count_in_every_form() -> None:
    aliases = {**ALIASES, "narrator": "user"}
    mapping = TurnMapping(("messages",), "role", "content", aliases=aliases)
    assert mapping.keys == TurnKeys("role", "content", aliases)
    rows: list[Row] = [[turn("Narrator", "a"), turn("gpt", "b")]]
    for form in FORMS.values():
        assert outcome(source(form(rows)), mapping=mapping)[1] == []
