"""The dialect of a CSV file, found from its first rows: the separator, and what its quotes mean.

Each candidate reads the sample.  The one that the file's name says stands unless its rows do not
fit the header and those of another separator do.  Quotes are those of RFC 4180 (``""`` is a quote
in a quoted cell) unless text follows a closing quote; then backslashes may escape them (``\\"``),
or, in a file with tabs, they may be plain characters.  Two readings that fit are refused: a wrong
one gives other text, and no error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from transforms.errors import UsageError
from transforms.formats.source_rows import FileFormat
from transforms.options import TextFlags

BACKSLASH, ESCAPED_QUOTES, NO_QUOTES = "backslash", "escaped-quotes", "none"
"""``FileFormat.quotes``: ``\\"`` and ``\\\\`` are escapes; only ``\\"`` is known to be one (found,
not said by the user); quotes are plain characters.  None is RFC 4180."""

DOUBLED = "doubled"

_SEPARATORS = (",", ";", "\t", "|")
_MOST_ROWS = 1000
_FITTING = 0.9
"""The share of rows that must have as many cells as the header."""

_SEPARATOR_LINE = re.compile(r'(?i)\A"?sep=([^\w"\\\r\n])"?(?:\r\n|\r|\n)')
_LINE_END = re.compile(r"\r\n|\r|\n")


def separator_line(text: str) -> tuple[str | None, str]:
    """The separator that Excel's first line ``sep=;`` says, or None; and the text after it."""
    found = _SEPARATOR_LINE.match(text)
    return (found[1], text[found.end() :]) if found else (None, text)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the sample.

    Attributes:
        cells: the number of cells.
        stray: text follows a closing quote, or a quoted cell is not closed.
        spans: a quoted cell goes over several lines.
        cut: it is the last row of a sample that ends before the file does.
        spaced: a cell begins with a space and a quote.
        escaped: a cell without quotes around it has a quote after a backslash.
        wrapped: as plain text, a cell begins and ends with a quote.
    """

    cells: int
    stray: bool = False
    spans: bool = False
    cut: bool = False
    spaced: bool = False
    escaped: bool = False
    wrapped: bool = False


class _Reading:
    """What a candidate makes of the sample."""

    def __init__(self, delimiter: str, quotes: str | None, rows: Iterator[_Row]) -> None:
        self.delimiter, self.quotes = delimiter, quotes
        read = list(islice(rows, _MOST_ROWS))
        self.spans = any(row.spans for row in read)
        read = [row for row in read if not row.cut]
        self.columns = read[0].cells if read else 0
        self.rows = read[1:]
        good = sum(row.cells == self.columns and not row.stray for row in self.rows)
        self.share = good / len(self.rows) if self.rows else 1.0
        self.strays = sum(row.stray for row in read)
        self.wrapped = any(row.wrapped for row in read)
        self.escaped = any(row.escaped for row in read)
        self.spaced = 2 * sum(row.spaced for row in read) > len(read)

    @property
    def fits(self) -> bool:
        return self.columns > 1 and self.share >= _FITTING


def find_dialect(
    text: str, complete: bool, path: str, file_format: FileFormat, flags: TextFlags
) -> FileFormat:
    """The format with the separator and the quotes of a file that begins with ``text``.

    Args:
        text: the first rows, without a byte order mark.
        complete: is it the whole file?
        path: the file, for messages.
        file_format: the format that its name says.
        flags: what the user says; it stands.

    Raises:
        UsageError: more than one reading fits.
    """
    said, text = separator_line(text)
    delimiter = flags.delimiter or said
    first = delimiter or file_format.delimiter
    chosen = _with_quotes(text, complete, first, flags.quotes)
    if delimiter is None and not chosen.fits:
        others = (separator for separator in _SEPARATORS if separator != first)
        readings = [_with_quotes(text, complete, other, flags.quotes) for other in others]
        best = max((reading.share for reading in readings if reading.fits), default=None)
        fitting = [reading for reading in readings if reading.fits and reading.share == best]
        if len(fitting) > 1:
            names = [repr(reading.delimiter) for reading in fitting]
            raise UsageError(
                f"cannot tell what separates the cells of {path}: {' and '.join(names)} fit its "
                "first rows; say which: --delimiter " + " or --delimiter ".join(names)
            )
        chosen = fitting[0] if fitting else chosen
    if flags.quotes is None:
        _check_quotes(chosen, text, complete, path)
    return replace(file_format, delimiter=chosen.delimiter, quotes=chosen.quotes)


def _with_quotes(text: str, complete: bool, delimiter: str, quotes: str | None) -> _Reading:
    """The reading with the quotes that are said, or that fit best."""
    if quotes is not None:
        kind = None if quotes == DOUBLED else quotes
        return _Reading(delimiter, kind, _rows(text, complete, delimiter, kind))
    doubled = _Reading(delimiter, None, _rows(text, complete, delimiter, None))
    if doubled.fits and not doubled.strays and not doubled.spans:
        return doubled
    if delimiter == "\t":
        plain = _plain(text, complete, delimiter)
        if plain.fits and plain.share == 1 and not plain.wrapped:
            return plain
    if doubled.strays and '\\"' in text:
        escaped = _Reading(
            delimiter, ESCAPED_QUOTES, _rows(text, complete, delimiter, ESCAPED_QUOTES)
        )
        if escaped.fits and not escaped.strays:
            return escaped
    return doubled


def _plain(text: str, complete: bool, delimiter: str) -> _Reading:
    return _Reading(delimiter, NO_QUOTES, _rows(text, complete, delimiter, NO_QUOTES))


def _check_quotes(chosen: _Reading, text: str, complete: bool, path: str) -> None:
    """``UsageError`` where the quotes of the sample may mean something else."""
    if chosen.quotes == ESCAPED_QUOTES and (other := re.search(r'\\[^"]', text)):
        raise UsageError(
            f'cannot tell what the backslashes of {path} mean: it has \\" in quoted cells, and '
            f"{other[0]!r}; if \\\\ stands for one backslash, say --quotes backslash, else write "
            'quotes inside of quoted cells twice ("")'
        )
    if chosen.columns < 2 or chosen.quotes == NO_QUOTES:
        return
    if chosen.spans:
        plain = _plain(text, complete, chosen.delimiter)
        if plain.fits and plain.share == 1 and plain.columns == chosen.columns:
            raise UsageError(
                f"cannot tell what the quotes of {path} mean: each line has {plain.columns} cells, "
                "and yet a quote begins a cell that goes over several lines; say --quotes none if "
                "quotes are plain characters, or --quotes doubled if they enclose cells"
            )
    if chosen.quotes is not None:
        return
    if chosen.spaced:
        raise UsageError(
            f"cells of {path} begin with a space and a quote, so the quotes would be part of the "
            'text; write the file without these spaces: python -c "import csv; '
            "csv.writer(open('NEW.csv', 'w', newline='')).writerows(csv.reader(open('FILE', "
            f"newline=''), delimiter={chosen.delimiter!r}, skipinitialspace=True))\""
        )
    if chosen.escaped:
        raise UsageError(
            f'cannot tell what \\" means in {path}, in cells without quotes around them: say '
            "--quotes backslash if it stands for a quote, or --quotes doubled if the backslash is "
            "part of the text"
        )
    if chosen.strays > (1 - _FITTING) * (len(chosen.rows) + 1):
        raise UsageError(
            f"cannot tell what the quotes of {path} mean: text follows a closing quote in "
            f"{chosen.strays:,} of its first {len(chosen.rows):,} rows; write quotes inside of "
            'quoted cells twice (""), or say --quotes none if quotes are plain characters'
        )


def _rows(text: str, complete: bool, delimiter: str, quotes: str | None) -> Iterator[_Row]:
    """The rows that are not blank."""
    rows = _plain_rows if quotes == NO_QUOTES else _quoted_rows
    held: _Row | None = None
    for row in rows(text, delimiter, quotes):
        if held is not None:
            yield held
        held = row
    if held is not None:
        yield held if complete else replace(held, stray=False, cut=True)


def _plain_rows(text: str, delimiter: str, quotes: str | None) -> Iterator[_Row]:
    for line in _LINE_END.split(text):
        if line:
            cells = line.split(delimiter)
            wrapped = any(c[:1] == '"' == c[-1:] and len(c) > 1 for c in cells)
            yield _Row(len(cells), wrapped=wrapped)


def _quoted_rows(text: str, delimiter: str, quotes: str | None) -> Iterator[_Row]:
    cells = 0
    stray = spans = spaced = escaped = False
    for cell in _cell_pattern(delimiter, escaped=quotes is not None).finditer(text):
        quoted, plain, end = cell.group("quoted", "plain", "end")
        cells += 1
        if quoted is not None:
            spans = spans or _LINE_END.search(quoted) is not None
            stray = stray or cell["closed"] is None
        else:
            stray = stray or plain.startswith('"')
            escaped = escaped or '\\"' in plain
            spaced = spaced or (plain.startswith(" ") and plain.lstrip(" ").startswith('"'))
        if end != delimiter:
            if cells > 1 or quoted is not None or plain:
                yield _Row(cells, stray, spans, spaced=spaced, escaped=escaped)
            cells, stray, spans, spaced, escaped = 0, False, False, False, False
            if not end:
                return


def _cell_pattern(delimiter: str, escaped: bool) -> re.Pattern[str]:
    separator = re.escape(delimiter)
    inner = r'[^"\\]*(?:(?:""|\\.)[^"\\]*)*' if escaped else r'[^"]*(?:""[^"]*)*'
    closed = rf'(?P<closed>")(?={separator}|[\r\n]|\Z)'
    return re.compile(
        rf'(?:"(?P<quoted>{inner})(?:{closed}|\Z)|(?P<plain>[^{separator}\r\n]*))'
        rf"(?P<end>{separator}|\r\n|\r|\n|\Z)",
        re.DOTALL,
    )
