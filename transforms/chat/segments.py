"""A text in pieces, for people to look at: what the template wrote, the prompt, the response."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from transforms.chat import control_tokens

TEMPLATE, PROMPT, RESPONSE = "template", "prompt", "response"
"""Kinds of pieces: constant parts and control tokens; the assistant's last turn is the response."""


@dataclass(frozen=True)
class Markers:
    """What a template writes by itself, each "" where it is not known.

    ``user`` and ``assistant`` stand before their parts, ``control_tokens`` anywhere.
    """

    user: str = ""
    assistant: str = ""
    control_tokens: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Those that are known."""
        return tuple(mark for mark in (self.user, self.assistant, *self.control_tokens) if mark)


def split_text(text: str, marks: Markers) -> Iterator[tuple[str, str]]:
    """(kind, piece) of a text, cut at its marks; together the pieces are the text."""
    marker = marks.assistant
    cut = text.rfind(marker) + len(marker) if marker and marker in text else 0
    yield from _pieces(text[:cut], marks, PROMPT)
    yield from _pieces(text[cut:], marks, RESPONSE)


def _pieces(text: str, marks: Markers, kind: str) -> Iterator[tuple[str, str]]:
    left = 0
    for start, stop in control_tokens.spans(text, marks.all):
        if text[left:start]:
            yield kind, text[left:start]
        yield TEMPLATE, text[start:stop]
        left = stop
    if text[left:]:
        yield kind, text[left:]
