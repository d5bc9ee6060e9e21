"""The page's section on lengths: quantiles and histograms of each column, both splits apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transforms.report.elements import (
    NOT_MEASURED,
    NOTHING,
    Figure,
    Histogram,
    Section,
    Table,
    Words,
    at,
    number,
    share,
)
from transforms.split import SPLITS
from transforms.storage import manifest_parts
from transforms.storage.manifest_parts import Lengths, Quality, Tokenizer

_KINDS = ("tokens", "text", "instruction", "response")
_QUANTILES = ("0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99")
_MOST_BINS = 200
_HIGHEST = 1000
_TICKS = 4


def lengths(quality: Quality) -> Section:
    """All columns whose lengths are known."""
    found = quality.lengths or {}
    known = {kind: found[kind] for kind in _KINDS if kind in found}
    if not known:
        return Section("lengths", "Lengths", ((f"Lengths were {NOT_MEASURED}.",),))
    tables = [_summary(known)]
    words: list[Words] = []
    if "tokens" in known:
        tables.append(_above(known["tokens"]))
        words.append(_tokenizer(quality.tokenizer))
    else:
        words.append(("Tokens were not counted; --tokenizer counts them.",))
    if quality.truncated:
        cut = Figure(quality.truncated, at("quality", "truncated"))
        words.append((cut, " responses were truncated to --max-tokens."))
    pictures = tuple(
        histogram(kind, own, own.histogram) for kind, own in known.items() if own.histogram
    )
    return Section("lengths", "Lengths", tuple(words), tuple(tables), pictures)


def _title(kind: str, own: Lengths) -> str:
    return "tokens of the text" if kind == "tokens" else f"{own.unit} of the {kind}"


def _tokenizer(found: Tokenizer | None) -> Words:
    if not found:
        return ("The tokenizer is unknown.",)
    words: Words = (f"Tokens are counted by {found.name}, SHA-256 {found.sha256}",)
    if found.max_tokens is not None:
        most = Figure(found.max_tokens, at("quality", "tokenizer", "max_tokens"))
        words = (*words, "; a text has at most ", most, f" (longer texts: {found.too_long})")
    return (*words, ".")


def _summary(known: Mapping[str, Lengths]) -> Table:
    rows: list[tuple[Words, ...]] = []
    for kind, own in known.items():
        for split, found in own.splits.items():
            place = at("quality", "lengths", kind, split)
            quantiles = found.quantiles or {}
            cells = {"/min": found.min}
            cells |= {at("quantiles", q): quantiles.get(q) for q in _QUANTILES}
            cells["/max"] = found.max
            numbers: list[Words] = [
                NOTHING if value is None else (Figure(value, place + end),)
                for end, value in cells.items()
            ]
            count = (Figure(found.rows, f"{place}/rows"),)
            rows.append(((f"{_title(kind, own)}, {split}",), count, *numbers))
    percents = tuple(f"{100 * float(q):.0f}%" for q in _QUANTILES)
    caption = "Length percentiles"
    return Table(caption, ("what", "rows", "min", *percents, "max"), tuple(rows))


def _above(tokens: Lengths) -> Table:
    above = tokens.above or {}
    limits = {limit for split in SPLITS for limit in above.get(split, {})}
    rows = []
    for limit in sorted(limits, key=lambda limit: (len(limit), limit)):
        cells: list[Words] = []
        for split in SPLITS:
            found = above.get(split, {}).get(limit)
            if found is None:
                cells.append(NOTHING)
                continue
            n = Figure(found, at("quality", "lengths", "tokens", "above", split, limit))
            cells.append((n, " (", share(found, tokens.splits[split].rows), ")"))
        rows.append(((_grouped(limit),), *cells))
    return Table("Texts above a number of tokens", ("tokens", *SPLITS), tuple(rows))


def _grouped(limit: str) -> str:
    return number(Figure(int(limit))) if limit.isascii() and limit.isdigit() else limit


def histogram(kind: str, own: Lengths, found: manifest_parts.Histogram) -> Histogram:
    """Bars for both splits, each as shares of its own rows: they differ in size."""
    title = _title(kind, own)
    edges = found.edges[: _MOST_BINS + 1]
    counts = [
        [
            Figure(value, at("quality", "lengths", kind, "histogram", split, n))
            for n, value in enumerate(bins[:_MOST_BINS])
        ]
        for split, bins in found.splits.items()
    ]
    shares = [_shares(bins) for bins in counts]
    highest = max((*shares[0], *shares[1]))
    heights = [[round(_HIGHEST * one / highest) if highest else 0 for one in s] for s in shares]
    bins = len(edges) - 1
    steps = min(_TICKS, bins)
    marks = sorted({round(step * bins / steps) for step in range(steps + 1)})
    labels = [_bin(edges, n) for n in range(bins)]
    rows = tuple(
        ((label,), (one,), (other,))
        for label, one, other in zip(labels, *counts, strict=True)
        if one.value or other.value
    )
    return Histogram(
        title,
        tuple(zip(*heights, strict=True)),
        tuple((100 * mark / bins, number(Figure(edges[mark]))) for mark in marks),
        _phrase(kind, own, labels, shares),
        Table(f"Rows by {title}", (own.unit, *SPLITS), rows),
    )


def _shares(counts: list[Figure]) -> list[float]:
    total = sum(one.value for one in counts)
    return [one.value / total if total else 0.0 for one in counts]


def _bin(edges: Sequence[int], n: int) -> str:
    """``100 to 149``."""
    least, most = edges[n], edges[n + 1] - 1
    low, high = number(Figure(least)), number(Figure(most))
    return low if least == most else f"{low} to {high}"


def _phrase(kind: str, own: Lengths, labels: list[str], shares: list[list[float]]) -> Words:
    words: list[str | Figure] = []
    for (split, lengths), found in zip(own.splits.items(), shares, strict=True):
        quantiles = lengths.quantiles or {}
        low, high = (quantiles.get(q) for q in ("0.25", "0.75"))
        if low is not None and high is not None:
            often = labels[found.index(max(found))]
            place = at("quality", "lengths", kind, split, "quantiles")
            words += [f"Half of {split}: ", Figure(low, place + at("0.25"))]
            words += [" to ", Figure(high, place + at("0.75"))]
            words.append(f"; most often {often}. ")
    return tuple(words) or ("No rows.",)
