"""How long texts are: how often each length occurs, which adds up in any order, and what follows.

Not a quantile sketch: KLL and REQ of Apache DataSketches 5.2 gave other quantiles each time one
array was put into them, as they compact at random, and a t-digest depends on the order of merges.
Lengths from 2**16 on are kept with their leading 16 bits alone (less than 2**-15 below the true
value), so that there are some 400,000 values at the very most, however many rows are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from transforms.storage.manifest_parts import Histogram, SplitLengths

EXACT_BITS = 16
PERCENT = (1, 5, 25, 50, 75, 95, 99)
"""The quantiles that are told."""

ABOVE = (1024, 2048, 4096, 8192)
"""Tokens above which rows are counted: common context lengths."""

_MOST_BINS = 40


@dataclass(frozen=True, eq=False)
class Counts:
    """How often each length occurs.

    ``values`` (uint32 or int64, ascending, each once) and ``counts`` (int64, above 0) belong
    together; ``total``, ``least`` and ``most`` are of the lengths themselves, also of those kept
    rounded, and 0 where there are none.
    """

    values: np.ndarray
    counts: np.ndarray
    total: int
    least: int
    most: int

    @classmethod
    def of(cls, lengths: np.ndarray) -> Counts:
        """Of lengths (integers below 2**32) one by one, in any order."""
        if not len(lengths):
            return NONE
        values, counts = np.unique(_leading(lengths), return_counts=True)
        whole = int(lengths.sum(dtype=np.int64))
        return cls(values, counts.astype(np.int64), whole, int(lengths.min()), int(lengths.max()))

    @property
    def rows(self) -> int:
        """How many lengths were counted."""
        return int(self.counts.sum())

    def quantile(self, percent: int) -> int:
        """The nearest rank: the least value that ``percent`` in a hundred rows do not exceed."""
        rank = max(1, -(-percent * self.rows // 100))
        return int(self.values[np.searchsorted(np.cumsum(self.counts), rank)])

    def above(self, length: int) -> int:
        """How many are longer; exact for lengths below 2**16."""
        return int(self.counts[np.searchsorted(self.values, length, side="right") :].sum())


NONE = Counts(np.array([], np.uint32), np.array([], np.int64), 0, 0, 0)


def _leading(lengths: np.ndarray) -> np.ndarray:
    lengths = lengths.astype(np.uint32)
    if not len(lengths) or lengths.max() < 2**EXACT_BITS:
        return lengths
    # frexp gives the number of bits: x = m * 2**e with 0.5 <= m < 1, exactly so below 2**53.
    spare = np.maximum(np.frexp(lengths.astype(np.float64))[1] - EXACT_BITS, 0).astype(np.uint32)
    rounded: np.ndarray = lengths >> spare << spare
    return rounded


def merge(parts: Iterable[Counts]) -> Counts:
    """Of all parts together; their order does not matter."""
    filled = [part for part in parts if len(part.values)]
    if len(filled) < 2:
        return filled[0] if filled else NONE
    values, places = np.unique(
        np.concatenate([part.values for part in filled]), return_inverse=True
    )
    counts = np.zeros(len(values), np.int64)
    np.add.at(counts, places, np.concatenate([part.counts for part in filled]))
    return Counts(
        values,
        counts,
        sum(part.total for part in filled),
        min(part.least for part in filled),
        max(part.most for part in filled),
    )


def summary(found: Counts) -> SplitLengths:
    """The lengths of one split for the manifest."""
    some = found.rows > 0
    return SplitLengths(
        rows=found.rows,
        min=found.least if some else None,
        max=found.most if some else None,
        total=found.total,
        quantiles={
            str(percent / 100): found.quantile(percent) if some else None for percent in PERCENT
        },
    )


def histogram(train: Counts, validation: Counts) -> Histogram:
    """Rows of each split by length, in bins that both share.

    Bin ``i`` holds lengths from ``edges[i]`` up to, without it, ``edges[i + 1]``.  At most 40 bins
    of one width (1, 2 or 5 with zeros) reach up to the longest of 99 in a hundred rows; one more
    holds what is longer.
    """
    both = merge((train, validation))
    if not both.rows:
        return Histogram(edges=(0, 1), train=(0,), validation=(0,))
    edges = _edges(int(both.values[0]), both.quantile(99), both.most)
    return Histogram(
        edges=tuple(edges),
        train=_binned(train, edges),
        validation=_binned(validation, edges),
    )


def _edges(least: int, usual: int, most: int) -> list[int]:
    widths = (step * 10**power for power in range(10) for step in (1, 2, 5))
    width = next(w for w in widths if usual // w - least // w < _MOST_BINS)
    edges = [n * width for n in range(least // width, usual // width + 2)]
    return edges if most < edges[-1] else [*edges, most + 1]


def _binned(found: Counts, edges: Sequence[int]) -> tuple[int, ...]:
    before = np.concatenate(([0], np.cumsum(found.counts)))
    rows = np.diff(before[np.searchsorted(found.values, edges)])
    return tuple(int(count) for count in rows)
