"""Conversations in shapes of other tools that are not read: how each is known, and its cure.

A set of such a shape is refused by its name, before a run, rather than row by row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from transforms.conversations.cells import InvalidConversation, opened
from transforms.conversations.column_roles import Role, known_role
from transforms.records import Column

Sample = Sequence[Mapping[str, object]]

_TURNS = '{"role": "user" or "assistant", "content": TEXT}'

_LANGCHAIN_TYPES = ("human", "ai", "system", "tool", "function", "chat", "AIMessageChunk")
_ANTHROPIC_PARTS = ("tool_use", "tool_result", "server_tool_use")
_MEDIA_PARTS = ("image", "image_url", "input_image", "audio", "input_audio", "video", "file")
_BESIDE = (Role.SYSTEM, Role.METADATA, Role.LABEL)
"""Roles of columns of text that stand beside a conversation."""

_TREE_NAMES = {"message_id", "parent_id"}
_RENDERED = {
    "<|im_start|>": "ChatML",
    "<|start_header_id|>": "Llama 3's template",
    "<start_of_turn>": "Gemma's template",
    "### Instruction:": "Alpaca's template",
}


def refusal_of(columns: Sequence[Column], sample: Sample) -> str | None:
    """Why a source is refused whose columns hold no turns; None where no shape is recognised."""
    names = {column.name.lower(): column.name for column in columns}
    if names.keys() >= _TREE_NAMES:
        return (
            "each row is one message of a tree (message_id, parent_id, as in OpenAssistant), "
            "not a conversation. Follow parent_id from each last answer to its first prompt, and "
            f'write each path as one row: {{"messages": [{_TURNS}, …]}}'
        )
    for column in columns:
        if column.type not in ("list", "string"):
            continue
        why = cell_refusal(column.name, sample)
        # Lists of texts are often tags, and rendered text often stands beside what it was made of.
        if why is not None and (why.is_certain or known_role(column.name) is Role.TURNS):
            return why.sentence
    texts = [c.name for c in columns if c.type == "string" and known_role(c.name) not in _BESIDE]
    found = cell_refusal(texts[0], sample) if len(texts) == 1 else None
    return found.sentence if found else None


class Refusal(NamedTuple):
    """Why a column is refused; ``is_certain`` where its shape cannot be anything else."""

    sentence: str
    is_certain: bool


def cell_refusal(name: str, sample: Sample) -> Refusal | None:
    """Why a column is refused, which may hold lists of objects or texts."""
    cells = [cell for row in sample if (cell := row.get(name)) not in (None, "", [])]
    if not cells:
        return None
    values = [_value(cell) for cell in cells]
    for holds, sentence in _SHAPES:
        if 2 * sum(map(holds, values)) > len(values):
            said = sentence.format(name=repr(name), turns=_TURNS, flag=f"messages={name}")
            return Refusal(said, holds is not _is_texts)
    rendered = next(
        (
            m
            for m in _RENDERED
            if 2 * sum(isinstance(c, str) and m in c for c in cells) > len(cells)
        ),
        None,
    )
    if rendered is not None:
        return Refusal(
            f"the column {name!r} holds text that {_RENDERED[rendered]} has rendered (it contains "
            f"{rendered}). Use the source that it was made from, or split it into turns: "
            f'{{"messages": [{_TURNS}, …]}}',
            False,
        )
    return None


def parts_refusal(name: str, sample: Sample) -> str | None:
    """Why a column of turns is refused whose contents are parts that are no text."""
    cells = [_value(row.get(name)) for row in sample]
    filled = [cell for cell in cells if isinstance(cell, list) and cell]
    for kinds, what in (
        (_ANTHROPIC_PARTS, "Anthropic's blocks for tools (tool_use, tool_result)"),
        (_MEDIA_PARTS, "images, sounds or files"),
    ):
        if filled and 2 * sum(_has_part(cell, kinds) for cell in filled) > len(filled):
            cure = (
                'Write calls as "tool_calls" of the assistant\'s turn and results as turns of the '
                'role "tool", as in OpenAI\'s messages'
                if kinds is _ANTHROPIC_PARTS
                else "This job prepares text alone; use a data set without them"
            )
            return f"the turns of the column {name!r} contain {what}, which are not read. {cure}"
    return None


_PRINTED = re.compile(r"\s*\[\s*\{\s*'")


def _value(cell: object) -> Any:
    """The list that a text denotes; of another text, and of a list printed by Python, none."""
    if not isinstance(cell, str) or not cell.lstrip().startswith("["):
        return cell
    value = opened(cell)
    return value if not isinstance(value, InvalidConversation) or _PRINTED.match(cell) else cell


def _objects(cell: Any) -> list[Mapping[str, Any]]:
    listed = isinstance(cell, list) and all(isinstance(item, Mapping) for item in cell)
    return list(cell) if listed else []


def _is_printed(cell: Any) -> bool:
    """Is the cell a list of objects that Python or NumPy printed, and that cannot be read?"""
    return isinstance(cell, InvalidConversation) and cell.code == "broken-json"


def _is_langchain(cell: Any) -> bool:
    found = _objects(cell)
    return bool(found) and all(
        item.get("type") in _LANGCHAIN_TYPES and ("data" in item or "content" in item)
        for item in found
    )


def _is_gemini(cell: Any) -> bool:
    found = _objects(cell)
    return bool(found) and all(isinstance(item.get("parts"), list) for item in found)


def _is_texts(cell: Any) -> bool:
    return isinstance(cell, list) and len(cell) > 1 and all(isinstance(t, str) for t in cell)


def _has_part(cell: Any, kinds: Sequence[str]) -> bool:
    return any(part.get("type") in kinds for part in _parts(cell))


def _parts(cell: Any) -> Iterator[Mapping[str, Any]]:
    for turn in _objects(cell):
        for value in turn.values():
            if isinstance(value, list):
                yield from (part for part in value if isinstance(part, Mapping))


_SHAPES: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (
        _is_langchain,
        "the column {name} holds LangChain's messages (type, data or content), which are not "
        "read. Write each message as {turns}, for example with LangChain's "
        "convert_to_openai_messages",
    ),
    (
        _is_gemini,
        "the column {name} holds Gemini's contents (role, parts), which are not read. Write each "
        "content as {turns}, with the texts of its parts joined",
    ),
    (
        _is_printed,
        "the column {name} holds lists that Python or NumPy printed, which cannot be read back. "
        "Write them as JSON, for example with pandas' to_json(orient='records', lines=True)",
    ),
    (
        _is_texts,
        "the column {name} holds lists of texts without roles. If the texts alternate between user "
        "and assistant, and the user begins, say so: --fields {flag}",
    ),
)
