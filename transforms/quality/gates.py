"""The gates: what a set must be like to be published.  One that fails leaves it uncommitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transforms.errors import GateFailed
from transforms.storage.manifest_parts import Leakage, Quality, RowCounts, Verdict

FEW_VALIDATION_ROWS = 100
"""Fewer rows are a warning: a validation loss over them is unreliable."""

PASSED, FAILED, WARNING = "passed", "failed", "warning"


@dataclass(frozen=True)
class Gates:
    """Limits, each None where it was not asked for; shares are from 0 to 1.

    ``max_reject_rate`` and ``max_duplicates`` are of the rows read, ``max_leakage`` of the
    validation rows that were looked at, ``max_truncated`` of the rows kept; ``min_validation``
    counts rows.  Without it fewer than ``few_validation`` rows are a warning, of 0 never.
    ``may_lack_training``: the user asks for validation rows alone.
    """

    max_reject_rate: float = 0.05
    max_duplicates: float | None = None
    max_leakage: float | None = None
    min_validation: int | None = None
    max_truncated: float | None = None
    few_validation: int = FEW_VALIDATION_ROWS
    may_lack_training: bool = False


def judge(
    gates: Gates, counts: RowCounts, quality: Quality | None, reasons: str = ""
) -> tuple[Verdict, ...]:
    """Every gate's verdict on a set.

    Args:
        gates: the limits.
        counts: the rows of the set.
        quality: what was measured; None, or a part that is None, is nothing.
        reasons: the reasons of the rejects, most frequent first; "" where only ``counts`` are
            known.
    """
    quality = quality or Quality()
    rejected = counts.rejected
    reasons = reasons or ", ".join(f"{n:,} {code}" for code, n in rejected.by_reason.items())
    return (
        _share(
            "--max-reject-rate",
            gates.max_reject_rate,
            (rejected.total, counts.read, "rows were rejected"),
            f"The most frequent reasons: {reasons}. See them with `preview --rejected`; "
            "correct the rows, choose other columns with --fields, or raise --max-reject-rate",
        ),
        _share(
            "--max-duplicates",
            gates.max_duplicates,
            (counts.duplicates, counts.read, "rows are duplicates"),
            "Find out what repeats in the source, or raise --max-duplicates",
        ),
        _leakage(gates.max_leakage, counts, quality.leakage or Leakage(checked=0)),
        _share(
            "--max-truncated",
            gates.max_truncated,
            (quality.truncated or 0, counts.kept, "rows were truncated to --max-tokens"),
            "Raise --max-tokens or --max-truncated, or reject such rows with --too-long reject",
        ),
        _validation(gates, counts.validation),
    )


def _share(gate: str, limit: float | None, of: tuple[int, int, str], remedy: str) -> Verdict:
    part, whole, what = of
    # Divided, as 0.29 * 100 is below 29 in floating point.
    found = part / whole if whole else 0.0
    if limit is None or found <= limit:
        return Verdict(gate, limit, found, PASSED, "")
    more, most = _percents(found, limit)
    sentence = (
        f"{part:,} of {whole:,} {what} ({more}), more than the {most} that {gate} allows. {remedy}"
    )
    return Verdict(gate, limit, found, FAILED, sentence)


def _leakage(limit: float | None, counts: RowCounts, leakage: Leakage) -> Verdict:
    gate, rows = "--max-leakage", counts.validation
    if limit is not None and counts.train and rows and not leakage.checked:
        sentence = (
            f"leakage could not be measured: none of {rows:,} validation rows was checked. "
            f"Raise --val-size, or omit {gate}"
        )
        return Verdict(gate, limit, 0.0, FAILED, sentence)
    return _share(
        gate,
        limit,
        (leakage.rows, leakage.checked, "validation rows have a near duplicate in train"),
        "Remove near duplicates with --dedup near, keep related rows in one split with --split-key "
        "COLUMN, or raise --max-leakage",
    )


def _percents(found: float, limit: float) -> tuple[str, str]:
    """Both with the fewest decimals that tell them apart and say the limit as it was given."""
    for decimals in range(1, 12):
        more, most = f"{found:.{decimals}%}", f"{limit:.{decimals}%}"
        if more != most and abs(float(most[:-1]) / 100 - limit) < 1e-12:
            break
    return more, most


def _validation(gates: Gates, rows: int) -> Verdict:
    gate, least = "--min-validation", gates.min_validation
    if least is not None and rows < least:
        sentence = (
            f"{rows:,} validation rows, fewer than the {least:,} that {gate} requires. Raise "
            "--val-size, read more rows, or lower --min-validation"
        )
        return Verdict(gate, least, rows, FAILED, sentence)
    if least is None and not rows and gates.few_validation:
        sentence = (
            "no validation rows: the hash of every prompt falls into train. Raise --val-size or "
            "choose another --seed, or accept it with --val-size 0"
        )
        return Verdict(gate, gates.few_validation, rows, WARNING, sentence)
    if least is None and rows < gates.few_validation:
        sentence = (
            f"only {rows:,} validation rows: a validation loss over so few rows is unreliable; "
            f"raise --val-size, or set {gate} {rows} to accept it"
        )
        return Verdict(gate, gates.few_validation, rows, WARNING, sentence)
    return Verdict(gate, least, rows, PASSED, "")


def lack_of_training_rows(gates: Gates, counts: RowCounts, reasons: str = "") -> str:
    """Why a set without training rows is none; "" for a set with some.

    Args:
        gates: whether the user asks for validation rows alone.
        counts: the rows of the set.
        reasons: the reasons of the rejects, as for ``judge``.
    """
    if counts.train or (gates.may_lack_training and counts.kept):
        return ""
    if counts.kept:
        return (
            f"no training rows: {counts.read:,} rows were read, and all {counts.kept:,} that were "
            "kept are validation rows. Use --val-size 0 to train on every row, or another --seed; "
            "where all rows have one prompt, split them by another column with --split-key COLUMN"
        )
    rejected = counts.rejected
    reasons = reasons or ", ".join(f"{n:,} {code}" for code, n in rejected.by_reason.items())
    return (
        f"no training rows: of {counts.read:,} rows read, {rejected.total:,} were rejected"
        + (f". The most frequent reasons: {reasons}" if reasons else "")
        + ". See them with `preview --rejected`"
    )


def check(verdicts: Sequence[Verdict], kept: str | None = None, lacking: str = "") -> None:
    """``GateFailed`` with the sentences of the gates that failed.

    ``kept`` names the place of a set that is published already, and stays.  ``lacking`` is what
    ``lack_of_training_rows`` says; it is left out where a gate has failed on the same rows.
    """
    failed = [verdict.sentence for verdict in verdicts if verdict.result == FAILED]
    if lacking and not failed:
        failed = [lacking]
    if failed:
        which = (
            f"{kept} already holds this set and is not changed, but" if kept else "not published:"
        )
        raise GateFailed(f"{which} {'. Also: '.join(failed)}")


def warnings(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """The sentences of the warnings among verdicts."""
    return tuple(verdict.sentence for verdict in verdicts if verdict.result == WARNING)
