"""Rendered rows for a person to check: turns told apart, white space and control tokens visible."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.explain import roles_seen
from pipeline.plan import Plan
from transforms import control_tokens, formats
from transforms.mappings import TurnMapping
from transforms.normalize import rows_of
from transforms.records import ROW
from transforms.render import render, sandbox_of
from transforms.shapes import Shape

_VISIBLE = str.maketrans({" ": "·", "\t": "→", "\r": "␍", "\u00a0": "⍽", "\u200b": "␣"})
_STYLES = {"template": "dim", "prompt": "cyan", "response": "green"}


@dataclass(frozen=True)
class Row:
    """A row that will be kept, with its place.

    ``parts`` are the text in pieces, each with its kind: ``template`` (constant parts and control
    tokens), ``prompt`` and ``response`` (the assistant's last turn).
    """

    file: str
    row: int
    columns: dict[str, Any]
    text: str
    parts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Reject:
    """A row that will not be kept: its place, its code, and what shows why."""

    file: str
    row: int
    code: str
    excerpt: str


def first_rows(plan: Plan, count: int) -> list[Row]:
    """The first rows that the job would keep, read and rendered as the workers do it."""
    return list(islice((row for row in _rows(plan) if isinstance(row, Row)), count))


def first_rejects(plan: Plan, count: int) -> list[Reject]:
    """The first rows that the job would not keep."""
    return list(islice((row for row in _rows(plan) if isinstance(row, Reject)), count))


def _rows(plan: Plan) -> Iterator[Row | Reject]:
    source = plan.reading()
    with sandbox_of(plan.chat) as sandbox:
        for unit in plan.units:
            for piece in unit.pieces:
                path = source.path(piece.file)
                before = formats.first_row(path, source.form, piece)
                for rows in formats.read(path, source.form, piece, source.columns, 2**18):
                    kept, rejects = rows_of(
                        rows.table, plan.fields.mapping, plan.split.key, plan.rules
                    )
                    shape = _with_text(plan.shape)
                    done = render(kept, plan.chat, shape, sandbox)
                    bad = [r for r in (rows.rejects, rejects, done.rejects) if r is not None]
                    for reject in pa.concat_tables(bad).sort_by("row").to_pylist():
                        place = before + reject.pop("row")
                        yield Reject(piece.file, place, **reject)
                    gone = done.rejects["row"]
                    numbers = kept[ROW].filter(pc.invert(pc.is_in(kept[ROW], gone)))
                    yield from _kept(plan, piece.file, before, numbers.to_pylist(), done.kept)


def _with_text(shape: Shape) -> Shape:
    """The shape with the text, which is what is shown."""
    names = tuple(dict.fromkeys(("text", *shape.names)))
    return Shape(names, shape.reasoning, shape.tools)


def _kept(plan: Plan, file: str, before: int, numbers: list[int], kept: pa.Table) -> Iterator[Row]:
    for number, values in zip(numbers, kept.to_pylist(), strict=True):
        text, marker = values["text"], plan.chat.template.assistant_marker
        cut = text.rfind(marker) + len(marker) if marker and marker in text else 0
        parts = (*_parts(plan, text[:cut], "prompt"), *_parts(plan, text[cut:], "response"))
        columns = {name: values[name] for name in plan.shape.columns}
        yield Row(file, before + number, columns, values["text"], parts)


def _parts(plan: Plan, text: str, kind: str) -> Iterator[tuple[str, str]]:
    """The text cut at markers and control tokens."""
    template = plan.chat.template
    marks = (template.user_marker, template.assistant_marker, *template.control_tokens)
    left = 0
    for start, stop in control_tokens.places(text, tuple(mark for mark in marks if mark)):
        if text[left:start]:
            yield kind, text[left:start]
        yield "template", text[start:stop]
        left = stop
    if text[left:]:
        yield kind, text[left:]


def preview(plan: Plan, count: int, as_json: bool = False, rejected: bool = False) -> None:
    """Prints the first ``count`` rows, or those that would be rejected; as JSON if so asked."""
    rows: list[Row] = [] if rejected else first_rows(plan, count)
    bad = first_rejects(plan, count) if rejected else []
    if as_json:
        told: dict[str, Any] = {"fields": plan.fields.mapping.describe()}
        if rejected:
            told["rejected"] = [
                {"file": r.file, "row": r.row, "code": r.code, "excerpt": r.excerpt} for r in bad
            ]
        else:
            told["rows"] = [
                {"file": r.file, "row": r.row, **r.columns, "text": r.text} for r in rows
            ]
        json.dump(told, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    mapping = plan.fields.mapping
    console.print(Text(f"{mapping.describe()}: {plan.fields.rule}", style="bold"))
    if isinstance(mapping, TurnMapping):
        console.print(Text(f"roles: {roles_seen(plan, mapping)}", style="bold"))
    for row in rows:
        console.print(Text(f"── {row.file} row {row.row:,} ──", style="bold"))
        for kind, line in _lines(row.parts):
            console.print(Text(f"{kind:>8} │ {line}", style=_STYLES[kind]))
    for reject in bad:
        console.print(Text(f"── {reject.file} row {reject.row:,}: {reject.code} ──", style="bold"))
        for text in reject.excerpt.split("\n"):
            line = "".join(c if c.isprintable() else "?" for c in text)
            console.print(Text(f"         │ {line}", style="red"))
    if not rows and not bad:
        what = "no row would be rejected" if rejected else "no row would be kept; see --rejected"
        console.print(what)


def _lines(parts: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, str]]:
    for kind, part in parts:
        for line in visible(part):
            yield kind, line


def visible(text: str) -> list[str]:
    """The lines of a text with every white space shown: ``·`` space, ``→`` tab, ``⏎`` line end."""
    lines = text.translate(_VISIBLE).split("\n")
    return [f"{line}⏎" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
