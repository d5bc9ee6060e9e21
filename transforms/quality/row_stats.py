"""What is counted of a unit's rows while they are written: lengths, source files, columns.

A unit's counts stand in its record, so that a run that goes on with it has them, too: its shards
tell neither the rows' files nor the columns that are compared.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import UNSET

from transforms.options import QualityRules
from transforms.quality.balance import (
    MOST_VALUES,
    Values,
    merge_values,
    of_lengths,
    of_values,
)
from transforms.quality.lengths import ABOVE, NONE, Counts, histogram, merge, summary
from transforms.records import TOKENS, balance_column
from transforms.storage.manifest_parts import Balance, Lengths, Tokenizer

_FILES = "source file"
_TEXTS = ("text", "instruction", "response", "prompt", "completion")


@dataclass(frozen=True)
class RowStats:
    """Counts of some rows: of their lengths by name, (train, validation), and of values by name."""

    lengths: Mapping[str, tuple[Counts, Counts]] = field(default_factory=dict)
    values: Mapping[str, Values] = field(default_factory=dict)


def measure(
    table: pa.Table, validation: pa.ChunkedArray, file: str, balance: Sequence[str]
) -> RowStats:
    """Of a batch from one source ``file``; ``balance`` names the columns that are compared."""
    marks = validation.to_numpy()
    trained = ~marks
    lengths = {
        name: (Counts.of(found[trained]), Counts.of(found[marks]))
        for name, found in _lengths(table).items()
    }
    values: dict[str, Values] = {}
    if len(marks):
        values[_FILES] = {file: (int(trained.sum()), int(marks.sum()))}
    for place, name in enumerate(balance):
        column = table[balance_column(place)]
        values[f"column {name}"] = _values(column, validation)
    return RowStats(lengths, values)


def _lengths(table: pa.Table) -> dict[str, np.ndarray]:
    """Characters of each row by column, and tokens; ``text`` is among them in every shape."""
    found = {
        name: pc.utf8_length(table[name]).to_numpy()
        for name in _TEXTS
        if name in table.column_names
    }
    if "text" not in found:
        if "messages" in table.column_names:
            found = {"text": _contents(table["messages"])}
        else:
            found = {"text": found["prompt"] + found["completion"], **found}
    if TOKENS in table.column_names:
        found["tokens"] = table[TOKENS].to_numpy()
    return found


def _contents(messages: pa.ChunkedArray) -> np.ndarray:
    """Characters of all contents of each row."""
    parts = [np.array([], np.int64)]
    for chunk in messages.chunks:
        turns = pc.fill_null(pc.utf8_length(chunk.flatten().field("content")), 0).to_numpy()
        ends = np.cumsum(chunk.value_lengths().to_numpy())
        parts.append(np.diff(np.concatenate(([0], np.cumsum(turns)))[ends], prepend=0))
    return np.concatenate(parts)


def _values(column: pa.ChunkedArray, validation: pa.ChunkedArray) -> Values:
    found: dict[str | None, list[int]] = {}
    for split, mask in enumerate((pc.invert(validation), validation)):
        counted = column.filter(mask).value_counts()
        if len(counted) > MOST_VALUES:
            return None
        for value, rows in zip(*(counted.field(n).to_pylist() for n in range(2)), strict=True):
            found.setdefault(value, [0, 0])[split] += rows
    return merge_values([{value: (a, b) for value, (a, b) in found.items()}])


def merge_stats(parts: Iterable[RowStats]) -> RowStats:
    """Of all parts; their order does not matter."""
    parts = list(parts)
    lengths, values = (
        dict.fromkeys(name for part in parts for name in getattr(part, which))
        for which in ("lengths", "values")
    )

    def merged(name: str, split: int) -> Counts:
        return merge(part.lengths.get(name, (NONE, NONE))[split] for part in parts)

    return RowStats(
        {name: (merged(name, 0), merged(name, 1)) for name in lengths},
        {name: merge_values(part.values.get(name, {}) for part in parts) for name in values},
    )


_encoder = msgspec.msgpack.Encoder(enc_hook=lambda array: array.tolist())
_decoder = msgspec.msgpack.Decoder(
    RowStats, dec_hook=lambda _, numbers: np.array(numbers, np.int64)
)


def to_text(found: RowStats) -> str:
    """A short form for a unit's record, in characters of JSON."""
    return base64.b85encode(zlib.compress(_encoder.encode(found), 1)).decode()


def from_text(text: str) -> RowStats:
    """The counts of which ``to_text`` made ``text``."""
    return _decoder.decode(zlib.decompress(base64.b85decode(text)))


@dataclass(frozen=True)
class Measured:
    """The parts of the manifest's quality that follow from the counts of all rows."""

    lengths: dict[str, Lengths]
    balance: tuple[Balance, ...]
    tokenizer: Tokenizer | None


def measured(found: RowStats, rules: QualityRules) -> Measured:
    """The parts for the manifest, from the counts of all rows."""
    text = found.lengths.get("text", (NONE, NONE))
    balance = [of_lengths("text length", *text)]
    rows = text[0].rows, text[1].rows
    for name in (_FILES, *(f"column {name}" for name in rules.balance)):
        balance.append(of_values(name, rows, found.values.get(name, {})))
    tokens = rules.tokens
    return Measured(
        lengths={name: _lengths_of(name, *found.lengths[name]) for name in _ordered(found.lengths)},
        balance=tuple(balance),
        tokenizer=None
        if tokens is None
        else Tokenizer(
            name=tokens.tokenizer,
            sha256=tokens.sha256,
            max_tokens=tokens.max_tokens,
            too_long=tokens.too_long,
        ),
    )


def _ordered(names: Iterable[str]) -> list[str]:
    found = set(names)
    return [name for name in (*_TEXTS, "tokens") if name in found]


def _lengths_of(name: str, train: Counts, validation: Counts) -> Lengths:
    tokens = name == "tokens"
    splits = {"train": train, "validation": validation}
    above = {
        split: {str(length): counts.above(length) for length in ABOVE}
        for split, counts in splits.items()
    }
    return Lengths(
        unit=name if tokens else "characters",
        train=summary(train),
        validation=summary(validation),
        histogram=histogram(train, validation),
        above=above if tokens else UNSET,
    )
