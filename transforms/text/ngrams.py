"""Texts as arrays of hashed words and word n-grams, the units of similarity.

A word is a run of letters and digits, in lower case as far as ASCII goes.  A character of a script
without spaces between words is a word by itself: from U+3040 to U+DFFF (Chinese, Japanese, Korean),
U+0E00 to U+0EFF (Thai, Lao), U+1000 to U+109F (Burmese) and U+1780 to U+17FF (Khmer).  Punctuation,
symbols and white space are not words: all that ASCII has, U+0080 to U+00BF, U+2000 to U+2FFF,
U+3000 to U+303F and the full-width ones up to U+FF65.  All rows of a batch are processed at once,
without a loop over rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from xxhash import xxh3_64_intdigest

from transforms.text.hashing import each_once, scattered
from transforms.text.unicode_ranges import TAIL, beyond_ascii, bounds, padded, within

# Beyond ASCII: symbols, and characters that are words by themselves.  Each has three bytes in
# UTF-8, except U+0080 to U+00BF, which have two.
_SYMBOLS = bounds(
    *((0x80, 0xBF), (0x2000, 0x303F)),
    *((0xFF01, 0xFF0F), (0xFF1A, 0xFF20), (0xFF3B, 0xFF40), (0xFF5B, 0xFF65)),
)
_UNSPACED = bounds((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0xDFFF))
_WORD_BYTES = 8  # as many as TAIL has
_LONG_WORD = 64
_TO_LOWER = np.uint8(ord("a") - ord("A"))


@dataclass(frozen=True)
class Hashed:
    """Hashes of some rows' words or n-grams.

    Row ``i`` has ``hashes[offsets[i]:offsets[i + 1]]``; both arrays are uint64.
    """

    hashes: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> np.ndarray:
        """The number of hashes of each row."""
        return np.diff(self.offsets)

    def select(self, rows: np.ndarray) -> Hashed:
        """The hashes of these rows."""
        counts = self.counts[rows].astype(np.int64)
        offsets = np.concatenate(([0], np.cumsum(counts)))
        begins = self.offsets[rows].astype(np.int64)
        places = np.arange(offsets[-1]) + np.repeat(begins - offsets[:-1], counts)
        return Hashed(self.hashes[places], offsets.astype(np.uint64))

    def row(self, index: int) -> np.ndarray:
        """The hashes of one row."""
        start, stop = int(self.offsets[index]), int(self.offsets[index + 1])
        return self.hashes[start:stop]


def word_array(values: pa.StringArray) -> Hashed:
    """The hashed words of each value (none null); a hash depends on all bytes of a word."""
    text, edges = _lowered(values)
    starts, stops = _places(text, edges)
    return Hashed(
        _word_hashes(text, starts, stops), np.searchsorted(starts, edges).astype(np.uint64)
    )


def word_places(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Where the words of one text begin and end, as byte offsets in its UTF-8."""
    return _places(*_lowered(pa.array([text], pa.string())))


