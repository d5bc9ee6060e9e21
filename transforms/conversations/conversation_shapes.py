"""The shapes in which a cell holds a conversation, and how each becomes a list of turn objects.

turns         a list of objects with a role and a text
exchanges     a list of objects with both texts: ``{"human": …, "assistant": …}`` (ms-swift),
              ``{"system": …, "input": …, "output": …}`` (XTuner)
alternating   a list of texts, the user's first: UltraChat's ``data``
a transcript  one text, whose turns begin with markers; see ``transcripts``
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transforms.conversations.cells import InvalidConversation, opened
from transforms.conversations.transcripts import TRANSCRIPTS, find_form, turns_of_text

SHAPES = ("turns", "exchanges", "alternating", *TRANSCRIPTS)

_EXCHANGE_KEYS = {
    "system": ("system",),
    "user": ("human", "user", "input", "query", "question", "prompt", "instruction"),
    "assistant": ("assistant", "gpt", "output", "response", "answer", "bot", "ai"),
}
"""Role -> keys of an exchange, of which an object has at most one each."""


def find_shape(cell: Any) -> str | None:
    """The shape of a cell other than ``turns``; None where it has none of them."""
    value = opened(cell) if isinstance(cell, str) and cell.lstrip().startswith("[") else cell
    if isinstance(value, str) or (isinstance(cell, str) and not isinstance(value, list)):
        return find_form(cell)
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(item, str) and item.strip() for item in value) and len(value) > 1:
        return "alternating"
    exchanges = [_exchange(item) for item in value]
    if not all(exchanges):
        return None
    roles = {turn["role"] for turns in exchanges for turn in turns or ()}
    return "exchanges" if {"user", "assistant"} <= roles else None


def to_turns(cell: Any, shape: str) -> Any:
    """The cell as a list of turn objects; a cell of the shape ``turns`` as it is.

    Raises:
        InvalidConversation: the cell has another shape.
    """
    if shape == "turns" or cell is None or isinstance(cell, InvalidConversation):
        return cell
    if shape in TRANSCRIPTS:
        if not isinstance(cell, str):
            raise InvalidConversation("not-a-conversation")
        return turns_of_text(cell, shape)
    if not isinstance(cell, list):
        raise InvalidConversation("not-a-conversation")
    if shape == "alternating":
        if not all(isinstance(text, str) for text in cell):
            raise InvalidConversation("not-text")
        roles = ("user", "assistant")
        return [{"role": roles[n % 2], "content": text} for n, text in enumerate(cell)]
    return [turn for item in cell for turn in _exchange_turns(item)]


def shape_text(shape: str, role_key: str, text_key: str) -> str:
    """What the plan says of a shape."""
    if shape == "turns":
        return f"turns of {role_key}, {text_key}"
    if shape == "exchanges":
        return "objects with the texts of user and assistant"
    if shape == "alternating":
        return "texts that alternate, the user's first"
    return f"transcripts with the marker {shape!r}"


def _exchange(item: object) -> list[dict[str, object]] | None:
    """The turns of an object with the texts of user and assistant; None for another object."""
    if not isinstance(item, Mapping):
        return None
    turns: list[dict[str, object]] = []
    for role, names in _EXCHANGE_KEYS.items():
        texts = [item[name] for name in names if item.get(name) is not None]
        if len(texts) > 1:
            return None
        # An empty system prompt is none, as XTuner writes it.
        turns += [{"role": role, "content": text} for text in texts if text or role != "system"]
    return turns if any(turn["role"] != "system" for turn in turns) else None


def _exchange_turns(item: object) -> list[dict[str, object]]:
    turns = _exchange(item)
    if turns is None:
        raise InvalidConversation("not-a-conversation")
    return turns
