"""Detection of turns: which columns hold them, from the schema and a sample."""

from __future__ import annotations

import json
from typing import Any

import pytest

from transforms.conversations.detect_pairs import detect
from transforms.conversations.detect_turns import NAMES, detect_turns
from transforms.conversations.field_mapping import TurnMapping
from transforms.conversations.fields_flag import parse
from transforms.conversations.pair_mapping import PairMapping
from transforms.errors import UsageError
from transforms.records import Column

PROSE = "How do you do, and what is it that you do?"
MESSAGES = [{"role": "user", "content": PROSE}, {"role": "assistant", "content": "I do."}]
SHAREGPT = [{"from": "human", "value": PROSE}, {"from": "gpt", "value": "I do."}]
KINDS = {str: "string", list: "list", int: "int64", float: "double", dict: "struct"}


def columns_of(row: dict[str, Any]) -> list[Column]:
    return [Column(name, KINDS[type(cell)]) for name, cell in row.items()]


def chosen(**row: Any) -> Any:
    """What a source of such rows is made of."""
    return detect(columns_of(row), [row] * 3).mapping


@pytest.mark.parametrize("name", [*NAMES, "Messages", "anything"])
@pytest.mark.parametrize("turns", [MESSAGES, SHAREGPT])
@pytest.mark.parametrize("form", ["list", "JSON text"])
def test_a_column_of_turns_is_found_by_what_it_holds(
    name: str, turns: list[dict[str, str]], form: str
) -> None:
    role, text = turns[0]
    cell = json.dumps(turns, indent=1) if form == "JSON text" else turns
    row = {"id": "a1", "score": 0.5, name: cell, "note": PROSE, "other": PROSE}
    assert chosen(**row) == TurnMapping((name,), role, text)
    choice = detect(columns_of(row), [row])
    assert choice.rule == f"column {name} holds turns"
    assert choice.unused_text == ("id", "note", "other")


@pytest.mark.parametrize("role", ["role", "from", "speaker", "sender", "author"])
@pytest.mark.parametrize("text", ["content", "value", "text", "message", "utterance"])
def test_the_keys_have_many_names(role: str, text: str) -> None:
    turns = [{"n": "1", role: "user", text: PROSE}, {role: "gpt", text: "I do."}]
    assert chosen(chat=turns) == TurnMapping(("chat",), role, text)


def test_the_keys_are_those_that_most_rows_have() -> None:
    sample = [{"chat": MESSAGES}, {"chat": SHAREGPT}, {"chat": SHAREGPT}]
    mapping = detect([Column("chat", "list")], sample).mapping
    assert mapping == TurnMapping(("chat",), "from", "value")


def test_known_names_come_first_in_their_order() -> None:
    row: dict[str, Any] = {"zzz": MESSAGES, "turns": SHAREGPT, "conversations": SHAREGPT}
    assert chosen(**row).turns == ("conversations",)
    assert chosen(**row, messages=MESSAGES).turns == ("messages",)


class TestOrder:
    def test_the_guide_s_pair_comes_before_turns(self) -> None:
        assert chosen(question=PROSE, reasoning=PROSE, messages=MESSAGES) == PairMapping(
            ("question",), ("reasoning",)
        )

    @pytest.mark.parametrize(
        "pair", [("prompt", "completion"), ("instruction", "output"), ("question", "answer")]
    )
    def test_turns_come_before_the_other_pairs(self, pair: tuple[str, str]) -> None:
        row: dict[str, Any] = {**dict.fromkeys(pair, PROSE), "messages": MESSAGES}
        assert chosen(**row).turns == ("messages",)

    def test_messages_stand_beside_a_prompt_that_is_text(self) -> None:
        row: dict[str, Any] = {"prompt": PROSE, "prompt_id": "f00", "messages": MESSAGES}
        assert chosen(**row).turns == ("messages",)


class TestPromptAndCompletion:
    def test_lists_of_messages_are_one_conversation(self) -> None:
        for form in (list, json.dumps):
            mapping = chosen(id="a", completion=form(MESSAGES[1:]), prompt=form(MESSAGES[:1]))
            assert mapping == TurnMapping(("prompt", "completion"), "role", "content")

    def test_as_text_they_are_a_pair(self) -> None:
        assert chosen(prompt=PROSE, completion=PROSE) == PairMapping(("prompt",), ("completion",))

    def test_a_prompt_of_messages_alone_holds_no_answer(self) -> None:
        with pytest.raises(UsageError, match="cannot tell which columns"):
            chosen(prompt=MESSAGES, id="a")

    def test_a_prompt_of_messages_does_not_hide_the_messages(self) -> None:
        assert chosen(prompt=MESSAGES[:1], chat=MESSAGES).turns == ("chat",)


