"""Conversations on the hub need no flag but their name: fields are found, every row is counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hub import Hub, hub_environment
from hub_runs import Run, json_lines, parquet, run

PROMPT = "You are a helpful assistant that provides detailed reasoning and explanations."
COUNT = 40


def chatml(*contents: str, system: str | None = None) -> str:
    """The text of a user's and an assistant's contents in turn."""
    roles = ("user", "assistant")
    said = [(roles[n % 2], content) for n, content in enumerate(contents)]
    turns = [*([("system", system)] if system else []), *said]
    return "\n".join(f"<|im_start|>{role}\n{content}<|im_end|>" for role, content in turns)


@dataclass(frozen=True)
class Set:
    """A data set of the hub: its rows, what is found in it, and each row's text."""

    rows: list[dict[str, Any]]
    texts: list[str]
    rule: str
    file: str = "data/train-00000-of-00001.parquet"

    @property
    def content(self) -> bytes:
        return parquet(self.rows) if self.file.endswith(".parquet") else json_lines(self.rows)


def _sharegpt(n: int) -> list[dict[str, str]]:
    said = [("system", "Be kind."), ("human", f"Who is {n}?"), ("gpt", f"She is {n}."),
            ("human", "And he?"), ("gpt", "He, too.")]  # fmt: skip
    return [{"from": role, "value": text} for role, text in said[n % 2 :]]


def _messages(n: int) -> list[dict[str, str]]:
    said = [("user", f"Was ist {n}? 漢字"), ("assistant", f"Es ist {n}."), ("user", "Oh?"),
            ("assistant", "Ja.")]  # fmt: skip
    return [{"role": role, "content": text} for role, text in said]


def _thoughts(n: int) -> str:
    return f"<think>\nHm, {n}.\n</think>\n\nIt is {n}."


SETS = {
    "gsm/plain": Set(
        [{"question": f"What is {n} + 1?", "answer": f"It is {n + 1}."} for n in range(COUNT)],
        [chatml(f"What is {n} + 1?", f"It is {n + 1}.", system=PROMPT) for n in range(COUNT)],
        "columns question+answer",
    ),
    "chat/messages": Set(
        [{"id": n, "messages": _messages(n), "source": "made"} for n in range(COUNT)],
        [chatml(*(m["content"] for m in _messages(n))) for n in range(COUNT)],
        "column messages holds turns",
    ),
    "chat/json-lines": Set(
        [{"id": str(n), "messages": _messages(n)} for n in range(COUNT)],
        [chatml(*(m["content"] for m in _messages(n))) for n in range(COUNT)],
        "column messages holds turns",
        "train.jsonl",
    ),
    "share/gpt": Set(
        [{"id": f"id-{n}", "conversations": _sharegpt(n)} for n in range(COUNT)],
        [
            chatml(
                *(m["value"] for m in _sharegpt(n) if m["from"] != "system"),
                system=None if n % 2 else "Be kind.",
            )
            for n in range(COUNT)
        ],
        "column conversations holds turns",
        "train.jsonl",
    ),
    "stanford/alpaca": Set(
        [
            {"instruction": f"Add {n}.", "input": "To 1." * (n % 2), "output": f"{n + 1} it is."}
            for n in range(COUNT)
        ],
        [
            chatml(f"Add {n}." + "\nTo 1." * (n % 2), f"{n + 1} it is.", system=PROMPT)
            for n in range(COUNT)
        ],
        "columns instruction(+input)+output",
    ),
    "thinks/inline": Set(
        [{"problem": f"What is {n}?", "solution": _thoughts(n)} for n in range(COUNT)],
        [chatml(f"What is {n}?", _thoughts(n), system=PROMPT) for n in range(COUNT)],
        "columns problem+solution",
    ),
}


@pytest.fixture(scope="module")
def sets() -> Iterator[Hub]:
    """A hub that has them all."""
    hub = Hub()
    for name, made in SETS.items():
        hub.add(name, {made.file: made.content, "README.md": b"# A data set\n"})
    yield hub
    hub.stop()


def loaded(result: Run) -> list[dict[str, Any]]:
    tables = [
        pa.ipc.open_stream(path.read_bytes()).read_all()
        for path in sorted(result.output.glob("*/data-*.arrow"))
    ]
    return list(pa.concat_tables(tables).to_pylist())


@pytest.mark.parametrize("name", SETS)
def test_the_name_alone_is_enough(sets: Hub, tmp_path: Path, name: str) -> None:
    made = SETS[name]
    result = run(hub_environment(sets, tmp_path), tmp_path, "--dataset", name)
    counts = result.manifest["counts"]
    assert counts["read"] == counts["train"] + counts["validation"] == COUNT
    assert counts["rejected"] == {"total": 0, "by_reason": {}} and counts["events"] == {}
    assert result.manifest["plan"]["fields"]["rule"] == made.rule
    assert f"({made.rule})" in result.out
    assert sorted(row["text"] for row in loaded(result)) == sorted(made.texts)


def test_a_bad_row_on_the_hub_is_told_with_its_place(hub_of_bad: Hub, tmp_path: Path) -> None:
    environment = hub_environment(hub_of_bad, tmp_path)
    result = run(environment, tmp_path, "--dataset", "chat/bad", "--template", "qwen3")
    assert result.manifest["counts"]["rejected"]["by_reason"] == {"ends-with-user": 1}
    (line,) = (result.output / "rejects" / "data-00000-of-00001.jsonl").read_text().splitlines()
    reject = json.loads(line)
    assert (reject["file"], reject["row"]) == ("train.jsonl", 31)
    assert len(loaded(result)) == COUNT


@pytest.fixture
def hub_of_bad() -> Iterator[Hub]:
    """A hub with one data set, whose row 31 ends with the user."""
    hub = Hub()
    rows: list[dict[str, Any]] = [{"messages": _messages(n)} for n in range(COUNT)]
    rows.insert(30, {"messages": _messages(7)[:3]})
    hub.add("chat/bad", {"train.jsonl": json_lines(rows)})
    yield hub
    hub.stop()
