"""The unit rule: units come from sizes alone and hold every cut once, in order."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.records import FileRange, WorkUnit
from transforms.work_units import DEFAULT_UNIT_BYTES, Cut, byte_cuts, pack, take_first

UNIT = 100


@st.composite
def sources(draw: st.DrawFn, rows_known: bool = False) -> list[Cut]:
    """The cuts of some files, as the readers give them: consecutive within each file."""
    cuts = []
    for file in range(draw(st.integers(0, 5))):
        start = 0
        for _ in range(draw(st.integers(1, 6))):
            stop = start + draw(st.integers(1, 4))
            rows = st.integers(1 if rows_known else 0, 30)
            held = draw(rows if rows_known else st.none() | rows)
            cuts.append(Cut(f"{file}.x", start, stop, draw(st.integers(0, 2 * UNIT)), held))
            start = stop
    return cuts


def points(pieces: Sequence[FileRange] | Sequence[Cut]) -> list[tuple[str, int]]:
    """Every single place that these pieces read, in order."""
    return [(p.file, place) for p in pieces for place in range(p.start, p.stop)]


def text_bytes(unit: WorkUnit, cuts: Sequence[Cut]) -> list[int]:
    """The sizes of the cuts in a unit."""
    held = set(points(unit.file_ranges))
    return [cut.text_bytes for cut in cuts if (cut.file, cut.start) in held]


@given(cuts=sources())
def test_units_hold_every_cut_once_in_order(cuts: list[Cut]) -> None:
    units = list(pack(cuts, UNIT))
    assert [unit.number for unit in units] == list(range(len(units)))
    assert all(unit.file_ranges for unit in units)
    assert points([piece for unit in units for piece in unit.file_ranges]) == points(cuts)


@given(cuts=sources())
def test_no_unit_is_larger_than_asked_unless_it_is_one_cut(cuts: list[Cut]) -> None:
    for unit in pack(cuts, UNIT):
        sizes = text_bytes(unit, cuts)
        assert sum(sizes) <= UNIT or sizes[0] > UNIT
        assert sum(sizes) <= UNIT or not any(sizes[1:])


@given(cuts=sources())
def test_every_unit_is_as_full_as_it_can_be(cuts: list[Cut]) -> None:
    units = [text_bytes(unit, cuts) for unit in pack(cuts, UNIT)]
    for unit, following in zip(units, units[1:], strict=False):
        assert sum(unit) + following[0] > UNIT


@given(cuts=sources())
def test_equal_sources_give_equal_units(cuts: list[Cut]) -> None:
    copies = (Cut(c.file, c.start, c.stop, c.text_bytes, c.rows, c.limit) for c in cuts)
    assert list(pack(copies, UNIT)) == list(pack(cuts, UNIT))


@given(cuts=sources(), more=sources())
def test_files_added_behind_change_no_unit_but_the_last(cuts: list[Cut], more: list[Cut]) -> None:
    added = [Cut(f"later-{c.file}", c.start, c.stop, c.text_bytes) for c in more]
    before, after = list(pack(cuts, UNIT)), list(pack([*cuts, *added], UNIT))
    settled = before[:-1]
    assert after[: len(settled)] == settled


def test_adjacent_cuts_of_a_file_become_one_piece() -> None:
    cuts = [Cut("a", 0, 2, 10), Cut("a", 2, 5, 10), Cut("a", 6, 7, 10), Cut("b", 7, 8, 10)]
    (unit,) = pack(cuts, UNIT)
    assert unit.file_ranges == (FileRange("a", 0, 5), FileRange("a", 6, 7), FileRange("b", 7, 8))


def test_a_limited_cut_is_never_joined() -> None:
    cuts = [Cut("a", 0, 1, 1), Cut("a", 1, 2, 1, 9, 5), Cut("a", 2, 3, 1)]
    (unit,) = pack(cuts, UNIT)
    assert unit.file_ranges == (FileRange("a", 0, 1), FileRange("a", 1, 2, 5), FileRange("a", 2, 3))


def test_small_whole_files_share_a_unit() -> None:
    cuts = [Cut(name, 0, 0, 40) for name in "abc"]
    assert [[p.file for p in unit.file_ranges] for unit in pack(cuts, UNIT)] == [["a", "b"], ["c"]]


def test_a_source_without_cuts_has_no_units() -> None:
    assert list(pack([], UNIT)) == []


@given(size=st.integers(0, 10_000), unit=st.integers(1, 3_000))
def test_byte_ranges_tile_the_file_in_equal_parts(size: int, unit: int) -> None:
    cuts = list(byte_cuts("a", size, unit))
    edges = [0, *(cut.stop for cut in cuts)]
    assert [cut.start for cut in cuts] == edges[:-1]
    assert edges[-1] == size
    sizes = [cut.stop - cut.start for cut in cuts]
    assert [cut.text_bytes for cut in cuts] == sizes
    if size:
        assert len(cuts) == -(-size // unit)
        assert 0 < min(sizes) <= max(sizes) <= min(unit, min(sizes) + 1)


def test_a_gigabyte_of_json_lines_is_cut_into_sixteen_units() -> None:
    assert DEFAULT_UNIT_BYTES == 64 * 2**20
    units = list(pack(byte_cuts("a.jsonl", 2**30, DEFAULT_UNIT_BYTES), DEFAULT_UNIT_BYTES))
    assert [len(unit.file_ranges) for unit in units] == [1] * 16


@given(cuts=sources(), wanted=st.integers(1, 200), truth=st.integers(0, 30))
def test_take_first_takes_exactly_the_first_rows(cuts: list[Cut], wanted: int, truth: int) -> None:
    asked = []

    def count(cut: Cut, at_most: int) -> int:
        asked.append(at_most)
        return min(truth, at_most)

    taken = list(take_first(cuts, wanted, count))
    held = [truth if cut.rows is None else cut.rows for cut in cuts]

    # Row by row: the first `wanted` places of the source, and how many fall into each cut.
    first = [n for n, rows in enumerate(held) for _ in range(rows)][:wanted]
    expected = [(cuts[n].file, cuts[n].start, first.count(n)) for n in sorted(set(first))]
    assert [(cut.file, cut.start, cut.limit) for cut in taken] == expected
    assert all(cut.rows == cut.limit for cut in taken)
    assert all(0 < at_most <= wanted for at_most in asked)


@given(cuts=sources(rows_known=True), wanted=st.integers(1, 100))
def test_take_first_reads_nothing_where_the_rows_are_known(cuts: list[Cut], wanted: int) -> None:
    def count(cut: Cut, at_most: int) -> int:
        pytest.fail("counted rows that the footer tells")

    taken = list(take_first(cuts, wanted, count))
    assert sum(cut.rows or 0 for cut in taken) == min(wanted, sum(cut.rows or 0 for cut in cuts))


def test_take_first_stops_reading_once_it_has_enough() -> None:
    counted = []

    def count(cut: Cut, at_most: int) -> int:
        counted.append(cut.file)
        return at_most

    cuts = [Cut(name, 0, 0, 10) for name in "abc"]
    assert [cut.file for cut in take_first(cuts, 5, count)] == ["a"]
    assert counted == ["a"]


def test_a_part_of_a_cut_counts_for_a_part_of_its_bytes() -> None:
    (cut,) = take_first([Cut("a", 0, 1, 1000, 10)], 3, lambda cut, at_most: 0)
    assert cut == Cut("a", 0, 1, 300, 3, 3)
