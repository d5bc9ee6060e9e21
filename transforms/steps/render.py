"""Render: conversations become text and output columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import apache_beam as beam
import pyarrow as pa

from transforms.chat.output_columns import OutputColumns
from transforms.chat.render_rows import render, sandbox_of
from transforms.chat.template import ChatFormat
from transforms.chat.token_counter import stored_counter
from transforms.chat.token_limit import Limit, TooLong
from transforms.formats import source_reader
from transforms.options import TokenRule
from transforms.records import Batch, FileRange
from transforms.storage.store import DatasetStore

REJECTED = "rejected"
"""The side output's tag."""


@dataclass
class Render(beam.PTransform):
    """``Batch -> {None: Batch, REJECTED: Batch}``.

    The main output's tables have the shape's columns and ``validation``.  The side output has a
    batch of the ``REJECTS`` schema for every input batch, with the same place: what Read,
    Normalize and this step could not take.

    With ``tokens`` the main output has ``TOKENS``, too; the tokenizer lies beside ``store``, and
    ``source`` gives the place of a row that is too long.
    """

    chat: ChatFormat
    output_columns: OutputColumns
    tokens: TokenRule | None = None
    store: DatasetStore | None = None
    source: source_reader.Source | None = None

    def expand(self, batches: beam.PCollection[Batch]) -> beam.pvalue.DoOutputsTuple:
        step = _RenderFn(self.chat, self.output_columns, self.tokens, self.store, self.source)
        render = beam.ParDo(step).with_output_types(Batch)
        outputs = batches | render.with_outputs(REJECTED, main="kept")
        outputs[REJECTED].element_type = Batch  # else Beam would pickle tables to sample their size
        return outputs


class _RenderFn(beam.DoFn):
    def __init__(
        self,
        chat: ChatFormat,
        output_columns: OutputColumns,
        tokens: TokenRule | None,
        store: DatasetStore | None,
        source: source_reader.Source | None,
    ) -> None:
        self._chat, self._output_columns = chat, output_columns
        self._tokens, self._store, self._source = tokens, store, source
        self._limit: Limit | None = None

    def setup(self) -> None:
        self._sandbox = sandbox_of(self._chat)
        if self._tokens is not None and self._store is not None:
            self._limit = Limit(self._tokens, stored_counter(self._store, self._tokens))

    def process(self, batch: Batch) -> Iterator[Batch]:
        try:
            rows = render(batch.table, self._chat, self._output_columns, self._sandbox, self._limit)
        except TooLong as error:
            raise error.at(
                batch.file_range.file, self._before(batch.file_range) + error.row
            ) from error
        rejects = rows.rejects
        if batch.rejects is not None:
            rejects = pa.concat_tables([batch.rejects, rejects])
        note_counts = Counter(batch.note_counts)
        note_counts.update(rows.note_counts)
        yield replace(batch, table=rows.kept, rejects=None, note_counts=note_counts)
        rejected = replace(batch, table=rejects.sort_by("row"), rejects=None)
        yield beam.pvalue.TaggedOutput(REJECTED, rejected)

    def _before(self, file_range: FileRange) -> int:
        source = self._source
        return (
            source_reader.first_row(source.path(file_range.file), source.file_format, file_range)
            if source
            else 0
        )

    def teardown(self) -> None:
        self._sandbox.close()