def _lowered(values: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """``padded`` values with ASCII letters in lower case."""
    text, edges = padded(values)
    # Arithmetic on bytes runs outside the interpreter's lock, unlike bytes.translate; a shift of
    # bytes would take three times as long.
    text += _is_one_of(text, "AZ").view(np.uint8) * _TO_LOWER
    return text, edges


def _is_one_of(text: np.ndarray, ends: str) -> np.ndarray:
    first, last = ends.encode()
    found: np.ndarray = text - np.uint8(first) <= last - first
    return found


def _places(text: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Begin and end of every word in lower-case bytes; no word crosses an edge."""
    letters = text[:-TAIL]
    inside = np.zeros(len(letters) + 2, bool)  # with a gap at both ends
    inside[1:-1] = letters >= 0x80
    for ends in ("az", "09"):
        inside[1:-1] |= _is_one_of(letters, ends)
    at, codes = beyond_ascii(text)
    if len(at):
        symbols = within(codes, _SYMBOLS)
        none, wide = at[symbols] + 1, codes[symbols] >= 0x800
        inside[none] = inside[none + 1] = inside[none[wide] + 2] = False
        alone = at[within(codes, _UNSPACED)]
        edges = np.concatenate((edges, alone, alone + 3))
    # Changes alternate between the begin and the end of a word.
    changes = np.flatnonzero(inside[1:] != inside[:-1])
    starts, stops = changes[::2], changes[1::2]
    cuts = each_once(edges[inside[edges] & inside[edges + 1]])
    if len(cuts):
        starts, stops = (
            np.insert(places, np.searchsorted(places, cuts), cuts) for places in (starts, stops)
        )
    return starts, stops


_KEPT = np.array([2 ** (8 * n) - 1 for n in range(_WORD_BYTES + 1)], np.uint64)
_HEAD, _PIECE = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_LENGTH = np.uint64(0x165667B19E3779F9)


def _word_hashes(text: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """A hash for each word from all its bytes.

    Eight bytes at a time: the first, the last, then those between.  Words of more than 64 bytes are
    hashed one by one, so that a giant word costs no more than its bytes.
    """
    # Eight bytes at any place as one number: UTF-8 text is not aligned.
    eight = np.ndarray(len(text) - _WORD_BYTES + 1, np.dtype("<u8"), text, strides=(1,))
    lengths = stops - starts
    mixed = eight[starts] & _KEPT.take(lengths, mode="clip")
    mixed *= _HEAD
    mixed ^= lengths.astype(np.uint64) * _LENGTH
    longer = np.flatnonzero(lengths > _WORD_BYTES)
    pieces = stops[longer] - _WORD_BYTES
    for place in range(_WORD_BYTES, _LONG_WORD, _WORD_BYTES):
        # Scattered first: the highest bytes of a product only affect its highest bits.
        mixed[longer] = scattered(mixed[longer]) ^ (eight[pieces] * _PIECE)
        sizes = lengths[longer]
        longer = longer[(sizes > place + _WORD_BYTES) & (sizes <= _LONG_WORD)]
        if not len(longer):
            break
        pieces = starts[longer] + place
    mixed = scattered(mixed)
    for word in np.flatnonzero(lengths > _LONG_WORD).tolist():
        mixed[word] = xxh3_64_intdigest(text[starts[word] : stops[word]].tobytes())
    return mixed


_FACTOR = np.uint64(0x100000001B3)


def ngrams(found: Hashed, length: int, short: bool = True) -> Hashed:
    """The runs of ``length`` words of each row, hashed in order.

    A row with fewer words (but any) has one n-gram of all its words, or none without ``short``.
    """
    counts = found.counts.astype(np.int64)
    made = np.maximum(counts - length + 1, np.minimum(counts, 1) if short else 0)
    offsets = np.concatenate(([0], np.cumsum(made))).astype(np.uint64)
    # All runs of the batch are made at once, also those that cross the end of a row.
    following = np.concatenate((found.hashes, np.zeros(length, np.uint64)))
    runs = following[: len(found.hashes)].copy()
    for step in range(1, length):
        runs *= _FACTOR
        runs += following[step : step + len(runs)]
    if short:
        few = np.flatnonzero((counts > 0) & (counts < length))
        runs[found.offsets[:-1][few].astype(np.int64)] = _padded(found, few, length)
    # Runs that cross the end of their row are dropped.
    own = np.ones(len(runs), bool)
    ends = found.offsets[1:].astype(np.int64)
    for step in range(1, length):
        own[(ends - step)[counts - made >= step]] = False
    return Hashed(scattered(runs[own]), offsets)


def _padded(found: Hashed, rows: np.ndarray, length: int) -> np.ndarray:
    """The run of all words of each of these rows, padded with zeros."""
    runs: np.ndarray = np.zeros(len(rows), np.uint64)
    firsts, counts = found.offsets[:-1][rows], found.counts[rows]
    for step in range(length):
        there = step < counts
        runs *= _FACTOR
        runs[there] += found.hashes[firsts[there] + np.uint64(step)]
    return runs


def distinct(found: Hashed) -> Hashed:
    """The distinct hashes of each row, sorted."""
    rows = np.repeat(np.arange(len(found)), found.counts.astype(np.int64))
    order = np.lexsort((found.hashes, rows))
    hashes, rows = found.hashes[order], rows[order]
    new = np.ones(len(hashes), bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (rows[1:] != rows[:-1])
    offsets = np.searchsorted(rows[new], np.arange(len(found) + 1))
    return Hashed(hashes[new], offsets.astype(np.uint64))


def without_repeats(found: Hashed, rows: np.ndarray) -> Hashed:
    """The same hashes, but for some of the rows each hash once; in any order.

    Much faster than ``distinct`` where few rows repeat a hash: numbers that hold the row and most
    bits of a hash are sorted, and only rows with equal ones are looked at again.

    Args:
        found: The hashes.
        rows: The rows that may not repeat one, distinct; int64.
    """
    some = found.select(rows)
    bits = max(1, len(some).bit_length())
    places = np.arange(len(some), dtype=np.uint64) << np.uint64(64 - bits)
    numbers = np.repeat(places, some.counts.astype(np.int64))
    numbers |= some.hashes >> np.uint64(bits)
    numbers.sort(kind="stable")  # the rows are in order already
    again = numbers[1:][numbers[1:] == numbers[:-1]] >> np.uint64(64 - bits)
    if not len(again):
        return found
    repeating = each_once(again).astype(np.int64)
    once = distinct(some.select(repeating))
    which = np.arange(len(found))
    which[rows[repeating]] = len(found) + np.arange(len(once))
    both = np.concatenate((found.hashes, once.hashes))
    offsets = np.concatenate((found.offsets, found.offsets[-1] + once.offsets[1:]))
    return Hashed(both, offsets).select(which)
