"""CSV and TSV with a header line: every column is text, and one unit reads a whole file.

Encoding, separator and quotes are found in the first bytes of the first file, or said by the user;
they are part of the plan.  Quoted cells may contain line breaks, so a byte range does not know
where a row starts.  A row with more or fewer cells than the header is rejected.  An unclosed quote
would make one cell of the rest of the file, so the file must end outside of quotes.

Columns without a name: those after the last name must be blank, as spreadsheets write them; others
(the index that pandas writes) are called ``Unnamed: 0``, as pandas reads them.
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from transforms.errors import BadInput
from transforms.formats.arrow_types import as_text, check_schema, text_rows, unique_names
from transforms.formats.csv_text import (
    NOT_TEXT,
    NUL,
    QUOTE,
    STRAY,
    UNCLEAR,
    CsvText,
    restored,
)
from transforms.formats.dialects import DOUBLED, NO_QUOTES, find_dialect
from transforms.formats.encodings import find_encoding
from transforms.formats.opening import open_binary
from transforms.formats.source_rows import (
    BATCH_BYTES,
    SAMPLE_ROWS,
    FileFormat,
    FileSample,
    SourceRows,
    require_few,
)
from transforms.options import NO_FLAGS, TextFlags
from transforms.records import EXCERPT_CHARS, ROW, Column, FileRange, rejects_table

_BLOCK = BATCH_BYTES
"""Bytes that Arrow parses at a time; a row that is longer than a block is an error."""

_START_BYTES = 2**20
"""Bytes from which encoding, separator and quotes are found."""

_END = "\ufdd0\ufdd2\ufdd1"
"""A cell that no text contains."""


def read_sample(path: str, file_format: FileFormat, flags: TextFlags = NO_FLAGS) -> FileSample:
    """Columns from the header; the sample's cells are text.

    Raises:
        UsageError: encoding, separator or quotes are not clear.
    """
    file_format = _found_format(path, file_format, flags)
    header = _header(path, file_format)
    columns = header.columns
    batches = _read(path, file_format, header, columns)
    first = next((rows for rows in batches if rows.read), None)
    if first is None:
        return FileSample(file_format, columns, [])
    if first.rejects is not None and not first.table.num_rows:
        if "unnamed-cell" in first.rejects["code"].to_pylist():
            raise BadInput(
                f"cells of {path} lie behind its last named column; name their columns in the "
                "header, or empty them"
            )
        raise BadInput(
            f"none of the first {first.read:,} rows of {path} can be read: expected "
            f"{(file_format.encoding or 'utf-8').upper()} text with {len(header.raw):,} cells a "
            f"row, as in the header, separated by {file_format.delimiter!r}; see --encoding, "
            "--delimiter and --quotes"
        )
    return FileSample(file_format, columns, text_rows(first.table.slice(0, SAMPLE_ROWS)))


def _found_format(path: str, file_format: FileFormat, flags: TextFlags) -> FileFormat:
    with open_binary(path, file_format.compression) as file:
        start = b""
        while len(start) < _START_BYTES and (data := file.read(_START_BYTES - len(start))):
            start += data
    complete = len(start) < _START_BYTES
    name = flags.encoding or find_encoding(start, path)
    encoding = None if name in ("utf-8", "utf-8-sig") else name
    text = codecs.getincrementaldecoder(encoding or "utf-8")("replace").decode(start, complete)
    text = text.removeprefix("\ufeff").lstrip("\r\n")
    if encoding is None and "\0" in text[:1000]:
        return replace(file_format, quotes=None if flags.quotes == DOUBLED else flags.quotes)
    found = find_dialect(text, complete, path, file_format, flags)
    require_few(text.partition("\n")[0].count(found.delimiter), path)
    return replace(found, encoding=encoding)


def read_columns(path: str, file_format: FileFormat) -> tuple[Column, ...]:
    """Columns from the header."""
    return _header(path, file_format).columns


def read(
    path: str,
    file_format: FileFormat,
    file_range: FileRange,
    columns: Sequence[Column],
    batch_bytes: int,
) -> Iterator[SourceRows]:
    """The rows after the header, numbered from 1, in batches of the parser's own size."""
    header = _header(path, file_format)
    schema = pa.schema([(name, pa.string()) for name in header.names])
    present = set(check_schema(schema, columns, path))
    own = [column for column in columns if column.name in present]
    for rows in _read(path, file_format, header, own):
        yield rows if len(own) == len(columns) else _with_nulls(rows, columns)


