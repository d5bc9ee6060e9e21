"""Recall: units that an earlier run finished give their records again, without their work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import apache_beam as beam

from transforms.errors import VerificationFailed
from transforms.records import Shard
from transforms.storage import Folder, recall


@dataclass
class Recall(beam.PTransform):
    """``PBegin -> Shard``: the records of finished ``units``, which the output holds."""

    folder: Folder
    units: Sequence[int]

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[Shard]:
        load = beam.FlatMap(_load, self.folder).with_output_types(Shard)
        return begin | "Runs" >> beam.Create(runs(self.units)) | "Load" >> load


def runs(units: Sequence[int]) -> list[tuple[int, int]]:
    """(first, past the last) of each run of consecutive numbers: a graph must stay small.

    [0, 1, 2, 5] -> [(0, 3), (5, 6)]
    """
    found = []
    for _, run in groupby(enumerate(sorted(units)), key=lambda place: place[1] - place[0]):
        numbers = [unit for _, unit in run]
        found.append((numbers[0], numbers[-1] + 1))
    return found


def _load(run: tuple[int, int], folder: Folder) -> Iterator[Shard]:
    for unit in range(*run):
        shards = recall(folder, unit)
        if shards is None:
            raise VerificationFailed(
                f"the record of unit {unit} at {folder.path} is gone; run again without --resume"
            )
        yield from shards
