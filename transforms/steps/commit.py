"""Commit: the shards add up, the set's own files are written, the set appears."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam

from transforms.dataset.publish import Contents, commit
from transforms.quality.row_stats import Measured
from transforms.records import Shard
from transforms.storage.manifest_parts import Leakage, RowCounts
from transforms.storage.store import DatasetStore


@dataclass
class Commit(beam.PTransform):
    """``(Shard, Measured, Leakage) -> RowCounts``: once, when the folder is in place.

    The result is not the manifest: Beam would encode all of it, to learn its size.
    """

    store: DatasetStore
    shard_count: int
    contents: Contents

    def expand(self, inputs: tuple[beam.PCollection[Any], ...]) -> beam.PCollection[RowCounts]:
        shards, *parts = inputs
        without = beam.Map(without_row_stats).with_output_types(Shard)
        return (
            (shards | "WithoutRowStats" >> without, *parts)
            | beam.Flatten()
            | "OneKey" >> beam.WithKeys(0)
            | "All" >> beam.GroupByKey()
            | "Publish" >> beam.MapTuple(self._publish)
        )

    def _publish(self, _: int, inputs: Iterable[Shard | Measured | Leakage]) -> RowCounts:
        shards: list[Shard] = []
        measured: Measured | None = None
        leakage: Leakage | None = None
        for one in inputs:
            if isinstance(one, Measured):
                measured = one
            elif isinstance(one, Leakage):
                leakage = one
            else:
                shards.append(one)
        return commit(self.store, self.shard_count, self.contents, shards, measured, leakage)


def without_row_stats(shard: Shard) -> Shard:
    """The record as Commit needs it: it holds those of all units at once."""
    return replace(shard, row_stats="")
