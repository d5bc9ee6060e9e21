"""What the first pass reads: the same rows, by the same rules, as the main pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from transforms.conversations.field_mapping import FieldMapping
from transforms.conversations.normalize_rows import rows_of
from transforms.conversations.rules import ConversationRules
from transforms.duplicates.positions import rows_of_range
from transforms.formats import source_reader
from transforms.options import QualityRules
from transforms.records import Column, WorkUnit
from transforms.split import SplitRule


@dataclass(frozen=True)
class RowReader:
    """The rules by which a unit is read and its rows are taken."""

    source: source_reader.Source
    mapping: FieldMapping
    rules: ConversationRules
    split: SplitRule
    quality: QualityRules

    @property
    def is_needed(self) -> bool:
        """Is there anything to be known beforehand?"""
        return self.quality.dedup != "off" or self.quality.leakage_sample_rate > 0

    @property
    def can_read_prompts_alone(self) -> bool:
        """Can instructions be read alone, and are they enough to begin with?

        Rows that are the same to the byte ask the same; near copies need not.
        """
        return (
            not self.mapping.makes_turns
            and source_reader.is_columnar(self.source.file_format)
            and self.quality.dedup != "near"
        )

    def rows(
        self, unit: WorkUnit, wanted: np.ndarray | None = None
    ) -> Iterator[tuple[int, pa.Table]]:
        """(number of the piece, rows as Normalize makes them) of a unit, in order.

        With ``wanted``, sorted places (see ``duplicates.place``), others may be missing.
        """
        return self._read(unit, self.source.columns, self.mapping, wanted)

    def prompts(self, unit: WorkUnit) -> Iterator[tuple[int, pa.Table]]:
        """The same without the responses, where ``can_read_prompts_alone``.

        Only ``instruction``, ``key`` and ``ROW`` may be used.  Rows with an unusable response are
        among them.
        """
        mapping = self.mapping.prompts_only()
        needed = {*mapping.columns, self.split.key}
        columns = [column for column in self.source.columns if column.name in needed]
        return self._read(unit, columns, mapping)

    def _read(
        self,
        unit: WorkUnit,
        columns: Sequence[Column],
        mapping: FieldMapping,
        wanted: np.ndarray | None = None,
    ) -> Iterator[tuple[int, pa.Table]]:
        file_format, size, own = self.source.file_format, source_reader.BATCH_BYTES, None
        for number, file_range in enumerate(unit.file_ranges):
            if wanted is not None:
                own = rows_of_range(wanted, number)
                if not len(own):
                    continue
            path = self.source.path(file_range.file)
            for batch in source_reader.read(path, file_format, file_range, columns, size, own):
                yield number, rows_of(batch.table, mapping, self.split.key, self.rules)[0]
