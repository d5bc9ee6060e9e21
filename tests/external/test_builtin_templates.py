"""Our chat templates write what the published ones write, byte for byte."""

from __future__ import annotations

import functools
import json
import sys
from typing import Any, NoReturn

import pytest
from chat_corpus import CORPUS, Conversation, Message
from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from means import REPOSITORY
from oracles import NAMES, TODAY, TOKENS, published

_FOLDER = REPOSITORY / "transforms" / "chat" / "templates"
_WITHOUT_TOOLS = {"llama3", "mistral", "gemma", "deepseek-r1"}
_WITHOUT_PROMPT = {"mistral"}  # after a question the model answers without being asked to
# Of so many conversations the published template writes a text, so that the rules for leaving some
# out do not leave out more than meant.
_COMPARED = {
    **dict.fromkeys(("chatml", "qwen3", "qwen3-2507", "qwen2.5"), 126),
    **dict.fromkeys(("llama3", "mistral", "deepseek-r1"), 96),
    "gemma": 82,  # whose roles must alternate
    "gpt-oss": 121,  # refuses text beside reasoning in a call, and results without a call
}


@functools.cache
def _ours(name: str) -> Template:
    def refuse(message: str) -> NoReturn:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = functools.partial(json.dumps, ensure_ascii=False)
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = TODAY.strftime
    return environment.from_string((_FOLDER / f"{name}.jinja").read_text("utf-8"))


def _plain(message: Message) -> Message:
    """A turn without keys that say nothing, and with a text for its content."""
    kept = {key: value for key, value in message.items() if value is not None and value != []}
    return kept | {"content": message["content"] or ""}


def _with_reasoning_apart(message: Message) -> Message:
    """A turn of which reasoning between tags became its `reasoning_content`."""
    content = message["content"]
    if (
        message["role"] != "assistant"
        or "reasoning_content" in message
        or "</think>" not in content
    ):
        return message
    parts = content.split("</think>")
    reasoning = parts[0].rstrip("\n").split("<think>")[-1].lstrip("\n")
    return message | {"content": parts[-1].lstrip("\n"), "reasoning_content": reasoning}


def _prepared(name: str, conversation: Conversation) -> list[Message]:
    """The turns that our template is given."""
    messages = [_plain(message) for message in conversation.messages]
    if name in ("qwen3", "gpt-oss"):
        return [_with_reasoning_apart(message) for message in messages]
    return messages


def _original(name: str, conversation: Conversation) -> list[Message]:
    """The turns that the published template is given."""
    messages = [_plain(message) for message in conversation.messages]
    if name != "gpt-oss":
        return messages
    named = {"reasoning_content": "thinking"}
    return [
        {named.get(key, key): value for key, value in _with_reasoning_apart(message).items()}
        for message in messages
    ]


def _render(
    name: str,
    messages: list[Message],
    tools: list[dict[str, Any]] | None = None,
    think: str = "auto",
    add_generation_prompt: bool = False,
) -> str:
    bos_token, eos_token = TOKENS.get(name, ("", ""))
    return _ours(name).render(
        messages=messages,
        tools=tools,
        think=think,
        add_generation_prompt=add_generation_prompt,
        bos_token=bos_token,
        eos_token=eos_token,
    )


def _has_tools(conversation: Conversation) -> bool:
    used = any(m["role"] == "tool" or m.get("tool_calls") for m in conversation.messages)
    return used or bool(conversation.tools)


def _expected(name: str, conversation: Conversation, prompt: bool) -> str | None:
    """What the published template writes, or nothing if it cannot."""
    with_tools = _has_tools(conversation)
    if (with_tools and name in _WITHOUT_TOOLS) or (prompt and name in _WITHOUT_PROMPT):
        return None
    # Plain ChatML says nothing of tools, and ours takes the form of Qwen's.
    oracle = published("qwen3-2507" if with_tools and name == "chatml" else name)
    messages = _original(name, conversation)
    try:
        return oracle.render(messages, conversation.tools, add_generation_prompt=prompt)
    except (TemplateError, TypeError):  # it refuses the conversation, in words or by accident
        return None


def _differences(name: str, prompt: bool) -> dict[str, bool]:
    """Whether ours writes something else, for each conversation that the published one writes."""
    differences = {}
    for conversation in CORPUS:
        expected = _expected(name, conversation, prompt)
        if expected is None:
            continue
        messages = _prepared(name, conversation)
        text = _render(name, messages, conversation.tools, add_generation_prompt=prompt)
        differences[conversation.name] = text != expected
    return differences


def test_each_template_has_a_published_one() -> None:
    assert {path.stem for path in _FOLDER.glob("*.jinja")} == set(NAMES)


def test_the_conversations_have_names_of_their_own() -> None:
    assert len({conversation.name for conversation in CORPUS}) == len(CORPUS) >= 70


@pytest.mark.parametrize("prompt", [False, True], ids=["whole", "generation-prompt"])
@pytest.mark.parametrize("name", NAMES)
def test_writes_what_the_published_template_writes(name: str, prompt: bool) -> None:
    differences = _differences(name, prompt)
    assert [conversation for conversation, differs in differences.items() if differs] == []
    assert len(differences) == (0 if prompt and name in _WITHOUT_PROMPT else _COMPARED[name])


