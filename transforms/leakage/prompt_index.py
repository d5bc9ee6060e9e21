"""The index of the validation prompts' word 3-grams: which prompts a row may be near, and how near.

The rarest 3-grams of each prompt are indexed: as many as make sure that a near row shares some of
them (the prefix filter of Chaudhuri and others, 2006).  Only rows that do are compared.  A 3-gram
that more than ``_MAX_COMPARED`` prompts have is boilerplate; it leads each row to that number of
them, chosen by the row.  So where all prompts are alike many rows find all of them, but a few rows
may not.

3-grams that the same prompts have share one list, so a frame of many prompts costs a row as much as
one 3-gram.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from transforms.leakage.prompts import Prompts
from transforms.options import SIMILAR
from transforms.text.hash_index import Known, Sieve
from transforms.text.hashing import scattered
from transforms.text.ngrams import Hashed

_SHARED = 12  # indexed 3-grams that a row must share with a prompt to be compared with it
_MAX_COMPARED = 32
_ROUNDING = 1e-6  # 0.8 is no float, and a row of just that similarity must not be missed
_MAX_AT_ONCE = 2**17  # 3-grams that are looked up in one go
_MAX_PAIRS = 2**16  # pairs that are made in one go: as many as fit into the processor's cache


@dataclass(frozen=True)
class Pairs:
    """Rows and known prompts that may be near: ``rows`` and ``numbers`` (of prompts); int64.

    Each pair is there once.  ``most`` is the highest similarity that it can have; float64.
    """

    rows: np.ndarray
    numbers: np.ndarray
    most: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, places: np.ndarray) -> Pairs:
        """Some of the pairs, by index or mask."""
        return Pairs(self.rows[places], self.numbers[places], self.most[places])


@dataclass(frozen=True)
class Hits:
    """Lists of the index that rows lead to, sorted by ``rows``, each once for a row; int64.

    ``weights`` says how many of the row's 3-grams lead to the list.
    """

    rows: np.ndarray
    lists: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, start: int, stop: int) -> Hits:
        """A run of the hits."""
        some = slice(start, stop)
        return Hits(self.rows[some], self.lists[some], self.weights[some])


class PromptIndex:
    """Finds the prompts that rows may be near, by number."""

    def __init__(self, known: Prompts) -> None:
        shingles = known.shingles
        self.ids = Known(known.ids)
        self._counts = counts = shingles.counts.astype(np.int64)
        # The 3-grams that a near prompt shares at least, and those of them that are indexed.
        enough = np.ceil(SIMILAR * counts).astype(np.int64)
        self._shared = np.minimum(_SHARED, enough)
        self._unindexed = enough - self._shared
        indexed, prompts = _rarest(shingles, counts - self._unindexed)
        each, begins, often = np.unique(indexed, return_index=True, return_counts=True)
        self._indexed = Known(each)
        # How many of each prompt's indexed 3-grams are boilerplate.
        boilerplate = np.repeat(often > _MAX_COMPARED, often)
        self._boilerplate = np.bincount(prompts[boilerplate], minlength=len(counts))
        kept, self._lists = _equal_lists(prompts, begins)
        self._often = often[kept]
        self._taken = np.minimum(self._often, _MAX_COMPARED)
        self._begins, self._prompts = _rings(prompts, begins[kept], self._often)
        # The fewest 3-grams that a row must have, and share, to be like any of a list's prompts.
        self._least, self._needs = (
            np.minimum.reduceat(of[prompts], begins)[kept] if len(each) else of
            for of in (enough, self._shared)
        )
        self._sieve = Sieve(shingles.hashes)
        self._shingles = shingles

    def __len__(self) -> int:
        return len(self.ids)

    def familiar(self, found: Hashed) -> np.ndarray:
        """The rows that may be near a prompt at all; most have too many 3-grams that none has.

        A near row and a prompt share at least ``SIMILAR`` of what either has.  So at most
        (1 - ``SIMILAR``) / ``SIMILAR`` times as many of the row's distinct 3-grams are unknown as
        are known.  Unknown ones set bits in a mask, and the bits are counted: never more than there
        are distinct ones.  Rows of more than some 1,500 3-grams always pass.
        """
        rows = np.flatnonzero(found.counts)
        if not len(rows):
            return rows
        known = self._sieve.passes(found.hashes)
        begins = found.offsets[:-1][rows].astype(np.int64)
        unknown = np.uint64(1) << (found.hashes & np.uint64(63))
        unknown *= ~known
        most = np.add.reduceat(known, begins, dtype=np.int64) * (1 - SIMILAR) / SIMILAR
        least = np.bitwise_count(np.bitwise_or.reduceat(unknown, begins))
        familiar: np.ndarray = rows[least <= most + _ROUNDING]
        return familiar

    def hits(self, found: Hashed) -> Hits:
        """Where the 3-grams of some rows lead; rows that can be near no prompt have none."""
        at, index = self._indexed.find(found.hashes)
        counts = found.counts.astype(np.int64)
        rows = np.repeat(np.arange(len(found)), counts)[at]
        lists = self._lists[index]
        # A row that is like a prompt has most of its 3-grams; and what many prompts begin with
        # leads to none of them by itself.
        shared = np.bincount(rows, minlength=len(found))
        likely = (self._least[lists] <= counts[rows]) & (self._needs[lists] <= shared[rows])
        hits = rows[likely] * len(self._begins) + lists[likely]
        hits.sort(kind="stable")  # the rows are in order already
        begins = np.flatnonzero(np.diff(hits, prepend=-1))
        rows, lists = np.divmod(hits[begins], len(self._begins))
        return Hits(rows, lists, np.diff(begins, append=len(hits)))

    def candidates(self, hits: Hits, counts: np.ndarray, keys: np.ndarray) -> Iterator[Pairs]:
        """The pairs that share enough indexed 3-grams and may be near, some rows at a time.

        Args:
            hits: What ``hits`` gave.
            counts: The number of each row's distinct 3-grams, int64.
            keys: A number for each row, uint64, that decides which prompts boilerplate leads to.
        """
        if not len(hits):
            return
        ends = np.cumsum(self._taken[hits.lists])
        firsts = np.flatnonzero(np.diff(hits.rows, prepend=-1))
        parts = ends[firsts] // _MAX_PAIRS
        cuts = firsts[np.flatnonzero(np.diff(parts)) + 1].tolist()
        for start, stop in zip([0, *cuts], [*cuts, len(hits)], strict=True):
            yield self._pairs(hits.part(start, stop), counts, keys)

    def similarities(self, found: Hashed, pairs: Pairs) -> np.ndarray:
        """The Jaccard similarity of each pair, float64.

        Args:
            found: The rows' 3-grams, each once.
            pairs: The pairs.
        """
        counts = found.counts[pairs.rows].astype(np.int64)
        both = np.zeros(len(counts), np.int64)
        for some in np.split(np.arange(len(counts)), _cuts(counts)):
            picked = found.select(pairs.rows[some])
            pair = np.repeat(np.arange(len(some)), counts[some])
            member = self._has(pairs.numbers[some][pair], picked.hashes)
            both[some] = np.bincount(pair[member], minlength=len(some))
        return _jaccard(both, counts, self._counts[pairs.numbers])

    def _has(self, numbers: np.ndarray, hashes: np.ndarray) -> np.ndarray:
        """Has the prompt of this number this 3-gram?  bool.  A binary search in each prompt's."""
        places = self._shingles.offsets[numbers].astype(np.int64)
        sizes = self._counts[numbers]
        for _ in range(int(sizes.max(initial=0)).bit_length()):
            half = sizes >> 1
            places += half * (self._shingles.hashes[places + half] <= hashes)
            sizes -= half
        has: np.ndarray = self._shingles.hashes[places] == hashes
        return has

    def _pairs(self, hits: Hits, counts: np.ndarray, keys: np.ndarray) -> Pairs:
        """The candidates of some rows."""
        often, taken = self._often[hits.lists], self._taken[hits.lists]
        # Rows begin at different places of a long list, and at the same of equal lists.
        sampled = np.flatnonzero(often > taken)
        begins = self._begins[hits.lists]
        shifts = keys[hits.rows[sampled]] % often[sampled].astype(np.uint64)
        begins[sampled] += shifts.astype(np.int64)
        ends = np.cumsum(taken)
        places = np.repeat((begins - ends + taken).astype(np.int32), taken)
        places += np.arange(len(places), dtype=np.int32)
        numbers = self._prompts[places]
        # A prompt of many more or many fewer 3-grams than the row is not near it.
        own = counts[hits.rows]
        least = np.ceil(SIMILAR * own - _ROUNDING).astype(np.int32)
        most = np.floor(own / SIMILAR + _ROUNDING).astype(np.int32)
        theirs = self._counts[numbers]
        fits = theirs >= np.repeat(least, taken)
        fits &= theirs <= np.repeat(most, taken)
        fits = np.flatnonzero(fits)
        if not len(fits):
            return _NO_PAIRS
        # Sorted by pair, with the number of the hit in the lowest bits.
        bits, first = len(hits).bit_length(), hits.rows[0]
        hit_bits = np.arange(len(hits)) | ((hits.rows - first) * len(self._counts) << bits)
        made = np.repeat(hit_bits, taken)[fits]
        made += numbers[fits].astype(np.int64) << bits
        made.sort(kind="stable")  # long runs of it are in order already
        pairs, hit = made >> bits, made & ((1 << bits) - 1)
        last = np.flatnonzero(np.diff(pairs, append=-1))
        pairs = pairs[last]
        rows = pairs // len(self._counts)
        numbers = pairs - rows * len(self._counts)
        likely = np.flatnonzero(_sums(hits.weights[hit], last) >= self._shared[numbers])
        # What they can share: 3-grams that are not indexed, or of boilerplate, are not all counted.
        rare = hits.weights.copy()
        rare[sampled] = 0
        boilerplate = np.bincount(hits.rows - first, hits.weights - rare).astype(np.int64)
        rows, numbers = rows[likely], numbers[likely]
        both = self._unindexed[numbers] + _sums(rare[hit], last)[likely]
        both += np.minimum(boilerplate[rows], self._boilerplate[numbers])
        own, theirs = counts[rows + first], self._counts[numbers]
        highest = _jaccard(np.minimum(both, np.minimum(own, theirs)), own, theirs)
        return Pairs(rows + first, numbers, highest).select(highest >= SIMILAR)


