"""What the first pass looks at: the same rows, by the same rules, as the main pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from transforms import formats
from transforms.conversation import ConversationRules
from transforms.mappings import AnyMapping
from transforms.normalize import rows_of
from transforms.quality.rules import QualityRules
from transforms.records import Unit
from transforms.split import SplitRule


@dataclass(frozen=True)
class Surveyed:
    """The rules by which a unit is read and its rows are taken."""

    source: formats.Source
    mapping: AnyMapping
    rules: ConversationRules
    split: SplitRule
    quality: QualityRules

    @property
    def is_needed(self) -> bool:
        """Is there anything to be known beforehand?"""
        return self.quality.dedup != "off" or self.quality.looked_at > 0

    def rows(self, unit: Unit) -> Iterator[tuple[int, pa.Table]]:
        """(number of the piece, rows as Normalize makes them) of a unit, in order."""
        for number, piece in enumerate(unit.pieces):
            path = self.source.path(piece.file)
            for batch in formats.read(
                path, self.source.form, piece, self.source.columns, formats.BATCH_BYTES
            ):
                yield number, rows_of(batch.table, self.mapping, self.split.key, self.rules)[0]
