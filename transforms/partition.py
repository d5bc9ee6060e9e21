"""Partition: every row is marked as training or validation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import apache_beam as beam

from transforms.layout import COLUMNS
from transforms.records import Batch, one_array
from transforms.split import SplitRule, normalise_keys

VALIDATION = "validation"
"""The boolean column that Partition adds."""


@dataclass
class Partition(beam.PTransform):
    """``Batch -> Batch``: adds the boolean column ``validation``, drops the split key."""

    rule: SplitRule

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Batch]:
        return batches | beam.Map(partition, self.rule).with_output_types(Batch)


def partition(batch: Batch, rule: SplitRule) -> Batch:
    """The batch with its rows marked."""
    table = batch.table
    if rule.key is None:
        keys = normalise_keys(one_array(table["instruction"]))
    else:
        keys = one_array(table["key"])
    marked = table.select(COLUMNS).append_column(VALIDATION, rule.is_validation(keys))
    return replace(batch, table=marked)
