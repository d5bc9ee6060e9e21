"""Words, n-grams and pieces of prompts, one character at a time: slow references."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from transforms.leakage.contamination import LENGTHS, Pieces, pieces_of


def pieces(*prompts: str) -> Pieces:
    return pieces_of(strings(*prompts))[0]


def slow_pieces(prompt: str) -> set[tuple[str, ...]]:
    found = slow_words(prompt)
    length = min(len(found), 13)
    if length < 8:
        return set()
    return {tuple(found[n : n + length]) for n in range(len(found) - length + 1)}


def slow_overlap(text: str, prompts: Sequence[str]) -> bool:
    found = slow_words(text)
    runs = {tuple(found[a : a + n]) for n in LENGTHS for a in range(len(found) - n + 1)}
    return any(slow_pieces(prompt) & runs for prompt in prompts)


def slow_words(text: str) -> list[str]:
    """The words of a text, as the module's first sentences say."""
    found, word = [], ""
    for character in text:
        code = ord(character)
        letter = character.lower() if code < 128 else character
        alone = is_alone(code)
        part = character.isalnum() if code < 128 else not is_symbol(code)
        if alone or not part:
            found += [word] if word else []
            word = ""
        if alone:
            found.append(character)
        elif part:
            word += letter
    return [*found, word] if word else found


def is_alone(code: int) -> bool:
    thai_lao_burmese = 0x0E00 <= code <= 0x0EFF or 0x1000 <= code <= 0x109F
    return 0x3040 <= code <= 0xDFFF or thai_lao_burmese or 0x1780 <= code <= 0x17FF


def is_symbol(code: int) -> bool:
    if 0xFF01 <= code <= 0xFF5E:  # ASCII in full width
        return not chr(code - 0xFEE0).isalnum()
    return 0x80 <= code < 0xC0 or 0x2000 <= code < 0x3040 or 0xFF5F <= code <= 0xFF65


def strings(*values: str) -> pa.StringArray:
    return pa.array(values, pa.string())
