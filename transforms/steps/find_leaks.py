"""FindLeaks: which validation prompts have a near duplicate among the training prompts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from threading import Lock

import apache_beam as beam
import msgspec
import numpy as np
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from transforms.chat.output_columns import user_prompt
from transforms.chat.template import ChatTemplate
from transforms.errors import VerificationFailed
from transforms.leakage.near_prompts import LeakFinder, Seen, leakage, merge_seen
from transforms.leakage.prompt_index import PromptIndex
from transforms.leakage.prompts import BYTES_AT_ONCE, NONE, PROMPTS_FILE, Prompts
from transforms.records import PROMPT, PROMPT_KEY, VALIDATION, Batch, one_array
from transforms.split import SplitRule, hash64
from transforms.storage.manifest_parts import Leakage
from transforms.storage.store import DatasetStore, required_work
from transforms.text.normalization import normalise_keys


@dataclass
class FindLeaks(beam.PTransform):
    """``(Batch, …) -> Leakage``: once, of all the batches.

    The tables are those that Render made.  ``Scan`` has stored the prompts to find: it ends before
    the first batch is read (for rows of an earlier run, that run's did).  Without ``enabled`` there
    are none.  Where the split is by the prompt itself, equal prompts in both splits are a
    ``VerificationFailed``.
    """

    store: DatasetStore
    template: ChatTemplate
    split: SplitRule
    enabled: bool = True

    def expand(self, batches: tuple[beam.PCollection[Batch], ...]) -> beam.PCollection[Leakage]:
        find = beam.ParDo(
            _FindFn(self.store, self.template, self.split, self.enabled)
        ).with_output_types(Seen)
        # Each by itself: runners may store what is flattened, and batches are all of the data.
        seen = [some | f"Find{number}" >> find for number, some in enumerate(batches)]
        return (
            seen
            | beam.Flatten()
            | "OneKey" >> beam.WithKeys(0)
            | "Merge" >> beam.CombinePerKey(_MergeFn())
            | "Leakage" >> beam.Map(_part, self.split.key is None).with_output_types(Leakage)
        )


class _FindFn(beam.DoFn):
    """Batches -> what the rows of a bundle show."""

    def __init__(
        self, store: DatasetStore, template: ChatTemplate, split: SplitRule, enabled: bool
    ) -> None:
        self._store, self._template = store, template
        self._split, self._enabled = split, enabled
        self._index: PromptIndex | None = None

    def start_bundle(self) -> None:
        self._waiting: list[tuple[pa.StringArray, np.ndarray, np.ndarray]] = []
        self._bytes = 0
        # What one bundle shows, no other one can count on: either may run again.
        self._finder: LeakFinder | None = None

    def process(self, batch: Batch) -> None:
        rows = batch.table
        if not rows.num_rows:
            return
        prompts, keys = self._prompts(rows)
        self._waiting.append((prompts, keys, rows[VALIDATION].to_numpy()))
        self._bytes += prompts.nbytes
        if self._bytes >= BYTES_AT_ONCE:
            self._find()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._waiting:
            self._find()
        if self._finder is not None:
            window = GlobalWindow()
            yield WindowedValue(self._finder.seen(), window.max_timestamp(), [window])

    def _find(self) -> None:
        # Not in setup: a worker may be set up before the prompts are stored.
        if self._index is None:
            self._index = self._make_index()
        if self._finder is None:
            self._finder = LeakFinder(self._index)
        prompts, keys, marks = zip(*self._waiting, strict=True)
        self._waiting, self._bytes = [], 0
        self._finder.add(pa.concat_arrays(prompts), np.concatenate(keys), np.concatenate(marks))

    def _prompts(self, rows: pa.Table) -> tuple[pa.StringArray, np.ndarray]:
        if PROMPT in rows.column_names:
            return one_array(rows[PROMPT]), rows[PROMPT_KEY].to_numpy()
        prompts = user_prompt(rows, self._template.user_marker, self._template.control_tokens)
        return prompts, hash64(self._split.seed, normalise_keys(prompts))

    def _make_index(self) -> PromptIndex:
        if not self._enabled:
            return PromptIndex(NONE)
        return _shared_index(required_work(self._store, PROMPTS_FILE))


_making = Lock()
_made: dict[bytes, PromptIndex] = {}


def _shared_index(prompts: bytes) -> PromptIndex:
    """One index for all threads of a worker: it takes time and memory."""
    with _making:
        if prompts not in _made:
            _made.clear()
            _made[prompts] = PromptIndex(Prompts.from_bytes(prompts))
        return _made[prompts]


class _MergeFn(beam.CombineFn):
    """Seen, … -> their sum."""

    def create_accumulator(self) -> Seen:
        return Seen({}, {})

    def add_input(self, accumulator: Seen, seen: Seen) -> Seen:
        return merge_seen(accumulator, [seen])

    def merge_accumulators(self, accumulators: Iterable[Seen]) -> Seen:
        return merge_seen(Seen({}, {}), accumulators)

    def extract_output(self, accumulator: Seen) -> Seen:
        return accumulator


def _part(keyed: tuple[int, Seen], by_prompt: bool) -> Leakage:
    found = leakage(keyed[1])
    if by_prompt and found.exact:
        example = found.examples[0].validation if found.examples else ""
        raise VerificationFailed(
            f"{found.exact:,} validation rows have the very prompt of a training row, such as "
            f"{example!r}, though equal prompts belong in one split; nothing was published. This "
            "is a fault of this tool: report it, please"
        )
    return msgspec.structs.replace(found, by_prompt=by_prompt)
