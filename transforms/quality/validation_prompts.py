"""The validation prompts that training rows are compared with: hashes of them, and no text.

Up to ``MOST_LOOKED_AT`` distinct prompts, chosen by a hash; all of them where there are no more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from transforms.quality.rules import SHINGLE_WORDS
from transforms.quality.words import Hashed, n_grams, words
from transforms.split import hash64, normalise_keys

MOST_LOOKED_AT = 10_000
"""With that many a share of 0.1 % is known to within 0.03 %."""

MOST_SHINGLES = 4_000_000
"""3-grams that all of them together may have: 32 MB."""

_SEED = 0x6C65_616B


@dataclass(frozen=True)
class Prompts:
    """Validation prompts to look for: one entry for each distinct prompt, by id.

    ``ids`` are hashes of the prompts as they are, sorted; ``keys`` of the normalised ones;
    ``shingles`` are hashed word 3-grams, sorted and distinct in each row.
    """

    ids: np.ndarray
    keys: np.ndarray
    shingles: Hashed

    def to_bytes(self) -> bytes:
        """As an Arrow stream."""
        lists = pa.LargeListArray.from_arrays(
            pa.array(self.shingles.offsets.astype(np.int64)), pa.array(self.shingles.hashes)
        )
        table = pa.table({"id": self.ids, "key": self.keys, "shingles": lists})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())

    @classmethod
    def from_bytes(cls, data: bytes) -> Prompts:
        """What ``to_bytes`` made."""
        table = pa.ipc.open_stream(data).read_all().combine_chunks()
        lists = table["shingles"].chunk(0) if table.num_rows else None
        if lists is None:
            return NONE
        offsets = lists.offsets.to_numpy()
        return cls(
            table["id"].to_numpy(),
            table["key"].to_numpy(),
            Hashed(lists.values.to_numpy(), offsets.astype(np.uint64)),
        )

    def select(self, rows: np.ndarray) -> Prompts:
        """Some of the prompts, by number."""
        counts = self.shingles.counts[rows].astype(np.int64)
        offsets = np.concatenate(([0], np.cumsum(counts)))
        begins = self.shingles.offsets[rows].astype(np.int64)
        places = np.arange(offsets[-1]) + np.repeat(begins - offsets[:-1], counts)
        hashes = Hashed(self.shingles.hashes[places], offsets.astype(np.uint64))
        return Prompts(self.ids[rows], self.keys[rows], hashes)


NONE = Prompts(
    np.empty(0, np.uint64),
    np.empty(0, np.uint64),
    Hashed(np.empty(0, np.uint64), np.zeros(1, np.uint64)),
)


def ids_of(prompts: pa.StringArray) -> np.ndarray:
    """The id of each prompt: a hash of it as it is."""
    return hash64(_SEED, prompts)


def keys_of(prompts: pa.StringArray) -> np.ndarray:
    """A hash of each prompt as the split takes it, so that white space makes no difference."""
    return hash64(_SEED, normalise_keys(prompts))


def is_looked_at(ids: np.ndarray, share: float) -> np.ndarray:
    """Which prompts belong to the given share of all, by their ids alone."""
    return np.ones(len(ids), bool) if share >= 1 else ids < np.uint64(int(share * 2**64))


def prompts_of(texts: pa.StringArray, ids: np.ndarray) -> Prompts:
    """Distinct prompts, to be looked for."""
    ids, first = np.unique(ids, return_index=True)
    texts = texts.take(pa.array(first))
    return Prompts(ids, keys_of(texts), _distinct(texts))


def _distinct(texts: pa.StringArray) -> Hashed:
    """The word 3-grams of each text, sorted, each once."""
    found = n_grams(words(texts), SHINGLE_WORDS)
    rows = np.repeat(np.arange(len(found)), found.counts.astype(np.int64))
    order = np.lexsort((found.hashes, rows))
    hashes, rows = found.hashes[order], rows[order]
    new = np.ones(len(hashes), bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (rows[1:] != rows[:-1])
    offsets = np.searchsorted(rows[new], np.arange(len(found) + 1))
    return Hashed(hashes[new], offsets.astype(np.uint64))


def merged(parts: list[Prompts], most: int = MOST_LOOKED_AT) -> Prompts:
    """All of them, each prompt once; of too many those with the least ids.

    What is left depends on all that were given alone, not on how they were merged before.
    """
    ids = np.concatenate([part.ids for part in parts])
    both = Prompts(
        ids,
        np.concatenate([part.keys for part in parts]),
        Hashed(
            np.concatenate([part.shingles.hashes for part in parts]),
            np.concatenate(
                ([0], np.cumsum(np.concatenate([p.shingles.counts for p in parts])))
            ).astype(np.uint64),
        ),
    )
    _, first = np.unique(ids, return_index=True)
    filled = np.cumsum(both.shingles.counts[first])
    return both.select(first[:most][filled[:most] <= MOST_SHINGLES])
