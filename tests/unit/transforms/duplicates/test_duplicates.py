"""Duplicates: which rows are copies, and that of copies the first in the source stays."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.conversations.turns import Turn, Turns
from transforms.duplicates.content_hash import content_hashes, contents
from transforms.duplicates.exact import find_copies, fingerprints
from transforms.duplicates.minhash import (
    VALUES,
    banded,
    find_links,
    min_hashes,
    similarity,
    sketch,
)
from transforms.duplicates.near_links import (
    LentRows,
    LinkComparison,
    find_near_copies,
    lent_by_unit,
    links_by_unit,
)
from transforms.duplicates.positions import Drop, among, place, rows_of_range
from transforms.records import TURNS
from transforms.text.ngrams import Hashed, distinct, ngrams, word_array

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
turns = st.builds(
    Turn,
    st.integers(0, 3),
    texts,
    st.none() | texts,
    st.none() | texts,
    st.none() | texts,
)


def pairs(rows: Sequence[tuple[str, str]]) -> pa.Table:
    asked, said = zip(*rows, strict=True) if rows else ((), ())
    return pa.table(
        {"instruction": pa.array(asked, pa.string()), "response": pa.array(said, pa.string())}
    )


def hashes(table: pa.Table) -> list[tuple[int, int]]:
    first, second = content_hashes(table)
    return list(zip(first.tolist(), second.tolist(), strict=True))


class TestContent:
    @given(st.lists(st.tuples(texts, texts), min_size=1))
    def test_pairs_have_one_hash_if_and_only_if_they_are_equal(
        self, rows: list[tuple[str, str]]
    ) -> None:
        assert len(set(hashes(pairs(rows)))) == len(set(rows))

    @given(st.lists(st.lists(turns, max_size=4), min_size=1, max_size=6))
    def test_conversations_have_one_hash_if_and_only_if_they_are_equal(
        self, rows: list[list[Turn]]
    ) -> None:
        table = pa.table({TURNS: Turns.of_rows(rows).column()})
        assert len(set(hashes(table))) == len({tuple(row) for row in rows})

    @given(st.lists(turns, min_size=2, max_size=4), st.none() | texts)
    def test_a_conversations_hash_is_its_own(self, row: list[Turn], tools: str | None) -> None:
        def table(*rows: list[Turn]) -> pa.Table:
            column = Turns.of_rows(rows).column()
            given = pa.array([tools] * len(rows), pa.string())
            return pa.table({TURNS: column, "tools": given})

        other = [Turn(1, "x"), Turn(2, "y", "z", "[]", "n")]
        assert hashes(table(other, row, row[:1]))[1] == hashes(table(row))[0]

    def test_order_counts(self) -> None:
        one, other = Turn(1, "a"), Turn(1, "b")
        table = pa.table({TURNS: Turns.of_rows([[one, other], [other, one]]).column()})
        assert len(set(hashes(table))) == 2

    def test_the_tools_count(self) -> None:
        column = Turns.of_rows([[Turn(1, "a")]] * 3).column()
        table = pa.table({TURNS: column, "tools": pa.array(["[]", None, ""])})
        assert len(set(hashes(table))) == 3

    def test_what_a_row_says_is_one_text(self) -> None:
        assert contents(pairs([("a", "b")])).to_pylist() == ["a\nb"]
        column = Turns.of_rows([[Turn(0, "s"), Turn(1, "a")], []]).column()
        assert contents(pa.table({TURNS: column})).to_pylist() == ["s\na", ""]


def dropped(found: Sequence[tuple[int, Drop]]) -> set[tuple[int, int]]:
    """(unit, place) of every row that is left out."""
    return {(unit, at) for unit, drop in found for at in drop.places.tolist()}


class TestRepeated:
    @given(
        st.lists(st.lists(st.integers(0, 6), max_size=8), min_size=1, max_size=5),
        st.integers(1, 4),
        st.randoms(use_true_random=False),
    )
    def test_the_first_in_source_order_stays_however_the_parts_arrive(
        self, units: list[list[int]], of: int, order: random.Random
    ) -> None:
        """A unit is a list of contents; every row behind the first of its content is left out."""
        groups: dict[int, list] = {}
        parts = []
        for unit, contents_ in enumerate(units):
            values = np.array(contents_, np.uint64)
            made = (values * np.uint64(7), values * np.uint64(11 << 40) + values)
            parts += fingerprints(unit, made, place(0, np.arange(1, len(values) + 1)), of)
        order.shuffle(parts)
        for bucket, part in parts:
            groups.setdefault(bucket, []).append(part)
        found = [drop for group in groups.values() for drop in find_copies(group)]
        seen: set[int] = set()
        expected = set()
        for unit, contents_ in enumerate(units):
            for row, content in enumerate(contents_, 1):
                if content in seen:
                    expected.add((unit, row))
                seen.add(content)
        assert dropped(found) == expected

    def test_places_far_apart_travel_too(self) -> None:
        same = np.full(3, 7, np.uint64)
        places = np.concatenate([place(0, np.array([1, 2])), place(3, np.array([5]))])
        (part,) = (part for _, part in fingerprints(4, (same, same), places, 1))
        assert part.places.tolist() == places.tolist()
        assert dropped(list(find_copies([part]))) == {(4, int(places[1])), (4, int(places[2]))}

    def test_one_half_alone_makes_no_copy(self) -> None:
        one = (np.array([1, 1], np.uint64), np.array([5 << 40, 6 << 40], np.uint64))
        parts = [part for _, part in fingerprints(0, one, place(0, np.array([1, 2])), 1)]
        assert list(find_copies(parts)) == []

    @given(st.integers(0, 2**20), st.lists(st.integers(1, 2**39), unique=True))
    def test_places_keep_piece_and_row_and_sort_like_them(
        self, piece: int, rows: list[int]
    ) -> None:
        places = np.concatenate([place(piece, np.array(rows)), place(piece + 1, np.array([1]))])
        assert rows_of_range(places, piece).tolist() == rows
        assert rows_of_range(places, piece + 1).tolist() == [1]
        assert places[:-1].max(initial=0) < places[-1]


WORDS = [f"word{number}" for number in range(2000)]


def sentence(order: random.Random, length: int = 100) -> list[str]:
    return order.choices(WORDS, k=length)


def edited(text: list[str], order: random.Random, edits: int) -> list[str]:
    changed = list(text)
    for at in order.sample(range(len(text)), edits):
        changed[at] = "other" + order.choice(WORDS)
    return changed


def jaccard(one: list[str], other: list[str]) -> float:
    def shingles(text: list[str]) -> set[tuple[str, ...]]:
        return set(zip(text, text[1:], text[2:], strict=False))

    return len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))


def near(rows: list[str], of: int = 3) -> set[int]:
    """The rows that are left out as near copies, of rows in two units."""
    groups: dict[tuple[int, int], list] = {}
    half = len(rows) // 2
    for unit, part in enumerate((rows[:half], rows[half:])):
        values, which = min_hashes(pa.array(part, pa.string()))
        places = place(0, np.arange(1, len(part) + 1))[which]
        for key, entry in banded(unit, values, places, of):
            groups.setdefault(key, []).insert(0, entry)  # the later unit first
    links = [link for group in groups.values() for link in find_links(group)]
    found = dropped(list(find_near_copies(compared(links, rows, half))))
    return {int(at) - 1 + unit * half for unit, at in found}


def compared(links: list[np.ndarray], rows: list[str], half: int) -> Iterator[np.ndarray]:
    """The links that hold, as ConfirmNear finds them, which reads two rows at a time."""

    def shingles(unit: int, places: np.ndarray) -> Hashed:
        texts = [rows[at - 1 + unit * half] for at in places.tolist()]
        return distinct(ngrams(word_array(pa.array(texts, pa.string())), 3))

    lent: dict[int, list[LentRows]] = {0: [], 1: []}
    late: dict[int, list[np.ndarray]] = {0: [], 1: []}
    for link in links:
        for unit, some in links_by_unit(link):
            late[unit].append(some)
        for unit, (places, borrowers) in lent_by_unit(link):
            for at, borrower in zip(places, borrowers.tolist(), strict=True):
                one = np.array([at])
                row = LentRows.of(unit, one, shingles(unit, one), np.array([0]))
                lent[borrower].append(row)
    for unit, parts in late.items():
        if parts:
            comparison = LinkComparison(unit, np.concatenate(parts, axis=1), lent[unit])
            for start in range(0, len(comparison.wanted), 2):
                places = comparison.wanted[start : start + 2]
                yield from comparison.compare(places, shingles(unit, places))
            assert not comparison._earlier, "rows are held that no link needs any more"


class TestNear:
    def test_recall_and_precision_at_known_similarities(self) -> None:
        """Pairs at similarities about 0.5 to 1: those at 0.9 are found, those below 0.7 are not."""
        order = random.Random(3)
        rows, alike = [], []
        for edits in (1, 1, 2, 2, 5, 7, 8, 12, 20) * 60:
            text = sentence(order)
            copy = edited(text, order, edits)
            rows += [" ".join(text), " ".join(copy)]
            alike.append(jaccard(text, copy))
        found = near(rows)
        assert all(row % 2 for row in found), "a first row was left out, or two pairs were mixed"
        near_ones = {2 * n + 1 for n, value in enumerate(alike) if value >= 0.9}
        assert len(near_ones) > 50
        assert len(found & near_ones) / len(near_ones) >= 0.95
        true = {2 * n + 1 for n, value in enumerate(alike) if value >= 0.8}
        clear = {2 * n + 1 for n, value in enumerate(alike) if not 0.75 < value < 0.8}
        assert len(found & clear & true) / len(found & clear) >= 0.95

    def test_the_estimate_is_near_the_truth(self) -> None:
        order = random.Random(4)
        off = []
        for edits in range(0, 40, 2):
            text = sentence(order, 300)
            copy = edited(text, order, edits)
            values, _ = min_hashes(pa.array([" ".join(text), " ".join(copy)]))
            found = similarity(sketch(values)[:1], sketch(values)[1])[0]
            off.append(abs(found - jaccard(text, copy)))
        assert float(np.mean(off)) < 0.06

    def test_a_row_that_is_near_one_that_is_left_out_may_stay(self) -> None:
        """Each row is near the one before; the first one's likeness ends with the third or so."""
        order = random.Random(5)
        chain = [sentence(order)]
        for _ in range(8):
            chain.append(edited(chain[-1], order, 2))
        rows = [" ".join(text) for text in chain]
        gone = near(rows)
        assert gone
        for row in range(1, len(chain)):
            kept = [first for first in range(row) if first not in gone]
            is_near = any(jaccard(chain[row], chain[first]) >= 0.8 for first in kept)
            assert is_near or row not in gone

    def test_rows_of_one_template_that_are_not_near_all_stay(self) -> None:
        """Of many pairs that are 0.75 alike some seem to be 0.8: they are compared word by word."""
        order = random.Random(9)
        template = [f"common{n}" for n in range(102)]
        rows = [" ".join([*template, *sentence(order, 17)]) for _ in range(600)]
        assert near(rows) == set()

    def test_many_rows_in_one_band_are_all_compared(self) -> None:
        order = random.Random(6)
        text = " ".join(sentence(order))
        assert near([text] * 500) == set(range(1, 500))

    def test_rows_without_words_are_no_copies_of_each_other(self) -> None:
        assert near(["?!", "…", "", "***"]) == set()

    def test_short_rows(self) -> None:
        assert near(["Yes.", "No.", "yes", "no!"]) == {2, 3}

    def test_values_are_those_of_the_row_alone(self) -> None:
        order = random.Random(7)
        rows = [" ".join(sentence(order, length)) for length in (1, 2, 3, 50, 0, 400)] * 700
        together, which = min_hashes(pa.array(rows))
        assert together.shape == (5 * 700, VALUES)
        assert which.tolist() == [n for n in range(len(rows)) if n % 6 != 4]
        alone = np.concatenate([min_hashes(pa.array([row]))[0] for row in rows[:6]])
        assert np.array_equal(together[:5], alone)

    def test_only_rows_that_another_unit_needs_travel_and_once_for_each(self) -> None:
        links = np.array(
            [[1, 1, 1, 2, 2, 2], [5, 6, 7, 3, 3, 4], [1, 0, 0, 0, 1, 0], [2, 9, 9, 9, 2, 8]],
            np.uint64,
        )
        found = {unit: some.T.tolist() for unit, some in lent_by_unit(links)}
        assert found == {0: [[8, 2], [9, 1], [9, 2]], 1: [[2, 2]]}
        late = {unit: some.T.tolist() for unit, some in links_by_unit(links)}
        assert late == {
            1: [[5, 1, 2], [6, 0, 9], [7, 0, 9]],
            2: [[3, 0, 9], [3, 1, 2], [4, 0, 8]],
        }

    @pytest.mark.parametrize("of", [1, 2, 7])
    def test_buckets_do_not_show(self, of: int) -> None:
        order = random.Random(8)
        rows = []
        for _ in range(40):
            text = sentence(order, 60)
            rows += [" ".join(text), " ".join(edited(text, order, 1))]
        assert near(rows, of) == near(rows, 1)


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_each_value_counts_alike_in_a_sketch(bits: int) -> None:
    values = np.random.default_rng(1).integers(2**32, size=(1, VALUES), dtype=np.uint32)
    others = np.repeat(values, VALUES, axis=0)
    others[np.arange(VALUES), np.arange(VALUES)] ^= np.uint32(bits)
    expected = ((VALUES - 1) / VALUES - 0.25) / 0.75
    assert similarity(sketch(others), sketch(values)[0]).tolist() == [expected] * VALUES
    assert similarity(sketch(values), sketch(values)[0]).tolist() == [1.0]


@given(st.sets(st.integers(1, 9)), st.sets(st.integers(1, 9)))
def test_among_finds_the_numbers_that_are_rows_and_no_others(
    rows: set[int], numbers: set[int]
) -> None:
    found = among(np.array(sorted(rows), np.int64), np.array(sorted(numbers), np.int64))
    assert [sorted(rows)[index] for index in found.tolist()] == sorted(rows & numbers)
