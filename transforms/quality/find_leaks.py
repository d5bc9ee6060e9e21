"""FindLeaks: rows that are kept tell which validation prompts have a near copy in training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from transforms.chat import ChatTemplate
from transforms.errors import StorageError
from transforms.partition import VALIDATION
from transforms.quality.asked import asked
from transforms.quality.leakage import NONE, Finder, Prompts, Seen, leakage, together
from transforms.quality.survey import PROMPTS_FILE
from transforms.records import Batch
from transforms.storage import Folder


@dataclass
class FindLeaks(beam.PTransform):
    """``Batch -> dict``: the manifest's ``leakage``, once.

    The tables are those that Render made.  ``Survey`` has stored the prompts to look for: it ends
    before the first batch is read.  Without ``looks`` there are none.
    """

    folder: Folder
    template: ChatTemplate
    looks: bool = True

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[dict[str, Any]]:
        return (
            batches
            | "Look" >> beam.ParDo(_LookFn(self.folder, self.template, self.looks)).with_output_types(Seen)
            | "Together" >> beam.CombineGlobally(_Together())
            | "Leakage" >> beam.Map(_part).with_output_types(dict[str, Any])
        )


class _LookFn(beam.DoFn):
    """A batch -> what its rows tell."""

    def __init__(self, folder: Folder, template: ChatTemplate, looks: bool) -> None:
        self._folder, self._template, self._looks = folder, template, looks
        self._finder: Finder | None = None

    def process(self, batch: Batch) -> Iterator[Seen]:
        rows = batch.table
        if not rows.num_rows:
            return
        # Not in setup: a worker may be set up before the prompts are stored.
        self._finder = self._finder or Finder(self._known())
        prompts = asked(rows, self._template.user_marker, self._template.control_tokens)
        seen = self._finder.look(prompts, rows[VALIDATION].to_numpy())
        if seen.rows or seen.leaks:
            yield seen

    def _known(self) -> Prompts:
        if not self._looks:
            return NONE
        data = self._folder.get_work(PROMPTS_FILE)
        if data is None:
            raise StorageError(f"the file {PROMPTS_FILE} of {self._folder.path} is gone; run again")
        return Prompts.from_bytes(data)


class _Together(beam.CombineFn):
    """Seen -> all that was seen."""

    def create_accumulator(self) -> Seen:
        return Seen({}, {})

    def add_input(self, accumulator: Seen, seen: Seen) -> Seen:
        return together(accumulator, [seen])

    def merge_accumulators(self, accumulators: Iterable[Seen]) -> Seen:
        return together(Seen({}, {}), accumulators)

    def extract_output(self, accumulator: Seen) -> Seen:
        return accumulator


def _part(seen: Seen) -> dict[str, Any]:
    return {"leakage": leakage(seen)}
