"""The files that a work unit writes: a shard a split, and its rejects."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pyarrow.compute as pc

from transforms.chat.output_columns import Shape
from transforms.dataset.shard_writer import HashingFile, ShardWriter
from transforms.errors import VerificationFailed
from transforms.formats import source_reader
from transforms.quality.row_stats import Measured, measure, to_text, together
from transforms.records import VALIDATION, Batch, Shard, Written
from transforms.split import SPLITS
from transforms.storage.names import REJECTS_FOLDER, shard_path
from transforms.storage.store import REJECTS_RECORD, SPLITS_RECORD, Folder, record

_MOST_MEASURED = 64
"""Batches whose counts wait to be added up, which is cheaper for many at a time."""


class _SplitFiles:
    """The Arrow file of each split."""

    def __init__(
        self, folder: Folder, of: int, shape: Shape, balance: tuple[str, ...], unit: int
    ) -> None:
        self._folder, self._of, self._unit = folder, of, unit
        self._balance, self._measured = balance, [Measured()]
        self._columns = list(shape.columns)
        self._read = 0
        self._events: Counter[str] = Counter()
        self._duplicates: dict[str, list[int]] = {}
        schema = shape.schema
        self._writers = {split: ShardWriter(folder.scratch_file(), schema) for split in SPLITS}

    def append(self, batch: Batch) -> None:
        self._read += batch.read
        self._events.update(batch.events)
        if any(batch.duplicates):
            counts = self._duplicates.setdefault(batch.piece.file, [0, 0])
            for kind, count in enumerate(batch.duplicates):
                counts[kind] += count
        marks, rows = batch.table[VALIDATION], batch.table.select(self._columns)
        trained = len(marks) - (pc.sum(marks).as_py() or 0)
        if pc.any(marks.slice(0, trained)).as_py():
            raise VerificationFailed(
                "a batch does not hold its training rows first, as Partition does"
            )
        self._measured.append(measure(batch.table, marks, batch.piece.file, self._balance))
        if len(self._measured) > _MOST_MEASURED:
            self._measured = [together(self._measured)]
        self._writers["train"].append(rows.slice(0, trained))
        self._writers["validation"].append(rows.slice(trained))

    def close(self) -> list[Shard]:
        shards = []
        for split, writer in self._writers.items():
            path = shard_path(split, self._unit, self._of)
            done = writer.close()
            self._folder.publish(writer.path, path, done)
            shard = Shard(self._unit, split, path, done.rows, self._read, done.bytes, done.sha256)
            if split == SPLITS[0]:
                events = dict(sorted(self._events.items()))
                measured = to_text(together(self._measured))
                shard = replace(
                    shard, events=events, duplicates=self._duplicates, measured=measured
                )
            shards.append(shard)
        record(self._folder, self._unit, SPLITS_RECORD, shards)
        return shards

    def abandon(self) -> None:
        for writer in self._writers.values():
            writer.abandon()


class _RejectsFile:
    """The JSON Lines file of a unit's rejects; made only when there is one."""

    def __init__(self, folder: Folder, of: int, source: source_reader.Source, unit: int) -> None:
        self._folder, self._of, self._source, self._unit = folder, of, source, unit
        self._path = folder.scratch_file()
        self._file: HashingFile | None = None
        self._read = 0
        self._codes: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def append(self, batch: Batch) -> None:
        self._read += batch.read
        if not batch.table.num_rows:
            return
        self._file = self._file or HashingFile(self._path)
        piece = batch.piece
        before = source_reader.first_row(self._source.path(piece.file), self._source.form, piece)
        for reject in batch.table.to_pylist():
            row = before + reject["row"]
            line = {"file": piece.file, **reject, "row": row}
            self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            self._codes[reject["code"]] += 1
            self._examples.setdefault(reject["code"], f"{piece.file} row {row:,}")

    def close(self) -> list[Shard]:
        path, rows = "", self._codes.total()
        done = Written(rows, 0, "")
        if self._file is not None:
            self._file.close()
            path = shard_path(REJECTS_FOLDER, self._unit, self._of)
            done = Written(rows, self._file.size, self._file.hexdigest())
            self._folder.publish(self._path, path, done)
        shard = Shard(
            self._unit,
            REJECTS_FOLDER,
            path,
            rows,
            self._read,
            done.bytes,
            done.sha256,
            dict(self._codes),
            self._examples,
        )
        record(self._folder, self._unit, REJECTS_RECORD, [shard])
        return [shard]

    def abandon(self) -> None:
        if self._file is not None:
            self._file.abandon(self._path)
