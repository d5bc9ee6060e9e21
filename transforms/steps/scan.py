"""Survey: a first pass over the source, for what must be known before rows are written.

Which rows are duplicates can be told only when all were seen, and so can what a training row must
not be like.  The source is read twice for that: hashing takes a small part of the time that
rendering and writing take, and nothing but hashes is held or crosses a shuffle.

Of a large columnar source only the instructions are read at first (see ``asked_again``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from transforms.duplicates.content_hash import (
    prompt_hashes,
)
from transforms.duplicates.exact import Alike, alike, buckets, repeated
from transforms.duplicates.minhash import linked
from transforms.duplicates.positions import Drop, place
from transforms.duplicates.row_reader import RowReader
from transforms.duplicates.unit_hashes import _ROWS_A_PART, _Key, _Part
from transforms.leakage.prompts import (
    BYTES_AT_ONCE,
    NONE,
    PROMPTS_FILE,
    Prompts,
    is_sampled,
    merged,
    prompts_of,
)
from transforms.records import ROW, WorkUnit, one_array
from transforms.split import hash64
from transforms.steps.confirm_exact import ConfirmExact
from transforms.steps.confirm_near import ConfirmNear, numbered
from transforms.storage.store import DatasetStore, note_scanned
from transforms.text.normalization import normalise_keys

_LINKS = "links"

MANY_ROWS = 50_000
"""Rows from which on it pays to read instructions alone, and to have two more shuffles for it."""


@dataclass
class Scan(beam.PTransform):
    """``WorkUnit -> (unit number, Drop)``: rows to leave out, once all is known.

    Validation prompts are then in the folder's work file.  A unit without rows to leave out has no
    ``Drop``.  ``rows`` is about how many there are.
    """

    row_reader: RowReader
    store: DatasetStore
    rows: int

    def expand(self, units: beam.PCollection[WorkUnit]) -> beam.PCollection[tuple[int, Drop]]:
        if not self.row_reader.is_needed:
            nothing = beam.FlatMap(lambda unit: []).with_output_types(tuple[int, Drop])
            return units | "Nothing" >> nothing
        bucket_count = buckets(self.rows)
        alone = self.row_reader.can_read_prompts_alone and self.rows >= MANY_ROWS
        look = beam.ParDo(_ScanUnitFn(self.row_reader, self.store, bucket_count, alone))
        found = (
            units
            | "ByNumber" >> beam.Map(numbered).with_output_types(tuple[int, Any])
            | "Spread" >> beam.GroupByKey()
            | "SurveyUnit" >> look.with_output_types(tuple[str, Any])
            | "SameKey" >> beam.GroupByKey()
        )
        resolve = beam.ParDo(_ResolveFn(self.store, alone))
        if alone and self.row_reader.quality.dedup == "exact":
            asked = found | "Resolve" >> resolve.with_output_types(tuple[int, Alike])
            return (asked, units) | "ConfirmExact" >> ConfirmExact(self.row_reader, bucket_count)
        if self.row_reader.quality.dedup != "near":
            return found | "Resolve" >> resolve.with_output_types(tuple[int, Drop])
        resolved = found | "Resolve" >> resolve.with_outputs(_LINKS, main="drops")

        near = (resolved[_LINKS], units) | "ConfirmNear" >> ConfirmNear(self.row_reader)
        return (resolved.drops, near) | beam.Flatten()


class _ScanUnitFn(beam.DoFn):
    """(number, [Unit]) -> (key, Fingerprints, Banded or bytes of Prompts).

    Those of one key belong together.
    """

    def __init__(
        self, row_reader: RowReader, store: DatasetStore, bucket_count: int, alone: bool
    ) -> None:
        self._row_reader, self._store, self._bucket_count = row_reader, store, bucket_count
        self._alone = alone

    def process(self, element: tuple[int, Iterable[WorkUnit]]) -> Iterator[tuple[str, Any]]:
        (unit,) = element[1]
        part = _Part(unit.number, self._row_reader.quality.dedup, self._bucket_count, self._alone)
        prompts, chosen, size = NONE, [], 0
        read = self._row_reader.prompts if self._alone else self._row_reader.rows
        for range_index, rows in read(unit):
            asked = prompt_hashes(rows)
            part.add(rows, asked, place(range_index, rows[ROW].to_numpy()))
            if part.rows >= _ROWS_A_PART:
                yield from part.taken()
            chosen.append(self._chosen(rows, asked))
            size += chosen[-1].nbytes
            if size >= BYTES_AT_ONCE:
                prompts, chosen, size = merged([prompts, self._prompts(chosen)]), [], 0
        yield from part.taken()
        yield _Key.PROMPTS, merged([prompts, self._prompts(chosen)]).to_bytes()
        note_scanned(self._store, unit.number)
        pa.default_memory_pool().release_unused()  # what reading took is not needed for a while

    def _chosen(self, rows: pa.Table, hashes: np.ndarray) -> pa.Table:
        """Instructions (and split keys) that are looked for if they are validation rows'."""
        rows = rows.select(["instruction", *(["key"] if self._row_reader.split.key else [])])
        return rows.filter(
            pa.array(is_sampled(hashes, self._row_reader.quality.leakage_sample_rate))
        )

    def _prompts(self, chosen: list[pa.Table]) -> Prompts:
        """The prompts of validation rows among them."""
        if not any(some.num_rows for some in chosen):
            return NONE
        rows, split = pa.concat_tables(chosen), self._row_reader.split
        asked = normalise_keys(one_array(rows["instruction"]))
        marks = split.is_validation(one_array(rows["key"]) if split.key else asked)
        asked = asked.filter(marks)
        return prompts_of(asked, hash64(split.seed, asked))


class _ResolveFn(beam.DoFn):
    """(key, all that has it) -> (unit number, Drop), and links of near copies beside them.

    Where instructions were read ``alone`` it is (unit number, Alike).
    """

    def __init__(self, store: DatasetStore, alone: bool) -> None:
        self._store, self._alone = store, alone

    def process(self, element: tuple[str, Iterable[Any]]) -> Iterator[Any]:
        key, group = element
        kind = key.partition("/")[0]
        if kind == _Key.HASHES:
            yield from alike(group) if self._alone else repeated(group)
        elif kind == _Key.BAND:
            for links in linked(group):
                yield beam.pvalue.TaggedOutput(_LINKS, links)
        else:
            prompts = NONE
            for part in group:
                prompts = merged([prompts, Prompts.from_bytes(part)])
            self._store.put_work(PROMPTS_FILE, prompts.to_bytes())
