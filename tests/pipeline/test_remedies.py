"""Remedies where a user meets them: the error of a run, the console, ``preview --rejected``.

Those whose rows are rendered in the sandbox are tried here; the others in tests/unit.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_runs import Prepare, has, lines, turns
from conversions import Convert
from remedy_cases import CASES, Case
from remedy_runs import check_case

from pipeline.cli.main import main


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.sandbox],
    ids=lambda case: f"{case.code} {' '.join(case.cure) or 'without'}",
)
def test_the_flags_of_a_remedy_keep_the_row(
    case: Case, convert: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_case(case, convert, tmp_path, monkeypatch)


def sharegpt(*speakers: str) -> list[dict[str, str]]:
    return [{"from": name, "value": f"Text {n} of {name}."} for n, name in enumerate(speakers)]


def shapes(path: Path, *speakers: str) -> Path:
    rows = [
        {
            "conversations": [
                {**turn, "value": f"{turn['value']} {i}"} for turn in sharegpt(*speakers)
            ]
        }
        for i in range(40)
    ]
    return lines(path, *rows)


@pytest.mark.parametrize(
    ("speakers", "code", "flags"),
    [
        (("gpt", "human", "gpt"), "starts-with-assistant", ("--assistant-first",)),
        (("human", "gpt", "human"), "ends-with-user", ("--ends-with-user", "trim")),
        (("human", "bing"), "unknown-role", ("--role", "bing=assistant")),
    ],
)
def test_the_error_of_a_run_names_the_flag_that_cures(
    prepare: Prepare, tmp_path: Path, speakers: tuple[str, ...], code: str, flags: tuple[str, ...]
) -> None:
    path = shapes(tmp_path / "a.jsonl", *speakers)
    failed = prepare("--dataset", path)
    assert failed.code == 8
    assert has(failed.err, f"{code} 40 (first: a.jsonl row 1): ", " ".join(flags))
    cured = prepare("--dataset", path, *flags)
    assert cured.code == 0, cured.err
    assert cured.counts["rejected"]["total"] == 0


def test_the_names_of_all_units_are_told(prepare: Prepare, tmp_path: Path) -> None:
    rows = [{"messages": turns(f"What {i}?", "So.")} for i in range(30)]
    for name in ("bing", "Sydney", "x\u202ey"):
        rows += [{"messages": [{"role": "user", "content": "a"}, {"role": name, "content": "b"}]}]
    failed = prepare("--dataset", lines(tmp_path / "a.jsonl", *rows))
    assert failed.code == 8
    assert has(failed.err, "'bing'", "'Sydney'", "x\\u202ey", "--role bing=assistant")
    assert "\u202e" not in failed.err


def test_the_console_tells_the_remedies_of_what_was_rejected(
    prepare: Prepare, tmp_path: Path
) -> None:
    rows = [{"messages": turns(f"What {i}?", "So.")} for i in range(60)]
    rows += [{"messages": sharegpt("gpt", "human", "gpt")}, {"messages": sharegpt("human", "bing")}]
    done = prepare("--dataset", lines(tmp_path / "a.jsonl", *rows))
    assert done.code == 0, done.err
    assert has(
        done.out,
        "    starts-with-assistant: accept such conversations with --assistant-first",
        "    unknown-role: map 'bing', for example with --role bing=assistant",
    )


def test_preview_tells_each_row_s_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shapes(tmp_path / "a.jsonl", "gpt", "human", "gpt")
    words = ["preview", "--dataset", str(path), "--rejected"]
    assert main(words) == 0
    assert "remedy │ accept such conversations with --assistant-first" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["rejected"]
    assert {row["remedy"] for row in found} == {"accept such conversations with --assistant-first"}


class TestSplitsWithoutRows:
    def rows(self, path: Path, count: int, prompt: str = "What is number {}?") -> Path:
        return lines(
            path,
            *(
                {"id": i, "instruction": prompt.format(i), "output": f"It is {i}, of course."}
                for i in range(count)
            ),
        )

    def test_one_row_that_falls_into_validation_is_no_set(
        self, prepare: Prepare, tmp_path: Path
    ) -> None:
        path = self.rows(tmp_path / "a.jsonl", 1)
        failed = prepare("--dataset", path, "--val-size", "0.999999")
        assert failed.code == 8
        assert has(failed.err, "no training rows", "1 rows were read", "--val-size 0", "--seed")
        assert not failed.output.exists()
        assert prepare("--dataset", path, "--val-size", "0").counts["train"] == 1

    def test_one_prompt_in_all_rows_is_split_by_another_column(
        self, prepare: Prepare, tmp_path: Path
    ) -> None:
        path = self.rows(tmp_path / "a.jsonl", 40, "Write one poem about a kettle.")
        small = ("--val-size", "0.000001")
        warned = prepare("--dataset", path, *small)
        assert warned.code == 0, warned.err
        assert warned.counts["validation"] == 0
        assert has(warned.out, "Warning: no validation rows")
        (line,) = (one for one in warned.out.splitlines() if "for rows of both splits: " in one)
        cured = prepare("--dataset", path, *small, *line.partition("both splits: ")[2].split())
        assert cured.code == 0, cured.err
        assert cured.counts["validation"] > 0 and cured.counts["train"] > 0
        failed = prepare("--dataset", path, "--val-size", "0.999999")
        assert failed.code == 8
        assert has(failed.err, "all 40 that were kept are validation rows", "--split-key COLUMN")

    @pytest.mark.parametrize("count", [2, 3, 10])
    def test_few_rows_get_a_flag_that_works(
        self, prepare: Prepare, tmp_path: Path, count: int
    ) -> None:
        path = self.rows(tmp_path / "a.jsonl", count)
        warned = prepare("--dataset", path, "--val-size", "0.000001")
        assert warned.code == 0, warned.err
        (line,) = (one for one in warned.out.splitlines() if "for rows of both splits: " in one)
        flags = line.partition("both splits: ")[2].split()
        cured = prepare("--dataset", path, "--val-size", "0.000001", *flags)
        assert cured.code == 0, cured.err
        assert cured.counts["validation"] > 0 and cured.counts["train"] > 0

    def test_one_row_cannot_be_split(self, prepare: Prepare, tmp_path: Path) -> None:
        warned = prepare("--dataset", self.rows(tmp_path / "a.jsonl", 1), "--val-size", "0.000001")
        assert warned.code == 0, warned.err
        assert has(warned.out, "none of the 1 rows can be split off", "read more rows")

    def test_rows_that_are_all_rejected_are_no_set(self, prepare: Prepare, tmp_path: Path) -> None:
        rows = [{"question": f"What {i}?", "answer": ""} for i in range(9)]
        rows += [{"question": "What?", "answer": "  "}]
        path = lines(tmp_path / "a.jsonl", *rows)
        fields = ("--fields", "instruction=question,response=answer")
        failed = prepare("--dataset", path, *fields, "--max-reject-rate", "1")
        assert failed.code == 8
        assert has(failed.err, "of 10 rows read, 10 were rejected", "empty-response 9")
        assert not failed.output.exists()

    def test_validation_rows_alone_may_be_asked_for(self, prepare: Prepare, tmp_path: Path) -> None:
        done = prepare("--dataset", self.rows(tmp_path / "a.jsonl", 9), "--val-size", "1")
        assert (done.code, done.counts["train"], done.counts["validation"]) == (0, 0, 9)
