"""The validation prompts that training rows are compared with: hashes of them, and no text.

At most ``MAX_SAMPLED_PROMPTS`` distinct prompts are taken; a hash chooses them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from transforms.options import SHINGLE_WORDS
from transforms.text.ngrams import Hashed, distinct, ngrams, word_array

MAX_SAMPLED_PROMPTS = 10_000
"""With that many a share of 0.1 % is known to within 0.03 %."""

MOST_SHINGLES = 4_000_000
"""3-grams that all of them together may have: 32 MB."""

BYTES_AT_ONCE = 2**20
"""Prompts that are looked at in one go: threads that do little at a time wait for each other more
than they work, and a single batch has few of them."""

_BELOW = b"below"


@dataclass(frozen=True)
class Prompts:
    """Validation prompts to look for: one entry for each distinct prompt, by id.

    ``ids`` are hashes of the normalised prompts, sorted; ``shingles`` are their hashed word
    3-grams, sorted and distinct in each row.  ``below`` is the least id that was ever left out
    because there were too many, 2**64 if none was; all ids are below it.
    """

    ids: np.ndarray
    shingles: Hashed
    below: int = 2**64

    def to_bytes(self) -> bytes:
        """As an Arrow stream."""
        lists = pa.LargeListArray.from_arrays(
            pa.array(self.shingles.offsets.astype(np.int64)), pa.array(self.shingles.hashes)
        )
        table = pa.table(
            {"id": self.ids, "shingles": lists},
            metadata={_BELOW: str(self.below)},
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())

    @classmethod
    def from_bytes(cls, data: bytes) -> Prompts:
        """What ``to_bytes`` made."""
        table = pa.ipc.open_stream(data).read_all().combine_chunks()
        below = int(table.schema.metadata[_BELOW])
        lists = table["shingles"].chunk(0) if table.num_rows else None
        if lists is None:
            return replace(NONE, below=below)
        offsets = lists.offsets.to_numpy()
        return cls(
            table["id"].to_numpy(),
            Hashed(lists.values.to_numpy(), offsets.astype(np.uint64)),
            below,
        )

    def select(self, rows: np.ndarray) -> Prompts:
        """Some of the prompts, by number."""
        return Prompts(self.ids[rows], self.shingles.select(rows), self.below)


NONE = Prompts(
    np.empty(0, np.uint64),
    Hashed(np.empty(0, np.uint64), np.zeros(1, np.uint64)),
)


def is_sampled(hashes: np.ndarray, share: float) -> np.ndarray:
    """Which prompts belong to the given share of all, by a hash of each, whatever the others."""
    return np.ones(len(hashes), bool) if share >= 1 else hashes < np.uint64(int(share * 2**64))


def prompts_of(texts: pa.StringArray, ids: np.ndarray) -> Prompts:
    """Distinct prompts, to be looked for; both are of the normalised ones."""
    ids, first = np.unique(ids, return_index=True)
    texts = texts.take(pa.array(first))
    return Prompts(ids, distinct(ngrams(word_array(texts), SHINGLE_WORDS)))


def merged(
    parts: list[Prompts], most: int = MAX_SAMPLED_PROMPTS, most_shingles: int = MOST_SHINGLES
) -> Prompts:
    """All of them, each prompt once; of too many those with the least ids.

    What is left depends on all that were given alone, not on how they were merged before: an id
    that is not below one left out earlier is left out, too, even if there is room again.
    """
    ids = np.concatenate([part.ids for part in parts])
    below = min(part.below for part in parts)
    both = Prompts(
        ids,
        Hashed(
            np.concatenate([part.shingles.hashes for part in parts]),
            np.concatenate(
                ([0], np.cumsum(np.concatenate([p.shingles.counts for p in parts])))
            ).astype(np.uint64),
        ),
    )
    ids, first = np.unique(ids, return_index=True)
    first = first[ids < below]
    filled = np.cumsum(both.shingles.counts[first])
    kept = min(most, int(np.searchsorted(filled, most_shingles, side="right")))
    if kept < len(first):
        below = int(ids[kept])
    return replace(both.select(first[:kept]), below=below)


PROMPTS_FILE = "validation-prompts.ipc"
"""Work file of the validation prompts to look for: hashes, no text."""
