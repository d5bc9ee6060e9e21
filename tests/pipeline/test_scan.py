"""The first pass as transforms: which rows it leaves out, which prompts it stores, who leaks."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from means import examples
from planted import in_validation
from step_runs import error_of, run

from transforms.chat.builtin_templates import chatml
from transforms.conversations.pair_mapping import PairMapping
from transforms.conversations.rules import ConversationRules
from transforms.duplicates.positions import rows_of_range
from transforms.duplicates.row_reader import RowReader
from transforms.errors import StorageError, VerificationFailed
from transforms.formats import source_reader
from transforms.formats.source_content import source_content
from transforms.formats.source_reader import FileFormat, Source
from transforms.leakage.prompts import PROMPTS_FILE, Prompts, make_prompts
from transforms.options import QualityRules
from transforms.records import VALIDATION, Batch, Column, FileRange, WorkUnit
from transforms.split import SplitRule, hash64
from transforms.steps.find_leaks import FindLeaks, _FindFn
from transforms.steps.scan import Scan
from transforms.storage.local import LocalStore
from transforms.storage.manifest_parts import Leakage

ROWS = [("asked once", "a"), ("asked twice", "b"), ("asked twice", "b"), ("", "a"), ("asked", "c")]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[LocalStore]:
    folder = LocalStore(str(tmp_path / "out"))
    with folder.claimed():
        yield folder


def looks(tmp_path: Path, files: Sequence[Sequence[tuple[str, str]]], **rules: Any) -> RowReader:
    """The first pass over a file for each unit."""
    for number, rows in enumerate(files):
        text = "".join(json.dumps({"q": q, "a": a}) + "\n" for q, a in rows)
        (tmp_path / f"{number}.jsonl").write_text(text, encoding="utf-8")
    columns = (Column("q", "string"), Column("a", "string"))
    return RowReader(
        Source(f"{tmp_path}/", FileFormat("json_lines"), columns),
        PairMapping(("q",), ("a",)),
        ConversationRules(),
        SplitRule(0.1, 42),
        QualityRules(**rules),
    )


def units(count: int) -> list[WorkUnit]:
    return [WorkUnit(n, (FileRange(f"{n}.jsonl", 0, 10**6),)) for n in range(count)]


def survey(looks: RowReader, folder: LocalStore, count: int) -> list[tuple[int, int, bool]]:
    """(unit, row, is it a near copy) of every row that is left out."""
    step = Scan(looks, folder, estimated_rows=2_000_000)  # several buckets
    found = run(lambda p: {"drops": (p | beam.Create(units(count)) | step)[0]})["drops"]
    return sorted(
        (unit, int(row), drop.near) for unit, drop in found for row in rows_of_range(drop.places, 0)
    )


class TestSurvey:
    def test_copies_in_any_unit_are_left_out_behind_the_first(
        self, tmp_path: Path, folder: LocalStore
    ) -> None:
        found = survey(looks(tmp_path, [ROWS, ROWS[:1], ROWS[1:2]]), folder, 3)
        # Row 4 of the first is a reject, and no copy of anything.
        assert found == [(0, 3, False), (1, 1, False), (2, 1, False)]

    def test_near_copies_are_marked_as_such(self, tmp_path: Path, folder: LocalStore) -> None:
        text = " ".join(f"word{n}" for n in range(60))
        rows = [("q", text), ("q", f"{text} more"), ("q", text), ("other", "text")]
        found = survey(looks(tmp_path, [rows], dedup="near"), folder, 1)
        assert {(row, near) for _, row, near in found} == {(2, True), (3, False)}

    def test_off_leaves_out_nothing(self, tmp_path: Path, folder: LocalStore) -> None:
        assert survey(looks(tmp_path, [ROWS], dedup="off"), folder, 1) == []
        assert folder.get_work(PROMPTS_FILE) is not None

    def test_with_nothing_to_look_at_no_row_is_read_but_bytes_are_hashed(
        self, tmp_path: Path, folder: LocalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr("transforms.formats.source_reader.read")
        rules = looks(tmp_path, [ROWS, ROWS[:1]], dedup="off", leakage_sample_rate=0.0)
        step = Scan(rules, folder, estimated_rows=2)
        found = run(lambda p: dict(zip("dc", p | beam.Create(units(2)) | step, strict=True)))
        assert found["d"] == []
        assert sorted(found["c"]) == [
            (unit.number, source_content(rules.source, unit)) for unit in units(2)
        ]
        assert folder.get_work(PROMPTS_FILE) is None

    def test_the_validation_prompts_are_stored(self, tmp_path: Path, folder: LocalStore) -> None:
        asked = [f"what is {n} and {n} and {n}" for n in range(300)]
        files = [[(q, "a") for q in asked[:200]], [(q, "a") for q in asked[100:]]]
        survey(looks(tmp_path, files), folder, 2)
        stored = Prompts.from_bytes(folder.get_work(PROMPTS_FILE) or b"")
        expected = [prompt for prompt in asked if in_validation(prompt)]
        assert sorted(stored.ids.tolist()) == sorted(hash64(42, pa.array(expected)).tolist())

    def test_each_unit_is_noted_for_progress(self, tmp_path: Path, folder: LocalStore) -> None:
        survey(looks(tmp_path, [ROWS] * 3), folder, 3)
        assert folder.reports() == []
        assert folder.scanned() == 3


TEXTS = st.sampled_from(["one", "two", "three", "", " ", None])
FILES = st.lists(st.tuples(TEXTS, TEXTS), min_size=3, max_size=9)


class TestAskedAlone:
    """Of a large Parquet source the instructions are read first, and few answers at all."""

    @staticmethod
    def scanned(folder: Path, looks: RowReader, made: list[WorkUnit], many_rows: int) -> list[Any]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("transforms.steps.scan.MANY_ROWS", many_rows)
            target = LocalStore(str(folder / f"out-{many_rows}"))
            with target.claimed():
                step = Scan(looks, target, estimated_rows=500_000)  # several buckets
                found = run(lambda p: {"drops": (p | beam.Create(made) | step)[0]})["drops"]
                stored = Prompts.from_bytes(target.get_work(PROMPTS_FILE) or b"")
        drops: dict[int, np.ndarray] = {}
        for unit, drop in found:
            before = drops.get(unit, drop.places[:0])
            drops[unit] = np.sort(np.concatenate([before, drop.places]))
        return [{unit: places.tolist() for unit, places in drops.items()}, stored.ids.tolist()]

    @staticmethod
    def looks(folder: Path, files: Sequence[list[tuple[Any, Any]]], **rules: Any) -> RowReader:
        schema = pa.schema([("q", pa.string()), ("a", pa.string())])
        for number, rows in enumerate(files):
            table = pa.Table.from_pylist([{"q": q, "a": a} for q, a in rows], schema)
            pq.write_table(table, folder / f"{number}.parquet", row_group_size=2)
        return RowReader(
            Source(
                f"{folder}/", FileFormat("parquet"), (Column("q", "string"), Column("a", "string"))
            ),
            PairMapping(("q",), ("a",)),
            ConversationRules(),
            SplitRule(0.5, 42),
            QualityRules(**rules),
        )

    @staticmethod
    def units(files: Sequence[list[tuple[Any, Any]]]) -> list[WorkUnit]:
        """Two units; the first row group of a file belongs to another piece than the rest."""
        pieces = [
            FileRange(f"{number}.parquet", *place)
            for number, rows in enumerate(files)
            for place in ((0, 1), (1, (len(rows) + 1) // 2))
        ]
        half = len(pieces) // 2
        return [WorkUnit(0, tuple(pieces[:half])), WorkUnit(1, tuple(pieces[half:]))]

    @examples(15)
    @given(st.lists(FILES, min_size=1, max_size=3))
    def test_it_finds_what_reading_all_at_once_finds(
        self, files: list[list[tuple[str | None, str | None]]]
    ) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            looks, made = self.looks(folder, files), self.units(files)
            drops, prompts = self.scanned(folder, looks, made, many_rows=10**9)
            again, more = self.scanned(folder, looks, made, many_rows=0)
        assert again == drops
        # Prompts of rows whose answer is no good are looked for, too, and no row has them.
        assert set(prompts) <= set(more)

    def test_answers_are_read_only_where_a_prompt_is_asked_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = [[(f"asked {where} {n}", "a") for n in range(8)] for where in ("once", "here")]
        files[1][5] = files[0][3]
        read: list[int] = []
        original = source_reader.read

        def reading(
            path: str,
            file_format: FileFormat,
            piece: FileRange,
            columns: Sequence[Column],
            *more: Any,
        ):
            for rows in original(path, file_format, piece, columns, *more):
                if len(columns) > 1:
                    read.append(rows.table.num_rows)
                yield rows

        monkeypatch.setattr(source_reader, "read", reading)
        looks = self.looks(tmp_path, files)
        drops, _ = self.scanned(tmp_path, looks, self.units(files), many_rows=0)
        assert drops == {1: [(1 << 40) + 4]}  # row 4 of the second piece
        assert sum(read) == 4  # two row groups

    @pytest.mark.parametrize("dedup", ["exact", "near"])
    def test_what_is_flattened_has_no_other_readers(
        self, tmp_path: Path, folder: LocalStore, dedup: str
    ) -> None:
        """Flink and Spark refuse a graph in which it has (Beam 2.70)."""
        pipeline = beam.Pipeline()
        step = Scan(self.looks(tmp_path, [], dedup=dedup), folder, estimated_rows=500_000)
        _ = pipeline | beam.Create([WorkUnit(0, ())]) | step
        graph = pipeline.to_runner_api().components.transforms.values()
        steps = [step for step in graph if not step.subtransforms]
        readers = Counter(source for step in steps for source in step.inputs.values())
        flattens = [step for step in steps if step.spec.urn == "beam:transform:flatten:v1"]
        assert flattens
        for step in flattens:
            assert {readers[source] for source in step.inputs.values()} == {1}, step.unique_name

    def test_near_copies_turns_and_other_formats_need_all_that_a_row_says(
        self, tmp_path: Path
    ) -> None:
        looks = self.looks(tmp_path, [])
        assert looks.can_read_prompts_alone
        assert not replace(looks, quality=QualityRules(dedup="near")).can_read_prompts_alone
        assert not replace(
            looks, mapping=replace(looks.mapping, inline=True)
        ).can_read_prompts_alone
        source = replace(looks.source, file_format=FileFormat("json_lines"))
        assert not replace(looks, source=source).can_read_prompts_alone


def kept(prompts: Sequence[str], validation: Sequence[bool], unit: int = 0) -> Batch:
    rows = pa.table({"instruction": prompts, VALIDATION: validation})
    return Batch(unit, 0, False, FileRange("a", 0, 0), rows, len(prompts))


class TestFindLeaks:
    STEP = FindLeaks(None, chatml().template, SplitRule(0.1, 42))  # type: ignore[arg-type]

    def found(self, folder: LocalStore, *batches: Batch, **more: Any) -> Leakage:
        step = replace(self.STEP, store=folder, **more)
        half = len(batches) // 2

        def build(p: beam.Pipeline) -> dict[str, Any]:
            parts = (
                p | "One" >> beam.Create(batches[:half]).with_output_types(Batch),
                p | "Other" >> beam.Create(batches[half:]).with_output_types(Batch),
            )
            return {"found": parts | step}

        (part,) = run(build)["found"]
        return part

    @staticmethod
    def store(folder: LocalStore, *prompts: str) -> None:
        values = pa.array(prompts, pa.string())
        folder.put_work(PROMPTS_FILE, make_prompts(values, hash64(42, values)).to_bytes())

    def test_leaks_are_found_across_batches(self, folder: LocalStore) -> None:
        prompt = "one two three four five six seven eight nine ten eleven twelve"
        self.store(folder, prompt, "something else that is asked")
        found = self.found(
            folder,
            kept([prompt, "something else that is asked"], [True, True]),
            kept([f"{prompt} thirteen", "unlike"], [False, False], unit=1),
        )
        assert (found.checked, found.rows, found.exact) == (2, 1, 0)
        assert found.examples[0].train == f"{prompt} thirteen"

    def test_equal_prompts_in_both_splits_fail_the_job(self, folder: LocalStore) -> None:
        self.store(folder, "one two three")
        batch = kept(["one two three", "one  two three"], [True, False])
        found = self.found(folder, batch, split=SplitRule(0.1, 42, "group"))
        assert (found.exact, found.by_prompt) == (1, False)
        error = error_of(lambda p: (p | beam.Create([batch]),) | replace(self.STEP, store=folder))
        assert isinstance(error, VerificationFailed)
        assert "the very prompt of a training row, such as 'one two three'" in str(error)

    def test_each_bundle_shows_all_of_its_own(self, folder: LocalStore) -> None:
        prompt = "one two three four five six seven eight nine ten eleven twelve"
        self.store(folder, prompt)
        find = _FindFn(folder, chatml().template, SplitRule(0.1, 42), True)
        shown = []
        for _ in range(2):  # as when a runner repeats a bundle that failed
            find.start_bundle()
            find.process(kept([f"{prompt} thirteen"], [False]))
            shown += [value.value for value in find.finish_bundle()]
        assert [len(seen.leaks) for seen in shown] == [1, 1]

    def test_rows_without_prompts_show_nothing(self, folder: LocalStore) -> None:
        find = _FindFn(folder, chatml().template, SplitRule(0.1, 42), True)
        find.start_bundle()
        find.process(kept([], []))
        assert list(find.finish_bundle()) == []

    def test_without_rows_there_are_figures(self, folder: LocalStore) -> None:
        assert self.found(folder, kept(["a"], [True]), enabled=False).checked == 0

    def test_prompts_that_are_gone_are_an_error(self, folder: LocalStore) -> None:
        batch = kept(["a"], [True])
        error = error_of(lambda p: (p | beam.Create([batch]),) | replace(self.STEP, store=folder))
        assert isinstance(error, StorageError)
        assert PROMPTS_FILE in str(error)
