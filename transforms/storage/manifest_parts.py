"""The parts of a manifest as frozen values, with the keys of its JSON as names.

A part that older sets of format 1 lack is None, or empty; keys that no part names are ignored.
Counts are whole numbers from 0 to below 2**63, shares and distances are finite and not negative.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Number = Count | Annotated[float, Meta(ge=0, le=2.0**63)]


class RejectedRows(Struct, frozen=True):
    """Rejected rows, in all and by reason code."""

    total: Count
    by_reason: dict[str, Count] = {}


class RowCounts(Struct, frozen=True, kw_only=True):
    """What became of the source rows: ``read`` is the sum of the other four.

    ``events`` counts rows that are kept and that the user should know of, by note.
    """

    read: Count
    train: Count
    validation: Count
    rejected: RejectedRows
    duplicates: Count
    events: dict[str, Count] = {}

    @property
    def kept(self) -> int:
        """The rows of both splits."""
        return self.train + self.validation

    @property
    def splits(self) -> dict[str, int]:
        """The rows of each split."""
        return {"train": self.train, "validation": self.validation}


# ---- quality


class Duplicates(Struct, frozen=True, kw_only=True):
    """Rows that were removed as duplicates; ``by_file`` names the files with the most of them."""

    mode: str
    exact: Count = 0
    near: Count = 0
    threshold: Number | None = None
    by_file: dict[str, Count] | None = None
    other_files: Count | None = None


class Contamination(Struct, frozen=True, kw_only=True):
    """The rows that contain a part of one benchmark."""

    benchmark: str
    prompts: Count
    too_short: Count
    rows: Count
    action: str


class LeakExample(Struct, frozen=True, kw_only=True):
    """A validation prompt and the nearest prompt of train."""

    similarity: Number
    validation: str
    train: str


class Leakage(Struct, frozen=True, kw_only=True):
    """Validation rows that were checked, and those with a near duplicate in train.

    ``by_prompt`` is True where rows with equal prompts are kept in one split.
    """

    checked: Count
    rows: Count = 0
    exact: Count = 0
    threshold: Number | None = None
    examples: tuple[LeakExample, ...] | None = None
    by_prompt: bool | UnsetType | None = UNSET


class SplitLengths(Struct, frozen=True, kw_only=True):
    """The lengths of one split; ``quantiles`` by share of the rows, as "0.95"."""

    rows: Count
    min: Count | None = None
    max: Count | None = None
    total: Count | None = None
    quantiles: dict[str, Count | None] | None = None


class Histogram(Struct, frozen=True, kw_only=True):
    """Rows of each split by length: bin ``i`` is from ``edges[i]`` to below ``edges[i + 1]``."""

    edges: tuple[Count, ...]
    train: tuple[Count, ...]
    validation: tuple[Count, ...]

    def __post_init__(self) -> None:
        """Raises ``ValueError``, which msgspec reports with the place, unless the lists fit."""
        if not len(self.train) == len(self.validation) == len(self.edges) - 1 > 0:
            raise ValueError(
                f"expected one edge more than counts, found {len(self.edges)} edges, "
                f"{len(self.train)} train and {len(self.validation)} validation counts"
            )

    @property
    def splits(self) -> dict[str, tuple[int, ...]]:
        """The bins of each split."""
        return {"train": self.train, "validation": self.validation}


class Lengths(Struct, frozen=True, kw_only=True):
    """The lengths of one column; ``above`` counts the longer rows by split and limit."""

    unit: str
    train: SplitLengths
    validation: SplitLengths
    histogram: Histogram | None = None
    above: dict[str, dict[str, Count]] | UnsetType | None = UNSET

    @property
    def splits(self) -> dict[str, SplitLengths]:
        """The lengths of each split."""
        return {"train": self.train, "validation": self.validation}


class Tokenizer(Struct, frozen=True, kw_only=True):
    """The tokenizer that counted tokens, and the limit that it was asked to keep."""

    name: str
    sha256: str
    max_tokens: Count | None = None
    too_long: str | None = None


class BalanceValue(Struct, frozen=True):
    """Rows of each split with one value."""

    value: str
    train: Count
    validation: Count


class Balance(Struct, frozen=True, kw_only=True):
    """How the splits differ in one property; ``distance`` and ``limit`` are None if unknown."""

    what: str
    measure: str
    distance: Number | None
    limit: Number | None
    verdict: str
    values: tuple[BalanceValue, ...] = ()


class Quality(Struct, frozen=True, kw_only=True):
    """What was measured; ``lengths`` by column, tokens among them."""

    version: Count | None = None
    duplicates: Duplicates | None = None
    contamination: tuple[Contamination, ...] | None = None
    truncated: Count | None = None
    leakage: Leakage | None = None
    lengths: dict[str, Lengths] | None = None
    balance: tuple[Balance, ...] | None = None
    tokenizer: Tokenizer | None = None


# ---- how the set was made


class SourceFormat(Struct, frozen=True):
    """The format of the source files."""

    name: str


class SourceFile(Struct, frozen=True):
    """A file of the source."""

    name: str
    bytes: Count


class Source(Struct, frozen=True, kw_only=True):
    """Where the rows come from."""

    kind: str | None = None
    config: str | None = None
    split: str | None = None
    format: SourceFormat | None = None
    files: tuple[SourceFile, ...] | None = None


ColumnNames = str | tuple[str, ...] | None


class Fields(Struct, frozen=True, kw_only=True):
    """The columns that were chosen, and the rule that chose them; ``guess`` if no name did."""

    rule: str
    guess: bool = False
    instruction: ColumnNames = None
    response: ColumnNames = None
    turns: ColumnNames = None
    role_key: ColumnNames = None
    text_key: ColumnNames = None
    reasoning: ColumnNames = None
    system: ColumnNames = None
    history: ColumnNames = None
    tools: ColumnNames = None


class Template(Struct, frozen=True, kw_only=True):
    """The chat template, so far as the report shows it."""

    version: Count | None = None
    system_prompt: str | None = None
    think: str | None = None
    control_token_policy: str | None = None
    control_tokens: tuple[str, ...] | None = None


class SplitBy(Struct, frozen=True, kw_only=True):
    """The split rule; ``key`` is a column, None for the instruction."""

    version: Count | None = None
    key: str | None = None
    seed: int
    val_size: Number


class PlanFacts(Struct, frozen=True, kw_only=True):
    """The parts of a plan that the report shows; the work units are not among them."""

    source: Source | None = None
    columns: dict[str, str] | None = None
    fields: Fields | None = None
    template: Template | None = None
    split: SplitBy | None = None
    max_samples: Count | None = None


class SetShape(Struct, frozen=True):
    """The columns of the shards, as ``transforms.chat.output_columns.OutputColumns``."""

    names: tuple[str, ...]
    reasoning: bool = False
    tools: bool = False


class Training(Struct, frozen=True, kw_only=True):
    """What a trainer needs to know of the text.

    ``notes`` say what trainers learn from the columns.  ``snippets`` are settings by trainer;
    ``instead`` says of a trainer without any how to prepare a set for it.
    """

    template: str | None = None
    template_sha256: str | None = None
    user_marker: str | None = None
    assistant_marker: str | None = None
    eos_token: str | None = None
    bos_in_text: bool = False
    notes: tuple[str, ...] | None = None
    snippets: dict[str, str] | None = None
    instead: dict[str, str] | None = None


class Verdict(Struct, frozen=True):
    """The result of one gate: ``found`` against ``limit``.

    ``result`` is passed, failed or warning; ``sentence`` says what to do, "" where it passed.
    """

    gate: str
    limit: int | float | None
    found: int | float
    result: str
    sentence: str


class Run(Struct, frozen=True, kw_only=True):
    """What may differ between two runs of a plan; ``started`` and ``finished`` are ISO 8601.

    ``source_content`` is a hash of the bytes of local source files (``formats.source_content``),
    of which the plan has names, sizes and times alone.
    """

    started: str | UnsetType | None = UNSET
    runner: str | UnsetType | None = UNSET
    versions: dict[str, str] | UnsetType | None = UNSET
    source_content: str | UnsetType | None = UNSET
    gates: tuple[Verdict, ...] | UnsetType | None = UNSET
    finished: object = UNSET
    seconds: float | UnsetType | None = UNSET
