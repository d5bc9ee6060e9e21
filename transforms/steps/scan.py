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
    asked_hashes,
)
from transforms.duplicates.exact import Alike, alike, buckets, repeated
from transforms.duplicates.minhash import linked
from transforms.duplicates.positions import Drop, place
from transforms.duplicates.row_reader import Surveyed
from transforms.duplicates.unit_hashes import _ROWS_A_PART, _Key, _Part
from transforms.leakage.prompts import (
    BYTES_AT_ONCE,
    NONE,
    PROMPTS_FILE,
    Prompts,
    is_looked_at,
    merged,
    prompts_of,
)
from transforms.records import ROW, Unit, one_array
from transforms.steps.confirm_exact import AskedAgain
from transforms.steps.confirm_near import Near, numbered
from transforms.storage.store import Folder, note_survey
from transforms.text.hashing import hash64
from transforms.text.normalization import normalise_keys

_LINKS = "links"

MANY_ROWS = 50_000
"""Rows from which on it pays to read instructions alone, and to have two more shuffles for it."""


@dataclass
class Survey(beam.PTransform):
    """``Unit -> (unit number, Drop)``: rows to leave out, once all is known.

    Validation prompts are then in the folder's work file.  A unit without rows to leave out has no
    ``Drop``.  ``rows`` is about how many there are.
    """

    looks: Surveyed
    folder: Folder
    rows: int

    def expand(self, units: beam.PCollection[Unit]) -> beam.PCollection[tuple[int, Drop]]:
        if not self.looks.is_needed:
            nothing = beam.FlatMap(lambda unit: []).with_output_types(tuple[int, Drop])
            return units | "Nothing" >> nothing
        of = buckets(self.rows)
        alone = self.looks.can_ask_alone and self.rows >= MANY_ROWS
        look = beam.ParDo(_SurveyUnitFn(self.looks, self.folder, of, alone))
        found = (
            units
            | "ByNumber" >> beam.Map(numbered).with_output_types(tuple[int, Any])
            | "Spread" >> beam.GroupByKey()
            | "SurveyUnit" >> look.with_output_types(tuple[str, Any])
            | "SameKey" >> beam.GroupByKey()
        )
        resolve = beam.ParDo(_ResolveFn(self.folder, alone))
        if alone and self.looks.quality.dedup == "exact":
            asked = found | "Resolve" >> resolve.with_output_types(tuple[int, Alike])
            return (asked, units) | "AskedAgain" >> AskedAgain(self.looks, of)
        if self.looks.quality.dedup != "near":
            return found | "Resolve" >> resolve.with_output_types(tuple[int, Drop])
        resolved = found | "Resolve" >> resolve.with_outputs(_LINKS, main="drops")

        near = (resolved[_LINKS], units) | "Near" >> Near(self.looks)
        return (resolved.drops, near) | beam.Flatten()


class _SurveyUnitFn(beam.DoFn):
    """(number, [Unit]) -> (key, Fingerprints, Banded or bytes of Prompts).

    Those of one key belong together.
    """

    def __init__(self, looks: Surveyed, folder: Folder, of: int, alone: bool) -> None:
        self._looks, self._folder, self._of = looks, folder, of
        self._alone = alone

    def process(self, element: tuple[int, Iterable[Unit]]) -> Iterator[tuple[str, Any]]:
        (unit,) = element[1]
        part = _Part(unit.number, self._looks.quality.dedup, self._of, self._alone)
        prompts, chosen, size = NONE, [], 0
        read = self._looks.asked if self._alone else self._looks.rows
        for piece, rows in read(unit):
            asked = asked_hashes(rows)
            part.add(rows, asked, place(piece, rows[ROW].to_numpy()))
            if part.rows >= _ROWS_A_PART:
                yield from part.taken()
            chosen.append(self._chosen(rows, asked))
            size += chosen[-1].nbytes
            if size >= BYTES_AT_ONCE:
                prompts, chosen, size = merged([prompts, self._prompts(chosen)]), [], 0
        yield from part.taken()
        yield _Key.PROMPTS, merged([prompts, self._prompts(chosen)]).to_bytes()
        note_survey(self._folder, unit.number)
        pa.default_memory_pool().release_unused()  # what reading took is not needed for a while

    def _chosen(self, rows: pa.Table, hashes: np.ndarray) -> pa.Table:
        """Instructions (and split keys) that are looked for if they are validation rows'."""
        rows = rows.select(["instruction", *(["key"] if self._looks.split.key else [])])
        return rows.filter(pa.array(is_looked_at(hashes, self._looks.quality.looked_at)))

    def _prompts(self, chosen: list[pa.Table]) -> Prompts:
        """The prompts of validation rows among them."""
        if not any(some.num_rows for some in chosen):
            return NONE
        rows, split = pa.concat_tables(chosen), self._looks.split
        asked = normalise_keys(one_array(rows["instruction"]))
        marks = split.is_validation(one_array(rows["key"]) if split.key else asked)
        asked = asked.filter(marks)
        return prompts_of(asked, hash64(split.seed, asked))


class _ResolveFn(beam.DoFn):
    """(key, all that has it) -> (unit number, Drop), and links of near copies beside them.

    Where instructions were read ``alone`` it is (unit number, Alike).
    """

    def __init__(self, folder: Folder, alone: bool) -> None:
        self._folder, self._alone = folder, alone

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
            self._folder.put_work(PROMPTS_FILE, prompts.to_bytes())
