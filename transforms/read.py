"""Read: work units become batches of source rows, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa

from transforms import (
    coders,  # noqa: F401 (registers the coder of Batch)
    formats,
)
from transforms.records import REJECTS, ROW, Batch, Piece, Unit
from transforms.stored_units import StoredUnits


@dataclass
class Read(beam.PTransform):
    """``PBegin -> Batch``: every unit's rows, in order, closed by an empty batch with ``last`` set.

    ``batch_bytes`` is about how much a batch holds; it never shows in the output.
    """

    source: formats.Source
    units: tuple[Unit, ...] | StoredUnits
    batch_bytes: int = formats.BATCH_BYTES

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[Batch]:
        if isinstance(self.units, StoredUnits):
            load = beam.FlatMap(self.units.load).with_output_types(Unit)
            units = begin | "Parts" >> beam.Create(self.units.parts) | "Units" >> load
        else:
            units = begin | "Units" >> beam.Create(self.units)
        read = beam.ParDo(_ReadUnitFn(self.source, self.batch_bytes)).with_output_types(Batch)
        return (
            units
            # Without it the units would be fused to the one element that starts the pipeline.
            | "Spread" >> beam.Reshuffle()
            | "ReadUnit" >> read
        )


class _ReadUnitFn(beam.DoFn):
    """One unit -> its batches.

    Unit(7, (Piece("a.jsonl", 0, 9000),)) -> Batch(7, 0, False, …), Batch(7, 1, False, …),
    Batch(7, 2, True, …) where the last one holds no rows.
    """

    def __init__(self, source: formats.Source, batch_bytes: int) -> None:
        self._source = source
        self._batch_bytes = batch_bytes

    def process(self, unit: Unit) -> Iterator[Batch]:
        index = 0
        schema = pa.schema(
            [*((c.name, pa.string()) for c in self._source.columns), (ROW, pa.int64())]
        )
        for piece in unit.pieces:
            for rows in formats.read(
                self._source.path(piece.file),
                self._source.form,
                piece,
                self._source.columns,
                self._batch_bytes,
            ):
                yield Batch(unit.number, index, False, piece, rows.table, rows.read, rows.rejects)
                index += 1
        end = Piece(unit.pieces[-1].file, 0, 0)
        yield Batch(unit.number, index, True, end, schema.empty_table(), 0, REJECTS.empty_table())
