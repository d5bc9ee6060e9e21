"""Field mappings: which source columns become a row's question and answer, or its turns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from transforms.conversations.parse_turns import TurnKeys
from transforms.conversations.roles import ALIASES


@dataclass(frozen=True)
class FieldMapping:
    """The columns of the instruction and of the response, and what stands between joined ones.

    The first column of each is required; blank values of the others are left out of the join.
    ``reasoning``, ``system`` and ``history`` (earlier [question, answer] pairs) name a column, or
    are None.  ``inline`` tells that responses hold reasoning in ``<think>``; ``unpack`` that they
    are JSON objects of reasoning and answer.
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

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read, each once, instruction first."""
        more = (self.reasoning, self.system, self.history)
        names = (*self.instruction, *self.response, *(name for name in more if name))
        return tuple(dict.fromkeys(names))

    @property
    def makes_turns(self) -> bool:
        """Is there more to a row than a question and an answer?"""
        more = (self.reasoning, self.system, self.history, self.inline, self.unpack)
        return any(part not in (None, False) for part in more)

    @property
    def reasons(self) -> bool:
        """Is reasoning kept apart from the answers?"""
        return self.reasoning is not None or self.inline or self.unpack

    @property
    def flag(self) -> str:
        """The mapping as the ``--fields`` flag would say it."""
        flag = f"instruction={'+'.join(self.instruction)},response={'+'.join(self.response)}"
        for name in ("reasoning", "system", "history"):
            column = getattr(self, name)
            flag += f",{name}={column}" if column else ""
        return flag

    def describe(self) -> str:
        """The flag, and what it cannot say."""
        broken = len(self.instruction) > 1 and self.instruction_separator == "\n"
        return f"{self.flag} (joined with a line break)" if broken else self.flag


@dataclass(frozen=True)
class TurnMapping:
    """The columns that hold lists of turns, one behind the other, and where a turn has what.

    ``role_key`` and ``text_key`` are keys of a turn; ``system`` and ``tools`` name side columns, or
    are None.  ``aliases`` is the table of role names.  ``reasons`` and ``calls`` tell whether the
    sample has turns with reasoning, or with tool calls.
    """

    turns: tuple[str, ...]
    role_key: str
    text_key: str
    system: str | None = None
    tools: str | None = None
    reasons: bool = False
    calls: bool = False
    aliases: Mapping[str, str] = field(default_factory=lambda: dict(ALIASES))

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read, each once."""
        more = (name for name in (self.system, self.tools) if name)
        return tuple(dict.fromkeys((*self.turns, *more)))

    @property
    def makes_turns(self) -> bool:
        """Yes."""
        return True

    @property
    def keys(self) -> TurnKeys:
        """Where a turn has its role and its text."""
        return TurnKeys(self.role_key, self.text_key, self.aliases)

    @property
    def flag(self) -> str:
        """The mapping as the ``--fields`` flag would say it."""
        flag = f"messages={'+'.join(self.turns)}"
        for name in ("system", "tools"):
            column = getattr(self, name)
            flag += f",{name}={column}" if column else ""
        return flag

    def describe(self) -> str:
        """The flag, and what it cannot say."""
        return f"{self.flag} (turns of {self.role_key}, {self.text_key})"


AnyMapping = FieldMapping | TurnMapping


@dataclass(frozen=True)
class FieldChoice:
    """A mapping with why it was chosen, for the plan to print."""

    mapping: AnyMapping
    rule: str
    unused_text: tuple[str, ...]
    hint: str = ""
