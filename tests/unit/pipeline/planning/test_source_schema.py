"""One schema over all files of a source: what only some files have is used, and in no file lost."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conversions import Convert, convert_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.planning.plan import make_plan
from pipeline.request import Request
from transforms.errors import UsageError

KINDS = ("jsonl", "json", "csv", "parquet", "arrow")
Rows = list[dict[str, object]]


def made(path: Path, rows: Rows, schema: pa.Schema | None = None) -> Path:
    """The rows as a file of the kind that the path's ending says."""
    kind = path.suffix[1:]
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "json":
        path.write_text(json.dumps(rows))
    elif kind == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
            writer.writeheader()
            writer.writerows(rows)
    else:
        table = pa.Table.from_pylist(rows, schema=schema)
        if kind == "parquet":
            pq.write_table(table, path)
        else:
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
                out.write_table(table)
    return path


def pairs(start: int, count: int = 3, **more: object) -> Rows:
    return [
        {
            "instruction": f"What is number {n} of the list?",
            "output": f"It is the word {n}.",
            **more,
        }
        for n in range(start, start + count)
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", ["with", "without"])
@pytest.mark.parametrize("name", ["input", "system"])
def test_a_column_that_one_file_lacks(
    kind: str, first: str, name: str, convert: Convert, tmp_path: Path
) -> None:
    both = [pairs(0), pairs(3, **{name: "Consider the harbour."})]
    for letter, rows in zip("ab", both if first == "without" else both[::-1], strict=True):
        made(tmp_path / f"{letter}.{kind}", rows)
    ended = convert("--dataset", tmp_path / f"*.{kind}")
    assert ended.reasons == {}
    for text in ended.texts():
        assert ("harbour" in text) == any(f"number {n} " in text for n in (3, 4, 5))
    assert len(ended.texts()) == 6


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("null_first", [True, False])
@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [("input", "the harbour", "the harbour"), ("history", [["Ask harbour", "Told"]], "Told")],
)
def test_a_column_of_nulls_in_one_file(
    kind: str,
    null_first: bool,
    name: str,
    value: object,
    shown: str,
    convert: Convert,
    tmp_path: Path,
) -> None:
    nothing, filled = pairs(0, **{name: None}), pairs(3, **{name: value})
    files = [nothing, filled] if null_first else [filled, nothing]
    for letter, rows in zip("ab", files, strict=True):
        made(tmp_path / f"{letter}.{kind}", rows)
    ended = convert("--dataset", tmp_path / f"*.{kind}")
    assert ended.reasons == {}
    assert sum(shown in text for text in ended.texts()) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_fields_may_name_it(kind: str, convert: Convert, tmp_path: Path) -> None:
    made(tmp_path / f"a.{kind}", pairs(0))
    made(tmp_path / f"b.{kind}", pairs(3, system="Be brief."))
    fields = "instruction=instruction,response=output,system=system"
    ended = convert("--dataset", tmp_path / f"*.{kind}", "--fields", fields)
    assert sum("Be brief." in text for text in ended.texts()) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_is_refused_is_refused_in_any_file(
    kind: str, convert: Convert, tmp_path: Path
) -> None:
    made(tmp_path / f"a.{kind}", pairs(0))
    made(tmp_path / f"b.{kind}", pairs(3, rejected="No idea."))
    ended = convert("--dataset", tmp_path / f"*.{kind}")
    assert (ended.code, "rejected" in ended.err) == (2, True)


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow"])
def test_a_file_without_the_answer_is_no_file_of_the_set(
    kind: str, convert: Convert, tmp_path: Path
) -> None:
    made(tmp_path / f"a.{kind}", pairs(0))
    made(tmp_path / f"b.{kind}", [{"instruction": "What is it?"}])
    ended = convert("--dataset", tmp_path / f"*.{kind}")
    assert ended.code == 3
    assert f"b.{kind} has no column 'output'" in ended.err


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_many_files_are_looked_at(kind: str, convert: Convert, tmp_path: Path) -> None:
    for number in range(40):
        more = {"input": "The harbour."} if number == 39 else {}
        made(tmp_path / f"{number:02}.{kind}", pairs(number, 1, **more))
    texts = convert("--dataset", tmp_path / f"*.{kind}").texts()
    assert [number for number, text in enumerate(texts) if "harbour" in text] == [39]


def test_a_key_of_a_json_file_that_is_not_sampled_is_a_reject(
    convert: Convert, tmp_path: Path
) -> None:
    for number in range(40):
        more = {"input": "The harbour."} if number == 1 else {}
        made(tmp_path / f"{number:02}.jsonl", pairs(number, 1, **more))
    ended = convert("--dataset", tmp_path / "*.jsonl")
    assert ended.rejects == [("01.jsonl", 1, "unplanned-column")]


@pytest.mark.parametrize("names", [("a.json", "b.json"), ("b.json", "a.json")])
def test_lines_and_an_array_are_two_kinds(
    names: tuple[str, str], convert: Convert, tmp_path: Path
) -> None:
    made(tmp_path / names[0], pairs(0))
    (tmp_path / names[1]).write_text("".join(json.dumps(row) + "\n" for row in pairs(3)))
    ended = convert("--dataset", tmp_path / "*.json")
    assert ended.code == 3
    assert "b.json" in ended.err


@settings(max_examples=25)
@given(data=st.data())
def test_the_order_of_files_changes_no_text(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    sets = data.draw(
        st.lists(
            st.dictionaries(
                st.sampled_from(["input", "context", "system", "colour"]),
                st.sampled_from(["The harbour.", "A kettle."]),
            ),
            min_size=2,
            max_size=4,
        )
    )
    files = [pairs(10 * number, 2, **more) for number, more in enumerate(sets)]
    found = []
    for order in (files, data.draw(st.permutations(files))):
        folder = tmp_path_factory.mktemp("files")
        for letter, rows in zip("abcd", order, strict=False):
            made(folder / f"{letter}.{kind}", rows)
        request = Request(str(folder / f"*.{kind}"), str(folder / "out"), skip_upload=True)
        try:
            found.append(sorted(convert_rows(make_plan(request), 2**18).texts()))
        except UsageError:
            found.append([])
    assert found[0] == found[1]
