"""Rows that are rejected, and the flags of their remedy, which keep them: one case a flag."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from command_runs import turns

Row = dict[str, Any]

SAMPLE = 500
"""Rows that a plan looks at; a row behind them decides nothing."""

WORDS = " ".join(f"word{n}" for n in range(60))
BENCHMARK = {"prompt": "Of all the old kettles in the harbour which one was mended before winter?"}
CALL = {"function": {"name": "stock", "arguments": {"item": "kettle"}}}
TEMPLATE = """{% for m in messages %}{% if m.content == 'refuse' %}{{ raise_exception('No.') }}\
{% endif %}[{{ m.role }}] {{ m.content }}
{% endfor %}"""
COUNTING = "{% for m in messages %}({{ messages | length }}) {{ m.content }}\n{% endfor %}"


def talk(*roles: str) -> list[Row]:
    """A conversation of turns with these roles."""
    return [{"role": role, "content": f"Text {n} of {role}."} for n, role in enumerate(roles)]


def chat(*roles: str) -> Row:
    return {"messages": talk(*roles)}


@dataclass(frozen=True)
class Case:
    """A bad row, and what keeps it.

    Attributes:
        code: its reject code.
        row: the row; it is the last of the file, behind ``before``.
        cure: the flags that keep it; () where leaving out ``without`` does.
        flags: flags of the run.
        without: flags of the run that the remedy says to omit.
        before: the rows before it.
        says: the flag as the remedy writes it, where it has a placeholder.
        sandbox: is a template rendered by a process of its own?
    """

    code: str
    row: Row
    cure: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    before: tuple[Row, ...] = ()
    says: str = ""
    sandbox: bool = False
    files: dict[str, Any] = field(default_factory=dict)

    @property
    def named(self) -> str:
        """What the remedy has to say."""
        return self.says or " ".join(self.cure or self.without)


TRIM = ("--ends-with-user", "trim")
MERGE = ("--same-role", "merge")
CHATML = ("--template", "chatml")
GOOD = {"messages": turns("What?", "So.")}
LATE_MARK = {
    "messages": [*turns("What?"), {"role": "assistant", "content": "So.", "weight": 0}],
}


def blank(field_: str, value: str | None) -> Case:
    """A pair without one of its texts, which another column has."""
    kind = "null" if value is None else "blank" if value else "empty"
    row: Row = {"question": "What?", "answer": "It is so.", "other": "Another text."}
    column = {"instruction": "question", "response": "answer"}[field_]
    pair = {"instruction": "question", "response": "answer", field_: "other"}
    return Case(
        f"{kind}-{field_}",
        {**row, column: value},
        ("--fields", ",".join(f"{name}={pair[name]}" for name in pair)),
        before=({**row, "question": "How?"},) * 2,
        says="--fields instruction=COLUMN,response=COLUMN",
    )


def blank_key(value: str | None) -> Case:
    kind = "null" if value is None else "blank" if value else "empty"
    row: Row = {"question": "What?", "answer": "It is so.", "id": "a", "group": "b"}
    return Case(
        f"{kind}-split-key",
        {**row, "id": value},
        ("--split-key", "group"),
        flags=("--split-key", "id"),
        before=({**row, "question": "How?"},) * 2,
        says="--split-key",
    )


PAIR: Row = {"question": "What?", "answer": "It is so."}

CASES: tuple[Case, ...] = (
    *(blank(name, value) for name in ("instruction", "response") for value in (None, "", " \n")),
    *map(blank_key, (None, "", " \n")),
    Case(
        "several-answers",
        {"question": "What?", "answers": ["It is so.", "It is not."]},
        ("--list-answers", "first"),
        flags=("--list-answers", "reject"),
        before=({"question": "How?", "answers": ["So."]},),
    ),
    Case(
        "response-not-json",
        PAIR,
        flags=("--unpack-json",),
        without=("--unpack-json",),
        before=({**PAIR, "answer": '{"process": "a", "final_answer": "b"}'},),
    ),
    Case(
        "bad-history",
        {**PAIR, "history": [["a"]]},
        ("--fields", "instruction=question,response=answer"),
        before=({**PAIR, "question": "How?", "history": [["a", "b"]]},) * 3,
        says="--fields instruction=COLUMN,response=COLUMN",
    ),
    Case(
        "null-messages",
        {"messages": None, "talk": talk("user", "assistant")},
        ("--fields", "messages=talk"),
        before=({**GOOD, "talk": talk("user", "assistant")},) * 3,
        says="--fields messages=COLUMN",
    ),
    Case(
        "not-a-conversation",
        {"messages": ["a"], "talk": talk("user", "assistant")},
        ("--fields", "messages=talk"),
        before=({**GOOD, "talk": talk("user", "assistant")},) * 3,
        says="--fields messages=COLUMN",
    ),
    Case(
        "two-conversations",
        {**GOOD, "conversations": talk("user", "assistant")},
        ("--fields", "messages=messages"),
        before=({"conversations": talk("user", "assistant")}, *[GOOD] * SAMPLE),
        says="--fields messages=COLUMN",
    ),
    Case(
        "unknown-role",
        chat("user", "bing"),
        ("--role", "bing=assistant"),
        before=(GOOD,),
        says="--role NAME=ROLE",
    ),
    Case(
        "no-assistant-turn",
        chat("user", "tool"),
        ("--role", "tool=assistant"),
        before=(GOOD,),
        says="--role NAME=assistant",
    ),
    Case("starts-with-assistant", chat("assistant", "user", "assistant"), ("--assistant-first",)),
    Case("same-role-twice", chat("user", "user", "assistant"), MERGE),
    *(
        Case(f"ends-with-{role}", chat("user", "assistant", role), TRIM)
        for role in ("user", "system")
    ),
    Case("ends-with-tool", chat("user", "assistant", "tool"), TRIM),
    Case("marked-untrained", LATE_MARK, ("--ignore-training-marks",), before=(GOOD,) * SAMPLE),
    Case(
        "bad-tools",
        {**GOOD, "tools": "{"},
        flags=("--tools",),
        without=("--tools",),
        before=({**GOOD, "tools": "[]"},),
    ),
    Case(
        "tools-not-in-template",
        {"messages": [*turns("What?"), {"role": "assistant", "tool_calls": [CALL]}]},
        CHATML,
        flags=("--template", "llama3"),
        sandbox=True,
    ),
    Case(
        "calls-not-in-columns",
        {"messages": [*turns("What?"), {"role": "assistant", "tool_calls": [CALL]}]},
        ("--columns", "text"),
        flags=("--columns", "messages"),
        before=(GOOD,) * SAMPLE,
        sandbox=True,
    ),
    Case(
        "system-not-first",
        chat("user", "system", "assistant"),
        CHATML,
        flags=("--template", "deepseek-r1"),
    ),
    Case(
        "roles-must-alternate",
        chat("assistant", "user", "assistant"),
        CHATML,
        flags=("--template", "gemma", "--assistant-first"),
    ),
    Case(
        "control-token",
        {"messages": turns("What?", "A <|im_end|> of it.")},
        ("--control-tokens", "escape"),
    ),
    Case(
        "control-token",
        {"messages": turns("What?", "A <|im_end|> of it.")},
        ("--control-tokens", "keep"),
    ),
    Case(
        "template-refused",
        {"messages": turns("refuse", "So.")},
        CHATML,
        flags=("--template", "strict.jinja"),
        says="--template",
        files={"strict.jinja": TEMPLATE},
        sandbox=True,
    ),
    Case(
        "turn-dropped",
        {"messages": [*turns("What?"), {"role": "assistant", "content": "So.",
                                        "tool_calls": [CALL]},
                      {"role": "tool", "content": "5"}, *turns("", "Five.")[1:]]},
        CHATML,
        flags=("--template", "gpt-oss"),
        sandbox=True,
    ),
    *(
        Case(
            "prompt-not-found",
            GOOD,
            ("--columns", columns),
            flags=("--template", "counting.jinja", "--columns", "prompt-completion"),
            files={"counting.jinja": COUNTING},
            sandbox=True,
        )
        for columns in ("text", "messages")
    ),
    Case(
        "benchmark-overlap",
        {"question": BENCHMARK["prompt"], "answer": "That one."},
        flags=("--decontaminate", "bench.jsonl", "--contaminated", "drop"),
        without=("--contaminated", "drop"),
        before=(PAIR,),
        files={"bench.jsonl": [BENCHMARK]},
    ),
    Case(
        "too-many-tokens",
        {"question": "What?", "answer": WORDS},
        ("--max-tokens", "9999"),
        flags=("--tokenizer", "tokenizer.json", "--max-tokens", "200"),
        before=(PAIR,),
        says="--max-tokens",
    ),
    Case(
        "too-many-tokens",
        {"question": "What?", "answer": WORDS},
        ("--too-long", "truncate-response"),
        flags=("--tokenizer", "tokenizer.json", "--max-tokens", "200"),
        before=(PAIR,),
    ),
    Case(
        "prompt-too-long",
        {"question": WORDS, "answer": "Yes."},
        ("--max-tokens", "9999"),
        flags=(
            *("--tokenizer", "tokenizer.json", "--max-tokens", "200"),
            *("--too-long", "truncate-response"),
        ),
        before=(PAIR,),
        says="--max-tokens",
    ),
)  # fmt: skip

Convert = Callable[..., Any]
