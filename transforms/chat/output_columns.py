"""The output columns of a prepared set, and their contents.

    text               text, instruction, response (and reasoning, where the source has it)
    messages           messages: [{"role", "content"}], which trainers render themselves
    prompt-completion  prompt and completion, for which text == prompt + completion

``text`` can be combined with either of the others.  ``messages`` with ``prompt`` and ``completion``
is refused: whether TRL then takes the set for conversational depends on the hash seed of its
process.

For a conversation ``instruction`` is the user's first turn and ``response`` the assistant's last
one, without its reasoning; a turn without content gives its tool calls as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.conversations import reasoning
from transforms.conversations.roles import ROLES
from transforms.conversations.turns import ASSISTANT, USER, Turns
from transforms.errors import UsageError
from transforms.records import one_array

COLUMN_KINDS = ("text", "messages", "prompt-completion")

Feature: TypeAlias = "str | list[Feature] | dict[str, Feature]"
"""A feature in the JSON of ``datasets``: a value, a list of one feature, or features by name."""

_TEXT: dict[str, Feature] = {"dtype": "string", "_type": "Value"}
_CALL: dict[str, Feature] = {"type": _TEXT, "function": {"name": _TEXT, "arguments": _TEXT}}


@dataclass(frozen=True)
class OutputColumns:
    """The columns of a set.

    Attributes:
        names: kinds of columns, some of ``COLUMN_KINDS``.
        reasoning, tools: whether the source has any; the set then has columns and keys for them.
    """

    names: tuple[str, ...] = ("text",)
    reasoning: bool = False
    tools: bool = False

    @property
    def with_prompts(self) -> bool:
        """Do the columns depend on where each text's prompt ends?"""
        return "prompt-completion" in self.names

    @property
    def features(self) -> dict[str, Feature]:
        """The columns in the form of ``datasets``; lists are literals, which 3.x also reads."""
        made: dict[str, Feature] = {}
        if "text" in self.names:
            made |= dict.fromkeys(("text", "instruction", "response"), _TEXT)
            if self.reasoning:
                made["reasoning"] = _TEXT
        if "messages" in self.names:
            if self.tools:
                made["tools"] = _TEXT
            made["messages"] = [self.turn]
        if self.with_prompts:
            made |= dict.fromkeys(("prompt", "completion"), _TEXT)
        return made

    @property
    def turn(self) -> dict[str, Feature]:
        """The features of a turn in ``messages``."""
        turn: dict[str, Feature] = {"role": _TEXT, "content": _TEXT}
        if self.reasoning:
            turn["reasoning_content"] = _TEXT
        if self.tools:
            turn["tool_calls"] = [_CALL]
        return turn

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(self.features)

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of the shards; its metadata has the features, as in ``datasets``."""
        return pa.schema(
            [(name, _arrow(feature)) for name, feature in self.features.items()],
            metadata={"huggingface": json.dumps({"info": {"features": self.features}})},
        )


def _arrow(feature: Feature) -> pa.DataType:
    if isinstance(feature, list):
        return pa.list_(_arrow(feature[0]))
    if feature is _TEXT:
        return pa.string()
    if isinstance(feature, str):
        raise TypeError(f"{feature!r} is no feature")
    return pa.struct([(name, _arrow(inner)) for name, inner in feature.items()])


def parse_columns(flag: str) -> tuple[str, ...]:
    """The kinds that a ``--columns`` value such as ``text,messages`` names, in a fixed order.

    Raises ``UsageError`` for unknown kinds and for combinations that confuse trainers.
    """
    names = [name.strip() for name in flag.split(",")]
    for name in names:
        if name not in COLUMN_KINDS:
            raise UsageError(
                f"--columns names {name!r}; expected one or more of {', '.join(COLUMN_KINDS)}"
            )
    if {"messages", "prompt-completion"} <= set(names):
        raise UsageError(
            "--columns cannot have messages beside prompt-completion: which of them TRL uses "
            "depends on the hash seed of its process; prepare two sets"
        )
    return tuple(name for name in COLUMN_KINDS if name in names)


def pair_columns(
    table: pa.Table,
    texts: pa.ChunkedArray,
    prompts: np.ndarray | None,
    output_columns: OutputColumns,
) -> pa.Table:
    """The columns of rows with ``instruction`` and ``response``, in the chunks of the texts."""
    columns: dict[str, pa.ChunkedArray] = {
        "text": texts,
        "instruction": table["instruction"],
        "response": table["response"],
    }
    if output_columns.with_prompts and prompts is not None:
        columns["prompt"], columns["completion"] = _cut(texts, prompts)
    if "messages" in output_columns.names:
        raise ValueError("messages need turns")
    return pa.table({name: columns[name] for name in output_columns.columns})


def turn_columns(
    turns: Turns,
    texts: pa.StringArray,
    prompts: np.ndarray | None,
    tools: pa.StringArray | None,
    output_columns: OutputColumns,
) -> pa.Table:
    """The columns of rows with turns."""
    columns: dict[str, pa.Array | pa.ChunkedArray] = {"text": texts}
    if "text" in output_columns.names:
        columns["instruction"] = turns.content_at(turns.first(USER))
        columns |= _response(turns, output_columns)
    if "messages" in output_columns.names:
        columns["messages"] = _messages(turns, output_columns)
        none = pa.nulls(len(turns), pa.string())
        columns["tools"] = pc.fill_null(none if tools is None else tools, "")
    if output_columns.with_prompts and prompts is not None:
        columns["prompt"], columns["completion"] = _cut(pa.chunked_array([texts]), prompts)
    return pa.table(
        [columns[name] for name in output_columns.columns], names=list(output_columns.columns)
    )


def _response(turns: Turns, output_columns: OutputColumns) -> dict[str, pa.StringArray]:
    last = turns.last(ASSISTANT)
    response = turns.content_at(last)
    if turns.tool_calls is not None:
        calls = turns.tool_calls.take(pa.array(last, mask=last < 0))
        is_empty = pc.equal(pc.binary_length(response), 0)
        response = pc.if_else(is_empty, pc.fill_null(calls, ""), response)
    if not output_columns.reasoning:
        return {"response": response}
    thinking = pa.nulls(len(turns), pa.string())
    if turns.reasoning is not None:
        thinking = turns.reasoning.take(pa.array(last, mask=last < 0))
    inline = pc.and_(pc.match_substring(response, reasoning.CLOSE), pc.is_null(thinking))
    if pc.any(inline).as_py():
        parts = [reasoning.split(text) for text in response.filter(inline).to_pylist()]
        answers = pa.array([p.answer for p in parts], pa.string())
        response = pc.replace_with_mask(response, inline, answers)
        found = pa.array([p.reasoning for p in parts], pa.string())
        thinking = pc.replace_with_mask(thinking, inline, found)
    return {"response": response, "reasoning": pc.fill_null(thinking, "")}


def _messages(turns: Turns, output_columns: OutputColumns) -> pa.ListArray:
    names = pa.array(ROLES, pa.string()).take(pa.array(turns.roles, pa.int8()))
    content = turns.content
    thinking = turns.reasoning
    if thinking is not None and not output_columns.reasoning:
        # There is no column for it, since the sample had none: a block in the content keeps it.
        joined = pc.binary_join_element_wise(
            f"{reasoning.OPEN}\n", thinking, f"\n{reasoning.CLOSE}\n\n", content, ""
        )
        content = pc.if_else(pc.is_valid(thinking), joined, content)
    fields = [names, content]
    if output_columns.reasoning:
        fields.append(pa.nulls(len(content), pa.string()) if thinking is None else thinking)
    if output_columns.tools:
        fields.append(_calls(turns, _arrow([_CALL])))
    turn = output_columns.turn
    listed = pa.StructArray.from_arrays(fields, names=list(turn))
    lists = pa.ListArray.from_arrays(pa.array(turns.offsets, pa.int32()), listed)
    return lists.cast(_arrow([turn]))


def _calls(turns: Turns, kind: pa.DataType) -> pa.Array:
    if turns.tool_calls is None:
        return pa.nulls(len(turns.roles), kind)
    made = [None if text is None else _as_text(text) for text in turns.tool_calls.to_pylist()]
    return pa.array(made, kind)


def _as_text(calls: str) -> list[object]:
    """Calls with arguments as JSON text, since Arrow would give all objects the same keys."""
    made = json.loads(calls)
    for call in made:
        arguments = call["function"]["arguments"]
        if not isinstance(arguments, str):
            call["function"]["arguments"] = json.dumps(arguments, ensure_ascii=False)
    return list(made)


def _cut(texts: pa.ChunkedArray, prompts: np.ndarray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Cuts each text after its first ``prompts`` bytes, without an intermediate copy."""
    heads, tails, start = [], [], 0
    for chunk in texts.chunks:
        stop = start + len(chunk)
        _, offsets, data = chunk.buffers()
        edges = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        inner = np.empty(2 * len(chunk) + 1, np.int32)
        inner[::2] = edges
        inner[1::2] = edges[:-1] + prompts[start:stop]
        both = pa.StringArray.from_buffers(
            2 * len(chunk), pa.py_buffer(inner), data or pa.py_buffer(b"")
        )
        heads.append(both.take(pa.array(np.arange(0, 2 * len(chunk), 2))))
        tails.append(both.take(pa.array(np.arange(1, 2 * len(chunk), 2))))
        start = stop
    return pa.chunked_array(heads, pa.string()), pa.chunked_array(tails, pa.string())


