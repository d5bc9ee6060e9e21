"""The text rule: a chat template, and how it is used, decide a row's text to the byte.

``text`` ends exactly at the end-of-turn token where the template has one: trainers add it when a
text does not end with it, so a final newline would give two of them.  There is no BOS unless it is
asked for, as trainers add that, too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from transforms.chat.arrow_renderer import ArrowRenderer
from transforms.chat.sandbox import DEFAULT_DATE
from transforms.conversations.turns import Turns

VERSION = 1
"""Of the rules that make texts of turns; part of every plan, as another one gives other bytes."""

DEFAULT_SYSTEM_PROMPT = (
    "You are a helpful assistant that provides detailed reasoning and explanations."
)
_Texts = TypeVar("_Texts", pa.StringArray, pa.ChunkedArray)


@dataclass(frozen=True)
class ChatTemplate:
    """A model's chat format.

    Attributes:
        name: as ``--template`` names it.
        jinja: the template, in the dialect of transformers' ``apply_chat_template``.
        bos, eos: what stands at the beginning of a text and at its end; "" for none.
        user_marker, assistant_marker: what stands before a user's and an assistant's part.
        control_tokens: tokens that no content may hold.
        system: where a system turn may stand: "anywhere", or "first".
        tools: are there forms for tools, calls and results?
        alternates: must user and assistant take turns?
        thinks: what ``--think auto`` means: "own" (the template has its own rule), "keep", "drop"
            (also the inline form), or "inline" (only what stands in the content is kept).
        adds_system: does it add a system prompt where there is none?
        text_arguments: are a call's arguments taken as JSON text, too?
        parts: its constant parts, where it is plain concatenation.
        foreign: not one of ours, so nothing about it is taken for granted.
    """

    name: str
    jinja: str
    bos: str = ""
    eos: str = ""
    user_marker: str = ""
    assistant_marker: str = ""
    control_tokens: tuple[str, ...] = ()
    system: str = "anywhere"
    tools: bool = True
    alternates: bool = False
    thinks: str = "inline"
    adds_system: bool = False
    text_arguments: bool = False
    arrow_renderer: ArrowRenderer | None = None
    foreign: bool = False

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the Jinja text, in hex."""
        return hashlib.sha256(self.jinja.encode()).hexdigest()


@dataclass(frozen=True)
class ChatFormat:
    """A template and how it is used.

    ``system_prompt`` is for rows without a system turn of their own; None gives them none.
    ``think`` is a policy of ``reasoning``; ``control_tokens`` is "reject", "escape" or "keep";
    ``date`` is YYYY-MM-DD.
    """

    template: ChatTemplate
    system_prompt: str | None = None
    think: str = "auto"
    control_tokens: str = "reject"
    keep_bos: bool = False
    tools: bool = False
    date: str = DEFAULT_DATE

    @property
    def start(self) -> str:
        """What every text begins with."""
        return self.template.bos if self.keep_bos else ""

    @property
    def renders_pairs(self) -> bool:
        """Can rows of one question and one answer be rendered without making turns of them?"""
        return self.template.arrow_renderer is not None and self.think != "empty"

    def pair_delimiters(self) -> tuple[str, str, str]:
        """What stands before the instruction, between it and the response, and at the end."""
        return self._arrow_renderer.pair_delimiters(self.system_prompt, self.start)

    def render_pairs(self, instruction: _Texts, response: _Texts) -> _Texts:
        """The texts of rows that are one question and one answer; the chunks of the result are
        those of the arguments.
        """
        return self._arrow_renderer.render_pairs(
            instruction, response, self.system_prompt, self.start
        )

    def render_turns(self, turns: Turns) -> tuple[pa.StringArray, np.ndarray]:
        """The text of each row of turns, and how many of its bytes are prompt."""
        return self._arrow_renderer.render(turns, self.start)

    def render(self, instruction: str, response: str) -> str:
        """The text of one row, as ``render_pairs`` gives it."""
        texts = self.render_pairs(pa.array([instruction]), pa.array([response]))
        return str(texts[0].as_py())

    def as_rendered(self, role: str, texts: _Texts) -> _Texts:
        """Contents as they stand in a text that is plain concatenation."""
        return self._arrow_renderer.as_rendered(role, texts)

    @property
    def _arrow_renderer(self) -> ArrowRenderer:
        if self.template.arrow_renderer is None:
            raise TypeError(f"the template {self.template.name} is no plain concatenation")
        return self.template.arrow_renderer

    def to_json(self) -> dict[str, Any]:
        """What decides the text, for the plan."""
        template = self.template
        return {
            "version": VERSION,
            "name": template.name,
            "sha256": template.sha256,
            "jinja": template.jinja if template.foreign else None,
            "bos_token": template.bos,
            "eos_token": template.eos,
            "user_marker": template.user_marker,
            "assistant_marker": template.assistant_marker,
            "control_tokens": list(template.control_tokens),
            "system_prompt": self.system_prompt,
            "think": self.think,
            "control_token_policy": self.control_tokens,
            "keep_bos": self.keep_bos,
            "tools": self.tools,
            "date": self.date,
        }
