"""Lengths as counts: what follows from them is what all lengths one by one would tell."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.quality.lengths import NONE, PERCENT, Counts, histogram, merge, summary
from transforms.storage.manifest_parts import Histogram

SMALL = st.lists(st.integers(0, 2**16 - 1), max_size=60)
ANY = st.lists(st.integers(0, 2**31), max_size=60)


def counts(lengths: list[int]) -> Counts:
    return Counts.of(np.array(lengths, np.int64))


def same(one: Counts, other: Counts) -> bool:
    totals = [(c.total, c.least, c.most, c.rows) for c in (one, other)]
    equal = np.array_equal(one.values, other.values) and np.array_equal(one.counts, other.counts)
    return equal and totals[0] == totals[1]


def nearest_rank(lengths: list[int], percent: int) -> int:
    return sorted(lengths)[max(1, math.ceil(percent * len(lengths) / 100)) - 1]


@given(SMALL.filter(bool))
def test_all_figures_are_those_of_the_lengths_themselves(lengths: list[int]) -> None:
    found = counts(lengths)
    told = summary(found)
    assert (told.rows, told.min, told.max) == (len(lengths), min(lengths), max(lengths))
    assert told.total == sum(lengths)
    assert told.quantiles == {str(p / 100): nearest_rank(lengths, p) for p in PERCENT}
    for limit in (0, 1, 1024, *lengths[:3]):
        assert found.above(limit) == sum(length > limit for length in lengths)
    numpy = np.percentile(lengths, PERCENT, method="inverted_cdf")
    assert [found.quantile(p) for p in PERCENT] == numpy.tolist()


@given(ANY.filter(bool))
def test_long_ones_are_a_little_low_and_their_total_is_exact(lengths: list[int]) -> None:
    found = counts(lengths)
    assert (found.total, found.least, found.most) == (sum(lengths), min(lengths), max(lengths))
    for percent in PERCENT:
        exact = nearest_rank(lengths, percent)
        assert exact * (1 - 2**-15) < found.quantile(percent) <= exact or not exact
        if exact < 2**16:
            assert found.quantile(percent) == exact


def test_values_stay_few_whatever_is_counted() -> None:
    everything = [2**n + k * 2**m for n in range(16, 31) for m in range(n) for k in (0, 1)]
    per_octave = {value.bit_length() for value in everything}
    assert len(counts(everything).values) <= len(everything)
    octave = np.arange(2**20, 2**21)
    assert len(Counts.of(octave).values) == 2**15
    assert len(per_octave) * 2**15 + 2**16 < 600_000


@given(st.lists(ANY, max_size=6))
def test_it_does_not_matter_how_lengths_are_grouped(parts: list[list[int]]) -> None:
    whole = counts([length for part in parts for length in part])
    found = [counts(part) for part in parts]
    assert same(merge(found), whole)
    assert same(merge(found[::-1]), whole)
    one_by_one = NONE
    for part in found:
        one_by_one = merge((part, one_by_one))
    assert same(one_by_one, whole)


def test_a_million_lengths_of_all_sizes_keep_their_ranks() -> None:
    lengths = np.random.default_rng(7).lognormal(6.5, 1.4, 1_000_000).astype(np.int64)
    found = merge(Counts.of(part) for part in np.array_split(lengths, 97))
    lengths.sort()
    for percent in PERCENT:
        value = found.quantile(percent)
        low, high = (np.searchsorted(lengths, value, side) for side in ("left", "right"))
        rank = percent / 100 * len(lengths)
        # Within 1 % was asked for; it is the very rank.
        assert low < rank <= high


def test_of_no_rows_nothing_is_told() -> None:
    told = summary(NONE)
    assert (told.rows, told.total, told.min, told.max) == (0, 0, None, None)
    assert set((told.quantiles or {}).values()) == {None}
    assert histogram(NONE, NONE) == Histogram(edges=(0, 1), train=(0,), validation=(0,))


@given(ANY, ANY)
def test_a_histogram_holds_every_row_once(train: list[int], validation: list[int]) -> None:
    made = histogram(counts(train), counts(validation))
    edges = made.edges
    assert list(edges) == sorted(set(edges)) and len(edges) <= 42
    assert (sum(made.train), sum(made.validation)) == (len(train), len(validation))
    assert len(made.train) == len(made.validation) == len(edges) - 1
    widths = {after - before for before, after in pairwise(edges[:-1])}
    assert len(widths) <= 1
    assert all(length < edges[-1] for length in (*train, *validation))


def test_the_bins_are_those_of_both_splits() -> None:
    made = histogram(counts([*range(1000), 10**6]), counts([1500, 1500]))
    width = made.edges[1] - made.edges[0]
    assert width == 50
    assert made.edges[:3] == (0, 50, 100) and made.edges[-1] == 10**6 + 1
    assert made.train[:2] == (50, 50) and made.train[-1] == 1
    assert sum(made.validation) == 2


@pytest.mark.parametrize("lengths", [[0], [5] * 9, [2**31], [2**20, 2**20 + 1]])
def test_a_single_value_has_a_histogram(lengths: list[int]) -> None:
    made = histogram(counts(lengths), NONE)
    assert sum(made.train) == len(lengths)
