"""Texts as arrays of hashed words, and of hashed word n-grams: what similarity is measured in.

A word is a run of letters and digits, in lower case as far as ASCII goes; a character of a script
without spaces between words (Chinese, Japanese, Korean) is a word by itself.  Punctuation and white
space are no words.  All rows of a batch are taken together, without a loop over rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

_NO_WORD = 32


def _plain(byte: int) -> int:
    if byte >= 128:
        return byte
    return ord(chr(byte).lower()) if chr(byte).isalnum() else _NO_WORD


_PLAIN = bytes(_plain(byte) for byte in range(256))
# UTF-8's first byte of U+3000 to U+DFFF (CJK, kana, Hangul), and of U+2000 to U+2FFF, which are
# punctuation and symbols.
_IDEOGRAPH = range(0xE3, 0xEE)
_SYMBOL = 0xE2
_WORD_BYTES = 8


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

    def row(self, index: int) -> np.ndarray:
        """Those of one row."""
        start, stop = int(self.offsets[index]), int(self.offsets[index + 1])
        return self.hashes[start:stop]


def words(values: pa.StringArray) -> Hashed:
    """The words of each value (none null).

    A hash is of a word's length, its first eight bytes and its last eight.
    """
    raw, edges = _plain_bytes(values)
    text = np.frombuffer(raw, np.uint8)[: len(raw) - _WORD_BYTES]
    inside = text != _NO_WORD
    begins, ends = inside.copy(), inside.copy()
    begins[1:] &= ~inside[:-1]
    ends[:-1] &= ~inside[1:]
    filled = edges[1:] > edges[:-1]
    first, last = edges[:-1][filled], edges[1:][filled] - 1
    begins[first] = inside[first]
    ends[last] = inside[last]
    ideographs = (text >= _IDEOGRAPH.start) & (text < _IDEOGRAPH.stop)
    if ideographs.any():
        alone = np.flatnonzero(ideographs)
        begins[alone] = True
        after = alone + 3  # UTF-8 gives each of them three bytes
        after = after[after < len(text)]
        begins[after] |= inside[after]
        starts = np.flatnonzero(begins)
        # A word now also ends where the next one begins at once.
        ends[starts[1:] - 1] |= inside[starts[1:] - 1]
    starts, stops = np.flatnonzero(begins), np.flatnonzero(ends) + 1
    return Hashed(
        _word_hashes(raw, starts, stops), np.searchsorted(starts, edges).astype(np.uint64)
    )


def _plain_bytes(values: pa.StringArray) -> tuple[bytes, np.ndarray]:
    """All values with a space for what is no part of a word, and eight bytes more; their edges."""
    _, offsets, data = values.buffers()
    edges = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    start, stop = (int(edges[0]), int(edges[-1])) if len(values) else (0, 0)
    raw = bytes(memoryview(data)[start:stop]).translate(_PLAIN) if stop > start else b""
    if bytes([_SYMBOL]) in raw:
        text = np.frombuffer(raw, np.uint8).copy()
        symbols = np.flatnonzero(text == _SYMBOL)
        for byte in range(3):
            text[symbols + byte] = _NO_WORD
        raw = text.tobytes()
    return raw + bytes(_WORD_BYTES), edges.astype(np.int64) - start


_KEPT = np.array([2 ** (8 * n) - 1 for n in range(_WORD_BYTES + 1)], np.uint64)


def _word_hashes(raw: bytes, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """A hash for each word from its first and last eight bytes."""
    # Eight bytes at any place as one number: UTF-8 text is not aligned.
    eight = np.ndarray(len(raw) - _WORD_BYTES + 1, np.dtype("<u8"), raw, strides=(1,))
    lengths = stops - starts
    head = eight[starts] & _KEPT[np.minimum(lengths, _WORD_BYTES)]
    tail = np.where(lengths > _WORD_BYTES, eight[np.maximum(stops - _WORD_BYTES, 0)], 0)
    mixed = head * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= tail * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed ^= lengths.astype(np.uint64) * np.uint64(0x165667B19E3779F9)
    return _scattered(mixed)


def _scattered(numbers: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele and others, 2014): every bit depends on all others."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def n_grams(found: Hashed, length: int, short: bool = True) -> Hashed:
    """The runs of ``length`` words of each row, hashed in order.

    A row with fewer words (but any) has one n-gram of all its words, or none without ``short``.
    """
    counts = found.counts.astype(np.int64)
    made = np.maximum(counts - length + 1, np.minimum(counts, 1) if short else 0)
    offsets = np.concatenate(([0], np.cumsum(made)))
    # The place of each n-gram's first word: its place among the n-grams, moved by its row.
    moved = found.offsets[:-1].astype(np.int64) - offsets[:-1]
    places = np.arange(offsets[-1]) + np.repeat(moved, made)
    stops = np.repeat(found.offsets[1:].astype(np.int64), made)
    hashes = np.zeros(len(places), np.uint64)
    for step in range(length):
        at = places + step
        there = at < stops
        word = np.where(there, found.hashes[np.where(there, at, 0)] if len(found.hashes) else 0, 0)
        hashes = hashes * np.uint64(0x100000001B3) + word
    return Hashed(_scattered(hashes), offsets.astype(np.uint64))
