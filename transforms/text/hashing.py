"""Arrays of 64-bit hashes: scattered, and each once."""

from __future__ import annotations

import numpy as np


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
