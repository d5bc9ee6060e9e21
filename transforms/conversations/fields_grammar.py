"""The text of ``--fields``: names of columns, quoted where they hold a separator of it.

    instruction="Frage, kurz",response="Antwort (A+B)"

A quote inside of a quoted name is written twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from transforms.errors import UsageError

_FIELD = re.compile(r"\s*([^=,]*?)\s*=")
_NAME = re.compile(r'\s*(?:"((?:[^"]|"")*)"\s*(?=[+,]|\Z)|([^,+]*))')


def quoted(name: str) -> str:
    """A name as ``--fields`` takes it."""
    if not re.search(r"[,+]", name) and name == name.strip() and not name.startswith('"'):
        return name
    return '"' + name.replace('"', '""') + '"'


def joined(names: Sequence[str]) -> str:
    """The names of one field."""
    return "+".join(map(quoted, names))


def pair_flag(instruction: Sequence[str], response: Sequence[str]) -> str:
    """The value for a pair of columns."""
    return f"instruction={joined(instruction)},response={joined(response)}"


def split_fields(flag: str) -> list[tuple[str, tuple[str, ...]]]:
    """The fields of a value, each with its names.

    Raises:
        UsageError: a part of the value has no ``=``.
    """
    parts: list[tuple[str, tuple[str, ...]]] = []
    at, mark = 0, ","
    while mark == ",":
        field = _FIELD.match(flag, at)
        if field is None:
            raise UsageError(
                f"--fields {flag!r} is not of the form instruction=COLUMN,response=COLUMN+COLUMN "
                'or messages=COLUMN; quote a name that holds a comma or plus: instruction="A, B"'
            )
        names, at, mark = [], field.end(), "+"
        while mark == "+":
            name = _NAME.match(flag, at)
            if name is None:  # not reached: a name may be empty
                break
            inner, plain = name.groups()
            names.append(plain.strip() if inner is None else inner.replace('""', '"'))
            mark = flag[name.end() : name.end() + 1]
            at = name.end() + 1
        parts.append((field[1], tuple(names)))
    return parts
