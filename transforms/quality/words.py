"""Texts as arrays of hashed words, and of hashed word n-grams: what similarity is measured in.

A word is a run of letters and digits, in lower case as far as ASCII goes.  A character of a script
without spaces between words is a word by itself: from U+3040 to U+DFFF (Chinese, Japanese, Korean),
U+0E00 to U+0EFF (Thai, Lao), U+1000 to U+109F (Burmese) and U+1780 to U+17FF (Khmer).  Punctuation,
symbols and white space are no words: all that ASCII has, U+0080 to U+00BF, U+2000 to U+2FFF, U+3000
to U+303F and the full-width ones up to U+FF65.  All rows of a batch are taken together, without a
loop over rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from xxhash import xxh3_64_intdigest

_NO_WORD = 32


def _plain(byte: int) -> int:
    if byte >= 128:
        return byte
    return ord(chr(byte).lower()) if chr(byte).isalnum() else _NO_WORD


_PLAIN = bytes(_plain(byte) for byte in range(256))
# UTF-8's first byte of U+3000 to U+DFFF (CJK, kana, Hangul).
_IDEOGRAPH = range(0xE3, 0xEE)
# How UTF-8 begins U+0080 to U+00BF, U+2000 to U+2FFF and U+3000 to U+303F: spaces, punctuation and
# symbols, but for a few.
_LEADS = (b"\xc2", b"\xe2", b"\xe3\x80")
# Other characters that are words by themselves, and others that are no part of a word.  UTF-8 gives
# each three bytes, and all of one range the same first one.
_UNSPACED = (range(0x0E00, 0x0F00), range(0x1000, 0x10A0), range(0x1780, 0x1800))
_FULL_WIDTH = (
    *(range(0xFF01, 0xFF10), range(0xFF1A, 0xFF21)),
    *(range(0xFF3B, 0xFF41), range(0xFF5B, 0xFF66)),
)
_WORD_BYTES = 8
_LONG_WORD = 64


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
        """How many each row has."""
        return np.diff(self.offsets)

    def select(self, rows: np.ndarray) -> Hashed:
        """Those of some rows, by number."""
        counts = self.counts[rows].astype(np.int64)
        offsets = np.concatenate(([0], np.cumsum(counts)))
        begins = self.offsets[rows].astype(np.int64)
        places = np.arange(offsets[-1]) + np.repeat(begins - offsets[:-1], counts)
        return Hashed(self.hashes[places], offsets.astype(np.uint64))

    def row(self, index: int) -> np.ndarray:
        """Those of one row."""
        start, stop = int(self.offsets[index]), int(self.offsets[index + 1])
        return self.hashes[start:stop]


def words(values: pa.StringArray) -> Hashed:
    """The words of each value (none null).

    A hash is of all bytes of a word.
    """
    raw, edges = _plain_bytes(values)
    starts, stops = _places(raw, edges)
    return Hashed(
        _word_hashes(raw, starts, stops), np.searchsorted(starts, edges).astype(np.uint64)
    )


def word_places(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Where the words of one text begin and end, as places in its UTF-8."""
    return _places(*_plain_bytes(pa.array([text], pa.string())))


