"""Decontaminate: rows that hold a piece of a benchmark's prompt are counted, or become rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import apache_beam as beam
import pyarrow as pa

from transforms.leakage.contamination import (
    OverlapFinder,
    Pieces,
    decontaminated,
    pieces_file,
    pieces_from_bytes,
)
from transforms.options import Benchmark, QualityRules
from transforms.records import Batch
from transforms.steps import coders  # noqa: F401 (registers the coder of Batch)
from transforms.storage.store import DatasetStore, checked_work


@dataclass
class Decontaminate(beam.PTransform):
    """``Batch -> Batch``, of rows as ``Normalize`` makes them.

    The benchmarks' pieces are work files of ``store``.  Without benchmarks the step does nothing.
    """

    rules: QualityRules
    store: DatasetStore

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Batch]:
        if not self.rules.benchmarks:
            return batches
        step = beam.ParDo(_DecontaminateFn(self.rules, self.store))
        return batches | step.with_output_types(Batch)


class _DecontaminateFn(beam.DoFn):
    """A batch -> the batch without the rows that overlap, or with a note of how many do."""

    def __init__(self, rules: QualityRules, store: DatasetStore) -> None:
        self._rules, self._store = rules, store

    def setup(self) -> None:
        self._finder = OverlapFinder(
            {b.name: load_pieces(self._store, b) for b in self._rules.benchmarks}
        )

    def process(self, batch: Batch) -> Iterator[Batch]:
        drop = self._rules.contaminated == "drop"
        kept, rejects, found = decontaminated(batch.table, self._finder, drop)
        if batch.rejects is not None:
            rejects = pa.concat_tables([batch.rejects, rejects])
        note_counts = Counter(batch.note_counts)
        note_counts.update(found)
        yield replace(batch, table=kept, rejects=rejects, note_counts=note_counts)


def load_pieces(store: DatasetStore, benchmark: Benchmark) -> Pieces:
    """Loads a benchmark's pieces from a job's output.

    Raises:
        StorageError: The file is gone, or has another digest than the plan's.
    """
    return pieces_from_bytes(checked_work(store, pieces_file(benchmark.sha256), benchmark.sha256))
