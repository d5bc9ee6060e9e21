"""Functions on arrays of 64-bit hashes."""

from __future__ import annotations

import numpy as np


def scattered(numbers: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele et al., 2014): each bit depends on all input bits."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    scattered: np.ndarray = numbers ^ (numbers >> np.uint64(31))
    return scattered


def each_once(values: np.ndarray) -> np.ndarray:
    """The distinct values, sorted.

    Since NumPy 2.3 ``np.unique`` without options uses a hash table, which takes fifty times as long
    if most values differ.
    """
    values = np.sort(values)
    new = np.ones(len(values), bool)
    new[1:] = values[1:] != values[:-1]
    return values[new]
