"""Rows that no trainer could use are rejects with reason and place; others stay as they are."""

from __future__ import annotations

import json
import math
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from command_runs import has, lines, put
from conversions import Convert
from source_files import (
    NAMED,
    ODD_TEXTS,
    ROWS,
    TABLE,
    odd_texts,
    parquet,
    stream,
    table_of,
)


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"question": None, "answer": "It is."}, "null-instruction"),
        ({"question": "", "answer": "It is."}, "empty-instruction"),
        ({"question": " \t\n\u00a0\u3000", "answer": "It is."}, "blank-instruction"),
        ({"answer": "It is."}, "null-instruction"),
        ({"question": "What?", "answer": None}, "null-response"),
        ({"question": "What?", "answer": ""}, "empty-response"),
        ({"question": "What?", "answer": "\r\n"}, "blank-response"),
        ({"question": "What?"}, "null-response"),
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_null_empty_and_blank_text(
    convert: Convert, tmp_path: Path, row: dict[str, Any], code: str, kind: str
) -> None:
    rows = [*ROWS[:5], row, *ROWS[5:]]
    path = tmp_path / f"a.{kind}"
    if kind == "jsonl":
        lines(path, *rows)
    else:
        parquet(path, pa.Table.from_pylist(rows, TABLE.schema))
    ended = convert("--dataset", path)
    assert ended.code == 0, ended.err
    assert ended.rejects == [(path.name, 6, code)]
    assert len(ended.rows()) == len(ROWS)


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (
            [{"role": "assistant", "content": "So."}, {"role": "user", "content": "What?"}],
            "starts-with-assistant",
        ),
        (
            [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
            "no-assistant-turn",
        ),
        ([{"role": "wizard", "content": "a"}], "unknown-role"),
    ],
    ids=["assistant first", "two users", "unknown role"],
)
def test_conversations_without_an_answer_to_learn(
    convert: Convert, tmp_path: Path, messages: list[Any], code: str
) -> None:
    path = lines(tmp_path / "a.jsonl", *[{"id": i, "messages": messages} for i in range(9)])
    ended = convert("--dataset", path)
    assert ended.code == 0, ended.err
    assert ended.rejects == [("a.jsonl", row, code) for row in range(1, 10)]


def test_a_column_of_empty_lists(convert: Convert, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", *[{"id": i, "messages": []} for i in range(9)])
    ended = convert("--dataset", path)
    assert ended.code == 2
    assert has(ended.err, "cannot tell which columns", "messages (list)", "--fields")
    ended = convert("--dataset", path, "--fields", "instruction=messages,response=id")
    assert ended.code == 2
    assert has(ended.err, "'messages'", "list", "text or number column")


@pytest.mark.parametrize("content", [["a", "b"], [], {"text": "a"}, {}, [{"type": "text"}]])
def test_content_that_is_no_text(convert: Convert, tmp_path: Path, content: object) -> None:
    rows = [*ROWS, {"question": "What is it?", "answer": content}, *ROWS]
    for path in (
        lines(tmp_path / "a.jsonl", *rows),
        put(tmp_path / "a.json", json.dumps(rows)),
    ):
        ended = convert("--dataset", path, "--dedup", "off", output=tmp_path / f"set {path.suffix}")
        assert ended.code == 0, ended.err
        assert ended.rejects == [(path.name, 41, "not-text")]
        assert len(ended.rows()) == 2 * len(ROWS)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (7, "7"),
        (-0.5, "-0.5"),
        (1.0, "1.0"),
        (1e22, "1e+22"),
        (True, "true"),
        (False, "false"),
        (10**400, str(10**400)),
    ],
)
def test_numbers_and_booleans_in_a_column_of_text_are_written_as_json_writes_them(
    convert: Convert, tmp_path: Path, content: object, text: str
) -> None:
    rows = [*ROWS, {"question": "What is it?", "answer": content}, *ROWS]
    for path in (
        lines(tmp_path / "a.jsonl", *rows),
        put(tmp_path / "a.json", json.dumps(rows)),
    ):
        ended = convert("--dataset", path, "--dedup", "off", output=tmp_path / f"set {path.suffix}")
        assert ended.reasons == {}
        assert ended.rows()[len(ROWS)]["response"] == text


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "arrow", "csv"])
def test_odd_text_survives_byte_for_byte(convert: Convert, tmp_path: Path, kind: str) -> None:
    # In both fields, which would also show a text that is put together and parsed again.
    path = odd_texts(tmp_path, kind)
    ended = convert("--dataset", path, *NAMED)
    assert ended.code == 0, ended.err
    assert ended.reasons == {}
    found = {row["instruction"]: row for row in ended.rows()}
    for text in ODD_TEXTS:
        assert found[text]["response"] == text[::-1]
        assert found[text]["text"].endswith(
            f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n{text[::-1]}<|im_end|>"
        )