def _places(raw: bytes, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Begin and end of every word in plain bytes; no word goes over an edge."""
    text = np.frombuffer(raw, np.uint8)[: len(raw) - _WORD_BYTES]
    inside = text != _NO_WORD
    begins, ends = inside.copy(), inside.copy()
    begins[1:] &= ~inside[:-1]
    ends[:-1] &= ~inside[1:]
    filled = edges[1:] > edges[:-1]
    first, last = edges[:-1][filled], edges[1:][filled] - 1
    begins[first] = inside[first]
    ends[last] = inside[last]
    alone = np.flatnonzero((text >= _IDEOGRAPH.start) & (text < _IDEOGRAPH.stop))
    unspaced = _found(raw, text, _UNSPACED)
    if len(unspaced):
        alone = np.concatenate((alone, unspaced))
    if len(alone):
        begins[alone] = True
        after = alone + 3  # UTF-8 gives each of them three bytes
        after = after[after < len(text)]
        begins[after] |= inside[after]
        starts = np.flatnonzero(begins)
        # A word now also ends where the next one begins at once.
        ends[starts[1:] - 1] |= inside[starts[1:] - 1]
    return np.flatnonzero(begins), np.flatnonzero(ends) + 1


def _plain_bytes(values: pa.StringArray) -> tuple[bytes, np.ndarray]:
    """All values with a space for what is no part of a word, and eight bytes more; their edges."""
    if not len(values):  # Arrow may then have no offsets at all
        return bytes(_WORD_BYTES), np.zeros(1, np.int64)
    _, offsets, data = values.buffers()
    edges = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    start, stop = int(edges[0]), int(edges[-1])
    raw = bytes(memoryview(data)[start:stop]).translate(_PLAIN) if stop > start else b""
    if any(lead in raw for lead in _LEADS) or _lead(_FULL_WIDTH[0]) in raw:
        raw = _without_symbols(raw)
    return raw + bytes(_WORD_BYTES), edges.astype(np.int64) - start


def _without_symbols(raw: bytes) -> bytes:
    """The same with spaces for characters beyond ASCII that are no part of a word."""
    text = np.frombuffer(raw, np.uint8).copy()
    for lead in _LEADS:
        symbols = np.flatnonzero(text == lead[0])
        if len(lead) > 1:
            symbols = symbols[text[symbols + 1] == lead[1]]
        for byte in range(2 if lead[0] < 0xE0 else 3):
            text[symbols + byte] = _NO_WORD
    symbols = _found(raw, text, _FULL_WIDTH)
    for byte in range(3):
        text[symbols + byte] = _NO_WORD
    return text.tobytes()


def _lead(codes: range) -> int:
    """The first of the three bytes that UTF-8 gives these characters."""
    return 0xE0 | codes.start >> 12


def _found(raw: bytes, text: np.ndarray, ranges: tuple[range, ...]) -> np.ndarray:
    """Where the characters of these ranges begin, in no order; ``text`` is ``raw`` as an array."""
    # Most texts have none: looking for a byte in bytes costs next to nothing.
    leads = {lead for lead in map(_lead, ranges) if lead in raw}
    if not leads:
        return np.empty(0, np.int64)
    places = np.concatenate([np.flatnonzero(text == lead) for lead in leads])
    first, second, third = (text[places + byte].astype(np.int32) for byte in range(3))
    codes = (first & 0x0F) << 12 | (second & 0x3F) << 6 | third & 0x3F
    wanted = np.zeros(len(places), bool)
    for part in ranges:
        wanted |= (codes >= part.start) & (codes < part.stop)
    return places[wanted]


_KEPT = np.array([2 ** (8 * n) - 1 for n in range(_WORD_BYTES + 1)], np.uint64)


_HEAD, _PIECE = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_LENGTH = np.uint64(0x165667B19E3779F9)


def _word_hashes(raw: bytes, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """A hash for each word from all its bytes.

    Eight bytes at a time: the first, the last, then those between.  Words of more than 64 bytes are
    hashed one by one, so that a single giant one costs no more than its bytes.
    """
    # Eight bytes at any place as one number: UTF-8 text is not aligned.
    eight = np.ndarray(len(raw) - _WORD_BYTES + 1, np.dtype("<u8"), raw, strides=(1,))
    lengths = stops - starts
    mixed = eight[starts] & _KEPT[np.minimum(lengths, _WORD_BYTES)]
    mixed *= _HEAD
    mixed ^= lengths.astype(np.uint64) * _LENGTH
    longer = np.flatnonzero(lengths > _WORD_BYTES)
    pieces = stops[longer] - _WORD_BYTES
    for place in range(_WORD_BYTES, _LONG_WORD, _WORD_BYTES):
        # Scattered first: of two products the highest bytes would only add to the highest bits.
        mixed[longer] = scattered(mixed[longer]) ^ (eight[pieces] * _PIECE)
        sizes = lengths[longer]
        longer = longer[(sizes > place + _WORD_BYTES) & (sizes <= _LONG_WORD)]
        if not len(longer):
            break
        pieces = starts[longer] + place
    mixed = scattered(mixed)
    for word in np.flatnonzero(lengths > _LONG_WORD).tolist():
        mixed[word] = xxh3_64_intdigest(raw[starts[word] : stops[word]])
    return mixed


def scattered(numbers: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele and others, 2014): every bit depends on all others."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    scattered: np.ndarray = numbers ^ (numbers >> np.uint64(31))
    return scattered


_FACTOR = np.uint64(0x100000001B3)


def n_grams(found: Hashed, length: int, short: bool = True) -> Hashed:
    """The runs of ``length`` words of each row, hashed in order.

    A row with fewer words (but any) has one n-gram of all its words, or none without ``short``.
    """
    counts = found.counts.astype(np.int64)
    made = np.maximum(counts - length + 1, np.minimum(counts, 1) if short else 0)
    offsets = np.concatenate(([0], np.cumsum(made)))
    # All runs of the batch, also those that go over the end of a row, are made at a stroke.
    following = np.concatenate((found.hashes, np.zeros(length, np.uint64)))
    runs = following[: len(found.hashes)].copy()
    for step in range(1, length):
        runs *= _FACTOR
        runs += following[step : step + len(runs)]
    firsts = found.offsets[:-1].astype(np.int64)
    if short:
        few = np.flatnonzero((counts > 0) & (counts < length))
        runs[firsts[few]] = _padded(found, few, length)
    # The place of each run's first word: its place among the runs, moved by its row.
    places = np.arange(offsets[-1]) + np.repeat(firsts - offsets[:-1], made)
    return Hashed(scattered(runs[places]), offsets.astype(np.uint64))


def _padded(found: Hashed, rows: np.ndarray, length: int) -> np.ndarray:
    """The run of all words of each of these rows, with zeros behind them."""
    runs: np.ndarray = np.zeros(len(rows), np.uint64)
    firsts, counts = found.offsets[:-1][rows], found.counts[rows]
    for step in range(length):
        there = step < counts
        runs *= _FACTOR
        runs[there] += found.hashes[firsts[there] + np.uint64(step)]
    return runs


def numbers_of(hashes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The place of each hash among ``known`` ones, sorted; -1 where it is not there."""
    if not len(known):
        return np.full(len(hashes), -1)
    at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    return np.where(known[at] == hashes, at, -1)


def distinct(found: Hashed) -> Hashed:
    """The hashes of each row, sorted, each once."""
    rows = np.repeat(np.arange(len(found)), found.counts.astype(np.int64))
    order = np.lexsort((found.hashes, rows))
    hashes, rows = found.hashes[order], rows[order]
    new = np.ones(len(hashes), bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (rows[1:] != rows[:-1])
    offsets = np.searchsorted(rows[new], np.arange(len(found) + 1))
    return Hashed(hashes[new], offsets.astype(np.uint64))
