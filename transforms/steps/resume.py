"""Resume: the records and the rows of units that an earlier run finished."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa

from transforms.errors import VerificationFailed
from transforms.records import VALIDATION, Batch, FileRange, Shard
from transforms.split import SPLITS
from transforms.steps import coders  # noqa: F401 (registers the coder of Batch)
from transforms.storage.chunked_file import ChunkedFile
from transforms.storage.store import DatasetStore, read_records
from transforms.work_units import consecutive_runs

_UNKNOWN = FileRange("", 0, 0)


@dataclass
class ResumeShards(beam.PTransform):
    """``PBegin -> Shard``: the records of finished ``units``, given by number."""

    store: DatasetStore
    units: Sequence[int]

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[Shard]:
        load = beam.FlatMap(_load, self.store).with_output_types(Shard)
        return begin | "Runs" >> beam.Create(consecutive_runs(self.units)) | "Load" >> load


@dataclass
class ResumeRows(beam.PTransform):
    """``PBegin -> Batch``: the rows of finished ``units`` as their shards hold them.

    A table holds a record batch of a shard: the shape's columns, and ``validation``.  The shards
    do not say which file a row came from (``file_range.file`` is "").
    """

    store: DatasetStore
    units: Sequence[int]

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[Batch]:
        read = beam.FlatMap(_read, self.store).with_output_types(Batch)
        return (
            begin
            | "Runs" >> beam.Create(consecutive_runs(self.units))
            | "Numbers" >> beam.FlatMap(lambda run: range(*run)).with_output_types(int)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> read
        )


def _load(run: tuple[int, int], store: DatasetStore) -> Iterator[Shard]:
    for unit in range(*run):
        yield from _shards(unit, store)


def _shards(unit: int, store: DatasetStore) -> list[Shard]:
    shards = read_records(store, unit)
    if shards is None:
        raise VerificationFailed(
            f"the record of unit {unit} at {store.path} is gone; run again without --resume"
        )
    return shards


def _read(unit: int, store: DatasetStore) -> Iterator[Batch]:
    index = 0
    for shard in _shards(unit, store):
        if shard.split not in SPLITS:
            continue
        try:
            with pa.ipc.open_stream(ChunkedFile(store.chunks(shard.path))) as reader:
                for rows in reader:
                    marks = np.full(rows.num_rows, shard.split != SPLITS[0])
                    table = pa.table(rows).append_column(VALIDATION, pa.array(marks))
                    yield Batch(unit, index, False, _UNKNOWN, table, rows.num_rows)
                    index += 1
        except pa.ArrowException as error:
            raise VerificationFailed(
                f"{store.path}: {shard.path} is no Arrow stream ({str(error)[:200]}); run again "
                "without --resume"
            ) from error
