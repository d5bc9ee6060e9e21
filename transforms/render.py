"""Render: an instruction and a response become one training text."""

from __future__ import annotations

from dataclasses import dataclass, replace

import apache_beam as beam

from transforms.chat import ChatTemplate
from transforms.records import Batch


@dataclass
class Render(beam.PTransform):
    """``Batch -> Batch``: puts a ``text`` column before the others."""

    template: ChatTemplate

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Batch]:
        return batches | beam.Map(render, self.template).with_output_types(Batch)


def render(batch: Batch, template: ChatTemplate) -> Batch:
    """The batch with its texts."""
    pairs = batch.table
    text = template.render_arrays(pairs["instruction"], pairs["response"])
    return replace(batch, table=pairs.add_column(0, "text", text))
