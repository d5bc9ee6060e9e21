"""Tool calls in every form that sources have are the same text, in every template with a form.

The texts of calls are rendered in the sandbox, a process of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from command_runs import lines
from conversions import Convert
from source_files import parquet

ROWS = 12
TEMPLATES = ("chatml", "qwen3", "qwen3-2507", "qwen2.5", "gpt-oss")
WITHOUT = ("llama3", "mistral", "gemma", "deepseek-r1")

Message = dict[str, Any]


def call(i: int) -> Message:
    return {"name": "stock", "arguments": json.dumps({"item": f"kettle {i}"})}


def conversation(i: int, calls: Message, role: str = "tool", last: bool = False) -> list[Message]:
    """A question, a call, its result and an answer; with ``last`` the question and the call."""
    messages = [{"role": "user", "content": f"How many of number {i}?"}, calls]
    result = {"role": role, "name": "stock", "content": json.dumps({"count": i})}
    return messages if last else [*messages, result, {"role": "assistant", "content": f"{i}."}]


def with_calls(content: str | None, i: int) -> Message:
    one = {"id": "c1", "type": "function", "function": call(i)}
    return {"role": "assistant", "content": content, "tool_calls": [one]}


FORMS: dict[str, Callable[[str | None, int], Message]] = {
    "function_call": lambda content, i: {
        "role": "assistant",
        "content": content,
        "function_call": call(i),
    },
    "both": lambda content, i: {**with_calls(content, i), "function_call": call(i)},
    "JSON text": lambda content, i: {
        "role": "assistant",
        "content": content,
        "tool_calls": None,
        "function_call": json.dumps(call(i)),
    },
}


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("form", [*FORMS, "parquet"])
@pytest.mark.parametrize("kind", ["null content", "content", "last"])
def test_a_function_call_is_the_text_of_the_same_tool_call(
    convert: Convert, tmp_path: Path, template: str, form: str, kind: str
) -> None:
    content = "Let me look that up." if kind == "content" else None
    last = kind == "last"
    flags = ("--template", template)
    plain = [{"messages": conversation(i, with_calls(content, i), last=last)} for i in range(ROWS)]
    expected = convert("--dataset", lines(tmp_path / "plain.jsonl", *plain), *flags)
    make = FORMS.get(form, FORMS["function_call"])
    rows = [{"messages": conversation(i, make(content, i), "function", last)} for i in range(ROWS)]
    if form == "parquet":
        path = parquet(tmp_path / "a.parquet", pa.Table.from_pylist(rows))
    else:
        path = lines(tmp_path / "a.jsonl", *rows)
    found = convert("--dataset", path, *flags)
    assert found.reasons == expected.reasons
    assert found.texts() == expected.texts()
    # gpt-oss drops content beside a call, which rejects the row.
    if (template, kind) != ("gpt-oss", "content"):
        assert all("kettle" in text for text in found.texts())
        assert len(found.texts()) == ROWS


@pytest.mark.parametrize("template", WITHOUT)
def test_a_template_without_a_form_rejects_the_row(
    convert: Convert, tmp_path: Path, template: str
) -> None:
    rows = [
        {"messages": conversation(i, FORMS["function_call"](None, i), "function")}
        for i in range(ROWS)
    ]
    done = convert("--dataset", lines(tmp_path / "a.jsonl", *rows), "--template", template)
    assert done.reasons == {"tools-not-in-template": ROWS}


@pytest.mark.parametrize("roles", [("tool_call", "tool_response"), ("function_call", "tool")])
def test_calls_and_results_may_be_turns_of_their_own(
    convert: Convert, tmp_path: Path, roles: tuple[str, str]
) -> None:
    rows = [
        {"messages": conversation(i, {"role": roles[0], "content": json.dumps(call(i))}, roles[1])}
        for i in range(ROWS)
    ]
    plain = [{"messages": conversation(i, with_calls(None, i))} for i in range(ROWS)]
    found = convert("--dataset", lines(tmp_path / "a.jsonl", *rows))
    assert found.reasons == {}
    expected = convert("--dataset", lines(tmp_path / "plain.jsonl", *plain))
    assert found.texts() == expected.texts()


def test_a_call_that_comes_after_the_sample_is_in_the_text(
    convert: Convert, tmp_path: Path
) -> None:
    rows: list[Any] = [
        {"messages": conversation(i, {"role": "assistant", "content": f"{i}!"}, last=True)}
        for i in range(600)
    ]
    late = {"messages": conversation(7, FORMS["function_call"]("Wait.", 7), "function")}
    rows.append(late)
    found = convert("--dataset", lines(tmp_path / "a.jsonl", *rows))
    assert found.reasons == {}
    early = convert("--dataset", lines(tmp_path / "b.jsonl", late))
    assert found.texts()[-1] == early.texts()[0]
    assert "kettle 7" in found.texts()[-1]


def test_glaive_s_calls_and_results(convert: Convert, tmp_path: Path) -> None:
    rows = [
        {
            "system": "SYSTEM: You count things.\n",
            "chat": f"USER: How many of number {i}?\n\n\nASSISTANT: <functioncall> "
            f'{{"name": "stock", "arguments": \'{{"item": "kettle {i}"}}\'}} <|endoftext|>'
            f'\n\n\nFUNCTION RESPONSE: {{"count": {i}}}\n\n\nASSISTANT: {i}. <|endoftext|>\n\n\n',
        }
        for i in range(ROWS)
    ]
    system = {"role": "system", "content": "You count things."}
    plain = [{"messages": [system, *conversation(i, with_calls(None, i))]} for i in range(ROWS)]
    for template in TEMPLATES:
        flags = ("--template", template)
        found = convert("--dataset", lines(tmp_path / "a.jsonl", *rows), *flags)
        expected = convert("--dataset", lines(tmp_path / "plain.jsonl", *plain), *flags)
        assert found.reasons == {}
        assert found.plan.fields.mapping.has_tool_calls
        assert found.texts() == expected.texts()


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_arguments_as_objects(convert: Convert, tmp_path: Path, kind: str) -> None:
    """Arrow gives each call the keys of all calls: there a null is no argument."""

    def calls(i: int) -> list[Message]:
        arguments = {"city": "Ulm", "n": None} if i % 2 else {"city": None, "n": i}
        function = {"name": "a" if i % 2 else "b", "arguments": arguments}
        return [{"id": f"c{i}", "type": "function", "function": function}]

    rows = [
        {
            "messages": conversation(
                i, {"role": "assistant", "content": None, "tool_calls": calls(i)}
            )
        }
        for i in range(ROWS)
    ]
    if kind == "parquet":
        done = convert("--dataset", parquet(tmp_path / "a.parquet", pa.Table.from_pylist(rows)))
    else:
        done = convert("--dataset", lines(tmp_path / "a.jsonl", *rows))
    assert done.reasons == {}
    written = {
        "jsonl": ('{"city": null, "n": 0}', '{"city": "Ulm", "n": null}'),
        "parquet": ('{"n": 0}', '{"city": "Ulm"}'),
    }[kind]
    for text, arguments in zip(done.texts(), written, strict=False):
        assert f'"arguments": {arguments}' in text


def test_the_functions_that_a_row_offers_are_its_tools(convert: Convert, tmp_path: Path) -> None:
    offered = [{"name": "stock", "description": "count a thing", "parameters": {}}]
    rows: list[Any] = [
        {
            "messages": conversation(i, FORMS["function_call"](None, i), "function"),
            "functions": offered,
        }
        for i in range(ROWS)
    ]
    plain = [
        {
            "messages": conversation(i, with_calls(None, i)),
            "tools": [{"type": "function", "function": offered[0]}],
        }
        for i in range(ROWS)
    ]
    flags = ("--template", "qwen3", "--tools")
    found = convert("--dataset", lines(tmp_path / "a.jsonl", *rows), *flags)
    assert found.reasons == {}
    assert "count a thing" in found.texts()[0]
    expected = convert("--dataset", lines(tmp_path / "plain.jsonl", *plain), *flags)
    assert found.texts() == expected.texts()
