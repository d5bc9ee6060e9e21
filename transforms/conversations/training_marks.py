"""Marks that say "do not train on this": which turns, and which rows, have one.

A trainer that knows such a mark leaves the loss of the turn out.  The prepared text has no place
for it, so that training on the text would teach what the mark excludes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from transforms.conversations.column_roles import Role, known_role
from transforms.conversations.turns import ASSISTANT, Turn
from transforms.records import Column

TURN_MARKS = ("weight", "train", "trainable", "loss_mask", "loss")
"""Keys of a turn: OpenAI's and Axolotl's ``weight``, Axolotl's ``train``, ms-swift's ``loss``; a
value that is zero or false excludes the turn."""

_TURN_MARKS = frozenset(TURN_MARKS)

MARKED = "marked-untrained"
"""The reject code of a row with such a mark."""


_READABLE = ("int64", "double", "bool", "list", "string")


def find_masks(
    columns: Sequence[Column], sample: Sequence[Mapping[str, object]], with_label: bool
) -> tuple[str, ...]:
    """The columns beside turns whose cells are marks; ``with_label``: also KTO's ``label``."""
    roles = (Role.MARK, Role.LABEL) if with_label else (Role.MARK,)
    names = [c.name for c in columns if c.type in _READABLE and known_role(c.name) in roles]
    return tuple(name for name in names if _holds_marks(row.get(name) for row in sample))


def _holds_marks(cells: Iterable[object]) -> bool:
    values = [cell for cell in cells if cell is not None]
    marks = [mark for value in values for mark in (value if isinstance(value, list) else [value])]
    return bool(marks) and all(isinstance(mark, (bool, int, float)) for mark in marks)


def is_off(value: object) -> bool:
    """Does the value of a mark exclude its turn?  A list does where all of its numbers do."""
    if isinstance(value, str):
        return value.strip().lower() in ("0", "0.0", "false")
    if isinstance(value, list):
        return bool(value) and all(map(is_off, value))
    return isinstance(value, (bool, int, float)) and not value


def has_marks(
    cells: Sequence[Sequence[Mapping[str, object]]], turns: Sequence[Turn], masks: Sequence[object]
) -> bool:
    """Is one of the assistant's turns, or the whole row, excluded from training?

    Args:
        cells: the lists of turn objects, in the order of ``turns``.
        turns: the same turns, parsed.
        masks: the cells of columns beside the turns: a list with a mark for each turn, or a mark
            of the row.  A list of another length excludes the row if it has any zero.
    """
    objects = [item for cell in cells for item in cell]
    if not masks and all(map(_TURN_MARKS.isdisjoint, objects)):
        return False
    assistants = [turn.role == ASSISTANT for turn in turns]
    for mask in masks:
        fits = isinstance(mask, list) and len(mask) == len(assistants)
        own = assistants if fits else None
        marks = mask if isinstance(mask, list) else [mask]
        if any(is_off(mark) for n, mark in enumerate(marks) if own is None or own[n]):
            return True
    pairs = zip(objects, assistants, strict=False)
    return any(own and mark_of(item) is not None for item, own in pairs)


def mark_of(turn: Mapping[str, object]) -> str | None:
    """The key by which a turn is excluded; None where it is not."""
    return next((key for key in TURN_MARKS if key in turn and is_off(turn[key])), None)
