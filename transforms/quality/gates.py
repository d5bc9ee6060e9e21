"""The gates: what a set must be like to be published.  One that fails leaves it uncommitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from transforms.errors import GateFailed

FEW_VALIDATION_ROWS = 100
"""Fewer than that are told as a warning: a loss over them says little."""


@dataclass(frozen=True)
class Gates:
    """Limits, each None where it was not asked for; shares are from 0 to 1.

    ``max_reject_rate`` and ``max_duplicates`` are of the rows read, ``max_leakage`` of the
    validation rows that were looked at, ``max_truncated`` of the rows kept; ``min_validation``
    counts rows.
    """

    max_reject_rate: float = 0.05
    max_duplicates: float | None = None
    max_leakage: float | None = None
    min_validation: int | None = None
    max_truncated: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What one gate says: ``found`` against ``limit``; ``sentence`` tells a user what to do.

    ``result`` is passed, failed or warning.
    """

    gate: str
    limit: float | None
    found: float
    result: str
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """As the manifest holds it."""
        return asdict(self)


def judge(
    gates: Gates, counts: Mapping[str, Any], quality: Mapping[str, Any], reasons: str = ""
) -> list[Verdict]:
    """Every gate's verdict on a set, from the manifest's ``counts`` and ``quality``.

    ``reasons`` are those of the rejects, most frequent first.
    """
    kept = counts["train"] + counts["validation"]
    rejected, duplicates = counts["rejected"]["total"], counts["duplicates"]
    leakage, truncated = quality["leakage"], quality["truncated"]
    return [
        _share(
            "--max-reject-rate",
            gates.max_reject_rate,
            (rejected, counts["read"], "rows were rejected"),
            f"The most frequent reasons: {reasons}. Look at them with `preview --rejected`; mend "
            "the rows, choose other columns with --fields, or raise --max-reject-rate",
        ),
        _share(
            "--max-duplicates",
            gates.max_duplicates,
            (duplicates, counts["read"], "rows are duplicates"),
            "Look for what repeats in the source, or raise --max-duplicates",
        ),
        _share(
            "--max-leakage",
            gates.max_leakage,
            (leakage["rows"], leakage["checked"], "validation rows have a near copy in training"),
            "--dedup near takes the copies out; or keep rows that belong together in one split "
            "with --split-key COLUMN, or raise --max-leakage",
        ),
        _share(
            "--max-truncated",
            gates.max_truncated,
            (truncated, kept, "rows were cut to --max-tokens"),
            "Raise --max-tokens or --max-truncated, or leave such rows out with --too-long reject",
        ),
        _validation(gates, counts["validation"]),
    ]


def _share(gate: str, limit: float | None, of: tuple[int, int, str], remedy: str) -> Verdict:
    part, whole, what = of
    # Divided, as 0.29 * 100 is below 29 in floating point.
    found = part / whole if whole else 0.0
    failed = limit is not None and found > limit
    sentence = ""
    if failed:
        sentence = (
            f"{part:,} of {whole:,} {what} ({found:.1%}), more than the {limit:.1%} that {gate} "
            f"allows. {remedy}"
        )
    return Verdict(gate, limit, found, "failed" if failed else "passed", sentence)


def _validation(gates: Gates, rows: int) -> Verdict:
    gate, least = "--min-validation", gates.min_validation
    if least is not None and rows < least:
        sentence = (
            f"{rows:,} validation rows, fewer than the {least:,} that {gate} asks for. Raise "
            "--val-size, take more rows, or lower --min-validation"
        )
        return Verdict(gate, least, rows, "failed", sentence)
    if least is None and rows < FEW_VALIDATION_ROWS:
        sentence = (
            f"only {rows:,} validation rows: a loss over so few says little; raise --val-size, or "
            f"say {gate} {rows} if it is meant so"
        )
        return Verdict(gate, FEW_VALIDATION_ROWS, rows, "warning", sentence)
    return Verdict(gate, least, rows, "passed", "")


def check(verdicts: list[Verdict]) -> None:
    """``GateFailed`` with the sentences of the gates that failed."""
    failed = [verdict.sentence for verdict in verdicts if verdict.result == "failed"]
    if failed:
        raise GateFailed(f"not published: {'. Also: '.join(failed)}")
