"""Benchmark overlap: rows that hold a piece of a benchmark's prompt are counted, or left out.

A piece is a run of 13 words; of a prompt with fewer words all of them, if there are at least 8.
Words are compared by hashes (see ``word_array``), a whole batch at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from transforms.conversations.turns import Turns
from transforms.options import OVERLAP_WORDS
from transforms.records import ROW, TURNS, one_array, rejects_table
from transforms.text.hash_index import Known
from transforms.text.hashing import each_once
from transforms.text.ngrams import Hashed, ngrams, word_array, word_places

LEAST_WORDS = 8
"""Shorter prompts are not compared: many texts hold them."""

CODE = "benchmark-overlap"
"""The reject code of a row that is left out."""

LENGTHS = range(LEAST_WORDS, OVERLAP_WORDS + 1)

Pieces = Mapping[int, np.ndarray]
"""For each of ``LENGTHS``, in words, the hashes of a benchmark's pieces, sorted, each once; uint64.
"""


def pieces_of(prompts: pa.StringArray) -> tuple[Pieces, int]:
    """The pieces of some prompts (none null), and how many prompts are too short to have any."""
    found = word_array(prompts)
    counts = found.counts
    pieces = {OVERLAP_WORDS: ngrams(found, OVERLAP_WORDS, short=False).hashes}
    for length in LENGTHS[:-1]:
        whole = ngrams(found, length, short=False)
        pieces[length] = whole.hashes[whole.offsets[:-1][counts == length]]
    return merge_pieces([pieces]), int((counts < LEAST_WORDS).sum())


def merge_pieces(parts: Sequence[Pieces]) -> Pieces:
    """The pieces of several runs of prompts."""
    empty = np.array([], np.uint64)
    return {
        length: each_once(np.concatenate([empty, *(part[length] for part in parts)]))
        for length in LENGTHS
    }


def pieces_to_bytes(pieces: Pieces) -> bytes:
    """Pieces as bytes: how many there are of each length, then all hashes; uint64, little-endian.

    The digest of these bytes is a part of the plan, so they stay as they are.
    """
    counts = np.array([len(pieces[length]) for length in LENGTHS], "<u8")
    return b"".join(part.astype("<u8").tobytes() for part in (counts, *pieces.values()))


def pieces_from_bytes(data: bytes) -> Pieces:
    """The pieces of which ``pieces_to_bytes`` made ``data``."""
    numbers = np.frombuffer(data, "<u8").astype(np.uint64)
    ends = np.cumsum(numbers[: len(LENGTHS)].astype(np.int64))
    parts = np.split(numbers[len(LENGTHS) :], ends[:-1])
    return dict(zip(LENGTHS, parts, strict=True))


def pieces_file(sha256: str) -> str:
    """The work file that holds the pieces with this digest."""
    return f"benchmark-{sha256}"


@dataclass(frozen=True)
class Places:
    """Where texts hold pieces: text number, number of the first word, length in words; int64.

    In order of texts and words.
    """

    texts: np.ndarray
    firsts: np.ndarray
    lengths: np.ndarray


@dataclass(frozen=True)
class OverlapFinder:
    """Finds the pieces of several benchmarks, by their names."""

    benchmarks: Mapping[str, Pieces]
    _known: Mapping[str, Mapping[int, Known]] = field(init=False, repr=False)
    _every: Known = field(init=False, repr=False)

    def __post_init__(self) -> None:
        known = {
            name: {length: Known(array) for length, array in pieces.items()}
            for name, pieces in self.benchmarks.items()
        }
        object.__setattr__(self, "_known", known)
        every = [array for pieces in self.benchmarks.values() for array in pieces.values()]
        # Few of a row's runs are among them; only those are compared with each benchmark.
        all_known = Known(each_once(np.concatenate([np.empty(0, np.uint64), *every])))
        object.__setattr__(self, "_every", all_known)

    def find(self, texts: pa.StringArray) -> dict[str, Places]:
        """For each benchmark where the texts (none null) hold its pieces."""
        found = word_array(texts)
        hits: dict[str, list[np.ndarray]] = {name: [] for name in self.benchmarks}
        for length in LENGTHS:
            wanted = {n: k[length] for n, k in self._known.items() if len(k[length])}
            if not wanted:
                continue
            runs = ngrams(found, length, short=False)
            passed, _ = self._every.find(runs.hashes)
            for name, pieces in wanted.items():
                hits[name].append(_places(runs, passed, pieces, length))
        return {name: _ordered(parts) for name, parts in hits.items()}


def _places(runs: Hashed, passed: np.ndarray, pieces: Known, length: int) -> np.ndarray:
    """[text, first word, length] of each of these runs that is a piece."""
    own = passed[pieces.find(runs.hashes[passed])[0]]
    texts = np.searchsorted(runs.offsets, own, side="right") - 1
    firsts = own - runs.offsets[texts].astype(np.int64)
    return np.stack([texts, firsts, np.full(len(own), length)], axis=1)


def _ordered(parts: Sequence[np.ndarray]) -> Places:
    every = np.concatenate([np.zeros((0, 3), np.int64), *parts])
    order = np.lexsort((every[:, 2], every[:, 1], every[:, 0]))
    return Places(*every[order].T)


def decontaminated(
    table: pa.Table, finder: OverlapFinder, drop: bool
) -> tuple[pa.Table, pa.Table, dict[str, int]]:
    """Finds the rows that overlap with a benchmark.

    Args:
        table: Rows that ``Normalize`` made.
        finder: The benchmarks' pieces.
        drop: Do the rows become rejects?

    Returns:
        The rows that are kept, a ``REJECTS`` table, and for each benchmark a note with the number
        of rows that hold a piece of it, rejects among them.
    """
    columns = [(texts, rows, finder.find(texts)) for texts, rows in _texts(table)]
    note_counts: dict[str, int] = {}
    gone: dict[int, str] = {}
    for name in finder.benchmarks:
        own = np.unique(np.concatenate([rows[found[name].texts] for _, rows, found in columns]))
        if len(own):
            note_counts[OVERLAP + name] = len(own)
        for texts, rows, found in columns if drop else ():
            places = found[name]
            at, first = np.unique(rows[places.texts], return_index=True)
            for row, index in zip(at.tolist(), first.tolist(), strict=True):
                if row not in gone:
                    gone[row] = f"{name}: {_contents(texts, places, index)}"
    if not gone:
        return table, rejects_table([]), note_counts
    kept = np.ones(table.num_rows, bool)
    kept[list(gone)] = False
    rejects = [(table[ROW][row].as_py(), CODE, text) for row, text in sorted(gone.items())]
    return table.filter(pa.array(kept)), rejects_table(rejects), note_counts


def _contents(texts: pa.StringArray, places: Places, index: int) -> str:
    """The words of one place, as they stand in their text."""
    text, first = texts[int(places.texts[index])].as_py(), int(places.firsts[index])
    starts, stops = word_places(text)
    last = first + int(places.lengths[index]) - 1
    return str(text.encode()[int(starts[first]) : int(stops[last])].decode())


def _texts(table: pa.Table) -> list[tuple[pa.StringArray, np.ndarray]]:
    """Texts in which pieces are looked for, those of a row in their order, with their rows."""
    if TURNS in table.column_names:
        turns = Turns.of_column(one_array(table[TURNS]))
        return [(turns.content, turns.rows)]
    rows = np.arange(table.num_rows)
    return [(one_array(table[name]), rows) for name in ("instruction", "response")]


OVERLAP = "benchmark-overlap: "
"""Begins the note of rows that hold a piece of a benchmark; the benchmark's name follows."""
