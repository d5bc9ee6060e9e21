"""Decontaminate: rows that hold a piece of a benchmark's prompt are counted, or become rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import apache_beam as beam
import pyarrow as pa

from transforms.leakage.contamination import Finder, Pieces, decontaminated, file_of, unpack
from transforms.options import Benchmark, QualityRules
from transforms.records import Batch
from transforms.steps import coders  # noqa: F401 (registers the coder of Batch)
from transforms.storage.store import DatasetStore, checked_work


@dataclass
class Decontaminate(beam.PTransform):
    """``Batch -> Batch``, of rows as ``Normalize`` makes them.

    The benchmarks' pieces lie beside ``store``.  Without benchmarks nothing is done.
    """

    rules: QualityRules
    store: DatasetStore

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Batch]:
        if not self.rules.benchmarks:
            return batches
        step = beam.ParDo(_DecontaminateFn(self.rules, self.store))
        return batches | step.with_output_types(Batch)


class _DecontaminateFn(beam.DoFn):
    def __init__(self, rules: QualityRules, store: DatasetStore) -> None:
        self._rules, self._store = rules, store

    def setup(self) -> None:
        self._finder = Finder({b.name: stored(self._store, b) for b in self._rules.benchmarks})

    def process(self, batch: Batch) -> Iterator[Batch]:
        drop = self._rules.contaminated == "drop"
        kept, rejects, found = decontaminated(batch.table, self._finder, drop)
        if batch.rejects is not None:
            rejects = pa.concat_tables([batch.rejects, rejects])
        note_counts = Counter(batch.note_counts)
        note_counts.update(found)
        yield replace(batch, table=kept, rejects=rejects, note_counts=note_counts)


def stored(store: DatasetStore, benchmark: Benchmark) -> Pieces:
    """A benchmark's pieces as they lie beside a job's output.

    Raises ``StorageError`` where the file is gone or is another one.
    """
    return unpack(checked_work(store, file_of(benchmark.sha256), benchmark.sha256))
