"""Broken JSON: a bad line or element is one reject with its place, a broken array an error."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from command_runs import has, put
from conversions import Convert
from source_files import (
    GOOD,
    ROWS,
)

from transforms.formats import json_lines


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"question": "What is this?", "answer": "It', "broken-json"),
        (b"not json at all", "broken-json"),
        (b'{"question": "What is \x00 it?", "answer": "It is."}', "broken-json"),
        (b'{"question": "What is \x1b it?", "answer": "It is."}', "broken-json"),
        (b'{"question": "What?", "answer": "It is."} {"question": "2", "answer": "2"}',)
        + ("broken-json",),
        (b'{"question": "What?", "answer": "It is."},', "broken-json"),
        (b"null", "not-an-object"),
        (b'"text"', "not-an-object"),
        (b"[1, 2]", "not-an-object"),
        (b"17", "not-an-object"),
        (b'{"question": "What is \xff it?", "answer": "It is."}', "invalid-unicode"),
        (b'{"question": "What is \xed\xa0\x80 it?", "answer": "It is."}', "invalid-unicode"),
        (b'{"question": "What is \\ud800 it?", "answer": "It is."}', "invalid-unicode"),
        (b'{"question": "What is \\udc00 it?", "answer": "It is."}', "invalid-unicode"),
        (b'{"question": "What?", "answer": "' + b"x" * 3000 + b'"}', "row-too-large"),
        (b"x" * 3000, "row-too-large"),
        (b"{}", "null-instruction"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("before", [0, 30])
def test_a_bad_line_is_a_reject_with_its_place(
    convert: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes,
    code: str, compressed: bool, before: int,
) -> None:  # fmt: skip
    if code == "row-too-large":
        monkeypatch.setattr(json_lines, "MAX_ROW_BYTES", 2000)
    parts = GOOD.splitlines(keepends=True)
    data = b"".join([*parts[:before], b"\n", line + b"\n", *parts[before:]])
    name = "a.jsonl.gz" if compressed else "a.jsonl"
    path = put(tmp_path / name, gzip.compress(data) if compressed else data)
    ended = convert("--dataset", path)
    if line.startswith(b"[") and not before:  # then the whole file must be one array
        assert ended.code == 3
        assert has(ended.err, name, "more text after the closing bracket after 2 elements")
        return
    assert ended.code == 0, ended.err
    assert ended.rejects == [(name, before + 2, code)]
    pairs = [(row["instruction"], row["response"]) for row in ended.rows()]
    assert sorted(pairs) == sorted((row["question"], row["answer"]) for row in ROWS)


def test_the_row_is_right_behind_a_cut(convert: Convert, tmp_path: Path) -> None:
    """The second unit knows only its bytes, not the lines before them."""
    filler = json.dumps({"question": "What is it, then?", "answer": "It is. " * 30}).encode()
    parts = [filler] * 9000
    parts[8000] = b"{broken"
    path = put(tmp_path / "a.jsonl", b"\n".join(parts))
    ended = convert("--dataset", path, "--shard-size", "1MiB")
    assert ended.code == 0, ended.err
    assert len(ended.plan.units) > 1
    assert ended.rejects == [("a.jsonl", 8001, "broken-json")]


@pytest.mark.parametrize("form", ["bom", "crlf", "blank lines", "no final newline"])
def test_harmless_forms_change_no_text(convert: Convert, tmp_path: Path, form: str) -> None:
    data = {
        "bom": b"\xef\xbb\xbf" + GOOD,
        "crlf": GOOD.replace(b"\n", b"\r\n"),
        "blank lines": b"\n" + GOOD.replace(b"\n", b"\n \r\n\n"),
        "no final newline": GOOD.rstrip(),
    }[form]
    ended = convert("--dataset", put(tmp_path / "a.jsonl", data))
    assert ended.code == 0, ended.err
    assert ended.reasons == {}
    pairs = [(row["instruction"], row["response"]) for row in ended.rows()]
    assert sorted(pairs) == sorted((row["question"], row["answer"]) for row in ROWS)


def test_of_two_equal_keys_the_last_counts(convert: Convert, tmp_path: Path) -> None:
    line = b'{"question": "What is it?", "answer": "first", "answer": "second"}\n'
    ended = convert("--dataset", put(tmp_path / "a.jsonl", line * 3))
    assert ended.code == 0, ended.err
    assert {row["response"] for row in ended.rows()} == {"second"}


@pytest.mark.parametrize("inner", [b"[" * 100_000 + b"]" * 100_000, b"1" * 5000, b"[NaN]"])
@pytest.mark.parametrize("neighbour", [b"", b"{broken\n"], ids=["alone", "beside a bad line"])
def test_columns_that_are_not_read_break_no_row(
    convert: Convert, tmp_path: Path, inner: bytes, neighbour: bytes
) -> None:
    """Nor does it matter what stands beside the row: a bad line changes how it is parsed."""
    odd = b'{"question": "What is it?", "answer": "It is so.", "extra": ' + inner + b"}\n"
    ended = convert("--dataset", put(tmp_path / "a.jsonl", GOOD + odd + neighbour))
    assert ended.code == 0, ended.err
    assert ended.reasons == ({"broken-json": 1} if neighbour else {})
    assert "It is so." in {row["response"] for row in ended.rows()}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (json.dumps(ROWS).encode()[:-1], "the end of the file after 40 elements"),
        (json.dumps(ROWS).encode()[:-30], "after 39 elements"),
        (json.dumps(ROWS).encode() * 2, "more text after the closing bracket after 40"),
        (b"[]" + GOOD, "more text after the closing bracket after 0"),
        (b'[{"question": "a b c", "answer": "d"} {"question": "e"}]', "after 1 elements"),
        (b'[{"question": "a b c", "answer": "d"}, {"question": tru}]', "after 1 elements"),
        (b"[" * 100_000, "after 0 elements"),
    ],
    ids=["unclosed", "cut", "two arrays", "lines behind", "no comma", "literal", "deep"],
)
def test_a_broken_array_is_refused_whole(
    convert: Convert, tmp_path: Path, data: bytes, says: str
) -> None:
    ended = convert("--dataset", put(tmp_path / "a.json", data))
    assert ended.code == 3
    assert has(ended.err, "a.json", "not a complete JSON array", says, "replace it")


def test_bad_elements_are_rejects_with_their_number(convert: Convert, tmp_path: Path) -> None:
    bad = ["null", "17", '{"question": "What?", "answer": "\\ud800"}']
    text = ",".join([*bad, *map(json.dumps, ROWS), '{"question": "What?", "answer": [5]}'])
    path = put(tmp_path / "a.json", f"[{text}]")
    ended = convert("--dataset", path, "--max-reject-rate", "0.5")
    assert ended.code == 0, ended.err
    assert ended.rejects == [
        ("a.json", 1, "not-an-object"),
        ("a.json", 2, "not-an-object"),
        ("a.json", 3, "invalid-unicode"),
        ("a.json", 44, "not-text"),
    ]
