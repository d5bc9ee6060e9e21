"""Field mappings: which source columns become a row's question and answer, or its turns.

``PairMapping`` (in ``pair_mapping``) or ``TurnMapping``: everything that depends on which of the
two a source has is a method here.  How rows are made of the columns is in ``normalize_rows``, the
one place that asks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from transforms.conversations.column_parts import ColumnPart
from transforms.conversations.column_roles import Role
from transforms.conversations.conversation_shapes import shape_text
from transforms.conversations.fields_grammar import joined, quoted
from transforms.conversations.roles import ALIASES, role_of
from transforms.conversations.row_checks import RowChecks, find_late, find_watched
from transforms.conversations.training_marks import find_masks
from transforms.conversations.turn_keys import TurnKeys, role_name, turns_of_cell
from transforms.errors import UsageError
from transforms.records import Column


class FieldMapping(ABC):
    """The source columns of a row, and what each is."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Every column that is read, each once."""

    @property
    @abstractmethod
    def makes_turns(self) -> bool:
        """Does a row become turns, rather than one question and one answer?"""

    @property
    @abstractmethod
    def is_conversation(self) -> bool:
        """Does the source hold turns?  The system prompt of such rows is theirs alone."""

    @property
    @abstractmethod
    def has_reasoning(self) -> bool:
        """Is reasoning kept apart from the answers?"""

    @property
    @abstractmethod
    def has_tools(self) -> bool:
        """Do rows have tool calls, or offer tools?"""

    @property
    @abstractmethod
    def tools(self) -> str | None:
        """The column of the tools that a row offers."""

    @property
    @abstractmethod
    def flag(self) -> str:
        """The mapping as a value of ``--fields``."""

    @property
    @abstractmethod
    def checks(self) -> RowChecks:
        """The columns that are looked at before a row is trained."""

    @abstractmethod
    def with_checks(self, checks: RowChecks) -> FieldMapping:
        """The mapping with other checks."""

    def with_watched(
        self,
        columns: Sequence[Column],
        sample: Sequence[Mapping[str, object]],
        ignore_marks: bool = False,
    ) -> FieldMapping:
        """The mapping that watches columns which hold nothing in the sample."""
        watched = find_watched(columns, sample, self.columns, ignore_marks)
        return self.with_checks(replace(self.checks, watched=watched))

    def with_late(self, columns: Sequence[Column], ignored: Sequence[Role]) -> FieldMapping:
        """The mapping that watches the keys of a JSON source which its sample does not have."""
        late = find_late(columns, self.columns, ignored)
        return self.with_checks(replace(self.checks, late=late))

    @property
    @abstractmethod
    def roles(self) -> dict[str, tuple[str, ...]]:
        """What the columns become, in words for a person -> columns, or parts of columns."""

    @abstractmethod
    def describe(self) -> str:
        """The flag, and what it cannot express."""

    @abstractmethod
    def flags(self) -> dict[str, object]:
        """Further flags that this kind of mapping takes, with their values."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns whose cells are text as they stand, other than turns."""
        return ()

    @property
    def opened(self) -> tuple[ColumnPart, ...]:
        """The texts that lie in columns of lists or objects, other than turns."""
        return ()

    @abstractmethod
    def prompts_only(self) -> FieldMapping:
        """The mapping that reads no more than the prompts need."""

    @abstractmethod
    def unpacked(self) -> FieldMapping:
        """The mapping with ``--unpack-json``; raises ``UsageError`` where that cannot be."""

    @abstractmethod
    def with_marks(
        self, columns: Sequence[Column], sample: Sequence[Mapping[str, object]], ignored: bool
    ) -> FieldMapping:
        """The mapping with the marks that say which rows to train on, or without if ``ignored``.

        Raises:
            UsageError: a mark beside a pair excludes a row of the sample.
        """

    @abstractmethod
    def without_tools(self) -> FieldMapping:
        """The mapping without the column of tools."""

    @abstractmethod
    def narrowed(self, column: Column, sample: Iterable[Mapping[str, object]] = ()) -> Column:
        """The column with the keys that are read of its objects, typed by the sample."""

    @abstractmethod
    def roles_in(self, sample: Iterable[Mapping[str, object]]) -> dict[str, str | None]:
        """Names of roles in a sample -> role, None for an unknown one; {} without turns."""

    @abstractmethod
    def to_json(self) -> dict[str, object]:
        """The mapping in a plan; its keys are part of the plan's digest."""


