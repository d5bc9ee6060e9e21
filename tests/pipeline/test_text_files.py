"""Text files of other writers, end to end, and the shell's lines that messages about them name."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command_runs import Prepare, has, put
from conversions import Convert
from datasets import load_from_disk

ROWS = [
    {"instruction": f"What is number {n}, please?", "output": f"It is {n}, “of course”."}
    for n in range(40)
]


def run(command: str, folder: Path) -> None:
    words = command.replace("python -c", f"{shlex.quote(sys.executable)} -c", 1)
    subprocess.run(words, shell=True, check=True, cwd=folder)  # noqa: S602 (what a message says)


LISTS = {name: [row[name] for row in ROWS] for name in ROWS[0]}


@pytest.mark.parametrize(
    ("name", "text", "seen", "written"),
    [
        ("a.json",
         json.dumps({name: {str(n): cell for n, cell in enumerate(cells)}
                     for name, cells in LISTS.items()}),
         "orient='columns'", "rows.jsonl"),
        ("a.json", json.dumps({str(n): row for n, row in enumerate(ROWS)}), "orient='index'",
         "rows.jsonl"),
        ("a.json", json.dumps({"columns": list(LISTS), "index": [*range(40)],
                               "data": [list(row.values()) for row in ROWS]}, indent=1),
         "orient='split'", "rows.jsonl"),
        ("a.json", json.dumps(LISTS), "one list a column", "rows.jsonl"),
        ("a.jsonl", "".join(json.dumps(row) + ",\n" for row in ROWS), "commas between",
         "fixed.jsonl"),
        ("a.jsonl", ",\n".join(json.dumps(row) for row in ROWS), "commas between", "fixed.jsonl"),
        ("a.json", "[\n" + "".join(json.dumps(row) + ",\n" for row in ROWS) + "]\n",
         "a comma before the closing bracket", "fixed.json"),
        ("a.json", json.dumps({"data": ROWS})[:-2] + ",]}", "a comma before the closing bracket",
         None),
    ],
)  # fmt: skip
def test_the_line_of_a_message_writes_the_rows(
    convert: Convert, tmp_path: Path, name: str, text: str, seen: str, written: str | None
) -> None:
    refused = convert("--dataset", put(tmp_path / name, text))
    assert refused.code == 3
    assert has(refused.err, name, seen), refused.err
    if written:
        run(refused.err.strip().rpartition(": ")[2], tmp_path)
        rows = convert("--dataset", tmp_path / written).rows()
        assert [{"instruction": r["instruction"], "output": r["response"]} for r in rows] == ROWS


def test_a_set_of_escaped_quotes_has_the_quotes_in_its_text(
    prepare: Prepare, tmp_path: Path
) -> None:
    rows = [(f"How is number {n} called?", f'They call it "the {n}", I think.') for n in range(60)]
    text = "".join('"{}","{}"\n'.format(q, a.replace('"', '\\"')) for q, a in rows)
    done = prepare("--dataset", put(tmp_path / "rows.csv", "instruction,output\n" + text))
    assert done.code == 0, done.err
    assert has(done.out, 'CSV; quotes \\"')
    assert _rows_of(done.output) == sorted(rows)


def test_a_set_of_tabs_has_every_row_with_its_quotes(prepare: Prepare, tmp_path: Path) -> None:
    rows = [
        (f'"Hello, said the owner of {n}?' if n in (10, 30) else f"What is {n}?", f"It is {n}.")
        for n in range(60)
    ]
    text = "".join(f"{q}\t{a}\n" for q, a in rows)
    done = prepare("--dataset", put(tmp_path / "odd.tsv", "question\tanswer\n" + text))
    assert done.code == 0, done.err
    assert has(done.out, "separator tab, quotes are text")
    assert _rows_of(done.output) == sorted(rows)
    assert done.counts["read"] == 60


def _rows_of(folder: Path) -> list[tuple[str, str]]:
    return sorted(
        (row["instruction"], row["response"])
        for rows in load_from_disk(str(folder)).values()
        for row in rows
    )
