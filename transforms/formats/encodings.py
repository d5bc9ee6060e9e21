"""The encoding of a text file, found from its first bytes: UTF-8, UTF-16 or cp1252, or unclear.

A byte order mark and valid UTF-8 are proof.  Of the encodings with one byte a character only cp1252
(Excel on Windows in the west) is found, and only where the text looks like words of its languages:
a wrong one gives other letters, and no error.
"""

from __future__ import annotations

import codecs
import re

from transforms.errors import UsageError

_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FAMILIAR = ("cp1252", "cp1250", "cp1251", "shift_jis", "gb18030", "mac_roman")

_WESTERN = "àáâãäåæçèéêëìíîïñòóôõöøùúûüœ"
_LETTERS = _WESTERN + _WESTERN.upper() + "ß"
_ALONE = "àéèóáíôõåöÀÉÈÓÁÅÖ"
"""Letters that are words by themselves."""

_SYMBOLS = "\xa0€‚„…†‡‰‹›‘’“”•–—™¡¢£§©ª«®°±²³µ·¹º»¼½¾¿×÷"
_BETWEEN_LETTERS = "\xa0’–—·"
_NO_CP1252 = re.compile(
    rf"[^\x00-\x7f{_LETTERS}{_SYMBOLS}]"
    rf"|[{_LETTERS}]{{3}}"  # as in languages that have no ASCII letters
    rf"|[a-z{_WESTERN}ß][{_WESTERN.upper()}]"
    rf"|(?<=[A-Za-z{_LETTERS}])(?![{_BETWEEN_LETTERS}])[{_SYMBOLS}](?=[A-Za-z{_LETTERS}])"
    rf"|(?<![A-Za-z{_LETTERS}])(?![{_ALONE}])[{_LETTERS}](?![A-Za-z{_LETTERS}])"
)
_HUNGARIAN = set("áéíóöőúüű".encode("cp1250").decode("cp1252"))
"""The letters of Hungarian in cp1250, read as cp1252; two of them are others than in cp1250."""

_FEW_LINES = 20
"""One line in so many may have damaged bytes, which reject their rows, in a file of UTF-8."""

_NOT_ENCODINGS = (
    *("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf_7"),
    *("mbcs", "oem", "palmos"),
)
"""Codecs of Python that are no encodings of files, or that read some ASCII text as other text."""


def known_encoding(name: str) -> str | None:
    """Python's name of an encoding, ``utf-8`` and ``cp1252`` among them; None if it is unknown."""
    try:
        found = codecs.lookup(name).name
        plain = "a,\n".encode(found).decode(found) == "a,\n"
    except (LookupError, ValueError, UnicodeError):
        return None
    return found if plain and found.replace("-", "_") not in _NOT_ENCODINGS else None


def find_encoding(start: bytes, path: str) -> str | None:
    """The encoding of a file that begins with ``start``; None for UTF-8, also where it is damaged.

    Raises:
        UsageError: it is none of those that can be told apart, and must be named.
    """
    for bom, name in _BOMS:
        if start.startswith(bom):
            return name
    if wide := _wide_without_bom(start):
        return wide
    text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(start)
    damaged = len(re.findall("[\udc80-\udcff]", text))
    valid = len(re.findall("[^\x00-\x7f\udc80-\udcff]", text))
    if valid >= damaged:  # letters of other encodings are valid UTF-8 now and then
        return None
    if _is_cp1252(start):
        return "cp1252"
    lines = re.split(r"\r\n?|\n", text)
    bad = [number for number, line in enumerate(lines) if re.search("[\udc80-\udcff]", line)]
    if _FEW_LINES * len(bad) <= len(lines):
        return None
    raise _unclear(lines[bad[0]], bad[0] + 1, path)


def _wide_without_bom(start: bytes) -> str | None:
    """UTF-16 without a mark, where every other byte of mostly ASCII text is NUL."""
    size = len(start) // 2
    if not size or b"\0" not in start:
        return None
    zeros = [start[half : 2 * size : 2].count(0) / size for half in (0, 1)]
    if max(zeros) < 0.4 or min(zeros) > 0.05:
        return None
    return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"


def _is_cp1252(start: bytes) -> bool:
    try:
        text = start.decode("cp1252")
    except UnicodeDecodeError:
        return False
    if _NO_CP1252.search(text):
        return False
    letters = set(re.findall(f"[{_LETTERS}]", text.lower()))
    return not (letters <= _HUNGARIAN and letters & {"õ", "û"})


def _unclear(line: str, number: int, path: str) -> UsageError:
    place = re.search("[\udc80-\udcff]", line)
    at = place.start() if place else 0
    raw = line[max(0, at - 8) : at + 8].encode("utf-8", "surrogateescape")
    readings: dict[str, str] = {}
    for name in _FAMILIAR:
        try:
            shown = raw.decode(name).strip()
        except UnicodeDecodeError:
            continue
        if shown.isprintable():
            readings.setdefault(shown, name)
    shown = ", ".join(f"{text!r} in {name}" for text, name in readings.items())
    return UsageError(
        f"{path} is not UTF-8 text, and its encoding is not clear: line {number:,} reads "
        f"{shown or raw!r}; name the encoding, such as --encoding cp1252"
    )
