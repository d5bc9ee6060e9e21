"""Cuts a text into segments of template, prompt and response, to show it to people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from transforms.chat import control_tokens

TEMPLATE, PROMPT, RESPONSE = "template", "prompt", "response"
"""Kinds of segments.  Template: constant strings and control tokens; response: the last turn."""


@dataclass(frozen=True)
class Markers:
    """Constant strings of a template, "" where unknown.

    ``user`` and ``assistant`` precede a turn; ``control_tokens`` may be anywhere.
    """

    user: str = ""
    assistant: str = ""
    control_tokens: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """All that are known."""
        return tuple(
            marker for marker in (self.user, self.assistant, *self.control_tokens) if marker
        )


def split_text(text: str, markers: Markers) -> Iterator[tuple[str, str]]:
    """(kind, segment) of a text, cut at its markers; the segments joined are the text."""
    marker = markers.assistant
    cut = text.rfind(marker) + len(marker) if marker and marker in text else 0
    yield from _segments(text[:cut], markers, PROMPT)
    yield from _segments(text[cut:], markers, RESPONSE)


def _segments(text: str, markers: Markers, kind: str) -> Iterator[tuple[str, str]]:
    left = 0
    for start, stop in control_tokens.spans(text, markers.all):
        if text[left:start]:
            yield kind, text[left:start]
        yield TEMPLATE, text[start:stop]
        left = stop
    if text[left:]:
        yield kind, text[left:]
