"""The readers alone: each line, element and row once, wherever a file is cut."""

import csv
import gzip
import hashlib
import io
import json
import os
import tempfile
import threading
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from transforms.errors import BadInput
from transforms.formats import csv_text, delimited, json_array, json_lines, source_reader
from transforms.formats.csv_text import CsvText
from transforms.formats.file_names import format_of_name
from transforms.formats.source_reader import FileFormat
from transforms.records import ROW, Column, FileRange
from transforms.work_units import pack

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
COLUMNS = (Column("q", "string"),)
LINE = st.one_of(
    TEXT.map(lambda text: json.dumps({"q": text})),
    TEXT.map(lambda text: json.dumps({"q": text, "other": [1, {"a": None}]}, ensure_ascii=False)),
    st.sampled_from(["", "  ", '{"q": 1}', "{broken", '{"q": null}', "[1]"]),
)


def read(
    path: Path, file_format: FileFormat, pieces: list[FileRange], batch_bytes: int
) -> dict[int, object]:
    """Line or row number in the file -> cell, or the reject's code in a tuple."""
    found: dict[int, object] = {}
    for piece in pieces:
        before = source_reader.first_row(str(path), file_format, piece)
        for rows in source_reader.read(str(path), file_format, piece, COLUMNS, batch_bytes):
            numbers = rows.table[ROW].to_pylist()
            cells = [*zip(numbers, rows.table["q"].to_pylist(), strict=True)]
            if rows.rejects is not None:
                cells += [(r["row"], (r["code"],)) for r in rows.rejects.to_pylist()]
            for number, cell in cells:
                assert before + number not in found
                found[before + number] = cell
    return found


def expected(line: str) -> object:
    """What a line of ``LINE`` gives."""
    try:
        value = json.loads(line)
    except ValueError:
        return ("broken-json",)
    if not isinstance(value, dict):
        return ("not-an-object",)
    return ("not-text",) if isinstance(value["q"], int) else value["q"]


@given(
    lines=st.lists(LINE, max_size=12),
    ending=st.sampled_from(["\n", "\r\n"]),
    closed=st.booleans(),
    marked=st.booleans(),
    cuts=st.sets(st.integers(0, 400), max_size=5),
    batch_bytes=st.integers(1, 200),
)
def test_json_lines_give_each_line_once_wherever_they_are_cut(
    lines: list[str], ending: str, closed: bool, marked: bool, cuts: set[int], batch_bytes: int
) -> None:
    # A file that starts with a bracket is an array.
    lines = ['{"q": "first"}', *lines]
    data = ("\ufeff" if marked else "") + ending.join(lines) + (ending if closed else "")
    raw = data.encode()
    edges = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(raw)
        pieces = [FileRange("", a, b) for a, b in zip(edges, edges[1:], strict=False)]
        found = read(path, FileFormat("json_lines"), pieces, batch_bytes)
    wanted = {n: expected(line) for n, line in enumerate(lines, start=1) if line.strip()}
    assert found == wanted


@given(
    rows=st.lists(st.fixed_dictionaries({"q": TEXT, "x": st.integers() | st.none()}), max_size=9),
    indent=st.sampled_from([None, 2]),
    step=st.integers(1, 30),
)
def test_a_json_array_is_what_the_standard_library_reads(
    rows: list[dict[str, object]], indent: int | None, step: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "_STEP", step)
        path = Path(folder) / "rows.json"
        path.write_text(json.dumps(rows, indent=indent, ensure_ascii=False), encoding="utf-8")
        found = read(path, FileFormat("json_array"), [FileRange("", 0, 0)], 50)
    assert found == {n: row["q"] for n, row in enumerate(rows, start=1)}


ELEMENTS = st.lists(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(st.characters(codec=None), max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=6,
    ),
    max_size=5,
)


