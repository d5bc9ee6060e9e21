"""Commit: the shards add up, the set's own files are written, the set appears."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam

from transforms.dataset.publish import Contents, commit
from transforms.formats.file_state import require_unchanged
from transforms.formats.source_reader import Source
from transforms.quality.row_stats import Measured
from transforms.records import FileState, Shard, WorkUnit
from transforms.storage.manifest_parts import Leakage, RowCounts
from transforms.storage.store import DatasetStore


@dataclass
class Commit(beam.PTransform):
    """``(Shard, Measured, Leakage, WorkUnit) -> RowCounts``: once, when the folder is in place.

    The files of the units must still be as they were planned: until then they may have been read.
    The result is not the manifest: Beam would encode all of it, to learn its size.
    """

    store: DatasetStore
    shard_count: int
    contents: Contents
    source: Source

    def expand(self, inputs: tuple[beam.PCollection[Any], ...]) -> beam.PCollection[RowCounts]:
        shards, measured, leakage, units = inputs
        without = beam.Map(without_row_stats).with_output_types(Shard)
        planned = beam.Map(planned_states).with_output_types(dict)
        return (
            (shards | "WithoutRowStats" >> without, measured, leakage, units | "Planned" >> planned)
            | beam.Flatten()
            | "OneKey" >> beam.WithKeys(0)
            | "All" >> beam.GroupByKey()
            | "Publish" >> beam.MapTuple(self._publish)
        )

    def _publish(
        self, _: int, inputs: Iterable[Shard | Measured | Leakage | dict[str, FileState]]
    ) -> RowCounts:
        shards: list[Shard] = []
        planned: dict[str, FileState] = {}
        measured: Measured | None = None
        leakage: Leakage | None = None
        for one in inputs:
            if isinstance(one, Measured):
                measured = one
            elif isinstance(one, Leakage):
                leakage = one
            elif isinstance(one, dict):
                planned.update(one)
            else:
                shards.append(one)

        def check_source() -> None:
            for file in sorted(planned):
                require_unchanged(self.source.path(file), planned[file])

        parts = shards, measured, leakage
        return commit(self.store, self.shard_count, self.contents, *parts, check_source)


def without_row_stats(shard: Shard) -> Shard:
    """The record as Commit needs it: it holds those of all units at once."""
    return replace(shard, row_stats="")


def planned_states(unit: WorkUnit) -> dict[str, FileState]:
    """The planned state of each local file of a unit, by name."""
    return {each.file: each.state for each in unit.file_ranges if each.state}
