"""All figures of a set's quality, as the manifest's ``quality`` holds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from transforms.chat.token_limit import TRUNCATED
from transforms.leakage.contamination import OVERLAP
from transforms.leakage.near_prompts import Seen, leakage
from transforms.options import SIMILAR, QualityRules
from transforms.records import Shard

VERSION = 1


_MOST_FILES = 1000


def quality_summary(
    rules: QualityRules,
    counts: Mapping[str, Any],
    shards: Sequence[Shard],
    found: Mapping[str, Any],
) -> dict[str, Any]:
    """The manifest's ``quality``: what shards tell, and what was measured (``found``)."""
    note_counts = counts["events"]
    return {
        "version": VERSION,
        "duplicates": _duplicates(rules, shards),
        "contamination": _contamination(rules, note_counts),
        "truncated": note_counts.get(TRUNCATED, 0),
        "leakage": leakage(Seen({}, {})),
        **found,
    }


def _duplicates(rules: QualityRules, shards: Sequence[Shard]) -> dict[str, Any]:
    by_file: Counter[str] = Counter()
    totals = [0, 0]
    for shard in shards:
        for file, kinds in shard.duplicates.items():
            by_file[file] += sum(kinds)
            totals = [total + kind for total, kind in zip(totals, kinds, strict=True)]
    most = sorted(by_file.items(), key=lambda item: (-item[1], item[0]))[:_MOST_FILES]
    return {
        "mode": rules.dedup,
        "exact": totals[0],
        "near": totals[1],
        "threshold": SIMILAR if rules.dedup == "near" else None,
        "by_file": dict(most),
        "other_files": len(by_file) - len(most),
    }


def _contamination(rules: QualityRules, note_counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """For each benchmark how many rows hold a piece of it."""
    return [
        {
            "benchmark": benchmark.name,
            "prompts": benchmark.prompts,
            "too_short": benchmark.too_short,
            "rows": note_counts.get(OVERLAP + benchmark.name, 0),
            "action": rules.contaminated,
        }
        for benchmark in rules.benchmarks
    ]
