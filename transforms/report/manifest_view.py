"""Reading a manifest part by part: each knows its place, and what it must be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from transforms.errors import VerificationFailed
from transforms.report.elements import DISTANCE, Figure
from transforms.storage.names import MANIFEST

_MOST = 2**63


@dataclass(frozen=True)
class ManifestView:
    """A part of the manifest of the set at ``where``, at the JSON pointer ``at``.

    A part that is missing or null is false.  Those that read it as something raise
    ``VerificationFailed`` where it is something else: a manifest may come from elsewhere.
    """

    value: Any
    where: str
    at: str = ""

    def __bool__(self) -> bool:
        return self.value is not None

    def part(self, *keys: str | int) -> ManifestView:
        """What stands there under these keys; missing where one of them is not."""
        found = self
        for key in keys:
            inner = found.value
            step = str(key).replace("~", "~0").replace("/", "~1")
            at = f"{found.at}/{step}"
            if inner is None:
                found = ManifestView(None, self.where, at)
            elif isinstance(key, int):
                found = ManifestView(inner[key], self.where, at)
            elif isinstance(inner, Mapping):
                found = ManifestView(inner.get(key), self.where, at)
            else:
                raise found.unreadable("an object")
        return found

    def count(self) -> Figure:
        """A number of things."""
        if type(self.value) is not int or not 0 <= self.value < _MOST:
            raise self.unreadable("a count")
        return Figure(self.value, self.at)

    def number(self, kind: str = DISTANCE) -> Figure:
        """A finite number from 0 on."""
        if type(self.value) not in (int, float) or not 0 <= self.value < _MOST:
            raise self.unreadable("a number")
        return Figure(self.value, self.at, kind)

    def text(self) -> str:
        """A text."""
        if not isinstance(self.value, str):
            raise self.unreadable("a text")
        return self.value

    def texts(self) -> list[str]:
        """A list of texts."""
        return [one.text() for one in self.entries()]

    def entries(self, most: int | None = None) -> list[ManifestView]:
        """The parts of a list, not more than ``most``; none where it is missing."""
        if self.value is None:
            return []
        if not isinstance(self.value, (list, tuple)):
            raise self.unreadable("a list")
        return [self.part(number) for number in range(len(self.value[:most]))]

    def items(self) -> Iterator[tuple[str, ManifestView]]:
        """(key, part) of an object, in the order of the keys; none where it is missing."""
        if self.value is None:
            return
        if not isinstance(self.value, Mapping):
            raise self.unreadable("an object")
        for key in sorted(self.value):
            yield key, self.part(key)

    def unreadable(self, expected: str) -> VerificationFailed:
        """The error that this part is not as expected."""
        return VerificationFailed(
            f"{MANIFEST} of {self.where} is damaged or foreign: expected {expected} at "
            f"{self.at or '/'}, found {str(self.value)[:100]!r}; prepare or fetch the set again"
        )
