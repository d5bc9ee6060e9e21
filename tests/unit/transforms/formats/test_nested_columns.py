"""Conversations from every format: the same turns, however they are stored and read."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.planning.plan import Plan, make_plan
from pipeline.request import Request
from transforms.conversations.field_mapping import TurnMapping
from transforms.conversations.normalize_rows import rows_of
from transforms.formats import json_lines, source_reader
from transforms.formats.arrow_types import as_bytes, text_rows
from transforms.formats.source_reader import FileFormat
from transforms.records import ROW, Column, FileRange

Row = dict[str, Any]


def user(text: Any, **more: Any) -> Row:
    return {"role": "user", "content": text, **more}


def bot(text: Any, **more: Any) -> Row:
    return {"role": "assistant", "content": text, **more}


PLAIN: list[Row] = [
    {"id": "1", "messages": [user("Hello, ü!"), bot("😀 Hi.")]},
    {
        "id": "2",
        "messages": [{"role": "System", "content": "s"}, user("a\nb"), bot("c", thinking="r")],
    },
    {"id": "3", "messages": [user("a", name="Ann"), {"role": "narrator", "content": "x"}]},
    {"id": "4", "messages": []},
    {"id": "5", "messages": [bot("a"), user("b"), bot("c")]},
    {"id": "6", "messages": [user(" "), bot("c")]},
    {"id": "7", "messages": [user("q", name="Bob"), bot("<think>\nr\n</think>\n\na")]},
]
"""Text alone: what every format can hold as a list of structs of text."""

MIXED: list[Row] = [
    *PLAIN,
    {"id": "8", "messages": [user([{"type": "text", "text": "a"}, {"value": "b"}]), bot("c")]},
    {"id": "9", "messages": [user(5), bot("c")]},
    {"id": "10", "messages": [user("a"), bot(None, tool_calls=[{"type": "function", "function": {
        "name": "f", "arguments": {"x": None, "y": [1, {"z": True}]}}}]),
        {"role": "tool", "content": {"t": 1}}, bot("d")]},
    {"id": "11", "messages": [user("a", extra={"deep": [None, 1]}), bot("c", weight=1)]},
    {"id": "12", "messages": [user("a"), None]},
    {"id": "13", "messages": {"role": "user"}},
    {"id": "14", "messages": "text"},
    {"id": "15", "messages": None},
    {"id": "16", "messages": [user(None), bot("c")]},
]  # fmt: skip
"""What JSON can hold beside it."""


def found(
    folder: Path, name: str, write: Callable[[Path], None], batch_bytes: int, **flags: Any
) -> tuple[list[Row], list[tuple[int, str]], bytes]:
    """Kept rows, rejects, and the bytes of both, of a data set of one file."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    if not path.exists():
        write(path)
    plan = make_plan(Request(str(path), str(folder / "out"), **flags))
    kept, rejects = everything(plan, batch_bytes)
    sink = pa.BufferOutputStream()
    for table in (kept, rejects):
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table.combine_chunks())
    pairs = list(zip(rejects["row"].to_pylist(), rejects["code"].to_pylist(), strict=True))
    return kept.to_pylist(), pairs, sink.getvalue().to_pybytes()


def everything(plan: Plan, batch_bytes: int) -> tuple[pa.Table, pa.Table]:
    source, mapping, rules = plan.reading(), plan.fields.mapping, plan.rules
    kept, rejects = [], []
    for piece in (piece for unit in plan.units for piece in unit.file_ranges):
        path = source.path(piece.file)
        for rows in source_reader.read(
            path, source.file_format, piece, source.columns, batch_bytes
        ):
            good, bad = rows_of(rows.table, mapping, None, rules)
            kept.append(good)
            rejects += [bad] if rows.rejects is None else [rows.rejects, bad]
    return pa.concat_tables(kept), pa.concat_tables(rejects).sort_by("row")


