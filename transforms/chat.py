"""The text rule: an instruction and a response become one training text in the chat format.

``chatml`` is the guide's format for Qwen3, and what Qwen3-2507-Instruct's own template renders for
the same turns (read in the templates that trainers ship).  ``text`` ends exactly at ``<|im_end|>``:
trainers add the end-of-turn token when a text does not end with it, so a final newline would give
two of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

DEFAULT_SYSTEM_PROMPT = (
    "You are a helpful assistant that provides detailed reasoning and explanations."
)

_Texts = TypeVar("_Texts", pa.StringArray, pa.ChunkedArray)

TURN_END = "<|im_end|>"
CONTROL_TOKENS = ("<|im_start|>", TURN_END)


@dataclass(frozen=True)
class ChatTemplate:
    """The constant parts of a text: what stands before the instruction, between, and at the end."""

    name: str
    before: str
    between: str
    end: str

    def render(self, instruction: str, response: str) -> str:
        """The text of one row."""
        return f"{self.before}{instruction}{self.between}{response}{self.end}"

    def render_arrays(self, instruction: _Texts, response: _Texts) -> _Texts:
        """The texts of many rows, as ``render`` gives them, in one vectorised join; the chunks of
        the result are those of the arguments.
        """
        return pc.binary_join_element_wise(
            self.before, instruction, self.between, response, self.end, ""
        )


def chatml(system_prompt: str = DEFAULT_SYSTEM_PROMPT) -> ChatTemplate:
    """ChatML with one system turn; an empty ``system_prompt`` leaves the system turn out."""
    system = f"<|im_start|>system\n{system_prompt}{TURN_END}\n" if system_prompt else ""
    return ChatTemplate(
        name="chatml",
        before=f"{system}<|im_start|>user\n",
        between=f"{TURN_END}\n<|im_start|>assistant\n",
        end=TURN_END,
    )
