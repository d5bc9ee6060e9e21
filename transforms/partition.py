"""Partition: every row is marked as training or validation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import apache_beam as beam

from transforms.layout import COLUMNS
from transforms.records import Batch
from transforms.split import SplitRule, normalise_keys

VALIDATION = "validation"
"""The boolean column that Partition adds."""


@dataclass
class Partition(beam.PTransform):
    """``Batch -> Batch``: adds the boolean column ``validation``, drops the split key."""

    rule: SplitRule

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Batch]:
        return batches | beam.Map(partition, self.rule)


def partition(batch: Batch, rule: SplitRule) -> Batch:
    """The batch with its rows marked."""
    table = batch.table
    if rule.key is None:
        keys = normalise_keys(table["instruction"].combine_chunks())
    else:
        keys = table["key"].combine_chunks()
    marked = table.select(COLUMNS).append_column(VALIDATION, rule.is_validation(keys))
    return replace(batch, table=marked)
