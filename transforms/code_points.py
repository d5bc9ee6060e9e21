"""Where characters beyond ASCII stand in UTF-8, and of which ranges they are; for whole batches."""

from __future__ import annotations

import numpy as np

TAIL = 3
"""Bytes that must follow the text: a character has up to four."""


def bounds(*ranges: tuple[int, int]) -> np.ndarray:
    """Ranges of code points in ascending order, both ends belonging to them, for ``within``."""
    return np.array([bound for first, last in ranges for bound in (first, last + 1)])


def within(codes: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """Which code points lie in one of the ranges that ``bounds`` made."""
    inside: np.ndarray = np.searchsorted(ranges, codes, "right") % 2 == 1
    return inside


def beyond_ascii(text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(places, code points) of all such characters in valid UTF-8 (uint8), in order.

    At least ``TAIL`` ASCII bytes must stand at its end.
    """
    at = np.flatnonzero(text >= 0xC0)
    first, second, third, fourth = (text[at + byte].astype(np.int32) for byte in range(4))
    codes = (first & 0x1F) << 6 | second & 0x3F
    three, four = np.flatnonzero(first >= 0xE0), np.flatnonzero(first >= 0xF0)
    codes[three] = (codes[three] << 6 | third[three] & 0x3F) & 0xFFFF
    codes[four] = (codes[four] << 6 | fourth[four] & 0x3F) & 0x1FFFFF
    return at, codes
