"""Text that Python's ``repr`` wrote: ``[{'from': 'human', …}]``, as in CSV files made by pandas.

``ast.literal_eval`` builds constants only and runs nothing, but its parser takes some hundred times
the bytes of its text, and it recurses.  So size and depth are bounded before it starts.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

MAX_CHARS = 2**20
MAX_DEPTH = 20
"""More than any list of turns with tool calls needs."""

_LOOKS_LIKE = re.compile(r"\s*\[\s*\{\s*['\"]")
_SKIPPED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\[\](){}'"]+""", re.DOTALL)


class NotLiteral(ValueError):
    """The text is not a Python literal of a list, or it is above the bounds."""


def literal(text: str) -> Any:
    """The list of a text such as ``[{'from': 'human', 'value': 'Hello'}]``.

    Raises:
        NotLiteral: the text is something else, is too large or is nested too deeply.
    """
    if len(text) > MAX_CHARS or not _LOOKS_LIKE.match(text) or _depth(text) > MAX_DEPTH:
        raise NotLiteral
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape is taken as it stands
            value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise NotLiteral from error
    return value


def _depth(text: str) -> int:
    """How deeply brackets are nested outside of strings."""
    depth = most = at = 0
    while at < len(text):
        skipped = _SKIPPED.match(text, at)
        if skipped:
            at = skipped.end()
            continue
        if text[at] in "'\"":
            raise NotLiteral  # a string without an end: to go on would take quadratic time
        depth += 1 if text[at] in "[({" else -1 if text[at] in "])}" else 0
        most, at = max(most, depth), at + 1
    return most
