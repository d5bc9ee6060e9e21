"""ConfirmNear: rows that may be near duplicates are read again, and left out if they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa

from transforms.duplicates.content_hash import contents
from transforms.duplicates.near_links import (
    LentRows,
    LinkComparison,
    find_near_copies,
    lent_by_unit,
    links_by_unit,
)
from transforms.duplicates.positions import Drop, among, place
from transforms.duplicates.row_reader import RowReader
from transforms.options import SHINGLE_WORDS
from transforms.records import ROW, WorkUnit
from transforms.steps.read import by_number
from transforms.text.ngrams import Hashed, distinct, ngrams, word_array


@dataclass
class ConfirmNear(beam.PTransform):
    """``(links, WorkUnit) -> (unit number, Drop)``; for links see ``minhash.find_links``."""

    row_reader: RowReader

    def expand(
        self, inputs: tuple[beam.PCollection[np.ndarray], beam.PCollection[WorkUnit]]
    ) -> beam.PCollection[tuple[int, Drop]]:
        links, units = inputs
        by_unit = tuple[int, np.ndarray]
        late = links | "LinksByUnit" >> beam.FlatMap(links_by_unit).with_output_types(by_unit)
        needed = links | "LentByUnit" >> beam.FlatMap(lent_by_unit).with_output_types(by_unit)
        lend = beam.ParDo(_LendFn(self.row_reader)).with_output_types(tuple[int, LentRows])
        compare = beam.ParDo(_CompareFn(self.row_reader)).with_output_types(by_unit)
        numbered = units | "ByNumber" >> by_number()
        lent = (numbered, needed) | "ToLend" >> beam.CoGroupByKey() | "Lend" >> lend
        return (
            (numbered, late, lent)
            | "ByUnit" >> beam.CoGroupByKey()
            | "Compare" >> compare
            | "AllLinks" >> beam.GroupByKey()
            | "FindCopies" >> beam.FlatMapTuple(_find_copies).with_output_types(tuple[int, Drop])
        )


def _shingles(
    row_reader: RowReader, unit: WorkUnit, wanted: np.ndarray
) -> Iterator[tuple[np.ndarray, Hashed]]:
    """(places, word 3-grams) of the wanted rows of a unit, batch by batch, in order."""
    for range_index, rows in row_reader.rows(unit, wanted):
        places = place(range_index, rows[ROW].to_numpy())
        own = among(places, wanted)
        if len(own):
            texts = contents(rows.take(pa.array(own)))
            yield places[own], distinct(ngrams(word_array(texts), SHINGLE_WORDS))


class _LendFn(beam.DoFn):
    """A unit and its rows that other units need -> (a unit, the rows that it needs).

    (3, ([WorkUnit(3, …)], [rows, rows])) -> (7, LentRows(3, …)), (9, LentRows(3, …))
    """

    def __init__(self, row_reader: RowReader) -> None:
        self._row_reader = row_reader

    def process(
        self, element: tuple[int, tuple[Iterable[WorkUnit], Iterable[np.ndarray]]]
    ) -> Iterator[tuple[int, LentRows]]:
        (unit,), rows = element[1]
        parts = list(rows)
        if not parts:
            return
        needed = np.unique(np.concatenate(parts, axis=1), axis=1)
        for places, shingles in _shingles(self._row_reader, unit, np.unique(needed[0])):
            for borrower in np.unique(needed[1]).tolist():
                own = among(places, needed[0, needed[1] == borrower])
                if len(own):
                    yield int(borrower), LentRows.of(unit.number, places, shingles, own)


class _CompareFn(beam.DoFn):
    """A unit, its links, and rows of other units -> (0, its links that hold).

    (7, ([WorkUnit(7, …)], [links, links], [LentRows(3, …)])) -> (0, links)
    """

    def __init__(self, row_reader: RowReader) -> None:
        self._row_reader = row_reader

    def process(
        self,
        element: tuple[int, tuple[Iterable[WorkUnit], Iterable[np.ndarray], Iterable[LentRows]]],
    ) -> Iterator[tuple[int, np.ndarray]]:
        (unit,), links, lent = element[1]
        parts = list(links)
        if not parts:
            return
        comparison = LinkComparison(unit.number, np.concatenate(parts, axis=1), lent)
        for places, shingles in _shingles(self._row_reader, unit, comparison.wanted):
            for found in comparison.compare(places, shingles):
                yield 0, found


def _find_copies(_: int, links: Iterable[np.ndarray]) -> Iterator[tuple[int, Drop]]:
    return find_near_copies(links)
