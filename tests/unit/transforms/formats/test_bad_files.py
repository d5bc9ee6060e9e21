"""Files that are damaged, empty or not what their names say, and types of their columns."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_runs import has, put
from conversions import Convert
from source_files import (
    CSV_ROW,
    GOOD,
    NAMED,
    ROWS,
    TABLE,
    parquet,
    stream,
    table_of,
)


@pytest.mark.parametrize("left", [0.5, 0.99, "footer", "magic"])
def test_truncated_parquet(convert: Convert, tmp_path: Path, left: float | str) -> None:
    path = parquet(tmp_path / "a.parquet", TABLE)
    data = path.read_bytes()
    size = {"footer": len(data) - 8, "magic": 4}.get(str(left)) or int(len(data) * float(left))
    put(path, data[:size])
    ended = convert("--dataset", path)
    assert ended.code == 3
    assert has(ended.err, "cannot read", "a.parquet", "damaged", "replace it")


def test_parquet_with_damaged_pages(convert: Convert, tmp_path: Path) -> None:
    """Found by a worker, not by the plan: the footer and the first rows are fine."""
    texts = [os.urandom(60).hex() for _ in range(4000)]
    path = parquet(
        tmp_path / "a.parquet", table_of(answer=texts), row_group_size=1000, compression="zstd"
    )
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    put(path, bytes(data))
    ended = convert("--dataset", path, *NAMED)
    assert ended.code == 3
    assert has(ended.err, "cannot read", "a.parquet", "damaged")


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "json", "csv", "arrow", "csv.gz"])
def test_a_file_of_no_bytes(convert: Convert, tmp_path: Path, kind: str) -> None:
    ended = convert("--dataset", put(tmp_path / f"a.{kind}", b""))
    assert ended.code == 3
    assert has(ended.err, f"a.{kind}", "is empty")


def test_a_parquet_file_of_no_bytes_among_others(convert: Convert, tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.parquet", b"")
    parquet(tmp_path / "in" / "b.parquet", TABLE)
    ended = convert("--dataset", tmp_path / "in" / "*.parquet")
    assert ended.code == 3
    assert has(ended.err, "a.parquet", "cannot read")


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.parquet", GOOD, "damaged, or not of the format"),
        ("a.arrow", GOOD, "no end-of-stream marker"),
        ("a.jsonl", b"PAR1" + bytes(range(256)) * 9, "is a Parquet file"),
        ("a.jsonl", b"hello\nworld\n", "not JSON Lines"),
        ("a.jsonl", GOOD.decode().encode("utf-16"), "iconv -t UTF-8"),
        ("a.jsonl.gz", GOOD, "is plain text"),
        ("a.jsonl.zst", GOOD, "is plain text"),
        ("a.csv", b"\n\n", "damaged, or not of the format"),
    ],
)
def test_not_what_its_name_says(
    convert: Convert, tmp_path: Path, name: str, data: bytes, says: str
) -> None:
    ended = convert("--dataset", put(tmp_path / name, data))
    assert ended.code == 3
    assert has(ended.err, name, says)


@pytest.mark.parametrize(
    "name", ["rows.parquet", "groups.parquet", "a.arrow", "a.csv", "b.csv", "a.json", "a.jsonl"]
)
def test_no_rows(convert: Convert, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "groups.parquet":
        pq.ParquetWriter(path, TABLE.schema).close()
    elif name == "rows.parquet":
        parquet(path, TABLE.slice(0, 0))
    elif name == "a.arrow":
        stream(path, TABLE.slice(0, 0))
    else:
        text = {"a.csv": "question,answer\n", "b.csv": "question,answer", "a.json": "[ ]"}
        put(path, text.get(name, "\n \n\r\n"))
    ended = convert("--dataset", path)
    assert ended.code == 3
    assert has(ended.err, name, "contains no rows")


def test_a_first_file_without_rows_among_others(convert: Convert, tmp_path: Path) -> None:
    parquet(tmp_path / "in" / "a.parquet", TABLE.slice(0, 0))
    parquet(tmp_path / "in" / "b.parquet", TABLE)
    ended = convert("--dataset", tmp_path / "in")
    assert ended.code == 0, ended.err
    assert len(ended.rows()) == len(ROWS)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize(
    ("second", "says"),
    [
        (
            table_of(answer=[1, 2]),
            ["'answer'", "int64", "string", "in another file; make the types equal"],
        ),
        (
            table_of(remark=["a", "b"]),
            ["no column 'answer', which the first file has", "found question, remark"],
        ),
        (
            table_of(answer=[["a"], ["b"]]),
            ["'answer'", "list", "in another file; make the types equal"],
        ),
    ],
    ids=["other type", "missing", "nested"],
)
def test_files_of_different_schemas(
    convert: Convert, tmp_path: Path, kind: str, second: pa.Table, says: list[str]
) -> None:
    write = {"parquet": parquet, "arrow": stream}[kind]
    write(tmp_path / "in" / f"a.{kind}", TABLE)
    write(tmp_path / "in" / f"b.{kind}", second)
    ended = convert("--dataset", tmp_path / "in")
    assert ended.code == 3
    assert has(ended.err, f"b.{kind}", *says)


def test_csv_without_a_column(convert: Convert, tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.csv", f"question,answer\n{CSV_ROW}")
    put(tmp_path / "in" / "b.csv", f"question,reply\n{CSV_ROW}")
    ended = convert("--dataset", tmp_path / "in")
    assert ended.code == 2
    assert has(ended.err, "2 columns could be the answer", "'reply' is in b.csv")
    ended = convert(
        "--dataset", tmp_path / "in", "--fields", "instruction=question,response=answer"
    )
    assert ended.code == 3
    assert has(ended.err, "b.csv", "no column 'answer'", "found question, reply")


def test_another_order_of_the_columns_is_fine(convert: Convert, tmp_path: Path) -> None:
    parquet(tmp_path / "in" / "a.parquet", TABLE.slice(0, 20))
    second = TABLE.slice(20).select(["answer", "question"]).append_column("n", [range(20)])
    parquet(tmp_path / "in" / "b.parquet", second)
    ended = convert("--dataset", tmp_path / "in")
    assert ended.code == 0, ended.err
    pairs = {(row["instruction"], row["response"]) for row in ended.rows()}
    assert pairs == {(row["question"], row["answer"]) for row in ROWS}


def test_a_mixture_of_formats(convert: Convert, good: Path) -> None:
    put(good.parent / "b.json", json.dumps(ROWS))
    parquet(good.parent / "c.parquet", TABLE)
    ended = convert("--dataset", good.parent / "*")
    assert ended.code == 2
    assert has(ended.err, "c.parquet", "different formats", "glob")


def test_a_json_array_behind_json_lines(convert: Convert, good: Path) -> None:
    put(good.parent / "z.jsonl", json.dumps(ROWS))
    ended = convert("--dataset", good.parent / "*.jsonl")
    assert ended.code == 3
    assert has(ended.err, "z.jsonl", "JSON array", "separately")


@pytest.mark.parametrize("kind", ["parquet", "arrow", "csv"])
def test_a_column_name_that_stands_twice(convert: Convert, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    table = pa.table([["a b c"], ["d e f"], ["g h i"]], names=["question", "answer", "answer"])
    if kind == "csv":
        put(path, "question,answer,answer\na b c,d e f,g h i\n")
    else:
        {"parquet": parquet, "arrow": stream}[kind](path, table)
    ended = convert("--dataset", path)
    assert ended.code == 3
    assert has(ended.err, f"a.{kind}", "more than one column named 'answer'", "rename")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (pa.array(["It is so."]).dictionary_encode(), "It is so."),
        (pa.array(["It is so."], pa.large_string()), "It is so."),
        (pa.array(["It is so."], pa.string_view()), "It is so."),
        (pa.array(["It is so."], pa.large_string()).dictionary_encode(), "It is so."),
        (pa.array([Decimal("1.50")], pa.decimal128(10, 2)), "1.50"),
        (pa.array([Decimal("-1.5")], pa.decimal256(50, 1)), "-1.5"),
        (pa.array([2**64 - 1], pa.uint64()), "18446744073709551615"),
        (pa.array([7]).dictionary_encode(), "7"),
        (pa.array([1.5], pa.float16()), "1.5"),
        (pa.array([True]), "true"),
        (pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}'])), '{"a": 1}'),
    ],
    ids=lambda value: str(value.type)[:24] if isinstance(value, pa.Array) else "",
)
@pytest.mark.parametrize("write", [parquet, stream])
def test_text_of_any_arrow_type(
    convert: Convert, tmp_path: Path, values: pa.Array, text: str, write: Any
) -> None:
    if write is parquet and isinstance(values, pa.DictionaryArray):
        values = values.cast(values.type.value_type)  # Parquet keeps few kinds of dictionaries
    kind = "parquet" if write is parquet else "arrow"
    ended = convert("--dataset", write(tmp_path / f"a.{kind}", table_of(answer=values)), *NAMED)
    assert ended.code == 0, ended.err
    assert [row["response"] for row in ended.rows()] == [text]
