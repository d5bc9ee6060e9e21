"""Turns: the conversations of a batch in one canonical form, whatever form the source has.

role        index in ``roles.ROLES``
content     text; "" for none
reasoning   text of a key of its own; null for none
tool_calls  JSON: [{"type": "function", "function": {"name": …, "arguments": …}}]; null for none
name        the speaker or the tool; null for none
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.conversations.roles import ROLES

SYSTEM, USER, ASSISTANT, TOOL = range(len(ROLES))

FIELDS = ("role", "content", "reasoning", "tool_calls", "name")
TURN = pa.struct([("role", pa.int8()), *((name, pa.string()) for name in FIELDS[1:])])


class Turn(NamedTuple):
    """One turn; the fields are those of ``TURN``."""

    role: int
    content: str
    reasoning: str | None = None
    tool_calls: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class Turns:
    """The turns of some rows.

    ``offsets`` has one more entry than there are rows: row ``i`` has turns ``offsets[i]`` up to
    ``offsets[i + 1]`` of the arrays.  ``roles`` is int8; the other arrays are strings, and None
    where no turn has that field.
    """

    offsets: np.ndarray
    roles: np.ndarray
    content: pa.StringArray
    reasoning: pa.StringArray | None = None
    tool_calls: pa.StringArray | None = None
    name: pa.StringArray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def rows(self) -> np.ndarray:
        """The row of each turn."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def column(self) -> pa.ListArray:
        """The turns as one column of lists of ``TURN``, which can be filtered."""
        count = len(self.roles)
        fields = [pa.array(self.roles, pa.int8()), self.content]
        for optional in (self.reasoning, self.tool_calls, self.name):
            fields.append(pa.nulls(count, pa.string()) if optional is None else optional)
        turns = pa.StructArray.from_arrays(fields, names=list(FIELDS))
        return pa.ListArray.from_arrays(pa.array(self.offsets, pa.int32()), turns)

    @classmethod
    def of_column(cls, column: pa.ListArray) -> Turns:
        """The turns of a column that ``column`` made, or of a part of it."""
        turns = column.flatten()
        fields = turns.flatten()
        offsets = np.concatenate(([0], np.cumsum(column.value_lengths().to_numpy())))
        optional = [None if a.null_count == len(a) else a for a in fields[2:]]
        return cls(offsets, fields[0].to_numpy(), fields[1], *optional)

    @classmethod
    def of_rows(cls, rows: Sequence[Sequence[Turn]]) -> Turns:
        """The turns of rows given as lists."""
        offsets = np.concatenate(([0], np.cumsum([len(row) for row in rows], dtype=np.int64)))
        columns = list(zip(*(turn for row in rows for turn in row), strict=True))
        if not columns:
            return cls(offsets, np.array([], np.int8), pa.array([], pa.string()))
        optional = [
            pa.array(column, pa.string()) if any(c is not None for c in column) else None
            for column in columns[2:]
        ]
        roles = np.array(columns[0], np.int8)
        return cls(offsets, roles, pa.array(columns[1], pa.string()), *optional)

    def to_rows(self) -> list[list[Turn]]:
        """The rows as lists."""
        count = len(self.roles)
        optional = (
            [None] * count if array is None else array.to_pylist()
            for array in (self.reasoning, self.tool_calls, self.name)
        )
        turns = [
            Turn(*fields)
            for fields in zip(self.roles.tolist(), self.content.to_pylist(), *optional, strict=True)
        ]
        ends = self.offsets.tolist()
        return [turns[a:b] for a, b in zip(ends, ends[1:], strict=False)]

    def of(self, which: np.ndarray) -> Turns:
        """The turns of the rows that are marked (bool)."""
        return Turns.of_column(self.column().filter(pa.array(which)))

    def first(self, role: int) -> np.ndarray:
        """The index of each row's first turn with that role, -1 for none; int64."""
        return self._pick(np.flatnonzero(self.roles == role)[::-1])

    def last(self, role: int) -> np.ndarray:
        """The index of each row's last turn with that role, -1 for none; int64."""
        return self._pick(np.flatnonzero(self.roles == role))

    def _pick(self, indices: np.ndarray) -> np.ndarray:
        found = np.full(len(self), -1)
        found[self.rows[indices]] = indices  # the last assignment to a row stays
        return found

    def content_at(self, indices: np.ndarray) -> pa.StringArray:
        """The contents of these turns; "" for -1."""
        return pc.fill_null(self.content.take(pa.array(indices, mask=indices < 0)), "")
