"""The Jinja renderer: renders rows in the sandbox and checks their texts.

A template is not trusted: each turn must be in the text, in order, and a foreign template must give
the expected number of control tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from transforms.chat import control_tokens
from transforms.chat.sandbox import Refusal
from transforms.chat.template import ChatFormat, ChatTemplate
from transforms.conversations.roles import ROLES
from transforms.conversations.turns import SYSTEM, Turn, Turns
from transforms.records import Reject


class RowRenderer(Protocol):
    """Renders rows of template variables, as ``sandbox.Sandbox`` does."""

    def render(self, rows: Sequence[Mapping[str, object]]) -> list[str | Refusal]: ...


class JinjaRenderer:
    """Renders the rows of a batch, and their prompts."""

    def __init__(
        self,
        turns: Turns,
        tools: pa.StringArray | None,
        chat: ChatFormat,
        renderer: RowRenderer,
    ) -> None:
        self._chat, self._renderer = chat, renderer
        self._rows = turns.to_rows()
        self._tools: list[Any] = [None] * len(self._rows)
        if tools is not None:
            self._tools = [None if t is None else json.loads(t) for t in tools.to_pylist()]

    def texts(
        self, bad: dict[int, Reject], lost: np.ndarray, offered: np.ndarray
    ) -> pa.StringArray:
        """Renders each row.

        Args:
            bad: rows to leave out -> why; rows that fail are added.
            lost: for each row whether its reasoning is missing in the text (bool); updated.
            offered: for each row whether tools that it offers are missing (bool); updated.

        Returns:
            The text of each row; "" for those in ``bad``.
        """
        left = self._left(bad)
        texts: list[str] = [""] * len(self._rows)
        for row, text in zip(left, self._render(left), strict=True):
            if isinstance(text, Refusal):
                bad[row] = Reject("template-refused", text.reason)
                continue
            texts[row] = self._trimmed(text)
            dropped, _ = _walk(self._rows[row], text)
            if dropped:
                bad[row] = Reject("turn-dropped", f"not in the text: {dropped}")
                continue
            if self._chat.think in ("auto", "keep") and self._reasoning_lost(row, text):
                lost[row] = True
            names = (tool["function"]["name"] for tool in self._tools[row] or ())
            offered[row] |= any(name not in text for name in names)
        if self._chat.template.foreign and self._chat.control_tokens != "keep":
            self._count_tokens(texts, bad)
        return pa.array(texts, pa.string())

    def prompts(self, texts: pa.StringArray, bad: dict[int, Reject]) -> np.ndarray:
        """The number of bytes of each text before the assistant's last turn (int64)."""
        left = self._left(bad)
        prompts = np.zeros(len(self._rows), np.int64)
        marker = self._chat.template.assistant_marker
        rendered = self._render(left, lambda turns: turns[:-1], add_generation_prompt=True)
        for row, start in zip(left, rendered, strict=True):
            text = texts[row].as_py()
            prompt = "" if isinstance(start, Refusal) else self._without_bos(start)
            # A template may write a turn differently once another turn follows it.
            if not prompt or not text.startswith(prompt):
                _, end = _walk(self._rows[row][:-1], text)
                at = text.find(marker, end) if marker else -1
                if at < 0:
                    bad[row] = Reject("prompt-not-found", "the prompt is not how the text begins")
                    continue
                prompt = text[: at + len(marker)]
            prompts[row] = len(prompt.encode())
        return prompts

    def _left(self, bad: Mapping[int, Reject]) -> list[int]:
        return [row for row in range(len(self._rows)) if row not in bad]

    def _render(
        self,
        rows: Sequence[int],
        change: Callable[[list[Turn]], list[Turn]] = lambda turns: turns,
        add_generation_prompt: bool = False,
    ) -> list[str | Refusal]:
        variables = []
        for row in rows:
            turns = change(self._rows[row])
            variables.append(
                {
                    "messages": [_message(turn, self._chat.template) for turn in turns],
                    "tools": self._tools[row],
                    "add_generation_prompt": add_generation_prompt,
                    "think": self._chat.think,
                }
            )
        return self._renderer.render(variables)

    def _without_bos(self, text: str) -> str:
        bos = self._chat.template.bos
        return text if self._chat.keep_bos or not bos else text.removeprefix(bos)

    def _trimmed(self, text: str) -> str:
        """The text without the BOS that a trainer adds, and without anything after the EOS."""
        text, end = self._without_bos(text), self._chat.template.eos
        bare = text.rstrip()
        return bare if end and bare.endswith(end) else text

    def _reasoning_lost(self, row: int, text: str) -> bool:
        reasoning = (turn.reasoning for turn in self._rows[row] if turn.reasoning)
        return any(part.strip() not in text for part in reasoning)

    def _count_tokens(self, texts: list[str], bad: dict[int, Reject]) -> None:
        """Rejects rows whose contents form a token once a foreign template joins them."""
        tokens = self._chat.template.control_tokens
        if not tokens:
            return
        left = self._left(bad)
        for row, plain in zip(left, self._render(left, _harmless), strict=True):
            expected = "" if isinstance(plain, Refusal) else self._trimmed(plain)
            found = control_tokens.count(texts[row], tokens)
            if found != control_tokens.count(expected, tokens):
                why = "content and template make a control token together, or hide one"
                bad[row] = Reject("control-token", why)


