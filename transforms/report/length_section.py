"""The page's section on lengths: quantiles and histograms of each column, both splits apart."""

from __future__ import annotations

from transforms.report.elements import (
    NOT_MEASURED,
    NOTHING,
    Figure,
    Histogram,
    Section,
    Table,
    Words,
    number,
    share,
)
from transforms.report.manifest_view import ManifestView
from transforms.split import SPLITS

_KINDS = ("tokens", "text", "instruction", "response")
_QUANTILES = ("0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99")
_MOST_BINS = 200
_HIGHEST = 1000
_TICKS = 4


def lengths(manifest: ManifestView) -> Section:
    """All columns whose lengths are known."""
    quality = manifest.part("quality")
    found = [(kind, quality.part("lengths", kind)) for kind in _KINDS]
    known = [(_title(kind, own), own) for kind, own in found if own]
    if not known:
        return Section("lengths", "Lengths", ((f"Lengths were {NOT_MEASURED}.",),))
    tables = [_summary(known)]
    tokens = quality.part("lengths", "tokens")
    words: list[Words] = []
    if tokens:
        tables.append(_above(tokens))
        words.append(_tokenizer(quality.part("tokenizer")))
    else:
        words.append(("Tokens are counted where --tokenizer names the model's.",))
    cut = quality.part("truncated")
    if cut and cut.count().value:
        words.append((cut.count(), " responses were cut to fit --max-tokens."))
    pictures = tuple(histogram(title, own) for title, own in known if own.part("histogram"))
    return Section("lengths", "Lengths", tuple(words), tuple(tables), pictures)


def _title(kind: str, own: ManifestView) -> str:
    unit = own.part("unit").text()
    return "tokens of the text" if kind == "tokens" else f"{unit} of the {kind}"


def _tokenizer(found: ManifestView) -> Words:
    if not found:
        return ("The tokenizer is not known.",)
    name, digest = found.part("name").text(), found.part("sha256").text()
    words: Words = (f"Tokens are those of {name}, SHA-256 {digest}",)
    if found.part("max_tokens"):
        most = found.part("max_tokens").count()
        words = (
            *words,
            "; texts may have ",
            most,
            f" (longer ones: {found.part('too_long').text()})",
        )
    return (*words, ".")


def _summary(known: list[tuple[str, ManifestView]]) -> Table:
    rows: list[tuple[Words, ...]] = []
    for title, own in known:
        for split in SPLITS:
            told = own.part(split)
            cells = [told.part("min"), *(told.part("quantiles", q) for q in _QUANTILES)]
            cells.append(told.part("max"))
            numbers: list[Words] = [(cell.count(),) if cell else NOTHING for cell in cells]
            rows.append(((f"{title}, {split}",), (told.part("rows").count(),), *numbers))
    percents = tuple(f"{100 * float(q):.0f}%" for q in _QUANTILES)
    caption = "So many per cent of the rows are no longer than that"
    return Table(caption, ("what", "rows", "least", *percents, "most"), tuple(rows))


def _above(tokens: ManifestView) -> Table:
    rows = []
    for limit, one in sorted(tokens.part("above", SPLITS[0]).items(), key=_by_number):
        cells: list[Words] = []
        for split in SPLITS:
            n = (one if split == SPLITS[0] else tokens.part("above", split, limit)).count()
            of = int(tokens.part(split, "rows").count().value)
            cells.append((n, " (", share(int(n.value), of), ")"))
        rows.append(((_grouped(limit),), *cells))
    return Table("Texts with more tokens than that", ("tokens", *SPLITS), tuple(rows))


def _by_number(item: tuple[str, ManifestView]) -> tuple[int, str]:
    return len(item[0]), item[0]


def _grouped(limit: str) -> str:
    return number(Figure(int(limit))) if limit.isascii() and limit.isdigit() else limit


def histogram(title: str, own: ManifestView) -> Histogram:
    """Bars for both splits, each as shares of its own rows: they differ in size."""
    found = own.part("histogram")
    edges = [int(one.count().value) for one in found.part("edges").entries(_MOST_BINS + 1)]
    counts = [[one.count() for one in found.part(split).entries(_MOST_BINS)] for split in SPLITS]
    if len(edges) < 2 or any(len(edges) != len(own) + 1 for own in counts):
        raise found.unreadable("one edge more than counts")
    shares = [_shares(own) for own in counts]
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
        _phrase(own, labels, shares),
        Table(f"Rows by {title}", (own.part("unit").text(), *SPLITS), rows),
    )


def _shares(counts: list[Figure]) -> list[float]:
    total = sum(one.value for one in counts)
    return [one.value / total if total else 0.0 for one in counts]


def _bin(edges: list[int], n: int) -> str:
    """``100 to 149``."""
    least, most = edges[n], edges[n + 1] - 1
    low, high = number(Figure(least)), number(Figure(most))
    return low if least == most else f"{low} to {high}"


def _phrase(own: ManifestView, labels: list[str], shares: list[list[float]]) -> Words:
    words: list[str | Figure] = []
    for split, found in zip(SPLITS, shares, strict=True):
        low, high = (own.part(split, "quantiles", q) for q in ("0.25", "0.75"))
        if low and high:
            often = labels[found.index(max(found))]
            words += [f"Half of {split}: ", low.count(), " to ", high.count()]
            words.append(f"; most often {often}. ")
    return tuple(words) or ("No rows.",)