def elements(data: bytes, step: int) -> list[object]:
    """The elements of a JSON array as the reader takes them from a file, some bytes at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "_STEP", step)
        return [value for value, _ in json_array._elements(io.BytesIO(data), "rows.json")]


@given(
    values=ELEMENTS,
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
    step=st.integers(1, 40),
    space=st.sampled_from(["", " ", "\r\n\t"]),
)
def test_json_array_elements_are_those_of_the_standard_library(
    values: list[object], indent: int | None, ascii_only: bool, step: int, space: str
) -> None:
    text = f"{space}{json.dumps(values, indent=indent, ensure_ascii=ascii_only)}{space}"
    data = text.encode("utf-8", "surrogatepass")
    found = elements(data, step)
    if ascii_only or data == text.encode("utf-8", "replace"):  # raw surrogates are no UTF-8
        assert found == json.loads(text)
    assert len(found) == len(values)


@example(values=[None, -1e15], step=8, cut=0, junk="1")  # a step that ends at a decimal point
@given(values=ELEMENTS, step=st.integers(1, 40), cut=st.integers(0, 200), junk=st.text("]}, x1"))
def test_json_arrays_that_are_cut_or_go_on_are_errors(
    values: list[object], step: int, cut: int, junk: str
) -> None:
    data = json.dumps(values).encode()
    with pytest.raises(BadInput, match="not a complete JSON array"):
        elements(data[: min(cut, len(data) - 1)], step)
    if junk.strip():
        with pytest.raises(BadInput, match="more text after the closing bracket"):
            elements(data + junk.encode(), step)


def test_a_broken_element_is_found_without_reading_on() -> None:
    """What is wrong for good is no reason to hold the rest of the file."""
    file = io.BytesIO(b"[" + b'{"q": x},' * 10_000_000)
    with pytest.raises(BadInput, match="after 0 elements"):
        list(json_array._elements(file, "rows.json"))
    assert file.tell() <= 2 * json_array._STEP


NUMBERS = (*COLUMNS, Column("i", "int64"), Column("d", "double"), Column("b", "bool"))
INNER = st.sampled_from(
    ["[]", '{"a": [null, NaN]}', "1" * 5000, "[" * 2000 + "]" * 2000, '"\\ud800"', "-0", "1e999"]
)
OBJECT = st.dictionaries(st.sampled_from(["q", "i", "d", "b", "\\u0071"]), st.just(""), max_size=4)
CELLS = {
    "q": st.sampled_from(['"x"', '"\\u0000\\/ \u2028"', "null", '""', '"\\ud83d\\ude00"', "7"]),
    "i": st.sampled_from(["0", "-0", "9223372036854775807", "9223372036854775808", "1.0", "null"]),
    "d": st.sampled_from(
        ["1", "-0", "-0.0", "1e400", "-1e400", "1" + "0" * 400, "9007199254740993", "NaN", "0.1",
         "123456789.123456789123456789", "2.4703282292062328e-324", "18446744073709551616"]
    ),
    "b": st.sampled_from(["true", "false", "null", "1"]),
}  # fmt: skip


@st.composite
def object_lines(draw: st.DrawFn) -> str:
    """A line that is an object, or nearly; some of it only one of the two parsers takes."""
    odd = ["null", "null null", "{}", "{}{}", "{} null", '{"q": "a"}\0', "[]", "", " ", "{}x"]
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from(odd))
    names = draw(st.lists(st.sampled_from([*CELLS, "other"]), max_size=4))
    cells = [f'"{name}": {draw(CELLS.get(name, INNER))}' for name in names]
    return "{" + ", ".join(cells) + "}" + draw(st.sampled_from(["", "", " ", "\r"]))


@given(st.lists(object_lines(), min_size=1, max_size=4))
def test_how_a_json_line_is_read_does_not_depend_on_its_neighbours(lines: list[str]) -> None:
    """A broken line sends its whole block to the careful parser, which must agree."""

    def rows(*parts: str) -> list[object]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.jsonl"
            path.write_text("\n".join(["{}", *parts]) + "\n", encoding="utf-8", newline="")
            piece = FileRange("", 0, path.stat().st_size)
            found: list[object] = []
            for block in source_reader.read(str(path), FileFormat("json_lines"), piece, NUMBERS):
                # By repr, for which -0.0 is not 0.0 and NaN is NaN.
                found += [(row[ROW], repr(row)) for row in block.table.to_pylist()]
                if block.rejects is not None:
                    found += [(row["row"], row["code"]) for row in block.rejects.to_pylist()]
            return sorted(found)

    assert rows(*lines, "{broken") == [*rows(*lines), (len(lines) + 2, "broken-json")]


@pytest.mark.parametrize("size", [1999, 2000, 2001, 9000])
@pytest.mark.parametrize("batch_bytes", [1, 700, 2001, 2100, 10**6])
def test_a_line_that_is_too_long_is_one_reject_at_any_batch_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, batch_bytes: int
) -> None:
    monkeypatch.setattr(json_lines, "MAX_ROW_BYTES", 2000)
    long = '{"q": "a", "other": "' + "x" * (size - 23) + '"}'
    path = tmp_path / "rows.jsonl"
    path.write_text('{"q": "before"}\n' + long + '\n{"q": "behind"}\n')
    assert len(long) == size
    piece = FileRange("", 0, path.stat().st_size)
    found = read(path, FileFormat("json_lines"), [piece], batch_bytes)
    middle = "a" if size <= 2000 else ("row-too-large",)
    assert found == {1: "before", 2: middle, 3: "behind"}


def test_the_lines_before_a_piece_are_counted_again_when_the_file_has_changed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows.jsonl"
    for count in (5, 3):
        start = 0
        path.write_text('{"q": "a"}\n' * count + "{broken\n")
        os.utime(path, ns=(count, count))
        start = len('{"q": "a"}\n') * count
        found = read(path, FileFormat("json_lines"), [FileRange("", start, start + 8)], 99)
        assert found == {count + 1: ("broken-json",)}


@given(
    rows=st.lists(
        st.lists(st.text("ab,\"' \n\ré漢", max_size=6), min_size=1, max_size=3), max_size=12
    ),
    ending=st.sampled_from(["\n", "\r\n"]),
    delimiter=st.sampled_from([",", "\t"]),
    closed=st.booleans(),
    block=st.integers(80, 300),
)
def test_a_delimited_file_is_what_the_standard_library_reads(
    rows: list[list[str]], ending: str, delimiter: str, closed: bool, block: int
) -> None:
    """Also in blocks of some bytes, which end anywhere, and with ragged rows and blank lines."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=ending, delimiter=delimiter)
    writer.writerow(["q", "other"])
    if ending == "\n":  # a lone \r would then be written without quotes, as the end of a line
        rows = [[cell.replace("\r", "\n") for cell in row] for row in rows]
    for row in rows:
        writer.writerow(row)
        text.write(ending * (len(row) - 1))
    data = text.getvalue() if closed else text.getvalue().rstrip("\r\n")
    read_back = [
        row for row in csv.reader(io.StringIO(data, newline=""), delimiter=delimiter) if row
    ]
    assert read_back[1:] == rows
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "_BLOCK", block)
        path = Path(folder) / "rows.csv"
        path.write_text(data, encoding="utf-8", newline="")
        file_format = FileFormat("delimited", delimiter=delimiter)
        found = read(path, file_format, [FileRange("", 0, 0)], 50)
    wanted = {
        number: row[0] if len(row) == 2 else ("ragged-row",)
        for number, row in enumerate(rows, start=1)
    }
    assert found == wanted


