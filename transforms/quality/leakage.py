"""The leakage rule: validation rows whose prompt is nearly a training row's.

Equal prompts never straddle the splits, by construction; near ones may, and a model is then
validated on what it was trained on.  Prompts are near duplicates if at least ``SIMILAR`` of their
word 3-grams are the same (Jaccard), which is counted exactly, not estimated.

Of each validation prompt that is looked for the rarest 3-grams are indexed before the training rows
stream by, just so many that a row as alike as that must share a few of them (the prefix filter of
Chaudhuri and others, 2006); only rows that do are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.quality.rules import SHINGLE_WORDS, SIMILAR
from transforms.quality.validation_prompts import Prompts, ids_of, keys_of
from transforms.quality.words import Hashed, n_grams, words

_SHOWN_CHARS = 300
_MOST_EXAMPLES = 20
_SHARED = 12  # indexed 3-grams that a row must share with a prompt to be compared with it
_MOST_COMPARED = 64  # prompts that one 3-gram leads to: of boilerplate any will do
_MOST_FILTER_BITS = 23  # 8 MB


@dataclass(frozen=True)
class Leak:
    """A validation prompt's nearest training prompt: ``similarity`` 0 to 1, texts cut."""

    similarity: float
    exact: bool
    train: str


@dataclass(frozen=True)
class Seen:
    """What some rows tell: validation rows that are looked at, and leaks of validation prompts.

    Both by id of the validation prompt; ``rows`` has (count, the prompt, cut).
    """

    rows: dict[int, tuple[int, str]]
    leaks: dict[int, Leak]


class Finder:
    """Looks for known validation prompts among the prompts of training rows."""

    def __init__(self, known: Prompts) -> None:
        self._known = known
        counts = known.shingles.counts.astype(np.int64)
        # Of two prompts as alike as that so many 3-grams are the same.
        enough = np.ceil(SIMILAR * counts).astype(np.int64)
        self._shared = np.minimum(_SHARED, enough)
        indexed, rows = _rarest(known.shingles, counts - enough + self._shared)
        self._distinct, begins, often = np.unique(indexed, return_index=True, return_counts=True)
        self._rows, self._begins = rows, begins
        self._often = np.minimum(often, _MOST_COMPARED)
        # The fewest 3-grams that a row must share with any of a 3-gram's prompts.
        self._needs = (
            np.minimum.reduceat(self._shared[rows], begins) if len(rows) else np.empty(0, np.int64)
        )
        self._bits = min((16 * len(indexed)).bit_length(), _MOST_FILTER_BITS)
        self._filter = np.zeros(2**self._bits, bool)
        self._filter[self._slots(indexed)] = True

    def look(self, prompts: pa.StringArray, validation: np.ndarray) -> Seen:
        """What rows with these prompts tell; ``validation`` is bool, one for each row."""
        marks = pa.array(validation)
        leaks: dict[int, Leak] = {}
        if len(self._known.ids):
            leaks = self._leaks(prompts.filter(pc.invert(marks)))
        return Seen(self._seen(prompts.filter(marks)), leaks)

    def _seen(self, prompts: pa.StringArray) -> dict[int, tuple[int, str]]:
        ids = ids_of(prompts)
        rows: dict[int, tuple[int, str]] = {}
        known = np.searchsorted(self._known.ids, ids)
        known[known == len(self._known.ids)] = 0
        there = self._known.ids[known] == ids if len(self._known.ids) else np.zeros(len(ids), bool)
        for row in np.flatnonzero(there).tolist():
            found = int(ids[row])
            before, text = rows.get(found, (0, ""))
            rows[found] = (before + 1, text or shown(prompts[row].as_py()))
        return rows

    def _leaks(self, prompts: pa.StringArray) -> dict[int, Leak]:
        leaks: dict[int, Leak] = {}
        found = n_grams(words(prompts), SHINGLE_WORDS)
        for row, number in self._candidates(found):
            own, theirs = np.unique(found.row(row)), self._known.shingles.row(number)
            both = len(np.intersect1d(own, theirs, assume_unique=True))
            similarity = both / (len(own) + len(theirs) - both)
            if similarity >= SIMILAR:
                text = prompts.slice(row, 1)
                exact = bool(keys_of(text)[0] == self._known.keys[number])
                leak = Leak(similarity, exact, shown(text[0].as_py()))
                prompt = int(self._known.ids[number])
                leaks[prompt] = nearer(leaks.get(prompt, leak), leak)
        return leaks

    def _candidates(self, found: Hashed) -> Iterator[tuple[int, int]]:
        """(row, number of a known prompt) for those that may be alike: none that are is missing."""
        at = np.flatnonzero(self._filter[self._slots(found.hashes)])
        index = np.searchsorted(self._distinct, found.hashes[at])
        index[index == len(self._distinct)] = 0
        there = self._distinct[index] == found.hashes[at]
        at, index = at[there], index[there]
        rows = np.searchsorted(found.offsets.astype(np.int64), at, "right") - 1
        # What many prompts begin with leads to none of them by itself.
        enough = self._needs[index] <= np.bincount(rows, minlength=1)[rows]
        rows, index = rows[enough], index[enough]
        often = self._often[index]
        ends = np.cumsum(often)
        places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(
            self._begins[index] - (ends - often), often
        )
        pairs = np.repeat(rows, often) * len(self._known.ids) + self._rows[places]
        pairs, shared = np.unique(pairs, return_counts=True)
        rows, numbers = np.divmod(pairs, len(self._known.ids))
        likely = shared >= self._shared[numbers]
        rows, numbers = rows[likely], numbers[likely]
        # A long prompt may hold all of a short one without being like it.
        sizes = _sizes(found, rows)
        likely = SIMILAR * sizes <= self._known.shingles.counts[numbers]
        yield from zip(rows[likely].tolist(), numbers[likely].tolist(), strict=True)

    def _slots(self, hashes: np.ndarray) -> np.ndarray:
        """The filter's place of each hash: most that are not known are told by it alone."""
        slots: np.ndarray = (hashes >> np.uint64(64 - self._bits)).astype(np.int64)
        return slots


