"""What units count of their rows, through shards, records and resumed runs, to the manifest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from command_runs import (
    Prepare,
    lines,
    put,
    quiet_process,
    turns,
)
from hypothesis import given
from hypothesis import strategies as st
from made_sets import use_server
from made_tokenizers import byte_bpe
from s3_servers import S3Server
from step_runs import given_batches, run

from pipeline.cli.main import main
from transforms.chat.output_columns import OutputColumns
from transforms.dataset.layout import COLUMNS
from transforms.errors import StorageError, VerificationFailed
from transforms.options import QualityRules
from transforms.quality import row_stats
from transforms.quality.balance import MOST_VALUES, Values
from transforms.quality.row_stats import (
    RowStats,
    from_text,
    measure,
    merge_stats,
    to_text,
)
from transforms.records import TOKENS, VALIDATION, Batch, FileRange, Shard, Written, balance_column
from transforms.steps.commit import without_row_stats
from transforms.steps.measure import Measure
from transforms.steps.resume import ResumeRows
from transforms.steps.write import Write
from transforms.storage.local import LocalStore
from transforms.storage.s3.store import S3Store
from transforms.storage.s3.uri import S3Uri
from transforms.storage.store import DatasetStore, write_records

RULES = QualityRules(balance=("domain",))


def batch_of(
    texts: list[str],
    marks: list[bool],
    domains: list[str | None],
    index: int = 0,
    file: str = "a.jsonl",
    unit: int = 0,
    last: bool = False,
) -> Batch:
    """A batch as Render yields it, of training rows first."""
    columns: dict[str, Any] = dict.fromkeys(COLUMNS, pa.array(texts, pa.string()))
    columns[VALIDATION] = pa.array(marks, pa.bool_())
    columns[balance_column(0)] = pa.array(domains, pa.string())
    return Batch(unit, index, last, FileRange(file, 0, 9), pa.table(columns), len(texts))


def measured(batch: Batch) -> RowStats:
    return measure(batch.table, batch.table[VALIDATION], batch.file_range.file, RULES.balance)


ROWS = st.lists(
    st.tuples(
        st.text(max_size=9),
        st.booleans(),
        st.none() | st.sampled_from("abc"),
        st.sampled_from("xy"),
    ),
    max_size=12,
)


def told(found: RowStats) -> Any:
    """Everything that can be told of it."""
    return as_json(row_stats.measured(found, RULES))


def as_json(found: object) -> Any:
    return json.loads(msgspec.json.encode(found))


@given(ROWS, st.integers(1, 5))
def test_it_does_not_matter_how_rows_are_batched(
    rows: list[tuple[str, bool, str | None, str]], size: int
) -> None:
    def of(some: list[tuple[str, bool, str | None, str]]) -> list[RowStats]:
        return [measured(batch_of([t], [v], [d], file=f)) for t, v, d, f in some]

    parts = of(rows)
    whole = told(merge_stats(parts))
    groups = [merge_stats(parts[at : at + size]) for at in range(0, len(parts), size)]
    assert told(merge_stats(groups[::-1])) == whole
    assert told(from_text(to_text(merge_stats(parts)))) == whole
    by_file = Counter(file for *_, file in rows)
    found = {
        entry["value"]: entry["train"] + entry["validation"]
        for entry in whole["balance"][1]["values"]
    }
    assert found == by_file
    if rows:
        text = whole["lengths"]["text"]
        for split, mark in (("train", False), ("validation", True)):
            lengths = [len(t) for t, v, *_ in rows if v is mark]
            assert text[split]["rows"] == len(lengths)
            assert text[split]["total"] == sum(lengths)


def test_a_part_that_counted_too_many_values_survives_its_record() -> None:
    many: Values = {str(n): (1, 0) for n in range(MOST_VALUES)}
    one: Values = {"one more": (0, 1)}
    parts = [RowStats({}, {"column domain": many}), RowStats({}, {"column domain": one})]
    assert from_text(to_text(parts[0])).values == parts[0].values
    over = merge_stats(parts)
    assert over.values == {"column domain": None}
    assert from_text(to_text(over)).values == {"column domain": None}
    assert merge_stats((over, parts[1])).values == {"column domain": None}


def test_a_batch_with_more_values_than_are_counted() -> None:
    texts = [str(n) for n in range(MOST_VALUES + 1)]
    found = measured(batch_of(texts, [False] * len(texts), [*texts]))
    assert found.values["column domain"] is None


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ({"text": ["ab", "é😀c"], "instruction": ["a", ""], "response": ["", "é"]}, None),
        ({"prompt": ["a", "é"], "completion": ["b", "😀c"]}, ["text", "prompt", "completion"]),
    ],
)
def test_lengths_are_characters_of_every_text(
    columns: dict[str, list[str]], names: list[str] | None
) -> None:
    table = pa.table({**columns, TOKENS: [3, 2000]})
    marks = pa.chunked_array([[False, True]])
    lengths = told(measure(table, marks, "a", ()))["lengths"]
    assert list(lengths) == [*(names or columns), "tokens"]
    assert (lengths["text"]["train"]["total"], lengths["text"]["validation"]["total"]) == (2, 3)
    assert lengths["tokens"]["above"] == {
        "train": {"1024": 0, "2048": 0, "4096": 0, "8192": 0},
        "validation": {"1024": 1, "2048": 0, "4096": 0, "8192": 0},
    }
    assert {name: entry["unit"] for name, entry in lengths.items()} == {
        name: "tokens" if name == "tokens" else "characters" for name in lengths
    }


def test_messages_are_as_long_as_their_contents() -> None:
    shape = OutputColumns(("messages",)).schema
    rows = [turns("é", "ab"), turns("a"), turns("", "😀")]
    table = pa.concat_tables(
        [pa.table({"messages": rows[:2]}, pa.schema([shape.field("messages")])).slice(1)]
        + [pa.table({"messages": rows[::2]}, pa.schema([shape.field("messages")]))]
    )
    marks = pa.chunked_array([[False] * 3])
    (name,) = (found := measure(table, marks, "a", ())).lengths
    assert name == "text"
    assert found.lengths["text"][0].values.tolist() == [1, 3]
    assert found.lengths["text"][0].counts.tolist() == [2, 1]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[LocalStore]:
    folder = LocalStore(str(tmp_path / "out"))
    with folder.claimed():
        yield folder


UNIT = (
    batch_of(["a", "bb", "ccc"], [False, False, True], ["x", None, "x"]),
    batch_of(["dddd", "e"], [True, True], ["y", "x"], 1, "b.jsonl"),
    batch_of([], [], [], 2, "b.jsonl", last=True),
)


def written(folder: DatasetStore, *units: tuple[Batch, ...]) -> list[Shard]:
    batches = [batch for unit in units for batch in unit]
    write = Write(folder, len(units), OutputColumns(), RULES.balance)
    found = run(lambda p: {"shards": p | given_batches(batches) | write})["shards"]
    return sorted(found, key=lambda shard: (shard.unit, shard.split))


def test_write_counts_its_rows_in_the_unit_s_record(folder: LocalStore) -> None:
    train, validation = written(folder, UNIT)
    assert validation.row_stats == "" and without_row_stats(train) == replace(train, row_stats="")
    found = told(from_text(train.row_stats))
    assert found == told(merge_stats(measured(batch) for batch in UNIT))
    assert found["balance"][2]["values"] == [
        {"value": "x", "train": 1, "validation": 2},
        {"value": "(none)", "train": 1, "validation": 0},
        {"value": "y", "train": 0, "validation": 1},
    ]
    assert found["balance"][1]["values"] == [
        {"value": "a.jsonl", "train": 2, "validation": 1},
        {"value": "b.jsonl", "train": 0, "validation": 2},
    ]
    # Nothing but the shape's columns is written.
    stream = pa.ipc.open_stream(b"".join(folder.chunks(train.path)))
    assert stream.schema.names == list(COLUMNS)


def test_many_batches_are_added_up_now_and_then(folder: LocalStore) -> None:
    many = [batch_of(["a" * n], [False], [None], n) for n in range(200)]
    train, _ = written(folder, (*many, batch_of([], [], [], 200, last=True)))
    text = told(from_text(train.row_stats))["lengths"]["text"]
    assert (text["train"]["rows"], text["train"]["max"]) == (200, 199)


def test_measure_adds_up_the_units(folder: LocalStore) -> None:
    other = tuple(replace(batch, unit=1) for batch in UNIT)
    shards = written(folder, UNIT, other)
    (found,) = run(lambda p: {"": p | given_batches(shards) | Measure(RULES)})[""]
    assert as_json(found) == told(merge_stats([measured(batch) for batch in UNIT] * 2))
    assert found.lengths["text"].train.rows == 4


def test_of_no_units_there_is_nothing_to_tell() -> None:
    assert run(lambda p: {"": p | given_batches([]) | Measure(QualityRules())})[""] == []


class TestRecallRows:
    def place(self, kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> DatasetStore:
        if kind == "local":
            return LocalStore(str(tmp_path / "out"))
        server: S3Server = request.getfixturevalue("s3_server")
        use_server(request.getfixturevalue("monkeypatch"), server)
        return S3Store(S3Uri(request.getfixturevalue("bucket"), "sets/one"))

    @pytest.mark.parametrize("kind", ["local", "s3"])
    def test_shards_are_read_back(
        self, kind: str, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        folder = self.place(kind, tmp_path, request)
        with folder.claimed("0123"):
            units = [tuple(replace(batch, unit=n) for batch in UNIT) for n in range(3)]
            written(folder, *units)
            for unit in range(3):
                write_records(folder, unit, "rejects", [])
            rows = run(lambda p: {"": p | ResumeRows(folder, (0, 2))})[""]
            assert sorted({batch.unit for batch in rows}) == [0, 2]
            for unit in (0, 2):
                own = pa.concat_tables([batch.table for batch in rows if batch.unit == unit])
                assert own.column_names == [*COLUMNS, VALIDATION]
                marks = own[VALIDATION].to_pylist()
                found = dict(zip(own["text"].to_pylist(), marks, strict=True))
                expected = {"a": False, "bb": False, "ccc": True, "dddd": True, "e": True}
                assert found == expected
            assert {(batch.file_range.file, batch.last) for batch in rows} == {("", False)}
            assert run(lambda p: {"": p | ResumeRows(folder, ())})[""] == []
            with pytest.raises(VerificationFailed, match="gone"):
                list(folder.chunks("train/data-00009-of-00003.arrow"))

    def test_a_record_batch_each(self, folder: LocalStore) -> None:
        texts = ["x" * 100] * 2500
        whole = batch_of(texts, [False] * 2500, [None] * 2500)
        written(folder, (whole, batch_of([], [], [], 1, last=True)))
        write_records(folder, 0, "rejects", [])
        rows = run(lambda p: {"": p | ResumeRows(folder, (0,))})[""]
        assert [batch.table.num_rows for batch in rows] == [1000, 1000, 500]
        assert [batch.index for batch in rows] == [0, 1, 2]

    def test_the_finished_set_is_read_where_nothing_is_staged(self, tmp_path: Path) -> None:
        folder = LocalStore(str(tmp_path / "out"))
        put(tmp_path / "out" / "train" / "x.arrow", b"old")
        assert b"".join(folder.chunks("train/x.arrow")) == b"old"
        with folder.claimed():
            with pytest.raises(VerificationFailed):
                list(folder.chunks("train/x.arrow"))
            put(folder.staging / "train" / "x.arrow", b"new" * 2**20)
            assert [len(c) for c in folder.chunks("train/x.arrow")] == [2**20] * 3


class TestRuns:
    @pytest.fixture
    def rows(self, tmp_path: Path) -> Path:
        """Two files, the first of several units, with a column of domains."""
        random = np.random.default_rng(5)
        for name, count in (("a", 3000), ("b", 300)):
            made = (
                {
                    "question": f"what {name} {n}",
                    "answer": "three " * int(random.integers(1, 300)),
                    "domain": ["math", None, "é" * 200, "7"][n % 4],
                }
                for n in range(count)
            )
            lines(tmp_path / "rows" / f"{name}.jsonl", *made)
        return tmp_path / "rows"

    @pytest.mark.parametrize("columns", ["text", "messages"])
    def test_a_column_is_compared(self, prepare: Prepare, rows: Path, columns: str) -> None:
        fields = ("--fields", "instruction=question,response=answer")
        words = ("--dataset", rows, *fields, "--columns", columns, "--balance", "domain")
        ended = prepare(*words)
        length, files, column = ended.manifest["quality"]["balance"]
        assert [length["what"], files["what"], column["what"]] == [
            "text length", "source file", "column domain"
        ]  # fmt: skip
        shown = {e["value"]: e["train"] + e["validation"] for e in column["values"]}
        assert shown == dict.fromkeys(("math", "(none)", "é" * 100, "7"), 825)
        shown = {e["value"]: e["train"] + e["validation"] for e in files["values"]}
        assert shown == {"a.jsonl": 3000, "b.jsonl": 300}
        assert column["verdict"] == "alike"
        plain = prepare("--dataset", rows, *fields, "--columns", columns)
        assert _shards(plain.output) == _shards(ended.output)

    def test_of_conversations_too(self, prepare: Prepare, tmp_path: Path) -> None:
        rows = ({"messages": turns(f"q{n}", "a"), "domain": "ab"[n % 2]} for n in range(50))
        ended = prepare("--dataset", lines(tmp_path / "c.jsonl", *rows), "--balance", "domain")
        (*_, column) = ended.manifest["quality"]["balance"]
        assert {e["value"]: e["train"] + e["validation"] for e in column["values"]} == {
            "a": 25, "b": 25
        }  # fmt: skip

    def test_a_value_that_is_no_text_costs_no_row(self, prepare: Prepare, tmp_path: Path) -> None:
        table = pa.table(
            {
                "question": [f"q{n}" for n in range(40)],
                "answer": ["a"] * 40,
                "domain": pa.array([b"\xff", b"x"] * 20, pa.binary()).view(pa.string()),
            }
        )
        with (
            pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file,
            pa.ipc.new_file(file, table.schema) as out,
        ):
            out.write_table(table)
        words = ("--dataset", tmp_path / "a.arrow", "--balance", "domain")
        words = (*words, "--fields", "instruction=question,response=answer")
        ended = prepare(*words)
        assert ended.counts["rejected"]["total"] == 0
        (*_, column) = ended.manifest["quality"]["balance"]
        assert {e["value"] for e in column["values"]} == {"(none)", "x"}
        assert len(prepare(*words, "-n", 99, "--json", verb="preview").told["rows"]) == 40

    @pytest.mark.parametrize("columns", ["text", "messages"])
    def test_a_resumed_run_tells_the_same(
        self, rows: Path, tmp_path: Path, columns: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tokenizer = put(tmp_path / "tokenizer.json", byte_bpe())
        words = [
            *("--dataset", str(rows), "--fields", "instruction=question,response=answer"),
            *("--balance", "domain", "--tokenizer", str(tokenizer), "--max-tokens", "250"),
            *("--too-long", "truncate-response", "--columns", columns, "--shard-size", "1MiB"),
            *("--direct_running_mode=in_memory", "--quiet", "--skip-upload"),
        ]
        publish = LocalStore.publish

        def breaking(self: LocalStore, temporary: Path, name: str, written: Written) -> None:
            if name.startswith("validation/data-00002"):
                raise StorageError("the disk failed")
            publish(self, temporary, name, written)

        with quiet_process(monkeypatch):
            assert main([*words, "--output", str(tmp_path / "one")]) == 0
            with monkeypatch.context() as failing:
                failing.setattr(LocalStore, "publish", breaking)
                assert main([*words, "--output", str(tmp_path / "two")]) == 5
            assert main([*words, "--resume", str(tmp_path / "two")]) == 0
        one, two = (
            json.loads((tmp_path / name / "manifest.json").read_bytes()) for name in ("one", "two")
        )
        assert len(list((tmp_path / "one" / "train").glob("*.arrow"))) >= 3
        measured_parts = ("lengths", "balance", "tokenizer", "truncated")
        assert {n: one["quality"][n] for n in measured_parts} == {
            n: two["quality"][n] for n in measured_parts
        }
        assert one["quality"]["truncated"] > 0


def _shards(output: Path) -> dict[str, bytes]:
    return {str(p.relative_to(output)): p.read_bytes() for p in output.glob("*/*.arrow")}
