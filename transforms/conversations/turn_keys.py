"""The keys of a turn: which of them has its role, and which its text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transforms.conversations import reasoning
from transforms.conversations.cells import parsed

ROLE_KEYS = ("role", "from", "speaker", "sender", "author")
TEXT_KEYS = ("content", "value", "text", "message", "utterance")
"""Keys of a turn, in the order of preference."""


@dataclass(frozen=True)
class TurnKeys:
    """The keys of the role and the text of a turn; ``roles`` is names of roles -> role."""

    role: str
    text: str
    roles: Mapping[str, str]

    @property
    def all(self) -> tuple[str, ...]:
        """Every key that is read."""
        return tuple(dict.fromkeys((self.role, self.text, *reasoning.KEYS, "tool_calls", "name")))


def find_turn_keys(cell: Any) -> tuple[str, str] | None:
    """(role key, text key) of the objects of a conversation; None for another cell."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        cell = parsed(cell)
    if not isinstance(cell, list) or not cell or not all(isinstance(t, Mapping) for t in cell):
        return None
    present = {key for turn in cell for key in turn}
    role = next((key for key in ROLE_KEYS if key in present), None)
    text = next((key for key in TEXT_KEYS if key in present), None)
    return (role, text) if role and text else None


def turns_of_cell(cell: Any) -> list[Mapping[str, object]]:
    """The objects in a sample's cell: a list of turns, also as JSON text; [] where it is none."""
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            return []
    return [turn for turn in cell if isinstance(turn, Mapping)] if isinstance(cell, list) else []
