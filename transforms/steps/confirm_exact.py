"""AskedAgain: rows whose instruction occurs more than once are read once more, with their answers.

Two rows can be the same only if they ask the same.  Most sets ask most things once, and answers are
most of their text, so that of a columnar source much the smaller part is read for its duplicates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa

from transforms.duplicates.content_hash import content_hashes
from transforms.duplicates.exact import Alike, Fingerprints, fingerprints, repeated
from transforms.duplicates.positions import Drop, among, place
from transforms.duplicates.row_reader import RowReader
from transforms.records import ROW, WorkUnit
from transforms.steps.confirm_near import GroupByUnit, parted


@dataclass
class ConfirmExact(beam.PTransform):
    """((unit number, ``Alike``), ``WorkUnit``) ``-> (unit number, Drop)``.

    The rows that are alike have an instruction that others have, too.  Their hashes are compared in
    ``bucket_count`` groups.
    """

    row_reader: RowReader
    bucket_count: int

    def expand(
        self, inputs: tuple[beam.PCollection[tuple[int, Alike]], beam.PCollection[WorkUnit]]
    ) -> beam.PCollection[tuple[int, Drop]]:
        read = beam.ParDo(_ReadAgainFn(self.row_reader, self.bucket_count))
        return (
            inputs
            | GroupByUnit()
            | "ReadAgain" >> read.with_output_types(tuple[int, Fingerprints])
            | "SameBucket" >> beam.GroupByKey()
            | "Repeated" >> beam.FlatMapTuple(_repeated).with_output_types(tuple[int, Drop])
        )


class _ReadAgainFn(beam.DoFn):
    """A unit and which of its rows are asked elsewhere, too -> (bucket, their hashes)."""

    def __init__(self, row_reader: RowReader, bucket_count: int) -> None:
        self._row_reader, self._bucket_count = row_reader, bucket_count

    def process(
        self, element: tuple[int, Iterable[WorkUnit | Alike]]
    ) -> Iterator[tuple[int, Fingerprints]]:
        unit, asked = parted(element[1])
        if not asked:
            return
        wanted = np.sort(np.concatenate([np.frombuffer(one.places, np.uint64) for one in asked]))
        for range_index, rows in self._row_reader.rows(unit, wanted):
            places = place(range_index, rows[ROW].to_numpy())
            own = among(places, wanted)
            if len(own):
                hashes = content_hashes(rows.take(pa.array(own)))
                yield from fingerprints(unit.number, hashes, places[own], self._bucket_count)


def _repeated(bucket: int, group: Iterable[Fingerprints]) -> Iterator[tuple[int, Drop]]:
    return repeated(group)
