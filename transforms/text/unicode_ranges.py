"""A batch's texts as bytes, and where characters beyond ASCII stand in them, by their ranges."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

TAIL = 8
"""Zeros after the bytes: a character has up to four, and ``ngrams`` reads eight at a time."""


def padded(values: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """(bytes, edges) of all values (none null): one copy, followed by ``TAIL`` zeros.

    Value ``i`` is ``bytes[edges[i]:edges[i + 1]]``; uint8 and int32.
    """
    if not len(values):  # Arrow may then have no offsets at all
        return np.zeros(TAIL, np.uint8), np.zeros(1, np.int32)
    _, offsets, data = values.buffers()
    edges = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    start, stop = int(edges[0]), int(edges[-1])
    text = np.zeros(stop - start + TAIL, np.uint8)
    if stop > start:
        text[:-TAIL] = np.frombuffer(data, np.uint8)[start:stop]
    return text, edges - edges[0]


def bounds(*ranges: tuple[int, int]) -> np.ndarray:
    """Inclusive ranges of code points in ascending order, for ``within``; int64."""
    return np.array([bound for first, last in ranges for bound in (first, last + 1)])


def within(codes: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """Which code points are in one of the ranges that ``bounds`` made; bool."""
    inside: np.ndarray = np.searchsorted(ranges, codes, "right") % 2 == 1
    return inside


def beyond_ascii(text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(places, code points) of all characters beyond ASCII in valid UTF-8 (uint8), in order.

    The last three bytes must be ASCII, such as those that ``padded`` adds.
    """
    at = np.flatnonzero(text >= 0xC0)
    first, second, third, fourth = (text[at + byte].astype(np.int32) for byte in range(4))
    codes = (first & 0x1F) << 6 | second & 0x3F
    three, four = np.flatnonzero(first >= 0xE0), np.flatnonzero(first >= 0xF0)
    codes[three] = (codes[three] << 6 | third[three] & 0x3F) & 0xFFFF
    codes[four] = (codes[four] << 6 | fourth[four] & 0x3F) & 0x1FFFFF
    return at, codes
