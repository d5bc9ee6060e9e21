"""Is validation like training?  Lengths and categories of the two, a distance and a verdict.

Lengths are compared by Kolmogorov-Smirnov: the largest difference of the two cumulated shares.
They differ if it is above 1.63 * sqrt((n + m) / (n * m)), the critical value of the 1 % level for
large n and m (Smirnov, 1948); lengths that occur often only make the test more careful.

Categories are compared by total variation: the share of rows that would have to change for the two
to be alike.  Of two samples of one distribution with shares p it is on average at most
sqrt(1/n + 1/m) / 2 * sum(sqrt(p * (1 - p))), by Jensen's inequality from the variance of each
share; and since one row changes it by 1/n or 1/m, it is above that by more than
sqrt(ln(100) / 2 * (1/n + 1/m)) in at most 1 % of cases (McDiarmid, "On the method of bounded
differences", 1989).  The shares of both splits together stand for p.

The split keeps equal keys together, so "differs" may mean that a key with many rows fell to one
side: it is information, no error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from transforms.quality.lengths import Counts
from transforms.storage.manifest_parts import Balance, BalanceValue

FEW_ROWS = 30
"""Fewer rows in a split tell nothing."""

MOST_VALUES = 1000
"""More values of a column are not counted any more: memory must not grow with the rows."""

NOT_THERE = "(none)"
"""How null is shown, which is a value of its own."""

_SHOWN = 20

Values = Mapping[str | None, tuple[int, int]] | None
"""Rows of a value in (train, validation); None where there are more than ``MOST_VALUES``."""


def merge_values(parts: Iterable[Values]) -> Values:
    """Of all parts together; also whether there are too many does not depend on their order."""
    merged: dict[str | None, tuple[int, int]] = {}
    for part in parts:
        if part is None:
            return None
        for value, (train, validation) in part.items():
            before = merged.get(value, (0, 0))
            merged[value] = (before[0] + train, before[1] + validation)
        if len(merged) > MOST_VALUES:
            return None
    return merged


def of_lengths(what: str, train: Counts, validation: Counts) -> Balance:
    """The manifest's entry on lengths."""
    n, m = train.rows, validation.rows
    distance = limit = None
    if n and m:
        values = np.union1d(train.values, validation.values)
        gap = _cumulated(train, values) * m - _cumulated(validation, values) * n
        distance = int(np.abs(gap).max()) / (n * m)
        limit = 1.63 * math.sqrt((n + m) / (n * m))
    return Balance(
        what=what,
        measure="Kolmogorov-Smirnov",
        distance=distance,
        limit=limit,
        verdict=_verdict(min(n, m), distance, limit),
    )


def _cumulated(found: Counts, values: np.ndarray) -> np.ndarray:
    before = np.concatenate(([0], np.cumsum(found.counts)))
    rows: np.ndarray = before[np.searchsorted(found.values, values, side="right")]
    return rows


def of_values(what: str, rows: tuple[int, int], found: Values) -> Balance:
    """The manifest's entry on categories; ``rows`` are those of (train, validation)."""
    n, m = rows
    distance = limit = None
    if found is not None and n and m:
        # Sums that do not depend on the order of the values.
        distance = sum(abs(a * m - b * n) for a, b in found.values()) / (2 * n * m)
        shares = [(a + b) / (n + m) for a, b in found.values()]
        spread = math.fsum(math.sqrt(share * (1 - share)) for share in shares)
        limit = math.sqrt(1 / n + 1 / m) * (spread / 2 + math.sqrt(math.log(100) / 2))
    most = sorted((found or {}).items(), key=lambda item: (-sum(item[1]), _ordered(item[0])))
    return Balance(
        what=what,
        measure="total variation",
        distance=distance,
        limit=limit,
        verdict=_verdict(min(n, m), distance, limit),
        values=tuple(
            BalanceValue(NOT_THERE if value is None else value, a, b)
            for value, (a, b) in most[:_SHOWN]
        ),
    )


def _ordered(value: str | None) -> tuple[bool, str]:
    return value is not None, value or ""


def _verdict(fewest: int, distance: float | None, limit: float | None) -> str:
    """``distance`` is None where there are too many values, or no rows in a split."""
    if fewest < FEW_ROWS:
        return "too few rows"
    if distance is None or limit is None:
        return "too many values"
    return "differs" if distance > limit else "alike"
