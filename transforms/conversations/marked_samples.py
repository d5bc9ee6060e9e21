"""Refuses a source of conversations whose sample has turns that are not to be trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from transforms.conversations.cells import InvalidConversation, opened
from transforms.conversations.conversation_shapes import to_turns
from transforms.conversations.field_mapping import TurnMapping
from transforms.conversations.parse_turns import parse_cell
from transforms.conversations.training_marks import has_marks, mark_of
from transforms.conversations.transcripts import TRANSCRIPTS
from transforms.errors import UsageError

IGNORE = "--ignore-training-marks"


def check_marks(mapping: TurnMapping, sample: Sequence[Mapping[str, object]]) -> None:
    """``UsageError`` where a mark excludes an assistant's turn of the sample from training."""
    found = _most_frequent_mark(mapping, sample)
    if found:
        raise UsageError(
            f"{found}. The prepared text has no place for such a mark, so that a trainer would "
            "learn these answers. Remove them from the source, or train on them all the same: "
            f"{IGNORE}"
        )


def ignored_marks(mapping: TurnMapping, sample: Sequence[Mapping[str, object]]) -> str:
    """What ``--ignore-training-marks`` trains on all the same, for the plan; "" for nothing."""
    found = _most_frequent_mark(mapping, sample)
    return f"{found}; they are trained on all the same ({IGNORE})" if found else ""


def _most_frequent_mark(mapping: TurnMapping, sample: Sequence[Mapping[str, object]]) -> str:
    """The mark that most rows of the sample have, and in how many; "" where none has one."""
    found: Counter[str] = Counter()
    for row in sample:
        found.update(_marks_of(mapping, row))
    if not found:
        return ""
    (what, count), *_ = found.most_common(1)
    return (
        f"{what} marks answers that are not to be trained on, in {count:,} of the first "
        f"{len(sample):,} rows"
    )


def _marks_of(mapping: TurnMapping, row: Mapping[str, object]) -> set[str]:
    """What excludes answers of a row: keys of its turns, and columns beside them."""
    try:
        lists = [_objects(row.get(name), mapping.shape) for name in mapping.turns]
        parts = [parse_cell(cell, mapping.keys) for cell in lists if cell is not None]
    except InvalidConversation:
        return set()  # the row is rejected
    turns = [turn for part in parts for turn in part]
    objects = [item for cell in lists if isinstance(cell, list) for item in cell]
    pairs = zip(objects, turns, strict=False)
    keys = {
        key for item, turn in pairs if has_marks([[item]], [turn], ()) and (key := mark_of(item))
    }
    masks = {name for name in mapping.masks if has_marks((), turns, [_opened(row.get(name))])}
    return {
        *(f"the key {key!r} of turns in the column {'+'.join(mapping.turns)!r}" for key in keys),
        *(f"the column {name!r}" for name in masks),
    }


def _objects(cell: object, shape: str) -> object:
    return to_turns(cell if shape in TRANSCRIPTS else _opened(cell), shape)


def _opened(cell: object) -> object:
    return opened(cell) if isinstance(cell, str) else cell
