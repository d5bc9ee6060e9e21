"""Accounting: every shard once, every row somewhere, or nothing is published."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from transforms.conversations.remedies import remedy_of
from transforms.errors import VerificationFailed
from transforms.quality.row_stats import Measured
from transforms.records import Shard
from transforms.split import SPLITS
from transforms.storage.manifest_parts import Leakage, RejectedRows, RowCounts
from transforms.storage.names import REJECTS_FOLDER


def complete(shards: Iterable[Shard], units: int) -> list[Shard]:
    """Every shard of every unit exactly once, in order; a repeated attempt's equal record is one.

    Raises ``VerificationFailed`` where one is missing, or two attempts disagree.
    """
    found: defaultdict[str, dict[int, Shard]] = defaultdict(dict)
    for shard in shards:
        earlier = found[shard.split].setdefault(shard.unit, shard)
        if earlier != shard:
            raise VerificationFailed(
                f"two attempts at {shard.split} shard {shard.unit} wrote different bytes; the "
                "source changed during the run: run again"
            )
    splits = (*SPLITS, REJECTS_FOLDER)
    missing = [
        f"{split} {unit}" for split in splits for unit in range(units) if unit not in found[split]
    ]
    expected, count = len(splits) * units, sum(len(own) for own in found.values())
    if missing or count != expected:
        raise VerificationFailed(
            f"expected {expected} shard records, found {count}; missing: "
            f"{', '.join(missing[:5]) or 'none'}; run again"
        )
    return [found[split][unit] for split in splits for unit in range(units)]


def account(shards: Sequence[Shard]) -> RowCounts:
    """The counts, from the shards' records; every row read must be somewhere.

    Raises ``VerificationFailed`` unless read = train + validation + rejected + duplicates, in each
    unit.
    """
    rows: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    note_counts: Counter[str] = Counter()
    duplicates = 0
    read: dict[int, int] = {}
    placed: Counter[int] = Counter()
    for shard in shards:
        rows[shard.split] += shard.rows
        codes.update(shard.codes)
        note_counts.update(shard.note_counts)
        left_out = sum(exact + near for exact, near in shard.duplicates.values())
        duplicates += left_out
        placed[shard.unit] += shard.rows + left_out
        if read.setdefault(shard.unit, shard.read) != shard.read:
            raise VerificationFailed(
                f"the files of unit {shard.unit} disagree on how many rows were read: "
                f"{read[shard.unit]:,} and {shard.read:,}"
            )
    wrong = [unit for unit in read if read[unit] != placed[unit]]
    if wrong:
        raise VerificationFailed(
            f"the rows do not add up: unit {wrong[0]} read {read[wrong[0]]:,} rows and placed "
            f"{placed[wrong[0]]:,}; nothing was published, run again"
        )
    if codes.total() != rows[REJECTS_FOLDER]:
        raise VerificationFailed(
            f"the rejects do not add up: {codes.total():,} were counted by reason and "
            f"{rows[REJECTS_FOLDER]:,} written; nothing was published, run again"
        )
    return RowCounts(
        read=sum(read.values()),
        train=rows["train"],
        validation=rows["validation"],
        rejected=RejectedRows(codes.total(), dict(sorted(codes.items()))),
        duplicates=duplicates,
        events=dict(sorted(note_counts.items())),
    )


def agree(counts: RowCounts, measured: Measured | None, leakage: Leakage | None) -> None:
    """``VerificationFailed`` unless the measured rows are the rows of the set."""
    text = measured.lengths.get("text") if measured else None
    if text is not None:
        for split, rows in counts.splits.items():
            found = text.splits[split].rows
            if found != rows:
                raise _wrong_counts(f"the lengths of {found:,} {split} rows of {rows:,}")
    if leakage is not None:
        if leakage.checked > counts.validation:
            raise _wrong_counts(
                f"{leakage.checked:,} validation rows of {counts.validation:,} were checked"
            )
        if leakage.rows > leakage.checked:
            raise _wrong_counts(
                f"{leakage.rows:,} leaks among the {leakage.checked:,} validation rows checked"
            )


def _wrong_counts(what: str) -> VerificationFailed:
    return VerificationFailed(f"the counts do not add up: {what}; nothing was published, run again")


def reject_reasons(shards: Sequence[Shard], counts: RowCounts) -> str:
    """The three most frequent reasons of rejects, each with the place of the first and a remedy."""
    examples: dict[str, str] = {}
    for shard in shards:
        for code, place in shard.examples.items():
            examples.setdefault(code, place)
    names = dict.fromkeys(name for shard in shards for name in shard.unknown_roles)
    reasons = []
    for code, count in Counter(counts.rejected.by_reason).most_common(3):
        remedy = remedy_of(code, names)
        reason = f"{code} {count:,} (first: {examples[code]})"
        reasons.append(f"{reason}: {remedy}" if remedy else reason)
    return "; ".join(reasons)
