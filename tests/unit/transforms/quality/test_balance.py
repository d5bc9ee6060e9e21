"""Is validation like training: distances against plain arithmetic, verdicts against chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.quality.balance import (
    MOST_VALUES,
    NOT_THERE,
    Values,
    merge_values,
    of_lengths,
    of_values,
)
from transforms.quality.lengths import NONE, Counts
from transforms.storage.manifest_parts import BalanceValue

LENGTHS = st.lists(st.integers(0, 50), min_size=1, max_size=80)
CATEGORIES = st.dictionaries(
    st.none() | st.text(max_size=3), st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8
)


def values(rows: Sequence[str | None], more: Sequence[str | None]) -> dict[str | None, Any]:
    """Rows of each value in (train, validation)."""
    train, validation = Counter(rows), Counter(more)
    return {value: (train[value], validation[value]) for value in train | validation}


@given(LENGTHS, LENGTHS)
def test_the_distance_of_lengths_is_that_of_their_cumulated_shares(
    train: list[int], validation: list[int]
) -> None:
    told = of_lengths("text length", Counts.of(np.array(train)), Counts.of(np.array(validation)))
    shares = [[np.mean(np.array(part) <= x) for x in range(51)] for part in (train, validation)]
    assert told.distance == pytest.approx(np.abs(np.subtract(*shares)).max())
    few = min(len(train), len(validation)) < 30
    assert (told.verdict == "too few rows") is few


@given(CATEGORIES)
def test_the_distance_of_categories_is_the_share_that_would_have_to_change(
    found: dict[str | None, tuple[int, int]],
) -> None:
    rows = tuple(sum(pair[split] for pair in found.values()) for split in range(2))
    told = of_values("column x", (rows[0], rows[1]), found)
    if not all(rows):
        assert told.distance is told.limit is None
        return
    expected = sum(abs(a / rows[0] - b / rows[1]) for a, b in found.values()) / 2
    assert told.distance == pytest.approx(expected)
    again = of_values("column x", (rows[0], rows[1]), dict(reversed(found.items())))
    assert told == again


@pytest.mark.parametrize("sizes", [(9000, 1000), (400, 40), (200, 5000)])
@pytest.mark.parametrize("kinds", [2, 20, 300])
def test_splits_of_one_distribution_are_alike(sizes: tuple[int, int], kinds: int) -> None:
    random = np.random.default_rng(kinds)
    differs = 0
    for _ in range(50):
        train, validation = (random.zipf(1.7, size) % kinds for size in sizes)
        found = of_values(
            "x", sizes, values(*(part.astype(str).tolist() for part in (train, validation)))
        )
        lengths = of_lengths("x", Counts.of(train), Counts.of(validation))
        differs += (found.verdict == "differs") + (lengths.verdict == "differs")
    assert differs <= 3  # of 100, at the 1 % level


def test_splits_that_differ_are_told() -> None:
    train, validation = ["a"] * 500 + ["b"] * 500, ["a"] * 90 + ["b"] * 10
    told = of_values("column x", (1000, 100), values([*train], [*validation]))
    assert told.distance == pytest.approx(0.4)
    assert told.limit < 0.4 and told.verdict == "differs"
    longer = of_lengths("x", Counts.of(np.arange(1000)), Counts.of(np.arange(500, 600)))
    assert longer.distance == pytest.approx(0.5) and longer.verdict == "differs"
    assert longer.limit == pytest.approx(1.63 * np.sqrt(1100 / 100_000))


def test_few_rows_tell_nothing() -> None:
    for rows in (29, 0):
        found = values(["a"] * 100, ["b"] * rows)
        assert of_values("x", (100, rows), found).verdict == "too few rows"
        few = Counts.of(np.zeros(rows, np.int64))
        assert of_lengths("x", Counts.of(np.arange(100)), few).verdict == "too few rows"
    assert of_values("x", (0, 0), {}).verdict == "too few rows"
    assert of_lengths("x", NONE, NONE).distance is None


def test_null_is_a_value_and_the_most_frequent_are_shown() -> None:
    rows = [None] * 40 + [f"v{n:02}" for n in range(25)] * 2
    told = of_values("column x", (90, 40), values(rows, [None] * 40))
    assert told.values[0] == BalanceValue(NOT_THERE, 40, 40)
    assert [entry.value for entry in told.values[1:]] == [f"v{n:02}" for n in range(19)]
    # "" and null are two values, in one order whatever came first.
    tied: list[Values] = [{"": (1, 1), None: (1, 1)}, {None: (1, 1), "": (1, 1)}]
    assert of_values("x", (2, 2), tied[0]) == of_values("x", (2, 2), tied[1])


@given(st.lists(st.integers(0, MOST_VALUES + 1), min_size=2, max_size=4))
def test_too_many_values_are_so_in_every_order(ends: list[int]) -> None:
    parts: list[Values] = [{str(n): (1, 0) for n in range(end)} for end in ends]
    parts.append({f"x{n}": (1, 1) for n in range(2)})
    union = {name for part in parts for name in part or ()}
    for order in (parts, parts[::-1]):
        found: Values = {}
        for part in order:
            found = merge_values((found, part))
        assert (found is None) is (len(union) > MOST_VALUES)
        assert found == merge_values(order)


def test_too_many_values_have_no_distance() -> None:
    told = of_values("column x", (5000, 500), None)
    assert told.verdict == "too many values" and told.values == ()
    assert told.distance is told.limit is None
    assert of_values("column x", (5000, 5), None).verdict == "too few rows"
