"""The keys of a turn: which of them has its role, which its text, and which change the text.

The plan fixes the keys that most turns of the sample have.  A turn that lacks one of them is read
by the other names that are known, so that rows of one source may differ, and a key that the sample
did not show is read like one that it showed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transforms.conversations import reasoning
from transforms.conversations.cells import InvalidConversation, opened
from transforms.conversations.training_marks import TURN_MARKS

ROLE_KEYS = ("role", "from", "speaker", "sender", "author")
TEXT_KEYS = ("content", "value", "text", "message", "utterance")
"""Keys of a turn, in the order of preference."""

CALL_KEYS = ("tool_calls", "function_call")
"""Keys of a turn's tool calls; ``function_call`` is OpenAI's older name, for a single call."""


@dataclass(frozen=True)
class TurnKeys:
    """The keys of the role and the text of a turn.

    Attributes:
        role, text: the keys that are tried first.
        roles: names of roles -> role.
        shape: how a cell holds its turns, one of ``conversation_shapes.SHAPES``.
        marks: whether an assistant's turn that is marked as not to be trained on rejects its row.
    """

    role: str
    text: str
    roles: Mapping[str, str]
    shape: str = "turns"
    marks: bool = True

    @property
    def texts(self) -> tuple[str, ...]:
        """The keys of a turn that hold text, where they hold anything."""
        return tuple(dict.fromkeys((self.role, self.text, *reasoning.KEYS, "tool_calls", "name")))

    @property
    def usual(self) -> tuple[str, ...]:
        """Those that a turn may well have though the sample shows none."""
        return tuple(dict.fromkeys((self.role, self.text, *reasoning.KEYS[:3], "name")))

    @property
    def all(self) -> tuple[str, ...]:
        """Every key that is read."""
        marks = TURN_MARKS if self.marks else ()
        more = (*CALL_KEYS, *ROLE_KEYS, *TEXT_KEYS, *marks)
        return tuple(dict.fromkeys((*self.texts, *more)))

    @property
    def in_order(self) -> tuple[str, ...]:
        """Every key that is read, the usual ones first."""
        return tuple(dict.fromkeys((*self.usual, *self.all)))


def first_value(turn: Mapping[str, object], key: str, others: Sequence[str]) -> Any:
    """The value of a key; where it is null, of the first of the others that is not."""
    value = turn.get(key)
    if value is None:
        value = next((turn[other] for other in others if turn.get(other) is not None), None)
    return value


def role_name(turn: Mapping[str, object], key: str) -> Any:
    """The name of a turn's role, under ``key`` or another known name of it."""
    return first_value(turn, key, ROLE_KEYS)


def find_turn_keys(cell: Any) -> tuple[str, str] | None:
    """(role key, text key) of the objects of a conversation; None for another cell."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        cell = opened(cell)
    if not isinstance(cell, list) or not cell or not all(isinstance(t, Mapping) for t in cell):
        return None
    filled = {key for turn in cell for key, value in turn.items() if value is not None}
    present = {key for turn in cell for key in turn}

    def first(names: tuple[str, ...]) -> str | None:
        # Arrow gives each turn the keys of all turns, those of others with null.
        return next((key for keys in (filled, present) for key in names if key in keys), None)

    role, text = first(ROLE_KEYS), first(TEXT_KEYS)
    return (role, text) if role and text else None


def turns_of_cell(cell: Any) -> list[Mapping[str, object]]:
    """The objects in a sample's cell: a list of turns, also as text; [] where it is none."""
    if isinstance(cell, str):
        cell = opened(cell)
    if isinstance(cell, InvalidConversation) or not isinstance(cell, list):
        return []
    return [turn for turn in cell if isinstance(turn, Mapping)]
