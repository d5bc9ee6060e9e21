"""What does not show becomes an escape that does, and JSON keeps its meaning."""

from __future__ import annotations

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from transforms.text.visible import json_visible, visible, visible_lines

any_text = st.text(st.characters())
BIDIRECTIONAL = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def shows(character: str) -> bool:
    """By Unicode's own properties."""
    return not (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(character) in BIDIRECTIONAL
        or character in "\u061c\u200e\u200f"
    )


@given(any_text)
def test_every_character_shows(text: str) -> None:
    shown = visible(text)
    assert all(map(shows, shown))
    if all(map(shows, text)):
        assert shown == text


def test_every_character_of_unicode() -> None:
    odd = [chr(n) for n in range(0x110000) if not shows(chr(n))]
    assert len(odd) == 65 + 2048 + 2 + 9 + 3
    assert all(visible(c).startswith("\\") and all(map(shows, visible(c))) for c in odd)


def test_the_escapes_are_those_of_python() -> None:
    assert visible("\x1b]0;t\x07 \u202e\t\r\n\x85\u2028") == r"\x1b]0;t\x07 \u202e\t\r\n\x85\u2028"


def test_of_several_lines_the_line_ends_stay() -> None:
    assert visible_lines("a\r\nb\x1b[2J\n") == "a\\r\nb\\x1b[2J\n"


@given(st.recursive(any_text, lambda inner: st.lists(inner) | st.dictionaries(any_text, inner)))
def test_json_keeps_its_meaning(value: object) -> None:
    for indent in (None, 2):
        made = json_visible(json.dumps(value, ensure_ascii=False, indent=indent))
        assert json.loads(made) == value
        assert all(shows(c) for c in made if c != "\n")
