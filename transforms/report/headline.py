"""The five most important numbers, for the page, the card and the console.

They decide whether to train on a set, in this order:

    rows kept      was the source accepted, or was much of it rejected?
    duplicates     does the source repeat itself? a model memorises such rows
    leakage        is the validation loss meaningful, or are its rows in train as well?
    length         does a text fit the trainer? it truncates longer ones silently; the limit of TRL
                   is 1,024 tokens, many recipes use 2,048
    validation     are there enough rows to measure a loss?

Contamination and balance matter to fewer users, and have sections of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transforms.quality.gates import FEW_VALIDATION_ROWS
from transforms.report.elements import NOT_MEASURED, Figure, Words, at, share
from transforms.storage.manifest import ManifestFacts
from transforms.storage.manifest_parts import (
    Contamination,
    Duplicates,
    Leakage,
    Lengths,
    Quality,
    RowCounts,
)

LONG_TOKENS = 2048
_LENGTH = "length (95th percentile)"
_MANY, _SOME = 0.05, 0.01


@dataclass(frozen=True)
class Headline:
    """One of the numbers: its name, the number itself, what it means.

    ``warning`` says what is wrong with it, "" where nothing is.
    """

    name: str
    words: Words
    note: Words
    warning: str = ""


def headlines(manifest: ManifestFacts) -> tuple[Headline, ...]:
    """All five, from ``counts`` and ``quality``."""
    counts, quality = manifest.counts, manifest.quality or Quality()
    return (
        _kept(counts),
        _duplicates(counts, quality.duplicates),
        leakage(quality.leakage),
        _length(quality.lengths or {}),
        _validation(counts),
    )


def short(manifest: ManifestFacts) -> list[tuple[str, Words]]:
    """(name, value) for the card: the five in a line each, and the contamination."""
    rows = [(one.name, _line(one)) for one in headlines(manifest)]
    quality = manifest.quality or Quality()
    return [*rows, ("contamination", contamination(quality.contamination))]


def _line(one: Headline) -> Words:
    return (*one.words, " (", *one.note, ")") if one.note else one.words


def _kept(counts: RowCounts) -> Headline:
    rejected = Figure(counts.rejected.total, at("counts", "rejected", "total"))
    duplicates = Figure(counts.duplicates, at("counts", "duplicates"))
    many = counts.rejected.total > _MANY * counts.read
    return Headline(
        "rows kept",
        (Figure(counts.kept), " of ", Figure(counts.read, at("counts", "read"))),
        (rejected, " rejected, ", duplicates, " duplicates removed"),
        "many rows were rejected" if many else "",
    )


def _duplicates(counts: RowCounts, found: Duplicates | None) -> Headline:
    if not found:
        return Headline("duplicates", (NOT_MEASURED,), ())
    if found.mode == "off":
        return Headline("duplicates", (NOT_MEASURED,), ("kept: --dedup off",))
    exact = Figure(found.exact, at("quality", "duplicates", "exact"))
    near = Figure(found.near, at("quality", "duplicates", "near"))
    part = share(counts.duplicates, counts.read)
    return Headline(
        "duplicates",
        (Figure(counts.duplicates, at("counts", "duplicates")),),
        ("exact ", exact, ", near ", near, "; ", part, " of the rows read"),
        "the source has many duplicates" if part.value > _MANY else "",
    )


def leakage(found: Leakage | None) -> Headline:
    """The validation rows with a near duplicate in train."""
    if not found or not found.checked:
        return Headline("leakage", (NOT_MEASURED,), ())
    rows = Figure(found.rows, at("quality", "leakage", "rows"))
    much = found.rows > _SOME * found.checked
    return Headline(
        "leakage",
        (rows, " of ", Figure(found.checked, at("quality", "leakage", "checked"))),
        ("validation rows with a near duplicate in train",),
        "the validation loss will be too optimistic" if much else "",
    )


def _length(lengths: Mapping[str, Lengths]) -> Headline:
    kind = next((kind for kind in ("tokens", "text") if kind in lengths), "")
    own = lengths.get(kind)
    p95 = (own.train.quantiles or {}).get("0.95") if own else None
    if own is None or p95 is None:
        return Headline(_LENGTH, (NOT_MEASURED,), ())
    place = at("quality", "lengths", kind, "train", "quantiles", "0.95")
    words: Words = (Figure(p95, place), " ", own.unit)
    if kind == "text":
        return Headline(_LENGTH, words, ("--tokenizer counts tokens",))
    long, rows = long_rows(own)
    part = share(long, rows)
    return Headline(
        _LENGTH,
        words,
        (part, f" of all texts have more than {LONG_TOKENS:,}"),
        "a trainer may truncate many texts" if part.value > _MANY else "",
    )


def long_rows(tokens: Lengths) -> tuple[int, int]:
    """The texts of both splits with more than ``LONG_TOKENS`` tokens, and all texts."""
    above = tokens.above or {}
    known = [split for split in tokens.splits if str(LONG_TOKENS) in above.get(split, {})]
    return (
        sum(above[split][str(LONG_TOKENS)] for split in known),
        sum(tokens.splits[split].rows for split in known),
    )


def _validation(counts: RowCounts) -> Headline:
    return Headline(
        "validation rows",
        (Figure(counts.validation, at("counts", "validation")),),
        (share(counts.validation, counts.kept), " of the rows kept"),
        "a validation loss over so few rows is unreliable"
        if counts.validation < FEW_VALIDATION_ROWS
        else "",
    )


def contamination(benchmarks: Sequence[Contamination] | None) -> Words:
    """The rows that contain parts of benchmarks, in one sentence."""
    if benchmarks is None:
        return (NOT_MEASURED,)
    if not benchmarks:
        return ("no benchmark was checked (see --decontaminate)",)
    rows = sum(one.rows for one in benchmarks)
    names = "1 benchmark" if len(benchmarks) == 1 else f"{len(benchmarks):,} benchmarks"
    return (Figure(rows), f" rows contain a part of {names}")
