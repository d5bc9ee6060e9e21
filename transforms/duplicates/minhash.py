"""The near-duplicate rule: rows of whose word 3-grams nearly all are the same.

Each row has a MinHash (Broder, 1997; made by rensa) of 128 values.  Rows that agree in a band of it
are compared by a sketch, two bits of each value (b-bit MinHash, Li and Koenig, 2010).  Those that
may be at least ``SIMILAR`` alike are read once more and compared word 3-gram by word 3-gram.  In
source order, a row is left out if it is near one that stays.

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

from transforms.duplicates.positions import Drop
from transforms.options import SHINGLE_WORDS, SIMILAR
from transforms.text.hashing import scattered
from transforms.text.ngrams import Hashed, ngrams, word_array

VALUES, BANDS, BAND_VALUES = 128, 9, 7
_SEED = 42
_BITS = 2
_SKETCH_BYTES = VALUES * _BITS // 8
_ROWS_AT_ONCE = 2000  # rensa hands its values over as Python numbers
_DOUBT = 0.06  # of an estimate; those that only seem alike are told by a comparison
_MOST_LEADERS = 64
"""Different rows in one band that later ones are compared with: boilerplate fills some bands."""


@dataclass(frozen=True, slots=True)
class Banded:
    """Rows of a unit in one band: hashes of the band, places (bytes of uint64), and sketches."""

    unit: int
    hashes: bytes
    places: bytes
    sketches: bytes

    @property
    def begins(self) -> tuple[int, int]:
        """Where it stands among the parts of all units, which do not overlap."""
        return self.unit, int.from_bytes(self.places[:8], "little")


@dataclass(frozen=True, slots=True)
class Links:
    """Pairs of rows that are nearly the same: (unit, place) of the later and of the earlier row.

    Four columns of uint64, as bytes.
    """

    pairs: bytes


def min_hashes(texts: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """(values, which): MinHashes, uint32 of shape (n, VALUES), of the rows that have any words."""
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
    unit: int, values: np.ndarray, places: np.ndarray, of: int
) -> Iterator[tuple[tuple[int, int], Banded]]:
    """((band, bucket), the rows of a unit that fall in it)."""
    sketches = sketch(values)
    for band in range(BANDS):
        own = values[:, band * BAND_VALUES : (band + 1) * BAND_VALUES].astype(np.uint64)
        hashes = np.full(len(values), band, np.uint64)
        for column in range(BAND_VALUES):
            hashes = scattered(hashes ^ own[:, column])
        bucket = hashes % np.uint64(of)
        for number in range(of):
            here = bucket == number
            if here.any():
                parts = (array[here].tobytes() for array in (hashes, places, sketches))
                yield (band, number), Banded(unit, *parts)


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


def linked(parts: Iterable[Banded]) -> Iterator[Links]:
    """The pairs of near duplicates among the rows of a band's bucket."""
    ordered = sorted(parts, key=lambda part: part.begins)
    hashes, places = (
        np.frombuffer(b"".join(getattr(part, name) for part in ordered), np.uint64)
        for name in ("hashes", "places")
    )
    raw = np.frombuffer(b"".join(part.sketches for part in ordered), np.uint8)
    counts = [len(part.places) // 8 for part in ordered]
    units = np.repeat(np.array([part.unit for part in ordered], np.uint64), counts)
    order = np.argsort(hashes, kind="stable")  # within a band's hash in source order
    edges = np.flatnonzero(np.concatenate(([True], np.diff(hashes[order]) != 0, [True])))
    sketches = raw.reshape(-1, _SKETCH_BYTES)
    pairs = []
    for group in np.flatnonzero(np.diff(edges) > 1).tolist():
        members = order[edges[group] : edges[group + 1]]
        for later, earlier in _leaders(sketches[members]):
            late, early = members[later], np.full(len(later), members[earlier])
            pairs.append(np.stack([units[late], places[late], units[early], places[early]]))
    if pairs:
        yield Links(np.concatenate(pairs, axis=1).tobytes())


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


@dataclass(frozen=True, slots=True)
class Wanted:
    """Rows of a unit that are to be compared: three columns of uint64, as bytes.

    The row's place, and the unit and place of the earlier row that it is compared with, which may
    be the row itself.
    """

    rows: bytes


@dataclass(frozen=True, slots=True)
class RowShingles:
    """A row's word 3-grams, hashed, sorted and distinct; bytes of uint64."""

    unit: int
    place: int
    shingles: bytes


def wanted(links: Links) -> Iterator[tuple[int, Wanted]]:
    """(unit, its rows that are to be compared) of both sides of links."""
    pairs = np.frombuffer(links.pairs, np.uint64).reshape(4, -1)
    rows = np.unique(np.concatenate((pairs, pairs[[2, 3, 2, 3]]), axis=1), axis=1)
    for unit in np.unique(rows[0]).tolist():
        yield int(unit), Wanted(rows[1:, rows[0] == unit].tobytes())


def verified(earlier: tuple[int, int], group: Iterable[RowShingles]) -> Iterator[Links]:
    """The links of the rows that are as near to an ``earlier`` one, (unit, place), as they seem."""
    rows = {(said.unit, said.place): np.frombuffer(said.shingles, np.uint64) for said in group}
    first = rows.pop(earlier)
    late = []
    for row, own in rows.items():
        both = len(np.intersect1d(first, own, assume_unique=True))
        if both >= SIMILAR * (len(first) + len(own) - both):
            late.append(row)
    if late:
        pairs = np.array([(*row, *earlier) for row in late], np.uint64).T
        yield Links(pairs.tobytes())


def left_out(found: Iterable[Links]) -> Iterator[tuple[int, Drop]]:
    """(unit, rows that are near a row that stays), from all links.

    In source order: a row that is near one that is itself left out may stay.
    """
    earlier: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for links in found:
        for unit, place, *first in np.frombuffer(links.pairs, np.uint64).reshape(4, -1).T.tolist():
            earlier.setdefault((unit, place), []).append((first[0], first[1]))
    dropped: dict[tuple[int, int], None] = {}
    for row in sorted(earlier):
        if any(first not in dropped for first in earlier[row]):
            dropped[row] = None
    units: dict[int, list[int]] = {}
    for unit, place in dropped:
        units.setdefault(unit, []).append(place)
    for unit, places in units.items():
        yield unit, Drop(np.array(places, np.uint64).tobytes(), near=True)
