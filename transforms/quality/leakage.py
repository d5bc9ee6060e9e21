"""The leakage rule: validation rows whose prompt is nearly a training row's.

Equal prompts never straddle the splits, by construction; near ones may, and a model is then
validated on what it was trained on.  Prompts are near duplicates if at least ``SIMILAR`` of their
word 3-grams are the same (Jaccard), which is counted exactly, not estimated.

Up to some ``MOST_LOOKED_AT`` validation rows are looked at, chosen by a hash of their prompts; all of
them where there are no more.  Their 3-grams are known before the training rows stream by: a training
row that shares too few of its own with all of them together is done with at once, and the others
are compared by way of their rarest 3-grams (the prefix filter of Chaudhuri and others, 2006).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.quality.rules import SHINGLE_WORDS, SIMILAR
from transforms.quality.words import Hashed, n_grams, words
from transforms.split import hash64, normalise_keys

MOST_LOOKED_AT = 10_000
"""With that many a share of 0.1 % is known to within 0.03 %."""

MOST_SHINGLES = 4_000_000
"""3-grams that all of them together may have: 32 MB."""

_SEED = 0x6C65_616B
_SHOWN_CHARS = 300
_MOST_EXAMPLES = 20
_MOST_COMPARED = 64  # validation rows a training row is compared with
_FILTER_BITS = 23
_ENOUGH = 0.6  # less than SIMILAR, for here 3-grams that a row repeats count each time


@dataclass(frozen=True)
class Prompts:
    """Validation prompts to look for: one entry for each distinct prompt, by id.

    ``ids`` are hashes of the prompts as they are, sorted; ``keys`` of the normalised ones;
    ``shingles`` are hashed word 3-grams, sorted and distinct in each row.
    """

    ids: np.ndarray
    keys: np.ndarray
    shingles: Hashed

    def to_bytes(self) -> bytes:
        """As an Arrow stream."""
        lists = pa.LargeListArray.from_arrays(
            pa.array(self.shingles.offsets.astype(np.int64)), pa.array(self.shingles.hashes)
        )
        table = pa.table({"id": self.ids, "key": self.keys, "shingles": lists})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())

    @classmethod
    def from_bytes(cls, data: bytes) -> Prompts:
        """What ``to_bytes`` made."""
        table = pa.ipc.open_stream(data).read_all().combine_chunks()
        lists = table["shingles"].chunk(0) if table.num_rows else None
        if lists is None:
            return NONE
        offsets = lists.offsets.to_numpy()
        return cls(
            table["id"].to_numpy(),
            table["key"].to_numpy(),
            Hashed(lists.values.to_numpy(), offsets.astype(np.uint64)),
        )

    def select(self, rows: np.ndarray) -> Prompts:
        """Some of the prompts, by number."""
        counts = self.shingles.counts[rows].astype(np.int64)
        offsets = np.concatenate(([0], np.cumsum(counts)))
        begins = self.shingles.offsets[rows].astype(np.int64)
        places = np.arange(offsets[-1]) + np.repeat(begins - offsets[:-1], counts)
        hashes = Hashed(self.shingles.hashes[places], offsets.astype(np.uint64))
        return Prompts(self.ids[rows], self.keys[rows], hashes)


NONE = Prompts(
    np.empty(0, np.uint64),
    np.empty(0, np.uint64),
    Hashed(np.empty(0, np.uint64), np.zeros(1, np.uint64)),
)


def ids_of(prompts: pa.StringArray) -> np.ndarray:
    """The id of each prompt: a hash of it as it is."""
    return hash64(_SEED, prompts)


def is_looked_at(ids: np.ndarray, share: float) -> np.ndarray:
    """Which prompts belong to the given share of all, by their ids alone."""
    return np.ones(len(ids), bool) if share >= 1 else ids < np.uint64(int(share * 2**64))


def prompts_of(texts: pa.StringArray, ids: np.ndarray) -> Prompts:
    """Distinct prompts, to be looked for."""
    ids, first = np.unique(ids, return_index=True)
    texts = texts.take(pa.array(first))
    return Prompts(ids, hash64(_SEED, normalise_keys(texts)), _distinct(texts))


def _distinct(texts: pa.StringArray) -> Hashed:
    """The word 3-grams of each text, sorted, each once."""
    found = n_grams(words(texts), SHINGLE_WORDS)
    rows = np.repeat(np.arange(len(found)), found.counts.astype(np.int64))
    order = np.lexsort((found.hashes, rows))
    hashes, rows = found.hashes[order], rows[order]
    new = np.ones(len(hashes), bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (rows[1:] != rows[:-1])
    offsets = np.searchsorted(rows[new], np.arange(len(found) + 1))
    return Hashed(hashes[new], offsets.astype(np.uint64))


def merged(parts: list[Prompts], most: int = MOST_LOOKED_AT) -> Prompts:
    """All of them, each prompt once; of too many those with the least ids.

    What is left depends on all that were given alone, not on how they were merged before.
    """
    ids = np.concatenate([part.ids for part in parts])
    both = Prompts(
        ids,
        np.concatenate([part.keys for part in parts]),
        Hashed(
            np.concatenate([part.shingles.hashes for part in parts]),
            np.concatenate(([0], np.cumsum(np.concatenate([p.shingles.counts for p in parts]))))
            .astype(np.uint64),
        ),
    )
    _, first = np.unique(ids, return_index=True)
    filled = np.cumsum(both.shingles.counts[first])
    return both.select(first[:most][filled[:most] <= MOST_SHINGLES])


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
        shingles = known.shingles
        rows = np.repeat(np.arange(len(shingles)), shingles.counts.astype(np.int64))
        order = np.argsort(shingles.hashes, kind="stable")
        self._rows = rows[order]
        self._distinct, begins = np.unique(shingles.hashes[order], return_index=True)
        self._begins = np.append(begins, len(order))
        self._filter = np.zeros(2**_FILTER_BITS, bool)
        self._filter[_slot(shingles.hashes)] = True

    def look(self, prompts: pa.StringArray, validation: np.ndarray) -> Seen:
        """What rows with these prompts tell; ``validation`` is bool, one for each row."""
        return Seen(self._seen(prompts, validation), self._leaks(prompts, ~validation))

    def _seen(self, prompts: pa.StringArray, which: np.ndarray) -> dict[int, tuple[int, str]]:
        own = prompts.filter(pa.array(which))
        ids = ids_of(own)
        known = np.flatnonzero(np.isin(ids, self._known.ids))
        rows: dict[int, tuple[int, str]] = {}
        for row in known.tolist():
            found = int(ids[row])
            before, text = rows.get(found, (0, ""))
            rows[found] = (before + 1, text or shown(own[row].as_py()))
        return rows

    def _leaks(self, prompts: pa.StringArray, which: np.ndarray) -> dict[int, Leak]:
        leaks: dict[int, Leak] = {}
        if not len(self._known.ids):
            return leaks
        own = prompts.filter(pa.array(which))
        found = n_grams(words(own), SHINGLE_WORDS)
        hits = np.concatenate(([0], np.cumsum(self._filter[_slot(found.hashes)])))
        ends = found.offsets.astype(np.int64)
        shared = hits[ends[1:]] - hits[ends[:-1]]
        counts = found.counts.astype(np.int64)
        for row in np.flatnonzero((counts > 0) & (shared >= _ENOUGH * counts)).tolist():
            self._compare(np.unique(found.row(row)), own, row, leaks)
        return leaks

    def _compare(
        self, own: np.ndarray, prompts: pa.StringArray, row: int, leaks: dict[int, Leak]
    ) -> None:
        """Adds the validation prompts that are nearly this one."""
        for number in self._candidates(own).tolist():
            theirs = self._known.shingles.row(number)
            both = len(np.intersect1d(own, theirs, assume_unique=True))
            similarity = both / (len(own) + len(theirs) - both)
            prompt = int(self._known.ids[number])
            if similarity < SIMILAR:
                continue
            text = prompts.slice(row, 1)
            exact = bool(hash64(_SEED, normalise_keys(text))[0] == self._known.keys[number])
            leak = Leak(similarity, exact, shown(text[0].as_py()))
            leaks[prompt] = nearer(leaks.get(prompt, leak), leak)

    def _candidates(self, own: np.ndarray) -> np.ndarray:
        at = np.searchsorted(self._distinct, own)
        at[at == len(self._distinct)] = 0
        there = self._distinct[at] == own
        often = np.where(there, self._begins[at + 1] - self._begins[at], 0)
        # Of two rows as alike as that, no more than the rest of the 3-grams can be one row's alone.
        rarest = np.argsort(often, kind="stable")[: len(own) - ceil(SIMILAR * len(own)) + 1]
        rows = [
            self._rows[self._begins[at[i]] : self._begins[at[i] + 1]] for i in rarest if there[i]
        ]
        return np.unique(np.concatenate(rows))[:_MOST_COMPARED] if rows else np.empty(0, int)


def _slot(hashes: np.ndarray) -> np.ndarray:
    return (hashes >> np.uint64(64 - _FILTER_BITS)).astype(np.int64)


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