class TestWhatIsNoTurns:
    @pytest.mark.parametrize(
        "cell",
        [
            ["a", "b"],
            [["a", "b"]],
            [1, 2],
            [{"name": "a", "content": "b"}],
            [{"role": "user"}],
            json.dumps(["a"]),
            json.dumps({"role": "user", "content": "a"}),
            "[not JSON]",
            "",
            [],
        ],
    )
    def test_is_not_taken_for_them(self, cell: Any) -> None:
        row = {"messages": cell, "tags": ["x"], "question": PROSE, "answer": PROSE}
        assert chosen(**row) == PairMapping(("question",), ("answer",))

    def test_a_column_of_mixed_cells_holds_turns_from_half_on(self) -> None:
        columns = [Column("messages", "list")]
        half: list[dict[str, Any]] = [{"messages": MESSAGES}, {"messages": ["a"]}]
        assert detect_turns(columns, half) is not None
        assert detect_turns(columns, [*half, {"messages": ["b"]}]) is None
        empty: list[Any] = [None, "", [], None]
        blanks: list[dict[str, Any]] = [{"messages": cell} for cell in empty]
        assert detect_turns(columns, [*half, *blanks]) is not None

    def test_columns_of_other_types_are_passed_over(self) -> None:
        assert detect_turns([Column("messages", "struct")], [{"messages": MESSAGES}]) is None
        assert detect_turns([], []) is None


class TestSideColumns:
    def test_system_and_tools_stand_beside_the_turns(self) -> None:
        mapping = chosen(System=PROSE, tools="[]", conversations=SHAREGPT)
        assert (mapping.system, mapping.tools) == ("System", "tools")
        mapping = chosen(**{"System-Message": PROSE, "Tools": [{"name": "f"}]}, messages=SHAREGPT)
        assert (mapping.system, mapping.tools) == ("System-Message", "Tools")
        mapping = chosen(system_prompt=PROSE, functions=[{"name": "f"}], conversations=SHAREGPT)
        assert (mapping.system, mapping.tools) == ("system_prompt", "functions")
        assert mapping.columns == ("conversations", "system_prompt", "functions")

    def test_they_are_not_among_the_unused(self) -> None:
        row = {"system": PROSE, "tools": "[]", "conversations": SHAREGPT, "note": PROSE}
        assert detect(columns_of(row), [row]).unused_text == ("note",)


@pytest.mark.parametrize(
    "turn",
    [
        {"content": "a", "reasoning_content": "r"},
        {"content": "a", "thinking": "r"},
        {"content": "<think>\nr\n</think>\n\na"},
        {"content": "r</think>a"},
        {"content": [{"type": "reasoning", "reasoning": "r"}]},
        {"content": [{"type": "thinking", "thinking": "r"}]},
    ],
)
def test_the_sample_shows_whether_turns_have_reasoning(turn: dict[str, Any]) -> None:
    turns = [MESSAGES[0], {"role": "gpt", **turn}]
    assert chosen(messages=turns).has_reasoning
    assert chosen(messages=json.dumps(turns)).has_reasoning


@pytest.mark.parametrize(
    "turn", [{"content": "a", "thinking": ""}, {"content": "a <think> b"}, {"content": ["<think>"]}]
)
def test_or_whether_they_have_none(turn: dict[str, Any]) -> None:
    assert not chosen(messages=[MESSAGES[0], {"role": "gpt", **turn}]).has_reasoning


