"""Rows that the sandbox renders: what a template is given, and what is looked for in its text.

Nothing that a template does is taken for granted: each turn must be in the text, one behind the
other, and of a foreign one the control tokens are counted, too.
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
    """Renders rows of a template's variables; see ``sandbox.Sandbox``."""

    def render(self, rows: Sequence[Mapping[str, object]]) -> list[str | Refusal]: ...


class JinjaRenderer:
    """Rows that the sandbox renders."""

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
        """Each row's text.

        Adds to ``bad`` the rows that fail, marks in ``lost`` those without their reasoning, and in
        ``offered`` those without the tools that they offer.
        """
        left = self._left(bad)
        texts: list[str] = [""] * len(self._rows)
        for row, text in zip(left, self._render(left), strict=True):
            if isinstance(text, Refusal):
                bad[row] = Reject("template-refused", text.reason)
                continue
            texts[row] = self._ended(text)
            dropped, _ = _walk(self._rows[row], text)
            if dropped:
                bad[row] = Reject("turn-dropped", f"not in the text: {dropped}")
                continue
            if self._chat.think in ("auto", "keep") and self._reasoning_lost(row, text):
                lost[row] = True
            names = (tool["function"]["name"] for tool in self._tools[row] or ())
            offered[row] = any(name not in text for name in names)
        if self._chat.template.foreign and self._chat.control_tokens != "keep":
            self._count_tokens(texts, bad)
        return pa.array(texts, pa.string())

    def prompts(self, texts: pa.StringArray, bad: dict[int, Reject]) -> np.ndarray:
        """The bytes of each text that are prompt: all but what the last assistant says."""
        left = self._left(bad)
        prompts = np.zeros(len(self._rows), np.int64)
        marker = self._chat.template.assistant_marker
        for row, asked in zip(
            left, self._render(left, lambda turns: turns[:-1], asks=True), strict=True
        ):
            text = texts[row].as_py()
            prompt = "" if isinstance(asked, Refusal) else self._begun(asked)
            # A template may write earlier turns in another way once they are earlier.
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
        asks: bool = False,
    ) -> list[str | Refusal]:
        variables = []
        for row in rows:
            turns = change(self._rows[row])
            variables.append(
                {
                    "messages": [_message(turn, self._chat.template) for turn in turns],
                    "tools": self._tools[row],
                    "add_generation_prompt": asks,
                    "think": self._chat.think,
                }
            )
        return self._renderer.render(variables)

    def _begun(self, text: str) -> str:
        bos = self._chat.template.bos
        return text if self._chat.keep_bos or not bos else text.removeprefix(bos)

    def _ended(self, text: str) -> str:
        """Without the BOS that a trainer adds, and without what follows the end of the turn."""
        text, end = self._begun(text), self._chat.template.eos
        bare = text.rstrip()
        return bare if end and bare.endswith(end) else text

    def _reasoning_lost(self, row: int, text: str) -> bool:
        thoughts = (turn.reasoning for turn in self._rows[row] if turn.reasoning)
        return any(thought.strip() not in text for thought in thoughts)

    def _count_tokens(self, texts: list[str], bad: dict[int, Reject]) -> None:
        """A foreign template may join contents, so that they make a token together."""
        tokens = self._chat.template.control_tokens
        if not tokens:
            return
        left = self._left(bad)
        for row, plain in zip(left, self._render(left, _harmless), strict=True):
            expected = "" if isinstance(plain, Refusal) else self._ended(plain)
            found = control_tokens.count(texts[row], tokens)
            if found != control_tokens.count(expected, tokens):
                why = "content and template make a control token together, or hide one"
                bad[row] = Reject("control-token", why)


def quoted(value: Any) -> str:
    """The value as the templates' ``tojson`` writes it."""
    return json.dumps(value, ensure_ascii=False)


def _harmless(turns: list[Turn]) -> list[Turn]:
    """The turns with a word in place of all that they say."""

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
    """The beginning of a turn that is not in the text, "" where all are, one behind the other; and
    where the last one ends.

    A system turn may stand anywhere, for some templates move it.
    """
    at = 0
    for turn in turns:
        said = turn.content.strip()
        if said:
            found, end = _error_text(text, said, at)
            if turn.role != SYSTEM:
                at = end
            elif not found:
                found, _ = _error_text(text, said, 0)
            if not found:
                return f"{ROLES[turn.role]}: {said[:100]}", at
        for call in json.loads(turn.tool_calls) if turn.tool_calls else ():
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            written = [quoted(arguments)]
            if isinstance(arguments, str):
                written = [arguments, quoted(json.loads(arguments))]
            named, at = _place(text, (name,), at)
            found, at = _place(text, written, at)
            if not named or not found:
                return f"call of {name}: {written[0][:100]}", at
    return "", at


def _error_text(text: str, said: str, at: int) -> tuple[bool, int]:
    """As ``_place``, for what a turn says, which may be written as JSON."""
    found = _place(text, (said,), at)
    return found if found[0] else _place(text, (quoted(said)[1:-1],), at)


def _place(text: str, forms: Sequence[str], at: int) -> tuple[bool, int]:
    """Is one of the forms in the text, not before ``at``; and where the first found one ends."""
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


def _message(turn: Turn, template: ChatTemplate) -> dict[str, Any]:
    message: dict[str, Any] = {"role": ROLES[turn.role], "content": turn.content}
    if turn.reasoning is not None:
        message["reasoning_content"] = turn.reasoning
        if template.foreign:
            message["thinking"] = turn.reasoning  # the name that some templates look for
    if turn.tool_calls is not None:
        message["tool_calls"] = [_call(c, template) for c in json.loads(turn.tool_calls)]
    if turn.name is not None:
        message["name"] = turn.name
    return message


def _call(call: dict[str, Any], template: ChatTemplate) -> dict[str, Any]:
    arguments = call["function"]["arguments"]
    if isinstance(arguments, str) and not template.text_arguments:
        call["function"]["arguments"] = json.loads(arguments)
    return call
