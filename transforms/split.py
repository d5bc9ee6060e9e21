"""The split rule: a row's key alone decides whether it is a training or a validation row.

``split = validation if hash64(seed, key) < val_size * 2**64 else train``

The key is the row's instruction, normalised, or a column that the user names.  So equal prompts
never straddle the splits, adding rows moves no other row, and every runner agrees.

History of the scheme (``VERSION`` is part of every plan):

1.  XXH3-64 of the key's UTF-8 bytes, seeded with ``seed`` modulo 2**64.  Key normalisation: NFC,
    white space trimmed, runs of white space folded to one space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest

VERSION = 1
SPLITS = ("train", "validation")

# Printable ASCII with single spaces inside is its own normal form; everything else is worked on.
_NOT_NORMAL = r"[^ -~]|  |^ | $"


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
        """For each key (not null, as given): does its row belong to validation?"""
        hashes = hash64(self.seed, keys)
        if self.threshold >= 2**64:
            return pa.array(np.ones(len(keys), dtype=bool))
        return pa.array(hashes < np.uint64(self.threshold))


def hash64(seed: int, keys: pa.StringArray) -> np.ndarray:
    """XXH3-64 of each key's UTF-8 bytes; shape (len(keys),), dtype uint64."""
    seed %= 2**64
    keys = keys.cast(pa.large_binary())
    _, offsets, data = keys.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[
        keys.offset : keys.offset + len(keys) + 1
    ].tolist()
    view = memoryview(data) if data is not None else memoryview(b"")
    return np.fromiter(
        (xxh3_64_intdigest(view[a:b], seed) for a, b in zip(ends, ends[1:], strict=False)),
        dtype=np.uint64,
        count=len(keys),
    )


def normalise_keys(values: pa.StringArray) -> pa.StringArray:
    """NFC, trimmed, runs of white space folded to one space; of each value alone."""
    odd = pc.match_substring_regex(values, _NOT_NORMAL)
    if not pc.any(odd).as_py():
        return values
    rows = values.filter(odd)
    ascii_only = pc.string_is_ascii(rows)
    # Which of the two ways a row takes depends on the row alone, never on its neighbours.
    plain = rows.filter(ascii_only)
    folded = pc.binary_join(pc.ascii_split_whitespace(pc.ascii_trim_whitespace(plain)), " ")
    other = pc.utf8_normalize(rows.filter(pc.invert(ascii_only)), form="NFC")
    other = pc.binary_join(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(other)), " ")
    rows = pc.replace_with_mask(rows, ascii_only, folded)
    rows = pc.replace_with_mask(rows, pc.invert(ascii_only), other)
    return pc.replace_with_mask(values, odd, rows)
