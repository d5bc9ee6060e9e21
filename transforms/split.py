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

# Each byte of ASCII white space, as str.split takes it, becomes a space.
_SPACES = bytes(32 if chr(byte).isspace() and byte < 128 else byte for byte in range(256))


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
        return self.marks(hash64(self.seed, keys))

    def marks(self, hashes: np.ndarray) -> pa.BooleanArray:
        """The same, of ``hash64(seed, key)`` of each key."""
        if self.threshold >= 2**64:
            return pa.array(np.ones(len(hashes), dtype=bool))
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
    """NFC, trimmed, runs of white space folded to one space; of each value (none null) alone.

    That is ``" ".join(unicodedata.normalize("NFC", value).split())``, faster.
    """
    folded, uneven = _fold(values)
    # Which of the ways a row takes depends on the row alone, never on its neighbours.
    ascii_only = pc.string_is_ascii(values)
    uneven = pc.and_(uneven, ascii_only)
    if pc.any(uneven).as_py():
        trimmed = pc.ascii_trim_whitespace(folded.filter(uneven))
        words = pc.binary_join(pc.ascii_split_whitespace(trimmed), " ")
        folded = pc.replace_with_mask(folded, uneven, words)
    if pc.all(ascii_only).as_py():
        return folded
    other = pc.invert(ascii_only)
    # Not pc.utf8_normalize: up to pyarrow 25 its NFC does not compose (apache/arrow#51225), so
    # that rows would change their split with the release that mends it; it is slower, too.
    texts = (unicodedata.normalize("NFC", text) for text in values.filter(other).to_pylist())
    composed = pa.array([" ".join(text.split()) for text in texts], pa.string())
    return pc.replace_with_mask(folded, other, composed)


def _fold(values: pa.StringArray) -> tuple[pa.StringArray, pa.BooleanArray]:
    """The values with a space for each ASCII white space, and which of them still hold spaces at
    an end or next to each other.
    """
    _, offsets, data = values.buffers()
    edges = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    start, end = (int(edges[0]), int(edges[-1])) if len(values) else (0, 0)
    edges = edges - start
    text = bytes(memoryview(data)[start:end]).translate(_SPACES) if end > start else b""
    folded = pa.StringArray.from_buffers(len(values), pa.py_buffer(edges), pa.py_buffer(text))
    uneven = np.zeros(len(values), bool)
    space = np.frombuffer(text, np.uint8) == ord(" ")
    if space.any():
        # A pair that crosses from one row to the next marks a row that ends with a space anyway.
        pairs = np.flatnonzero(space[1:] & space[:-1])
        uneven[np.searchsorted(edges, pairs, "right") - 1] = True
        filled = np.flatnonzero(edges[1:] > edges[:-1])
        uneven[filled] |= space[edges[filled]] | space[edges[filled + 1] - 1]
    return folded, pa.array(uneven)
