"""JSON files that are neither lines nor one array: read as their rows, or refused with the cure."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from command_runs import has, put
from conversions import Convert
from hypothesis import given
from hypothesis import strategies as st

from transforms.errors import BadInput, UsageError
from transforms.formats import json_array, json_lines, source_reader
from transforms.formats.json_shapes import JsonShape, chosen_key, find_shape
from transforms.formats.source_reader import FileFormat
from transforms.records import ROW, Column, FileRange

ROWS = [
    {"instruction": f"What is number {n}, please?", "output": f"It is {n}, “of course”."}
    for n in range(40)
]
OTHERS = [{"instruction": f"What is {n}?", "output": f"It is {n} here."} for n in range(100, 109)]
COLUMNS = (Column("instruction", "string"), Column("output", "string"))


def pairs(convert: Convert, path: Path, *flags: str) -> list[dict[str, str]]:
    done = convert("--dataset", path, *flags)
    return [{"instruction": row["instruction"], "output": row["response"]} for row in done.rows()]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    ("value", "key"),
    [
        ({"version": "1.0", "data": ROWS}, "data"),
        ({"data": ROWS, "info": {"data": [1]}, "tags": ["a"]}, "data"),
        ({"info": [], "rows": ROWS}, "rows"),
        ({"train": ROWS, "validation": OTHERS}, "train"),
        ({"validation": OTHERS, "train": ROWS}, "train"),
        # What pandas writes with orient="table".
        ({"schema": {"fields": [{"name": "instruction"}]}, "data": ROWS}, "data"),
    ],
)
def test_an_object_around_the_rows(
    convert: Convert, tmp_path: Path, value: dict[str, Any], key: str, indent: int | None
) -> None:
    path = put(tmp_path / "a.json", json.dumps(value, indent=indent))
    assert pairs(convert, path) == ROWS
    plan = convert("--dataset", path).plan
    assert plan.to_json()["source"]["format"] == {
        "name": "json_array", "compression": None, "delimiter": ",", "key": key,
    }  # fmt: skip
    if "validation" in value:
        assert (plan.source.split, plan.source.left_out) == ("train", ("validation",))
        assert pairs(convert, path, "--split", "validation") == OTHERS
        refused = convert("--dataset", path, "--split", "test")
        assert refused.code == 2
        assert has(refused.err, "--split test", "found " + ", ".join(value))
    else:
        assert plan.source.split == "train"
        refused = convert("--dataset", path, "--split", "validation")
        assert refused.code == 2
        assert has(refused.err, "--split validation", "found train")


def test_two_arrays_that_are_no_splits_are_refused(convert: Convert, tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", json.dumps({"data": ROWS, "examples": OTHERS}))
    refused = convert("--dataset", path)
    assert refused.code == 2
    assert has(refused.err, "data, examples", "--split data")
    assert pairs(convert, path, "--split", "data") == ROWS
    assert pairs(convert, path, "--split", "examples") == OTHERS


@pytest.mark.parametrize("step", [600, 2**20])
def test_splits_behind_the_beginning_of_a_file_are_found(
    convert: Convert, tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "_STEP", step)
    monkeypatch.setattr(json_array, "_STEP", step)
    path = put(tmp_path / "a.json", json.dumps({"note": "n", "train": ROWS, "test": OTHERS}))
    assert convert("--dataset", path).plan.source.left_out == ("test",)
    assert pairs(convert, path) == ROWS
    assert pairs(convert, path, "--split", "test") == OTHERS


@pytest.mark.parametrize(
    "text",
    [
        "".join(json.dumps(row, indent=2) + "\n" for row in ROWS),
        "".join(json.dumps(row) for row in ROWS),
        "\ufeff" + "\r\n".join(json.dumps(row, indent=2) for row in ROWS) + "\r\n",
        "\n\n" + "  ".join(json.dumps(row) for row in ROWS),
    ],
    ids=["pretty", "glued", "pretty, BOM", "glued with spaces"],
)
def test_objects_that_are_not_one_a_line(convert: Convert, tmp_path: Path, text: str) -> None:
    path = put(tmp_path / "a.jsonl", text)
    assert pairs(convert, path) == ROWS
    assert convert("--dataset", path).plan.source.file_format.name == "json_values"
    ended = convert("--dataset", put(path, text.rstrip()[:-20]))
    assert ended.code == 3
    assert has(ended.err, "a.jsonl", "after 39 elements", "truncated or damaged")


@given(
    rows=st.lists(
        st.fixed_dictionaries({"q": st.text(st.characters(codec="utf-8"), max_size=9) | st.none()}),
        min_size=1,
        max_size=6,
    ),
    indent=st.sampled_from([None, 0, 2]),
    between=st.sampled_from(["", " ", "\n", "\r\n", "\n\n"]),
    key=st.none() | st.sampled_from(["data", "train"]),
    more=st.sampled_from([{}, {"version": 1}, {"info": {"data": [{"q": "no"}]}, "list": [[], 1]}]),
    first=st.booleans(),
    step=st.integers(1, 40),
)
def test_every_object_is_read_once(
    rows: list[dict[str, str | None]],
    indent: int | None,
    between: str,
    key: str | None,
    more: dict[str, object],
    first: bool,
    step: int,
) -> None:
    if key is None:
        text = between.join(json.dumps(row, indent=indent) for row in rows)
    else:
        value = {**more, key: rows} if first else {key: rows, **more}
        text = json.dumps(value, indent=indent)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = put(Path(folder) / "rows.json", text)
        sample = source_reader.read_sample(str(path), FileFormat("json_lines"))
        patch.setattr(json_array, "_STEP", step)
        columns = (Column("q", "string"),)
        piece = FileRange("", 0, len(text.encode()))
        if sample.file_format.name != "json_lines":
            piece = FileRange("", 0, 0)
        blocks = source_reader.read(str(path), sample.file_format, piece, columns)
        assert [row["q"] for block in blocks for row in block.table.to_pylist()] == [
            row["q"] for row in rows
        ]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "Hi"}], "tools": [{"name": "f"}]},
        {"data": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]},
        {"id": "0", "data": ["Hi", "Ho"]},
        {"instruction": "Hi", "output": "Ho", "history": [["a", "b"]]},
        {"instruction": "Hi", "choices": [{"a": 1}], "output": "Ho"},
        {"data": [], "rows": {}},
        {},
    ],
)
def test_a_file_of_one_row_stays_one(row: dict[str, Any]) -> None:
    assert find_shape(json.dumps(row), True, "a.json") == JsonShape()
    pretty = find_shape(json.dumps(row, indent=1), True, "a.json")
    assert pretty == JsonShape(values=bool(row))


def test_a_large_table_as_columns_is_told_from_its_beginning(tmp_path: Path) -> None:
    text = json.dumps({"instruction": {str(n): "x" * 100 for n in range(100)}})
    with pytest.raises(BadInput, match="orient='columns'"):
        find_shape(text[:500], False, "a.json")
    with pytest.raises(BadInput, match="orient='index'"):
        find_shape(json.dumps({str(n): ROWS[0] for n in range(9)})[:300], False, "a.json")
    for start in ('{"instruction": "a long text', '{broken\n{"a": 1}\n', '{"a": {"b": "c', "{", ""):
        assert find_shape(start, False, "a.json") == JsonShape()


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (json.dumps({"data": ROWS}), json.dumps(ROWS), "no opening brace"),
        (json.dumps({"data": ROWS}), json.dumps({"rows": ROWS}), "no key 'data'"),
        (json.dumps(ROWS), json.dumps({"data": ROWS}), "no opening bracket"),
        ("\n".join(map(json.dumps, ROWS)), json.dumps({"data": ROWS}), "different kinds"),
        ("\n".join(map(json.dumps, ROWS)), json.dumps(ROWS[0], indent=1) * 9, "different kinds"),
    ],
)
def test_a_later_file_of_another_shape_is_refused(
    convert: Convert, tmp_path: Path, first: str, second: str, says: str
) -> None:
    put(tmp_path / "in" / "a.json", first)
    put(tmp_path / "in" / "b.json", second)
    ended = convert("--dataset", tmp_path / "in" / "*.json")
    assert ended.code == 3
    assert has(ended.err, "b.json", says), ended.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (json.dumps({"data": ROWS}), "around its rows"),
        (json.dumps(ROWS[0], indent=1) * 9, "no JSON Lines"),
    ],
)
def test_the_reader_of_lines_refuses_other_shapes(tmp_path: Path, text: str, says: str) -> None:
    """Planning looks at some files only."""
    path = put(tmp_path / "a.json", text)
    piece = FileRange("", 0, len(text))
    with pytest.raises(BadInput, match=says):
        list(source_reader.read(str(path), FileFormat("json_lines"), piece, COLUMNS))


@pytest.mark.parametrize("first", [json.dumps(ROWS[0]) * 2, json.dumps(ROWS[0]) + ","])
def test_a_fault_of_the_first_line_alone_rejects_it(
    convert: Convert, tmp_path: Path, first: str
) -> None:
    rows = "".join(json.dumps(row) + "\n" for row in ROWS[1:])
    done = convert("--dataset", put(tmp_path / "a.jsonl", f"{first}\n{rows}"))
    assert done.rejects == [("a.jsonl", 1, "broken-json")]


def test_a_first_line_above_the_limit_is_told_as_that(
    convert: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "MAX_ROW_BYTES", 2000)
    path = put(tmp_path / "a.jsonl", json.dumps({"things": ["x" * 99] * 40}) + "\n")
    ended = convert("--dataset", path)
    assert ended.code == 3
    assert has(ended.err, "a.jsonl", "more than 2,000 bytes", "jq -c")


def test_an_array_without_an_object_is_refused(convert: Convert, tmp_path: Path) -> None:
    ended = convert("--dataset", put(tmp_path / "a.json", '[["a", "b"], ["c", "d"]]'))
    assert ended.code == 3
    assert has(ended.err, "none of the first 2 elements", "a.json")


def test_the_key_of_several_splits() -> None:
    assert chosen_key(("test", "train"), None, "a") == "train"
    assert chosen_key(("test", "dev"), None, "a") == "test"
    assert chosen_key(("test", "dev"), "dev", "a") == "dev"
    with pytest.raises(UsageError):
        chosen_key(("data", "train"), "dev", "a")


def test_rows_are_numbered_as_in_the_array(tmp_path: Path) -> None:
    rows: list[object] = [ROWS[0], 5, ROWS[1]]
    path = put(tmp_path / "a.json", json.dumps({"data": rows}))
    form = FileFormat("json_array", key="data")
    (found,) = source_reader.read(str(path), form, FileRange("", 0, 0), COLUMNS)
    assert found.table[ROW].to_pylist() == [1, 3]
    assert found.rejects.to_pylist()[0]["row"] == 2
