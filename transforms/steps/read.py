"""Read: work units become batches of source rows, in order, without the rows to leave out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from transforms.duplicates.positions import Drop, among, rows_of_range
from transforms.formats import source_reader
from transforms.records import REJECTS, ROW, Batch, FileRange, WorkUnit
from transforms.storage.store import DatasetStore, required_work
from transforms.text.hashing import each_once


@dataclass
class WorkUnits(beam.PTransform):
    """``PBegin -> WorkUnit``: the units of a plan."""

    units: tuple[WorkUnit, ...] | StoredWorkUnits

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[WorkUnit]:
        if isinstance(self.units, StoredWorkUnits):
            load = beam.FlatMap(self.units.load).with_output_types(WorkUnit)
            return begin | "Parts" >> beam.Create(self.units.parts) | "Load" >> load
        return begin | "All" >> beam.Create(self.units, reshuffle=False).with_output_types(WorkUnit)


@dataclass
class Read(beam.PTransform):
    """(``WorkUnit``, (unit number, ``Drop``)) ``-> Batch``: every unit's rows, in order.

    An empty batch with ``last`` set closes a unit.  Rows of its drops are left out, and counted in
    ``duplicates``.  Units in ``finished``, runs of numbers (first, past the last), are not read.
    ``batch_bytes`` is about how much a batch holds; it never shows in the output.
    """

    source: source_reader.Source
    finished: Sequence[tuple[int, int]] = ()
    batch_bytes: int = source_reader.BATCH_BYTES

    def expand(
        self, inputs: tuple[beam.PCollection[WorkUnit], beam.PCollection[tuple[int, Drop]]]
    ) -> beam.PCollection[Batch]:
        units, drops = inputs
        read = beam.ParDo(_ReadUnitFn(self.source, self.batch_bytes)).with_output_types(Batch)
        left = beam.FlatMap(_left, self.finished).with_output_types(tuple[int, Any])
        # Grouping spreads the units, too; else they would be fused to the one first element.
        return (
            (units | "Left" >> left, drops)
            | beam.Flatten()
            | "WithDrops" >> beam.GroupByKey()
            | "ReadUnit" >> read
        )


def _left(unit: WorkUnit, finished: Sequence[tuple[int, int]]) -> Iterator[tuple[int, WorkUnit]]:
    if not any(first <= unit.number < end for first, end in finished):
        yield unit.number, unit


class _ReadUnitFn(beam.DoFn):
    """One unit, with what to leave out of it -> its batches.

    Unit(7, (Piece("a.jsonl", 0, 9000),)) -> Batch(7, 0, False, …), Batch(7, 1, False, …),
    Batch(7, 2, True, …) where the last one holds no rows.
    """

    def __init__(self, source: source_reader.Source, batch_bytes: int) -> None:
        self._source = source
        self._batch_bytes = batch_bytes

    def process(self, element: tuple[int, Iterable[WorkUnit | Drop]]) -> Iterator[Batch]:
        parts = list(element[1])
        drops = [part for part in parts if isinstance(part, Drop)]
        for part in parts:  # no unit where only drops came: it is finished
            if isinstance(part, WorkUnit):
                yield from self._read(part, _LeftOut(drops))

    def _read(self, unit: WorkUnit, left_out: _LeftOut) -> Iterator[Batch]:
        index = 0
        schema = pa.schema(
            [*((c.name, pa.string()) for c in self._source.columns), (ROW, pa.int64())]
        )
        for number, file_range in enumerate(unit.file_ranges):
            exact, near = left_out.of_piece(number)
            for rows in source_reader.read(
                self._source.path(file_range.file),
                self._source.file_format,
                file_range,
                self._source.columns,
                self._batch_bytes,
            ):
                table, duplicates = _without(rows.table, exact, near)
                yield Batch(
                    *(unit.number, index, False, file_range, table, rows.read, rows.rejects),
                    duplicates=duplicates,
                )
                index += 1
        end = FileRange(unit.file_ranges[-1].file, 0, 0)
        yield Batch(unit.number, index, True, end, schema.empty_table(), 0, REJECTS.empty_table())


class _LeftOut:
    """The rows of a unit that are duplicates; a row that is an exact copy counts as that alone."""

    def __init__(self, drops: Sequence[Drop]) -> None:
        self._exact, near = (
            each_once(
                np.concatenate(
                    [np.empty(0, np.uint64), *(_places(d) for d in drops if d.near is kind)]
                )
            )
            for kind in (False, True)
        )
        self._near = np.setdiff1d(near, self._exact)

    def of_piece(self, file_range: int) -> tuple[np.ndarray, np.ndarray]:
        """The row numbers of a piece's exact and near copies, sorted."""
        return rows_of_range(self._exact, file_range), rows_of_range(self._near, file_range)


def _without(
    table: pa.Table, exact: np.ndarray, near: np.ndarray
) -> tuple[pa.Table, tuple[int, int]]:
    """A batch's rows without those numbers, and how many of each kind were among them."""
    rows = table[ROW].to_numpy()
    exact, near = among(rows, exact), among(rows, near)
    if not len(exact) and not len(near):
        return table, (0, 0)
    kept = np.ones(len(rows), bool)
    kept[exact] = kept[near] = False
    return table.filter(pa.array(kept)), (len(exact), len(near))


def _places(drop: Drop) -> np.ndarray:
    return np.frombuffer(drop.places, np.uint64)


MAX_INLINE = 1000
"""More units than this travel as files: runners limit the size of a graph (Flink to 10 MB)."""


@dataclass(frozen=True)
class StoredWorkUnits:
    """``count`` units in files of ``MAX_INLINE`` units each."""

    store: DatasetStore
    count: int

    @classmethod
    def written(cls, store: DatasetStore, units: Sequence[WorkUnit]) -> StoredWorkUnits:
        """Writes the units where the workers can read them."""
        stored = cls(store, len(units))
        for part in stored.parts:
            some = units[part * MAX_INLINE : (part + 1) * MAX_INLINE]
            rows = [
                [unit.number, [astuple(file_range) for file_range in unit.file_ranges]]
                for unit in some
            ]
            store.put_work(_name(part), json.dumps(rows).encode())
        return stored

    @property
    def parts(self) -> range:
        """The numbers of the files."""
        return range(-(-self.count // MAX_INLINE))

    def load(self, part: int) -> Iterator[WorkUnit]:
        """The units of one file."""
        for number, file_ranges in json.loads(required_work(self.store, _name(part))):
            yield WorkUnit(number, tuple(FileRange(*file_range) for file_range in file_ranges))


def _name(part: int) -> str:
    return f"units-{part:05d}.json"
