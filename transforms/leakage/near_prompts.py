"""Leakage: validation rows whose prompt is nearly a training row's.

Equal prompts never straddle the splits, by construction; near ones may, and a model is then
validated on what it was trained on.  Prompts are near duplicates if at least ``SIMILAR`` of their
word 3-grams are the same (Jaccard), which is counted exactly, not estimated.

The rarest 3-grams of each sampled validation prompt are indexed before the training rows stream by:
as many as make sure that a near row shares some of them (the prefix filter of Chaudhuri and others,
2006).  Only rows that do are compared.  A 3-gram that more than ``_MAX_COMPARED`` prompts have is
boilerplate; it leads each row to that number of them, chosen by the row.  So where all prompts are
alike many rows find all of them, but a few rows may not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from transforms.leakage.prompts import Prompts
from transforms.options import SHINGLE_WORDS, SIMILAR
from transforms.storage.manifest_parts import Leakage, LeakExample
from transforms.text.hash_index import Known, Sieve
from transforms.text.hashing import each_once
from transforms.text.ngrams import Hashed, distinct, ngrams, word_array

_SHOWN_CHARS = 300
_MAX_EXAMPLES = 20
_SHARED = 12  # indexed 3-grams that a row must share with a prompt to be compared with it
_MAX_COMPARED = 32
_ROUNDING = 1e-6  # 0.8 is no float, and a row of just that similarity must not be missed
_MAX_AT_ONCE = 2**21  # 3-grams that are looked up in one go


@dataclass(frozen=True)
class Leak:
    """A validation prompt's nearest training prompt: ``similarity`` 0 to 1, text cut.

    ``key`` is the training prompt's, by which one of equally near ones is chosen.
    """

    similarity: float
    exact: bool
    key: int
    train: str


@dataclass(frozen=True)
class Seen:
    """What some rows show: the validation rows that are checked, and leaks of their prompts.

    Both by id of the validation prompt; ``rows`` has (number of rows, the prompt, cut).
    """

    rows: dict[int, tuple[int, str]]
    leaks: dict[int, Leak]


class LeakFinder:
    """Finds known validation prompts, and prompts near them, among those of training rows."""

    def __init__(self, known: Prompts) -> None:
        self._ids = Known(known.ids)
        self._counts = counts = known.shingles.counts.astype(np.int64)
        # The 3-grams that a near prompt shares at least.
        enough = np.ceil(SIMILAR * counts).astype(np.int64)
        self._shared = np.minimum(_SHARED, enough)
        indexed, self._rows = _rarest(known.shingles, counts - enough + self._shared)
        each, self._begins, self._often = np.unique(indexed, return_index=True, return_counts=True)
        self._indexed = Known(each)
        # The fewest 3-grams that a row must have, and share, to be like any of a 3-gram's prompts.
        self._least, self._needs = (
            np.minimum.reduceat(of[self._rows], self._begins) if len(each) else of
            for of in (enough, self._shared)
        )
        self._sieve = Sieve(known.shingles.hashes)
        owners = np.repeat(np.arange(len(counts)), counts)
        self._members = Known(each_once(known.shingles.hashes ^ _salt(owners)))

    def find(self, prompts: pa.StringArray, keys: np.ndarray, validation: np.ndarray) -> Seen:
        """Compares some rows with the known prompts.

        Args:
            prompts: The rows' prompts, none null.
            keys: Their ``PROMPT_KEY``, uint64 of shape (n,).
            validation: Is the row a validation row? bool of shape (n,).
        """
        if not len(self._ids):
            return Seen({}, {})
        at, numbers = self._ids.find(keys)
        trained = ~validation[at]
        return Seen(
            _count_rows(prompts, keys, at[~trained]),
            self._leaks(prompts, keys, np.flatnonzero(~validation), at[trained], numbers[trained]),
        )

    def _leaks(
        self,
        prompts: pa.StringArray,
        keys: np.ndarray,
        trained: np.ndarray,
        equal: np.ndarray,
        same: np.ndarray,
    ) -> dict[int, Leak]:
        """Leaks in the training rows; those ``equal`` to a known prompt have the ``same`` one's."""
        # Of rows with equal prompts one is compared.
        first = trained[np.unique(keys[trained], return_index=True)[1]]
        found = ngrams(word_array(prompts.take(pa.array(first))), SHINGLE_WORDS)
        familiar = self._familiar(found)
        first, found = first[familiar], found.select(familiar)
        places, numbers = self._candidates(found, keys[first])
        similarity = self._similarities(found, places, numbers)
        near = similarity >= SIMILAR
        rows = np.concatenate([equal, first[places[near]]])
        numbers = np.concatenate([same, numbers[near]])
        similarity = np.concatenate([np.ones(len(equal)), similarity[near]])
        exact = np.arange(len(rows)) < len(equal)
        order = np.lexsort((keys[rows], exact, similarity, numbers))
        last = order[np.diff(numbers[order], append=-1) != 0]  # the nearest of each prompt
        return {
            int(self._ids.hashes[numbers[at]]): Leak(
                float(similarity[at]),
                bool(exact[at]),
                int(keys[rows[at]]),
                shorten(prompts[int(rows[at])].as_py()),
            )
            for at in last.tolist()
        }

    def _familiar(self, found: Hashed) -> np.ndarray:
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

    def _candidates(self, found: Hashed, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(rows, numbers of known prompts) that may be alike, sorted."""
        at, index = self._indexed.find(found.hashes)
        counts = found.counts.astype(np.int64)
        rows = np.repeat(np.arange(len(found)), counts)[at]
        # A row that is like a prompt has most of its 3-grams; and what many prompts begin with
        # leads to none of them by itself.
        shared = np.bincount(rows, minlength=len(found))
        likely = (self._least[index] <= counts[rows]) & (self._needs[index] <= shared[rows])
        rows, index = rows[likely], index[likely]
        often = self._often[index]
        taken = np.minimum(often, _MAX_COMPARED)
        ends = np.cumsum(taken)
        step = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - taken, taken)
        # Rows begin at different places of a long list, and at the same of equal lists.
        start = np.where(often > taken, keys[rows] % often.astype(np.uint64), 0).astype(np.int64)
        inside = (np.repeat(start, taken) + step) % np.repeat(often, taken)
        prompts = self._rows[np.repeat(self._begins[index], taken) + inside]
        pairs = np.repeat(rows, taken) * len(self._ids) + prompts
        pairs, shared = np.unique(pairs, return_counts=True)
        rows, numbers = np.divmod(pairs, len(self._ids))
        likely = shared >= self._shared[numbers]
        return rows[likely], numbers[likely]

    def _similarities(self, found: Hashed, rows: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """The Jaccard similarity of each pair of a row and a known prompt."""
        each, which = np.unique(rows, return_inverse=True)
        own = distinct(found.select(each))
        counts = own.counts.astype(np.int64)[which]
        theirs = self._counts[numbers]
        both = np.zeros(len(rows), np.int64)
        # A long prompt may hold all of a short one without being like it.
        likely = np.flatnonzero(SIMILAR * counts <= theirs)
        for some in np.split(likely, _cuts(counts[likely])):
            picked = own.select(which[some])
            pair = np.repeat(np.arange(len(some)), counts[some])
            wanted = picked.hashes ^ _salt(numbers[some])[pair]
            member, _ = self._members.find(wanted)
            both[some] = np.bincount(pair[member], minlength=len(some))
        shares: np.ndarray = both / np.maximum(counts + theirs - both, 1)
        return shares


def _count_rows(
    prompts: pa.StringArray, keys: np.ndarray, found: np.ndarray
) -> dict[int, tuple[int, str]]:
    """(number of rows, the prompt, cut) of the ``found`` validation rows, by their keys."""
    rows: dict[int, tuple[int, str]] = {}
    for row in found.tolist():
        key = int(keys[row])
        text = shorten(prompts[row].as_py())
        before, other = rows.get(key, (0, text))
        rows[key] = (before + 1, min(other, text))
    return rows


def _salt(numbers: np.ndarray) -> np.ndarray:
    """Other bits for each prompt, so that one sorted array holds the 3-grams of all of them."""
    salted: np.ndarray = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    return salted


def _cuts(counts: np.ndarray) -> np.ndarray:
    """Where to cut pairs, with their ``counts`` of 3-grams, so that no part has too many."""
    parts = np.cumsum(counts) // _MAX_AT_ONCE
    cuts: np.ndarray = np.flatnonzero(np.diff(parts)) + 1
    return cuts


def _rarest(shingles: Hashed, most: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(hashes, rows), sorted by hash: ``most`` 3-grams of each row, those that fewest rows have."""
    rows = np.repeat(np.arange(len(shingles)), shingles.counts.astype(np.int64))
    _, which, often = np.unique(shingles.hashes, return_inverse=True, return_counts=True)
    order = np.lexsort((often[which], rows))  # stable: equals stay in the order of their hashes
    begins = shingles.offsets[:-1].astype(np.int64)
    rank = np.arange(len(order)) - begins[rows]  # the order keeps each row's together
    order = order[rank < most[rows]]
    hashes, rows = shingles.hashes[order], rows[order]
    by_hash = np.argsort(hashes, kind="stable")
    return hashes[by_hash], rows[by_hash]


def shorten(text: str) -> str:
    """The beginning of a prompt, for the examples of the manifest."""
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"


def nearer(one: Leak, other: Leak) -> Leak:
    """The nearer leak; of equally near ones the same one in any order."""
    return max(one, other, key=lambda leak: (leak.similarity, leak.exact, leak.key))


def merge_seen(first: Seen, others: Iterable[Seen]) -> Seen:
    """Adds ``others`` to ``first``, and returns it."""
    rows, leaks = first.rows, first.leaks
    for part in others:
        for prompt, (count, text) in part.rows.items():
            before, other = rows.get(prompt, (0, text))
            rows[prompt] = (before + count, min(other, text))
        for prompt, leak in part.leaks.items():
            leaks[prompt] = nearer(leaks.get(prompt, leak), leak)
    return first


def leakage(seen: Seen) -> Leakage:
    """The manifest's part: the rows that were checked, those that leak, the nearest examples."""
    leaked = {prompt: leak for prompt, leak in seen.leaks.items() if prompt in seen.rows}
    nearest = sorted(
        leaked.items(), key=lambda item: (-item[1].similarity, seen.rows[item[0]][1], item[0])
    )
    return Leakage(
        checked=sum(count for count, _ in seen.rows.values()),
        rows=sum(seen.rows[prompt][0] for prompt in leaked),
        exact=sum(seen.rows[prompt][0] for prompt, leak in leaked.items() if leak.exact),
        threshold=SIMILAR,
        examples=tuple(
            LeakExample(
                similarity=round(leak.similarity, 4),
                validation=seen.rows[prompt][1],
                train=leak.train,
            )
            for prompt, leak in nearest[:_MAX_EXAMPLES]
        ),
    )
