"""Which rows that may be near duplicates are, by their word 3-grams, and which of them stay.

A link is a pair of rows: a later one, and the earlier one that it may be near.  Many rows are
linked to few: the first of each kind.  So the earlier rows' 3-grams travel to the units of the
later rows.  Those are read and compared batch by batch, and their own 3-grams are held no longer.
Rows that are earlier in their own unit need not travel: the unit is read in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from transforms.duplicates.positions import Drop
from transforms.options import SIMILAR
from transforms.text.ngrams import Hashed

Row = tuple[int, int]
"""(unit number, place)."""


def links_by_unit(links: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Links by the unit of the later row.

    Args:
        links: uint64 of shape (4, n): unit and place of the later row, of the earlier row.

    Yields:
        The unit, and uint64 of shape (3, n): the later row's place, and the earlier row.
    """
    for unit in np.unique(links[0]).tolist():
        yield int(unit), links[1:, links[0] == unit]


def lent_by_unit(links: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The earlier rows whose 3-grams another unit needs, by their own unit.

    Args:
        links: uint64 of shape (4, n): unit and place of the later row, of the earlier row.

    Yields:
        The unit, and uint64 of shape (2, n): the earlier row's place, and the unit that needs it.
    """
    rows = np.unique(links[[2, 3, 0]][:, links[0] != links[2]], axis=1)
    for unit in np.unique(rows[0]).tolist():
        yield int(unit), rows[1:, rows[0] == unit]


@dataclass(frozen=True, slots=True, eq=False)
class LentRows:
    """Rows of a unit with their word 3-grams, hashed, sorted and distinct; uint64.

    ``hashes[offsets[i]:offsets[i + 1]]`` are those of the row at ``places[i]``.
    """

    unit: int
    places: np.ndarray
    hashes: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, unit: int, places: np.ndarray, shingles: Hashed, rows: np.ndarray) -> LentRows:
        """The rows of a batch at the indexes ``rows``."""
        parts = [shingles.row(row) for row in rows.tolist()]
        offsets = np.concatenate(([0], np.cumsum([len(part) for part in parts]))).astype(np.uint64)
        return cls(unit, places[rows], np.concatenate(parts), offsets)

    def by_row(self) -> Iterator[tuple[Row, np.ndarray]]:
        """((unit, place), the 3-grams) of each row."""
        offsets = self.offsets.tolist()
        for row, place in enumerate(self.places.tolist()):
            yield (self.unit, place), self.hashes[offsets[row] : offsets[row + 1]]


class LinkComparison:
    """Compares the later rows of a unit, which come in order, with their earlier rows.

    Args:
        unit: The unit's number.
        links: Links of the unit, as ``links_by_unit`` gives them; the same may come several times.
        lent: The earlier rows of other units.
    """

    def __init__(self, unit: int, links: np.ndarray, lent: Iterable[LentRows]) -> None:
        self._unit = unit
        # In the order of the later row's place.
        self._links = np.unique(links, axis=1)
        own = self._links[1] == unit
        self._own_earlier = np.unique(self._links[2, own])
        self._waiting = self._count_links()
        self._earlier = {row: hashes for part in lent for row, hashes in part.by_row()}

    def _count_links(self) -> dict[Row, int]:
        rows, counts = np.unique(self._links[1:], axis=1, return_counts=True)
        units, places = rows.tolist()
        return dict(zip(zip(units, places, strict=True), counts.tolist(), strict=True))

    @property
    def wanted(self) -> np.ndarray:
        """The places of the rows to read, uint64, ascending."""
        places: np.ndarray = np.union1d(self._links[0], self._own_earlier)
        return places

    def compare(self, places: np.ndarray, shingles: Hashed) -> Iterator[np.ndarray]:
        """The links that hold of the next rows.

        Args:
            places: Places of rows that are wanted, uint64, ascending, behind those before.
            shingles: Their word 3-grams, hashed, sorted and distinct.

        Yields:
            Links, uint64 of shape (4, n).
        """
        begins, ends = (np.searchsorted(self._links[0], places, side) for side in ("left", "right"))
        is_earlier = np.isin(places, self._own_earlier)
        found: list[tuple[int, int, int, int]] = []
        for row, place in enumerate(places.tolist()):
            hashes = shingles.row(row)
            _, units, firsts = self._links[:, begins[row] : ends[row]].tolist()
            for earlier in zip(units, firsts, strict=True):
                first = self._take(earlier)
                both = len(np.intersect1d(first, hashes, assume_unique=True))
                if both >= SIMILAR * (len(first) + len(hashes) - both):
                    found.append((self._unit, place, *earlier))
            if is_earlier[row]:
                self._earlier[self._unit, place] = hashes.copy()  # or it would hold the batch
        if found:
            yield np.array(found, np.uint64).T

    def _take(self, row: Row) -> np.ndarray:
        """The 3-grams of an earlier row, which are forgotten with its last link."""
        self._waiting[row] -= 1
        if self._waiting[row]:
            return self._earlier[row]
        return self._earlier.pop(row)


def find_near_copies(links: Iterable[np.ndarray]) -> Iterator[tuple[int, Drop]]:
    """(unit, its rows that are near a row that stays), from all links that hold.

    In source order: a row that is near one that is itself left out may stay.
    """
    parts = list(links)
    if not parts:
        return
    every = np.concatenate(parts, axis=1)
    del parts
    # All rows in source order; each link as two of their numbers, in the order of the later one.
    rows, numbers = np.unique(
        np.concatenate((every[:2], every[2:]), axis=1), axis=1, return_inverse=True
    )
    numbers = numbers.reshape(2, -1)
    order = np.argsort(numbers[0], kind="stable")
    is_dropped = bytearray(rows.shape[1])
    for late, early in zip(numbers[0, order].tolist(), numbers[1, order].tolist(), strict=True):
        if not is_dropped[early]:
            is_dropped[late] = 1
    gone = rows[:, np.frombuffer(is_dropped, np.uint8) == 1]
    for unit in np.unique(gone[0]).tolist():
        yield int(unit), Drop(gone[1, gone[0] == unit], near=True)