def test_arrow_text_that_is_no_utf8(convert: Convert, tmp_path: Path) -> None:
    """Neither Parquet nor Arrow promises that a string is text."""
    raw = [b"What is it, then?"] * 600 + [b"What is \xff?", b"\xed\xa0\x80 is what?"]
    questions = pa.array(raw).view(pa.string())
    table = pa.table({"question": questions, "answer": ["It is so."] * len(raw)})
    for write, kind in ((parquet, "parquet"), (stream, "arrow")):
        path = write(tmp_path / f"a.{kind}", table)
        ended = convert("--dataset", path, "--dedup", "off", output=tmp_path / f"set-{kind}")
        assert ended.code == 0, ended.err
        assert ended.rejects == [(path.name, row, "invalid-unicode") for row in (601, 602)]
        assert len(ended.rows()) == 600


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_arrow_text_that_is_no_utf8_among_the_first_rows(
    convert: Convert, tmp_path: Path, kind: str
) -> None:
    raw = [b"What is \xff, then?"] + [b"What is it, then?"] * 40
    table = pa.table(
        {"question": pa.array(raw).view(pa.string()), "answer": ["It is so."] * len(raw)}
    )
    path = {"parquet": parquet, "arrow": stream}[kind](tmp_path / f"a.{kind}", table)
    ended = convert("--dataset", path)
    assert ended.code == 0, ended.err
    assert ended.rejects == [(path.name, 1, "invalid-unicode")]


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_numbers_that_say_nothing(convert: Convert, tmp_path: Path, kind: str) -> None:
    values = [1.5, math.nan, math.inf, -math.inf, -2.25, None, 1e300]
    questions = [f"What is number {i}?" for i in range(len(values))]
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        parquet(path, table_of(answer=pa.array(values, pa.float64())))
    else:
        rows = [{"question": q, "answer": v} for q, v in zip(questions, values, strict=True)]
        put(path, json.dumps(rows)) if kind == "json" else lines(path, *rows)
    ended = convert("--dataset", path, *NAMED, "--max-reject-rate", "1")
    assert ended.code == 0, ended.err
    assert ended.rejects == [(path.name, row, "null-response") for row in (2, 3, 4, 6)]
    assert {row["response"] for row in ended.rows()} == {"1.5", "-2.25", "1e+300"}


@pytest.mark.parametrize("kind", ["jsonl", "json"])
def test_integers_that_no_int64_holds(convert: Convert, tmp_path: Path, kind: str) -> None:
    good = [0, -1, 2**63 - 1, -(2**63)]
    rows = [{"question": f"What is number {i}?", "answer": i} for i in good * 150]
    large = (2**63, -(2**63) - 1, 10**400)
    rows += [{"question": "What is it?", "answer": i} for i in large]
    path = tmp_path / f"a.{kind}"
    put(path, json.dumps(rows)) if kind == "json" else lines(path, *rows)
    ended = convert("--dataset", path, *NAMED)
    assert ended.code == 0, ended.err
    assert ended.rejects == []
    assert {row["response"] for row in ended.rows()} == {str(i) for i in (*good, *large)}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([date(1969, 12, 31)]), "date32"),
        (pa.array([datetime(1066, 10, 14)]), "timestamp"),
        (pa.array([b"bytes"]), "binary"),
        (pa.array([[b"bytes"]]), "list"),
        (pa.array([{"a": b"bytes"}]), "struct"),
        (pa.array([{"bytes": None, "path": "/etc/hostname"}]), "struct"),
        (pa.nulls(1), "null"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_columns_that_are_neither_text_nor_number(
    convert: Convert, tmp_path: Path, values: pa.Array, kind: str
) -> None:
    path = parquet(tmp_path / "a.parquet", table_of(answer=values))
    ended = convert("--dataset", path, *NAMED)
    assert ended.code == 2
    assert has(ended.err, "--fields", "'answer'", kind, "text or number column is needed")
