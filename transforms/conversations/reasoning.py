"""The reasoning rule: which part of an assistant's turn is reasoning, and what the text has of it.

Reasoning is never part of a prompt.  It comes as a column or a key of its own under many names, or
inline before the answer, up to ``</think>``.  ``--think`` says what the text holds, with one
meaning in all templates and for all turns, also those before the last:

    keep    each turn's reasoning, in the template's form
    strip   none, and no block for it
    empty   a block without reasoning in each assistant's turn
    auto    what the model's own template makes of it (``chatml`` has none of its own: keep)
"""

from __future__ import annotations

from typing import NamedTuple

NAMES = (
    "reasoning_content",
    "reasoning",
    "thinking",
    "thought",
    "thoughts",
    "cot",
    "complex_cot",
    "chain_of_thought",
    "rationale",
)
"""Columns that hold reasoning; compared in lower case."""

KEYS = NAMES
"""The keys of a turn that are read, as they stand, in the order of preference."""

OPEN, CLOSE = "<think>", "</think>"
EMPTY_BLOCK = f"{OPEN}\n\n{CLOSE}\n\n"


class InlineReasoning(NamedTuple):
    """An assistant's text in its parts; ``reasoning`` is "" where there is none.

    ``gap`` is the line breaks between them; ``closed`` tells whether there was a block at all.
    """

    reasoning: str
    gap: str
    answer: str
    closed: bool


def split(text: str) -> InlineReasoning:
    """Inline reasoning and the answer.

    Models that are prompted with the opening tag write only the closing one.  A text that has no
    closing tag, or more than one of either, is no reasoning and answer: all of it is the answer.
    """
    before, close, rest = text.partition(CLOSE)
    whole = InlineReasoning("", "", text, False)
    if not close or CLOSE in rest or OPEN in rest or before.count(OPEN) > 1:
        return whole
    lead, opened, inner = before.partition(OPEN)
    if opened and lead.strip():
        return whole  # something was said before the reasoning
    answer = rest.lstrip("\n")
    reasoning = inner if opened else before
    return InlineReasoning(reasoning.strip("\n"), rest[: len(rest) - len(answer)], answer, True)


def block(reasoning: str) -> str:
    """Reasoning as it stands before the answer, as Qwen3's template writes it."""
    return f"{OPEN}\n{reasoning}\n{CLOSE}\n\n"
