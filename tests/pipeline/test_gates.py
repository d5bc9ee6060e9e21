"""Gates: a set that falls short is not published, says why, and leaves what was there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from command_runs import Ended, Prepare, has, lines, put, quiet_process
from datasets import load_from_disk
from hypothesis import given
from hypothesis import strategies as st
from made_sets import use_server
from made_tokenizers import byte_bpe
from s3_servers import S3Server

from pipeline.cli.main import main
from pipeline.launch.job import run, submit
from pipeline.planning.plan import make_plan
from pipeline.request import Request
from transforms.errors import GateFailed, UsageError
from transforms.quality.gates import FEW_VALIDATION_ROWS, Gates, check, judge
from transforms.storage.manifest_parts import (
    Leakage,
    Quality,
    RejectedRows,
    RowCounts,
    Verdict,
)

SHARES = ("max_reject_rate", "max_duplicates", "max_leakage", "max_truncated")
OPEN = Gates(max_reject_rate=1.0, min_validation=0)


def counts_of(
    read: int = 0, train: int = 0, validation: int = 0, duplicates: int = 0, **codes: int
) -> RowCounts:
    return RowCounts(
        read=read,
        train=train,
        validation=validation,
        duplicates=duplicates,
        rejected=RejectedRows(sum(codes.values()), codes),
    )


def quality_of(rows: int = 0, checked: int = 0, truncated: int = 0) -> Quality:
    return Quality(leakage=Leakage(rows=rows, checked=checked), truncated=truncated)


def figures_of(gate: str, part: int, whole: int) -> tuple[RowCounts, Quality]:
    """Counts and quality of a set of which a gate measures this share."""
    counts, quality = counts_of(), quality_of()
    if gate == "max_reject_rate":
        counts = counts_of(read=whole, bad=part)
    elif gate == "max_duplicates":
        counts = counts_of(read=whole, duplicates=part)
    elif gate == "max_leakage":
        counts, quality = counts_of(validation=whole), quality_of(part, whole)
    else:
        counts, quality = counts_of(train=whole), quality_of(truncated=part)
    return counts, quality


def verdict_of(gates: Gates, gate: str, part: int, whole: int) -> Verdict:
    counts, quality = figures_of(gate, part, whole)
    name = f"--{gate.replace('_', '-')}"
    (found,) = (v for v in judge(gates, counts, quality) if v.gate == name)
    return found


class TestShares:
    @given(st.sampled_from(SHARES), st.integers(0, 10_000), st.data())
    def test_a_share_fails_if_and_only_if_it_is_above_the_limit(
        self, gate: str, whole: int, data: st.DataObject
    ) -> None:
        part = data.draw(st.integers(0, whole))
        limit = data.draw(st.decimals(0, 1, places=4))
        found = verdict_of(replace(OPEN, **{gate: float(limit)}), gate, part, whole)
        above = whole > 0 and Fraction(part, whole) > Fraction(limit)
        assert found.result == ("failed" if above else "passed")
        assert bool(found.sentence) == above
        if above:
            assert f"{part:,} of {whole:,} " in found.sentence
            assert f"that {found.gate} allows. " in found.sentence

    @pytest.mark.parametrize("gate", SHARES)
    @pytest.mark.parametrize("percent", range(0, 100, 7))
    def test_exactly_the_limit_passes_and_one_row_more_does_not(
        self, gate: str, percent: int
    ) -> None:
        gates = replace(OPEN, **{gate: percent / 100})
        assert verdict_of(gates, gate, percent, 100).result == "passed"
        assert verdict_of(gates, gate, percent + 1, 100).result == "failed"

    @pytest.mark.parametrize("gate", SHARES)
    def test_no_rows_pass_the_strictest_limit(self, gate: str) -> None:
        found = verdict_of(replace(OPEN, **{gate: 0.0}), gate, 0, 0)
        assert (found.result, found.found) == ("passed", 0.0)

    @pytest.mark.parametrize("gate", SHARES[1:])
    def test_a_limit_that_was_not_asked_for_lets_all_pass(self, gate: str) -> None:
        found = verdict_of(OPEN, gate, 100, 100)
        assert (found.result, found.limit, found.found) == ("passed", None, 1.0)

    @pytest.mark.parametrize(
        ("part", "whole", "limit", "said"),
        [
            (1, 2, 0.05, "(50.0%), more than the 5.0%"),
            (1, 1000, 0.0005, "(0.10%), more than the 0.05%"),
            (50_001, 1_000_000, 0.05, "(5.0001%), more than the 5.0000%"),
            (1, 10**6, 0.0, "(0.0001%), more than the 0.0000%"),
        ],
    )
    def test_the_sentence_tells_share_and_limit_apart(
        self, part: int, whole: int, limit: float, said: str
    ) -> None:
        found = verdict_of(replace(OPEN, max_duplicates=limit), "max_duplicates", part, whole)
        assert said in found.sentence


class TestLeakage:
    @pytest.mark.parametrize(
        ("train", "validation", "checked", "limit", "result"),
        [
            (5, 1200, 0, 1.0, "failed"),
            (5, 1200, 1, 0.0, "passed"),
            (0, 1200, 0, 0.0, "passed"),
            (5, 0, 0, 0.0, "passed"),
            (5, 1200, 0, None, "passed"),
        ],
    )
    def test_what_was_not_measured_does_not_pass(
        self, train: int, validation: int, checked: int, limit: float | None, result: str
    ) -> None:
        counts = counts_of(train=train, validation=validation)
        verdicts = judge(replace(OPEN, max_leakage=limit), counts, quality_of(0, checked))
        (found,) = (verdict for verdict in verdicts if verdict.gate == "--max-leakage")
        assert (found.result, found.limit, found.found) == (result, limit, 0.0)
        said = "leakage could not be measured: none of 1,200 validation rows was checked"
        assert found.sentence.startswith(said) == (result == "failed")


class TestValidation:
    def verdict(self, rows: int, **gates: Any) -> Verdict:
        return judge(Gates(**gates), counts_of(validation=rows), quality_of())[-1]

    @given(st.integers(0, 300), st.none() | st.integers(0, 300))
    def test_too_few_rows_fail_where_a_number_is_asked_for_and_warn_below_100_else(
        self, rows: int, least: int | None
    ) -> None:
        found = self.verdict(rows, min_validation=least)
        if least is None:
            assert found.result == ("warning" if rows < FEW_VALIDATION_ROWS else "passed")
        else:
            assert found.result == ("failed" if rows < least else "passed")
        assert bool(found.sentence) == (found.result != "passed")

    def test_without_validation_none_is_missed(self) -> None:
        gates = Request(val_size=0).gates
        assert judge(gates, counts_of(train=5), quality_of())[-1].result == "passed"
        assert judge(Request().gates, counts_of(train=5), quality_of())[-1].result == "warning"

    def test_rows_that_can_never_be_are_refused_at_once(self) -> None:
        with pytest.raises(UsageError, match="--val-size 0 makes no validation rows, but"):
            Request(val_size=0, min_validation=1)
        Request(val_size=0, min_validation=0)


class TestCheck:
    def test_all_that_failed_is_told_at_once(self) -> None:
        gates = Gates(max_duplicates=0.1, min_validation=10)
        counts = counts_of(read=10, train=4, validation=1, duplicates=5)
        with pytest.raises(GateFailed) as caught:
            check(judge(gates, counts, quality_of()))
        said = str(caught.value)
        assert caught.value.exit_code == 8
        assert said.startswith("not published: 5 of 10 rows are duplicates (50.0%), more than the")
        assert ". Also: 1 validation rows, fewer than the 10 that --min-validation" in said

    def test_warnings_do_not_fail(self) -> None:
        verdicts = judge(Gates(), counts_of(read=5, train=5), quality_of())
        assert [verdict.result for verdict in verdicts] == [*["passed"] * 4, "warning"]
        check(verdicts)

    def test_reasons_are_told_also_where_only_the_counts_are_known(self) -> None:
        counts = counts_of(read=9, a_code=4, other=5)
        (found, *_) = judge(Gates(), counts, quality_of())
        assert "The most frequent reasons: 4 a_code, 5 other. See" in found.sentence
        (found, *_) = judge(Gates(), counts, quality_of(), "other 5 (first: a.jsonl row 1)")
        assert "The most frequent reasons: other 5 (first: a.jsonl row 1). See" in found.sentence


# ---- whole runs


def rows_with(kind: str, folder: Path) -> Path:
    """200 rows, of which a gate measures some."""
    rows = [{"question": f"What is number {n}?", "answer": f"It is {n}. " * 4} for n in range(200)]
    if kind == "max-reject-rate":
        for row in rows[:20]:
            row["answer"] = ""
    elif kind == "max-duplicates":
        rows[100:130] = rows[:30]
    elif kind == "max-leakage":  # each of them with near copies on both sides of the split
        story = " ".join(f"word{n}" for n in range(60))
        for n, row in enumerate(rows[:50]):
            row["question"] = f"{story} {n}"
    elif kind == "max-truncated":
        for row in rows[:40]:
            row["answer"] *= 30
    return lines(folder / "rows.jsonl", *rows)


CASES: dict[str, tuple[tuple[object, ...], object, object, str]] = {
    # flags, a limit that fails, one that is met exactly, the sentence
    "max-reject-rate": ((), 0.0999, 0.1, "20 of 200 rows were rejected (10.00%), more than the"),
    "max-duplicates": ((), 0.1499, 0.15, "30 of 200 rows are duplicates (15.00%), more than the"),
    "max-leakage": (
        ("--val-size", 0.3),
        0.0,
        1.0,
        "validation rows have a near duplicate in train",
    ),
    "min-validation": (("--val-size", 0.3), 201, 1, "fewer than the 201 that --min-validation"),
    "max-truncated": (
        ("--max-tokens", 200, "--too-long", "truncate-response"),
        0.1999,
        0.2,
        "40 of 200 rows were truncated to --max-tokens (20.00%), more than the 19.99%",
    ),
}


def words_for(gate: str, folder: Path) -> list[object]:
    more: list[object] = list(CASES[gate][0])
    if gate == "max-truncated":
        more += ["--tokenizer", put(folder / "tokenizer.json", byte_bpe())]
    return ["--dataset", rows_with(gate, folder), *more]


class TestRuns:
    @pytest.mark.parametrize("gate", CASES)
    def test_a_set_that_falls_short_is_not_published(
        self, prepare: Prepare, tmp_path: Path, gate: str
    ) -> None:
        _, fails, passes, said = CASES[gate]
        words = words_for(gate, tmp_path)
        ended = prepare(*words, f"--{gate}", fails)
        assert ended.code == 8
        assert has(ended.err, "error: not published: ", said, f"--{gate}")
        with pytest.raises(FileNotFoundError):
            load_from_disk(str(ended.output))
        assert not ended.output.exists()
        left = {path.name for path in ended.output.parent.iterdir()}
        assert left <= {f".{ended.output.name}.lock"}

        ended = prepare(*words, f"--{gate}", passes)
        assert ended.code == 0, ended.err
        assert gates_of(ended)[f"--{gate}"]["result"] == "passed"
        assert len(load_from_disk(str(ended.output))["train"])

    @pytest.mark.parametrize("gate", ["max-leakage", "min-validation"])
    def test_a_set_that_is_there_stays(self, tmp_path: Path, gate: str, main_ends: Any) -> None:
        """Both an older one that was to be replaced, and the very set whose gate is new."""
        _, fails, passes, said = CASES[gate]
        words, output = words_for(gate, tmp_path), tmp_path / "set"
        older = lines(tmp_path / "older.jsonl", {"question": "Why is that?", "answer": "It is."})
        main_ends(0, output, "--dataset", older)
        before = bytes_of(output)
        err = main_ends(8, output, *words, f"--{gate}", fails, "--overwrite")
        assert has(err, "not published", said)
        assert bytes_of(output) == before

        main_ends(0, output, *words, f"--{gate}", passes, "--overwrite")
        before = bytes_of(output)
        err = main_ends(8, output, *words, f"--{gate}", fails)
        assert has(err, f"{output} already holds this set and is not changed, but", said)
        assert bytes_of(output) == before
        main_ends(0, output, *words, f"--{gate}", passes)


MainEnds = Callable[..., str]


@pytest.fixture
def main_ends(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """``main_ends(code, output, *words)``: a run that ends with this code; its errors."""

    def ends(code: int, output: object, *words: object) -> str:
        with quiet_process(monkeypatch):
            found = main([*map(str, words), "--output", str(output), "--skip-upload", "--quiet"])
        err = capfd.readouterr().err
        assert found == code, err
        return err

    return ends


def bytes_of(folder: Path) -> dict[str, bytes]:
    assert not folder.with_name(f".{folder.name}.partial").exists()
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def gates_of(ended: Ended) -> Mapping[str, Any]:
    return {verdict["gate"]: verdict for verdict in ended.manifest["run"]["gates"]}


def test_no_byte_of_a_set_follows_from_its_gates(prepare: Prepare, tmp_path: Path) -> None:
    source = rows_with("max-duplicates", tmp_path)
    one = prepare("--dataset", source)
    other = prepare("--dataset", source, "--max-duplicates", 0.5, "--min-validation", 3)
    files = [bytes_of(ended.output) for ended in (one, other)]
    names = [{Path(name).name: data for name, data in found.items()} for found in files]
    for found in names:
        manifest = json.loads(found.pop("manifest.json"))
        del manifest["run"]
        found["manifest"] = json.dumps(manifest).encode()
    assert names[0] == names[1]


def test_few_validation_rows_are_told(prepare: Prepare, tmp_path: Path) -> None:
    source = rows_with("min-validation", tmp_path)
    ended = prepare("--dataset", source)
    rows = ended.counts["validation"]
    warning = (
        f"Warning: only {rows} validation rows: a validation loss over so few rows is unreliable"
    )
    assert warning in ended.out
    assert gates_of(ended)["--min-validation"]["result"] == "warning"
    assert warning in prepare("--dataset", source, output=ended.output).out
    for words in (("--min-validation", rows), ("--val-size", 0), ("--val-size", 0.9)):
        ended = prepare("--dataset", source, *words)
        assert "validation rows: a loss" not in ended.out
        assert ended.code == 0, ended.err


def test_a_submitted_set_that_is_there_must_pass_too(tmp_path: Path) -> None:
    request = Request(str(rows_with("max-duplicates", tmp_path)), str(tmp_path / "set"))
    run(make_plan(request), request)
    assert submit(make_plan(request), request).job is None
    said = "already holds this set and is not changed, but 30 of 200"
    with pytest.raises(GateFailed, match=said):
        submit(make_plan(request), replace(request, max_duplicates=0.1))


def test_nothing_loads_from_s3_after_a_gate_failed(
    tmp_path: Path,
    s3_server: S3Server,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    main_ends: MainEnds,
) -> None:
    use_server(monkeypatch, s3_server)
    words = ("--dataset", rows_with("max-duplicates", tmp_path), "--max-duplicates")
    address = f"s3://{bucket}/sets/one"
    assert "30 of 200 rows are duplicates" in main_ends(8, address, *words, 0.1)
    names = {key.removeprefix("sets/one/") for key in s3_server.keys(bucket, "sets/one/")}
    assert not names & {"dataset_dict.json", "manifest.json"}
    main_ends(0, address, *words, 0.15)  # the place is free
    assert "dataset_dict.json" in "".join(s3_server.keys(bucket, "sets/one/"))
    assert "is not changed, but 30 of 200" in main_ends(8, address, *words, 0.1)
    assert "dataset_dict.json" in "".join(s3_server.keys(bucket, "sets/one/"))
