"""Near duplicates: rows of whose word 3-grams nearly all are the same.

Each row has a MinHash (Broder, 1997; made by rensa) of 128 values.  Rows that agree in a band of it
are compared by a sketch, two bits of each value (b-bit MinHash, Li and Koenig, 2010).  Those that
may be at least ``SIMILAR`` alike are read once more and compared word 3-gram by word 3-gram (see
``near_links``).

With nine bands of seven values rows that are 0.9 alike meet in one with a chance of 99.7 %, at
0.8 with 88 %, at 0.5 with 7 %.  What crosses the shuffle is a hash, a place and a sketch for each
row and band, 432 bytes a row in all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from rensa import RMinHash  # type: ignore[import-untyped]

from transforms.options import SHINGLE_WORDS, SIMILAR
from transforms.text.hashing import scattered
from transforms.text.ngrams import Hashed, ngrams, word_array

VALUES, BANDS, BAND_VALUES = 128, 9, 7
_SEED = 42
_ROWS_AT_ONCE = 2000  # rensa hands its values over as Python numbers
_DOUBT = 0.06  # of an estimate; a comparison of the 3-grams decides
_MOST_LEADERS = 64
"""Different rows in one band that later ones are compared with: boilerplate fills some bands."""


@dataclass(frozen=True, slots=True, eq=False)
class Banded:
    """Rows of a unit in one band: the band's hashes and places (uint64), and sketches (uint8)."""

    unit: int
    hashes: np.ndarray
    places: np.ndarray
    sketches: np.ndarray

    @property
    def begins(self) -> tuple[int, int]:
        """Where it stands among the parts of all units, which do not overlap."""
        return self.unit, int(self.places[0])


def min_hashes(texts: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """(values, rows): MinHashes, uint32 of shape (n, VALUES), of the rows that have any words."""
    shingles = ngrams(word_array(texts), SHINGLE_WORDS)
    which = np.flatnonzero(shingles.counts)
    parts = [
        _digests(shingles, start, min(start + _ROWS_AT_ONCE, len(shingles)))
        for start in range(0, len(shingles), _ROWS_AT_ONCE)
    ]
    made = np.concatenate(parts) if parts else np.empty((0, VALUES), np.uint32)
    return made[which], which


def _digests(shingles: Hashed, start: int, stop: int) -> np.ndarray:
    offsets = shingles.offsets[start : stop + 1]
    own = shingles.hashes[int(offsets[0]) : int(offsets[-1])]
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(own, offsets - offsets[0], VALUES, _SEED)
    return np.array(matrix.to_rows(), np.uint32).reshape(stop - start, VALUES)


def banded(
    unit: int, values: np.ndarray, places: np.ndarray, bucket_count: int
) -> Iterator[tuple[tuple[int, int], Banded]]:
    """((band, bucket), the rows of a unit that fall in it).

    Args:
        unit: The unit's number.
        values: The rows' MinHashes, uint32 of shape (n, VALUES).
        places: Where the rows lie, uint64 of shape (n,), ascending.
        bucket_count: The number of buckets of each band, the same for all units.
    """
    sketches = sketch(values)
    for band in range(BANDS):
        own = values[:, band * BAND_VALUES : (band + 1) * BAND_VALUES].astype(np.uint64)
        hashes = np.full(len(values), band, np.uint64)
        for column in range(BAND_VALUES):
            hashes = scattered(hashes ^ own[:, column])
        bucket = hashes % np.uint64(bucket_count)
        for number in range(bucket_count):
            here = bucket == number
            if here.any():
                yield (band, number), Banded(unit, hashes[here], places[here], sketches[here])


def sketch(values: np.ndarray) -> np.ndarray:
    """The lowest two bits of each value: (n, 32) of uint8."""
    low = (values & 3).astype(np.uint8)
    return low[:, 0::4] | low[:, 1::4] << 2 | low[:, 2::4] << 4 | low[:, 3::4] << 6


def similarity(sketches: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The estimated Jaccard similarity of each sketch to one other."""
    differing = np.bitwise_xor(sketches, other)
    differing = (differing | differing >> 1) & 0x55
    same = VALUES - np.bitwise_count(differing).sum(axis=1)
    # Values that differ agree in two bits by chance, one time in four.
    estimated: np.ndarray = (same / VALUES - 0.25) / 0.75
    return estimated


def find_links(bucket: Iterable[Banded]) -> Iterator[np.ndarray]:
    """The pairs of rows of a band's bucket that may be near duplicates.

    Yields:
        Links, uint64 of shape (4, n): unit and place of the later row, of the earlier row.
    """
    parts = sorted(bucket, key=lambda part: part.begins)
    hashes, places, sketches = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("hashes", "places", "sketches")
    )
    counts = [len(part.places) for part in parts]
    units = np.repeat(np.array([part.unit for part in parts], np.uint64), counts)
    order = np.argsort(hashes, kind="stable")  # within a band's hash in source order
    edges = np.flatnonzero(np.concatenate(([True], np.diff(hashes[order]) != 0, [True])))
    links = []
    for group in np.flatnonzero(np.diff(edges) > 1).tolist():
        members = order[edges[group] : edges[group + 1]]
        for later, earlier in _leaders(sketches[members]):
            late, early = members[later], np.full(len(later), members[earlier])
            links.append(np.stack([units[late], places[late], units[early], places[early]]))
    if links:
        yield np.concatenate(links, axis=1)


def _leaders(sketches: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """(rows, the first row that they are like), for each row that leads others."""
    left = np.arange(len(sketches))
    for _ in range(_MOST_LEADERS):
        if len(left) < 2:
            return
        leader, left = int(left[0]), left[1:]
        alike = similarity(sketches[left], sketches[leader]) >= SIMILAR - _DOUBT
        if alike.any():
            yield left[alike], leader
        left = left[~alike]
