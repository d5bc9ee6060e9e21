"""The duplicate rule: of rows with the same content the first in source order stays.

Only hashes and places cross the shuffle, in arrays of a unit: 16 bytes a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from transforms.duplicates.content_hash import Halves
from transforms.duplicates.positions import Drop

ROWS_A_BUCKET = 200_000
"""Rows whose hashes one group holds, about: 3 MB, and some times that to sort them."""


def buckets(rows: int) -> int:
    """In how many groups the hashes of so many rows are compared."""
    return 1 + rows // ROWS_A_BUCKET


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Hashes of rows of a unit that fall in one bucket, with their places.

    ``first`` are bytes of uint64, ``second`` of uint32: 96 bits of each hash.  ``steps`` are the
    distances of the places from ``start``, bytes of uint32, or of uint64 where they are far apart.
    The rows of a unit may come in several parts, each in source order, that do not overlap.
    """

    unit: int
    first: bytes
    second: bytes
    start: int
    steps: bytes

    @property
    def places(self) -> np.ndarray:
        """Where the rows lie; uint64."""
        kind = np.uint32 if len(self.steps) < len(self.first) else np.uint64
        return np.frombuffer(self.steps, kind).astype(np.uint64) + np.uint64(self.start)


@dataclass(frozen=True, slots=True)
class Alike:
    """Rows of a unit whose hash others have, too: ``places``, bytes of uint64."""

    places: bytes


def fingerprints(
    unit: int, hashes: Halves, places: np.ndarray, bucket_count: int
) -> Iterator[tuple[int, Fingerprints]]:
    """(bucket, the rows of a unit that fall in it)."""
    first, second = hashes
    bucket = second % np.uint64(bucket_count)
    for number in range(bucket_count):
        own = bucket == number
        if own.any():
            start = int(places[own][0])
            steps = places[own] - np.uint64(start)
            kind = np.uint32 if steps[-1] < 2**32 else np.uint64
            high = (second[own] >> np.uint64(32)).astype(np.uint32)
            arrays = (first[own], high, steps.astype(kind))
            one, other, far = (array.tobytes() for array in arrays)
            yield number, Fingerprints(unit, one, other, start, far)


def repeated(group: Iterable[Fingerprints]) -> Iterator[tuple[int, Drop]]:
    """(unit, rows that stand earlier in the source already), from all that a bucket holds."""
    units, places, order, begins = _by_hash(group)
    for unit, own in _places_of_units(units, places, order[~begins]):
        yield unit, Drop(own)


def alike(group: Iterable[Fingerprints]) -> Iterator[tuple[int, Alike]]:
    """(unit, rows that are not the only one with their hash), from all that a bucket holds."""
    units, places, order, begins = _by_hash(group)
    alone = begins & np.append(begins[1:], True)
    for unit, own in _places_of_units(units, places, order[~alone]):
        yield unit, Alike(own)


def _by_hash(
    group: Iterable[Fingerprints],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(units, places, order, begins): of each row, and the rows' order by hash, equal ones in
    source order, with marks where a hash begins.
    """
    ordered = sorted(group, key=lambda part: (part.unit, part.start))
    first = np.frombuffer(b"".join(part.first for part in ordered), np.uint64)
    second = np.frombuffer(b"".join(part.second for part in ordered), np.uint32).astype(np.uint64)
    places = np.concatenate([part.places for part in ordered])
    counts = [len(part.first) // 8 for part in ordered]
    units = np.repeat(np.array([part.unit for part in ordered], np.int64), counts)
    # Stable, and the rows come in source order: of equal ones the first in the source leads.
    order = np.argsort(first + second * np.uint64(0x9E3779B97F4A7C15), kind="stable")
    first, second = first[order], second[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return units, places, order, begins


def _places_of_units(
    units: np.ndarray, places: np.ndarray, rows: np.ndarray
) -> Iterator[tuple[int, bytes]]:
    """(unit, the places of those rows that are its own), in source order."""
    rows = np.sort(rows)
    for unit in np.unique(units[rows]).tolist():
        yield unit, places[rows[units[rows] == unit]].tobytes()
