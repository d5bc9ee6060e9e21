"""The rule for work units: a source is cut by sizes alone, never by the number of workers.

The same source and request give the same units, and so the same file names and bytes on any runner,
with any number of workers, after any retry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

from transforms.records import FileRange, FileState, WorkUnit

DEFAULT_UNIT_BYTES = 64 * 2**20
"""Bytes of text in a unit; its train shard has about 120 MB, since each text is stored twice."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The smallest part of a file at which a reader can start and stop.

    Attributes:
        file, start, stop: as in ``FileRange``.
        text_bytes: an estimate of the bytes in the columns that are read.
        rows: the number of rows, or None if only reading gives it.
        limit: the number of rows to read, or None for all.
    """

    file: str
    start: int
    stop: int
    text_bytes: int
    rows: int | None = None
    limit: int | None = None


def byte_cuts(file: str, size: int, unit_bytes: int) -> Iterator[Cut]:
    """Equal byte ranges, none above ``unit_bytes``, of a file that can be cut anywhere."""
    parts = -(-size // unit_bytes)
    edges = [size * part // parts for part in range(parts + 1)] if parts else []
    for start, stop in zip(edges, edges[1:], strict=False):
        yield Cut(file, start, stop, stop - start)


def take_first(cuts: Iterable[Cut], rows: int, count: Callable[[Cut, int], int]) -> Iterator[Cut]:
    """The cuts with the first ``rows`` rows of the source, in order.

    ``count(cut, at_most)`` counts the rows of a cut by reading it, up to ``at_most``.
    """
    left = rows
    for cut in cuts:
        if not left:
            return
        held = count(cut, left) if cut.rows is None else cut.rows
        taken = min(held, left)
        if taken:
            share = cut.text_bytes if cut.rows is None else cut.text_bytes * taken // held
            yield replace(cut, text_bytes=share, rows=taken, limit=taken)
        left -= taken


def pack(cuts: Iterable[Cut], unit_bytes: int) -> Iterator[WorkUnit]:
    """Packs consecutive cuts into units of at most ``unit_bytes``.

    A single cut above ``unit_bytes`` is a unit by itself.  Adjacent cuts of a file become one file
    range.
    """
    number = 0
    file_ranges: list[FileRange] = []
    filled = 0
    for cut in cuts:
        if file_ranges and filled + cut.text_bytes > unit_bytes:
            yield WorkUnit(number, tuple(file_ranges))
            number, file_ranges, filled = number + 1, [], 0
        filled += cut.text_bytes
        before = file_ranges[-1] if file_ranges else None
        joins = before is not None and before.file == cut.file and before.stop == cut.start
        if before is not None and joins and before.limit is None and cut.limit is None:
            file_ranges[-1] = replace(before, stop=cut.stop)
        else:
            file_ranges.append(FileRange(cut.file, cut.start, cut.stop, cut.limit))
    if file_ranges:
        yield WorkUnit(number, tuple(file_ranges))


def with_states(units: Iterable[WorkUnit], states: Mapping[str, FileState]) -> Iterator[WorkUnit]:
    """The units with the states of their files, by name; a file on the hub has none."""
    for unit in units:
        ranges = (replace(each, state=states.get(each.file)) for each in unit.file_ranges)
        yield WorkUnit(unit.number, tuple(ranges))


def consecutive_runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """(first, past the last) of each run of consecutive numbers, in order.

    [0, 1, 2, 5] -> [(0, 3), (5, 6)]
    """
    found = []
    for _, run in groupby(enumerate(sorted(numbers)), key=lambda place: place[1] - place[0]):
        own = [number for _, number in run]
        found.append((own[0], own[-1] + 1))
    return found
