"""What stands on the page: numbers, each with its place in the manifest, sentences and tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

COUNT, SHARE, DISTANCE = "count", "share", "distance"
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Figure:
    """A number; ``at`` is its place in the manifest as a JSON pointer, "" where it is derived.

    ``kind`` is count, share (0 to 1, shown as per cent) or distance (0 to 1).
    """

    value: int | float
    at: str = ""
    kind: str = COUNT


def at(*keys: str | int) -> str:
    """A place in the manifest as a JSON pointer (RFC 6901): ``/quality/leakage/rows``."""
    return "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in keys)


Words = tuple["str | Figure", ...]
"""A sentence, or a cell of a table: text and numbers."""


NOTHING: Words = ("—",)
"""A cell where there is no number."""


@dataclass(frozen=True)
class Table:
    """``rows`` of cells below ``head``; the first cell of a row names it."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Words, ...], ...]

    @property
    def numbers(self) -> tuple[bool, ...]:
        """For each column whether it holds nothing but numbers; the first one names the row."""
        columns = zip(*self.rows, strict=True)
        return tuple(
            bool(n) and all(isinstance(cell[0], Figure) or cell == NOTHING for cell in column)
            for n, column in enumerate(columns)
        )


@dataclass(frozen=True)
class Histogram:
    """Two splits' shares of rows in bins of equal width on the page.

    ``bars`` are (train, validation) for each bin, in thousandths of the highest; ``ticks`` are
    (place from 0 to 100, label); ``summary`` says in words what it shows, ``table`` in numbers.
    """

    title: str
    bars: tuple[tuple[int, int], ...]
    ticks: tuple[tuple[float, str], ...]
    summary: Words
    table: Table


@dataclass(frozen=True)
class Example:
    """Texts of rows, each with its label, below a title."""

    title: str
    texts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Section:
    """A part of the page; ``anchor`` is its id."""

    anchor: str
    title: str
    words: tuple[Words, ...] = ()
    tables: tuple[Table, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    examples: tuple[Example, ...] = ()


def number(figure: Figure) -> str:
    """The one way in which numbers are shown: ``12,345``, ``0.3%``, ``0.034``, ``0.8``.

    A share above nothing is never shown as nothing.
    """
    if figure.kind == COUNT:
        return f"{figure.value:,}"
    if figure.kind == DISTANCE:
        return f"{figure.value:,.3f}".rstrip("0").rstrip(".")
    shown = next((s for n in (1, 2, 3, 4) if float((s := f"{figure.value:.{n}%}")[:-1])), None)
    return shown or ("below 0.0001%" if figure.value else "0%")


def plain(words: Iterable[str | Figure]) -> str:
    """A sentence as text."""
    return "".join(number(word) if isinstance(word, Figure) else word for word in words)


def share(part: int, whole: int) -> Figure:
    """``part`` of ``whole``; 0 of 0 is 0."""
    return Figure(part / whole if whole else 0.0, kind=SHARE)
