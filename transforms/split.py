"""The split rule: a row's key alone decides whether it is a training or a validation row.

``split = validation if hash64(seed, key) < val_size * 2**64 else train``

The key is the row's instruction, normalised, or a column that the user names.  So equal prompts
never straddle the splits, adding rows moves no other row, and every runner agrees.

History of the scheme (``VERSION`` is part of every plan):

1.  XXH3-64 of the key's UTF-8 bytes, seeded with ``seed`` modulo 2**64.  Key normalisation: NFC,
    white space trimmed, runs of white space folded to one space; white space is what
    ``str.split`` takes for it.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest

VERSION = 1
SPLITS = ("train", "validation")

# Printable ASCII with single spaces inside is its own normal form; everything else is worked on.
_NOT_NORMAL = r"[^ -~]|  |^ | $"

# Arrow's own white space in ASCII text is that of str.split, but for these four separators.
_NOT_PLAIN = r"[^\x00-\x1b\x20-\x7f]"


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
    """NFC, trimmed, runs of white space folded to one space; of each value alone.

    That is ``" ".join(unicodedata.normalize("NFC", value).split())``, faster.
    """
    odd = pc.match_substring_regex(values, _NOT_NORMAL)
    if not pc.any(odd).as_py():
        return values
    rows = values.filter(odd)
    other = pc.match_substring_regex(rows, _NOT_PLAIN)
    # Which of the two ways a row takes depends on the row alone, never on its neighbours.
    plain = pc.ascii_trim_whitespace(rows.filter(pc.invert(other)))
    folded = pc.binary_join(pc.ascii_split_whitespace(plain), " ")
    rows = pc.replace_with_mask(rows, pc.invert(other), folded)
    rows = pc.replace_with_mask(rows, other, _normalise_text(rows.filter(other)))
    return pc.replace_with_mask(values, odd, rows)


def _normalise_text(values: pa.StringArray) -> pa.StringArray:
    # Not pc.utf8_normalize: up to pyarrow 25 its NFC does not compose (apache/arrow#51225), so
    # that rows would change their split with the release that mends it; it is slower, too.
    texts = (unicodedata.normalize("NFC", value) for value in values.to_pylist())
    return pa.array([" ".join(text.split()) for text in texts], pa.string())
