"""The mapping of pairs: which source columns become a row's prompt and its answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from transforms.conversations.column_parts import FIRST, ColumnPart
from transforms.conversations.field_mapping import FieldMapping, side_columns
from transforms.conversations.fields_grammar import pair_flag
from transforms.conversations.row_checks import RowChecks, find_marks
from transforms.errors import UsageError
from transforms.records import Column


@dataclass(frozen=True)
class PairMapping(FieldMapping):
    """The columns of the instruction and of the response, and what stands between joined ones.

    The first column of each is required; blank values of the others are left out of the join.

    Attributes:
        instruction, response: columns, or names of ``parts``.
        required: instruction columns, one of which must be filled, where that is not the first:
            the question beside a context, instruction or input.
        parts: the texts in columns of lists or objects.
        checks: columns that are looked at before a row is trained.
        reasoning, system: a column, or None.
        history: the column of earlier [question, answer] pairs, or None.
        inline: whether responses hold reasoning in ``<think>``.
        unpack: whether responses are JSON objects of reasoning and answer.
    """

    instruction: tuple[str, ...]
    response: tuple[str, ...]
    instruction_separator: str = "\n\n"
    response_separator: str = "\n\n"
    reasoning: str | None = None
    system: str | None = None
    history: str | None = None
    inline: bool = False
    unpack: bool = False
    required: tuple[str, ...] = ()
    parts: tuple[ColumnPart, ...] = ()
    checks: RowChecks = RowChecks()

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns, or names of ``parts``, that hold text, each once, instruction first."""
        more = (self.reasoning, self.system)
        names = (*self.instruction, *self.response, *(name for name in more if name))
        return tuple(dict.fromkeys(names))

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read, each once, instruction first."""
        sources = {part.name: part.column for part in self.parts}
        history = (self.history,) if self.history else ()
        names = (*(sources.get(name, name) for name in self.texts), *history, *self.checks.columns)
        return tuple(dict.fromkeys(names))

    @property
    def roles(self) -> dict[str, tuple[str, ...]]:
        named = {
            "prompt": self.instruction,
            "answer": self.response,
            "reasoning": (self.reasoning,) if self.reasoning else (),
            "system prompt": (self.system,) if self.system else (),
            "history": (self.history,) if self.history else (),
        }
        return {role: names for role, names in named.items() if names}

    @property
    def opened(self) -> tuple[ColumnPart, ...]:
        return self.parts

    def with_checks(self, checks: RowChecks) -> PairMapping:
        return replace(self, checks=checks)

    @property
    def makes_turns(self) -> bool:
        return self.has_reasoning or self.system is not None or self.history is not None

    @property
    def is_conversation(self) -> bool:
        return False

    @property
    def has_reasoning(self) -> bool:
        return self.reasoning is not None or self.inline or self.unpack

    @property
    def has_tools(self) -> bool:
        return False

    @property
    def tools(self) -> None:
        return None

    @property
    def flag(self) -> str:
        flag = pair_flag(self.instruction, self.response)
        return flag + side_columns(
            reasoning=self.reasoning, system=self.system, history=self.history
        )

    def describe(self) -> str:
        broken = len(self.instruction) > 1 and self.instruction_separator == "\n"
        notes = ["joined with a line break"] if broken else []
        lists = [part for part in self.parts if part.name in self.response]
        if any(part.several == FIRST for part in lists):
            notes.append("the first of each list")
        return f"{self.flag} ({'; '.join(notes)})" if notes else self.flag

    def flags(self) -> dict[str, object]:
        return {"unpack-json": self.unpack}

    def prompts_only(self) -> PairMapping:
        """The mapping whose response is the instruction, so that a blank one rejects no row."""
        return PairMapping(
            self.instruction,
            self.required[:1] or self.instruction[:1],
            instruction_separator=self.instruction_separator,
            required=self.required,
            parts=tuple(part for part in self.parts if part.name in self.instruction),
        )

    def unpacked(self) -> PairMapping:
        if self.reasoning:
            raise UsageError(
                f"--unpack-json opens {self.response[0]}, but the reasoning is the column "
                f"{self.reasoning}; name the columns with --fields"
            )
        return replace(self, unpack=True)

    def with_marks(
        self, columns: Sequence[Column], sample: Sequence[Mapping[str, object]], ignored: bool
    ) -> PairMapping:
        marks = () if ignored else find_marks(columns, sample, self.columns)
        return replace(self, checks=replace(self.checks, marks=marks))

    def without_tools(self) -> PairMapping:
        return self

    def narrowed(self, column: Column, sample: Iterable[Mapping[str, object]] = ()) -> Column:
        whole = {part.column for part in self.parts}
        is_text = column.name in self.texts and column.name not in whole
        return replace(column, text=True) if is_text else self.checks.narrowed(column)

    def roles_in(self, sample: Iterable[Mapping[str, object]]) -> dict[str, str | None]:
        return {}

    def to_json(self) -> dict[str, object]:
        made = asdict(self)
        del made["checks"]
        # What only some mappings have is left out where it is empty.
        unset = [name for name in ("required", "parts") if not made[name]]
        return {k: v for k, v in made.items() if k not in unset} | self.checks.to_json()
