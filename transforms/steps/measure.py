"""Measure: the row statistics in the units' records become parts of the manifest's quality."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import apache_beam as beam

from transforms.options import QualityRules
from transforms.quality.row_stats import (
    Measured,
    RowStats,
    from_text,
    measured,
    merge_stats,
)
from transforms.records import Shard


@dataclass
class Measure(beam.PTransform):
    """``Shard -> Measured``: one, of all rows.

    Only integers that add up are combined, so it does not matter how a runner groups the shards.
    """

    rules: QualityRules

    def expand(self, shards: beam.PCollection[Shard]) -> beam.PCollection[Measured]:
        return (
            shards
            | "RowStats" >> beam.FlatMap(_row_stats).with_output_types(tuple[int, str])
            | "Merge" >> beam.CombinePerKey(_MeasureFn(self.rules))
            | "Part" >> beam.Values()
        )


def _row_stats(shard: Shard) -> list[tuple[int, str]]:
    return [(0, shard.row_stats)] if shard.row_stats else []


class _MeasureFn(beam.CombineFn):
    """The statistics of each unit as text -> the parts of ``quality``."""

    def __init__(self, rules: QualityRules) -> None:
        self._rules = rules

    def create_accumulator(self) -> RowStats:
        return RowStats()

    def add_input(self, accumulator: RowStats, element: str) -> RowStats:
        return merge_stats((accumulator, from_text(element)))

    def merge_accumulators(self, accumulators: Iterable[RowStats]) -> RowStats:
        return merge_stats(accumulators)

    def extract_output(self, accumulator: RowStats) -> Measured:
        return measured(accumulator, self._rules)
