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

from transforms.quality.asked_again import AskedAgain
from transforms.quality.by_unit import numbered
from transforms.quality.content import (
    asked_hashes,
    both_halves,
    content_hashes,
    contents,
    first_of_each,
)
from transforms.quality.duplicates import (
    Alike,
    Drop,
    alike,
    buckets,
    fingerprints,
    place,
    repeated,
)
from transforms.quality.looks import Surveyed
from transforms.quality.minhash import banded, linked, min_hashes
from transforms.quality.near import Near
from transforms.quality.validation_prompts import (
    BYTES_AT_ONCE,
    NONE,
    Prompts,
    is_looked_at,
    merged,
    prompts_of,
)
from transforms.records import ROW, Unit, one_array
from transforms.storage.store import Folder, note_survey
from transforms.text.hashing import hash64
from transforms.text.normalization import normalise_keys

PROMPTS_FILE = "validation-prompts.ipc"
"""Work file of the validation prompts to look for: hashes, no text."""

_LINKS = "links"

MANY_ROWS = 50_000
"""Rows from which on it pays to read instructions alone, and to have two more shuffles for it."""

_ROWS_A_PART = 100_000
"""Rows after which a unit's hashes are handed on."""


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


class _Key:
    """What is compared with each other: the rows of a bucket, or of a band's; all prompts."""

    HASHES, BAND, PROMPTS = "hashes", "band", "prompts"


class _Part:
    """Hashes of some rows of a unit, until they are taken."""

    def __init__(self, unit: int, dedup: str, of: int, alone: bool) -> None:
        self._unit, self._dedup, self._of, self._alone = unit, dedup, of, alone
        self._clear()

    def _clear(self) -> None:
        self.rows = 0
        self._hashed: list[tuple[np.ndarray, ...]] = []
        self._near: list[tuple[np.ndarray, ...]] = []

    def add(self, rows: pa.Table, asked: np.ndarray, places: np.ndarray) -> None:
        self.rows += rows.num_rows
        if self._dedup == "off":
            return
        hashes = both_halves(asked) if self._alone else content_hashes(rows, asked)
        self._hashed.append((*hashes, places))
        if self._dedup == "near":
            first = first_of_each(hashes)  # exact copies need no second look
            values, which = min_hashes(contents(rows.take(pa.array(first))))
            self._near.append((values, places[first][which]))

    def taken(self) -> Iterator[tuple[str, Any]]:
        """What the hashes are for the survey's outputs; there are none left then."""
        if self._hashed:
            first, second, places = map(np.concatenate, zip(*self._hashed, strict=True))
            for bucket, prints in fingerprints(self._unit, (first, second), places, self._of):
                yield f"{_Key.HASHES}/{bucket}", prints
        if self._near:
            values, places = map(np.concatenate, zip(*self._near, strict=True))
            for (band, bucket), entry in banded(self._unit, values, places, self._of):
                yield f"{_Key.BAND}/{band}/{bucket}", entry
        self._clear()


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
