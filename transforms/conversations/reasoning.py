"""The reasoning rule: separates reasoning from the answer of an assistant's turn.

Reasoning is never part of a prompt.  A source has it in a column or a key of its own, under many
names, or inline before the answer, up to ``</think>``.  ``--think`` decides what the text includes,
with one meaning in all templates and for all turns:

    keep    the reasoning of each turn, in the template's form
    strip   no reasoning and no block for it
    empty   an empty block in each assistant's turn
    auto    what the model's own template includes (``chatml`` has no rule of its own: keep)
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
"""The keys of a turn that contain reasoning, in the order of preference."""

OPEN, CLOSE = "<think>", "</think>"
EMPTY_BLOCK = f"{OPEN}\n\n{CLOSE}\n\n"


class InlineReasoning(NamedTuple):
    """An assistant's text, split.

    Attributes:
        reasoning: "" where there is none.
        gap: the line breaks between reasoning and answer.
        answer: the rest of the text.
        closed: whether the text has a block of reasoning.
    """

    reasoning: str
    gap: str
    answer: str
    closed: bool


def split(text: str) -> InlineReasoning:
    """Splits inline reasoning from the answer.

    The opening tag may be missing: models that are prompted with it write only the closing tag.  A
    text without a closing tag, or with more than one of either, is all answer.
    """
    before, close, rest = text.partition(CLOSE)
    whole = InlineReasoning("", "", text, False)
    if not close or CLOSE in rest or OPEN in rest or before.count(OPEN) > 1:
        return whole
    lead, opened, inner = before.partition(OPEN)
    if opened and lead.strip():
        return whole  # there is text before the reasoning
    answer = rest.lstrip("\n")
    reasoning = inner if opened else before
    return InlineReasoning(reasoning.strip("\n"), rest[: len(rest) - len(answer)], answer, True)


def block(reasoning: str) -> str:
    """The block of reasoning before the answer, as Qwen3's template writes it."""
    return f"{OPEN}\n{reasoning}\n{CLOSE}\n\n"
