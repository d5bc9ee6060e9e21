"""The quality rules of a plan: what is looked for, and which rows it costs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SIMILAR = 0.8
"""Texts are near duplicates if that share of their word 3-grams is the same (Jaccard)."""

SHINGLE_WORDS = 3
OVERLAP_WORDS = 13
"""Words in a piece that a row must not share with a benchmark, as in the GPT-3 paper (2020)."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark whose prompts are looked for.

    ``prompts`` counts them, ``too_short`` those with fewer words than can be looked for;
    ``sha256`` is of what workers compare with.  ``revision`` is the commit of one from the hub.
    """

    name: str
    prompts: int
    too_short: int
    sha256: str
    revision: str | None = None

    @property
    def flag(self) -> str:
        """What ``--decontaminate`` takes for it, at the same commit."""
        return self.name + (f",revision={self.revision}" if self.revision else "")


@dataclass(frozen=True)
class TokenRule:
    """How tokens are counted, and what happens to rows that have more than ``max_tokens``.

    ``tokenizer`` is what the user named, ``sha256`` is of its JSON.  ``max_tokens`` of None sets
    no limit.
    """

    tokenizer: str
    sha256: str
    max_tokens: int | None = None
    too_long: str = "reject"


@dataclass(frozen=True)
class QualityRules:
    """What decides rows: part of the plan.

    ``dedup`` is off, exact or near; ``contaminated`` is report or drop; ``balance`` names source
    columns whose values are compared between the splits.  ``leakage_sample_rate`` is the share of
    prompts, by hash, whose validation rows are compared with training; 0 compares none.
    """

    dedup: str = "exact"
    benchmarks: tuple[Benchmark, ...] = ()
    contaminated: str = "report"
    tokens: TokenRule | None = None
    balance: tuple[str, ...] = ()
    leakage_sample_rate: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """The plan's ``quality``, where the sample rate is called ``looked_at``."""
        rules = asdict(self)
        rules["looked_at"] = rules.pop("leakage_sample_rate")
        return rules