def text_of(text: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_text(text, encoding="utf-8")

    return write


def json_lines_of(rows: Sequence[Row]) -> Callable[[Path], None]:
    return text_of("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def json_array_of(rows: Sequence[Row]) -> Callable[[Path], None]:
    return text_of(json.dumps(rows, ensure_ascii=False, indent=1))


def with_text(rows: Sequence[Row]) -> list[Row]:
    """The rows with JSON text in the place of lists."""
    return [{**r, "messages": json.dumps(r["messages"], ensure_ascii=False)} for r in rows]


def csv_of(rows: Sequence[Row]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["id", "messages"])
            writer.writeheader()
            writer.writerows(with_text(rows))

    return write


def parquet_of(table: pa.Table) -> Callable[[Path], None]:
    return lambda path: pq.write_table(table, path, row_group_size=3)


def arrow_file_of(table: pa.Table, stream: bool) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        new = pa.ipc.new_stream if stream else pa.ipc.new_file
        with new(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)

    return write


def saved_by_datasets(made: datasets.Dataset) -> Callable[[Path], None]:
    return lambda path: made.save_to_disk(str(path))


def text_struct(text: pa.DataType) -> pa.DataType:
    names = ("role", "content", "thinking", "name")
    return pa.struct([(name, text) for name in names])


def table_of(rows: Sequence[Row], kind: pa.DataType) -> pa.Table:
    return pa.table(
        {"id": [r["id"] for r in rows], "messages": pa.array([r["messages"] for r in rows], kind)}
    )


LIST = pa.list_(text_struct(pa.string()))
STORED: dict[str, tuple[str, Callable[[Path], None]]] = {
    "Parquet": ("a.parquet", parquet_of(table_of(PLAIN, LIST))),
    "Parquet of large lists": (
        "a.parquet",
        parquet_of(table_of(PLAIN, pa.large_list(text_struct(pa.large_string())))),
    ),
    "Parquet of JSON text": ("a.parquet", parquet_of(pa.Table.from_pylist(with_text(PLAIN)))),
    "Arrow file": ("a.arrow", arrow_file_of(table_of(PLAIN, LIST), stream=False)),
    "Arrow stream": ("a.arrow", arrow_file_of(table_of(PLAIN, LIST), stream=True)),
    "Arrow file of views": (
        "a.arrow",
        arrow_file_of(table_of(PLAIN, pa.list_view(text_struct(pa.string_view()))), stream=False),
    ),
    "JSON Lines": ("a.jsonl", json_lines_of(PLAIN)),
    "JSON Lines of JSON text": ("a.jsonl", json_lines_of(with_text(PLAIN))),
    "JSON array": ("a.json", json_array_of(PLAIN)),
    "CSV": ("a.csv", csv_of(PLAIN)),
    "a folder of datasets": ("a", saved_by_datasets(datasets.Dataset.from_list(PLAIN))),
}
CODES = [
    (3, "unknown-role"),
    (4, "empty-messages"),
    (5, "starts-with-assistant"),
    (6, "empty-turn"),
]


@pytest.mark.parametrize("stored", list(STORED))
def test_every_format_gives_the_same_turns(stored: str, tmp_path: Path) -> None:
    name, write = STORED[stored]
    expected, _, _ = found(tmp_path / "expected", *STORED["Parquet"], 2**20)
    kept, rejects, _ = found(tmp_path / "found", name, write, 2**20)
    if stored in ("Parquet", "Parquet of large lists", "Parquet of JSON text"):
        # Rows are numbered within a piece, and these files are one of some row groups.
        assert [row[ROW] for row in kept] == [1, 2, 7]
    assert [row["instruction"] for row in kept] == ["Hello, ü!", "a\nb", "q"]
    assert kept == expected
    assert rejects == CODES


@pytest.mark.parametrize("stored", list(STORED))
def test_the_bytes_do_not_depend_on_how_much_is_read_at_a_time(stored: str, tmp_path: Path) -> None:
    name, write = STORED[stored]
    whole = found(tmp_path, name, write, 2**20)
    assert all(found(tmp_path, name, write, size) == whole for size in (1, 60, 150, 400))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.jsonl", json_lines_of(MIXED)),
        ("a.json", json_array_of(MIXED)),
        ("b.jsonl", json_lines_of(with_text(MIXED))),
        ("a.csv", csv_of(MIXED)),
    ],
)
def test_what_json_alone_can_hold_is_taken_row_by_row(
    name: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    kept, rejects, whole = found(tmp_path, name, write, 2**20)
    assert rejects == [
        *CODES,
        (9, "not-text"),
        (12, "not-a-conversation"),
        (13, "not-a-conversation"),
        (14, "not-a-conversation"),
        (15, "null-messages"),
        (16, "empty-turn"),
    ]
    turns = {row[ROW]: row["turns"] for row in kept}
    assert list(turns) == [1, 2, 7, 8, 10, 11]
    assert [turn["content"] for turn in turns[8]] == ["ab", "c"]
    assert json.loads(turns[10][1]["tool_calls"]) == MIXED[9]["messages"][1]["tool_calls"]
    assert turns[10][2]["content"] == '{"t": 1}'
    for size in (1, 100, 300, 700):
        assert found(tmp_path, name, write, size)[2] == whole


def test_most_lines_take_the_fast_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(json_lines, "to_rows")  # the careful one
    kept, _, _ = found(tmp_path, "a.jsonl", json_lines_of(PLAIN), 2**20)
    assert len(kept) == 3


READ = (Column("messages", "list", ("role", "content", "reasoning_content", "tool_calls", "name")),)
PARTS = b'{"messages":[{"role":"user","content":["makes its block take the careful way"]}]}'


@pytest.mark.parametrize(
    "turn",
    [
        b'{"role":"user","content":"hi"}',
        b'{"role":"user"}',
        b"{}",
        b"null",
        b'{"role":null,"content":null}',
        b'{"content":"a","role":"user","content":"b"}',
        b'{"role":"user","content":"hi","junk":"\xff"}',
        b'{"role":"user","content":"hi","junk":"\\ud800"}',
        b'{"role":"user","content":"hi","junk":{"a":[1,{"b":null}]}}',
        b'{"role":"user","content":"hi","junk":1,"junk":"2"}',
        b'{"role":"user","content":"\\u0000"}',
        b'{"role":"user","content":"\xff"}',
        b'{"role":"user","content":"\\ud800"}',
        b'{"role":"user","content":5}',
        b'{"role":"user","content":"hi","tool_calls":[]}',
        b'{"role":"user","content":"hi","name":5}',
        b'"text"',
        b"[]",
    ],
)
def test_a_line_of_json_is_the_same_whatever_lines_stand_beside_it(
    turn: bytes, tmp_path: Path
) -> None:
    line = b'{"messages":[' + turn + b',{"role":"gpt","content":"ok"}]}'
    outcomes = []
    for lines in ([line], [line, PARTS]):
        path = tmp_path / f"{len(lines)}.jsonl"
        path.write_bytes(b"\n".join([*lines, b""]))
        (rows,) = source_reader.read(str(path), FileFormat("json_lines"), FileRange("", 0, 0), READ)
        kept, rejects = rows_of(rows.table, TurnMapping(("messages",), "role", "content"))
        bad = rejects if rows.rejects is None else pa.concat_tables([rows.rejects, rejects])
        outcomes.append(
            [*kept.to_pylist(), *bad.filter(pa.compute.equal(bad["row"], 1)).to_pylist()]
        )
        if len(lines) == 2:
            outcomes[-1] = [r for r in outcomes[-1] if r.get(ROW) != 2]
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0]) == 1