def describe(features: Mapping[str, Feature]) -> Sequence[tuple[str, str]]:
    """(column, description) for the card."""
    known = {
        "text": "the whole conversation in the model's chat format, for training",
        "instruction": "the question or prompt",
        "response": "the answer or completion",
        "reasoning": "the reasoning before the answer, where there is any",
        "messages": "the turns, for trainers that render them by themselves",
        "tools": "the tools that the turns may call, as JSON",
        "prompt": "the text up to the assistant's last turn",
        "completion": "the rest of the text: what is learnt",
    }
    return [(name, known[name]) for name in features]


def user_prompt(
    rows: pa.Table, user_marker: str = "", control_tokens: Sequence[str] = ()
) -> pa.StringArray:
    """The instruction of each row, or "".

    In a set with only ``prompt`` and ``completion`` it is the part of the prompt between the
    template's user marker and its next token, or the whole prompt if there is no such part.
    """
    if "instruction" in rows.column_names:
        return one_array(rows["instruction"])
    if "messages" in rows.column_names:
        return _first_user(one_array(rows["messages"]))
    prompts = one_array(rows["prompt"])
    if not user_marker:
        return prompts
    ends = "|".join([*(re.escape(token) for token in control_tokens), "$"])
    between = f"(?s){re.escape(user_marker)}(?P<prompt>.*?)(?:{ends})"
    return pc.coalesce(pc.struct_field(pc.extract_regex(prompts, between), "prompt"), prompts)


def _first_user(messages: pa.ListArray) -> pa.StringArray:
    turns = messages.flatten()
    counts = pc.list_value_length(messages).to_numpy()
    rows = np.repeat(np.arange(len(counts)), counts)
    of_user = np.flatnonzero(pc.equal(turns.field("role"), "user").to_numpy(zero_copy_only=False))
    first = np.full(len(counts), -1)
    first[rows[of_user[::-1]]] = of_user[::-1]  # of equal rows the last assignment stays
    return pc.fill_null(turns.field("content").take(pa.array(first, mask=first < 0)), "")
