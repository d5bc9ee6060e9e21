"""ConfirmExact: rows whose instruction occurs more than once are read again, with their answers.

Rows can be equal only if their instructions are.  Most sets have most instructions once, and
answers are most of their text, so the scan reads much the smaller part of a columnar source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa

from transforms.duplicates.content_hash import content_hashes
from transforms.duplicates.exact import Fingerprints, find_copies, fingerprints
from transforms.duplicates.positions import Drop, among, place
from transforms.duplicates.row_reader import RowReader
from transforms.records import ROW, WorkUnit
from transforms.steps.read import by_number


@dataclass
class ConfirmExact(beam.PTransform):
    """``((unit number, places), WorkUnit) -> (unit number, Drop)``.

    The places, uint64, are those of rows whose instruction other rows have, too.  The rows' hashes
    are compared in ``bucket_count`` groups.
    """

    row_reader: RowReader
    bucket_count: int

    def expand(
        self, inputs: tuple[beam.PCollection[tuple[int, np.ndarray]], beam.PCollection[WorkUnit]]
    ) -> beam.PCollection[tuple[int, Drop]]:
        shared, units = inputs
        read = beam.ParDo(_ReadAgainFn(self.row_reader, self.bucket_count))
        return (
            (units | "ByNumber" >> by_number(), shared)
            | "ByUnit" >> beam.CoGroupByKey()
            | "ReadAgain" >> read.with_output_types(tuple[int, Fingerprints])
            | "ByBucket" >> beam.GroupByKey()
            | "FindCopies" >> beam.FlatMapTuple(_find_copies).with_output_types(tuple[int, Drop])
        )


class _ReadAgainFn(beam.DoFn):
    """A unit and the places of its rows that are compared -> (bucket, their hashes).

    (7, ([WorkUnit(7, …)], [places, places])) -> (0, Fingerprints(7, …)), (1, Fingerprints(7, …))
    """

    def __init__(self, row_reader: RowReader, bucket_count: int) -> None:
        self._row_reader, self._bucket_count = row_reader, bucket_count

    def process(
        self, element: tuple[int, tuple[Iterable[WorkUnit], Iterable[np.ndarray]]]
    ) -> Iterator[tuple[int, Fingerprints]]:
        (unit,), shared = element[1]
        parts = list(shared)
        if not parts:
            return
        wanted = np.sort(np.concatenate(parts))
        for range_index, rows in self._row_reader.rows(unit, wanted):
            places = place(range_index, rows[ROW].to_numpy())
            own = among(places, wanted)
            if len(own):
                hashes = content_hashes(rows.take(pa.array(own)))
                yield from fingerprints(unit.number, hashes, places[own], self._bucket_count)


def _find_copies(_: int, bucket: Iterable[Fingerprints]) -> Iterator[tuple[int, Drop]]:
    return find_copies(bucket)
