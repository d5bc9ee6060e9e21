"""``--fields``: the mapping that a user names, and the check of a column that a flag names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from transforms.conversations import reasoning
from transforms.conversations.column_parts import JOIN, REJECT, ColumnPart
from transforms.conversations.column_roles import Role, known_role
from transforms.conversations.detect_turns import turn_mapping
from transforms.conversations.field_mapping import FieldMapping
from transforms.conversations.fields_grammar import split_fields
from transforms.conversations.pair_mapping import PairMapping
from transforms.conversations.roles import ALIASES
from transforms.conversations.sampled_columns import (
    NESTED,
    NUMBERS,
    TEXT,
    Sample,
    SampledColumns,
)
from transforms.errors import UsageError
from transforms.records import Column

_PARTS = ("instruction", "response", "reasoning", "system", "history", "messages", "tools")


def parse(
    flag: str,
    columns: Sequence[Column],
    sample: Sample = (),
    roles: Mapping[str, str] = ALIASES,
    list_answers: str | None = None,
) -> FieldMapping:
    """The mapping of a ``--fields`` value such as ``instruction=question,response=a+b``.

    ``reasoning``, ``system`` and ``history`` may follow.  Or ``messages`` names columns of turns,
    and ``system`` and ``tools`` may follow.  ``answers.text`` is a key of the objects in a column.
    Names may be quoted, see ``fields_grammar``.

    Raises:
        UsageError: the value is malformed, or names a column that the data does not have.
    """
    parts: dict[str, tuple[str, ...]] = {}
    for field, own in split_fields(flag):
        if field not in _PARTS or field in parts:
            raise UsageError(
                f"--fields {flag!r} is not of the form instruction=COLUMN,response=COLUMN+COLUMN "
                "or messages=COLUMN"
            )
        parts[field] = own
    for field in ("reasoning", "system", "history", "tools"):
        if len(parts.get(field, "x")) != 1:
            raise UsageError(f"--fields {flag!r}: {field} is one column")
    opened = _opened(parts, columns, sample, list_answers)
    nested = (*parts.get("messages", ()), *parts.get("history", ()), *parts.get("tools", ()))
    for name in (name for names in parts.values() for name in names if name not in opened):
        types = (TEXT, "list") if name in nested else (TEXT, *NUMBERS)
        require_column(name, columns, "--fields", types, sample)
    if set(parts.get("history", ())) & {*parts.get("instruction", ()), *parts.get("response", ())}:
        raise UsageError(f"--fields {flag!r}: the history is neither instruction nor response")
    one = {field: parts[field][0] if field in parts else None for field in _PARTS}
    if "messages" in parts:
        if set(parts) - {"messages", "system", "tools"}:
            raise UsageError(f"--fields {flag!r}: only system and tools go with messages")
        return turn_mapping(parts["messages"], one["system"], one["tools"], sample, roles)
    if not {"instruction", "response"} <= set(parts) or "tools" in parts:
        raise UsageError(f"--fields {flag!r} must name both instruction and response, or messages")
    mapping = PairMapping(
        parts["instruction"],
        parts["response"],
        reasoning=one["reasoning"],
        system=one["system"],
        history=one["history"],
        required=required_columns(parts["instruction"]),
        parts=tuple(opened.values()),
    )
    return replace(mapping, inline=has_inline(mapping, sample))


def _opened(
    parts: Mapping[str, tuple[str, ...]],
    columns: Sequence[Column],
    sample: Sample,
    list_answers: str | None,
) -> dict[str, ColumnPart]:
    """The names of the instruction and the response that are lists, objects, or keys of these."""
    # A sample has no cells of columns that hold media, but for those without their bytes.
    seen = {name for row in sample for name, cell in row.items() if not _is_media(cell)}
    types = {column.name: column.type for column in columns if column.name in seen}
    opened = {}
    for field in ("instruction", "response"):
        for name in parts.get(field, ()):
            part = _part(name, types, list_answers or REJECT)
            if part and field == "instruction" and types[part.column] == "list":
                # A list of contexts is one context; of other prompts nothing says which is meant.
                part = replace(part, several=JOIN) if known_role(name) is Role.CONTEXT else None
            if part:
                opened[name] = part
    return opened


def _is_media(cell: object) -> bool:
    """Is it an image, a sound or a video, as ``datasets`` stores them?"""
    return isinstance(cell, Mapping) and set(cell) == {"bytes", "path"}


def _part(name: str, types: Mapping[str, str], several: str) -> ColumnPart | None:
    if name in types:
        return ColumnPart(name, name, None, several) if types[name] in NESTED else None
    column, dot, key = name.partition(".")
    if dot and key and types.get(column) == "struct":
        return ColumnPart(name, column, key, several)
    return None


def required_columns(names: Sequence[str]) -> tuple[str, ...]:
    """The instruction columns, one of which must be filled; () where that is the first.

    A context is no prompt without its question.  Instruction and input are one without the other.
    """
    roles = [known_role(name) for name in names]
    if len(names) == 2 and set(roles) == {Role.PROMPT, Role.INPUT}:
        return tuple(names)
    asking = [n for n, role in zip(names, roles, strict=True) if role is not Role.CONTEXT]
    return tuple(asking[:1]) if asking and asking[0] != names[0] else ()


def has_inline(mapping: PairMapping, sample: Sample) -> bool:
    """Do responses of the sample hold reasoning in ``<think>``?"""
    if len(mapping.response) != 1 or mapping.reasoning:
        return False
    (name,) = mapping.response
    part = next((part for part in mapping.parts if part.name == name), None)
    texts = (part.text_or_none(row.get(part.column)) if part else row.get(name) for row in sample)
    return any(isinstance(text, str) and reasoning.split(text).closed for text in texts)


_KINDS = {
    (True, False): "a text or number column",
    (True, True): "a column of lists, or of JSON text,",
}


def require_column(
    name: str,
    columns: Sequence[Column],
    flag: str,
    types: Sequence[str] = (TEXT, *NUMBERS),
    sample: Sample = (),
) -> Column:
    """The column of that name; ``UsageError`` naming ``flag`` if absent or not of these types."""
    by_name = {c.name: c for c in columns}
    if name not in by_name:
        raise UsageError(
            f"{flag} names the column {name!r}, which is not in the data; "
            f"found {', '.join(by_name) or 'no columns'}"
        )
    column = by_name[name]
    mixed = column.type == "mixed" and bool(sample) and "bool" in types
    if mixed and SampledColumns(columns, sample).is_scalar(name):
        return column
    if column.type.split("128")[0].split("256")[0] not in types:
        raise UsageError(
            f"{flag} names the column {name!r}, whose type is {column.type}; "
            f"{_KINDS[TEXT in types, 'list' in types]} is needed"
        )
    return column
