"""Rows become text: what the published templates write, by Arrow and by Jinja alike, or a code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from chat_corpus import CORPUS, Conversation
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import TemplateError
from means import examples
from oracles import published

from transforms.chat import control_tokens, render_turns
from transforms.chat import render_rows as render_module
from transforms.chat.builtin_templates import NAMES, built_in
from transforms.chat.jinja_renderer import JinjaRenderer
from transforms.chat.output_columns import OutputColumns
from transforms.chat.render_rows import render, sandbox_of
from transforms.chat.sandbox import Sandbox
from transforms.chat.template import DEFAULT_DATE, ChatFormat, ChatTemplate
from transforms.conversations import reasoning
from transforms.conversations.field_mapping import TurnMapping
from transforms.conversations.normalize_rows import rows_of
from transforms.conversations.rules import ConversationRules
from transforms.conversations.turns import ASSISTANT, SYSTEM, TOOL, USER, Turn, Turns
from transforms.records import ROW, Reject

MAPPING = TurnMapping(("messages",), "role", "content", tools="tools")
RULES = ConversationRules()
ALL = OutputColumns(("text", "prompt-completion"), reasoning=True)


def template(name: str) -> ChatTemplate:
    return built_in(name, DEFAULT_DATE)


@cache
def sandbox(name: str) -> Sandbox:
    return sandbox_of(ChatFormat(template(name)))


@pytest.fixture(scope="module", autouse=True)
def close_sandboxes() -> Iterator[None]:
    yield
    for name in NAMES:
        sandbox(name).close()


def source(*conversations: Conversation) -> pa.Table:
    """Rows as a JSON source has them."""
    return pa.table(
        {
            "messages": [json.dumps(c.messages) for c in conversations],
            "tools": pa.array([json.dumps(c.tools or []) for c in conversations], pa.string()),
            ROW: pa.array(range(1, len(conversations) + 1), pa.int64()),
        }
    )


def prepared(conversation: Conversation, chat: ChatFormat) -> str | tuple[str, str]:
    """The text of a conversation; its reject code and excerpt where it is not kept."""
    kept, rejects = rows_of(source(conversation), MAPPING, None, RULES)
    done = render(kept, chat, ALL, sandbox(chat.template.name))
    bad = pa.concat_tables([rejects, done.rejects]).to_pylist()
    if bad:
        return bad[0]["code"], bad[0]["excerpt"]
    (row,) = done.kept.to_pylist()
    assert row["text"] == row["prompt"] + row["completion"]
    return str(row["text"])


def expected(conversation: Conversation, name: str) -> str | None:
    """What the published template writes, without BOS and what follows the end of the turn."""
    uses_tools = any(m["role"] == "tool" or m.get("tool_calls") for m in conversation.messages)
    # Plain ChatML says nothing of tools, and ours takes the form of Qwen's.
    tool_form = name == "chatml" and (uses_tools or conversation.tools)
    oracle = published("qwen3-2507" if tool_form else name)
    messages = [_as_published(dict(message), name) for message in conversation.messages]
    try:
        text = oracle.render(messages, conversation.tools)
    except (TemplateError, TypeError):
        return None
    return text.removeprefix(oracle.bos_token).rstrip("\n")


def _as_published(message: dict[str, Any], name: str) -> dict[str, Any]:
    message = {key: value for key, value in message.items() if value is not None and value != []}
    message.setdefault("content", "")
    if name in ("qwen2.5", "gpt-oss"):  # which would write JSON text as JSON once more
        calls = json.loads(json.dumps(message.get("tool_calls", [])))
        for call in calls:
            arguments = call["function"]["arguments"]
            if isinstance(arguments, str):
                call["function"]["arguments"] = json.loads(arguments)
        if calls:
            message["tool_calls"] = calls
    if name == "gpt-oss" and message["role"] == "assistant":
        content = message["content"]
        if "reasoning_content" in message:
            message["thinking"] = message.pop("reasoning_content")
        elif reasoning.split(content).closed:
            message["thinking"] = reasoning.split(content).reasoning
            message["content"] = reasoning.split(content).answer
    if name == "chatml" and "reasoning_content" in message:
        # ChatML has no rule for it; ours is that it is kept, as Qwen3 writes it.
        thoughts = message.pop("reasoning_content")
        if thoughts:
            block = f"<think>\n{thoughts}\n</think>\n\n"
            message["content"] = block + message["content"].lstrip("\n")
    return message


# Conversations of the corpus that are rejected, by code; the others are equal to the byte.
REJECTED_BY_RULES = {
    *("empty-turn", "no-assistant-turn", "starts-with-assistant", "same-role-twice"),
    *("ends-with-user", "ends-with-tool", "ends-with-system"),
}
REJECTED_BY_TEMPLATE = {
    "llama3": {"tools-not-in-template"},
    "mistral": {"tools-not-in-template"},
    "gemma": {"tools-not-in-template", "system-not-first", "roles-must-alternate"},
    "deepseek-r1": {"tools-not-in-template", "system-not-first", "control-token"},
    "qwen3": {"control-token"},
    "qwen3-2507": {"control-token"},
    "qwen2.5": {"control-token"},
    "gpt-oss": {"system-not-first", "template-refused", "turn-dropped"},
    "chatml": set(),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_text_is_the_published_template_s_or_there_is_a_code(name: str) -> None:
    chat = ChatFormat(template(name), tools=True)
    codes: Counter[str] = Counter()
    for conversation in CORPUS:
        found = prepared(conversation, chat)
        if isinstance(found, str):
            assert found == expected(conversation, name), conversation.name
            codes["kept"] += 1
        else:
            codes[found[0]] += 1
    assert set(codes) - {"kept"} <= REJECTED_BY_RULES | REJECTED_BY_TEMPLATE[name]
    assert codes.pop("kept") >= 60, codes


CALM = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="<>[]|"), min_size=0, max_size=30
)
SPOKEN = CALM.filter(lambda text: bool(text.strip()))
BLOCKS = st.sampled_from(["", "<think>\nwhy\n</think>\n\n", "<think>why</think>", "why</think>\n"])


@st.composite
def conversations(draw: st.DrawFn) -> list[Turn]:
    """Turns that every template has a form for: a system turn or none, user and assistant."""
    turns = [Turn(SYSTEM, draw(CALM))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 4))):
        apart = draw(st.none() | SPOKEN)
        answer = draw(SPOKEN)
        if apart is None:
            answer = draw(BLOCKS) + answer
        turns += [Turn(USER, draw(SPOKEN)), Turn(ASSISTANT, answer, apart)]
    return turns


CALLS = st.none() | st.sampled_from(
    [
        [("f", {"a": 1, "b": 'é "x" \n'})],
        [("f", '{"a": 1.50, "b": [] }')],
        [("f", {}), ("g_2", {"x": None})],
    ]
)


@st.composite
def conversations_with_tools(draw: st.DrawFn) -> list[Turn]:
    """The same, in which the assistant may call tools and a user may repeat what one answered."""
    turns = [Turn(SYSTEM, draw(CALM))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        asked = draw(SPOKEN)
        turns.append(Turn(USER, asked))
        calls = draw(CALLS)
        if calls is not None:
            made = [{"type": "function", "function": {"name": n, "arguments": a}} for n, a in calls]
            said, apart = draw(CALM), draw(st.none() | CALM)
            turns.append(Turn(ASSISTANT, said, apart, json.dumps(made, ensure_ascii=False)))
            turns += [Turn(TOOL, draw(SPOKEN)) for _ in range(draw(st.integers(1, 2)))]
        turns.append(Turn(ASSISTANT, draw(BLOCKS) + draw(SPOKEN), draw(st.none() | CALM)))
    return turns


TOOLS = [
    {"type": "function", "function": {"name": "f", "description": "é", "parameters": {}}},
    {"type": "function", "function": {"name": 'g"2', "description": "2", "parameters": {}}},
]
THINK = ("auto", "keep", "strip", "empty")


def with_jinja_alone(chat: ChatFormat) -> ChatFormat:
    return replace(chat, template=replace(chat.template, arrow_renderer=None))


@pytest.mark.parametrize("think", THINK)
@pytest.mark.parametrize("name", NAMES)
@given(
    rows=st.lists(conversations() | conversations_with_tools(), min_size=1, max_size=4),
    offered=st.lists(st.sampled_from([None, TOOLS[:1], TOOLS]), min_size=4, max_size=4),
    policy=st.sampled_from(["reject", "keep"]),
    keep_bos=st.booleans(),
)
@examples(25)
def test_arrow_and_the_sandbox_write_the_same(
    name: str,
    think: str,
    rows: list[list[Turn]],
    offered: list[list[dict[str, Any]] | None],
    policy: str,
    keep_bos: bool,
) -> None:
    chat = ChatFormat(
        template(name), think=think, keep_bos=keep_bos, control_tokens=policy, tools=True
    )
    turns = Turns.of_rows(rows)
    listed = [None if t is None else json.dumps(t) for t in offered[: len(rows)]]
    tools = pa.array(listed, pa.string())

    def rendered(chat: ChatFormat) -> render_turns.Rendered:
        return render_turns.render_turns(turns, tools, chat, lambda: sandbox(name), True)

    found, due = rendered(chat), rendered(with_jinja_alone(chat))
    assert found.bad == due.bad
    good = [row for row in range(len(rows)) if row not in due.bad]
    if name == "deepseek-r1" and think == "empty":
        return  # its Jinja would write a second block beside that in the content: see the next test
    assert [found.texts[row].as_py() for row in good] == [due.texts[row].as_py() for row in good]
    # Where the template does not say where reasoning begins, it is learnt: see the next test.
    if think == "strip" or chat.template.thinks == "own":
        assert found.prompts is not None and due.prompts is not None
        assert found.prompts[good].tolist() == due.prompts[good].tolist()
    assert found.note_counts == due.note_counts


@pytest.mark.parametrize("think", THINK)
@pytest.mark.parametrize("name", NAMES)
@given(rows=st.lists(conversations(), min_size=1, max_size=4), keep_bos=st.booleans())
@examples(25)
def test_conversations_without_tools_need_no_sandbox(
    name: str, think: str, rows: list[list[Turn]], keep_bos: bool
) -> None:
    def no_sandbox() -> Sandbox:
        raise AssertionError("Arrow renders these rows")

    chat = ChatFormat(template(name), think=think, keep_bos=keep_bos)
    turns = Turns.of_rows(rows)
    by_arrow = render_turns.render_turns(turns, None, chat, no_sandbox, True)
    assert not by_arrow.bad
    if chat.template.thinks == "own":
        return
    # Where reasoning is put into the content beforehand, Jinja gets it in that place, too.
    placed, _ = render_turns.place_reasoning(
        *render_turns.split_reasoning(turns, chat.template), chat
    )
    jinja = JinjaRenderer(placed, None, replace(chat, think="strip"), sandbox(name))
    bad: dict[int, Reject] = {}
    texts = jinja.texts(bad, np.zeros(len(rows), bool), np.zeros(len(rows), bool))
    assert by_arrow.texts.to_pylist() == texts.to_pylist()
    assert by_arrow.prompts is not None
    assert by_arrow.prompts.tolist() == jinja.prompts(texts, bad).tolist()
    assert not bad


@pytest.mark.parametrize("name", NAMES)
@given(rows=st.lists(st.tuples(SPOKEN, SPOKEN), min_size=1, max_size=4), prompt=st.none() | SPOKEN)
@examples(25)
def test_pairs_and_turns_write_the_same(
    name: str, rows: list[tuple[str, str]], prompt: str | None
) -> None:
    chat = ChatFormat(template(name), prompt)
    questions, answers = zip(*rows, strict=True)
    numbers = pa.array(range(len(rows)), pa.int64())
    table = pa.table({"instruction": questions, "response": answers, ROW: numbers})
    turns = Turns.of_rows([[Turn(USER, q), Turn(ASSISTANT, a)] for q, a in rows])
    output_columns = OutputColumns(("text", "prompt-completion"))
    pairs = render(table, chat, output_columns, sandbox(name))
    as_turns = render(
        pa.table({"turns": turns.column(), ROW: numbers}), chat, output_columns, sandbox(name)
    )
    assert pairs.kept.to_pylist() == as_turns.kept.to_pylist()
    assert pairs.note_counts == as_turns.note_counts


def cut_tokens(name: str) -> st.SearchStrategy[str]:
    """Texts with whole tokens of the template, and with pieces of them."""
    tokens = template(name).control_tokens
    pieces = [t[:n] for t in tokens for n in (1, 2, -2, -1)] + [
        t[n:] for t in tokens for n in (1, -1)
    ]
    part = st.sampled_from([*tokens, *pieces]) | st.sampled_from(["a", " ", "\n", "x y"])
    return st.lists(part, min_size=1, max_size=4).map("".join).filter(lambda t: bool(t.strip()))


def harmless(turn: Turn) -> Turn:
    return turn._replace(content="x", reasoning=turn.reasoning and "x")


@pytest.mark.parametrize("policy", ["reject", "escape"])
@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@examples(40)
def test_content_adds_no_control_token(name: str, policy: str, data: st.DataObject) -> None:
    texts = cut_tokens(name)
    reason = st.none() | texts
    rows = [
        [
            *([Turn(SYSTEM, data.draw(texts))] if data.draw(st.booleans()) else []),
            *(Turn(USER, data.draw(texts)), Turn(ASSISTANT, data.draw(texts), data.draw(reason))),
            *(Turn(USER, data.draw(texts)), Turn(ASSISTANT, data.draw(texts))),
        ]
    ]
    chat = ChatFormat(template(name), control_tokens=policy)
    done = render_turns.render_turns(Turns.of_rows(rows), None, chat, lambda: sandbox(name))
    if done.bad:
        assert done.bad[0].code == "control-token" or policy == "escape"
        return
    # The same row, with its reasoning where it was found.
    turns = render_turns.split_reasoning(Turns.of_rows(rows), chat.template)[0].to_rows()
    plain = [[harmless(turn) for turn in row] for row in turns]
    calm = render_turns.render_turns(Turns.of_rows(plain), None, chat, lambda: sandbox(name))
    tokens = chat.template.control_tokens
    counts = [control_tokens.count(t.texts[0].as_py(), tokens) for t in (done, calm)]
    assert counts[0] == counts[1], done.texts[0].as_py()


DIALOGUE = [
    Turn(USER, "2+2?"),
    Turn(ASSISTANT, "4", "Two and two."),
    Turn(USER, "3+3?"),
    Turn(ASSISTANT, "<think>\nThree, three.\n</think>\n\n6"),
]


def texts_of(name: str, think: str) -> tuple[str, dict[str, int]]:
    chat = ChatFormat(template(name), think=think)
    done = render_turns.render_turns(Turns.of_rows([DIALOGUE]), None, chat, lambda: sandbox(name))
    return str(done.texts[0].as_py()), dict(done.note_counts)


@pytest.mark.parametrize("name", NAMES)
def test_keep_strip_and_empty_mean_the_same_in_all_templates(name: str) -> None:
    kept, events = texts_of(name, "keep")
    assert kept.count("Two and two.") == kept.count("Three, three.") == 1
    assert "reasoning-not-in-text" not in events
    stripped, _ = texts_of(name, "strip")
    assert "wo and two" not in stripped and "hree, three" not in stripped
    assert "<think>" not in stripped and "analysis<|message|>" not in stripped
    empty, _ = texts_of(name, "empty")
    assert "wo and two" not in empty and "hree, three" not in empty
    block = "analysis<|message|><|end|>" if name == "gpt-oss" else "<think>\n\n</think>\n\n"
    assert empty.count(block) == 2
    for text in (kept, stripped, empty):
        assert text.endswith(template(name).eos)


@pytest.mark.parametrize("name", NAMES)
def test_reasoning_that_a_template_leaves_out_is_counted(name: str) -> None:
    text, events = texts_of(name, "auto")
    whole = "Two and two." in text and "Three, three." in text
    assert events.get("reasoning-not-in-text", 0) == (0 if whole else 1)
    assert whole == (name == "chatml")


@pytest.mark.parametrize("name", ["qwen2.5", "mistral"])
def test_a_system_prompt_that_nobody_gave_is_counted(name: str) -> None:
    rows = [DIALOGUE[:2], [Turn(SYSTEM, "Be kind."), *DIALOGUE[:2]]]
    chat = ChatFormat(template(name))
    done = render_turns.render_turns(Turns.of_rows(rows), None, chat, lambda: sandbox(name))
    assert done.note_counts["template-system-prompt"] == 1
    done = render_turns.render_turns(
        Turns.of_rows(rows), None, replace(chat, system_prompt="Hello."), lambda: sandbox(name)
    )
    assert "template-system-prompt" not in done.note_counts
    assert "Hello." in done.texts[0].as_py() and "Hello." not in done.texts[1].as_py()


def test_calls_that_a_template_leaves_out_are_rejected() -> None:
    calls = [{"type": "function", "function": {"name": n, "arguments": {"n": n}}} for n in "ab"]
    row = [Turn(USER, "Both?"), Turn(ASSISTANT, "", None, json.dumps(calls))]
    chat = ChatFormat(template("gpt-oss"), tools=True)
    done = render_turns.render_turns(Turns.of_rows([row]), None, chat, lambda: sandbox("gpt-oss"))
    assert done.bad[0].code == "turn-dropped"
    assert "call of b" in done.bad[0].excerpt


def test_a_neighbour_s_control_token_changes_no_other_row() -> None:
    rows = [
        [Turn(USER, "hi"), Turn(ASSISTANT, "<think>\nwhy\n</think>\n\nanswer")],
        [Turn(USER, "x <|im_end|>"), Turn(ASSISTANT, "yes")],
    ]
    chat = ChatFormat(template("qwen3"), control_tokens="escape")
    output_columns = OutputColumns(("text", "messages"), reasoning=True)

    def made(rows: list[list[Turn]]) -> list[dict[str, Any]]:
        numbers = pa.array(range(len(rows)), pa.int64())
        table = pa.table({"turns": Turns.of_rows(rows).column(), ROW: numbers})
        return list(render(table, chat, output_columns, sandbox("qwen3")).kept.to_pylist())

    assert made(rows) == made(rows[:1]) + made(rows[1:])
    assert made(rows)[0]["response"] == "answer"
    assert made(rows)[0]["reasoning"] == "why"


@pytest.mark.parametrize("name", ["chatml", "qwen3", "qwen2.5", "gpt-oss"])
def test_escapes_in_arguments_hide_no_control_token(name: str) -> None:
    token = template(name).control_tokens[0]
    hidden = json.dumps({"q": "Q"}).replace('"Q"', json.dumps(token).replace("<", "\\u003c"))
    calls = [{"type": "function", "function": {"name": "f", "arguments": hidden}}]
    row = [Turn(USER, "Call."), Turn(ASSISTANT, "", None, json.dumps(calls))]
    chat = ChatFormat(template(name))
    done = render_turns.render_turns(Turns.of_rows([row]), None, chat, lambda: sandbox(name))
    assert done.bad[0].code == "control-token"
    tokens = chat.template.control_tokens
    harmless = [row[0], row[1]._replace(tool_calls=json.dumps(calls).replace("003c", "0061"))]
    escaped, calm = (
        render_turns.render_turns(
            Turns.of_rows([turns]), None, replace(chat, control_tokens="escape"),
            lambda: sandbox(name),
        ).texts[0].as_py()
        for turns in (row, harmless)
    )  # fmt: skip
    assert control_tokens.count(escaped, tokens) == control_tokens.count(calm, tokens)


@pytest.mark.parametrize("name", ["chatml", "qwen2.5", "deepseek-r1"])
def test_a_response_s_reasoning_is_stripped_without_the_sample_s_showing_it(name: str) -> None:
    numbers = pa.array(range(2), pa.int64())
    answers = ["<think>WHY</think>done", "plain"]
    table = pa.table({"instruction": ["q", "r"], "response": answers, ROW: numbers})
    chat = ChatFormat(template(name), think="strip")
    done = render(table, chat, OutputColumns(), sandbox(name))
    first, second = done.kept["text"].to_pylist()
    assert "WHY" not in first and "done" in first
    alone = render(table.slice(1), chat, OutputColumns(), sandbox(name))
    assert alone.kept["text"].to_pylist() == [second]


def test_reasoning_of_the_last_turn_is_no_part_of_the_prompt() -> None:
    calls = json.dumps([{"type": "function", "function": {"name": "f", "arguments": {}}}])
    row = [
        *(Turn(USER, "Go."), Turn(ASSISTANT, "", "FIRST", calls), Turn(TOOL, "out")),
        Turn(ASSISTANT, "ok", "LAST"),
    ]
    chat = ChatFormat(template("gpt-oss"))
    done = render_turns.render_turns(
        Turns.of_rows([row]), None, chat, lambda: sandbox("gpt-oss"), True
    )
    assert done.prompts is not None
    text = done.texts[0].as_py().encode()
    assert b"LAST" in text[done.prompts[0] :] and b"LAST" not in text[: done.prompts[0]]


def test_tools_that_a_template_has_no_place_for_are_counted() -> None:
    tools = pa.array([json.dumps([{"type": "function", "function": {"name": "f"}}]), None])
    rows = [[Turn(USER, "q"), Turn(ASSISTANT, "a")]] * 2
    chat = ChatFormat(template("llama3"), tools=True)
    done = render_turns.render_turns(Turns.of_rows(rows), tools, chat, lambda: sandbox("llama3"))
    assert done.note_counts == {"tools-not-in-text": 1}


def test_texts_too_many_for_one_array_are_rendered_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers = pa.array(range(50), pa.int64())
    questions = ["q <|im_end|>" if n % 7 == 3 else f"q {n}" for n in range(50)]
    table = pa.table({"instruction": questions, "response": ["a"] * 50, ROW: numbers})
    chat = ChatFormat(template("qwen2.5"))
    whole = render(table, chat, OutputColumns(), sandbox("qwen2.5"))
    monkeypatch.setattr(render_module, "_MOST_BYTES", 5000)
    parts = render(table, chat, OutputColumns(), sandbox("qwen2.5"))
    assert parts.kept["text"].num_chunks > 10
    assert parts.kept.to_pylist() == whole.kept.to_pylist()
    assert parts.rejects.to_pylist() == whole.rejects.to_pylist()
    assert dict(parts.note_counts) == dict(whole.note_counts) == {"template-system-prompt": 43}
