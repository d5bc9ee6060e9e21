"""The readers alone: each line, element and row once, wherever a file is cut."""

import csv
import io
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms import formats
from transforms.formats import Format, json_array
from transforms.records import ROW, Column, Piece

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
COLUMNS = (Column("q", "string"),)
LINE = st.one_of(
    TEXT.map(lambda text: json.dumps({"q": text})),
    TEXT.map(lambda text: json.dumps({"q": text, "other": [1, {"a": None}]}, ensure_ascii=False)),
    st.sampled_from(["", "  ", '{"q": 1}', "{broken", '{"q": null}', "[1]"]),
)


def read(path: Path, form: Format, pieces: list[Piece], batch_bytes: int) -> dict[int, object]:
    """Line or row number in the file -> cell, or the reject's code in a tuple."""
    found: dict[int, object] = {}
    for piece in pieces:
        before = formats.first_row(str(path), form, piece)
        for rows in formats.read(str(path), form, piece, COLUMNS, batch_bytes):
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
        pieces = [Piece("", a, b) for a, b in zip(edges, edges[1:], strict=False)]
        found = read(path, Format("json_lines"), pieces, batch_bytes)
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
        found = read(path, Format("json_array"), [Piece("", 0, 0)], 50)
    assert found == {n: row["q"] for n, row in enumerate(rows, start=1)}


@given(st.lists(st.text("ab,\"' \né", max_size=8), max_size=9))
def test_a_delimited_file_is_what_the_standard_library_reads(cells: list[str]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["q", "other"])
    writer.writerows([cell, "x"] for cell in cells)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        path.write_text(text.getvalue(), encoding="utf-8", newline="")
        found = read(path, Format("delimited"), [Piece("", 0, 0)], 50)
    assert found == dict(enumerate(cells, start=1))


@pytest.mark.parametrize("limit", range(1, 7))
def test_a_limit_takes_the_first_rows_rejects_among_them(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"q": "1"}\n{"q": 2}\n\n{"q": "4"}\n{broken\n{"q": "6"}\n')
    found = read(path, Format("json_lines"), [Piece("", 0, path.stat().st_size, limit)], 1000)
    everything = {1: "1", 2: ("not-text",), 4: "4", 5: ("broken-json",), 6: "6"}
    assert found == dict(list(everything.items())[:limit])
