"""Rendered rows for a person to check, with visible turns, white space and control tokens."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa

from pipeline.planning.plan import Plan
from pipeline.planning.plan_text import roles_seen
from transforms.chat import segments
from transforms.chat.render_rows import render, sandbox_of, with_text
from transforms.chat.token_counter import TOKENIZER_FILE, TokenCounter
from transforms.chat.token_limit import Limit, TooLong
from transforms.conversations.normalize_rows import rows_of
from transforms.conversations.remedies import name_in, remedy_of
from transforms.formats import source_reader
from transforms.leakage.contamination import (
    OverlapFinder,
    decontaminated,
    pieces_file,
    pieces_from_bytes,
)
from transforms.text import visible as escapes

_VISIBLE = str.maketrans({" ": "·", "\t": "→", "\r": "␍", "\u00a0": "⍽", "\u200b": "␣"})
_STYLES = {"template": "dim", "prompt": "cyan", "response": "green"}


@dataclass(frozen=True)
class Row:
    """A row that the job keeps, with its place.

    ``segments`` are (kind, text): ``template`` (constant strings and control tokens), ``prompt``
    or ``response`` (the assistant's last turn).
    """

    file: str
    row: int
    columns: dict[str, object]
    text: str
    segments: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class PreviewedReject:
    """A row that the job rejects: its place, its reject code, and an excerpt that shows why."""

    file: str
    row: int
    code: str
    excerpt: str

    @property
    def remedy(self) -> str:
        """What to do about it."""
        name = name_in(self.code, self.excerpt)
        return remedy_of(self.code, [name] if name else [])


def first_rows(plan: Plan, count: int) -> list[Row]:
    """The first rows that the job keeps, read and rendered as the workers do it."""
    return list(islice((row for row in _rows(plan) if isinstance(row, Row)), count))


def first_rejects(plan: Plan, count: int) -> list[PreviewedReject]:
    """The first rows that the job rejects."""
    return list(islice((row for row in _rows(plan) if isinstance(row, PreviewedReject)), count))


def _rows(plan: Plan) -> Iterator[Row | PreviewedReject]:
    source = plan.reading()
    limit, finder = _limit(plan), _finder(plan)
    with sandbox_of(plan.chat) as sandbox:
        for unit in plan.units:
            for file_range in unit.file_ranges:
                path = source.path(file_range.file)
                before = source_reader.first_row(path, source.file_format, file_range)
                for rows in source_reader.read(
                    path, source.file_format, file_range, source.columns, 2**18
                ):
                    kept, rejects = rows_of(
                        rows.table, plan.fields.mapping, plan.split.key, plan.rules
                    )
                    overlaps = None
                    if finder is not None:
                        kept, overlaps, _ = decontaminated(kept, finder, drop=True)
                    output_columns = with_text(plan.output_columns)
                    try:
                        done = render(kept, plan.chat, output_columns, sandbox, limit)
                    except TooLong as error:
                        raise error.at(file_range.file, before + error.row) from error
                    found = (rows.rejects, rejects, overlaps, done.rejects)
                    bad = [table for table in found if table is not None]
                    for reject in pa.concat_tables(bad).sort_by("row").to_pylist():
                        place = before + reject.pop("row")
                        yield PreviewedReject(file_range.file, place, **reject)
                    yield from _kept(
                        plan, file_range.file, before, done.rows.to_pylist(), done.kept
                    )


def _limit(plan: Plan) -> Limit | None:
    """The token limit, as workers have it."""
    rule = plan.quality.tokens
    return Limit(rule, TokenCounter(plan.attachments[TOKENIZER_FILE])) if rule else None


def _finder(plan: Plan) -> OverlapFinder | None:
    """Finds the rows that contain text of a benchmark, where those are dropped."""
    benchmarks = plan.quality.benchmarks if plan.quality.contaminated == "drop" else ()
    pieces = {
        b.name: pieces_from_bytes(plan.attachments[pieces_file(b.sha256)]) for b in benchmarks
    }
    return OverlapFinder(pieces) if pieces else None


def _kept(plan: Plan, file: str, before: int, numbers: list[int], kept: pa.Table) -> Iterator[Row]:
    template = plan.chat.template
    markers = segments.Markers(
        template.user_marker, template.assistant_marker, template.control_tokens
    )
    for number, values in zip(numbers, kept.to_pylist(), strict=True):
        cut = tuple(segments.split_text(values["text"], markers))
        columns = {name: values[name] for name in plan.output_columns.columns}
        yield Row(file, before + number, columns, values["text"], cut)


def preview(plan: Plan, count: int, as_json: bool = False, rejected: bool = False) -> None:
    """Prints the first ``count`` rows, or with ``rejected`` the first rejects."""
    rows: list[Row] = [] if rejected else first_rows(plan, count)
    bad = first_rejects(plan, count) if rejected else []
    if as_json:
        shown: dict[str, object] = {"fields": plan.fields.mapping.describe()}
        if plan.fields.guess:
            shown["guess"] = True
        if rejected:
            shown["rejected"] = [
                {
                    "file": r.file,
                    "row": r.row,
                    "code": r.code,
                    "excerpt": r.excerpt,
                    "remedy": r.remedy,
                }
                for r in bad
            ]
        else:
            shown["rows"] = [
                {"file": r.file, "row": r.row, **r.columns, "text": r.text} for r in rows
            ]
        text = json.dumps(shown, indent=2, ensure_ascii=False)
        sys.stdout.write(f"{escapes.json_visible(text)}\n")
        return
    from rich.console import Console
    from rich.text import Text

    class Output(Console):
        def on_broken_pipe(self) -> None:
            raise  # noqa: PLE0704 (rich calls it where it handles the error, and would exit with 1)

    console = Output(soft_wrap=True, highlight=False)

    def say(line: str, style: str = "bold") -> None:
        console.print(Text(escapes.visible(line), style=style))

    mapping = plan.fields.mapping
    say(f"{mapping.describe()}: {plan.fields.rule}")
    if plan.fields.guess:
        say(plan.fields.guess_note)
    if roles := roles_seen(plan):
        say(f"roles: {roles}")
    for row in rows:
        say(f"── {row.file} row {row.row:,} ──")
        for kind, line in _lines(row.segments):
            say(f"{kind:>8} │ {line}", _STYLES[kind])
    for reject in bad:
        say(f"── {reject.file} row {reject.row:,}: {reject.code} ──")
        for line in reject.excerpt.split("\n"):
            say(f"         │ {line}", "red")
        if reject.remedy:
            say(f"  remedy │ {reject.remedy}", "")
    if not rows and not bad:
        say("no row is rejected" if rejected else "no row is kept; see --rejected", "")


def _lines(cut: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, str]]:
    for kind, text in cut:
        for line in visible(text):
            yield kind, line


def visible(text: str) -> list[str]:
    """The lines of a text with visible white space: ``·`` space, ``→`` tab, ``⏎`` line end."""
    lines = text.translate(_VISIBLE).split("\n")
    return [f"{line}⏎" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
