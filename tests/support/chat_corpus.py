"""Conversations as data sets have them, plain and odd ones, for the tests of chat templates."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]


@dataclass(frozen=True)
class Conversation:
    """A row: its turns in the form of OpenAI's interface, and the tools that it offers."""

    name: str
    messages: list[Message]
    tools: list[dict[str, Any]] | None = None


def _system(content: str) -> Message:
    return {"role": "system", "content": content}


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _assistant(content: str | None, reasoning: str | None = None, *calls: Message) -> Message:
    message: Message = {"role": "assistant", "content": content}
    if reasoning is not None:
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = list(calls)
    return message


def _call(name: str, arguments: object) -> Message:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def _result(content: str) -> Message:
    return {"role": "tool", "content": content}


def _tool(name: str, description: str, parameters: object = None) -> dict[str, Any]:
    function: dict[str, Any] = {"name": name, "description": description}
    if parameters is not None:
        function["parameters"] = parameters
    return {"type": "function", "function": function}


def _with_properties(name: str, *required: str, **properties: object) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return _tool(name, f"Does {name.replace('_', ' ')}.", schema)


def _same_text(name: str, content: str) -> Conversation:
    """The text as a system prompt, as a question and as an answer."""
    return Conversation(name, [_system(content), _user(content), _assistant(content)])


def _turns(count: int, *before: Message) -> list[Message]:
    pairs = [(_user(f"Question {n}?"), _assistant(f"Answer {n}.")) for n in range(count)]
    return [*before, *(message for pair in pairs for message in pair)]


_TEXTS = {
    "cjk": "日本語のテキスト。中文内容，한국어 문장입니다。",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 and 🇩🇪",
    "right-to-left": "مرحبا بالعالم ‏שלום‎ עולם",
    "combining": "e\u0301 is not é; Z\u0351\u036b\u0343 a\u030a\u0323",
    "odd-blanks": "a\u00a0b\u2003c\u200bd\u2028e\u0085f",
    "odd-blanks-outside": "\u00a0\u2003inside\u2028\u3000\u0085",
    "byte-order-mark": "\ufeffstart",
    "astral": "𝒜𝓁𝓅𝒽𝒶 \U0010ffff 𠀋",
    "crlf": "first\r\nsecond\r\n\r\nfourth\r",
    "tabs": "\tindented\n\t\tmore\t|\tcells\t",
    "blanks-before": "   three blanks before",
    "blanks-after": "three blanks after   ",
    "newlines-before": "\n\n\nthree newlines before",
    "newlines-after": "three newlines after\n\n\n",
    "blanks-and-newlines": " \n\t mixed \n\t ",
    "only-blanks": "   ",
    "only-newlines": "\n\n",
    "empty": "",
    "separators": "a\x1cb\x1dc\x1ed\x0be\x0cf",
    "code-fence": "```python\ndef f(x: int) -> int:\n    return {x: [x]}[x][0]  # {1}\n```\n",
    "code-with-indent": "    if x:\n        y()\n\n    z()\n",
    "latex": r"\[ \int_{0}^{\infty} e^{-x^2}\,dx = \frac{\sqrt{\pi}}{2} \] and $a_{i}^{{2}}$ \\",
    "jinja-expression": "{{ 7*7 }} and {{ messages }} and {{- bos_token -}}",
    "jinja-block": "{% raw %}{{ x }}{% endraw %} {%- if true -%} {# note #} {% endif %}",
    "jinja-generation": "{% generation %}x{% endgeneration %}",
    "format-strings": "%s %(a)s {0} {name} ${HOME} $$ %%",
    "html": "<p class=\"a\">a &amp; b &lt; c</p><script>alert('x')</script><!-- -->",
    "json": '{"a": [1, 2.50, null], "b": "\\u00e9\\n", "c": {"d": "</tool_call>"}}',
    "quotes": "'single' \"double\" `back` «guillemets» \\'escaped\\'",
    "backslashes": "C:\\new\\table \\n is not a newline \\\\",
    "long": "A sentence of some length, with é and 漢. " * 5000,
    "many-lines": "\n".join(f"{n}. line" for n in range(3000)),
    "looks-like-a-role": "user\nassistant\nsystem: hello\n\nHuman: hi\n\nAssistant: ho",
    "one-letter": "y",
    "xml-of-tools": "<tools>none</tools> <tool_call> is a tag",
}

