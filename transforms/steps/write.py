"""Write: a unit's batches become its shards, one a split, and a file of its rejects.

A batch belongs to the files that are open for its unit.  Fused stages hand batches over in order
on every runner that was tried; unit and index of each batch reveal a runner that does not.

A complete unit is flushed and published while the next one is written, as that is mostly waiting.
Its records leave at the end of the bundle, once the storage has confirmed its files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from transforms.chat.output_columns import OutputColumns
from transforms.dataset.unit_files import RejectsFile, SplitFiles
from transforms.errors import VerificationFailed
from transforms.formats import source_reader
from transforms.records import Batch, Shard
from transforms.storage.store import DatasetStore


@dataclass
class Write(beam.PTransform):
    """``Batch -> Shard``: one Arrow file a work unit and split, also where it holds no rows.

    ``shard_count`` is the number of shards of a split.  ``balance`` names the columns whose values
    are counted, besides the lengths of all texts.
    """

    store: DatasetStore
    shard_count: int
    output_columns: OutputColumns = OutputColumns()
    balance: tuple[str, ...] = ()

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Shard]:
        files = partial(SplitFiles, self.store, self.shard_count, self.output_columns, self.balance)
        return batches | beam.ParDo(_WriteFn(files)).with_output_types(Shard)


@dataclass
class WriteRejects(beam.PTransform):
    """``Batch`` of rejects ``-> Shard``: one JSON Lines file for each unit that has any.

    Each line has ``file``, ``row`` (from 1; the line in JSON Lines), ``code`` and ``excerpt``.
    """

    store: DatasetStore
    shard_count: int
    source: source_reader.Source

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Shard]:
        files = partial(RejectsFile, self.store, self.shard_count, self.source)
        return batches | beam.ParDo(_WriteFn(files)).with_output_types(Shard)


class _UnitFiles(Protocol):
    """The files of one unit while it is written."""

    def append(self, batch: Batch) -> None: ...

    def close(self) -> list[Shard]: ...

    def abandon(self) -> None: ...


_MAX_CLOSING = 2
"""Complete units that are published at a time: their files take room until they are."""


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
            if len(self._closing) >= _MAX_CLOSING:
                self._closing[-_MAX_CLOSING][1].result()
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