_NO_PAIRS = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


def _jaccard(both: np.ndarray, counts: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The similarity of sets of ``counts`` and ``others`` elements that have ``both`` in common."""
    shares: np.ndarray = both / np.maximum(counts + others - both, 1)
    return shares


def _equal_lists(prompts: np.ndarray, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(numbers of the lists that differ, for each list the place of its equal among them).

    The lists stand one after the other in ``prompts``; lists whose hashes are equal are equal.
    """
    if not len(begins):
        return begins, begins
    hashes = np.add.reduceat(scattered(prompts.astype(np.uint64) + np.uint64(1)), begins)
    _, kept, which = np.unique(hashes, return_index=True, return_inverse=True)
    return kept, which


def _rings(
    prompts: np.ndarray, begins: np.ndarray, often: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(begins, prompts as int32) of lists; the beginning of a long one follows its end once more.

    So a row's part of the list is in one piece wherever it begins.
    """
    lengths = often + np.where(often > _MAX_COMPARED, _MAX_COMPARED - 1, 0)
    ends = np.cumsum(lengths)
    places = np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
    places %= np.repeat(often, lengths)
    places += np.repeat(begins, lengths)
    return ends - lengths, prompts[places].astype(np.int32)


def _sums(values: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The sums of runs of ``values`` that end at ``last``; int64."""
    sums: np.ndarray = np.diff(np.cumsum(values)[last], prepend=0)
    return sums


def _cuts(counts: np.ndarray) -> np.ndarray:
    """Where to cut pairs, with their ``counts`` of 3-grams, so that no part has too many."""
    parts = np.cumsum(counts) // _MAX_AT_ONCE
    cuts: np.ndarray = np.flatnonzero(np.diff(parts)) + 1
    return cuts


def _rarest(shingles: Hashed, most: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(hashes, rows), sorted by hash: ``most`` 3-grams of each row, those that fewest rows have.

    Of equally rare ones those with the least hashes are taken.
    """
    size = len(shingles.hashes)
    rows = np.repeat(np.arange(len(shingles)), shingles.counts.astype(np.int64))
    by_hash = np.argsort(shingles.hashes, kind="stable")
    hashes = shingles.hashes[by_hash]
    lengths = np.diff(np.flatnonzero(np.diff(hashes, prepend=hashes[:1] - 1)), append=size)
    often = np.empty(size, np.int64)
    often[by_hash] = np.repeat(lengths, lengths)
    # One number for each 3-gram: its row, how often it is there, its place (in order of hashes).
    bits, often_bits = size.bit_length(), len(shingles).bit_length()
    rarest = (((rows << often_bits) | often) << bits) | np.arange(size)
    rarest.sort(kind="stable")  # the rows are in order already
    rank = np.arange(size) - shingles.offsets[:-1].astype(np.int64)[rows]
    taken = np.zeros(size, bool)
    taken[rarest[rank < most[rows]] & ((1 << bits) - 1)] = True
    by_hash = by_hash[taken[by_hash]]
    return shingles.hashes[by_hash], rows[by_hash]
