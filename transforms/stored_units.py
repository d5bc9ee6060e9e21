"""Units that travel as files beside the output, where they are too many for the graph."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass

from transforms.records import Piece, Unit
from transforms.storage.store import Folder, required_work

MAX_INLINE = 1000
"""More units than this travel as files: runners limit the size of a graph (Flink to 10 MB)."""


@dataclass(frozen=True)
class StoredUnits:
    """``count`` units in files of ``MAX_INLINE`` units each."""

    folder: Folder
    count: int

    @classmethod
    def store(cls, folder: Folder, units: Sequence[Unit]) -> StoredUnits:
        """Writes the units where the workers can read them."""
        stored = cls(folder, len(units))
        for part in stored.parts:
            some = units[part * MAX_INLINE : (part + 1) * MAX_INLINE]
            rows = [[unit.number, [astuple(piece) for piece in unit.pieces]] for unit in some]
            folder.put_work(_name(part), json.dumps(rows).encode())
        return stored

    @property
    def parts(self) -> range:
        """The numbers of the files."""
        return range(-(-self.count // MAX_INLINE))

    def load(self, part: int) -> Iterator[Unit]:
        """The units of one file."""
        for number, pieces in json.loads(required_work(self.folder, _name(part))):
            yield Unit(number, tuple(Piece(*piece) for piece in pieces))


def _name(part: int) -> str:
    return f"units-{part:05d}.json"
