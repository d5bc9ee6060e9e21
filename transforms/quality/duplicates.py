"""The duplicate rule: of rows with the same content the first in source order stays.

Only hashes and places cross the shuffle, in arrays of a unit: 24 bytes a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from transforms.quality.content import Halves

ROWS_A_BUCKET = 500_000
"""Rows whose hashes one group holds, about: 12 MB, and some times that to sort them."""

_ROW_BITS = 40


def place(piece: int, rows: np.ndarray) -> np.ndarray:
    """Where rows of a unit's piece lie, as one number each that sorts in source order.

    ``piece`` counts from 0, ``rows`` (from 1) within it.
    """
    places: np.ndarray = np.uint64(piece << _ROW_BITS) | rows.astype(np.uint64)
    return places


def rows_of_piece(places: np.ndarray, piece: int) -> np.ndarray:
    """The row numbers of those places that lie in a piece; int64."""
    own = places[(places >> np.uint64(_ROW_BITS)) == piece]
    rows: np.ndarray = (own & np.uint64(2**_ROW_BITS - 1)).astype(np.int64)
    return rows


def buckets(rows: int) -> int:
    """In how many groups the hashes of so many rows are compared."""
    return 1 + rows // ROWS_A_BUCKET


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Hashes of rows of a unit that fall in one bucket, with their places; bytes of uint64.

    The rows of a unit may come in several parts, each in source order, that do not overlap.
    """

    unit: int
    first: bytes
    second: bytes
    places: bytes

    @property
    def begins(self) -> tuple[int, int]:
        """Where it stands among the parts of all units."""
        return self.unit, int.from_bytes(self.places[:8], "little")


@dataclass(frozen=True, slots=True)
class Drop:
    """Rows of a unit that are left out: ``places``, bytes of uint64."""

    places: bytes
    near: bool = False


def fingerprints(
    unit: int, hashes: Halves, places: np.ndarray, of: int
) -> Iterator[tuple[int, Fingerprints]]:
    """(bucket, the rows of a unit that fall in it)."""
    first, second = hashes
    bucket = second % np.uint64(of)
    for number in range(of):
        own = bucket == number
        if own.any():
            parts = (array[own].tobytes() for array in (first, second, places))
            yield number, Fingerprints(unit, *parts)


def repeated(group: Iterable[Fingerprints]) -> Iterator[tuple[int, Drop]]:
    """(unit, rows that stand earlier in the source already), from all that a bucket holds."""
    ordered = sorted(group, key=lambda part: part.begins)
    first, second, places = (
        np.frombuffer(b"".join(getattr(part, name) for part in ordered), np.uint64)
        for name in ("first", "second", "places")
    )
    counts = [len(part.places) // 8 for part in ordered]
    units = np.repeat(np.array([part.unit for part in ordered], np.int64), counts)
    # Stable, and the rows come in source order: of equal ones the first in the source leads.
    order = np.argsort(first + second * np.uint64(0x9E3779B97F4A7C15), kind="stable")
    first, second = first[order], second[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    again = np.sort(order[~begins])
    for unit in np.unique(units[again]).tolist():
        own = again[units[again] == unit]
        yield unit, Drop(places[own].tobytes())
