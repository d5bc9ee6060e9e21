"""Hashes of texts and of arrays of hashes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from xxhash import xxh3_64_digest


def scattered(numbers: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele and others, 2014): every bit depends on all others."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    scattered: np.ndarray = numbers ^ (numbers >> np.uint64(31))
    return scattered


def each_once(values: np.ndarray) -> np.ndarray:
    """The values, sorted, each once.

    ``np.unique`` hashes them since NumPy 2.3 if nothing more is asked for, which takes fifty times
    as long where most differ.
    """
    values = np.sort(values)
    new = np.ones(len(values), bool)
    new[1:] = values[1:] != values[:-1]
    return values[new]


def hash64(seed: int, keys: pa.StringArray) -> np.ndarray:
    """XXH3-64 of each key's UTF-8 bytes; shape (len(keys),), dtype uint64."""
    seed %= 2**64
    keys = keys.cast(pa.large_binary())
    _, offsets, data = keys.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[
        keys.offset : keys.offset + len(keys) + 1
    ].tolist()
    view = memoryview(data) if data is not None else memoryview(b"")
    # Python's own loop, and so the slowest part of a row: digests take less of it than numbers.
    digests = [xxh3_64_digest(view[a:b], seed) for a, b in zip(ends, ends[1:], strict=False)]
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)
