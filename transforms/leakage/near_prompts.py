"""Leakage: validation rows whose prompt is nearly a training row's.

Equal prompts never straddle the splits, by construction; near ones may, and a model is then
validated on what it was trained on.  Prompts are near duplicates if at least ``SIMILAR`` of their
word 3-grams are the same (Jaccard), which is counted exactly, not estimated.

``PromptIndex`` finds the pairs that may be near.  Only the nearest training prompt of each
validation prompt counts.  So the pairs that may be nearest are compared first, and those that can
be no nearer than what was found are not compared at all.  Prompts of one frame, which are all near
each other, so cost a few comparisons a prompt, not a comparison a pair.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from transforms.leakage.prompt_index import Pairs, PromptIndex
from transforms.options import SHINGLE_WORDS, SIMILAR
from transforms.storage.manifest_parts import Leakage, LeakExample
from transforms.text.ngrams import Hashed, ngrams, without_repeats, word_array

_SHOWN_CHARS = 300
_MAX_EXAMPLES = 20


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
    """Finds known validation prompts, and prompts near them, among those of training rows.

    One finder takes rows several times, and remembers what is nearest so far; ``seen`` is the sum.
    """

    def __init__(self, index: PromptIndex) -> None:
        self._index = index
        self._rows: dict[int, tuple[int, str]] = {}
        # The nearest training prompt of each known one, by number; similarity 0 if there is none.
        self._similarity = np.zeros(len(index))
        self._exact = np.zeros(len(index), bool)
        self._keys = np.zeros(len(index), np.uint64)
        self._texts = np.full(len(index), None, object)

    def add(self, prompts: pa.StringArray, keys: np.ndarray, validation: np.ndarray) -> None:
        """Compares some rows with the known prompts.

        Args:
            prompts: The rows' prompts, none null.
            keys: Their ``PROMPT_KEY``, uint64 of shape (n,).
            validation: Is the row a validation row? bool of shape (n,).
        """
        if not len(self._index):
            return
        at, numbers = self._index.ids.find(keys)
        checked = validation[at]
        self._count(prompts, keys, at[checked])
        nearer = np.full(len(self._index), -1)  # for each known prompt the row that is now nearest
        rows, numbers = at[~checked], numbers[~checked]
        added = self._take(numbers, np.ones(len(rows)), True, keys[rows])
        nearer[numbers[added]] = rows[added]
        # Of rows with equal prompts one is compared.
        trained = np.flatnonzero(~validation)
        trained = trained[np.unique(keys[trained], return_index=True)[1]]
        found = ngrams(word_array(prompts.take(pa.array(trained))), SHINGLE_WORDS)
        familiar = self._index.familiar(found)
        trained, found = trained[familiar], found.select(familiar)
        own, hits = keys[trained], self._index.hits(found)
        found = without_repeats(found, hits.rows[np.diff(hits.rows, prepend=-1) > 0])
        for pairs in self._index.candidates(hits, found.counts.astype(np.int64), own):
            self._compare(found, pairs, own, trained, nearer)
        numbers = np.flatnonzero(nearer >= 0)
        texts = prompts.take(pa.array(nearer[numbers])).to_pylist()
        self._texts[numbers] = [shorten(text) for text in texts]

    def seen(self) -> Seen:
        """What all rows so far show."""
        numbers = np.flatnonzero(self._similarity)
        leaks = map(
            Leak,
            self._similarity[numbers].tolist(),
            self._exact[numbers].tolist(),
            self._keys[numbers].tolist(),
            self._texts[numbers].tolist(),
        )
        return Seen(
            dict(self._rows),
            dict(zip(self._index.ids.hashes[numbers].tolist(), leaks, strict=True)),
        )

    def _count(self, prompts: pa.StringArray, keys: np.ndarray, found: np.ndarray) -> None:
        """Counts the ``found`` validation rows, by their keys."""
        texts = map(shorten, prompts.take(pa.array(found)).to_pylist())
        for key, text in zip(keys[found].tolist(), texts, strict=True):
            before, other = self._rows.get(key, (0, text))
            self._rows[key] = (before + 1, min(other, text))

    def _compare(
        self,
        found: Hashed,
        pairs: Pairs,
        keys: np.ndarray,
        rows: np.ndarray,
        nearer: np.ndarray,
    ) -> None:
        """Adds the nearest of the pairs, and notes their ``rows`` in ``nearer``.

        In each round those are compared of which the most can be expected, twice as many for each
        prompt as in the round before.
        """
        pairs = pairs.select(self._is_nearer(pairs.numbers, pairs.most, keys[pairs.rows]))
        best_first = np.lexsort((keys[pairs.rows], pairs.most, pairs.numbers))[::-1]
        pairs, compared = pairs.select(best_first), 1
        while len(pairs):
            begins = np.flatnonzero(np.diff(pairs.numbers, prepend=-1))
            rank = np.arange(len(pairs)) - np.repeat(begins, np.diff(begins, append=len(pairs)))
            some, pairs = pairs.select(rank < compared), pairs.select(rank >= compared)
            similarity = self._index.similarities(found, some)
            near = similarity >= SIMILAR
            some, similarity = some.select(near), similarity[near]
            added = some.select(self._take(some.numbers, similarity, False, keys[some.rows]))
            nearer[added.numbers] = rows[added.rows]
            pairs = pairs.select(self._is_nearer(pairs.numbers, pairs.most, keys[pairs.rows]))
            compared *= 2

    def _is_nearer(
        self, numbers: np.ndarray, similarity: np.ndarray, keys: np.ndarray
    ) -> np.ndarray:
        """Which prompts, none of them equal, are nearer than the nearest so far; bool."""
        before = self._similarity[numbers]
        tied = ~self._exact[numbers] & (keys > self._keys[numbers])
        nearer: np.ndarray = (similarity > before) | ((similarity == before) & tied)
        return nearer

    def _take(
        self, numbers: np.ndarray, similarity: np.ndarray, exact: bool, keys: np.ndarray
    ) -> np.ndarray:
        """The places of those that are now the nearest, one for each of their ``numbers``; int64.

        Of equally near ones that is the one with the highest key; one that is equal comes first.
        """
        order = np.lexsort((keys, similarity, numbers))
        last: np.ndarray = order[np.diff(numbers[order], append=-1) != 0]  # the nearest of each
        nearer = self._is_nearer(numbers[last], similarity[last], keys[last])
        last = last[nearer | ~self._exact[numbers[last]] if exact else nearer]
        some = numbers[last]
        self._similarity[some], self._exact[some] = similarity[last], exact
        self._keys[some] = keys[last]
        return last


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
