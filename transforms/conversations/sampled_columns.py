"""The columns of a source with what the sample shows of them; every rule of detection asks it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from transforms.conversations.column_roles import NAMES, Role, fold_name, known_role
from transforms.conversations.fields_grammar import quoted
from transforms.records import Column

Sample = Sequence[Mapping[str, object]]
"""Some rows of the source, column name -> value."""

TEXT = "string"
"""The Arrow type name of a text column in a ``Column``."""

NUMBERS = ("int64", "double", "bool", "decimal")
"""Types of columns whose cells become text as JSON writes them."""

NESTED = ("list", "struct")
"""Types of columns whose cells have parts."""


_SHOWN_COLUMNS = 50

_NAN = ("nan", "none", "null", "n/a")


def nan_notes(names: Sequence[str], sample: Sample) -> list[str]:
    """Of columns that are text, those that say "nan" and the like in most of their cells."""
    notes = []
    for name in names:
        cells = [row.get(name) for row in sample]
        found = [c for c in cells if isinstance(c, str) and c.strip().lower() in _NAN]
        if 2 * len(found) > len(cells):
            notes.append(
                f"the text {found[0]!r} is most of the column {name!r} and stays as it is; write "
                "null where there is no value"
            )
    return notes


@dataclass(frozen=True)
class SampledColumns:
    """The columns of a source, and some of its rows."""

    columns: Sequence[Column]
    sample: Sample

    @cached_property
    def types(self) -> dict[str, str]:
        """Column -> its type."""
        return {column.name: column.type for column in self.columns}

    @cached_property
    def _roles(self) -> dict[Role, list[str]]:
        found: dict[Role, list[str]] = {}
        for column in self.columns:
            role = known_role(column.name)
            if role is not None:
                found.setdefault(role, []).append(column.name)
        return found

    def of_role(self, role: Role) -> list[str]:
        """The columns whose names have a role, in the order of the table of roles."""
        order = [fold_name(name) for name in NAMES[role]]
        found = self._roles.get(role, [])
        return sorted(found, key=lambda name: (order.index(fold_name(name)), name))

    def filled(self, role: Role) -> list[str]:
        """The columns of a role that hold something in the sample."""
        return [name for name in self.of_role(role) if not self.sample or self.values(name)]

    def values(self, name: str) -> list[object]:
        """The cells of a column that are not null, empty or blank."""
        cells = (row.get(name) for row in self.sample)
        return [
            c
            for c in cells
            if c not in (None, [], {}) and not (isinstance(c, str) and not c.strip())
        ]

    def texts(self, name: str) -> list[str]:
        """The cells of a column that are text and not blank."""
        return [cell for cell in self.values(name) if isinstance(cell, str)]

    def has_text(self, name: str) -> bool:
        """Can a column of text be used?  One that is blank in the whole sample cannot."""
        return not self.sample or bool(self.texts(name))

    def is_scalar(self, name: str) -> bool:
        """Do the cells of a column become text by themselves?"""
        kind = self.types[name].split("128")[0].split("256")[0]
        if kind == "mixed":
            return all(isinstance(cell, (str, bool, int, float)) for cell in self.values(name))
        return kind in (TEXT, *NUMBERS)

    @property
    def found(self) -> str:
        """The columns with their types, in words; of many the first."""
        shown = [f"{quoted(c.name)} ({c.type})" for c in self.columns[:_SHOWN_COLUMNS]]
        more = len(self.columns) - len(shown)
        return ", ".join(shown) + (f" and {more:,} more" if more else "") or "no columns"
