"""Normalize: source columns become ``instruction`` and ``response``; bad rows leave as rejects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import apache_beam as beam
import pyarrow as pa

from transforms.fields import FieldMapping
from transforms.pairs import to_pairs
from transforms.records import Batch

REJECTED = "rejected"
"""The side output's tag."""


@dataclass
class Normalize(beam.PTransform):
    """``Batch -> {None: Batch, REJECTED: Batch}``.

    The main output's tables have ``instruction``, ``response`` and, with ``key``, ``key``.  The
    side output has a batch of the ``REJECTS`` schema for every input batch, with the same place.
    """

    fields: FieldMapping
    key: str | None = None

    def expand(self, batches: beam.PCollection[Batch]) -> beam.pvalue.DoOutputsTuple:
        normalize = beam.ParDo(_NormalizeFn(self.fields, self.key)).with_output_types(Batch)
        outputs = batches | normalize.with_outputs(REJECTED, main="kept")
        outputs[REJECTED].element_type = Batch  # else Beam would pickle tables to sample their size
        return outputs


class _NormalizeFn(beam.DoFn):
    def __init__(self, fields: FieldMapping, key: str | None) -> None:
        self._fields = fields
        self._key = key

    def process(self, batch: Batch) -> Iterator[Batch]:
        kept, rejects = to_pairs(batch.table, self._fields, self._key)
        if batch.rejects is not None:
            rejects = pa.concat_tables([batch.rejects, rejects]).sort_by("row")
        yield replace(batch, table=kept, rejects=None)
        yield beam.pvalue.TaggedOutput(REJECTED, replace(batch, table=rejects, rejects=None))
