"""The manifest's ``quality``, from the shards' records and from what was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from transforms.chat.token_limit import TRUNCATED
from transforms.leakage.contamination import OVERLAP
from transforms.leakage.near_prompts import Seen, leakage
from transforms.options import SIMILAR, QualityRules
from transforms.quality.row_stats import Measured
from transforms.records import Shard
from transforms.storage.manifest_parts import (
    Contamination,
    Duplicates,
    Leakage,
    Quality,
    RowCounts,
)

VERSION = 1

_MOST_FILES = 1000


def quality_summary(
    rules: QualityRules,
    counts: RowCounts,
    shards: Sequence[Shard],
    measured: Measured | None = None,
    leaks: Leakage | None = None,
) -> Quality:
    """All parts; those of ``measured`` are None where nothing was measured."""
    return Quality(
        version=VERSION,
        duplicates=_duplicates(rules, shards),
        contamination=_contamination(rules, counts.events),
        truncated=counts.events.get(TRUNCATED, 0),
        leakage=leaks or leakage(Seen({}, {})),
        lengths=measured.lengths if measured else None,
        balance=measured.balance if measured else None,
        tokenizer=measured.tokenizer if measured else None,
    )


def _duplicates(rules: QualityRules, shards: Sequence[Shard]) -> Duplicates:
    by_file: Counter[str] = Counter()
    totals = [0, 0]
    for shard in shards:
        for file, kinds in shard.duplicates.items():
            by_file[file] += sum(kinds)
            totals = [total + kind for total, kind in zip(totals, kinds, strict=True)]
    most = sorted(by_file.items(), key=lambda item: (-item[1], item[0]))[:_MOST_FILES]
    return Duplicates(
        mode=rules.dedup,
        exact=totals[0],
        near=totals[1],
        threshold=SIMILAR if rules.dedup == "near" else None,
        by_file=dict(most),
        other_files=len(by_file) - len(most),
    )


def _contamination(
    rules: QualityRules, note_counts: Mapping[str, int]
) -> tuple[Contamination, ...]:
    """For each benchmark the number of rows that contain a part of it."""
    return tuple(
        Contamination(
            benchmark=benchmark.name,
            prompts=benchmark.prompts,
            too_short=benchmark.too_short,
            rows=note_counts.get(OVERLAP + benchmark.name, 0),
            action=rules.contaminated,
        )
        for benchmark in rules.benchmarks
    )
