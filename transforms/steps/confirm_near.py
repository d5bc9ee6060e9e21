"""Near: rows that seem to be near copies are read once more, and left out if they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from transforms.duplicates.content_hash import contents
from transforms.duplicates.minhash import Links, RowShingles, Wanted, left_out, verified, wanted
from transforms.duplicates.positions import Drop, place
from transforms.duplicates.row_reader import RowReader
from transforms.options import SHINGLE_WORDS
from transforms.records import ROW, WorkUnit
from transforms.text.ngrams import distinct, ngrams, word_array

_Row = tuple[int, int]


@dataclass
class ConfirmNear(beam.PTransform):
    """(``Links``, ``WorkUnit``) ``-> (unit number, Drop)``."""

    row_reader: RowReader

    def expand(
        self, inputs: tuple[beam.PCollection[Links], beam.PCollection[WorkUnit]]
    ) -> beam.PCollection[tuple[int, Drop]]:
        links, units = inputs
        asked = links | "Wanted" >> beam.FlatMap(wanted).with_output_types(tuple[int, Any])
        read = beam.ParDo(_ReadAgainFn(self.row_reader)).with_output_types(tuple[_Row, RowShingles])
        return (
            (asked, units)
            | GroupByUnit()
            | "ReadAgain" >> read
            | "ByEarlier" >> beam.GroupByKey()
            | "Verified" >> beam.FlatMapTuple(_verified).with_output_types(tuple[int, Links])
            | "AllLinks" >> beam.GroupByKey()
            | "LeftOut" >> beam.FlatMapTuple(_left_out).with_output_types(tuple[int, Drop])
        )


class _ReadAgainFn(beam.DoFn):
    """A unit and its rows that are wanted -> (the earlier row, what a row says)."""

    def __init__(self, row_reader: RowReader) -> None:
        self._row_reader = row_reader

    def process(
        self, element: tuple[int, Iterable[WorkUnit | Wanted]]
    ) -> Iterator[tuple[_Row, RowShingles]]:
        unit, asked = parted(element[1])
        if not asked:
            return
        rows = [np.frombuffer(one.rows, np.uint64).reshape(3, -1) for one in asked]
        places, units, firsts = np.unique(np.concatenate(rows, axis=1), axis=1)
        for range_index, read in self._row_reader.rows(unit, places):
            at = place(range_index, read[ROW].to_numpy())
            begins, ends = (np.searchsorted(places, at, side) for side in ("left", "right"))
            own = np.flatnonzero(ends > begins)
            if not len(own):
                continue
            said = contents(read.take(pa.array(own)))
            shingles = distinct(ngrams(word_array(said), SHINGLE_WORDS))
            for number, row in enumerate(own.tolist()):
                what = RowShingles(unit.number, int(at[row]), shingles.row(number).tobytes())
                for index in range(begins[row], ends[row]):
                    yield (int(units[index]), int(firsts[index])), what


def _verified(earlier: _Row, group: Iterable[RowShingles]) -> Iterator[tuple[int, Links]]:
    for links in verified(earlier, group):
        yield 0, links


def _left_out(_: int, group: Iterable[Links]) -> Iterator[tuple[int, Drop]]:
    return left_out(group)


def numbered(unit: WorkUnit) -> tuple[int, WorkUnit]:
    """The unit by its number, to be grouped with what is known of it."""
    return unit.number, unit


@dataclass
class GroupByUnit(beam.PTransform):
    """((unit number, something), ``WorkUnit``) ``-> (unit number, [WorkUnit, something, …])``.

    ``parted`` tells the unit from the rest.
    """

    def expand(
        self, inputs: tuple[beam.PCollection[tuple[int, Any]], beam.PCollection[WorkUnit]]
    ) -> beam.PCollection[tuple[int, Iterable[Any]]]:
        known, units = inputs
        # Made here, for this alone: Flink and Spark refuse a graph in which what is flattened has
        # other readers (Beam 2.70: "should have exactly one producing PTransformNode").
        keyed = units | "ByNumber" >> beam.Map(numbered).with_output_types(tuple[int, Any])
        return (known, keyed) | beam.Flatten() | "Group" >> beam.GroupByKey()


def parted(group: Iterable[Any]) -> tuple[WorkUnit, list[Any]]:
    """The unit of a group, and all that is known of it."""
    parts = list(group)
    (unit,) = (part for part in parts if isinstance(part, WorkUnit))
    return unit, [part for part in parts if not isinstance(part, WorkUnit)]