def _with_nulls(rows: SourceRows, columns: Sequence[Column]) -> SourceRows:
    """The rows with all columns, of which a file may lack optional ones."""
    table = as_text(rows.table, columns).append_column(ROW, rows.table[ROW])
    return SourceRows(table, rows.rejects)


def _read(
    path: str, file_format: FileFormat, header: _Header, columns: Sequence[Column]
) -> Iterator[SourceRows]:
    shown = [*header.positions(columns), *header.blank]
    ragged: deque[tuple[int, str, str]] = deque()

    def skip(row: pcsv.InvalidRow) -> str:
        # The parser counts the header as row 1.
        code = "stray-quote" if STRAY in row.text else "ragged-row"
        ragged.append((row.number - 1, code, row.text[:EXCERPT_CHARS]))
        return "skip"

    last = 0
    end = "\n" + file_format.delimiter.join([_END] * len(header.raw)) + "\n"
    with (
        open_binary(path, file_format.compression) as file,
        closing(CsvText(file, path, file_format, len(header.raw), end)) as text,
        _explained(path, text),
        closing(_open(text, file_format, len(header.raw), shown, skip)) as batches,
    ):
        for batch in _without_end(batches, path):
            # The parser reads ahead: only the ragged rows before the end of this batch are due.
            numbers, passed = [], []
            for _ in range(batch.num_rows):
                last += 1
                while ragged and ragged[0][0] == last:
                    passed.append(ragged.popleft())
                    last += 1
                numbers.append(last)
            yield _rows(batch, columns, numbers, passed, text)
        if ragged:
            empty = pa.RecordBatch.from_pylist([], pa.schema([(n, pa.string()) for n in shown]))
            yield _rows(empty, columns, [], list(ragged), text)


@contextmanager
def _explained(path: str, text: CsvText) -> Iterator[None]:
    """Raises the failure of the file, rather than the error that follows from its early end."""
    try:
        yield
    except (pa.ArrowInvalid, BadInput) as error:
        if text.failed is not None:
            raise text.failed from None
        # A BadInput is ours; it contains the name of the file, which may be any text.
        if isinstance(error, BadInput) or "straddling" not in str(error):
            raise
        raise BadInput(
            f"{path} has a row longer than the limit of {_BLOCK:,} bytes, or an unclosed quote; "
            "correct the row, or convert the file to JSON Lines"
        ) from error


