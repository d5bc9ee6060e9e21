"""ConfirmNear: rows that may be near duplicates are read again, and left out if they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa

from transforms.duplicates.content_hash import contents
from transforms.duplicates.minhash import (
    RowShingles,
    confirm_links,
    find_near_copies,
    rows_to_compare,
)
from transforms.duplicates.positions import Drop, place
from transforms.duplicates.row_reader import RowReader
from transforms.options import SHINGLE_WORDS
from transforms.records import ROW, WorkUnit
from transforms.steps.read import by_number
from transforms.text.ngrams import distinct, ngrams, word_array

_Row = tuple[int, int]
"""(unit number, place)."""


@dataclass
class ConfirmNear(beam.PTransform):
    """``(links, WorkUnit) -> (unit number, Drop)``; for links see ``minhash.find_links``."""

    row_reader: RowReader

    def expand(
        self, inputs: tuple[beam.PCollection[np.ndarray], beam.PCollection[WorkUnit]]
    ) -> beam.PCollection[tuple[int, Drop]]:
        links, units = inputs
        rows = beam.FlatMap(rows_to_compare).with_output_types(tuple[int, np.ndarray])
        read = beam.ParDo(_ReadAgainFn(self.row_reader)).with_output_types(tuple[_Row, RowShingles])
        confirm = beam.FlatMapTuple(_confirm).with_output_types(tuple[int, np.ndarray])
        return (
            (units | "ByNumber" >> by_number(), links | "RowsToCompare" >> rows)
            | "ByUnit" >> beam.CoGroupByKey()
            | "ReadAgain" >> read
            | "ByEarlierRow" >> beam.GroupByKey()
            | "Confirm" >> confirm
            | "AllLinks" >> beam.GroupByKey()
            | "FindCopies" >> beam.FlatMapTuple(_find_copies).with_output_types(tuple[int, Drop])
        )


class _ReadAgainFn(beam.DoFn):
    """A unit and its rows that are compared -> (the earlier row, the shingles of a row).

    (7, ([WorkUnit(7, …)], [rows, rows])) -> ((3, 21), RowShingles(7, 40, …)), …
    """

    def __init__(self, row_reader: RowReader) -> None:
        self._row_reader = row_reader

    def process(
        self, element: tuple[int, tuple[Iterable[WorkUnit], Iterable[np.ndarray]]]
    ) -> Iterator[tuple[_Row, RowShingles]]:
        (unit,), rows = element[1]
        parts = list(rows)
        if not parts:
            return
        places, units, firsts = np.unique(np.concatenate(parts, axis=1), axis=1)
        for range_index, read in self._row_reader.rows(unit, places):
            at = place(range_index, read[ROW].to_numpy())
            begins, ends = (np.searchsorted(places, at, side) for side in ("left", "right"))
            own = np.flatnonzero(ends > begins)
            if not len(own):
                continue
            texts = contents(read.take(pa.array(own)))
            shingles = distinct(ngrams(word_array(texts), SHINGLE_WORDS))
            for number, row in enumerate(own.tolist()):
                found = RowShingles(unit.number, int(at[row]), shingles.row(number))
                for index in range(begins[row], ends[row]):
                    yield (int(units[index]), int(firsts[index])), found


def _confirm(earlier: _Row, rows: Iterable[RowShingles]) -> Iterator[tuple[int, np.ndarray]]:
    for links in confirm_links(earlier, rows):
        yield 0, links


def _find_copies(_: int, links: Iterable[np.ndarray]) -> Iterator[tuple[int, Drop]]:
    return find_near_copies(links)
