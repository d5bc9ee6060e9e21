"""The control token rule: a row's content must not contain tokens of the template.

A user's ``<|im_end|>`` would end the turn.  Invariant: a rendered row has as many control tokens as
the same row with harmless content.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_GAP = "\u200b"
"""Zero width space, which ``escape`` inserts after the first character of a token."""

_AROUND = 40

_MOST_PLACES = 20_000
"""Of so many first bytes each is looked at by itself; a pattern is faster for more."""


@cache
def _pattern(tokens: tuple[str, ...]) -> re.Pattern[str]:
    # The longest first, since a token may be the beginning of another one.
    return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))))


@cache
def _in_bytes(tokens: tuple[str, ...]) -> tuple[dict[int, tuple[bytes, ...]], re.Pattern[bytes]]:
    """The tokens in UTF-8 by their first bytes, and a pattern that finds any of them."""
    raw = [token.encode() for token in tokens]
    firsts = dict.fromkeys(token[0] for token in raw)
    by_first = {first: tuple(t for t in raw if t[0] == first) for first in firsts}
    return by_first, re.compile(b"|".join(map(re.escape, raw)))


def find_texts(texts: pa.StringArray, tokens: tuple[str, ...]) -> np.ndarray | None:
    """For each text whether it contains a token (bool); None where no text does."""
    if not may_contain(texts, tokens):
        return None
    found = pc.match_substring_regex(texts, _pattern(tokens).pattern)
    marks = pc.fill_null(found, False).to_numpy(zero_copy_only=False)
    return marks if marks.any() else None


def may_contain(texts: pa.StringArray, tokens: tuple[str, ...]) -> bool:
    """Whether the bytes of all texts, taken as one, contain a token: a fast first test."""
    if not tokens or not len(texts):
        return False
    _, offsets, data = texts.buffers()
    if data is None:
        return False
    edges = np.frombuffer(offsets, np.int32)
    start, stop = int(edges[texts.offset]), int(edges[texts.offset + len(texts)])
    if start == stop:
        return False
    raw = data.slice(start, stop - start)
    firsts, pattern = _in_bytes(tokens)
    # One byte is found many times faster than a token, and most texts have few of these bytes;
    # this comparison runs outside the interpreter's lock.
    found = np.frombuffer(raw, np.uint8)
    for first, starting in firsts.items():
        places = np.flatnonzero(found == first)
        if len(places) > _MOST_PLACES:
            return pattern.search(raw) is not None
        longest = max(map(len, starting))
        view = memoryview(raw)
        if any(bytes(view[n : n + longest]).startswith(starting) for n in places.tolist()):
            return True
    return False


def escape(text: str, tokens: tuple[str, ...]) -> str:
    """The text with an invisible gap in each token, so that a tokenizer does not see the token."""
    return _pattern(tokens).sub(lambda found: found[0][0] + _GAP + found[0][1:], text)


def escape_all(texts: pa.StringArray, tokens: tuple[str, ...]) -> pa.StringArray:
    """The texts, each escaped."""
    return pa.array(
        [None if text is None else escape(text, tokens) for text in texts.to_pylist()], pa.string()
    )


def excerpt(text: str, tokens: tuple[str, ...]) -> str:
    """The first token of a text with its surroundings; "" for a text without one."""
    found = _pattern(tokens).search(text)
    if found is None:
        return ""
    start, stop = max(0, found.start() - _AROUND), found.end() + _AROUND
    return f"{found[0]} in …{text[start:stop]}…"


def count(text: str, tokens: Sequence[str]) -> int:
    """The number of control tokens in a text."""
    return len(_pattern(tuple(tokens)).findall(text)) if tokens else 0


def spans(text: str, tokens: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """(start, stop) of each token in a text, in order."""
    if tokens:
        yield from (found.span() for found in _pattern(tokens).finditer(text))
