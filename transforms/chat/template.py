"""The text rule: a chat template and the options of its use decide every byte of a text.

``text`` ends exactly with the end-of-turn token, if the template has one: trainers add it to a text
that does not end with it, so a final newline would give two of them.  There is no BOS by default,
since trainers add that as well.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import pyarrow as pa

from transforms.chat.arrow_renderer import ArrowRenderer
from transforms.chat.sandbox import DEFAULT_DATE
from transforms.conversations.turns import Turns

VERSION = 1
"""Version of the rules that render turns; part of every plan, since it decides the bytes."""

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
        bos, eos: the tokens at the beginning and at the end of a text; "" for none.
        user_marker, assistant_marker: the strings before a turn of the user or the assistant.
        control_tokens: tokens that content must not contain.
        system: where a system turn may be: "anywhere", or "first".
        tools: whether it renders tools, calls and results.
        alternates: whether user and assistant must alternate.
        thinks: the meaning of ``--think auto``: "own" (the template has a rule), "keep", "drop"
            (also inline reasoning), or "inline" (keeps only inline reasoning).
        adds_system: whether it adds a system prompt to rows without one.
        text_arguments: whether it also takes a call's arguments as JSON text.
        arrow_renderer: renders it with Arrow; None for a template whose form is not known.
        foreign: whether it is not built in, and therefore not trusted.
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
    """A template and the options of its use.

    Attributes:
        template: the template.
        system_prompt: for rows without a system turn; None for no prompt.
        think: auto, keep, strip or empty (see ``conversations.reasoning``).
        control_tokens: reject, escape or keep.
        keep_bos: whether texts begin with the BOS token.
        tools: whether to render the tools that a row offers.
        date: YYYY-MM-DD, the current date for the template.
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
        """The beginning of every text: the BOS token, or ""."""
        return self.template.bos if self.keep_bos else ""

    @property
    def renders_pairs(self) -> bool:
        """Can rows with one question and one answer be rendered without turns?"""
        renderer = self.template.arrow_renderer
        return renderer is not None and renderer.reasoning is None and self.think != "empty"

    def pair_delimiters(self) -> tuple[str, str, str]:
        """The strings before the instruction, between it and the response, and at the end."""
        return self._arrow_renderer.pair_delimiters(self.system_prompt, self.start)

    def render_pairs(self, instruction: _Texts, response: _Texts) -> _Texts:
        """The texts of rows with one question and one answer, in the chunks of the arguments."""
        return self._arrow_renderer.render_pairs(
            instruction, response, self.system_prompt, self.start
        )

    def render_turns(self, turns: Turns) -> tuple[pa.StringArray, np.ndarray]:
        """The text of each row of turns, and how many of its bytes are the prompt (int32)."""
        return self._arrow_renderer.render(turns, self.start, self.think)

    def hidden_reasoning(self, turns: Turns) -> np.ndarray:
        """For each turn whether it has reasoning that the text does not show; bool."""
        return self._arrow_renderer.hidden_reasoning(turns, self.think)

    def render(self, instruction: str, response: str) -> str:
        """The text of one pair."""
        texts = self.render_pairs(pa.array([instruction]), pa.array([response]))
        return str(texts[0].as_py())

    def as_rendered(self, role: str, texts: _Texts) -> _Texts:
        """The contents of a role's turns as they are in a text."""
        return self._arrow_renderer.as_rendered(role, texts)

    @property
    def _arrow_renderer(self) -> ArrowRenderer:
        if self.template.arrow_renderer is None:
            raise TypeError(f"the template {self.template.name} needs Jinja")
        return self.template.arrow_renderer

    def to_json(self) -> dict[str, object]:
        """All that decides the text, for the plan."""
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