def test_a_nesting_that_can_be_read_but_not_written_is_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    depths = range(700, 1000)
    cells = [b'[{"role":"user","content":' + b"[" * n + b"]" * n + b"}]" for n in depths]
    path.write_bytes(b"".join(b'{"messages":' + cell + b"}\n" for cell in cells))
    (rows,) = source_reader.read(str(path), FileFormat("json_lines"), FileRange("", 0, 0), READ)
    assert rows.read == len(depths)


class TestJsonOfDatasets:
    """``datasets`` stores what has no one type as JSON text, value by value."""

    FEATURES = datasets.Features(
        {
            "id": datasets.Value("string"),
            "messages": datasets.List(
                {
                    "role": datasets.Value("string"),
                    "content": datasets.Json(),
                    "tool_calls": datasets.Json(),
                }
            ),
        }
    )
    CALLS = [{"type": "function", "function": {"name": "f", "arguments": {"x": None}}}]
    ROWS: list[Row] = [
        {"id": "1", "messages": [user('say "hi"'), bot("ho")]},
        {"id": "2", "messages": [user([{"type": "text", "text": "a"}]), bot("b")]},
        {"id": "3", "messages": [user("a"), bot(None, tool_calls=CALLS)]},
        {"id": "4", "messages": [user(5), bot("b")]},
        {"id": "5", "messages": []},
    ]

    @pytest.mark.parametrize("name", ["folder", "a.parquet"])
    def test_it_is_opened(self, name: str, tmp_path: Path) -> None:
        made = datasets.Dataset.from_list(self.ROWS, features=self.FEATURES)
        assert isinstance(made.data.schema.field("messages").type.value_type[1].type, pa.JsonType)
        write = saved_by_datasets(made) if name == "folder" else made.to_parquet
        kept, rejects, whole = found(tmp_path, name, write, 2**20)
        assert [[turn["content"] for turn in row["turns"]] for row in kept] == [
            ['say "hi"', "ho"],
            ["a", "b"],
            ["a", ""],
        ]
        assert json.loads(kept[2]["turns"][1]["tool_calls"]) == self.CALLS
        assert rejects == [(4, "not-text"), (5, "empty-messages")]
        assert found(tmp_path, name, write, 1)[2] == whole

    def test_what_is_no_json_or_no_text_costs_its_row_alone(self, tmp_path: Path) -> None:
        texts = [b'"a"', b"{", b'"\xff"', b'"\\ud800"', b"[" * 9999, b'"b"']
        storage = pa.array(texts, pa.binary()).view(pa.string())
        content = pa.ExtensionArray.from_storage(pa.json_(), storage)
        turns = pa.StructArray.from_arrays([pa.array(["user"] * 6), content], ["role", "content"])
        answer = pa.StructArray.from_arrays(
            [pa.array(["gpt"]), pa.ExtensionArray.from_storage(pa.json_(), pa.array(['"ok"']))],
            ["role", "content"],
        )
        both = pa.concat_arrays([turns, answer]).take(
            pa.array([i for n in range(6) for i in (n, 6)])
        )
        table = pa.table({"messages": pa.ListArray.from_arrays(range(0, 13, 2), both)})
        kept, rejects, _ = found(tmp_path, "a.arrow", arrow_file_of(table, stream=True), 2**20)
        assert [row["instruction"] for row in kept] == ["a", "b"]
        assert rejects == [
            (2, "broken-json"),
            (3, "invalid-unicode"),
            (4, "invalid-unicode"),
            (5, "broken-json"),
        ]