def quoted(value: object) -> str:
    """The value as JSON, as the templates' ``tojson`` writes it."""
    return json.dumps(value, ensure_ascii=False)


def _harmless(turns: list[Turn]) -> list[Turn]:
    """The turns with one word as content, reasoning and arguments."""

    def plain(text: str) -> str:
        return "Mm." if text.strip() else text

    return [
        turn._replace(
            content=plain(turn.content),
            reasoning=turn.reasoning and plain(turn.reasoning),
            tool_calls=turn.tool_calls and _without_arguments(turn.tool_calls),
        )
        for turn in turns
    ]


def _walk(turns: Sequence[Turn], text: str) -> tuple[str, int]:
    """Searches a text for its turns, in order.

    A system turn may be anywhere, since some templates move it.

    Returns:
        The beginning of the first turn that is missing, or "", and the place where the last turn
        ends.
    """
    at = 0
    for turn in turns:
        content = turn.content.strip()
        if content:
            found, end = _find_content(text, content, at)
            if turn.role != SYSTEM:
                at = end
            elif not found:
                found, _ = _find_content(text, content, 0)
            if not found:
                return f"{ROLES[turn.role]}: {content[:100]}", at
        for call in json.loads(turn.tool_calls) if turn.tool_calls else ():
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            written = [quoted(arguments)]
            if isinstance(arguments, str):
                written = [arguments, quoted(json.loads(arguments))]
            named, at = _find(text, (name,), at)
            found, at = _find(text, written, at)
            if not named or not found:
                return f"call of {name}: {written[0][:100]}", at
    return "", at


def _find_content(text: str, content: str, at: int) -> tuple[bool, int]:
    """``_find`` for the content of a turn, which may be written as JSON."""
    found = _find(text, (content,), at)
    return found if found[0] else _find(text, (quoted(content)[1:-1],), at)


def _find(text: str, forms: Sequence[str], at: int) -> tuple[bool, int]:
    """(whether one of the forms is in the text from ``at`` on, where the first one ends)."""
    for form in forms:
        found = text.find(form, at)
        if found >= 0:
            return True, found + len(form)
    return False, at


def _without_arguments(calls: str) -> str:
    made = json.loads(calls)
    for call in made:
        call["function"]["arguments"] = {}
    return quoted(made)


def _message(turn: Turn, template: ChatTemplate) -> dict[str, object]:
    message: dict[str, object] = {"role": ROLES[turn.role], "content": turn.content}
    if turn.reasoning is not None:
        message["reasoning_content"] = turn.reasoning
        if template.foreign:
            message["thinking"] = turn.reasoning  # the name that some templates use
    if turn.tool_calls is not None:
        message["tool_calls"] = [_call(c, template) for c in json.loads(turn.tool_calls)]
    if turn.name is not None:
        message["name"] = turn.name
    return message


def _call(call: Any, template: ChatTemplate) -> object:
    arguments = call["function"]["arguments"]
    if isinstance(arguments, str) and not template.text_arguments:
        call["function"]["arguments"] = json.loads(arguments)
    return call
