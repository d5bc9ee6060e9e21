"""The split rule: a row's key alone decides whether it is a training or a validation row.

``split = validation if hash64(seed, key) < val_size * 2**64 else train``

The key is the row's instruction, normalised, or a column that the user names.  So equal prompts
never straddle the splits, adding rows moves no other row, and every runner agrees.

History of the scheme (``VERSION`` is part of every plan):

1.  XXH3-64 of the key's UTF-8 bytes, seeded with ``seed`` modulo 2**64.  Key normalisation: NFC,
    white space trimmed, runs of white space folded to one space; white space as
    ``str.split`` defines it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from xxhash import xxh3_64_digest

VERSION = 1
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class SplitRule:
    """Which rows are validation rows.

    ``val_size`` is the expected fraction of distinct keys, 0 to 1.  ``key`` names a source column,
    or is None for the normalised instruction.
    """

    val_size: float
    seed: int
    key: str | None = None

    @property
    def threshold(self) -> int:
        """Hashes below it are validation: ``val_size`` of the 64-bit range."""
        return round(self.val_size * 2**64)

    def is_validation(self, keys: pa.StringArray) -> pa.BooleanArray:
        """For each key (not null, not normalised here): is its row a validation row?"""
        return pa.array(self.marks(hash64(self.seed, keys)))

    def marks(self, hashes: np.ndarray) -> np.ndarray:
        """The same for the hashes ``hash64(seed, key)``; bool."""
        if self.threshold >= 2**64:
            return np.ones(len(hashes), dtype=bool)
        marks: np.ndarray = hashes < np.uint64(self.threshold)
        return marks


def hash64(seed: int, keys: pa.StringArray) -> np.ndarray:
    """XXH3-64 of each key's UTF-8 bytes; shape (len(keys),), dtype uint64."""
    seed %= 2**64
    keys = keys.cast(pa.large_binary())
    _, offsets, data = keys.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[
        keys.offset : keys.offset + len(keys) + 1
    ].tolist()
    view = memoryview(data) if data is not None else memoryview(b"")
    # A Python loop, the slowest part of a row: digests cost less in it than integers.
    digests = [xxh3_64_digest(view[a:b], seed) for a, b in zip(ends, ends[1:], strict=False)]
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)
