"""Survey: a first pass over the source, for what must be known before rows are written.

Which rows are duplicates can be told only when all were seen, and so can what a training row must
not be like.  The source is read twice for that: hashing takes a small part of the time that
rendering and writing take, and nothing but hashes is held or crosses a shuffle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from transforms import formats
from transforms.conversation import ConversationRules
from transforms.mappings import AnyMapping
from transforms.normalize import rows_of
from transforms.quality.content import content_hashes, contents
from transforms.quality.duplicates import (
    Drop,
    Fingerprints,
    buckets,
    fingerprints,
    place,
    repeated,
)
from transforms.quality.rules import QualityRules
from transforms.quality.validation_prompts import (
    NONE,
    Prompts,
    ids_of,
    is_looked_at,
    merged,
    prompts_of,
)
from transforms.records import ROW, Unit, one_array
from transforms.split import SplitRule, normalise_keys
from transforms.storage import Folder, note_survey

PROMPTS_FILE = "validation-prompts.ipc"
"""Work file of the validation prompts to look for: hashes, no text."""

_NEAR, _PROMPTS = "near", "prompts"
_MOST_PROMPTS = 100
"""Batches whose prompts are held before those that are not looked at are left out."""


@dataclass(frozen=True)
class Surveyed:
    """What the survey looks at: the same rows, by the same rules, as the main pass."""

    source: formats.Source
    mapping: AnyMapping
    rules: ConversationRules
    split: SplitRule
    quality: QualityRules

    @property
    def is_needed(self) -> bool:
        """Is there anything to be known beforehand?"""
        return self.quality.dedup != "off" or self.quality.looked_at > 0


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
        looks, of = self.looks, buckets(self.rows)
        if not looks.is_needed:
            nothing = beam.FlatMap(lambda unit: []).with_output_types(tuple[int, Drop])
            return units | "Nothing" >> nothing
        look = beam.ParDo(_SurveyUnitFn(looks, self.folder, of))
        found = (
            units
            | "Spread" >> beam.Reshuffle()
            | "SurveyUnit" >> look.with_outputs(_NEAR, _PROMPTS, main="hashes")
        )
        exact = (
            found.hashes
            | "SameBucket" >> beam.GroupByKey()
            | "Repeated" >> beam.FlatMapTuple(_repeated).with_output_types(tuple[int, Drop])
        )
        parts = [exact, found[_PROMPTS] | _StorePrompts(self.folder)]
        if looks.quality.dedup == "near":
            parts.append(found[_NEAR] | _Near())
        return parts | beam.Flatten()


_ROWS_A_PART = 100_000
"""Rows after which a unit's hashes are handed on."""


class _SurveyUnitFn(beam.DoFn):
    """Unit -> (bucket, Fingerprints); (band and bucket, Banded); Prompts as bytes."""

    def __init__(self, looks: Surveyed, folder: Folder, of: int) -> None:
        self._looks, self._folder, self._of = looks, folder, of

    def process(self, unit: Unit) -> Iterator[Any]:
        prompts, part = [NONE], _Part(unit.number, self._looks.quality.dedup, self._of)
        for piece, rows in self._rows(unit):
            part.add(rows, place(piece, rows[ROW].to_numpy()))
            if part.rows >= _ROWS_A_PART:
                yield from part.taken()
            prompts.append(self._prompts(rows))
            if len(prompts) > _MOST_PROMPTS:
                prompts = [merged(prompts)]
        yield from part.taken()
        yield beam.pvalue.TaggedOutput(_PROMPTS, merged(prompts).to_bytes())
        note_survey(self._folder, unit.number)

    def _rows(self, unit: Unit) -> Iterator[tuple[int, pa.Table]]:
        looks = self._looks
        for number, piece in enumerate(unit.pieces):
            path = looks.source.path(piece.file)
            for batch in formats.read(
                path, looks.source.form, piece, looks.source.columns, formats.BATCH_BYTES
            ):
                yield number, rows_of(batch.table, looks.mapping, looks.split.key, looks.rules)[0]

    def _prompts(self, rows: pa.Table) -> Prompts:
        """The validation prompts among some rows that are to be looked for."""
        asked = one_array(rows["instruction"])
        ids = ids_of(asked)
        rows = rows.append_column("id", pa.array(ids))
        rows = rows.filter(pa.array(is_looked_at(ids, self._looks.quality.looked_at)))
        if not rows.num_rows:
            return NONE
        split = self._looks.split
        asked = one_array(rows["instruction"])
        keys = one_array(rows["key"]) if split.key else normalise_keys(asked)
        marks = split.is_validation(keys)
        return prompts_of(asked.filter(marks), rows["id"].to_numpy()[marks.to_numpy(False)])


