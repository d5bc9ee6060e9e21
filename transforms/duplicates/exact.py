"""Exact duplicates: of rows with the same content the first in source order stays.

Only hashes and places cross the shuffle, in arrays of a unit: 16 bytes a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from transforms.duplicates.content_hash import Halves
from transforms.duplicates.positions import Drop

ROWS_PER_BUCKET = 200_000
"""Rows whose hashes one group holds, about: 3 MB, and several times that to sort them."""


def count_buckets(rows: int) -> int:
    """The number of groups in which the hashes of ``rows`` rows are compared."""
    return 1 + rows // ROWS_PER_BUCKET


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprints:
    """Hashes of rows of a unit that fall in one bucket, with their places.

    ``first`` (uint64) and ``second`` (uint32) are 96 bits of each hash.  ``steps`` are the
    distances of the places from ``start``, uint32, or uint64 where they are far apart.  The rows
    of a unit may come in several parts, each in source order, that do not overlap.
    """

    unit: int
    first: np.ndarray
    second: np.ndarray
    start: int
    steps: np.ndarray

    @property
    def places(self) -> np.ndarray:
        """Where the rows lie; uint64."""
        places: np.ndarray = self.steps.astype(np.uint64) + np.uint64(self.start)
        return places


def fingerprints(
    unit: int, hashes: Halves, places: np.ndarray, bucket_count: int
) -> Iterator[tuple[int, Fingerprints]]:
    """(bucket, the rows of a unit that fall in it).

    Args:
        unit: The unit's number.
        hashes: Both halves of each row's content hash, uint64 of shape (n,).
        places: Where the rows lie, uint64 of shape (n,), ascending.
        bucket_count: The number of buckets, the same for all units.
    """
    first, second = hashes
    bucket = second % np.uint64(bucket_count)
    for number in range(bucket_count):
        own = bucket == number
        if own.any():
            start = int(places[own][0])
            steps = places[own] - np.uint64(start)
            kind = np.uint32 if steps[-1] < 2**32 else np.uint64
            high = (second[own] >> np.uint64(32)).astype(np.uint32)
            yield number, Fingerprints(unit, first[own], high, start, steps.astype(kind))


def find_copies(bucket: Iterable[Fingerprints]) -> Iterator[tuple[int, Drop]]:
    """(unit, its rows that equal an earlier row of the source), of all rows of a bucket."""
    units, places, order, begins = _sort_by_hash(bucket)
    for unit, own in _split_by_unit(units, places, order[~begins]):
        yield unit, Drop(own)


def find_shared(bucket: Iterable[Fingerprints]) -> Iterator[tuple[int, np.ndarray]]:
    """(unit, places of its rows that share their hash with another row), uint64, ascending."""
    units, places, order, begins = _sort_by_hash(bucket)
    alone = begins & np.append(begins[1:], True)
    yield from _split_by_unit(units, places, order[~alone])


def _sort_by_hash(
    bucket: Iterable[Fingerprints],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(units, places, order, begins) of a bucket's rows.

    ``units`` and ``places`` are in source order.  ``order`` sorts the rows by hash, equal ones in
    source order; ``begins`` marks in that order where another hash begins.
    """
    parts = sorted(bucket, key=lambda part: (part.unit, part.start))
    first = np.concatenate([part.first for part in parts])
    second = np.concatenate([part.second for part in parts]).astype(np.uint64)
    places = np.concatenate([part.places for part in parts])
    units = np.repeat([part.unit for part in parts], [len(part.first) for part in parts])
    # Stable, and the rows come in source order: of equal ones the first in the source leads.
    order = np.argsort(first + second * np.uint64(0x9E3779B97F4A7C15), kind="stable")
    first, second = first[order], second[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return units, places, order, begins


def _split_by_unit(
    units: np.ndarray, places: np.ndarray, rows: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """(unit, the places of those ``rows`` that are its own), in source order."""
    rows = np.sort(rows)
    for unit in np.unique(units[rows]).tolist():
        yield unit, places[rows[units[rows] == unit]]