def _sizes(found: Hashed, rows: np.ndarray) -> np.ndarray:
    """How many different n-grams each of these rows has; ``rows`` are sorted, and may repeat."""
    each, which = np.unique(rows, return_inverse=True)
    counts = found.counts[each].astype(np.int64)
    ends = np.cumsum(counts)
    begins = found.offsets[each].astype(np.int64)
    places = np.arange(counts.sum()) + np.repeat(begins - (ends - counts), counts)
    hashes, owners = found.hashes[places], np.repeat(np.arange(len(each)), counts)
    order = np.lexsort((hashes, owners))
    again = (hashes[order][1:] == hashes[order][:-1]) & (owners[order][1:] == owners[order][:-1])
    repeats = np.bincount(owners[order][1:][again], minlength=len(each))
    sizes: np.ndarray = (counts - repeats)[which]
    return sizes


def _rarest(shingles: Hashed, most: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(hashes, rows), sorted by hash: so many 3-grams of each row, those that fewest rows have."""
    rows = np.repeat(np.arange(len(shingles)), shingles.counts.astype(np.int64))
    _, which, often = np.unique(shingles.hashes, return_inverse=True, return_counts=True)
    order = np.lexsort((shingles.hashes, often[which], rows))
    begins = shingles.offsets[:-1].astype(np.int64)
    rank = np.arange(len(order)) - begins[rows]  # the order keeps each row's together
    order = order[rank < most[rows]]
    hashes, rows = shingles.hashes[order], rows[order]
    by_hash = np.lexsort((rows, hashes))
    return hashes[by_hash], rows[by_hash]


def shown(text: str) -> str:
    """The beginning of a prompt, for examples."""
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"


def nearer(one: Leak, other: Leak) -> Leak:
    """The one to tell of, whatever the order."""
    return max(one, other, key=lambda leak: (leak.similarity, leak.exact, leak.train))


def together(first: Seen, others: Iterable[Seen]) -> Seen:
    """What several parts tell; the first one is changed to it."""
    rows, leaks = first.rows, first.leaks
    for part in others:
        for prompt, (count, text) in part.rows.items():
            rows[prompt] = (rows.get(prompt, (0, ""))[0] + count, text)
        for prompt, leak in part.leaks.items():
            leaks[prompt] = nearer(leaks.get(prompt, leak), leak)
    return first


def leakage(seen: Seen) -> dict[str, Any]:
    """The manifest's figures: of rows that were looked at, those that leak, the nearest first."""
    leaked = {prompt: leak for prompt, leak in seen.leaks.items() if prompt in seen.rows}
    nearest = sorted(
        leaked.items(), key=lambda item: (-item[1].similarity, seen.rows[item[0]][1], item[0])
    )
    return {
        "checked": sum(count for count, _ in seen.rows.values()),
        "rows": sum(seen.rows[prompt][0] for prompt in leaked),
        "exact": sum(seen.rows[prompt][0] for prompt, leak in leaked.items() if leak.exact),
        "threshold": SIMILAR,
        "examples": [
            {
                "similarity": round(leak.similarity, 4),
                "validation": seen.rows[prompt][1],
                "train": leak.train,
            }
            for prompt, leak in nearest[:_MOST_EXAMPLES]
        ],
    }