class _Part:
    """Hashes of some rows of a unit, until they are taken."""

    def __init__(self, unit: int, dedup: str, of: int) -> None:
        self._unit, self._dedup, self._of = unit, dedup, of
        self._clear()

    def _clear(self) -> None:
        self.rows = 0
        self._hashed: list[tuple[np.ndarray, ...]] = []
        self._near: list[tuple[np.ndarray, ...]] = []

    def add(self, rows: pa.Table, places: np.ndarray) -> None:
        self.rows += rows.num_rows
        if self._dedup != "off":
            self._hashed.append((*content_hashes(rows), places))
        if self._dedup == "near":
            from transforms.quality.minhash import min_hashes

            values, which = min_hashes(contents(rows))
            self._near.append((values, places[which]))

    def taken(self) -> Iterator[Any]:
        """What the hashes are for the survey's outputs; there are none left then."""
        if self._hashed:
            first, second, places = map(np.concatenate, zip(*self._hashed, strict=True))
            yield from fingerprints(self._unit, (first, second), places, self._of)
        if self._near:
            from transforms.quality.minhash import banded

            values, places = map(np.concatenate, zip(*self._near, strict=True))
            for entry in banded(self._unit, values, places, self._of):
                yield beam.pvalue.TaggedOutput(_NEAR, entry)
        self._clear()


def _repeated(bucket: int, group: Iterable[Fingerprints]) -> Iterator[tuple[int, Drop]]:
    return repeated(group)


@dataclass
class _StorePrompts(beam.PTransform):
    """``bytes -> nothing``, after the prompts are stored."""

    folder: Folder

    def expand(self, parts: beam.PCollection[bytes]) -> beam.PCollection[tuple[int, Drop]]:
        return (
            parts
            | "AllPrompts" >> beam.CombineGlobally(_MergePrompts())
            | "Store" >> beam.FlatMap(self._store).with_output_types(tuple[int, Drop])
        )

    def _store(self, prompts: bytes) -> Iterator[tuple[int, Drop]]:
        self.folder.put_work(PROMPTS_FILE, prompts)
        yield from ()


class _MergePrompts(beam.CombineFn):
    """Prompts as bytes -> all of them, as bytes."""

    def create_accumulator(self) -> bytes:
        return NONE.to_bytes()

    def add_input(self, accumulator: bytes, part: bytes) -> bytes:
        return self.merge_accumulators([accumulator, part])

    def merge_accumulators(self, accumulators: Iterable[bytes]) -> bytes:
        return merged([Prompts.from_bytes(part) for part in accumulators]).to_bytes()

    def extract_output(self, accumulator: bytes) -> bytes:
        return accumulator


@dataclass
class _Near(beam.PTransform):
    """``((band, bucket), Banded) -> (unit number, Drop)``."""

    def expand(self, parts: beam.PCollection[Any]) -> beam.PCollection[tuple[int, Drop]]:
        from transforms.quality.minhash import Links

        return (
            parts
            | "SameBand" >> beam.GroupByKey()
            | "Linked" >> beam.FlatMapTuple(_linked).with_output_types(Links)
            | "OneKey" >> beam.WithKeys(0)
            | "AllLinks" >> beam.GroupByKey()
            | "Clusters" >> beam.FlatMapTuple(_clusters).with_output_types(tuple[int, Drop])
        )


def _linked(key: Any, group: Iterable[Any]) -> Iterator[Any]:
    from transforms.quality.minhash import linked

    return linked(group)


def _clusters(key: int, group: Iterable[Any]) -> Iterator[tuple[int, Drop]]:
    from transforms.quality.minhash import clusters

    return clusters(group)
