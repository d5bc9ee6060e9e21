"""The texts of placed turns: by Arrow where the template has a known form, else by Jinja.

Rows with tools, in a batch of which Arrow renders the others, go to the sandbox alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.chat.jinja_renderer import JinjaRenderer, RowRenderer
from transforms.chat.template import ChatFormat, ChatTemplate
from transforms.conversations.turns import TOOL, Turns
from transforms.records import Reject


@dataclass
class Findings:
    """What rendering finds out about rows; each renderer adds to it.

    Attributes:
        bad: row -> why it is rejected.
        lost: for each row whether its reasoning is missing in the text; bool.
        offered: for each row whether tools that it offers are missing; bool.
    """

    bad: dict[int, Reject]
    lost: np.ndarray
    offered: np.ndarray


@dataclass(frozen=True)
class TextRenderer:
    """Renders rows of turns in a chat format.

    Attributes:
        chat: the template and how it is used.
        sandbox: makes what renders rows that Arrow cannot; called only if there are any.
        with_prompts: whether to find the end of each prompt.
    """

    chat: ChatFormat
    sandbox: Callable[[], RowRenderer]
    with_prompts: bool

    def render(
        self, turns: Turns, tools: pa.StringArray | None, found: Findings
    ) -> tuple[pa.StringArray, np.ndarray | None]:
        """The text of each row, and the bytes of each that are prompt (int), if requested.

        The text of a row in ``found.bad`` is undefined.
        """
        template = self.chat.template
        plain = _are_plain(turns, tools, template)
        if template.arrow_renderer is not None and plain.all():
            return self._by_arrow(turns, found)
        if not plain.any():
            return self._by_jinja(turns, tools, found)
        order = np.argsort(np.concatenate((np.flatnonzero(plain), np.flatnonzero(~plain))))
        easy, hard = _Part.of(found, plain), _Part.of(found, ~plain)
        texts, prompts = self._by_arrow(turns.of(plain), easy.found)
        own_tools = None if tools is None else tools.filter(pa.array(~plain))
        more, more_prompts = self._by_jinja(turns.of(~plain), own_tools, hard.found)
        for part in (easy, hard):
            part.add_to(found)
        joined = pa.concat_arrays([texts, more]).take(pa.array(order))
        if more_prompts is None:
            return joined, None
        return joined, np.concatenate((prompts, more_prompts))[order]

    def _by_arrow(self, turns: Turns, found: Findings) -> tuple[pa.StringArray, np.ndarray]:
        texts, prompts = self.chat.render_turns(turns)
        if turns.reasoning is None or self.chat.think not in ("auto", "keep"):
            return texts, prompts
        hidden = np.flatnonzero(self.chat.hidden_reasoning(turns))
        thoughts = turns.reasoning.take(pa.array(hidden)).to_pylist()
        for row, thought in zip(turns.rows[hidden].tolist(), thoughts, strict=True):
            # Other turns may say the same.
            if not found.lost[row] and thought.strip() not in texts[row].as_py():
                found.lost[row] = True
        return texts, prompts

    def _by_jinja(
        self, turns: Turns, tools: pa.StringArray | None, found: Findings
    ) -> tuple[pa.StringArray, np.ndarray | None]:
        jinja = JinjaRenderer(turns, tools, self.chat, self.sandbox())
        texts = jinja.texts(found.bad, found.lost, found.offered)
        return texts, jinja.prompts(texts, found.bad) if self.with_prompts else None


def _are_plain(turns: Turns, tools: pa.StringArray | None, template: ChatTemplate) -> np.ndarray:
    """For each row whether Arrow can render it; bool."""
    if template.arrow_renderer is None:
        return np.zeros(len(turns), bool)
    plain = np.ones(len(turns), bool)
    if tools is not None:
        plain &= pc.is_null(tools).to_numpy(zero_copy_only=False)
    if template.tools:  # if it cannot render them, the rows are rejected already
        uses = turns.roles == TOOL
        if turns.tool_calls is not None:
            uses = uses | pc.is_valid(turns.tool_calls).to_numpy(zero_copy_only=False)
        plain[turns.rows[uses]] = False
    return plain


@dataclass(frozen=True)
class _Part:
    """The findings on some rows of a batch, which are numbered from 0 again."""

    rows: np.ndarray
    found: Findings

    @classmethod
    def of(cls, whole: Findings, which: np.ndarray) -> _Part:
        rows = np.flatnonzero(which)
        numbers = {row: number for number, row in enumerate(rows.tolist())}
        bad = {numbers[row]: why for row, why in whole.bad.items() if row in numbers}
        return cls(rows, Findings(bad, whole.lost[rows], whole.offered[rows]))

    def add_to(self, whole: Findings) -> None:
        whole.bad.update({int(self.rows[row]): why for row, why in self.found.bad.items()})
        whole.lost[self.rows] = self.found.lost
        whole.offered[self.rows] = self.found.offered