@dataclass(frozen=True)
class _Header:
    """The names of a file's columns.

    Attributes:
        raw: all of them; some may be blank.
        names: those that can be read; blank ones have a name of our own.
        blank: the positions after the last name, which must hold nothing.
    """

    raw: tuple[str, ...]

    @property
    def _named(self) -> int:
        return max((at for at, name in enumerate(self.raw) if name.strip()), default=-1) + 1

    @property
    def names(self) -> tuple[str, ...]:
        named = self.raw[: self._named]
        return tuple(name if name.strip() else f"Unnamed: {at}" for at, name in enumerate(named))

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that can be read."""
        return tuple(Column(name, "string") for name in self.names)

    @property
    def blank(self) -> list[str]:
        return [str(at) for at in range(self._named, len(self.raw))]

    def positions(self, columns: Sequence[Column]) -> list[str]:
        """The positions of columns, as the text that Arrow knows them by."""
        at = {name: str(number) for number, name in enumerate(self.names)}
        return [at[column.name] for column in columns]


def _header(path: str, file_format: FileFormat) -> _Header:
    with (
        open_binary(path, file_format.compression) as file,
        closing(CsvText(file, path, file_format, 0, "\n")) as text,
        _explained(path, text),
    ):
        options = pcsv.ReadOptions(use_threads=False, block_size=_BLOCK)
        parsing = _parsing(file_format, lambda row: "skip")
        raw: list[str] = pcsv.open_csv(text.lend(), options, parsing).schema.names
    require_few(len(raw), path)
    if any(NOT_TEXT in name for name in raw):
        raise BadInput(
            f"the header of {path} is not {file_format.encoding or 'UTF-8'} text; name its "
            "encoding with --encoding, or convert the file first (iconv -t UTF-8)"
        )
    if any(NUL in name for name in raw):
        raise BadInput(
            f"the header of {path} contains NUL bytes, as UTF-16 text does; name its encoding "
            "with --encoding, or convert the file first (iconv -f UTF-16 -t UTF-8)"
        )
    if any(STRAY in name or UNCLEAR in name for name in raw):
        raise BadInput(
            f"the header of {path} has text after a closing quote, or an unclear backslash; write "
            'quotes inside of quoted names twice ("")'
        )
    header = _Header(tuple(restored(name) for name in raw))
    if not header.names:
        raise BadInput(f"the header of {path} is blank; expected the names of its columns")
    unique_names(header.names, path)
    return header


def _open(
    text: CsvText,
    file_format: FileFormat,
    width: int,
    shown: Sequence[str],
    skip: Callable[[pcsv.InvalidRow], str],
) -> Generator[pa.RecordBatch, None, None]:
    # Columns are named by their positions, since names may be blank.
    names = [str(at) for at in range(width)]
    conversion = pcsv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        include_columns=list(shown),
        strings_can_be_null=False,
        check_utf8=False,  # ``CsvText`` did
    )
    options = pcsv.ReadOptions(
        use_threads=False, block_size=_BLOCK, column_names=names, skip_rows_after_names=1
    )
    yield from pcsv.open_csv(text.lend(), options, _parsing(file_format, skip), conversion)


def _parsing(file_format: FileFormat, skip: Callable[[pcsv.InvalidRow], str]) -> pcsv.ParseOptions:
    return pcsv.ParseOptions(
        delimiter=file_format.delimiter,
        quote_char=False if file_format.quotes == NO_QUOTES else '"',
        newlines_in_values=True,
        invalid_row_handler=skip,
    )


def _without_end(batches: Iterator[pa.RecordBatch], path: str) -> Iterator[pa.RecordBatch]:
    """The batches without the last row, which must be the one that ``_Utf8`` added."""
    held: pa.RecordBatch | None = None
    for batch in batches:
        if batch.num_rows:
            if held is not None:
                yield held
            held = batch
    if held is None or held[0][-1].as_py() != _END:
        raise BadInput(
            f"{path} ends inside a quoted cell: an unclosed quote makes one cell of the rest of "
            "the file; close the quote, or double it if it is part of the text, or say --quotes "
            "none if all quotes are plain characters"
        )
    yield held.slice(0, held.num_rows - 1)


def _rows(
    batch: pa.RecordBatch,
    columns: Sequence[Column],
    numbers: list[int],
    ragged: list[tuple[int, str, str]],
    text: CsvText,
) -> SourceRows:
    """The rows of a batch, whose last columns, which have no name, must be blank."""
    names = [column.name for column in columns]
    arrays: list[pa.Array] = batch.columns
    if text.has_nul:
        arrays = [pc.replace_substring(array, NUL, "\0") for array in arrays]
    if text.has_escapes:
        arrays = [pc.replace_substring(array, QUOTE, '"') for array in arrays]
    bad = {row: (code, excerpt) for row, code, excerpt in ragged}
    for array in arrays[len(names) :]:
        filled = pc.not_equal(pc.utf8_trim_whitespace(array), "")
        _note(bad, "unnamed-cell", numbers, array, filled)
    for mark, code in _marks(text):
        for array in arrays[: len(names)]:
            _note(bad, code, numbers, array, pc.match_substring(array, mark))
    table = pa.table([*arrays[: len(names)], pa.array(numbers, pa.int64())], names=[*names, ROW])
    if not bad:
        return SourceRows(table)
    table = table.filter(pc.invert(pc.is_in(table[ROW], pa.array(bad, pa.int64()))))
    rejects = sorted((row, code, restored(excerpt)) for row, (code, excerpt) in bad.items())
    return SourceRows(table, rejects_table(rejects))


def _marks(text: CsvText) -> list[tuple[str, str]]:
    """The placeholders that reject a row, with its code."""
    marks = [(NOT_TEXT, "invalid-unicode")] if text.was_repaired else []
    return [*marks, (UNCLEAR, "unclear-backslash")] if text.has_escapes else marks


def _note(
    bad: dict[int, tuple[str, str]], code: str, numbers: list[int], array: pa.Array, at: pa.Array
) -> None:
    """Adds the rows where ``at`` is true, with their cells; the first fault of a row counts."""
    for place in pc.indices_nonzero(at).to_pylist():
        bad.setdefault(numbers[place], (code, array[place].as_py()[:EXCERPT_CHARS]))
