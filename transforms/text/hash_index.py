"""Lookup tables of 64-bit hashes, for vectorised searches of many values at once."""

from __future__ import annotations

import numpy as np

_MOST_BITS = 24


class Known:
    """An index of known hashes (uint64, sorted, distinct).

    A table maps the leading bits of a hash to the first known hash with these bits or larger ones.
    It is two to four times as long as the hashes, so mostly one access is enough.
    """

    def __init__(self, hashes: np.ndarray) -> None:
        self.hashes = hashes
        self._bits = min((2 * len(hashes)).bit_length(), _MOST_BITS)
        counts = np.bincount(_leading(hashes, self._bits), minlength=2**self._bits)
        starts = np.cumsum(counts) - counts
        self._starts = np.minimum(starts, len(hashes) - 1).astype(np.int32)

    def __len__(self) -> int:
        return len(self.hashes)

    def find(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Finds the known ones among ``hashes`` (uint64).

        Returns:
            Their indices in ``hashes`` (ascending), and their indices in the known hashes; int64.
        """
        if not len(self):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        numbers = self._starts[_leading(hashes, self._bits)].astype(np.int64)
        met = self.hashes[numbers]
        same = met == hashes
        before = np.flatnonzero(met < hashes)
        while len(before):
            before = before[numbers[before] + 1 < len(self)]
            numbers[before] += 1
            met = self.hashes[numbers[before]]
            same[before] = met == hashes[before]
            before = before[met < hashes[before]]
        places = np.flatnonzero(same)
        return places, numbers[places]


class Sieve:
    """A first filter, several times faster than ``Known``: all known hashes pass, and up to a
    quarter of the others.
    """

    def __init__(self, hashes: np.ndarray) -> None:
        self._bits = min((4 * len(hashes)).bit_length(), _MOST_BITS)
        self._taken = np.zeros(2**self._bits, bool)
        self._taken[_leading(hashes, self._bits)] = True

    def passes(self, hashes: np.ndarray) -> np.ndarray:
        """Which of ``hashes`` may be known; bool."""
        passed: np.ndarray = self._taken[_leading(hashes, self._bits)]
        return passed


def _leading(hashes: np.ndarray, bits: int) -> np.ndarray:
    """The leading ``bits`` of each hash, as an index of a table; int64."""
    places: np.ndarray = (hashes >> np.uint64(64 - bits)).view(np.int64)
    return places
