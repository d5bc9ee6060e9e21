"""Quotes that are not where RFC 4180 allows them, in the bytes of a CSV file.

Arrow takes a quote at the start of a cell for an opening one, and text after the closing quote for
the rest of the cell, without the quotes.  So one quote that is not doubled changes the text, and
one that is no quote makes a cell of all lines up to the next.
"""

from __future__ import annotations

import numpy as np

from transforms.errors import BadInput

_QUOTE, _RETURN, _NEWLINE = b'"\r\n'
_OUTSIDE, _INSIDE, _MAY_CLOSE = 0, 1, 2


class QuoteCheck:
    """Follows the quotes of a file through its blocks.

    Args:
        delimiter: what separates cells, one ASCII character.
        stray: what to insert where text follows a closing quote; it makes the row ragged.
        path: the file, for messages.
    """

    def __init__(self, delimiter: str, stray: bytes, path: str) -> None:
        self._ends = (ord(delimiter), _RETURN, _NEWLINE)
        self._is_end = np.zeros(256, bool)
        self._is_end[[*self._ends, _QUOTE]] = True
        self._stray, self._path = stray, path
        self._state, self._before = _OUTSIDE, _NEWLINE
        self._line, self._opened_line = 1, 1  # for messages
        self._spans = False  # is there a line end in the cell that is open?

    def checked(self, data: bytes) -> bytes:
        """The next bytes, with ``stray`` inserted where text follows a closing quote.

        Raises:
            BadInput: the cell of that quote goes over several lines, which may be rows.
        """
        if not data:
            return data
        start = b""
        if self._state == _MAY_CLOSE:
            self._before, self._state = _QUOTE, _OUTSIDE
            if data[0] == _QUOTE:
                start, data, self._state = data[:1], data[1:], _INSIDE
            elif data[0] not in self._ends:
                self._check_lines(self._line)
                start = self._stray
        bytes_ = np.frombuffer(data, np.uint8)
        quotes = np.flatnonzero(bytes_ == _QUOTE)
        if self._is_plain(bytes_, quotes):
            self._follow(data, quotes)
        else:
            data = self._marked(data, quotes.tolist())
        return start + data if start else data

    def _follow(self, data: bytes, quotes: np.ndarray) -> None:
        """The state after bytes whose quotes are plain."""
        begun = self._state == _INSIDE
        opening = quotes[self._state :: 2]
        if len(quotes):
            self._state = (self._state + len(quotes)) % 2
            if self._state == _OUTSIDE and quotes[-1] == len(data) - 1:
                self._state = _MAY_CLOSE
        if self._state != _OUTSIDE:
            # Not a quote behind another: it is the second one of a pair in a cell.
            last = len(opening) - 1
            while last >= 0 and opening[last] and data[opening[last] - 1] == _QUOTE:
                last -= 1
            if last >= 0:
                at = int(opening[last])
                self._opened_line = self._line + _lines(data[:at])
                self._spans = _has_end(data[at:])
            elif begun:
                self._spans = self._spans or _has_end(data)
        self._line += _lines(data)
        self._before = data[-1] if data else self._before

    def _is_plain(self, data: np.ndarray, quotes: np.ndarray) -> bool:
        """Do quotes open and close cells in turns, or stand in pairs?"""
        if not len(quotes):
            return True
        opening, closing = quotes[self._state :: 2], quotes[1 - self._state :: 2]
        if len(opening) and opening[0] == 0:
            if self._before not in self._ends:
                return False
            opening = opening[1:]
        after = data[np.minimum(closing + 1, len(data) - 1)]  # the last byte is its own: a quote
        return bool(self._is_end[data[opening - 1]].all() and self._is_end[after].all())

    def _marked(self, data: bytes, quotes: list[int]) -> bytes:
        parts, done, state, ends = [], 0, self._state, self._ends
        line, counted = self._line, 0  # lines up to ``counted``
        skipped, opened = -1, 0  # where the cell begins, or the block
        for at in quotes:
            if at == skipped:
                continue
            line, counted = line + _lines(data[counted:at]), at
            if state == _OUTSIDE:
                if (data[at - 1] if at else self._before) in ends:
                    state, self._opened_line, self._spans, opened = _INSIDE, line, False, at
            elif at + 1 == len(data):
                state = _MAY_CLOSE
            elif data[at + 1] == _QUOTE:
                skipped = at + 1
            else:
                state = _OUTSIDE
                if data[at + 1] not in ends:
                    self._spans = self._spans or _has_end(data[opened:at])
                    self._check_lines(line)
                    parts += [data[done : at + 1], self._stray]
                    done = at + 1
        if state != _OUTSIDE:
            self._spans = self._spans or _has_end(data[opened:])
        self._state, self._before = state, data[-1]
        self._line = line + _lines(data[counted:])
        return b"".join([*parts, data[done:]])

    def _check_lines(self, line: int) -> None:
        if self._spans:
            raise BadInput(
                f"{self._path} has text after a closing quote in line {line:,}, and the quote "
                f"before it in line {self._opened_line:,}: the lines between may be rows; write "
                'quotes inside of quoted cells twice (""), or say --quotes none if quotes are '
                "plain characters"
            )


def _lines(data: bytes) -> int:
    """The number of line ends of one kind."""
    return data.count(b"\n") or data.count(b"\r")


def _has_end(data: bytes) -> bool:
    return b"\n" in data or b"\r" in data
