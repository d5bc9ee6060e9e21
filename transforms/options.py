"""Options that rules need: the quality rules of a plan, and what is said about text files."""

from __future__ import annotations

from dataclasses import asdict, dataclass

SIMILAR = 0.8
"""Texts are near duplicates from this Jaccard similarity of their word 3-grams on."""

SHINGLE_WORDS = 3
OVERLAP_WORDS = 13
"""The length of an n-gram that a row must not share with a benchmark, as in the GPT-3 paper
(2020)."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark whose prompts are searched for.

    Attributes:
        name: the value of ``--decontaminate``, without a revision.
        prompts: the number of prompts.
        too_short: the number of prompts with too few words to search for.
        sha256: of the work file that workers compare rows with.
        revision: the commit of a benchmark from the hub.
    """

    name: str
    prompts: int
    too_short: int
    sha256: str
    revision: str | None = None

    @property
    def flag(self) -> str:
        """The value of ``--decontaminate`` that names it, at the same commit."""
        return self.name + (f",revision={self.revision}" if self.revision else "")


@dataclass(frozen=True)
class TokenRule:
    """How tokens are counted, and what happens to texts with more than ``max_tokens``.

    Attributes:
        tokenizer: the name that the user gave.
        sha256: of the tokenizer's JSON.
        max_tokens: None for no limit.
        too_long: reject, truncate-response or raise.
    """

    tokenizer: str
    sha256: str
    max_tokens: int | None = None
    too_long: str = "reject"


@dataclass(frozen=True)
class QualityRules:
    """The quality rules, which are part of the plan.

    Attributes:
        dedup: off, exact or near.
        benchmarks: benchmarks to search for.
        contaminated: report or drop.
        tokens: how tokens are counted, or None.
        balance: source columns whose values are compared between the splits.
        leakage_sample_rate: the share of prompts, chosen by hash, whose validation rows are
            compared with train; 0 compares none.
    """

    dedup: str = "exact"
    benchmarks: tuple[Benchmark, ...] = ()
    contaminated: str = "report"
    tokens: TokenRule | None = None
    balance: tuple[str, ...] = ()
    leakage_sample_rate: float = 1.0

    def to_json(self) -> dict[str, object]:
        """The plan's ``quality``, in which the sample rate is called ``looked_at``."""
        rules = asdict(self)
        rules["looked_at"] = rules.pop("leakage_sample_rate")
        return rules


@dataclass(frozen=True, slots=True)
class TextFlags:
    """What a user says about the text files of a source; None where a reader finds it out.

    Attributes:
        delimiter: what separates the cells of a CSV file, one ASCII character.
        encoding: of a CSV file, as Python names it.
        quotes: ``doubled``, ``backslash`` or ``none``, see ``formats/dialects``.
        split: the key of a JSON object with several arrays of rows.
    """

    delimiter: str | None = None
    encoding: str | None = None
    quotes: str | None = None
    split: str | None = None

    @property
    def of_csv(self) -> bool:
        """Does a user say anything about CSV files?"""
        return (self.delimiter, self.encoding, self.quotes) != (None, None, None)


NO_FLAGS = TextFlags()
