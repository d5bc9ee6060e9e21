"""Rendered rows for a person to check, with instruction and response told apart."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice

from pipeline.plan import Plan
from transforms import formats
from transforms.pairs import to_pairs
from transforms.records import ROW

_VISIBLE = str.maketrans({" ": "·", "\t": "→", "\r": "␍", "\u00a0": "⍽", "\u200b": "␣"})
_STYLES = {"template": "dim", "instruction": "cyan", "response": "green"}


@dataclass(frozen=True)
class Row:
    """A row that will be kept, with its place."""

    file: str
    row: int
    instruction: str
    response: str

    def text(self, plan: Plan) -> str:
        """Its training text."""
        return plan.template.render(self.instruction, self.response)


def first_rows(plan: Plan, count: int) -> list[Row]:
    """The first rows that the job would keep, read and chosen as the workers do it."""
    return list(islice(_rows(plan), count))


def _rows(plan: Plan) -> Iterator[Row]:
    source = plan.reading()
    for unit in plan.units:
        for piece in unit.pieces:
            path = source.path(piece.file)
            before = formats.first_row(path, source.form, piece)
            for rows in formats.read(path, source.form, piece, source.columns, 2**18):
                kept, rejects = to_pairs(rows.table, plan.fields.mapping, plan.split.key)
                bad = set(rejects["row"].to_pylist())
                numbers = (n for n in rows.table[ROW].to_pylist() if n not in bad)
                for number, pair in zip(numbers, kept.to_pylist(), strict=True):
                    yield Row(piece.file, before + number, pair["instruction"], pair["response"])


def preview(plan: Plan, count: int, as_json: bool = False) -> None:
    """Prints the first ``count`` rows; as JSON with ``as_json``."""
    rows = first_rows(plan, count)
    if as_json:
        shown = [{**asdict(row), "text": row.text(plan)} for row in rows]
        json.dump({"rows": shown}, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    for row in rows:
        console.print(Text(f"── {row.file} row {row.row:,} ──", style="bold"))
        template = plan.template
        for kind, part in (
            ("template", template.before),
            ("instruction", row.instruction),
            ("template", template.between),
            ("response", row.response),
            ("template", template.end),
        ):
            for line in visible(part):
                console.print(Text(f"{kind:>11} │ {line}", style=_STYLES[kind]))
    if not rows:
        console.print("no row would be kept; see the rejects of a run")


def visible(text: str) -> list[str]:
    """The lines of a text with every white space shown: ``·`` space, ``→`` tab, ``⏎`` line end."""
    lines = text.translate(_VISIBLE).split("\n")
    return [f"{line}⏎" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
