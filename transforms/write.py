"""Write: a unit's batches become its shards, one a split, and a file of its rejects.

A batch belongs to the file that its unit has open.  Fused stages hand batches over in order on
every runner that was tried; a runner that would not is caught here, loudly, by unit and index.

A unit that is whole is flushed and published beside the work on the next one, for that is waiting,
not work; its records leave at the end of the bundle, once the storage has confirmed its files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, cast

import apache_beam as beam
import pyarrow.compute as pc
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from transforms.chat.output_columns import Shape
from transforms.errors import VerificationFailed
from transforms.formats import source_reader
from transforms.quality.row_stats import Measured, measure, to_text, together
from transforms.records import VALIDATION, Batch, Shard, Written
from transforms.shards import HashingFile, ShardWriter
from transforms.split import SPLITS
from transforms.storage.names import REJECTS_FOLDER, shard_path
from transforms.storage.store import REJECTS_RECORD, SPLITS_RECORD, Folder, record


@dataclass
class Write(beam.PTransform):
    """``Batch -> Shard``: one Arrow file a unit and split, empty ones too; ``of`` counts units.

    ``balance`` names the columns whose values are counted, as the lengths of all texts are.
    """

    folder: Folder
    of: int
    shape: Shape = Shape()
    balance: tuple[str, ...] = ()

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Shard]:
        files = partial(_SplitFiles, self.folder, self.of, self.shape, self.balance)
        return batches | beam.ParDo(_WriteFn(files)).with_output_types(Shard)


@dataclass
class WriteRejects(beam.PTransform):
    """``Batch`` of rejects ``-> Shard``: one JSON Lines file for each unit that has any.

    Each line has ``file``, ``row`` (from 1; the line in JSON Lines), ``code`` and ``excerpt``.
    """

    folder: Folder
    of: int
    source: source_reader.Source

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Shard]:
        files = partial(_RejectsFile, self.folder, self.of, self.source)
        return batches | beam.ParDo(_WriteFn(files)).with_output_types(Shard)


class _UnitFiles(Protocol):
    """The files of one unit while it is written."""

    def append(self, batch: Batch) -> None: ...

    def close(self) -> list[Shard]: ...

    def abandon(self) -> None: ...


_MOST_CLOSING = 2
"""Whole units whose files are being published at a time: they take room until they are."""


class _WriteFn(beam.DoFn):
    """Batches of a unit, in order -> its Shards, after the batch that closes it."""

    def __init__(self, files: Callable[[int], _UnitFiles]) -> None:
        self._files = files
        self._open: _UnitFiles | None = None
        self._next = (-1, 0)
        self._publisher: ThreadPoolExecutor | None = None
        self._closing: list[tuple[_UnitFiles, Future[list[Shard]]]] = []

    def start_bundle(self) -> None:
        self._publisher = self._publisher or ThreadPoolExecutor(1)
        self._closing = []

    def process(self, batch: Batch) -> None:
        if self._open is None:
            self._open = self._files(batch.unit)
            self._next = (batch.unit, 0)
        if (batch.unit, batch.index) != self._next:
            raise VerificationFailed(
                f"the runner handed over batch {batch.index} of unit {batch.unit} where batch "
                f"{self._next[1]} of unit {self._next[0]} was due; this runner cannot be used"
            )
        self._open.append(batch)
        self._next = (batch.unit, batch.index + 1)
        if batch.last:
            if len(self._closing) >= _MOST_CLOSING:
                self._closing[-_MOST_CLOSING][1].result()
            publisher = cast(ThreadPoolExecutor, self._publisher)
            self._closing.append((self._open, publisher.submit(_close, self._open)))
            self._open = None

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._open is not None:
            raise VerificationFailed(
                f"the runner ended a bundle inside unit {self._next[0]}; this runner cannot be used"
            )
        window = GlobalWindow()
        for _, closed in self._closing:
            for shard in closed.result():
                yield WindowedValue(shard, window.max_timestamp(), [window])

    def teardown(self) -> None:
        if self._publisher is not None:
            self._publisher.shutdown(cancel_futures=True)
        never_closed = [files for files, closed in self._closing if closed.cancelled()]
        for files in (*never_closed, *([self._open] if self._open else [])):
            files.abandon()


def _close(files: _UnitFiles) -> list[Shard]:
    try:
        return files.close()
    except BaseException:
        files.abandon()  # else those that were not published yet would stay
        raise


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
