"""Diff: rows added, removed, changed and moved between two sets."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli.main import main
from pipeline.dataset.diff import HASHES, compare

Prepared = tuple[int, int, bool]

ROWS = [{"question": f"What is {n}?", "answer": f"It is {n}."} for n in range(200)]


def prepared(folder: Path, rows: list[dict[str, Any]], *words: str) -> str:
    source = folder.with_suffix(".jsonl")
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    more = ("--dataset", str(source), "--output", str(folder), "--skip-upload", "--quiet")
    more += ("--dedup", "off")
    assert main([*more, *words]) == 0
    return str(folder)


def differences(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, int]:
    capsys.readouterr()
    assert main(["diff", *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    return {name: found[name] for name in ("same", "moved", "changed", "added", "removed")}


def test_each_kind_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = prepared(tmp_path / "one", ROWS)
    rows = [dict(row) for row in ROWS[3:]] + [{"question": "New?", "answer": "Yes."}] * 2
    rows[0]["answer"] = "Another answer."
    other = prepared(tmp_path / "other", rows[::-1], "--shard-size", "1MiB")
    expected = {"same": 196, "moved": 0, "changed": 1, "added": 2, "removed": 3}
    assert differences(capsys, one, other) == expected
    backwards = {**expected, "added": 3, "removed": 2}
    assert differences(capsys, other, one) == backwards
    assert differences(capsys, one, one) == {**dict.fromkeys(expected, 0), "same": 200}


def test_rows_in_another_split_are_moved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = prepared(tmp_path / "one", ROWS, "--val-size", "0")
    other = prepared(tmp_path / "other", ROWS, "--val-size", "1")
    found = differences(capsys, one, other)
    assert (found["same"], found["moved"]) == (200, 200)


def test_messages_are_told_by_what_the_user_asks_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = prepared(tmp_path / "one", ROWS, "--columns", "messages")
    changed = [{**ROWS[0], "answer": "No."}, *ROWS[1:]]
    other = prepared(tmp_path / "other", changed, "--columns", "messages")
    found = differences(capsys, one, other)
    assert found == {"same": 199, "moved": 0, "changed": 1, "added": 0, "removed": 0}


def test_sets_of_other_columns_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = prepared(tmp_path / "one", ROWS)
    other = prepared(tmp_path / "other", ROWS, "--columns", "prompt-completion")
    assert main(["diff", one, other]) == 2
    assert "prepare both with the same --columns" in capsys.readouterr().err


def test_a_damaged_shard_is_no_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = prepared(tmp_path / "one", ROWS)
    shard = tmp_path / "one" / "train" / "data-00000-of-00001.arrow"
    data = shard.read_bytes()
    shard.write_bytes(data.replace(b"What is 7?", b"What is 8?"))
    assert main(["diff", one, one]) == 7
    assert "holds other bytes than were written" in capsys.readouterr().err
    shard.write_bytes(data[:500])
    assert main(["diff", one, one]) == 7
    assert main(["diff", one, str(tmp_path / "none")]) == 2


ROW = st.tuples(st.integers(0, 3), st.integers(0, 2), st.booleans())


@given(first=st.lists(ROW, max_size=12), second=st.lists(ROW, max_size=12))
def test_counts_are_those_of_a_count_row_by_row(
    first: list[Prepared], second: list[Prepared]
) -> None:
    found = compare(np.array(first, HASHES), np.array(second, HASHES))
    one, two = (Counter(row[:2] for row in rows) for rows in (first, second))
    same = one & two
    in_place = Counter(first) & Counter(second)
    left = [Counter[int]() for _ in range(2)]
    for rest, counts in zip((one - same, two - same), left, strict=True):
        for (prompt, _), count in rest.items():
            counts[prompt] += count
    changed = (left[0] & left[1]).total()
    assert found == {
        "same": same.total(),
        "moved": same.total() - in_place.total(),
        "changed": changed,
        "added": len(second) - same.total() - changed,
        "removed": len(first) - same.total() - changed,
    }
