"""Quality end to end: the figures of a set with known faults are the faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_runs import (
    Prepare,
    lines,
)
from datasets import load_from_disk
from planted import Planted, in_validation, jaccard, plant

import pipeline
from pipeline import Request

# Several units, so that copies lie in others than their firsts.
CUT = ("--shard-size", "1MiB")


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant()


@pytest.fixture(scope="module")
def source(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted.write(tmp_path_factory.mktemp("planted") / "rows")


@pytest.fixture(scope="module")
def sets(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The manifest of the set by what was left out, and where it is."""
    folder = tmp_path_factory.mktemp("sets")
    found = {}
    for dedup in ("off", "exact", "near"):
        request = Request(
            dataset=str(source),
            output=str(folder / dedup),
            skip_upload=True,
            dedup=dedup,
            shard_size=2**20,
            fields="instruction=question,response=answer",
        )
        found[dedup] = {**pipeline.prepare(request), "path": str(folder / dedup)}
    return found


def rows_of(manifest: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(split, instruction, response) of every row."""
    data = load_from_disk(manifest["path"])
    return [(s, row["instruction"], row["response"]) for s in data for row in data[s]]


def source_rows(planted: Planted) -> list[dict[str, Any]]:
    return [row for rows in planted.files.values() for row in rows]


def test_it_is_cut_into_several_units(sets: dict[str, dict[str, Any]]) -> None:
    assert len(sets["exact"]["plan"]["units"]) > 2


class TestDuplicates:
    def test_exact_copies_are_counted_by_file(
        self, sets: dict[str, dict[str, Any]], planted: Planted
    ) -> None:
        manifest = sets["exact"]
        assert manifest["counts"]["duplicates"] == sum(planted.copies.values())
        found = manifest["quality"]["duplicates"]
        assert found["by_file"] == planted.copies
        assert (found["mode"], found["exact"], found["near"]) == ("exact", 130, 0)

    def test_every_content_is_there_once_and_nothing_is_lost(
        self, sets: dict[str, dict[str, Any]], planted: Planted
    ) -> None:
        kept = [(asked, said) for _, asked, said in rows_of(sets["exact"])]
        expected = {(row["question"], row["answer"]) for row in source_rows(planted)}
        assert len(kept) == len(expected)
        assert set(kept) == expected

    def test_off_keeps_all(self, sets: dict[str, dict[str, Any]], planted: Planted) -> None:
        assert len(rows_of(sets["off"])) == len(source_rows(planted))
        assert sets["off"]["counts"]["duplicates"] == 0

    def test_near_copies_are_found_and_others_are_not(
        self, sets: dict[str, dict[str, Any]], planted: Planted
    ) -> None:
        kept = {(asked, said) for _, asked, said in rows_of(sets["near"])}
        near, far = (
            [(row["question"], row["answer"]) not in kept for row in planted.near[kind]]
            for kind in ("near", "far")
        )
        assert sum(near) / len(near) >= 0.95
        assert sum(near) / (sum(near) + sum(far)) >= 0.95
        found = sets["near"]["quality"]["duplicates"]
        assert (found["exact"], found["near"]) == (130, sum(near) + sum(far))
        assert sets["near"]["counts"]["duplicates"] == found["exact"] + found["near"]

    def test_the_first_of_near_rows_stays(
        self, sets: dict[str, dict[str, Any]], planted: Planted
    ) -> None:
        kept = {(asked, said) for _, asked, said in rows_of(sets["near"])}
        first = planted.files["a.jsonl"]
        assert {(row["question"], row["answer"]) for row in first} <= kept

    def test_of_conversations_every_turn_counts(self, prepare: Prepare, tmp_path: Path) -> None:
        def talk(*said: str) -> dict[str, Any]:
            roles = ("user", "assistant")
            turns = [{"role": roles[n % 2], "content": text} for n, text in enumerate(said)]
            return {"messages": turns}

        rows = [
            talk("a", "b", "c", "d"),
            talk("a", "b", "c", "other"),
            talk("a", "b"),
            talk("a", "b", "c", "d"),
        ]
        ended = prepare("--dataset", lines(tmp_path / "talks.jsonl", *rows))
        assert (ended.counts["duplicates"], len(ended.rows())) == (1, 3)

    def test_a_row_that_is_rejected_is_no_copy(self, prepare: Prepare, tmp_path: Path) -> None:
        rows = [{"question": "a", "answer": ""}] * 2 + [{"question": "a", "answer": "b"}] * 2
        ended = prepare("--dataset", lines(tmp_path / "a.jsonl", *rows), "--max-reject-rate", 1)
        assert ended.counts["rejected"]["by_reason"] == {"empty-response": 2}
        assert ended.counts["duplicates"] == 1

    def test_the_console_tells(self, prepare: Prepare, source: Path) -> None:
        ended = prepare("--dataset", source, "--fields", "instruction=question,response=answer")
        assert "130" in ended.out
        assert "exact 130, near 0" in ended.out


class TestLeakage:
    def test_the_figure_is_what_comparing_all_with_all_finds(
        self, sets: dict[str, dict[str, Any]], planted: Planted
    ) -> None:
        """Planted prompts are near each other alone; those that straddle the splits leak."""
        straddling = [pair for pair in planted.prompts if len(set(map(in_validation, pair))) == 2]
        assert len(straddling) > 20
        leaked = {prompt for pair in straddling for prompt in pair if in_validation(prompt)}
        for manifest in sets.values():
            rows = rows_of(manifest)
            validation = [asked for split, asked, _ in rows if split == "validation"]
            found = manifest["quality"]["leakage"]
            assert found["checked"] == len(validation) == manifest["counts"]["validation"]
            assert found["rows"] == sum(prompt in leaked for prompt in validation)
            assert found["exact"] == 0
            assert found["by_prompt"] is True

    def test_examples_show_both_prompts(
        self, sets: dict[str, dict[str, Any]], planted: Planted
    ) -> None:
        examples = sets["exact"]["quality"]["leakage"]["examples"]
        assert len(examples) == 20
        for one in examples:
            assert in_validation(one["validation"])
            assert not in_validation(one["train"])
            both = jaccard(one["validation"], one["train"])
            assert one["similarity"] == pytest.approx(both, abs=1e-4)
            assert both >= 0.8

    def test_with_a_split_key_equal_prompts_may_leak_and_are_told(
        self, prepare: Prepare, tmp_path: Path
    ) -> None:
        rows = [{"question": "what is it", "answer": f"a{n}", "group": f"g{n}"} for n in range(90)]
        words = ("--dataset", lines(tmp_path / "a.jsonl", *rows), "--split-key", "group")
        found = prepare(*words, "--val-size", 0.3).manifest["quality"]["leakage"]
        assert found["exact"] == found["rows"] == found["checked"] > 10
        assert found["by_prompt"] is False

    def test_nothing_is_looked_for_without_validation(self, prepare: Prepare, source: Path) -> None:
        for share in (0, 1):
            words = ("--fields", "instruction=question,response=answer", "--val-size", share)
            found = prepare("--dataset", source, *words, "--overwrite").manifest["quality"]
            assert (found["leakage"]["checked"], found["leakage"]["rows"]) == (0, 0)

    @pytest.mark.parametrize("columns", ["messages", "prompt-completion", "text,messages"])
    def test_the_columns_of_the_set_make_no_difference(
        self, prepare: Prepare, source: Path, sets: dict[str, dict[str, Any]], columns: str
    ) -> None:
        words = ("--fields", "instruction=question,response=answer", "--columns", columns, *CUT)
        found = prepare("--dataset", source, *words).manifest["quality"]["leakage"]
        assert found == sets["exact"]["quality"]["leakage"]


class TestLengths:
    def test_quantiles_are_exact(self, sets: dict[str, dict[str, Any]]) -> None:
        rows = rows_of(sets["exact"])
        found = sets["exact"]["quality"]["lengths"]["response"]
        for split in ("train", "validation"):
            lengths = np.array([len(said) for where, _, said in rows if where == split])
            told = found[split]
            assert (told["rows"], told["total"]) == (len(lengths), lengths.sum())
            for share, value in told["quantiles"].items():
                exact = np.quantile(lengths, float(share), method="inverted_cdf")
                assert value == exact


@pytest.mark.parametrize("dedup", ["exact", "near"])
@pytest.mark.parametrize("batch_bytes", [2_000, 100_000])
def test_batches_do_not_show(
    source: Path,
    sets: dict[str, dict[str, Any]],
    tmp_path: Path,
    dedup: str,
    batch_bytes: int,
) -> None:
    request = Request(
        dataset=str(source),
        output=str(tmp_path / "out"),
        skip_upload=True,
        dedup=dedup,
        shard_size=2**20,
        fields="instruction=question,response=answer",
        beam_args=("--direct_num_workers=2", "--direct_running_mode=multi_threading"),
    )
    made = pipeline.prepare(request, batch_bytes)
    for name in ("quality", "counts", "files"):
        assert made[name] == sets[dedup][name], name