@pytest.mark.parametrize(
    ("turn", "calls"),
    [
        ({"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}, True),
        ({"role": "function_call", "content": "{}"}, True),
        ({"role": " Observation", "content": "5"}, True),
        ({"role": "assistant", "content": "a", "tool_calls": []}, False),
        ({"role": "assistant", "content": "a", "tool_calls": None}, False),
    ],
)
def test_the_sample_shows_whether_turns_call_tools(turn: dict[str, Any], calls: bool) -> None:
    assert chosen(messages=[MESSAGES[0], turn]).has_tool_calls is calls


class TestReasoningBesidePairs:
    @pytest.mark.parametrize(
        "name", ["thinking", "Complex_CoT", "cot", "rationale", "thought", "reasoning_content"]
    )
    def test_a_column_of_reasoning_is_kept_apart(self, name: str) -> None:
        row = {"question": PROSE, name: PROSE, "response": PROSE}
        assert chosen(**row) == PairMapping(("question",), ("response",), reasoning=name)

    @pytest.mark.parametrize("name", ["thinking", "Complex_CoT", "rationale"])
    def test_it_is_never_the_prompt(self, name: str) -> None:
        assert name not in chosen(**{name: PROSE, "ask": PROSE, "reply": PROSE}).instruction
        with pytest.raises(UsageError, match="no name says the prompt"):
            chosen(**{name: PROSE, "ask": PROSE})

    def test_reasoning_inside_of_answers_is_noticed(self) -> None:
        mapping = chosen(question=PROSE, answer="<think>r</think>a")
        assert mapping == PairMapping(("question",), ("answer",), inline=True)

    def test_alpaca_may_have_a_system_prompt_and_a_history(self) -> None:
        row = {"instruction": PROSE, "input": "", "output": PROSE, "system": PROSE, "history": []}
        assert chosen(**row) == PairMapping(
            ("instruction", "input"),
            ("output",),
            instruction_separator="\n",
            system="system",
            history="history",
            required=("instruction", "input"),
        )


class TestFlag:
    ROW: dict[str, Any] = {
        "messages": SHAREGPT,
        "talk": MESSAGES,
        "more": MESSAGES,
        "text": json.dumps(MESSAGES),
        "system": PROSE,
        "tools": [{"name": "f"}],
        "words": ["a"],
        "n": 5,
    }

    def parsed(self, flag: str) -> Any:
        return parse(flag, columns_of(self.ROW), [self.ROW])

    @pytest.mark.parametrize(
        ("flag", "mapping"),
        [
            ("messages=talk", TurnMapping(("talk",), "role", "content")),
            ("messages=text", TurnMapping(("text",), "role", "content")),
            ("messages=messages", TurnMapping(("messages",), "from", "value")),
            ("messages=talk+more", TurnMapping(("talk", "more"), "role", "content")),
            (
                "messages=talk,system=system,tools=tools",
                TurnMapping(("talk",), "role", "content", "system", "tools"),
            ),
        ],
    )
    def test_names_the_columns(self, flag: str, mapping: TurnMapping) -> None:
        assert self.parsed(flag) == mapping

    def test_overrides_what_would_be_detected(self) -> None:
        assert chosen(**self.ROW).turns == ("messages",)
        assert self.parsed("messages=talk").turns == ("talk",)
        assert self.parsed("instruction=system,response=text") == PairMapping(
            ("system",), ("text",)
        )

    @pytest.mark.parametrize(
        ("flag", "message"),
        [
            ("messages=words", "the column words contains no turns"),
            ("messages=system", "the column system contains no turns"),
            ("messages=n", "whose type is int64; a column of lists, or of JSON text, is needed"),
            ("messages=nothing", "which is not in the data"),
            ("messages=talk,instruction=text", "only system and tools go with messages"),
            ("messages=talk,reasoning=text", "only system and tools go with messages"),
            ("messages=talk,system=system+text", "system is one column"),
            ("messages=talk,tools=n", "whose type is int64"),
            ("messages=talk,messages=more", "is not of the form"),
            ("instruction=text,response=text,tools=tools", "must name both"),
            ("system=system", "must name both instruction and response, or messages"),
            ("instruction=talk,response=text", "whose type is list; a text or number column"),
        ],
    )
    def test_refuses(self, flag: str, message: str) -> None:
        with pytest.raises(UsageError) as caught:
            self.parsed(flag)
        assert message in str(caught.value)

    def test_describe_says_the_keys_too(self) -> None:
        mapping = self.parsed("messages=talk+more,system=system,tools=tools")
        assert mapping.describe() == (
            "messages=talk+more,system=system,tools=tools (turns of role, content)"
        )


def test_nothing_suitable_names_both_flags() -> None:
    with pytest.raises(UsageError, match="--fields messages=COLUMN"):
        chosen(messages=["a"], id="a")


def test_comments_with_authors_are_no_conversation() -> None:
    rows = [
        {"question": "q q q", "answer": "a a a", "comments": [{"author": "ann", "text": "nice"}]}
    ]
    columns = [Column("question", "string"), Column("answer", "string"), Column("comments", "list")]
    assert detect(columns, rows).rule == "columns question+answer"


def test_the_history_is_a_column_of_its_own() -> None:
    columns = [Column("q", "string"), Column("a", "string")]
    with pytest.raises(UsageError, match="history is neither instruction nor response"):
        parse("instruction=q,response=a,history=q", columns)


def test_a_patient_s_history_is_none_of_a_conversation() -> None:
    rows = [{"question": "q q q", "answer": "a a a", "history": "A patient of 40 years."}]
    columns = [Column(name, "string") for name in rows[0]]
    assert detect(columns, rows).mapping == PairMapping(("question",), ("answer",))


def test_roles_that_are_named_count_in_the_sample() -> None:
    turns = [{"role": "Customer", "content": "Hi."}, {"role": "action", "content": "{}"}]
    roles = {"customer": "user", "action": "function_call"}
    columns = [Column("talk", "list")]
    mapping = detect(columns, [{"talk": turns}], roles).mapping
    assert isinstance(mapping, TurnMapping)
    assert mapping.has_tool_calls