@given(
    cells=st.lists(st.binary(max_size=6).filter(lambda c: not set(c) & set(b'",\r\n')), max_size=9),
    block=st.integers(80, 200),
)
@example(cells=[b"", b"\x80", b"\x80", b"\0\0\x80", b"\x80\0\x80", b"\0"], block=80)
def test_bytes_that_are_no_utf8_cost_their_row_only(cells: list[bytes], block: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "_BLOCK", block)
        path = Path(folder) / "rows.csv"
        path.write_bytes(b"q,other\n" + b"".join(b"<" + cell + b">,x\n" for cell in cells))
        found = read(path, FileFormat("delimited"), [FileRange("", 0, 0)], 50)

    def text(cell: bytes) -> object:
        try:
            return f"<{cell.decode()}>"
        except UnicodeDecodeError:
            return ("invalid-unicode",)

    assert found == {number: text(cell) for number, cell in enumerate(cells, start=1)}


def test_a_nul_hides_no_delimiter_that_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "_BLOCK", 200)
    path = tmp_path / "rows.csv"
    cells = ["many words so that Arrow looks at eight bytes at once", "\0"] * 20
    path.write_text("q,other\n" + "".join(f"{cell},x\n" for cell in cells))
    found = read(path, FileFormat("delimited"), [FileRange("", 0, 0)], 50)
    assert found == dict(enumerate(cells, start=1))


def test_a_header_of_utf_16_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes("q,other\nA question?,x\n".encode("utf-16-le"))
    with pytest.raises(BadInput, match="header .* contains NUL bytes, .* -f UTF-16"):
        read(path, FileFormat("delimited"), [FileRange("", 0, 0)], 50)


ROWS = [{"n": i, "q": f'Zeile {i}, "漢字"\nund mehr', "other": "x" * i} for i in range(40)]


