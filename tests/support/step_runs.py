"""Transforms alone on Beam's local runner: what goes in, what comes out, what is raised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing import test_pipeline

from transforms.conversations.pair_mapping import PairMapping
from transforms.dataset.layout import COLUMNS
from transforms.errors import DataPrepError, from_worker
from transforms.formats.source_reader import FileFormat
from transforms.records import ROW, VALIDATION, Batch, FileRange

JSON_LINES = FileFormat("json_lines")


QA = PairMapping(("q",), ("a",))


PIECE = FileRange("data.jsonl", 0, 100)


_runs = count()


_seen: dict[tuple[int, str], list[Any]] = {}


def _note(element: Any, run_number: int, name: str) -> None:
    _seen.setdefault((run_number, name), []).append(element)


def run(build: Callable[[beam.Pipeline], Mapping[str, beam.PCollection[Any]]]) -> dict[str, Any]:
    """Runs a pipeline in this process; the elements of each output by its name."""
    number = next(_runs)
    # DirectRunner itself would first look for Prism, another runner, and download it.
    with test_pipeline.TestPipeline(runner=FnApiRunner()) as pipeline:
        outputs = build(pipeline)
        for name, output in outputs.items():
            _ = output | f"Note {name}" >> beam.Map(_note, number, name)
    return {name: _seen.pop((number, name), []) for name in outputs}


def error_of(build: Callable[[beam.Pipeline], Any]) -> DataPrepError:
    """The error with which a pipeline fails, as the launcher gets it back."""
    with pytest.raises(Exception, match="while running") as caught:
        run(lambda pipeline: {"": build(pipeline)})
    # One worker raises the exception itself, several raise its traceback as a text.
    error = from_worker(f"{caught.type.__module__}.{caught.type.__name__}: {caught.value}")
    assert error is not None
    return error


def given_batches(batches: Sequence[Batch]) -> beam.Create:
    """Creates batches in one bundle, in this order."""
    return beam.Create(batches, reshuffle=False)


def a_batch(
    table: pa.Table, index: int = 0, unit: int = 0, last: bool = False, **more: Any
) -> Batch:
    return Batch(unit, index, last, PIECE, table, table.num_rows, **more)


def source_batch(index: int, q: Sequence[Any], a: Sequence[Any], **more: Any) -> Batch:
    """A batch as Read yields it, with rows numbered from 1."""
    numbers = pa.array(range(1, len(q) + 1), pa.int64())
    table = pa.table({"q": pa.array(q, pa.string()), "a": pa.array(a, pa.string()), ROW: numbers})
    return a_batch(table, index, **more)


def pair_batch(index: int, questions: Sequence[str], **more: Any) -> Batch:
    """A batch of pairs as Normalize yields it; every answer is A."""
    numbers = pa.array(range(1, len(questions) + 1), pa.int64())
    answers = pa.array(["A"] * len(questions), pa.string())
    columns = [pa.array(questions, pa.string()), answers, numbers]
    return a_batch(pa.table(columns, names=["instruction", "response", ROW]), index, **more)


def codes_of(rejects: pa.Table | None) -> list[tuple[int, str]]:
    """Row and code of each reject."""
    rows = [] if rejects is None else rejects.to_pylist()
    return [(row["row"], row["code"]) for row in rows]


def marked(texts: Sequence[str], validation: Sequence[bool], **more: Any) -> Batch:
    """A batch as Partition yields it."""
    columns = dict.fromkeys(COLUMNS, pa.array(texts, pa.string()))
    table = pa.table({**columns, VALIDATION: pa.array(validation, pa.bool_())})
    return a_batch(table, **more)
