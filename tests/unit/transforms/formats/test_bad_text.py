"""Delimited and compressed files: ragged rows are rejects, what would swallow rows is an error."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from command_runs import has, put
from conversions import Convert
from source_files import (
    CSV_ROW,
    GOOD,
    ROWS,
)


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_ragged_rows(convert: Convert, tmp_path: Path, kind: str) -> None:
    rows = ["question,answer\n", *[CSV_ROW] * 40]
    rows[3:3] = ["too,many,cells\n"]
    rows[20:20] = ["\n", "too few\n", '"quoted\nover lines",and,more\n']
    rows.append("one,too,many")
    text = "".join(rows)
    path = put(tmp_path / f"a.{kind}", text.replace(",", "\t") if kind == "tsv" else text)
    ended = convert("--dataset", path, "--dedup", "off", "--max-reject-rate", "0.2")
    assert ended.code == 0, ended.err
    # Rows are counted, not lines, and blank lines are no rows.
    assert ended.rejects == [(path.name, n, "ragged-row") for n in (3, 20, 21, 44)]
    assert len(ended.rows()) == 40


def test_cells_and_ragged_rows_that_are_no_utf8(convert: Convert, tmp_path: Path) -> None:
    good = CSV_ROW.encode()
    rows = [good, b"gr\xfcn,It is.\n", good, b"a\xff,b,c\n", *["grün,It is.\n".encode()] * 3]
    path = put(tmp_path / "a.csv", b"question,answer\n" + b"".join(rows))
    ended = convert("--dataset", path, "--dedup", "off", "--max-reject-rate", "0.5")
    assert ended.code == 0, ended.err
    assert ended.rejects == [("a.csv", 2, "invalid-unicode"), ("a.csv", 4, "ragged-row")]
    assert len(ended.rows()) == 5


def test_a_file_of_bad_rows_only(convert: Convert, tmp_path: Path) -> None:
    ended = convert("--dataset", put(tmp_path / "a.csv", "question,answer\na,b,c\nd\n"))
    assert ended.code == 3
    assert has(ended.err, "none of the first 2 rows", "a.csv", "2 cells", "','")


@pytest.mark.parametrize(
    "row",
    ['What is it?,"It is.', '"', '"a""'],
)
def test_a_quote_that_is_not_closed(convert: Convert, tmp_path: Path, row: str) -> None:
    """All that follows would be one cell, and one reject at most."""
    text = "question,answer\n" + CSV_ROW * 99 + row
    ended = convert("--dataset", put(tmp_path / "a.csv", text))
    assert ended.code == 3
    assert has(ended.err, "a.csv", "ends inside a quoted cell", "unclosed quote")


def test_a_row_too_long_for_the_parser(convert: Convert, tmp_path: Path) -> None:
    row = '"' + "What is it? " * 1_000_000 + '",It is.\n'
    ended = convert("--dataset", put(tmp_path / "a.csv", "question,answer\n" + CSV_ROW + row))
    assert ended.code == 3
    assert has(ended.err, "a.csv", "longer than", "JSON Lines")


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("left", [-1, -8, 0.5])
@pytest.mark.parametrize("first", [b"", GOOD], ids=["one member", "second member"])
def test_truncated(
    convert: Convert, tmp_path: Path, compression: str, left: float, first: bytes
) -> None:
    packed = pa.compress(GOOD, compression, asbytes=True)
    cut = packed[: int(left) if left < 0 else int(len(packed) * left)]
    whole = pa.compress(first, compression, asbytes=True) if first else b""
    name = {"gzip": "a.jsonl.gz", "zstd": "a.jsonl.zst"}[compression]
    ended = convert("--dataset", put(tmp_path / name, whole + cut))
    assert ended.code == 3
    assert has(ended.err, "cannot read", name, "runcated", "damaged", "replace it")


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_several_members_are_one_file(convert: Convert, tmp_path: Path, compression: str) -> None:
    middle = GOOD.index(b"\n", len(GOOD) // 2) - 5
    parts = (GOOD[:middle], GOOD[middle:])
    data = b"".join(pa.compress(part, compression, asbytes=True) for part in parts)
    name = {"gzip": "a.jsonl.gz", "zstd": "a.jsonl.zst"}[compression]
    ended = convert("--dataset", put(tmp_path / name, data))
    assert ended.code == 0, ended.err
    assert len(ended.rows()) == len(ROWS)


def test_a_changed_byte(convert: Convert, tmp_path: Path) -> None:
    data = bytearray(gzip.compress(GOOD))
    data[len(data) // 2] ^= 1
    ended = convert("--dataset", put(tmp_path / "a.jsonl.gz", bytes(data)))
    assert ended.code == 3
    assert has(ended.err, "a.jsonl.gz", "damaged")