def write(path: Path, rows: list[dict[str, object]], grain: int = 7) -> Path:
    """A file of these rows, of the format that its name tells; ``grain`` rows in each group."""
    table = pa.Table.from_pylist(rows)
    kind, compression = path.suffixes[0], path.suffixes[1:]
    if kind == ".parquet":
        pq.write_table(table, path, row_group_size=grain)
        return path
    if kind == ".arrow":
        opened = pa.ipc.new_file if "file" in path.name else pa.ipc.new_stream
        with opened(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=grain)
        return path
    if kind in (".csv", ".tsv"):
        text = io.StringIO()
        cells = csv.DictWriter(text, rows[0], delimiter="\t" if kind == ".tsv" else ",")
        cells.writeheader()
        cells.writerows(rows)
        data = text.getvalue()
    elif kind == ".json":
        data = json.dumps(rows, indent=1)
    else:
        data = "".join(json.dumps(row) + "\n" for row in rows)
    name = {".gz": "gzip", ".zst": "zstd"}.get("".join(compression))
    path.write_bytes(pa.compress(data.encode(), name, asbytes=True) if name else data.encode())
    return path


PLAIN = ("a.jsonl", "a.ndjson", "a.json", "a.csv", "a.tsv")
NAMES = (
    *PLAIN,
    *(f"{name}.{ending}" for name in PLAIN for ending in ("gz", "zst")),
    *("a.parquet", "stream.arrow", "file.arrow", "A.JSONL", "a.CSV.GZ"),
)


def plan(
    path: Path, unit_bytes: int, names: tuple[str, ...] = ("q",)
) -> tuple[FileFormat, list[FileRange]]:
    """The format and the pieces of a file as a plan makes them."""
    file_format = source_reader.read_sample(str(path), format_of_name(path.name)).file_format
    cuts = source_reader.cuts(
        str(path), file_format, path.name, path.stat().st_size, names, unit_bytes
    )
    return file_format, [piece for unit in pack(cuts, unit_bytes) for piece in unit.file_ranges]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch_bytes", [1, 500, 2**22])
@pytest.mark.parametrize("unit_bytes", [1, 300, 2**26])
def test_every_format_and_compression_gives_the_same_rows(
    tmp_path: Path, name: str, batch_bytes: int, unit_bytes: int
) -> None:
    path = tmp_path / name
    write(tmp_path / name.lower(), ROWS).rename(path)
    read_sample = source_reader.read_sample(str(path), format_of_name(name))
    assert [column.name for column in read_sample.columns] == ["n", "q", "other"]
    assert {c.name: c.type for c in read_sample.columns}["q"] == "string"
    # Arrow's files show their first batch.
    assert len(read_sample.sample) >= 7
    assert [row["q"] for row in read_sample.sample] == [
        row["q"] for row in ROWS[: len(read_sample.sample)]
    ]

    file_format, file_ranges = plan(path, unit_bytes)
    assert read(path, file_format, file_ranges, batch_bytes) == {
        n: r["q"] for n, r in enumerate(ROWS, start=1)
    }
    is_cut = ".gz" not in name.lower() and ".zst" not in name and "sv" not in name.lower()
    if unit_bytes == 300 and is_cut and file_format.name != "json_array":
        assert len(file_ranges) > 2


@pytest.mark.parametrize("name", ["a.parquet", "stream.arrow", "file.arrow"])
def test_any_run_of_groups_or_batches_has_its_rows_and_numbers(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, ROWS, grain=9)
    file_format = format_of_name(name)
    for start, stop in combinations(range(6), 2):
        found = read(path, file_format, [FileRange("", start, stop)], 200)
        wanted = list(enumerate((row["q"] for row in ROWS), start=1))[start * 9 : stop * 9]
        assert found == dict(wanted)


@pytest.mark.parametrize("name", ["a.parquet", "stream.arrow"])
@pytest.mark.parametrize(
    "change",
    [
        lambda column: column.cast(pa.large_string()),
        lambda column: column.cast(pa.string_view()),
        lambda column: column.dictionary_encode(),
        lambda column: pa.ExtensionArray.from_storage(pa.json_(), column.combine_chunks()),
    ],
    ids=["large", "view", "dictionary", "extension"],
)
def test_text_of_any_arrow_type_is_text(
    tmp_path: Path, name: str, change: Callable[[pa.ChunkedArray], pa.Array]
) -> None:
    column = pa.chunked_array([[row["q"] for row in ROWS]])
    table = pa.table({"q": change(column)})
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
    file_format = format_of_name(name)
    assert source_reader.read_sample(str(path), file_format).columns == COLUMNS
    for rows in source_reader.read(str(path), file_format, FileRange("", 0, 1), COLUMNS):
        assert rows.table.schema.field("q").type == pa.string()
    found = read(path, file_format, [FileRange("", 0, 1)], 2**20)
    assert list(found.values()) == [row["q"] for row in ROWS]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.csv"])