@dataclass(frozen=True)
class TurnMapping(FieldMapping):
    """The columns that hold lists of turns, and the keys of a turn.

    Attributes:
        turns: columns, whose lists follow each other.
        role_key, text_key: keys of a turn.
        system, tools: a side column, or None.
        has_reasoning, has_tool_calls: whether the sample has such turns.
        aliases: names of roles -> role.
        shape: how a cell holds its turns, one of ``conversation_shapes.SHAPES``.
        either: whether a row has its turns in one of the columns, rather than in all of them.
        masks: columns beside the turns with marks that say which turns to train on.
        marks: whether marks that exclude a turn from training reject its row.
        checks: columns that are looked at before a row is trained.
    """

    turns: tuple[str, ...]
    role_key: str
    text_key: str
    system: str | None = None
    tools: str | None = None
    has_reasoning: bool = False
    has_tool_calls: bool = False
    aliases: Mapping[str, str] = field(default_factory=lambda: dict(ALIASES))
    shape: str = "turns"
    either: bool = False
    masks: tuple[str, ...] = ()
    marks: bool = True
    checks: RowChecks = RowChecks()

    @property
    def columns(self) -> tuple[str, ...]:
        more = (name for name in (self.system, self.tools, *self.masks) if name)
        return tuple(dict.fromkeys((*self.turns, *more, *self.checks.columns)))

    @property
    def roles(self) -> dict[str, tuple[str, ...]]:
        named = {
            "turns": self.turns,
            "system prompt": (self.system,) if self.system else (),
            "tools": (self.tools,) if self.tools else (),
        }
        return {role: names for role, names in named.items() if names}

    def with_checks(self, checks: RowChecks) -> TurnMapping:
        return replace(self, checks=checks)

    @property
    def makes_turns(self) -> bool:
        return True

    @property
    def is_conversation(self) -> bool:
        return True

    @property
    def has_tools(self) -> bool:
        return self.has_tool_calls or self.tools is not None

    @property
    def keys(self) -> TurnKeys:
        """Where a turn has its role and its text."""
        return TurnKeys(self.role_key, self.text_key, self.aliases, self.shape, self.marks)

    @property
    def flag(self) -> str:
        return f"messages={joined(self.turns)}" + side_columns(system=self.system, tools=self.tools)

    def describe(self) -> str:
        kind = "one column a row, " if self.either else ""
        return f"{self.flag} ({kind}{shape_text(self.shape, self.role_key, self.text_key)})"

    def flags(self) -> dict[str, object]:
        more = {name: role for name, role in self.aliases.items() if ALIASES.get(name) != role}
        return {"role": [f"{name}={role}" for name, role in more.items()]}

    def prompts_only(self) -> TurnMapping:
        return replace(self, system=None, tools=None, masks=(), marks=False, checks=RowChecks())

    def unpacked(self) -> TurnMapping:
        raise UsageError(f"--unpack-json is for responses, but {self.turns[0]} holds turns")

    def with_marks(
        self, columns: Sequence[Column], sample: Sequence[Mapping[str, object]], ignored: bool
    ) -> TurnMapping:
        if ignored:
            return replace(self, masks=(), marks=False)
        others = [column for column in columns if column.name not in self.columns]
        is_pair = tuple(map(str.lower, self.turns)) == ("prompt", "completion")
        return replace(self, masks=find_masks(others, sample, with_label=is_pair))

    def without_tools(self) -> TurnMapping:
        return replace(self, tools=None)

    def narrowed(self, column: Column, sample: Iterable[Mapping[str, object]] = ()) -> Column:
        if column.name not in self.turns or column.type != "list" or self.shape != "turns":
            return self.checks.narrowed(column)
        turns = [turn for row in sample for turn in turns_of_cell(row.get(column.name))]
        usual, kinds = self.keys.usual, {}
        for key in self.keys.all:
            if key not in usual:
                kinds[key] = _kind_of(turn.get(key) for turn in turns)
        texts = (*usual, *(key for key, kind in kinds.items() if kind == "string"))
        others = tuple((key, kind) for key, kind in kinds.items() if kind != "string")
        return replace(column, keys=texts, other_keys=others)

    def roles_in(self, sample: Iterable[Mapping[str, object]]) -> dict[str, str | None]:
        if self.shape != "turns":
            return {}
        cells = (row.get(name) for row in sample for name in self.turns)
        turns = (turn for cell in cells for turn in turns_of_cell(cell))
        names = (str(role_name(turn, self.role_key)) for turn in turns)
        return {name: role_of(name, self.aliases) for name in names}

    def to_json(self) -> dict[str, object]:
        keys = {"has_reasoning": "reasons", "has_tool_calls": "calls"}
        usual = {"shape": "turns", "either": False, "masks": (), "marks": True}
        return {
            keys.get(name, name): value
            for name, value in asdict(self).items()
            if name != "checks" and (name not in usual or value != usual[name])
        } | self.checks.to_json()


def _kind_of(values: Iterable[object]) -> str:
    """The type of a key's values in JSON; ``null`` for none, and for types that Arrow lacks."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {str}:
        return "string"
    if kinds == {bool}:
        return "bool"
    return "double" if kinds and kinds <= {int, float} else "null"


def side_columns(**columns: str | None) -> str:
    """The columns beside a pair or turns as the end of a ``--fields`` value."""
    return "".join(f",{name}={quoted(column)}" for name, column in columns.items() if column)


GUESSED = "The columns are a guess, as their names do not say what they hold"


@dataclass(frozen=True)
class FieldChoice:
    """A mapping with why it was chosen, for the plan to print.

    Attributes:
        guess: whether it was chosen by the columns' cells rather than by their names.
    """

    mapping: FieldMapping
    rule: str
    unused_text: tuple[str, ...]
    hint: str = ""
    guess: bool = False

    @property
    def guess_note(self) -> str:
        """What a person must know of a guess; "" for a choice by names."""
        if not self.guess:
            return ""
        return f"{GUESSED}: {self.mapping.describe()}. --fields says which are meant"