@pytest.mark.parametrize("conversation", CORPUS, ids=lambda conversation: conversation.name)
def test_plain_chatml_is_also_qwen3_2507(conversation: Conversation) -> None:
    messages = _prepared("chatml", conversation)
    ours = _render("chatml", messages, conversation.tools)
    assert ours == published("qwen3-2507").render(messages, conversation.tools)


_DIALOGUE: list[Message] = [
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "4", "reasoning_content": "\nTwo and two.\n"},
    {"role": "user", "content": "3+3?"},
    {"role": "assistant", "content": "6"},
]
_BOS, _EOS = TOKENS["deepseek-r1"]
_GPT_OSS = "<|start|>assistant<|channel|>"


@pytest.mark.parametrize(
    ("think", "first", "second"),
    [
        ("keep", "<think>\nTwo and two.\n</think>\n\n4", "6"),
        ("strip", "4", "6"),
        ("empty", "<think>\n\n</think>\n\n4", "<think>\n\n</think>\n\n6"),
    ],
)
def test_reasoning_between_tags(think: str, first: str, second: str) -> None:
    assert _render("qwen3", _DIALOGUE, think=think) == (
        f"<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n{first}<|im_end|>\n"
        f"<|im_start|>user\n3+3?<|im_end|>\n<|im_start|>assistant\n{second}<|im_end|>\n"
    )
    assert _render("deepseek-r1", _DIALOGUE, think=think) == (
        f"{_BOS}<｜User｜>2+2?<｜Assistant｜>{first}{_EOS}"
        f"<｜User｜>3+3?<｜Assistant｜>{second}{_EOS}"
    )


@pytest.mark.parametrize(
    ("think", "first", "second"),
    [
        ("keep", f"{_GPT_OSS}analysis<|message|>\nTwo and two.\n<|end|>", ""),
        ("strip", "", ""),
        ("empty", *[f"{_GPT_OSS}analysis<|message|><|end|>"] * 2),
    ],
)
def test_reasoning_in_a_channel(think: str, first: str, second: str) -> None:
    assert _render("gpt-oss", _DIALOGUE, think=think).endswith(
        f"<|start|>user<|message|>2+2?<|end|>{first}{_GPT_OSS}final<|message|>4<|end|>"
        f"<|start|>user<|message|>3+3?<|end|>{second}{_GPT_OSS}final<|message|>6<|return|>"
    )


@pytest.mark.parametrize(
    ("think", "analysis"),
    [
        ("keep", f"{_GPT_OSS}analysis<|message|>A clock knows.<|end|>"),
        ("strip", ""),
        ("empty", f"{_GPT_OSS}analysis<|message|><|end|>"),
    ],
)
def test_reasoning_before_a_call(think: str, analysis: str) -> None:
    function = {"name": "clock", "arguments": {}}
    call = {
        "role": "assistant",
        "content": "Let me look.",
        "reasoning_content": "A clock knows.",
        "tool_calls": [{"type": "function", "function": function}],
    }
    messages: list[Message] = [
        {"role": "user", "content": "Time?"},
        call,
        {"role": "tool", "content": "12:00"},
        {"role": "assistant", "content": "Noon."},
    ]
    text = _render("gpt-oss", messages, think=think)
    called = "to=functions.clock<|channel|>commentary json<|message|>{}<|call|>"
    assert (
        f"Time?<|end|>{analysis}{_GPT_OSS}commentary<|message|>Let me look.<|end|>"
        f"<|start|>assistant {called}<|start|>functions.clock "
    ) in text
    block = {"keep": "<think>\nA clock knows.\n</think>\n\n", "strip": ""}.get(
        think, "<think>\n\n</think>\n\n"
    )
    assert (
        f"<|im_start|>assistant\n{block}Let me look.\n"
        '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call><|im_end|>\n'
    ) in _render("qwen3", messages, think=think)


@pytest.mark.parametrize("name", ["qwen3", "deepseek-r1", "gpt-oss"])
def test_blank_reasoning_is_none(name: str) -> None:
    messages = [*_DIALOGUE[:1], {"role": "assistant", "content": "4", "reasoning_content": " \n"}]
    assert _render(name, messages, think="keep") == _render(name, messages, think="strip")


def test_an_empty_block_is_what_qwen3_writes_for_no_thinking() -> None:
    messages = _DIALOGUE[:1]
    ours = _render("qwen3", messages, think="empty", add_generation_prompt=True)
    theirs = published("qwen3").render(messages, None, True, enable_thinking=False)
    assert ours == theirs


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"qwen3", "deepseek-r1", "gpt-oss"}))
def test_other_templates_know_no_reasoning(name: str) -> None:
    texts = {_render(name, _DIALOGUE, think=think) for think in ("auto", "keep", "strip", "empty")}
    assert len(texts) == 1
    assert "Two and two" not in texts.pop()


def _print_matrix() -> int:
    print(f"{len(CORPUS)} conversations, whole and with a generation prompt")
    print(f"{'':12} {'equal':>11} {'unlike':>11} {'left out':>11}")
    worst = 0
    for name in NAMES:
        both = [_differences(name, prompt) for prompt in (False, True)]
        unlike = [sum(differences.values()) for differences in both]
        equal = [len(differences) - sum(differences.values()) for differences in both]
        left_out = [len(CORPUS) - len(differences) for differences in both]
        columns = (f"{whole:>5} {prompt:>5}" for whole, prompt in (equal, unlike, left_out))
        print(f"{name:12}", *columns)
        worst = max(worst, *unlike)
    return 1 if worst else 0


if __name__ == "__main__":
    sys.exit(_print_matrix())
