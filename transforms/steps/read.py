"""Read: work units become batches of source rows, in order, without the rows to leave out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import msgspec
import numpy as np
import pyarrow as pa

from transforms.duplicates.positions import Drop, among, rows_of_range
from transforms.formats import source_reader
from transforms.formats.source_content import (
    SourceContent,
    require_same_content,
    source_content,
)
from transforms.records import REJECTS, ROW, Batch, FileRange, WorkUnit
from transforms.storage.store import DatasetStore, required_work
from transforms.text.hashing import each_once
from transforms.work_units import consecutive_runs


@dataclass
class WorkUnits(beam.PTransform):
    """``PBegin -> WorkUnit``: the units of a plan."""

    units: tuple[WorkUnit, ...] | StoredWorkUnits

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[WorkUnit]:
        if isinstance(self.units, StoredWorkUnits):
            load = beam.FlatMap(self.units.load).with_output_types(WorkUnit)
            return begin | "Parts" >> beam.Create(self.units.parts) | "Load" >> load
        return begin | "All" >> beam.Create(self.units, reshuffle=False).with_output_types(WorkUnit)


def by_number() -> Any:
    """A transform: each unit with its number as the key, to be grouped or joined."""
    return beam.Map(_with_number).with_output_types(tuple[int, WorkUnit])


def _with_number(unit: WorkUnit) -> tuple[int, WorkUnit]:
    return unit.number, unit


@dataclass
class Read(beam.PTransform):
    """``(WorkUnit, (unit number, Drop), (unit number, SourceContent)) -> Batch``: rows in order.

    An empty batch with ``last`` set closes a unit.  Rows of its drops are left out, and counted in
    ``duplicates``.  A unit's source must still have the content that the first pass found.  The
    units whose numbers are in ``finished`` are not read.  A batch holds about ``batch_bytes``,
    which never shows in the output.
    """

    source: source_reader.Source
    finished: Sequence[int] = ()
    batch_bytes: int = source_reader.BATCH_BYTES

    def expand(
        self,
        inputs: tuple[
            beam.PCollection[WorkUnit],
            beam.PCollection[tuple[int, Drop]],
            beam.PCollection[tuple[int, SourceContent]],
        ],
    ) -> beam.PCollection[Batch]:
        units, drops, contents = inputs
        finished = consecutive_runs(self.finished)  # a graph must stay small
        read = beam.ParDo(_ReadUnitFn(self.source, self.batch_bytes)).with_output_types(Batch)
        return (
            (
                units
                | "Unfinished" >> beam.Filter(_is_unfinished, finished).with_output_types(WorkUnit)
                | "ByNumber" >> by_number(),
                drops,
                contents,
            )
            # Spreads the units over the workers, too; else they would be fused to their one source.
            | "WithDrops" >> beam.CoGroupByKey()
            | "ReadUnit" >> read
        )


def _is_unfinished(unit: WorkUnit, finished: Sequence[tuple[int, int]]) -> bool:
    return not any(first <= unit.number < end for first, end in finished)


class _ReadUnitFn(beam.DoFn):
    """A unit, with what to leave out of it -> its batches.

    (7, ([WorkUnit(7, …)], [Drop(…)], [SourceContent(…)])) -> Batch(7, 0, False, …),
    Batch(7, 1, False, …), Batch(7, 2, True, …) where the last one holds no rows.  Without a unit,
    as where only drops of a finished one come, there is nothing to read.
    """

    def __init__(self, source: source_reader.Source, batch_bytes: int) -> None:
        self._source = source
        self._batch_bytes = batch_bytes

    def process(
        self,
        element: tuple[int, tuple[Iterable[WorkUnit], Iterable[Drop], Iterable[SourceContent]]],
    ) -> Iterator[Batch]:
        units, drops, contents = element[1]
        for unit in units:
            yield from self._read(unit, _LeftOut(list(drops)), list(contents))

    def _read(
        self, unit: WorkUnit, left_out: _LeftOut, before: list[SourceContent]
    ) -> Iterator[Batch]:
        index = 0
        schema = pa.schema(
            [*((c.name, pa.string()) for c in self._source.columns), (ROW, pa.int64())]
        )
        for number, file_range in enumerate(unit.file_ranges):
            exact, near = left_out.of_range(number)
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
        after = source_content(self._source, unit)
        for content in before:  # several, where the runner ran the first pass again
            require_same_content(self._source, unit, content, after)
        end = FileRange(unit.file_ranges[-1].file, 0, 0)
        nothing = schema.empty_table(), 0, REJECTS.empty_table()
        yield Batch(unit.number, index, True, end, *nothing, content=after.digest)


class _LeftOut:
    """The rows of a unit that are duplicates; a row that is an exact copy counts as that alone."""

    def __init__(self, drops: Sequence[Drop]) -> None:
        empty = np.empty(0, np.uint64)
        self._exact, near = (
            each_once(np.concatenate([empty, *(d.places for d in drops if d.near is kind)]))
            for kind in (False, True)
        )
        self._near = np.setdiff1d(near, self._exact)

    def of_range(self, range_index: int) -> tuple[np.ndarray, np.ndarray]:
        """The row numbers of a file range's exact and near copies, sorted."""
        return rows_of_range(self._exact, range_index), rows_of_range(self._near, range_index)


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


MAX_INLINE = 1000
"""More units than this travel as files: runners limit the size of a graph (Flink to 10 MB)."""


@dataclass(frozen=True)
class StoredWorkUnits:
    """``count`` units in work files of ``MAX_INLINE`` units each."""

    store: DatasetStore
    count: int

    @classmethod
    def written(cls, store: DatasetStore, units: Sequence[WorkUnit]) -> StoredWorkUnits:
        """Writes the units where the workers can read them."""
        stored = cls(store, len(units))
        for part in stored.parts:
            some = units[part * MAX_INLINE : (part + 1) * MAX_INLINE]
            store.put_work(_name(part), msgspec.json.encode(some))
        return stored

    @property
    def parts(self) -> range:
        """The numbers of the files."""
        return range(-(-self.count // MAX_INLINE))

    def load(self, part: int) -> list[WorkUnit]:
        """The units of one file."""
        return msgspec.json.decode(required_work(self.store, _name(part)), type=list[WorkUnit])


def _name(part: int) -> str:
    return f"units-{part:05d}.json"
