"""The vectorised renderer: templates that are plain concatenation, rendered with Arrow alone.

A turn's text is its role's opening, the content, and its role's end; a row's text is its turns'.
Whatever is rendered here renders to the same bytes by the template's Jinja (a property of the
tests), some ten times slower.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.conversations.roles import ROLES
from transforms.conversations.turns import ASSISTANT, SYSTEM, USER, Turns

_Texts = TypeVar("_Texts", pa.StringArray, pa.ChunkedArray)


@dataclass(frozen=True)
class ArrowRenderer:
    """The constant parts of a text.

    Attributes:
        opening: role -> what stands before the content of its turns.
        end: role -> what stands behind it.
        between: behind each turn but the last one.
        trimmed: roles whose content loses the white space around it.
        default_system: the content of a system turn that the template adds where a row has none
            of its own; None where it adds none.
        joins_system: the system turn becomes the beginning of the user's first one; this stands
            between them.  None where it is a turn of its own.
    """

    opening: Mapping[str, str]
    end: Mapping[str, str]
    between: str = ""
    trimmed: tuple[str, ...] = ()
    default_system: str | None = None
    joins_system: str | None = None

    def render(self, turns: Turns, bos: str) -> tuple[pa.StringArray, np.ndarray]:
        """The text of each row, and how many of its bytes stand before the last turn's content.

        Every row has a turn.
        """
        starts, ends = turns.offsets[:-1], turns.offsets[1:] - 1
        kind = turns.roles.astype(np.int64)
        is_first = np.zeros(len(kind), bool)
        is_first[starts] = True
        is_last = np.zeros(len(kind), bool)
        is_last[ends] = True
        joined = np.zeros(len(kind), bool)
        if self.joins_system is not None:
            joined[1:] = (turns.roles[:-1] == SYSTEM) & ~is_first[1:]
        before, behind = map(pa.array, self._constants(bos))
        count = len(ROLES)
        opening = before.take(pa.array(kind + count * is_first + 2 * count * joined))
        end = behind.take(pa.array(kind + count * is_last))
        content = self._content(turns)
        spoken = pc.binary_join_element_wise(opening, content, end, "")
        offsets = pa.array(turns.offsets, pa.int32())
        texts = pc.binary_join(pa.ListArray.from_arrays(offsets, spoken), "")
        # Lengths are taken, not texts: the last turns are half of all.
        completion = pc.add(_bytes(content), _bytes(end)).take(pa.array(ends))
        return texts, pc.subtract(_bytes(texts), completion).to_numpy()

    def _content(self, turns: Turns) -> pa.StringArray:
        if not self.trimmed:
            return turns.content
        trimmed = pc.utf8_trim_whitespace(turns.content)
        if len(self.trimmed) == len(ROLES):
            return trimmed
        which = np.isin(turns.roles, [ROLES.index(role) for role in self.trimmed])
        return pc.if_else(pa.array(which), trimmed, turns.content)

    def _constants(self, bos: str) -> tuple[list[str], list[str]]:
        """What stands before and behind a turn's content, for each role: before a later turn, the
        first one, and one that a system turn is joined to; behind an earlier turn, and the last.
        """
        opening = [self.opening.get(role, "") for role in ROLES]
        end = [self.end.get(role, "") for role in ROLES]
        default = ""
        if self.default_system is not None:
            default = opening[SYSTEM] + self.default_system + end[SYSTEM] + self.between
        first = [bos + ("" if n == SYSTEM else default) + text for n, text in enumerate(opening)]
        then = [text + self.between for text in end]
        if self.joins_system is not None:
            first[SYSTEM] = bos + opening[USER]
            then[SYSTEM] = self.joins_system
        return [*opening, *first, *([""] * len(ROLES))], [*then, *end]

    def pair_delimiters(self, system: str | None, bos: str) -> tuple[str, str, str]:
        """What stands before the instruction of a pair, between it and the response, at the end."""
        count = len(ROLES)
        before, behind = self._constants(bos)
        start = before[count + USER]
        if system is not None:
            prompt = system.strip() if "system" in self.trimmed else system
            start = before[count + SYSTEM] + prompt + behind[SYSTEM]
            start += before[USER] if self.joins_system is None else ""
        return start, behind[USER] + before[ASSISTANT], behind[count + ASSISTANT]

    def render_pairs(
        self, instruction: _Texts, response: _Texts, system: str | None, bos: str
    ) -> _Texts:
        """The texts of rows that are one question and one answer; the chunks of the result are
        those of the arguments."""
        before, between, end = self.pair_delimiters(system, bos)
        instruction = self.as_rendered("user", instruction)
        response = self.as_rendered("assistant", response)
        return pc.binary_join_element_wise(before, instruction, between, response, end, "")

    def as_rendered(self, role: str, texts: _Texts) -> _Texts:
        """The contents of a role's turns as they stand in a text."""
        return pc.utf8_trim_whitespace(texts) if role in self.trimmed else texts


def _bytes(texts: pa.StringArray) -> pa.Int32Array:
    return pc.binary_length(texts)
