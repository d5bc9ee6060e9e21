"""Each PTransform alone, on Beam's local runner."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import msgspec
import numpy as np
import pyarrow as pa
import pytest
import xxhash
from apache_beam import coders
from datasets import load_from_disk
from hypothesis import given
from hypothesis import strategies as st
from step_runs import (
    JSON_LINES,
    PIECE,
    QA,
    a_batch,
    codes_of,
    error_of,
    given_batches,
    marked,
    pair_batch,
    run,
    source_batch,
)

from transforms.chat.builtin_templates import chatml
from transforms.chat.output_columns import OutputColumns
from transforms.dataset.layout import COLUMNS
from transforms.dataset.publish import Contents
from transforms.duplicates.positions import Drop
from transforms.duplicates.positions import place as place_of
from transforms.errors import (
    AccessDenied,
    BadInput,
    DataPrepError,
    StorageError,
    VerificationFailed,
    from_worker,
)
from transforms.formats.source_content import SourceContent
from transforms.formats.source_reader import Source
from transforms.quality.gates import Gates
from transforms.quality.row_stats import Measured
from transforms.records import (
    PROMPT,
    PROMPT_KEY,
    REJECTS,
    ROW,
    VALIDATION,
    Batch,
    Column,
    FileRange,
    Shard,
    WorkUnit,
    rejects_table,
)
from transforms.split import SplitRule, hash64
from transforms.steps.coders import BatchCoder
from transforms.steps.commit import Commit
from transforms.steps.normalize import Normalize
from transforms.steps.partition import Partition
from transforms.steps.read import Read, WorkUnits
from transforms.steps.render import REJECTED, Render
from transforms.steps.write import Write, WriteRejects
from transforms.storage.local import LocalStore
from transforms.storage.manifest_parts import Leakage, Run, Tokenizer
from transforms.text.normalization import normalise_keys


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    folder = LocalStore(str(tmp_path / "out"))
    with folder.claimed():
        yield folder


def work(
    pipeline: beam.Pipeline,
    *units: WorkUnit,
    drops: Sequence[tuple[int, Drop]] = (),
    contents: Sequence[tuple[int, SourceContent]] = (),
) -> Any:
    """What Read is given: units, what to leave out of them, and what the first pass saw."""
    given = beam.Create(drops, reshuffle=False).with_output_types(tuple[int, Drop])
    seen = beam.Create(contents, reshuffle=False).with_output_types(tuple[int, SourceContent])
    return pipeline | WorkUnits(units), pipeline | "Drops" >> given, pipeline | "Contents" >> seen


class TestRead:
    LINES = tuple({"q": f"question {n}", "a": "é" * n, "unused": n} for n in range(11))

    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self.LINES)
        (tmp_path / "data.jsonl").write_text(text, encoding="utf-8")
        (tmp_path / "more.jsonl").write_text('{"q": "one more", "a": "ü"}\n', encoding="utf-8")
        return Source(f"{tmp_path}/", JSON_LINES, (Column("a", "string"), Column("q", "string")))

    @staticmethod
    def read(source: Source, units: Sequence[WorkUnit], batch_bytes: int) -> list[Batch]:
        read = Read(source, batch_bytes=batch_bytes)
        found = run(lambda p: {"read": work(p, *units) | read})["read"]
        return sorted(found, key=lambda batch: (batch.unit, batch.index))

    @pytest.mark.parametrize("batch_bytes", [1, 100, 2**20])
    def test_units_become_batches_with_their_place(self, source: Source, batch_bytes: int) -> None:
        pieces = [
            FileRange("data.jsonl", 0, 120),
            FileRange("data.jsonl", 120, Path(source.path("data.jsonl")).stat().st_size),
            FileRange("more.jsonl", 0, 40),
        ]
        units = [WorkUnit(0, tuple(pieces[:1])), WorkUnit(1, tuple(pieces[1:]))]
        batches = self.read(source, units, batch_bytes)
        rows: list[dict[str, Any]] = []
        for unit in units:
            own = [b for b in batches if b.unit == unit.number]
            assert [b.index for b in own] == list(range(len(own)))
            assert [b.last for b in own] == [False] * (len(own) - 1) + [True]
            assert (own[-1].table.num_rows, own[-1].read) == (0, 0)
            assert own[-1].table.column_names == ["a", "q", ROW]
            for piece in unit.file_ranges:
                held = [row for b in own if b.file_range == piece for row in b.table.to_pylist()]
                assert [row.pop(ROW) for row in held] == list(range(1, len(held) + 1))
                rows += held
        assert rows == [{"a": x["a"], "q": x["q"]} for x in self.LINES] + [
            {"a": "ü", "q": "one more"}
        ]
        assert sum(b.read for b in batches) == len(rows)
        assert len(batches) >= {1: len(rows) + 2, 100: 6, 2**20: 5}[batch_bytes]

    def test_a_piece_stops_at_its_limit(self, source: Source) -> None:
        batches = self.read(source, [WorkUnit(0, (FileRange("data.jsonl", 0, 9999, 3),))], 64)
        assert [row["q"] for b in batches for row in b.table.to_pylist()] == [
            f"question {n}" for n in range(3)
        ]
        assert sum(b.read for b in batches) == 3

    @pytest.mark.parametrize("batch_bytes", [1, 100, 2**20])
    def test_rows_to_leave_out_are_left_out_and_counted(
        self, source: Source, batch_bytes: int
    ) -> None:
        pieces = (FileRange("data.jsonl", 0, 9999), FileRange("more.jsonl", 0, 40))
        exact, near = (
            np.concatenate([place_of(piece, np.array([row])) for piece, row in rows])
            for rows in (((0, 2), (0, 9), (1, 1)), ((0, 3), (0, 9)))  # of both kinds: exact
        )
        drops = [(0, Drop(near, near=True)), (0, Drop(exact)), (7, Drop(exact))]
        read = Read(source, batch_bytes=batch_bytes)
        batches = run(lambda p: {"read": work(p, WorkUnit(0, pieces), drops=drops) | read})["read"]
        rows = [row["q"] for b in batches for row in b.table.to_pylist()]
        assert sorted(rows) == sorted(f"question {n}" for n in range(11) if n not in (1, 2, 8))
        assert sum(b.read for b in batches) == 12
        assert [sum(b.duplicates[kind] for b in batches) for kind in (0, 1)] == [3, 1]

    def test_finished_units_are_not_read(self, source: Source) -> None:
        units = [WorkUnit(number, (FileRange("more.jsonl", 0, 40),)) for number in range(6)]
        read = Read(source, finished=[0, 1, 4])
        batches = run(lambda p: {"read": work(p, *units) | read})["read"]
        assert sorted({batch.unit for batch in batches}) == [2, 3, 5]

    def test_rows_that_cannot_be_read_travel_as_rejects(
        self, source: Source, tmp_path: Path
    ) -> None:
        (tmp_path / "data.jsonl").write_text('{"q": "Q", "a": "A"}\n{broken\n[1]\n{"q": 5}\n')
        batches = self.read(source, [WorkUnit(0, (FileRange("data.jsonl", 0, 9999),))], 2**20)
        rejects = [row for b in batches if b.rejects is not None for row in b.rejects.to_pylist()]
        assert [(row["row"], row["code"]) for row in rejects] == [
            (2, "broken-json"),
            (3, "not-an-object"),
            (4, "not-text"),
        ]
        assert sum(b.read for b in batches) == 4

    def test_a_file_that_is_gone_is_the_user_s_error(self, source: Source, tmp_path: Path) -> None:
        (tmp_path / "data.jsonl").unlink()
        error = error_of(lambda p: work(p, WorkUnit(0, (PIECE,))) | Read(source))
        assert isinstance(error, BadInput)
        assert str(error) == f"{tmp_path}/data.jsonl does not exist (any more); plan again"


class TestNormalize:
    @staticmethod
    def normalize(batches: Sequence[Batch], key: str | None = None) -> list[Batch]:
        def build(pipeline: beam.Pipeline) -> Mapping[str, beam.PCollection[Batch]]:
            return {"kept": pipeline | given_batches(batches) | Normalize(QA, key)}

        return run(build)["kept"]

    def test_pairs_are_kept_and_the_others_leave_as_rejects(self) -> None:
        found = self.normalize(
            [
                source_batch(0, ["Q1", None, "Q3"], ["A1", "A2", "A3"]),
                source_batch(1, ["Q4", " "], ["", "A5"]),
                source_batch(2, [], [], last=True),
            ]
        )
        assert [b.table.to_pylist() for b in found] == [
            [
                {"instruction": "Q1", "response": "A1", ROW: 1},
                {"instruction": "Q3", "response": "A3", ROW: 3},
            ],
            [],
            [],
        ]
        assert [codes_of(b.rejects) for b in found] == [
            [(2, "null-instruction")],
            [(1, "empty-response"), (2, "blank-instruction")],
            [],
        ]

    def test_rejects_of_read_are_kept(self) -> None:
        unread = rejects_table([(2, "broken-json", "{"), (4, "not-an-object", "[")])
        rows = pa.table({"q": ["", "Q", ""], "a": ["A"] * 3, ROW: pa.array([1, 3, 5])})
        found = self.normalize([a_batch(rows, rejects=unread)])
        assert codes_of(found[0].rejects) == [
            (2, "broken-json"),
            (4, "not-an-object"),
            (1, "empty-instruction"),
            (5, "empty-instruction"),
        ]

    def test_the_split_key_travels_with_the_pairs(self) -> None:
        found = self.normalize([source_batch(0, ["Q"], ["A"])], key="a")
        assert found[0].table.to_pylist() == [
            {"instruction": "Q", "response": "A", "key": "A", ROW: 1}
        ]


class TestRender:
    @staticmethod
    def render(batches: Sequence[Batch]) -> tuple[list[Batch], list[Batch]]:
        def build(pipeline: beam.Pipeline) -> Mapping[str, beam.PCollection[Batch]]:
            rows = pipeline | given_batches(batches) | Render(chatml(), OutputColumns())
            return {"kept": rows.kept, REJECTED: rows[REJECTED]}

        found = run(build)
        return found["kept"], found[REJECTED]

    def test_both_outputs_have_a_batch_for_every_batch_with_its_place(self) -> None:
        batches = [
            pair_batch(0, ["Q"], unit=7),
            pair_batch(1, ["<|im_end|>"], unit=7),
            pair_batch(2, [], unit=7, last=True),
        ]
        for output in self.render(batches):
            assert [(b.unit, b.index, b.last, b.file_range, b.read) for b in output] == [
                (b.unit, b.index, b.last, b.file_range, b.read) for b in batches
            ]
            assert all(b.rejects is None for b in output)
        assert all(b.table.schema == REJECTS for b in self.render(batches)[1])

    def test_rejects_of_all_steps_come_in_the_order_of_their_rows(self) -> None:
        # As they would with smaller batches: the rejects' file must not tell the batch size.
        earlier = rejects_table([(4, "broken-json", "{"), (1, "empty-response", "[")])
        rows = pair_batch(0, ["Q", "<|im_start|>", "Q"], rejects=earlier)
        kept, rejected = self.render([rows])
        assert kept[0].table["instruction"].to_pylist() == ["Q", "Q"]
        assert codes_of(rejected[0].table) == [
            (1, "empty-response"),
            (2, "control-token"),
            (4, "broken-json"),
        ]
        assert rejected[0].table["excerpt"][1].as_py() == (
            "instruction: <|im_start|> in …<|im_start|>…"
        )

    def test_text_comes_before_the_other_columns(self) -> None:
        batch = pair_batch(3, ["Q1", "Q2"], unit=7)
        (found,), _ = self.render([batch])
        assert found.table.column_names == ["text", "instruction", "response"]
        assert found.table["text"].to_pylist() == [
            chatml().render("Q1", "A"),
            chatml().render("Q2", "A"),
        ]
        assert (found.unit, found.index, found.read, found.file_range) == (7, 3, 2, PIECE)

    def test_an_empty_batch_stays_empty(self) -> None:
        (found,), _ = self.render([pair_batch(0, [], last=True)])
        assert found.table.to_pydict() == {"text": [], "instruction": [], "response": []}
        assert found.last


class TestPartition:
    PROMPTS = tuple(f" prompt\n{n} é" for n in range(200))

    def partition(self, rule: SplitRule, **columns: Sequence[str]) -> list[bool]:
        """Each prompt's mark, in the prompts' order."""
        cells = {"instruction": self.PROMPTS, "response": [f"R{n}" for n in range(200)]}
        batch = a_batch(pa.table({**cells, **columns}))
        (found,) = run(lambda p: {"x": p | given_batches([batch]) | Partition(rule)})["x"]
        asked = found.table[PROMPT].to_pylist()
        assert asked == found.table["instruction"].to_pylist()
        keys = hash64(rule.seed, normalise_keys(pa.array(asked)))
        assert found.table[PROMPT_KEY].to_pylist() == keys.tolist()
        names = ["instruction", "response", PROMPT_KEY, VALIDATION, PROMPT]
        assert found.table.column_names == names
        places = [int(response[1:]) for response in found.table["response"].to_pylist()]
        assert found.table["instruction"].to_pylist() == [self.PROMPTS[n] for n in places]
        marks = found.table[VALIDATION].to_pylist()
        # Training rows first, each split's in the order of the source.
        assert list(zip(marks, places, strict=True)) == sorted(zip(marks, places, strict=True))
        return [mark for _, mark in sorted(zip(places, marks, strict=True))]

    def test_the_normalised_instruction_decides(self) -> None:
        rule = SplitRule(0.3, 42)
        keys = normalise_keys(pa.array([f"prompt {n} é" for n in range(200)]))
        marks = self.partition(rule)
        assert marks == rule.is_validation(keys).to_pylist()
        assert 0 < sum(marks) < 200

    def test_a_named_key_decides_as_it_is_and_is_dropped(self) -> None:
        rule = SplitRule(0.3, 42, "group")
        groups = [f" group  {n // 10}" for n in range(200)]
        marks = self.partition(rule, key=groups)
        assert marks == rule.is_validation(pa.array(groups)).to_pylist()
        assert all(len(set(marks[n : n + 10])) == 1 for n in range(0, 200, 10))
        assert 0 < sum(marks) < 200


class TestWrite:
    @staticmethod
    def write(folder: LocalStore, batches: Sequence[Batch], of: int = 2) -> list[Shard]:
        return run(lambda p: {"x": p | given_batches(batches) | Write(folder, of)})["x"]

    BATCHES = (
        marked(["a", "c", "b"], [False, False, True], index=0, unit=1),
        replace(marked(["d"], [False], index=1, unit=1), read=3),
        marked([], [], index=2, unit=1, last=True),
        marked(["x"], [True], index=0, unit=0),
        marked([], [], index=1, unit=0, last=True),
    )

    def test_a_unit_becomes_one_file_a_split(self, folder: LocalStore) -> None:
        shards = {(s.split, s.unit): s for s in self.write(folder, self.BATCHES)}
        assert {place: (s.path, s.rows, s.read) for place, s in shards.items()} == {
            ("train", 0): ("train/data-00000-of-00002.arrow", 0, 1),
            ("train", 1): ("train/data-00001-of-00002.arrow", 3, 6),
            ("validation", 0): ("validation/data-00000-of-00002.arrow", 1, 1),
            ("validation", 1): ("validation/data-00001-of-00002.arrow", 1, 6),
        }
        texts = {("train", 0): [], ("train", 1): ["a", "c", "d"]}
        texts |= {("validation", 0): ["x"], ("validation", 1): ["b"]}
        for place, shard in shards.items():
            data = (folder.staging / shard.path).read_bytes()
            assert (shard.bytes, shard.sha256) == (len(data), hashlib.sha256(data).hexdigest())
            table = pa.ipc.open_stream(data).read_all()
            assert table.to_pydict() == dict.fromkeys(COLUMNS, texts[place])

    def test_units_are_reported_when_they_are_finished(self, folder: LocalStore) -> None:
        shards = self.write(folder, self.BATCHES)
        reports = sorted(folder.reports(), key=lambda report: report["rows"])
        assert [report["rows"] for report in reports] == [1, 6]
        assert sum(report["bytes"] for report in reports) == sum(s.bytes for s in shards)

    def test_a_repeated_unit_gives_the_same_files_and_records(self, folder: LocalStore) -> None:
        first = self.write(folder, self.BATCHES)
        files = {s.path: (folder.staging / s.path).read_bytes() for s in first}
        assert self.write(folder, self.BATCHES) == first
        assert {s.path: (folder.staging / s.path).read_bytes() for s in first} == files

    def test_validation_rows_among_training_rows_are_an_error(self, folder: LocalStore) -> None:
        batch = marked(["a", "b", "c"], [False, True, False])
        error = error_of(lambda p: p | given_batches([batch]) | Write(folder, 2))
        assert isinstance(error, VerificationFailed)
        assert "training rows first" in str(error)

    def test_units_are_published_beside_the_next_ones_work_but_reported_at_the_end(
        self, folder: LocalStore
    ) -> None:
        batches = [
            batch
            for unit in range(7)
            for batch in (
                marked([f"text {unit}"], [False], unit=unit),
                marked([], [], index=1, unit=unit, last=True),
            )
        ]
        shards = self.write(folder, batches, of=7)
        assert sorted((s.unit, s.split, s.rows) for s in shards) == [
            (unit, split, rows)
            for unit in range(7)
            for split, rows in (("train", 1), ("validation", 0))
        ]

    def test_a_file_that_cannot_be_published_fails_the_bundle(
        self, folder: LocalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise StorageError("no space left")

        monkeypatch.setattr(LocalStore, "publish", full)
        error = error_of(lambda p: p | given_batches(self.BATCHES) | Write(folder, 2))
        assert isinstance(error, StorageError)

    @pytest.mark.parametrize(
        ("places", "message"),
        [
            ([(0, 0), (0, 2)], "handed over batch 2 of unit 0 where batch 1 of unit 0 was due"),
            ([(0, 0), (0, 0)], "handed over batch 0 of unit 0 where batch 1 of unit 0 was due"),
            ([(0, 1)], "handed over batch 1 of unit 0 where batch 0 of unit 0 was due"),
            ([(0, 0), (1, 0)], "handed over batch 0 of unit 1 where batch 1 of unit 0 was due"),
            ([(0, 0), (1, 1)], "handed over batch 1 of unit 1 where batch 1 of unit 0 was due"),
            ([(0, 0), (0, 1)], "ended a bundle inside unit 0"),
        ],
    )
    def test_batches_out_of_order_are_an_error(
        self, folder: LocalStore, places: list[tuple[int, int]], message: str
    ) -> None:
        batches = [marked(["a"], [False], unit=unit, index=index) for unit, index in places]
        error = error_of(lambda p: p | given_batches(batches) | Write(folder, 2))
        assert isinstance(error, VerificationFailed)
        assert message in str(error)
        assert not (folder.staging / "train").exists()


class TestWriteRejects:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        line = '{"q": "1234567890"}\n'
        assert len(line) == 20
        (tmp_path / "data.jsonl").write_text(line * 4)
        return Source(f"{tmp_path}/", JSON_LINES, (Column("q", "string"),))

    @staticmethod
    def rejected(rows: list[tuple[int, str, str]], read: int, **more: Any) -> Batch:
        return replace(a_batch(rejects_table(rows), **more), read=read)

    def test_rejects_become_lines_with_file_and_row_in_the_file(
        self, folder: LocalStore, source: Source
    ) -> None:
        second = FileRange("data.jsonl", 40, 80)
        batches = [
            replace(
                self.rejected([(1, "empty-response", "é"), (2, "broken-json", "{")], 5, unit=3),
                file_range=second,
            ),
            self.rejected([], 4, unit=3, index=1),
            self.rejected([(1, "broken-json", "[")], 1, unit=3, index=2),
            self.rejected([], 0, unit=3, index=3, last=True),
        ]
        (shard,) = run(
            lambda p: {"x": p | given_batches(batches) | WriteRejects(folder, 9, source)}
        )["x"]
        data = (folder.staging / "rejects/data-00003-of-00009.jsonl").read_bytes()
        assert [json.loads(line) for line in data.splitlines()] == [
            {"file": "data.jsonl", "row": 3, "code": "empty-response", "excerpt": "é"},
            {"file": "data.jsonl", "row": 4, "code": "broken-json", "excerpt": "{"},
            {"file": "data.jsonl", "row": 1, "code": "broken-json", "excerpt": "["},
        ]
        assert shard == Shard(
            unit=3,
            split="rejects",
            path="rejects/data-00003-of-00009.jsonl",
            rows=3,
            read=10,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            codes={"empty-response": 1, "broken-json": 2},
            examples={"empty-response": "data.jsonl row 3", "broken-json": "data.jsonl row 4"},
            xxh3=xxhash.xxh3_128_hexdigest(data),
        )

    def test_a_unit_without_rejects_writes_no_file_but_a_record(
        self, folder: LocalStore, source: Source
    ) -> None:
        batches = [self.rejected([], 4), self.rejected([], 0, index=1, last=True)]
        (shard,) = run(
            lambda p: {"x": p | given_batches(batches) | WriteRejects(folder, 9, source)}
        )["x"]
        assert shard == Shard(0, "rejects", "", 0, 4, 0, "")
        assert not (folder.staging / "rejects").exists()

    def test_batches_out_of_order_are_an_error(self, folder: LocalStore, source: Source) -> None:
        batches = [self.rejected([], 1), self.rejected([], 1, index=2)]
        error = error_of(lambda p: p | given_batches(batches) | WriteRejects(folder, 9, source))
        assert isinstance(error, VerificationFailed)


TOKENIZER = Tokenizer(name="some/model", sha256="0" * 64)


def found(
    pipeline: beam.Pipeline, shards: list[Shard], units: Sequence[WorkUnit] = ()
) -> tuple[Any, ...]:
    """What Commit is given: the shards, what was measured, and the units."""
    parts = {
        "Shards": shards,
        "Measured": [Measured({}, (), TOKENIZER)],
        "Leakage": [Leakage(checked=2, rows=1)],
        "Units": units,
    }
    return tuple(pipeline | name >> beam.Create(part) for name, part in parts.items())


SOURCE = Source("/nowhere/", JSON_LINES, ())


class TestCommit:
    CONTENTS = Contents(
        dataset="some/set",
        revision="abc",
        plan_digest="0123",
        plan={},
        run=Run(started="2024-01-31T10:00:00+00:00"),
        gates=Gates(max_reject_rate=0.0),
        summary="",
    )

    @staticmethod
    def shards(folder: LocalStore) -> list[Shard]:
        rejects = [Shard(unit, "rejects", "", 0, read, 0, "") for unit, read in ((0, 1), (1, 6))]
        return [*rejects, *TestWrite.write(folder, TestWrite.BATCHES)]

    def shards_that_add_up(self, folder: LocalStore) -> list[Shard]:
        return [replace(s, read=4) if s.unit == 1 else s for s in self.shards(folder)]

    def test_the_set_is_in_place_and_its_counts_come_once(self, folder: LocalStore) -> None:
        shards = self.shards_that_add_up(folder)
        commit = Commit(folder, 2, self.CONTENTS, SOURCE)
        (counts,) = run(lambda p: {"x": found(p, shards) | commit})["x"]
        assert counts.read == 5
        manifest = json.loads(Path(folder.path, "manifest.json").read_bytes())
        assert msgspec.to_builtins(counts) == manifest["counts"]
        quality = manifest["quality"]
        assert quality["tokenizer"] == msgspec.to_builtins(TOKENIZER)
        assert (quality["leakage"]["checked"], quality["leakage"]["rows"]) == (2, 1)
        loaded = load_from_disk(folder.path)
        assert loaded["train"]["text"] == ["a", "c", "d"]
        assert loaded["validation"]["text"] == ["x", "b"]

    def test_shards_of_a_repeated_bundle_count_once(self, folder: LocalStore) -> None:
        shards = self.shards_that_add_up(folder)
        commit = Commit(folder, 2, self.CONTENTS, SOURCE)
        (counts,) = run(lambda p: {"x": found(p, [*shards, *shards]) | commit})["x"]
        assert counts.read == 5

    def test_rows_that_went_missing_fail_the_job(self, folder: LocalStore) -> None:
        shards = self.shards(folder)
        error = error_of(lambda p: found(p, shards) | Commit(folder, 2, self.CONTENTS, SOURCE))
        assert isinstance(error, VerificationFailed)
        assert "unit 1 read 6 rows and placed 4" in str(error)
        assert not Path(folder.path).exists()

    def test_a_shard_that_went_missing_fails_the_job(self, folder: LocalStore) -> None:
        shards = self.shards_that_add_up(folder)[:-1]
        error = error_of(lambda p: found(p, shards) | Commit(folder, 2, self.CONTENTS, SOURCE))
        assert isinstance(error, VerificationFailed)
        assert not Path(folder.path).exists()


cells = st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), max_size=5)


class TestBatchCoder:
    @given(
        place=st.tuples(st.integers(0, 2**40), st.integers(0, 2**40), st.booleans()),
        file_range=st.builds(
            FileRange,
            st.text(),
            st.integers(0, 2**60),
            st.integers(0, 2**60),
            st.none() | st.integers(0, 2**60),
        ),
        column=cells,
        start=st.integers(0, 3),
        read=st.integers(0, 2**40),
        rejects=st.none() | st.lists(st.tuples(st.integers(0, 99), st.text(), st.text())),
    )
    def test_what_is_decoded_equals_what_was_encoded(
        self,
        place: tuple[int, int, bool],
        file_range: FileRange,
        column: list[str | None],
        start: int,
        read: int,
        rejects: list[tuple[int, str, str]] | None,
    ) -> None:
        coder = BatchCoder()
        numbers = pa.array(range(len(column)), pa.int64())
        table = pa.table({"x": pa.array(column, pa.string()), ROW: numbers}).slice(start)
        clean = [(n, c.encode("utf-8", "replace").decode(), e) for n, c, e in rejects or ()]
        bad = None if rejects is None else rejects_table(clean)
        batch = Batch(*place, file_range, table, read, bad)
        decoded = coder.decode(coder.encode(batch))
        assert decoded == batch
        assert coder.encode(decoded) == coder.encode(batch)

    def test_beam_uses_it_for_batches(self) -> None:
        assert isinstance(coders.registry.get_coder(Batch), BatchCoder)
        assert BatchCoder().is_deterministic()

    def test_the_size_is_told_without_encoding(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(BatchCoder, "encode", lambda *_: pytest.fail("encoded"))
        table = pa.table({"x": ["y" * 1000] * 50})
        assert BatchCoder().estimate_size(a_batch(table)) == table.nbytes > 50_000

    def test_batches_survive_a_shuffle(self) -> None:
        batches = [
            marked(["a", "é"], [True, False], index=0),
            marked([], [], index=1, last=True, rejects=rejects_table([(1, "x", "y")])),
        ]
        found = run(lambda p: {"x": p | given_batches(batches) | beam.Reshuffle()})["x"]
        assert sorted(found, key=lambda b: b.index) == batches


class TestErrorsFromWorkers:
    @pytest.mark.parametrize(
        "message",
        [
            "one line",
            "two\nlines",
            "a: b [c]; run again",
            "a\n\nblank line",
            "quotes \"'` and \\ [while running 'X'] transforms.errors.BadInput: y",
        ],
    )
    def test_an_error_keeps_its_class_and_message(self, message: str) -> None:
        def fail(_: int) -> None:
            raise AccessDenied(message)

        error = error_of(lambda p: p | beam.Create([1]) | beam.Map(fail))
        assert (type(error), str(error)) == (AccessDenied, message)

    def test_the_outermost_of_chained_errors_counts(self) -> None:
        def fail(_: int) -> None:
            try:
                raise FileNotFoundError("x")
            except FileNotFoundError as error:
                raise BadInput("x is not there") from error

        error = error_of(lambda p: p | beam.Create([1]) | beam.Map(fail))
        assert (type(error), str(error)) == (BadInput, "x is not there")

    def test_other_errors_are_not_taken_for_ours(self) -> None:
        assert from_worker("Traceback\nValueError: transforms.errors are bad") is None

    def test_every_class_has_its_exit_code(self) -> None:
        classes = [DataPrepError, *DataPrepError.__subclasses__()]
        assert [error.exit_code for error in classes] == [1, 2, 3, 4, 5, 5, 6, 7, 8]
        for error in classes:
            beam_s_copy = error("text [while running 'X']", *error("text").args[1:])
            found = from_worker(f"{error.__module__}.{error.__name__}: {beam_s_copy}")
            assert (type(found), str(found)) == (error, "text")
