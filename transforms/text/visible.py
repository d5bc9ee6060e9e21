"""Characters that do not show, or that move a cursor, as escapes that do.

A text from outside may hold escape sequences of terminals (they write titles and the clipboard),
control characters, and bidirectional controls that show code in another order than it runs
(https://trojansource.codes).  The classes are those of Unicode: Cc, the bidirectional controls of
UAX #9, the line and paragraph separators, and lone surrogates.
"""

from __future__ import annotations

import re

_BIDIRECTIONAL = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_HIDDEN = re.compile(f"[\x00-\x1f\x7f-\x9f\u2028\u2029{_BIDIRECTIONAL}\ud800-\udfff]")
_SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


def visible(text: str) -> str:
    """A text on one line, with ``\\n``, ``\\x1b`` or ``\\u202e`` for what does not show."""
    return _HIDDEN.sub(lambda found: _escape(found[0]), text)


def visible_lines(text: str) -> str:
    """A text whose line ends stay; all else that does not show becomes an escape."""
    return "\n".join(map(visible, text.split("\n")))


def json_visible(text: str) -> str:
    """JSON text without characters that do not show, and with the same meaning.

    Args:
        text: JSON, whose strings may hold such characters; outside of strings are only line ends.
    """
    return _HIDDEN.sub(lambda found: found[0] if found[0] == "\n" else _escape_json(found[0]), text)


def _escape(character: str) -> str:
    number = ord(character)
    return _SHORT.get(character) or (f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")


def _escape_json(character: str) -> str:
    return f"\\u{ord(character):04x}"
