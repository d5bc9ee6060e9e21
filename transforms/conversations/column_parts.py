"""Parts of columns: the text in a column of lists or objects, such as SQuAD's ``answers.text``.

A list of one is its item.  Of several different ones ``--list-answers`` says which is taken, else
the row is rejected (``several-answers``).  An object is its JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from transforms.conversations.cells import InvalidConversation, cells, text_cells
from transforms.errors import UsageError
from transforms.formats.json_parsing import Fault, scalar_text
from transforms.records import one_array

REJECT, FIRST, JOIN = "reject", "first", "join"
"""What happens to a list of several texts; ``JOIN`` puts a blank line between them."""

_BETWEEN = "\n\n"


@dataclass(frozen=True)
class ColumnPart:
    """A text that lies in a column of lists or objects.

    Attributes:
        name: how ``--fields`` names it: ``answers``, or ``answers.text``.
        column: the source column.
        key: the key of the objects, None for the whole cell.
        several: what happens to a list of several texts.
    """

    name: str
    column: str
    key: str | None = None
    several: str = REJECT

    def texts(self, column: pa.ChunkedArray) -> tuple[pa.StringArray, list[str | None]]:
        """(the text of each row, its reject code or None)."""
        made: list[str | None] = []
        codes: list[str | None] = []
        for cell in self._values(column):
            try:
                made.append(self.text(cell))
                codes.append(None)
            except InvalidConversation as unusable:
                made.append(None)
                codes.append(unusable.code)
        return pa.array(made, pa.string()), codes

    def _values(self, column: pa.ChunkedArray) -> Sequence[Any]:
        array = one_array(column)
        if not pa.types.is_string(array.type):
            return list(cells(column))
        # As JSON readers write it, null keys of an object included.
        return [cell if cell is None else _Json.of(cell) for cell in text_cells(array)]

    def code(self, cell: Any) -> str | None:
        """The reject code of a cell, None for one that has a text or nothing."""
        try:
            self.text(cell)
        except InvalidConversation as unusable:
            return unusable.code
        return None

    def text_or_none(self, cell: Any) -> str | None:
        """The text of a cell, None also for a cell that is rejected."""
        return None if self.code(cell) else self.text(cell)

    def text(self, cell: Any) -> str | None:
        """The text of one cell, None where it has none.

        Raises:
            InvalidConversation: the cell holds several texts, or none that can be one.
        """
        if isinstance(cell, InvalidConversation):
            raise cell
        value = cell.value if isinstance(cell, _Json) else cell
        if self.key is not None:
            if value is not None and not isinstance(value, Mapping):
                raise InvalidConversation("not-text")
            value = (value or {}).get(self.key)
        elif isinstance(value, Mapping):
            return cell.text if isinstance(cell, _Json) else _dumps(value)
        if isinstance(value, Mapping):
            return _dumps(value)
        if not isinstance(value, list):
            return _scalar(value)
        found = [text for item in value if (text := _scalar(item)) is not None]
        if self.several == JOIN:
            return _BETWEEN.join(text for text in found if text.strip())
        if self.several == REJECT and len(set(found)) > 1:
            raise InvalidConversation("several-answers")
        return found[0] if found else None


@dataclass(frozen=True)
class _Json:
    """A cell that a JSON reader wrote as text."""

    value: Any
    text: str

    @classmethod
    def of(cls, cell: str | InvalidConversation) -> _Json | InvalidConversation:
        if isinstance(cell, InvalidConversation):
            return cell
        try:
            return cls(json.loads(cell), cell)
        except (ValueError, RecursionError):
            return InvalidConversation("broken-json")


def _scalar(value: object) -> str | None:
    try:
        return scalar_text(value)
    except Fault as fault:
        raise InvalidConversation(fault.code) from fault


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def refuse_lists(parts: Sequence[ColumnPart], sample: Sequence[Mapping[str, Any]]) -> None:
    """Refuses a source whose sample has several answers to one prompt, of which none is chosen.

    Raises:
        UsageError: a list of the sample holds different texts.
    """
    for part in parts:
        codes = [part.code(row.get(part.column)) for row in sample]
        if several := codes.count("several-answers"):
            raise UsageError(
                f"{part.name} holds several answers in {several:,} of the first {len(sample):,} "
                f"rows, first in row {codes.index('several-answers') + 1:,}; a prompt has one "
                "answer. Take the first of each list: --list-answers first; or leave such rows "
                "out: --list-answers reject"
            )


def with_parts(table: pa.Table, parts: Sequence[ColumnPart]) -> tuple[pa.Table, list[str | None]]:
    """(the table with the parts as columns of text, each row's reject code or None)."""
    codes: list[str | None] = [None] * table.num_rows
    made = {}
    for part in parts:
        made[part.name], own = part.texts(table[part.column])
        codes = [code or other for code, other in zip(codes, own, strict=True)]
    sources = {part.column for part in parts}
    table = table.select([name for name in table.column_names if name not in sources])
    for name, texts in made.items():
        table = table.append_column(name, texts)
    return table, codes
