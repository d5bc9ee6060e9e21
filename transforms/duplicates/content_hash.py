"""Content hashes: rows are equal if all that they say is, hashed to 128 bits.

That is a pair's instruction and response; of a conversation every turn with its role, text,
reasoning and calls, and the tools.  Nothing is normalised: an exact copy is one to the byte.

Of the 128 bits 96 are compared (see ``exact``): two of 10 billion different rows share them with a
chance of 1e-9; 64 bits would lose a row of a set of that size in silence.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.conversations.turns import Turns
from transforms.records import TURNS, one_array
from transforms.split import hash64
from transforms.text.hashing import scattered

SEEDS = (0x7265_6173, 0x6F6E_666F)
"""One for each half; neither is a split's seed in practice."""

_NEXT = (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03)  # odd, so that no bit is lost

Halves = tuple[np.ndarray, np.ndarray]
"""The two halves of each row's hash, uint64."""


def prompt_hashes(rows: pa.Table) -> np.ndarray:
    """A hash of each row's instruction as it is, uint64."""
    return hash64(SEEDS[0], one_array(rows["instruction"]))


def both_halves(hashes: np.ndarray) -> Halves:
    """Hashes of 64 bits as if they had 128: they are as good as they were."""
    return hashes, scattered(hashes)


def content_hashes(rows: pa.Table, prompts: np.ndarray | None = None) -> Halves:
    """Hashes all that each row says.

    Args:
        rows: Rows that ``Normalize`` made.
        prompts: Their ``prompt_hashes``, uint64 of shape (n,), if they are known.
    """
    if TURNS not in rows.column_names:
        one = prompt_hashes(rows) if prompts is None else prompts
        other = hash64(SEEDS[1], one_array(rows["response"]))
        # Both of each, so that rows with one answer fall apart as others do: the map from the two
        # columns' hashes to these is one to one.
        first = scattered(one + other * np.uint64(_NEXT[0]))
        return first, other + first * np.uint64(_NEXT[1])
    turns = Turns.of_column(one_array(rows[TURNS]))
    tools = one_array(rows["tools"]) if "tools" in rows.column_names else None
    first, second = (_of_turns(turns, tools, half) for half in (0, 1))
    return first, second


def _of_turns(turns: Turns, tools: pa.StringArray | None, half: int) -> np.ndarray:
    each = turns.roles.astype(np.uint64) + np.uint64(1)
    for texts in (turns.content, turns.reasoning, turns.tool_calls, turns.name):
        each = each * np.uint64(_NEXT[half]) + _texts(texts, len(each), half)
    rows = np.diff(turns.offsets).astype(np.uint64)  # 1 + 2 turns differ from 2 + 1
    summed = _sums(scattered(each) * _powers(turns, half), turns.offsets)
    rows = rows * np.uint64(_NEXT[half]) + summed
    return scattered(rows * np.uint64(_NEXT[half]) + _texts(tools, len(rows), half))


def _texts(texts: pa.StringArray | None, count: int, half: int) -> np.ndarray:
    """A hash for each text, 0 for null."""
    if texts is None:
        return np.zeros(count, np.uint64)
    hashes = hash64(SEEDS[half], pc.fill_null(texts, ""))
    there = pc.is_valid(texts).to_numpy(zero_copy_only=False)
    return np.where(there, hashes | np.uint64(1), np.uint64(0))


def _powers(turns: Turns, half: int) -> np.ndarray:
    """For each turn a factor that is its place's: order matters."""
    counts = np.diff(turns.offsets)
    most = int(counts.max(initial=0))
    powers = np.cumprod(np.full(most, _NEXT[half], np.uint64), dtype=np.uint64)
    places = np.arange(turns.offsets[-1]) - np.repeat(turns.offsets[:-1], counts)
    made: np.ndarray = powers[places] if most else np.empty(0, np.uint64)
    return made


def _sums(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    total = np.concatenate((np.zeros(1, np.uint64), np.cumsum(values, dtype=np.uint64)))
    sums: np.ndarray = total[offsets[1:]] - total[offsets[:-1]]
    return sums


def first_of_each(hashes: Halves) -> np.ndarray:
    """The places of the rows that no earlier one is equal to, in order."""
    _, first = np.unique(np.stack(hashes), axis=1, return_index=True)
    places: np.ndarray = np.sort(first)
    return places


def contents(rows: pa.Table) -> pa.StringArray:
    """What each row says, as one text: to compare rows word by word."""
    if TURNS not in rows.column_names:
        instruction, response = one_array(rows["instruction"]), one_array(rows["response"])
        return pc.binary_join_element_wise(instruction, response, "\n")
    turns = Turns.of_column(one_array(rows[TURNS]))
    lists = pa.ListArray.from_arrays(pa.array(turns.offsets, pa.int32()), turns.content)
    return pc.binary_join(lists, "\n")