TEXTS = pa.struct([("role", pa.string()), ("content", pa.string())])
BYTES = pa.struct([("role", pa.binary()), ("content", pa.binary())])
BAD = [
    [{"role": b"user", "content": text}, {"role": b"gpt", "content": b"ok"}]
    for text in (b"a", b"\xff", b"c")
]
UNCHECKED: dict[str, tuple[pa.DataType, pa.DataType]] = {
    "list": (pa.list_(TEXTS), pa.list_(BYTES)),
    "large list": (pa.large_list(TEXTS), pa.large_list(BYTES)),
    "fixed size": (pa.list_(TEXTS, 2), pa.list_(BYTES, 2)),
    "list view": (pa.list_view(TEXTS), pa.list_view(BYTES)),
    "large list view": (pa.large_list_view(TEXTS), pa.large_list_view(BYTES)),
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("a.arrow", kind) for kind in UNCHECKED),
        *(("a.parquet", kind) for kind in UNCHECKED if "view" not in kind),  # it has none
    ],
)
def test_nested_bytes_that_are_no_utf8_are_a_bad_row_and_no_bad_file(
    kind: str, name: str, tmp_path: Path
) -> None:
    text, raw = UNCHECKED[kind]
    table = pa.table({"messages": pa.array(BAD, raw).view(text)})
    write = parquet_of(table) if name == "a.parquet" else arrow_file_of(table, stream=False)
    kept, rejects, _ = found(tmp_path, name, write, 2**20)
    assert [row["instruction"] for row in kept] == ["a", "c"]
    assert rejects == [(2, "invalid-unicode")]


def test_nested_dictionaries_of_such_bytes_too(tmp_path: Path) -> None:
    values = pa.array([b"a", b"\xff", b"ok"], pa.binary()).view(pa.string())
    texts = pa.DictionaryArray.from_arrays(pa.array([0, 2, 1, 2], pa.int8()), values)
    roles = pa.array(["user", "gpt"] * 2).dictionary_encode()
    turns = pa.StructArray.from_arrays([roles, texts], ["role", "content"])
    table = pa.table({"messages": pa.ListArray.from_arrays([0, 2, 4], turns)})
    kept, rejects, _ = found(tmp_path, "a.arrow", arrow_file_of(table, stream=True), 2**20)
    assert [row["instruction"] for row in kept] == ["a"]
    assert rejects == [(2, "invalid-unicode")]


def test_the_sample_shows_bad_bytes_mended() -> None:
    for text, raw in UNCHECKED.values():
        array = pa.array(BAD, raw).view(text)
        as_bytes(array).validate(full=True)
        sample = text_rows(pa.table({"messages": array}))
        assert [row["messages"][0]["content"] for row in sample] == ["a", "\ufffd", "c"]


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_a_column_that_is_mostly_lists_is_one_of_lists(suffix: str, tmp_path: Path) -> None:
    odd: list[Row] = [{"messages": cell} for cell in ("text", 5, {"role": "user"}, None)]
    good: list[Row] = [{"messages": [user("a"), bot("b")]}] * 4
    write = json_lines_of([*odd, *good]) if suffix == "jsonl" else json_array_of([*odd, *good])
    kept, rejects, _ = found(tmp_path, f"a.{suffix}", write, 2**20)
    assert [row[ROW] for row in kept] == [5, 6, 7, 8]
    assert [code for _, code in rejects] == [*["not-a-conversation"] * 3, "null-messages"]


def test_prompt_and_completion_of_messages_are_read_as_one_conversation(tmp_path: Path) -> None:
    rows = [
        {"prompt": [user(f"q{n}")], "completion": [bot(["a"] if n == 2 else f"a{n}")]}
        for n in range(4)
    ]
    kept, rejects, whole = found(tmp_path, "a.jsonl", json_lines_of(rows), 2**20)
    assert rejects == []
    contents = [[turn["content"] for turn in row["turns"]] for row in kept]
    assert contents == [["q0", "a0"], ["q1", "a1"], ["q2", "a"], ["q3", "a3"]]
    assert found(tmp_path, "a.jsonl", json_lines_of(rows), 1)[2] == whole
