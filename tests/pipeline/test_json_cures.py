"""Messages about JSON files that name a shell's line: the line writes the rows."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command_runs import has, put
from conversions import Convert

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
