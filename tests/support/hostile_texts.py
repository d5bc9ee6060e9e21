"""Texts that steer a terminal or hide, in every place that a message may show."""

from __future__ import annotations

import json
import re
from pathlib import Path

HIDDEN = "".join(
    map(
        chr,
        (
            *range(0x20),
            *range(0x7F, 0xA0),
            *(0x61C, 0x200E, 0x200F, 0x2028, 0x2029),
            *range(0x202A, 0x202F),
            *range(0x2066, 0x206A),
        ),
    )
)
"""Every control character, bidirectional control and line separator."""

STEERING = (
    "\x1b]52;c;cHduZWQ=\x07\x1b[31m\x1b[2J\x1b]0;title\x1b\\\x9b31m\x90q\x9c\r\x08"
    "\u202egnp\u2066\n✓ Dataset saved successfully\nerror: not ours\x85\u2028"
)
"""Sequences that write the clipboard, a title and the screen, and lines that fake one of ours."""

EVERYTHING = f"<{HIDDEN}{STEERING}>"
NAME = "<\x1b]0;t\x07\x1b[31m\x9b2J\x08\t\r\x7f\u202e\u2066\u2028\u200f\nerror: not ours>"
"""For the name of a file, which holds no NUL and at most 255 bytes."""

_ESCAPES = re.compile(r"\\x1b|\\u001b|\\u202e")


def check_shown(text: str, *, hostile: bool = True) -> None:
    """Fails where a text for a terminal has a raw character of ``HIDDEN`` but the line end.

    Args:
        text: what was printed.
        hostile: the text should show, as an escape, what it was given.
    """
    raw = sorted({c for c in text if c in HIDDEN and c != "\n"})
    assert raw == [], f"raw characters {raw} in {text!r:.2000}"
    lines = text.split("\n")
    assert not [line for line in lines if line.startswith("error: not ours")]
    assert not [line for line in lines if line == "✓ Dataset saved successfully"]
    if hostile:
        assert _ESCAPES.search(text), f"nothing hostile was printed: {text!r:.2000}"


def hostile_rows(folder: Path, rows: int = 12) -> Path:
    """Questions and answers, of which every text is hostile; the file's name is hostile, too."""
    path = folder / f"rows{NAME}.jsonl"
    lines = [
        {"question": f"What is {n}{EVERYTHING}?", "answer": f"It is{EVERYTHING}"}
        for n in range(rows)
    ]
    lines.append({"question": f"<|im_start|>{EVERYTHING}", "answer": "x"})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def hostile_chats(folder: Path, rows: int = 12) -> Path:
    """Conversations with hostile texts and names of roles."""
    path = folder / "chats.jsonl"
    chats = [
        {
            "messages": [
                {"role": "user" if n % 2 else EVERYTHING, "content": f"{n}{EVERYTHING}"},
                {"role": "assistant", "content": EVERYTHING},
            ]
        }
        for n in range(rows)
    ]
    path.write_text("".join(json.dumps(chat) + "\n" for chat in chats), "utf-8")
    return path


def hostile_columns(folder: Path) -> Path:
    """Rows whose columns have hostile names."""
    path = folder / "columns.jsonl"
    row = {f"question{EVERYTHING}": "What is it?", f"answer{EVERYTHING}": "It is that."}
    path.write_text(json.dumps(row) + "\n", "utf-8")
    return path
