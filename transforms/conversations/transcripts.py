"""Transcripts: whole conversations in one text, whose turns begin with markers.

    ``### Human:``   openassistant-guanaco: ``### Human: …### Assistant: …``
    ``Human:``       hh-rlhf: a blank line before ``Human: …`` and ``Assistant: …``
    ``USER:``        glaive-function-calling-v2: lines ``USER: …``, ``ASSISTANT: …`` and
                     ``FUNCTION RESPONSE: …``; calls after ``<functioncall>``
    ``[INST]``       Llama 2: ``<s>[INST] … [/INST] … </s>``, with ``<<SYS>>`` in the first turn

A text is parsed as a whole: it begins with a marker, and everything after a marker belongs to its
turn.  White space around a turn separates it, and is no part of it.  A text that has a system turn
after the beginning, or two names of one speaker, is no transcript: one of them may be content.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from transforms.conversations.cells import InvalidConversation, parsed
from transforms.conversations.tools import tool_calls

BAD = "bad-transcript"

_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "assistant": "assistant",
    "function response": "tool",
}


_MARKERS = {
    "### Human:": re.compile(r"###[ ]?(Human|User|Assistant|System)[ ]?:"),
    "Human:": re.compile(r"(?:\A|(?<=\n\n))(Human|Assistant|System):"),
    "USER:": re.compile(r"(?:\A|(?<=\n))(SYSTEM|USER|ASSISTANT|FUNCTION RESPONSE):"),
}
"""What stands before a turn, with the speaker as the group."""

_INST = "[INST]"

TRANSCRIPTS = (*_MARKERS, _INST)
"""The forms of transcripts, each named by the marker of the user's turn."""

_SEQUENCE_TOKENS = ("<s>", "</s>", "<|endoftext|>")
_SYSTEM, _SYSTEM_END = "<<SYS>>", "<</SYS>>"
_CALL = "<functioncall>"
_QUOTED = re.compile(
    r"\s*\{\s*\"name\":\s*(\"[^\"\\]+\"),\s*\"arguments\":\s*'(.*)'\s*\}\s*", re.DOTALL
)

Objects = list[dict[str, object]]


def find_form(text: str) -> str | None:
    """The form of a text that is a transcript of a user and an assistant; None for another text."""
    for form in TRANSCRIPTS:
        try:
            roles = {turn["role"] for turn in turns_of_text(text, form)}
        except InvalidConversation:
            continue
        if {"user", "assistant"} <= roles:
            return form
    return None


def turns_of_text(text: str, form: str) -> Objects:
    """The turns of a transcript, as objects with ``role`` and ``content``.

    Raises:
        InvalidConversation: the text is not such a transcript.
    """
    turns = list(_inst_turns(text) if form == _INST else _marked_turns(text, _MARKERS[form]))
    dialogue = [role for role, _ in turns if role != "system"]
    if not dialogue:
        raise InvalidConversation(BAD)
    return [_turn(role, content) for role, content in turns]


def system_text(text: str) -> str:
    """A system prompt beside a transcript, without the marker that Glaive writes before it."""
    return text.strip().removeprefix("SYSTEM:").strip()


def _marked_turns(text: str, marker: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    text = text.strip()
    marks = list(marker.finditer(text))
    if not marks or marks[0].start() != 0:
        raise InvalidConversation(BAD)  # text before the first marker belongs to nobody
    names = {mark[1] for mark in marks}
    if {"Human", "User"} <= names or any(_ROLES[m[1].lower()] == "system" for m in marks[1:]):
        raise InvalidConversation(BAD)
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    for mark, end in zip(marks, ends, strict=True):
        yield _ROLES[mark[1].lower()], text[mark.end() : end]


def _inst_turns(text: str) -> Iterator[tuple[str, str]]:
    before, *parts = text.split("[INST]")
    if not parts or _without_tokens(before):
        raise InvalidConversation(BAD)
    for number, part in enumerate(parts):
        asked, *answers = part.split("[/INST]")
        if len(answers) != 1:
            raise InvalidConversation(BAD)
        if number == 0 and asked.lstrip().startswith(_SYSTEM):
            system, end, asked = asked.lstrip().removeprefix(_SYSTEM).partition(_SYSTEM_END)
            if not end:
                raise InvalidConversation(BAD)
            yield "system", system
        yield "user", asked
        answer = _without_tokens(answers[0])
        if answer or number < len(parts) - 1:
            yield "assistant", answer


def _without_tokens(text: str) -> str:
    """A text without white space around it and the tokens that end a sequence and begin the next.

    Those inside of it are its own, as the tag of HTML for struck text.
    """
    text, length = text.strip(), -1
    while len(text) != length:
        length = len(text)
        for token in _SEQUENCE_TOKENS:
            text = text.removesuffix(token).rstrip()
    return text


def _turn(role: str, content: str) -> dict[str, object]:
    content = content.strip()
    if role != "assistant":
        return {"role": role, "content": content}
    content = _without_tokens(content)
    said, call, written = content.partition(_CALL)
    if not call:
        return {"role": role, "content": content}
    return {"role": role, "content": said.strip(), "tool_calls": _call(written)}


def _call(written: str) -> str:
    """A call of Glaive's, whose arguments are JSON in single quotes, as ``tool_calls`` has it."""
    quoted = _QUOTED.fullmatch(written)
    value = parsed(written)
    if quoted:
        value = {"name": parsed(quoted[1]), "arguments": quoted[2]}
    made = None if isinstance(value, InvalidConversation) else tool_calls(value)
    if made is None:
        raise InvalidConversation("bad-tool-calls")
    return made