@pytest.mark.parametrize("batch_bytes", [1, 10**6])
def test_rejects_are_numbered_and_count_towards_a_limit_in_every_format(
    tmp_path: Path, name: str, limit: int, batch_bytes: int
) -> None:
    code = "ragged-row" if name == "a.csv" else "not-an-object"
    text = {
        "a.csv": 'q,x\n1,x\nbad\n"3\n3",x\n\nb,a,d\n5,x\n',
        "a.json": '[{"q": "1"}, 7, {"q": "3\\n3"}, [[]], {"q": "5"}]',
    }.get(name, '{"q": "1"}\n7\n{"q": "3\\n3"}\n[[]]\n{"q": "5"}')
    path = tmp_path / name
    packed = pa.compress(text.encode(), "gzip", asbytes=True)
    path.write_bytes(packed if name.endswith("gz") else text.encode())
    file_format, (piece,) = plan(path, 2**20)
    found = read(path, file_format, [FileRange("", piece.start, piece.stop, limit)], batch_bytes)
    everything = {1: "1", 2: (code,), 3: "3\n3", 4: (code,), 5: "5"}
    assert found == dict(list(everything.items())[:limit])


@pytest.mark.parametrize("limit", range(1, 7))
def test_a_limit_takes_the_first_rows_rejects_among_them(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"q": "1"}\n{"q": 2}\n\n{"q": "4"}\n{broken\n{"q": "6"}\n')
    found = read(
        path, FileFormat("json_lines"), [FileRange("", 0, path.stat().st_size, limit)], 1000
    )
    everything = {1: "1", 2: ("not-text",), 4: "4", 5: ("broken-json",), 6: "6"}
    assert found == dict(list(everything.items())[:limit])


@pytest.mark.parametrize("kept", ["file", "block"])
def test_a_delimited_file_is_left_when_arrow_has_given_all_of_it_back(kept: str) -> None:
    text = CsvText(io.BytesIO(b"q\nan answer\n"), "rows.csv", FileFormat("delimited"), 1, "\n")
    file = text.lend()
    held = {"file": file, "block": file.read(4)}
    del file
    held = {kept: held[kept]}
    leaving = threading.Thread(target=text.close)
    leaving.start()
    leaving.join(0.05)
    assert leaving.is_alive()
    held.clear()
    leaving.join(5)
    assert not leaving.is_alive()


def test_the_name_of_a_delimited_file_is_no_message_of_arrows(tmp_path: Path) -> None:
    path = tmp_path / "straddling.csv"
    path.write_text('q\n"an answer\n')
    rows = source_reader.read(
        str(path), FileFormat("delimited"), FileRange("", 0, 0), [Column("q", "string")], 500
    )
    with pytest.raises(BadInput, match="ends inside a quoted cell"):
        list(rows)


@pytest.mark.parametrize("kept", [20, 3000])
def test_a_damaged_delimited_file_is_given_back_as_well(
    kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    class Noted(CsvText):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(delimited, "CsvText", Noted)
    monkeypatch.setattr(csv_text, "_PATIENCE", 5.0)
    monkeypatch.setattr(delimited, "_BLOCK", 500)
    path, file_format = tmp_path / "rows.csv.gz", FileFormat("delimited", "gzip")
    text = "q\n" + "".join(f"{hashlib.sha256(bytes([n])).hexdigest()}\n" for n in range(200))
    path.write_bytes(gzip.compress(text.encode())[:kept])
    rows = source_reader.read(
        str(path), file_format, FileRange("", 0, 0), [Column("q", "string")], 500
    )
    with pytest.raises(BadInput, match="Truncated compressed stream"):
        list(rows)
    assert made
    assert not any(text._is_lent() for text in made)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.data())
def test_row_groups_without_a_wanted_row_are_passed_over(
    sizes: list[int], data: st.DataObject
) -> None:
    total = sum(sizes)
    wanted = sorted(data.draw(st.sets(st.integers(1, total))))
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/a.parquet"
        texts = [f"row {n}" for n in range(1, total + 1)]
        table = pa.table({"q": texts})
        with pq.ParquetWriter(path, table.schema) as writer:
            for end, size in zip(np.cumsum(sizes).tolist(), sizes, strict=True):
                writer.write_table(table.slice(end - size, size))
        piece = FileRange("a.parquet", 0, len(sizes))
        found: dict[int, str] = {}
        numbers = np.array(wanted, np.int64)
        for rows in source_reader.read(path, FileFormat("parquet"), piece, COLUMNS, 40, numbers):
            found.update(zip(rows.table[ROW].to_pylist(), rows.table["q"].to_pylist(), strict=True))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    needed = {int(groups[row - 1]) for row in wanted}
    assert found == {
        row: f"row {row}" for row in range(1, total + 1) if int(groups[row - 1]) in needed
    }
