"""The five numbers that matter, for the page, the card and the console.

They are what decides whether to train on a set, in the order in which one asks:

    rows kept      did the job take what I gave it, or was much of it rejected?
    duplicates     was the source mostly repetition? the model would learn those rows by heart
    leakage        does the validation loss mean anything, or are its rows in training, too?
    length         does it fit the trainer? what is beyond its limit is cut without a word; TRL's
                   is 1,024 tokens, most guides take 2,048
    validation     are there enough rows to measure with?

Contamination and balance matter to those who ask for them, and stand below.
"""

from __future__ import annotations

from dataclasses import dataclass

from transforms.quality.gates import FEW_VALIDATION_ROWS
from transforms.report.elements import NOT_MEASURED, Figure, Words, share
from transforms.report.manifest_view import ManifestView

LONG_TOKENS = 2048
_MANY, _SOME = 0.05, 0.01


@dataclass(frozen=True)
class Headline:
    """One of the numbers: its name, the number itself, what it means.

    ``look`` says why it is worth a look, "" where it is not.
    """

    name: str
    words: Words
    note: Words
    look: str = ""


def headlines(manifest: ManifestView) -> tuple[Headline, ...]:
    """All five, from ``counts`` and ``quality``."""
    counts, quality = manifest.part("counts"), manifest.part("quality")
    return (
        _kept(counts),
        _duplicates(counts, quality.part("duplicates")),
        leakage(quality.part("leakage")),
        _length(quality.part("lengths")),
        _validation(counts),
    )


def short(manifest: ManifestView) -> list[tuple[str, Words]]:
    """(name, what is told) for the card: the five in a line each, and the contamination."""
    rows = [(one.name, _line(one)) for one in headlines(manifest)]
    return [*rows, ("contamination", contamination(manifest.part("quality", "contamination")))]


def _line(one: Headline) -> Words:
    return (*one.words, " (", *one.note, ")") if one.note else one.words


def kept_rows(counts: ManifestView) -> int:
    """The rows of both splits."""
    return int(sum(counts.part(split).count().value for split in ("train", "validation")))


def _kept(counts: ManifestView) -> Headline:
    read, rejected = counts.part("read").count(), counts.part("rejected", "total").count()
    many = rejected.value > _MANY * read.value
    return Headline(
        "rows kept",
        (Figure(kept_rows(counts)), " of ", read),
        (rejected, " rejected, ", counts.part("duplicates").count(), " left out as duplicates"),
        "many rows were rejected" if many else "",
    )


def _duplicates(counts: ManifestView, found: ManifestView) -> Headline:
    if not found:
        return Headline("duplicates", (NOT_MEASURED,), ())
    if found.part("mode").text() == "off":
        return Headline("duplicates", (NOT_MEASURED,), ("they stay: --dedup off",))
    left_out, read = counts.part("duplicates").count(), counts.part("read").count()
    exact, near = found.part("exact").count(), found.part("near").count()
    part = share(int(left_out.value), int(read.value))
    return Headline(
        "duplicates",
        (left_out,),
        ("exact ", exact, ", near ", near, "; ", part, " of the rows read"),
        "the source repeats itself" if part.value > _MANY else "",
    )


def leakage(found: ManifestView) -> Headline:
    """The validation rows that training nearly holds."""
    checked = found.part("checked").count() if found else Figure(0)
    if not checked.value:
        return Headline("leakage", (NOT_MEASURED,), ())
    rows = found.part("rows").count()
    much = rows.value > _SOME * checked.value
    return Headline(
        "leakage",
        (rows, " of ", checked),
        ("validation rows with a near copy in training",),
        "the validation loss will look better than it is" if much else "",
    )


def _length(lengths: ManifestView) -> Headline:
    kind = next((kind for kind in ("tokens", "text") if lengths.part(kind)), None)
    own = lengths.part(kind) if kind else lengths
    p95 = own.part("train", "quantiles", "0.95") if kind else None
    if not p95:
        return Headline("length", (NOT_MEASURED,), ())
    words: Words = (p95.count(), " ", own.part("unit").text())
    most: Words = ("95% of the training texts are no longer",)
    if kind == "text":
        return Headline("length", words, (*most, "; --tokenizer counts tokens"))
    long, rows = long_rows(own)
    part = share(long, rows)
    return Headline(
        "length",
        words,
        (*most, "; ", part, f" of all have more than {LONG_TOKENS:,}"),
        "many texts may be cut by a trainer" if part.value > _MANY else "",
    )


def long_rows(tokens: ManifestView) -> tuple[int, int]:
    """The texts of both splits with more than ``LONG_TOKENS`` tokens, and all texts."""
    found = (
        (tokens.part("above", split, str(LONG_TOKENS)), tokens.part(split, "rows"))
        for split in ("train", "validation")
    )
    pairs = [(above.count().value, rows.count().value) for above, rows in found if above]
    return int(sum(above for above, _ in pairs)), int(sum(rows for _, rows in pairs))


def _validation(counts: ManifestView) -> Headline:
    rows, kept = counts.part("validation").count(), kept_rows(counts)
    return Headline(
        "validation rows",
        (rows,),
        (share(int(rows.value), kept), " of the rows kept"),
        "a loss over so few rows says little" if rows.value < FEW_VALIDATION_ROWS else "",
    )


def contamination(found: ManifestView) -> Words:
    """The rows that hold pieces of benchmarks, in one sentence."""
    if not found:
        return (NOT_MEASURED,)
    benchmarks = found.entries()
    if not benchmarks:
        return ("no benchmark was looked for; --decontaminate does",)
    rows = sum(one.part("rows").count().value for one in benchmarks)
    names = "1 benchmark" if len(benchmarks) == 1 else f"{len(benchmarks):,} benchmarks"
    return (Figure(rows), f" rows hold a piece of {names}")
