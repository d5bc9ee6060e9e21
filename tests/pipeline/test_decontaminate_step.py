"""Decontaminate alone, on Beam's local runner."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from slow_pieces import pieces, strings
from step_runs import a_batch, codes_of, error_of, given_batches, run

from transforms.errors import StorageError
from transforms.leakage.contamination import (
    Pieces,
    pieces_file,
    pieces_to_bytes,
)
from transforms.options import Benchmark, QualityRules
from transforms.records import ROW, Batch
from transforms.steps.decontaminate import Decontaminate
from transforms.storage.local import LocalStore


def words_of(start: int, count: int) -> str:
    return " ".join(f"w{n}" for n in range(start, start + count))


def pairs(*rows: tuple[str, str]) -> pa.Table:
    numbers = pa.array(range(1, len(rows) + 1), pa.int64())
    columns = [strings(*(row[n] for row in rows)) for n in (0, 1)]
    return pa.table([*columns, numbers], names=["instruction", "response", ROW])


def stored(folder: LocalStore, **benchmarks: Pieces) -> tuple[Benchmark, ...]:
    """Benchmarks whose pieces lie where workers look for them."""
    made = []
    for name, found in benchmarks.items():
        data = pieces_to_bytes(found)
        digest = sha256(data).hexdigest()
        folder.put_work(pieces_file(digest), data)
        made.append(Benchmark(name, 1, 0, digest))
    return tuple(made)


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    folder = LocalStore(str(tmp_path / "set"))
    with folder.claimed():
        yield folder


class TestTransform:
    BATCHES = (
        a_batch(pairs((words_of(0, 13), "a"), ("b", "c")), note_counts={"before": 1}),
        a_batch(pairs(("d", "e"), ("f", words_of(1, 13))), index=1),
        a_batch(pairs(), index=2, last=True),
    )

    def found(self, folder: LocalStore, rules: QualityRules) -> list[Batch]:
        step = Decontaminate(rules, folder)
        batches: list[Batch] = run(lambda p: {"x": p | given_batches(self.BATCHES) | step})["x"]
        return batches

    def test_report_counts_and_changes_no_row(self, folder: LocalStore) -> None:
        rules = QualityRules(benchmarks=stored(folder, x=pieces(words_of(0, 14))))
        one, two, last = self.found(folder, rules)
        assert [dict(b.note_counts) for b in (one, two, last)] == [
            {"before": 1, "benchmark-overlap: x": 1},
            {"benchmark-overlap: x": 1},
            {},
        ]
        assert [b.table for b in (one, two, last)] == [b.table for b in self.BATCHES]
        assert codes_of(one.rejects) == []
        assert last.last

    def test_drop_makes_rejects(self, folder: LocalStore) -> None:
        benchmarks = stored(folder, x=pieces(words_of(0, 14)))
        rules = QualityRules(benchmarks=benchmarks, contaminated="drop")
        one, two, _ = self.found(folder, rules)
        assert codes_of(one.rejects) == [(1, "benchmark-overlap")]
        assert codes_of(two.rejects) == [(2, "benchmark-overlap")]
        assert (one.table["instruction"].to_pylist(), one.read) == (["b"], 2)
        assert one.note_counts == {"before": 1, "benchmark-overlap: x": 1}

    def test_without_benchmarks_the_pipeline_is_as_it_was(self, folder: LocalStore) -> None:
        batches = beam.Pipeline() | given_batches(self.BATCHES)
        assert (batches | Decontaminate(QualityRules(), folder)) is batches

    @pytest.mark.parametrize("fault", ["gone", "other"])
    def test_pieces_that_are_gone_or_others_end_the_job(
        self, folder: LocalStore, fault: str
    ) -> None:
        (benchmark,) = stored(folder, x=pieces(words_of(0, 13)))
        (path,) = folder.work.glob("benchmark-*")
        path.unlink() if fault == "gone" else path.write_bytes(b"0" * 64)
        rules = QualityRules(benchmarks=(benchmark,))
        error = error_of(lambda p: p | given_batches(self.BATCHES) | Decontaminate(rules, folder))
        assert isinstance(error, StorageError)
        assert benchmark.sha256 in str(error)
        assert ("is gone" if fault == "gone" else "has other bytes") in str(error)
