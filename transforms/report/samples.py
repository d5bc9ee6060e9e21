"""Rows read back from a set's files for its report: deterministic, and only a little is read.

Sample rows come from the first record batch of some shards, rejects from the beginning of the first
files that hold any.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from transforms.chat.segments import PROMPT, RESPONSE, TEMPLATE, Markers, split_text
from transforms.errors import VerificationFailed
from transforms.records import DatasetFile, Shard
from transforms.split import SPLITS
from transforms.storage.chunked_file import ChunkedFile
from transforms.storage.names import RECORD_BATCH_ROWS, REJECTS_FOLDER

SAMPLES = 20
MOST_CHARS = 4000
EXAMPLES = 3
_BEGINNING = 80
_MOST_BATCH_BYTES = 2**26
_MOST_REJECT_FILES = 40
_MOST_REJECT_BYTES = 2**18

Chunks = Callable[[str], Iterator[bytes]]
"""The bytes of a file of the set, by its name."""

Files = Sequence[DatasetFile | Shard]


@dataclass(frozen=True)
class Turn:
    """A part of a text: ``who`` speaks, and pieces with their kinds (see ``text_parts``)."""

    who: str
    pieces: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Sample:
    """Row ``row`` (from 1) of a shard; ``left`` characters of its text are not shown.

    ``turns`` is None where the shard's first rows are too large to be read.
    """

    file: str
    row: int
    turns: tuple[Turn, ...] | None
    left: int = 0

    @property
    def begins(self) -> str:
        """The first words of what the user says."""
        turns = self.turns or ()
        user_prompt = next(
            (turn for turn in turns if turn.who == "user"), turns[0] if turns else None
        )
        said = (
            "".join(piece for kind, piece in user_prompt.pieces if kind != TEMPLATE)
            if user_prompt
            else ""
        )
        words = " ".join(said[: 4 * _BEGINNING].split())
        return words if len(words) <= _BEGINNING else f"{words[:_BEGINNING]}…"


def choose(files: Files, wanted: int = SAMPLES) -> list[tuple[DatasetFile | Shard, list[int]]]:
    """Which rows (from 0) of which shards: as many of each split, where it has them, from shards
    all over it.
    """
    shards = {
        split: sorted(
            (f for f in files if f.path.startswith(f"{split}/") and f.path.endswith(".arrow")),
            key=lambda file: (len(file.path), file.path),
        )
        for split in SPLITS
    }
    filled = {split: [file for file in own if file.rows] for split, own in shards.items()}
    rows = {split: sum(file.rows for file in own) for split, own in filled.items()}
    train, validation = SPLITS
    most = min(rows[validation], max(wanted // 2, wanted - rows[train]))
    share = {train: wanted - most, validation: most}
    return [pick for split in SPLITS for pick in _of_split(filled[split], share[split])]


def _of_split(shards: Files, wanted: int) -> Iterator[tuple[DatasetFile | Shard, list[int]]]:
    number = min(wanted, len(shards))
    chosen = [shards[n * len(shards) // number] for n in range(number)]
    room = [min(shard.rows, RECORD_BATCH_ROWS) for shard in chosen]
    takes = [0] * number
    while wanted and takes != room:
        for n in range(number):
            if wanted and takes[n] < room[n]:
                takes[n], wanted = takes[n] + 1, wanted - 1
    for shard, take, of in zip(chosen, takes, room, strict=True):
        yield shard, [n * of // take for n in range(take)]


def read_samples(files: Files, chunks: Chunks, marks: Markers, where: str) -> list[Sample]:
    """The chosen rows; ``VerificationFailed``, naming the set at ``where``, if a shard is none."""
    samples = []
    for shard, rows in choose(files):
        try:
            batch = _first_batch(chunks(shard.path), shard.bytes)
            samples += [
                _sample(shard.path, row, batch.slice(row, 1).to_pylist()[0], marks) for row in rows
            ]
        except _TooLarge:
            samples += [Sample(shard.path, row + 1, None) for row in rows]
        except (pa.ArrowException, OSError, ValueError, LookupError, StopIteration) as error:
            raise VerificationFailed(
                f"{where}: the rows of {shard.path} cannot be read ({str(error)[:200]}); run "
                "verify to see all problems"
            ) from error
    return samples


def _first_batch(chunks: Iterator[bytes], size: int) -> pa.RecordBatch:
    with pa.ipc.open_stream(_Bounded(chunks, size)) as reader:
        return reader.read_next_batch()


class _TooLarge(Exception):
    """A record batch that would take too much memory."""


class _Bounded(ChunkedFile):
    """A file of which no part is read that would take too much memory."""

    def __init__(self, chunks: Iterator[bytes], size: int) -> None:
        super().__init__(chunks)
        self._size = size

    def read(self, size: int = -1, /) -> bytes:
        if _MOST_BATCH_BYTES < size <= self._size:
            raise _TooLarge
        # More than there is in all: no Arrow stream, as the reader then finds.
        return super().read(min(size, _MOST_BATCH_BYTES) if size >= 0 else _MOST_BATCH_BYTES)


def _sample(file: str, row: int, values: Mapping[str, Any], marks: Markers) -> Sample:
    turns, left = [], MOST_CHARS
    length = 0
    for who, pieces in _turns(values, marks):
        shown = []
        for kind, piece in pieces:
            length += len(piece)
            if left:
                shown.append((kind, piece[:left]))
                left -= len(piece[:left])
        if shown:
            turns.append(Turn(who, tuple(shown)))
    return Sample(file, row + 1, tuple(turns), max(0, length - MOST_CHARS))


def _turns(values: Mapping[str, Any], marks: Markers) -> list[tuple[str, list[tuple[str, str]]]]:
    """Who says what, of a row of any of the columns that sets have."""
    if "text" in values:
        return _spoken(str(values["text"]), marks)
    if "prompt" in values:
        whole = _spoken(str(values["prompt"]), marks)
        return [*whole, ("completion", [(RESPONSE, str(values["completion"]))])]
    found = []
    messages = values["messages"]
    for number, turn in enumerate(messages):
        kind = RESPONSE if number == len(messages) - 1 else PROMPT
        said = [(kind, str(turn["content"] or ""))]
        if turn.get("reasoning_content"):
            said.insert(0, (kind, f"{turn['reasoning_content']}\n"))
        if turn.get("tool_calls"):
            said.append((kind, json.dumps(turn["tool_calls"], ensure_ascii=False)))
        found.append((str(turn["role"]), said))
    return found


def _spoken(text: str, marks: Markers) -> list[tuple[str, list[tuple[str, str]]]]:
    """A text cut where the user's and the assistant's parts begin."""
    names = {marks.user: "user", marks.assistant: "assistant"}
    turns: list[tuple[str, list[tuple[str, str]]]] = [("", [])]
    for kind, piece in split_text(text, marks):
        if kind == TEMPLATE and piece in names:
            turns.append((names[piece], []))
        turns[-1][1].append((kind, piece))
    return [turn for turn in turns if turn[1]]


def read_rejects(
    files: Files, chunks: Chunks, reasons: Sequence[str]
) -> dict[str, list[tuple[str, str]]]:
    """For each reason up to three rejected rows: (place in the source, excerpt)."""
    found: dict[str, list[tuple[str, str]]] = {reason: [] for reason in reasons}
    own = [f for f in files if f.path.startswith(f"{REJECTS_FOLDER}/") and f.rows]
    for file in own[:_MOST_REJECT_FILES]:
        if all(len(examples) == EXAMPLES for examples in found.values()):
            break
        for line in _beginning(chunks(file.path)).splitlines():
            told = _reject(line)
            examples = found.get(told[0]) if told else None
            if told and examples is not None and len(examples) < EXAMPLES:
                examples.append(told[1])
    return found


def _beginning(chunks: Iterator[bytes]) -> bytes:
    """The whole lines in the first bytes of a file."""
    data = b""
    while len(data) < _MOST_REJECT_BYTES and (chunk := next(chunks, b"")):
        data += chunk
    cut = data[:_MOST_REJECT_BYTES]
    return cut if len(cut) == len(data) and data.endswith(b"\n") else cut[: cut.rfind(b"\n") + 1]


def _reject(line: bytes) -> tuple[str, tuple[str, str]] | None:
    """(reason, (place, excerpt)) of a line; None where it is none."""
    try:
        told = json.loads(line)
        file, row, code, excerpt = (told[name] for name in ("file", "row", "code", "excerpt"))
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if type(row) is not int or not all(isinstance(t, str) for t in (file, code, excerpt)):
        return None
    return code, (f"{file} row {row:,}", excerpt[:MOST_CHARS])
