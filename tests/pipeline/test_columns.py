"""Whole runs on the shapes of pairs that were trained wrongly in silence: text, card and report."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from command_runs import Prepare, has, lines
from datasets import load_from_disk
from source_files import parquet

COUNT = 40
Row = dict[str, Any]


def question(n: int) -> str:
    return f"How do you repair bridge {n} before winter?"


def answer(n: int) -> str:
    return f"Look at bridge {n} first, then mend it."


def texts(folder: Path) -> set[tuple[str, str, str]]:
    """The rows of both splits as (system prompt in the text, instruction, response)."""
    found = set()
    for split in load_from_disk(str(folder)).values():
        for row in split:
            system = re.match(r"<\|im_start\|>system\n(.*?)<\|im_end\|>", row["text"], re.DOTALL)
            found.add((system[1] if system else "", row["instruction"], row["response"]))
    return found


def test_system_query_response(prepare: Prepare, tmp_path: Path) -> None:
    rows = [
        {"system": f"You know bridge {n}.", "query": question(n), "response": answer(n)}
        for n in range(COUNT)
    ]
    ended = prepare("--dataset", lines(tmp_path / "a.jsonl", *rows))
    assert ended.code == 0, ended.err
    assert texts(ended.output) == {
        (f"You know bridge {n}.", question(n), answer(n)) for n in range(COUNT)
    }


def test_squad(prepare: Prepare, tmp_path: Path) -> None:
    rows = [
        {
            "id": f"{n}",
            "context": f"Bridge {n} was built in {1900 + n}.",
            "question": question(n),
            "answers": {"text": [f"in {1900 + n}"], "answer_start": [12]},
        }
        for n in range(COUNT)
    ]
    ended = prepare("--dataset", parquet(tmp_path / "a.parquet", pa.Table.from_pylist(rows)))
    assert ended.code == 0, ended.err
    assert {(i, r) for _, i, r in texts(ended.output)} == {
        (f"Bridge {n} was built in {1900 + n}.\n\n{question(n)}", f"in {1900 + n}")
        for n in range(COUNT)
    }


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda n: {"prompt": question(n), "chosen": answer(n), "rejected": "Go away."},
            ("chosen, rejected are the columns of preferences", "must not be trained"),
        ),
        (
            lambda n: {"prompt": question(n), "completion": answer(n), "label": n % 2 == 0},
            ("the column 'label' marks rows", "false in row 2"),
        ),
    ],
    ids=["preferences", "KTO"],
)
def test_what_must_not_be_trained(
    prepare: Prepare, tmp_path: Path, make: Callable[[int], Row], said: tuple[str, ...]
) -> None:
    path = lines(tmp_path / "a.jsonl", *map(make, range(COUNT)))
    ended = prepare("--dataset", path)
    assert ended.code == 2
    assert has(ended.err, *said)
    cure = re.findall(r"--fields \S+|--ignore-training-marks", ended.err)[0]
    ended = prepare("--dataset", path, *shlex.split(cure))
    assert ended.code == 0, ended.err
    assert {(i, r) for _, i, r in texts(ended.output)} == {
        (question(n), answer(n)) for n in range(COUNT)
    }


class TestGuess:
    SAYS = "The columns are a guess, as their names do not say what they hold"

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        rows = [{"id": f"{n}", "frage": question(n), "antwort": answer(n)} for n in range(COUNT)]
        return lines(tmp_path / "a.jsonl", *rows)

    def test_is_told_on_console_card_and_report(self, prepare: Prepare, source: Path) -> None:
        ended = prepare("--dataset", source)
        assert ended.code == 0, ended.err
        assert has(
            ended.out, f"Note: {self.SAYS}", "instruction=frage,response=antwort", "--fields"
        )
        assert has((ended.output / "README.md").read_text(encoding="utf-8"), self.SAYS)
        assert has((ended.output / "report.html").read_text(encoding="utf-8"), self.SAYS)
        manifest = json.loads((ended.output / "manifest.json").read_bytes())
        assert manifest["plan"]["fields"]["guess"] is True

    def test_is_told_by_plan_and_preview(self, prepare: Prepare, source: Path) -> None:
        for verb in ("plan", "preview"):
            assert has(prepare("--dataset", source, verb=verb).out, self.SAYS)
        plan = json.loads(prepare("--dataset", source, "--json", verb="plan").out)
        assert plan["fields"]["guess"] is True
        assert json.loads(prepare("--dataset", source, "--json", verb="preview").out)["guess"]

    def test_the_flag_that_it_names_says_the_same_and_is_no_guess(
        self, prepare: Prepare, source: Path
    ) -> None:
        guessed = prepare("--dataset", source)
        named = prepare("--dataset", source, "--fields", "instruction=frage,response=antwort")
        assert texts(named.output) == texts(guessed.output)
        assert self.SAYS not in named.out + (named.output / "README.md").read_text("utf-8")
