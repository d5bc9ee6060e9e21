"""The validation prompts that training rows are compared with: their hashes, no text.

At most ``MAX_SAMPLED_PROMPTS`` distinct prompts are taken; a hash chooses them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from transforms.options import SHINGLE_WORDS
from transforms.records import table_from_bytes, table_to_bytes
from transforms.text.ngrams import Hashed, distinct, ngrams, word_array

MAX_SAMPLED_PROMPTS = 10_000
"""With this number a share of 0.1 % is known to within 0.03 %."""

MAX_SHINGLES = 4_000_000
"""3-grams that all prompts may have in sum: 32 MB."""

BYTES_AT_ONCE = 2**20
"""Bytes of prompts that are handled in one go: threads that do little at a time wait for each
other more than they work, and a single batch has few prompts."""

_BELOW = b"below"


@dataclass(frozen=True)
class Prompts:
    """Validation prompts to look for: one entry for each distinct prompt, by id.

    ``ids`` (uint64) are hashes of the normalised prompts, sorted; ``shingles`` are their hashed
    word 3-grams, sorted and distinct in each row.  ``below`` is the least id that was ever left
    out because there were too many, 2**64 if none was; all ids are below it.
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
        return table_to_bytes(table)

    @classmethod
    def from_bytes(cls, data: bytes) -> Prompts:
        """What ``to_bytes`` made."""
        table = table_from_bytes(data).combine_chunks()
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
    """Which prompts belong to the given share of all, bool; each one's hash alone decides."""
    return np.ones(len(hashes), bool) if share >= 1 else hashes < np.uint64(int(share * 2**64))


def make_prompts(texts: pa.StringArray, ids: np.ndarray) -> Prompts:
    """Prompts to look for.

    Args:
        texts: Normalised prompts, none null; equal ones are taken once.
        ids: Their hashes, uint64 of shape (n,).
    """
    ids, first = np.unique(ids, return_index=True)
    texts = texts.take(pa.array(first))
    return Prompts(ids, distinct(ngrams(word_array(texts), SHINGLE_WORDS)))


def merge_prompts(
    parts: Sequence[Prompts],
    max_prompts: int = MAX_SAMPLED_PROMPTS,
    max_shingles: int = MAX_SHINGLES,
) -> Prompts:
    """All of them, each prompt once; where there are too many, those with the least ids.

    The result depends on the prompts alone, not on the order in which they are merged: an id that
    is not below one left out earlier is left out, too, even if there is room again.
    """
    below = min(part.below for part in parts)
    counts = np.concatenate([part.shingles.counts for part in parts])
    every = Prompts(
        np.concatenate([part.ids for part in parts]),
        Hashed(
            np.concatenate([part.shingles.hashes for part in parts]),
            np.concatenate(([0], np.cumsum(counts))).astype(np.uint64),
        ),
    )
    ids, first = np.unique(every.ids, return_index=True)
    first = first[ids < below]
    filled = np.cumsum(every.shingles.counts[first])
    kept = min(max_prompts, int(np.searchsorted(filled, max_shingles, side="right")))
    if kept < len(first):
        below = int(ids[kept])
    return replace(every.select(first[:kept]), below=below)


PROMPTS_FILE = "validation-prompts.ipc"
"""Work file of the validation prompts to look for: hashes, no text."""
