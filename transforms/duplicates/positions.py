"""Where rows lie in a work unit, as numbers that sort in source order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ROW_BITS = 40


def place(range_index: int, rows: np.ndarray) -> np.ndarray:
    """The places of rows of a unit's file range, uint64: numbers that sort in source order.

    ``range_index`` counts from 0, ``rows`` (from 1) within it.
    """
    places: np.ndarray = np.uint64(range_index << _ROW_BITS) | rows.astype(np.uint64)
    return places


def rows_of_range(places: np.ndarray, range_index: int) -> np.ndarray:
    """The row numbers of those places that lie in a file range; int64."""
    own = places[(places >> np.uint64(_ROW_BITS)) == range_index]
    rows: np.ndarray = (own & np.uint64(2**_ROW_BITS - 1)).astype(np.int64)
    return rows


def among(rows: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The indexes in ``rows`` of those ``numbers`` that are there; both are sorted."""
    if not len(rows):
        return np.empty(0, np.int64)
    own = numbers[np.searchsorted(numbers, rows[0]) : np.searchsorted(numbers, rows[-1], "right")]
    places = np.searchsorted(rows, own)
    found: np.ndarray = places[rows[places] == own]  # a row that Read could not take is not there
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Drop:
    """Rows of a unit that are left out: their ``places``, uint64; ``near`` for near duplicates."""

    places: np.ndarray
    near: bool = False