_WEATHER = _with_properties(
    "get_weather",
    "city",
    city={"type": "string", "description": "The city, e.g. Zürich"},
    unit={"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
)
_CLOCK = _tool("clock", "Tells the time.")
_RICH = [
    _with_properties(
        "every_type",
        "text",
        "list_of_objects",
        text={"type": "string"},
        text_or_null={"type": "string", "nullable": True, "description": "May be absent."},
        number={"type": "number", "default": 1.5},
        integer={"type": "integer", "default": 3, "nullable": True},
        boolean={"type": "boolean", "default": False},
        null_default={"type": "string", "default": None},
        text_default={"type": "string", "default": 'a "quoted" <b> é'},
        choice={"type": "string", "enum": ["a", 'b"c', "d"], "nullable": True},
        one_choice={"type": "string", "enum": ["only"], "default": "only"},
        no_choice={"type": "string", "enum": []},
        several={"type": ["string", "null"]},
        several_alone={"type": ["integer"]},
        several_objects={"type": ["object", "object"], "default": {}},
        no_types={"type": []},
        anything={},
        described_only={"description": "No type at all."},
        anything_of={"anyOf": [{"type": "string"}, {"type": "null"}]},
        reference={"$ref": "#/$defs/x"},
        null={"type": "null"},
        list_of_objects={"type": "array", "items": {"type": "object"}},
    ),
    _with_properties(
        "arrays",
        texts={"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
        texts_or_null={"type": "array", "items": {"type": "string"}, "nullable": True},
        numbers={"type": "array", "items": {"type": "number"}},
        integers={"type": "array", "items": {"type": "integer"}, "default": [1, 2]},
        booleans={"type": "array", "items": {"type": "boolean"}},
        untyped={"type": "array"},
        untyped_or_null={"type": "array", "nullable": True},
        empty_items={"type": "array", "items": {}},
        matrix={"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        unions={"type": "array", "items": {"type": ["object", "object"]}},
        nullable_unions={"type": "array", "items": {"type": ["string", "null"]}, "nullable": True},
        tuples={"type": "array", "items": [{"type": "string"}, {"type": "number"}]},
        small={
            "type": "array",
            "items": {"type": "object", "properties": {"x": {"type": "string"}}},
        },
        large={
            "type": "array",
            "items": {
                "type": "object",
                "properties": {f"property_{n}": {"type": "string"} for n in range(9)},
            },
        },
        choices={"type": "array", "items": {"oneOf": [{"type": "string"}, {"type": "number"}]}},
    ),
    _with_properties(
        "objects",
        "place",
        place={
            "type": "object",
            "description": "Where.\nOn two lines.",
            "properties": {
                "latitude": {"type": "number", "description": "Not shown inside."},
                "longitude": {"type": "number"},
                "names": {
                    "type": "object",
                    "properties": {
                        "short": {"type": "string", "enum": ["a", "b"]},
                        "all": {"type": "array", "items": {"type": "string"}},
                    },
                    "required": ["all"],
                },
            },
            "required": ["latitude"],
        },
        free={"type": "object", "additionalProperties": {"type": "string"}, "default": {"a": 1}},
        none={"type": "object", "properties": {}},
        items={"type": "object", "properties": {"items": {"type": "array"}}},
        required={"type": "boolean"},
    ),
    _with_properties(
        "unions",
        "either",
        either={"oneOf": [{"type": "string"}, {"type": "number"}]},
        described={
            "description": "The whole.",
            "oneOf": [
                {"type": "string", "description": "A name."},
                {"type": "integer", "description": "A number.", "default": 7},
                {"type": "array", "items": {"type": "string"}, "default": ["x"]},
            ],
            "default": "nobody",
        },
        objects={
            "oneOf": [
                {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
                {"type": "object", "properties": {"b": {"type": "boolean"}}},
            ]
        },
        alone={"oneOf": [{"type": "object"}]},
        with_type={"type": "string", "oneOf": [{"type": "string", "enum": ["x"]}, {}]},
        none_of={"type": "string", "oneOf": []},
    ),
]

_REASONING = "First I add.\n\n  2 + 2 = 4\n\nThen I check: 4 - 2 = 2."

CORPUS = [
    # Roles and their order.
    Conversation("plain", [_user("Hi"), _assistant("Hello!")]),
    Conversation("system", [_system("Be brief."), _user("Hi"), _assistant("Hello!")]),
    Conversation("empty-system", [_system(""), _user("Hi"), _assistant("Hello!")]),
    Conversation("blank-system", [_system(" \n "), _user("Hi"), _assistant("Hello!")]),
    Conversation(
        "system-in-the-middle",
        [_user("Hi"), _assistant("Hello!"), _system("Be brief."), _user("So?"), _assistant("So.")],
    ),
    Conversation(
        "system-after-the-question", [_user("Hi"), _system("Be brief."), _assistant("Hello!")]
    ),
    Conversation("system-at-the-end", [_user("Hi"), _assistant("Hello!"), _system("Done.")]),
    Conversation(
        "two-systems", [_system("Be brief."), _system("Be kind."), _user("Hi"), _assistant("Yes.")]
    ),
    Conversation(
        "two-systems-apart",
        [_system("One."), _user("Hi"), _assistant("Hello!"), _system("Two."), _user("Hm")],
    ),
    Conversation("system-alone", [_system("Be brief.")]),
    Conversation("system-and-answer", [_system("Write."), _assistant("Once upon a time.")]),
    Conversation("one-user-turn", [_user("Hi")]),
    Conversation("ends-with-user", [*_turns(2, _system("Be brief.")), _user("And then?")]),
    Conversation("begins-with-assistant", [_assistant("How can I help?"), *_turns(1)]),
    Conversation("assistant-alone", [_assistant("Monologue.")]),
    Conversation("two-users-in-a-row", [_user("Hi"), _user("Anyone?"), _assistant("Yes.")]),
    Conversation("two-assistants-in-a-row", [_user("Hi"), _assistant("Hello,"), _assistant("you")]),
    Conversation("users-only", [_user("Hi"), _user("Anyone?"), _user("No one.")]),
    Conversation("two-pairs", _turns(2)),
    Conversation("six-pairs", _turns(6)),
    Conversation("twelve-pairs", _turns(12, _system("Count."))),
    Conversation("answer-without-content", [_user("Hi"), _assistant(None)]),
    Conversation(
        "answer-without-content-earlier",
        [_user("Hi"), _assistant(None), _user("Hi?"), _assistant("Yes.")],
    ),
    Conversation(
        "keys-without-values",
        [
            _user("Hi"),
            {"role": "assistant", "content": "Yes", "reasoning_content": None, "tool_calls": None},
        ],
    ),
    Conversation(
        "empty-tool-calls",
        [_user("Hi"), {"role": "assistant", "content": "Yes", "tool_calls": []}],
    ),
    Conversation(
        "keys-of-others",
        [
            {"role": "user", "content": "Hi", "name": "Ada", "weight": 1},
            {"role": "assistant", "content": "Yes", "refusal": None, "audio": {"id": "x"}},
        ],
    ),
    # What texts hold.
    *(_same_text(f"text-{name}", text) for name, text in _TEXTS.items()),
    # Reasoning.
    Conversation("reasoning-key", [_user("2+2?"), _assistant("4", _REASONING)]),
    Conversation(
        "reasoning-key-and-system", [_system("Think."), _user("2+2?"), _assistant("4", _REASONING)]
    ),
    Conversation("reasoning-key-empty", [_user("2+2?"), _assistant("4", "")]),
    Conversation("reasoning-key-blank", [_user("2+2?"), _assistant("4", "  \n ")]),
    Conversation("reasoning-key-newlines", [_user("2+2?"), _assistant("\n\n4\n", "\n\nEasy.\n\n")]),
    Conversation("reasoning-key-without-answer", [_user("2+2?"), _assistant("", "Hm.")]),
    Conversation("reasoning-key-without-content", [_user("2+2?"), _assistant(None, "Hm.")]),
    Conversation(
        "reasoning-key-everywhere",
        [
            _user("2+2?"),
            _assistant("4", "Two and two."),
            _user("3+3?"),
            _assistant("6", "Three and three."),
        ],
    ),
    Conversation(
        "reasoning-key-earlier",
        [_user("2+2?"), _assistant("\n4", "Two and two."), _user("3+3?"), _assistant("6")],
    ),
    Conversation(
        "reasoning-key-two-answers",
        [_user("2+2?"), _assistant("Four", "Hm."), _assistant("teen", "Oh."), _assistant("!")],
    ),
    Conversation(
        "reasoning-key-blank-two-answers",
        [_user("2+2?"), _assistant("\nFour", " "), _assistant("\nFive", "\n"), _assistant("!")],
    ),
    Conversation(
        "reasoning-key-without-user", [_system("Think."), _assistant("4", "Hm."), _assistant("5")]
    ),
    Conversation(
        "reasoning-key-and-tags",
        [_user("2+2?"), _assistant("<think>\nInline.\n</think>\n\n4", "By key.")],
    ),
    Conversation(
        "reasoning-key-ends-with-user",
        [_user("2+2?"), _assistant("4", "Hm."), _user("Thanks.")],
    ),
    Conversation(
        "reasoning-inline", [_user("2+2?"), _assistant(f"<think>\n{_REASONING}\n</think>\n\n4")]
    ),
    Conversation("reasoning-inline-tight", [_user("2+2?"), _assistant("<think>Easy.</think>4")]),
    Conversation(
        "reasoning-inline-wide",
        [_user("2+2?"), _assistant("\n<think>\n\n  Easy.  \n\n</think>\n\n\n 4\n")],
    ),
    Conversation(
        "reasoning-inline-not-opened", [_user("2+2?"), _assistant("Easy.\n</think>\n\n4")]
    ),
    Conversation("reasoning-inline-not-closed", [_user("2+2?"), _assistant("<think>\nEasy.\n\n4")]),
    Conversation("reasoning-inline-empty", [_user("Hi"), _assistant("<think>\n\n</think>\n\nHo")]),
    Conversation("reasoning-inline-nothing", [_user("Hi"), _assistant("<think></think>Ho")]),
    Conversation("reasoning-inline-blank", [_user("Hi"), _assistant("<think>\n \n</think>\n\nHo")]),
    Conversation("reasoning-inline-alone", [_user("Hi"), _assistant("<think>\nHm.\n</think>\n\n")]),
    Conversation(
        "reasoning-inline-after-text", [_user("Hi"), _assistant("Let me see. <think>x</think> Ho")]
    ),
    Conversation(
        "reasoning-inline-closed-twice",
        [_user("Hi"), _assistant("<think>a</think>b</think>\n\nc")],
    ),
    Conversation(
        "reasoning-inline-two-blocks",
        [_user("Hi"), _assistant("<think>a</think>b<think>c</think>d")],
    ),
    Conversation("reasoning-inline-nested", [_user("Hi"), _assistant("<think><think>a</think>b")]),
    Conversation(
        "reasoning-inline-everywhere",
        [
            _user("2+2?"),
            _assistant("<think>\nTwo and two.\n</think>\n\n4"),
            _user("3+3?"),
            _assistant("<think>\nThree and three.\n</think>\n\n6"),
        ],
    ),
    Conversation(
        "reasoning-inline-earlier",
        [
            _user("2+2?"),
            _assistant("<think>\nTwo and two.\n</think>\n\n4"),
            _user("3+3?"),
            _assistant("6"),
        ],
    ),
    Conversation(
        "reasoning-tag-in-question",
        [_user("What does </think> mean, and <think>?"), _assistant("A tag.")],
    ),
    Conversation(
        "reasoning-tag-in-system", [_system("Use <think></think>."), _user("Hi"), _assistant("Ho")]
    ),
    Conversation(
        "question-like-a-tool-response",
        [
            _user("Weather?"),
            _assistant("One moment.", "I ask."),
            _user("<tool_response>\nsunny\n</tool_response>"),
            _assistant("Sunny.", "It answers."),
        ],
    ),
    Conversation(
        "question-begins-like-a-tool-response",
        [
            _user("Weather?"),
            _assistant("One moment.", "I ask."),
            _user("<tool_response>\nsunny\n</tool_response>\nWhat now?"),
            _assistant("Sunny.", "It answers."),
        ],
    ),
    Conversation(
        "questions-all-like-tool-responses",
        [_user("<tool_response>x</tool_response>"), _assistant("Sunny.", "It answers.")],
    ),
    # Tools.
    Conversation("tools-unused", [_user("Hi"), _assistant("Ho")], [_WEATHER]),
    Conversation(
        "tools-unused-system", [_system("Be kind."), _user("Hi"), _assistant("Ho")], [_WEATHER]
    ),
    Conversation(
        "tools-unused-empty-system", [_system(""), _user("Hi"), _assistant("Ho")], [_CLOCK]
    ),
    Conversation("tools-empty-list", [_user("Hi"), _assistant("Ho")], []),
    Conversation("tools-several", [_user("Hi"), _assistant("Ho")], [_CLOCK, _WEATHER, _CLOCK]),
    Conversation("tools-rich", [_user("Hi"), _assistant("Ho")], _RICH),
    Conversation(
        "tools-odd-text",
        [_user("Hi"), _assistant("Ho")],
        [_tool("日本", 'Says <b>é</b> & "\'" {{ x }}\non two lines', {"type": "object"})],
    ),
    Conversation(
        "tools-system-in-the-middle",
        [_user("Hi"), _system("Be kind."), _assistant("Ho")],
        [_WEATHER],
    ),
    Conversation(
        "call",
        [
            _system("Be brief."),
            _user("Weather in Zürich?"),
            _assistant(None, None, _call("get_weather", {"city": "Zürich", "unit": "celsius"})),
            _result('{"temperature": 21}'),
            _assistant("21 degrees."),
        ],
        [_WEATHER],
    ),
    Conversation(
        "call-arguments-as-text",
        [
            _user("Weather?"),
            _assistant("", None, _call("get_weather", json.dumps({"city": "Zürich"}))),
            _result("sunny"),
            _assistant("Sunny."),
        ],
        [_WEATHER],
    ),
    Conversation(
        "call-arguments-nested",
        [
            _user("Go"),
            _assistant(
                None,
                None,
                _call("f", {"a": [1, 2.5, None, True], "b": {"c": "<d>'é\"\n"}, "e": {}}),
            ),
        ],
        [_CLOCK],
    ),
    Conversation(
        "call-no-arguments",
        [_user("Time?"), _assistant(None, None, _call("clock", {})), _result("12:00")],
        [_CLOCK],
    ),
    Conversation(
        "call-without-tools",
        [
            _user("Time?"),
            _assistant(None, None, _call("clock", {})),
            _result("12:00"),
            _assistant("Noon."),
        ],
    ),
    Conversation(
        "call-at-the-end", [_user("Time?"), _assistant(None, None, _call("clock", {}))], [_CLOCK]
    ),
    Conversation(
        "call-with-text",
        [
            _user("Time?"),
            _assistant("Let me look.", None, _call("clock", {})),
            _result("12:00"),
            _assistant("Noon."),
        ],
        [_CLOCK],
    ),
    Conversation(
        "call-with-text-at-the-end",
        [_user("Time?"), _assistant("Let me look.\n", None, _call("clock", {}))],
        [_CLOCK],
    ),
    Conversation(
        "call-with-newline",
        [_user("Time?"), _assistant("\n", "Hm.", _call("clock", {}), _call("clock", {}))],
        [_CLOCK],
    ),
    Conversation(
        "call-with-reasoning",
        [
            _user("Time?"),
            _assistant(None, "A clock knows.", _call("clock", {})),
            _result("12:00"),
            _assistant("Noon.", "Twelve is noon."),
        ],
        [_CLOCK],
    ),
    Conversation(
        "call-with-reasoning-at-the-end",
        [_user("Time?"), _assistant(None, "A clock knows.", _call("clock", {}))],
        [_CLOCK],
    ),
    Conversation(
        "call-with-reasoning-inline",
        [
            _user("Time?"),
            _assistant("<think>\nA clock knows.\n</think>\n\n", None, _call("clock", {})),
            _result("12:00"),
            _assistant("<think>\nTwelve is noon.\n</think>\n\nNoon."),
        ],
        [_CLOCK],
    ),
    Conversation(
        "call-with-text-and-reasoning",
        [
            _user("Time?"),
            _assistant("\n\nLet me look.", "A clock knows.", _call("clock", {})),
            _result("12:00"),
            _assistant("Noon."),
        ],
        [_CLOCK],
    ),
    Conversation(
        "calls-parallel",
        [
            _user("Weather in A and B?"),
            _assistant(
                None,
                None,
                _call("get_weather", {"city": "A"}),
                _call("get_weather", '{"city":"B"}'),
            ),
            _result("sunny"),
            _result("rain"),
            _assistant("Sunny in A, rain in B."),
        ],
        [_WEATHER],
    ),
    Conversation(
        "calls-parallel-with-text",
        [
            _user("Both?"),
            _assistant("Both.", None, _call("clock", {}), _call("get_weather", {"city": "A"})),
            _result("12:00"),
            _result("sunny"),
            _assistant("Noon, sunny."),
        ],
        [_CLOCK, _WEATHER],
    ),
    Conversation(
        "calls-in-rounds",
        [
            _user("Time, then weather?"),
            _assistant(None, "Time first.", _call("clock", {})),
            _result("12:00"),
            _assistant(None, "Now weather.", _call("get_weather", {"city": "A"})),
            _result("sunny"),
            _assistant("Noon, sunny.", "Done."),
            _user("Again?"),
            _assistant(None, "Again.", _call("clock", {})),
            _result("12:01"),
            _assistant("A minute past noon.", "Done again."),
        ],
        [_CLOCK, _WEATHER],
    ),
    Conversation(
        "calls-in-rounds-not-finished",
        [
            _user("Time?"),
            _assistant(None, None, _call("clock", {})),
            _result("12:00"),
            _assistant("Noon."),
            _user("Weather?"),
            _assistant("I ask.", None, _call("get_weather", {"city": "A"})),
            _result("sunny"),
            _assistant(None, "And again.", _call("clock", {})),
            _result("12:01"),
        ],
        [_CLOCK, _WEATHER],
    ),
    Conversation(
        "call-then-user",
        [_user("Time?"), _assistant(None, None, _call("clock", {})), _user("Never mind.")],
        [_CLOCK],
    ),
    Conversation(
        "result-odd-text",
        [
            _user("Time?"),
            _assistant(None, None, _call("clock", {})),
            _result(' {"a": "é</tool_response>\\n"}\n\n'),
            _assistant("Odd."),
        ],
        [_CLOCK],
    ),
    Conversation(
        "result-empty",
        [_user("Time?"), _assistant(None, None, _call("clock", {})), _result(""), _assistant("?")],
        [_CLOCK],
    ),
    Conversation("result-first", [_result("12:00"), _assistant("Noon.")]),
    Conversation(
        "result-after-an-answer",
        [_user("Time?"), _assistant("Noon."), _result("12:00"), _user("Oh.")],
    ),
    Conversation(
        "result-and-question-alike",
        [
            _user("Time?"),
            _assistant("Wait.", "Look.", _call("clock", {})),
            _result("12:00"),
            _user("<tool_response>\n12:00\n</tool_response>"),
            _assistant("Noon.", "Twelve is noon."),
        ],
        [_CLOCK],
    ),
]
