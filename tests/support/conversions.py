"""Requests converted to rendered rows in this process, without Beam and without an output.

``convert("--dataset", path, …)`` plans a command line and then calls, work unit by work unit, the
functions that the steps Read, Normalize, Decontaminate, Partition and Render call.  It takes a
tenth of the time of a job.  What a job adds (duplicates, gates, files) is tested in tests/pipeline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.cli.main import parse
from pipeline.planning.plan import Plan, make_plan
from transforms.chat.render_rows import render, sandbox_of
from transforms.chat.token_counter import TOKENIZER_FILE, TokenCounter
from transforms.chat.token_limit import Limit, TooLong
from transforms.conversations.normalize_rows import normalize
from transforms.errors import DataPrepError
from transforms.formats import source_reader
from transforms.leakage.contamination import (
    OverlapFinder,
    decontaminated,
    pieces_file,
    pieces_from_bytes,
)
from transforms.records import Batch


@dataclass
class Converted:
    """How a request ended: its exit code and error message, or its rows and rejects."""

    code: int = 0
    err: str = ""
    plan: Any = None
    rejects: list[tuple[str, int, str]] = field(default_factory=list)
    """(file, row, code) of every reject, in source order."""
    kept: list[dict[str, Any]] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    read: int = 0

    @property
    def reasons(self) -> dict[str, int]:
        """How many rejects have each code; every row read is kept or rejected."""
        assert self.code == 0, self.err
        assert self.read == len(self.kept) + len(self.rejects)
        return dict(Counter(code for _, _, code in self.rejects))

    def rows(self) -> list[dict[str, Any]]:
        """Every row that is kept, with the columns that a trainer loads."""
        assert self.code == 0, self.err
        return self.kept

    def texts(self) -> list[str]:
        return [row["text"] for row in self.rows()]


Convert = Callable[..., Converted]
"""``convert(*words, output=…)``: a request, converted in this process."""


@pytest.fixture
def convert(tmp_path: Path) -> Convert:
    """Converts the rows of a command line; an error of the project becomes its exit code."""

    def run(*words: object, output: object = None, batch_bytes: int = 2**18) -> Converted:
        place = tmp_path / "out" / "set" if output is None else output
        argv = [*map(str, words), "--output", str(place), "--skip-upload"]
        try:
            return convert_rows(make_plan(parse(argv)[2]), batch_bytes)
        except DataPrepError as error:
            return Converted(error.exit_code, f"error: {error}\n")

    return run


def convert_rows(plan: Plan, batch_bytes: int = 2**18) -> Converted:
    """The rows and rejects of a plan, as the workers make them."""
    done = Converted(plan=plan)
    finder, limit = _finder(plan), _limit(plan)
    with sandbox_of(plan.chat) as sandbox:
        for batch, before in _normalized(plan, batch_bytes):
            table, bad = batch.table, [batch.rejects]
            if finder is not None:
                drop = plan.quality.contaminated == "drop"
                table, overlaps, found = decontaminated(table, finder, drop)
                bad.append(overlaps)
                done.events.update(found)
            try:
                made = render(table, plan.chat, plan.output_columns, sandbox, limit)
            except TooLong as error:
                raise error.at(batch.file_range.file, before + error.row) from error
            bad.append(made.rejects)
            done.read += batch.read
            done.kept += made.kept.to_pylist()
            done.events.update(made.note_counts)
            rejects = pa.concat_tables([t for t in bad if t is not None]).sort_by("row")
            done.rejects += [
                (batch.file_range.file, before + reject["row"], reject["code"])
                for reject in rejects.to_pylist()
            ]
    return done


def _normalized(plan: Plan, batch_bytes: int) -> Iterator[tuple[Batch, int]]:
    """The batches of a plan, each with the number of its file's rows before its range."""
    source = plan.reading()
    for unit in plan.units:
        for part in unit.file_ranges:
            place = source.path(part.file), source.file_format, part
            before = source_reader.first_row(*place)
            for rows in source_reader.read(*place, source.columns, batch_bytes):
                batch = Batch(unit.number, 0, False, part, rows.table, rows.read, rows.rejects)
                yield (
                    normalize(
                        batch,
                        plan.fields.mapping,
                        plan.split.key,
                        plan.rules,
                        plan.quality.balance,
                    ),
                    before,
                )


def _limit(plan: Plan) -> Limit | None:
    rule = plan.quality.tokens
    return Limit(rule, TokenCounter(plan.attachments[TOKENIZER_FILE])) if rule else None


def _finder(plan: Plan) -> OverlapFinder | None:
    found = {
        b.name: pieces_from_bytes(plan.attachments[pieces_file(b.sha256)])
        for b in plan.quality.benchmarks
    }
    return OverlapFinder(found) if found else None
