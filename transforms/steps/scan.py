"""Scan: a first pass over the source, for what must be known before rows are written.

Only a pass over all rows shows which of them are duplicates, and which validation prompts no
training row may resemble.  The source is read twice for that: hashing takes a small part of the
time that rendering and writing take, and only hashes are held or cross a shuffle.

Of a large columnar source only the instructions are read at first (see ``confirm_exact``).

Where nothing must be known beforehand the bytes of local files are hashed all the same, before any
row is read: a change of them while they are read must be found (see ``source_content``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from transforms.duplicates.content_hash import prompt_hashes
from transforms.duplicates.exact import count_buckets, find_copies, find_shared
from transforms.duplicates.minhash import find_links
from transforms.duplicates.positions import Drop, place
from transforms.duplicates.row_reader import RowReader
from transforms.duplicates.unit_hashes import BAND_KEY, HASH_KEY, ROWS_PER_PART, UnitHashes
from transforms.formats import source_reader
from transforms.formats.source_content import SourceContent, source_content
from transforms.leakage.prompts import (
    BYTES_AT_ONCE,
    NONE,
    PROMPTS_FILE,
    Prompts,
    is_sampled,
    make_prompts,
    merge_prompts,
)
from transforms.records import ROW, WorkUnit, one_array
from transforms.split import hash64
from transforms.steps.confirm_exact import ConfirmExact
from transforms.steps.confirm_near import ConfirmNear
from transforms.steps.read import by_number
from transforms.storage.store import DatasetStore, note_scanned
from transforms.text.normalization import normalise_keys

MANY_ROWS = 50_000
"""From this number of rows on, reading instructions alone pays for the two shuffles it adds."""

_PROMPTS_KEY = "prompts"
_LINKS, _DROPS = "links", "drops"
_HASHES, _CONTENTS = "hashes", "contents"


@dataclass
class Scan(beam.PTransform):
    """``WorkUnit -> ((unit number, Drop), (unit number, SourceContent))``, when all rows are known.

    The drops are the rows to leave out; a unit without any has none.  The contents are those of
    the source before a row of it was read.  The validation prompts are then in the work file
    ``PROMPTS_FILE``.  The source has about ``estimated_rows``.
    """

    row_reader: RowReader
    store: DatasetStore
    estimated_rows: int

    def expand(
        self, units: beam.PCollection[WorkUnit]
    ) -> tuple[beam.PCollection[tuple[int, Drop]], beam.PCollection[tuple[int, SourceContent]]]:
        numbered = units | "ByNumber" >> by_number() | "Spread" >> beam.GroupByKey()
        if not self.row_reader.is_needed:
            nothing = beam.FlatMap(lambda unit: []).with_output_types(tuple[int, Drop])
            hashed = beam.FlatMap(_content, self.row_reader.source)
            contents = numbered | "Hash" >> hashed.with_output_types(tuple[int, SourceContent])
            return units | "Nothing" >> nothing, contents
        bucket_count = count_buckets(self.estimated_rows)
        prompts_only = self.row_reader.can_read_prompts_alone and self.estimated_rows >= MANY_ROWS
        scan = beam.ParDo(_ScanUnitFn(self.row_reader, self.store, bucket_count, prompts_only))
        scan = scan.with_output_types(tuple[str, Any]).with_outputs(_CONTENTS, main=_HASHES)
        scanned = numbered | "ScanUnit" >> scan
        contents = scanned[_CONTENTS]
        contents.element_type = tuple[int, SourceContent]
        hashes = scanned[_HASHES] | "ByKey" >> beam.GroupByKey()
        return self._drops(units, hashes, bucket_count, prompts_only), contents

    def _drops(
        self,
        units: beam.PCollection[WorkUnit],
        hashes: beam.PCollection[tuple[str, Any]],
        bucket_count: int,
        prompts_only: bool,
    ) -> beam.PCollection[tuple[int, Drop]]:
        resolve = beam.ParDo(_ResolveFn(self.store, prompts_only))
        if prompts_only and self.row_reader.quality.dedup == "exact":
            shared = hashes | "Resolve" >> resolve.with_output_types(tuple[int, np.ndarray])
            return (shared, units) | "ConfirmExact" >> ConfirmExact(self.row_reader, bucket_count)
        if self.row_reader.quality.dedup != "near":
            return hashes | "Resolve" >> resolve.with_output_types(tuple[int, Drop])
        resolved = hashes | "Resolve" >> resolve.with_outputs(_LINKS, main=_DROPS)
        near = (resolved[_LINKS], units) | "ConfirmNear" >> ConfirmNear(self.row_reader)
        return (resolved[_DROPS], near) | beam.Flatten()


def _content(
    element: tuple[int, Iterable[WorkUnit]], source: source_reader.Source
) -> Iterator[tuple[int, SourceContent]]:
    for unit in element[1]:
        yield unit.number, source_content(source, unit)


class _ScanUnitFn(beam.DoFn):
    """A unit -> (key, Fingerprints, Banded or Prompts); those of one key belong together.

    (7, [WorkUnit(7, …)]) -> ("hashes/0", Fingerprints(7, …)), ("prompts", Prompts(…)), and beside
    them (7, SourceContent(…)), hashed before a row is read.
    """

    def __init__(
        self, row_reader: RowReader, store: DatasetStore, bucket_count: int, prompts_only: bool
    ) -> None:
        self._row_reader, self._store, self._bucket_count = row_reader, store, bucket_count
        self._prompts_only = prompts_only

    def process(self, element: tuple[int, Iterable[WorkUnit]]) -> Iterator[tuple[str, Any]]:
        (unit,) = element[1]
        content = source_content(self._row_reader.source, unit)
        yield beam.pvalue.TaggedOutput(_CONTENTS, (unit.number, content))
        dedup = self._row_reader.quality.dedup
        hashes = UnitHashes(unit.number, dedup, self._bucket_count, self._prompts_only)
        prompts, sampled, size = NONE, [], 0
        read = self._row_reader.prompts if self._prompts_only else self._row_reader.rows
        for range_index, rows in read(unit):
            of_prompts = prompt_hashes(rows)
            hashes.add(rows, of_prompts, place(range_index, rows[ROW].to_numpy()))
            if hashes.rows >= ROWS_PER_PART:
                yield from hashes.take()
            sampled.append(self._sample(rows, of_prompts))
            size += sampled[-1].nbytes
            if size >= BYTES_AT_ONCE:
                prompts, sampled, size = self._add(prompts, sampled), [], 0
        yield from hashes.take()
        yield _PROMPTS_KEY, self._add(prompts, sampled)
        note_scanned(self._store, unit.number, content.digest)
        pa.default_memory_pool().release_unused()  # what reading took is not needed for a while

    def _sample(self, rows: pa.Table, hashes: np.ndarray) -> pa.Table:
        """Instructions (and split keys) to look for if they are validation rows'."""
        rows = rows.select(["instruction", *(["key"] if self._row_reader.split.key else [])])
        return rows.filter(
            pa.array(is_sampled(hashes, self._row_reader.quality.leakage_sample_rate))
        )

    def _add(self, prompts: Prompts, sampled: list[pa.Table]) -> Prompts:
        """``prompts`` and those of the validation rows among the sampled ones."""
        if not any(rows.num_rows for rows in sampled):
            return prompts
        rows, split = pa.concat_tables(sampled), self._row_reader.split
        texts = normalise_keys(one_array(rows["instruction"]))
        marks = split.is_validation(one_array(rows["key"]) if split.key else texts)
        texts = texts.filter(marks)
        return merge_prompts([prompts, make_prompts(texts, hash64(split.seed, texts))])


class _ResolveFn(beam.DoFn):
    """A key and all that has it -> (unit number, Drop), and links of near duplicates beside them.

    ("hashes/0", [Fingerprints(…), …]) -> (7, Drop(…)), (9, Drop(…)).  Where only prompts were read
    it gives (unit number, places of the rows with a shared prompt) instead.
    """

    def __init__(self, store: DatasetStore, prompts_only: bool) -> None:
        self._store, self._prompts_only = store, prompts_only

    def process(self, element: tuple[str, Iterable[Any]]) -> Iterator[Any]:
        key, group = element
        kind = key.partition("/")[0]
        if kind == HASH_KEY:
            yield from find_shared(group) if self._prompts_only else find_copies(group)
        elif kind == BAND_KEY:
            for links in find_links(group):
                yield beam.pvalue.TaggedOutput(_LINKS, links)
        else:
            prompts = NONE
            for part in group:
                prompts = merge_prompts([prompts, part])
            self._store.put_work(PROMPTS_FILE, prompts.to_bytes())
