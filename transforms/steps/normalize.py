"""Normalize: source rows become pairs or turns; the others are rejects."""

from __future__ import annotations

from dataclasses import dataclass

import apache_beam as beam

from transforms.conversations.field_mapping import FieldMapping
from transforms.conversations.normalize_rows import normalize
from transforms.conversations.rules import ConversationRules
from transforms.records import Batch


@dataclass
class Normalize(beam.PTransform):
    """``Batch -> Batch``.

    The tables have ``ROW`` and ``instruction``, with ``response`` or ``turns`` (and ``tools``),
    and with ``key`` also ``key``; and the columns of ``balance`` (see ``with_balance``).
    """

    mapping: FieldMapping
    key: str | None = None
    rules: ConversationRules = ConversationRules()
    balance: tuple[str, ...] = ()

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Batch]:
        args = (self.mapping, self.key, self.rules, self.balance)
        return batches | beam.Map(normalize, *args).with_output_types(Batch)
