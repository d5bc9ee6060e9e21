"""The files that a work unit writes: a shard a split, and its rejects."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pyarrow.compute as pc

from transforms.chat.output_columns import OutputColumns
from transforms.conversations.remedies import name_in
from transforms.dataset.shard_writer import HashingFile, ShardWriter
from transforms.errors import VerificationFailed
from transforms.formats import source_reader
from transforms.quality.row_stats import RowStats, measure, merge_stats, to_text
from transforms.records import VALIDATION, Batch, Shard, Written
from transforms.split import SPLITS
from transforms.storage.names import REJECTS_FOLDER, shard_path
from transforms.storage.store import REJECTS_RECORD, SPLITS_RECORD, DatasetStore, write_records

_MOST_MEASURED = 64
"""Batches whose counts wait to be added up, which is cheaper for many at a time."""


_MOST_NAMES = 20
"""Names of unknown roles that a unit reports."""


class SplitFiles:
    """The Arrow file of each split."""

    def __init__(
        self,
        store: DatasetStore,
        shard_count: int,
        output_columns: OutputColumns,
        balance: tuple[str, ...],
        unit: int,
    ) -> None:
        self._store, self._shard_count, self._unit = store, shard_count, unit
        self._balance, self._row_stats = balance, [RowStats()]
        self._columns = list(output_columns.columns)
        self._read, self._content = 0, ""
        self._note_counts: Counter[str] = Counter()
        self._duplicates: dict[str, list[int]] = {}
        schema = output_columns.schema
        self._writers = {split: ShardWriter(store.scratch_file(), schema) for split in SPLITS}

    def append(self, batch: Batch) -> None:
        self._read += batch.read
        self._content = batch.content
        self._note_counts.update(batch.note_counts)
        if any(batch.duplicates):
            counts = self._duplicates.setdefault(batch.file_range.file, [0, 0])
            for kind, count in enumerate(batch.duplicates):
                counts[kind] += count
        marks, rows = batch.table[VALIDATION], batch.table.select(self._columns)
        trained = len(marks) - (pc.sum(marks).as_py() or 0)
        if pc.any(marks.slice(0, trained)).as_py():
            raise VerificationFailed(
                "a batch does not hold its training rows first, as Partition does"
            )
        self._row_stats.append(measure(batch.table, marks, batch.file_range.file, self._balance))
        if len(self._row_stats) > _MOST_MEASURED:
            self._row_stats = [merge_stats(self._row_stats)]
        self._writers["train"].append(rows.slice(0, trained))
        self._writers["validation"].append(rows.slice(trained))

    def close(self) -> list[Shard]:
        shards = []
        for split, writer in self._writers.items():
            path = shard_path(split, self._unit, self._shard_count)
            done = writer.close()
            self._store.publish(writer.path, path, done)
            shard = Shard(
                self._unit,
                split,
                path,
                done.rows,
                self._read,
                done.bytes,
                done.sha256,
                xxh3=done.xxh3,
            )
            if split == SPLITS[0]:
                note_counts = dict(sorted(self._note_counts.items()))
                row_stats = to_text(merge_stats(self._row_stats))
                shard = replace(
                    shard,
                    note_counts=note_counts,
                    duplicates=self._duplicates,
                    row_stats=row_stats,
                    content=self._content,
                )
            shards.append(shard)
        write_records(self._store, self._unit, SPLITS_RECORD, shards)
        return shards

    def abandon(self) -> None:
        for writer in self._writers.values():
            writer.abandon()


class RejectsFile:
    """The JSON Lines file of a unit's rejects; made only when there is one."""

    def __init__(
        self, store: DatasetStore, shard_count: int, source: source_reader.Source, unit: int
    ) -> None:
        self._store, self._shard_count, self._source, self._unit = store, shard_count, source, unit
        self._path = store.scratch_file()
        self._file: HashingFile | None = None
        self._read = 0
        self._codes: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        self._unknown_roles: dict[str, None] = {}

    def append(self, batch: Batch) -> None:
        self._read += batch.read
        if not batch.table.num_rows:
            return
        self._file = self._file or HashingFile(self._path)
        file_range = batch.file_range
        before = source_reader.first_row(
            self._source.path(file_range.file), self._source.file_format, file_range
        )
        for reject in batch.table.to_pylist():
            row = before + reject["row"]
            line = {"file": file_range.file, **reject, "row": row}
            self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            self._codes[reject["code"]] += 1
            self._examples.setdefault(reject["code"], f"{file_range.file} row {row:,}")
            name = name_in(reject["code"], reject["excerpt"])
            if name is not None and len(self._unknown_roles) < _MOST_NAMES:
                self._unknown_roles.setdefault(name)

    def close(self) -> list[Shard]:
        path, rows = "", self._codes.total()
        done = Written(rows, 0, "")
        if self._file is not None:
            self._file.close()
            path = shard_path(REJECTS_FOLDER, self._unit, self._shard_count)
            done = self._file.written(rows)
            self._store.publish(self._path, path, done)
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
            list(self._unknown_roles),
            xxh3=done.xxh3,
        )
        write_records(self._store, self._unit, REJECTS_RECORD, [shard])
        return [shard]

    def abandon(self) -> None:
        if self._file is not None:
            self._file.abandon(self._path)
