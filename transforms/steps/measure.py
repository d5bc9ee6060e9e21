"""Measure: what the units' records count of their rows becomes a part of the manifest's quality."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
from apache_beam import coders

from transforms.options import QualityRules
from transforms.quality.row_stats import (
    Measured,
    of_bytes,
    of_text,
    parts_of_quality,
    to_bytes,
    together,
)
from transforms.records import Shard


@dataclass
class Measure(beam.PTransform):
    """``Shard -> dict``: one with the keys ``lengths``, ``balance`` and ``tokenizer``.

    Only integers that add up are combined, so it does not matter how a runner groups the shards.
    """

    rules: QualityRules

    def expand(self, shards: beam.PCollection[Shard]) -> beam.PCollection[dict[str, Any]]:
        return (
            shards
            | "Counted" >> beam.FlatMap(_counted).with_output_types(tuple[int, str])
            | "Together" >> beam.CombinePerKey(_MeasureFn(self.rules))
            | "Part" >> beam.Values()
        )


def without_counts(shard: Shard) -> Shard:
    """The record as Commit needs it: it holds those of all units at once."""
    return replace(shard, measured="")


def _counted(shard: Shard) -> list[tuple[int, str]]:
    return [(0, shard.measured)] if shard.measured else []


class _MeasuredCoder(coders.Coder):
    """For accumulators between workers."""

    def encode(self, value: Measured) -> bytes:
        return to_bytes(value)

    def decode(self, encoded: bytes) -> Measured:
        return of_bytes(encoded)

    def is_deterministic(self) -> bool:
        return False


class _MeasureFn(beam.CombineFn):
    """The counts of each unit as text -> the parts of ``quality``."""

    def __init__(self, rules: QualityRules) -> None:
        self._rules = rules

    def create_accumulator(self) -> Measured:
        return Measured()

    def add_input(self, accumulator: Measured, element: str) -> Measured:
        return together((accumulator, of_text(element)))

    def merge_accumulators(self, accumulators: Iterable[Measured]) -> Measured:
        return together(accumulators)

    def extract_output(self, accumulator: Measured) -> dict[str, Any]:
        return parts_of_quality(accumulator, self._rules)

    def get_accumulator_coder(self) -> coders.Coder:
        return _MeasuredCoder()
