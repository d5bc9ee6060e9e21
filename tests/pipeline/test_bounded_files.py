"""Small files that stand for much: each ends soon, with a clear error and little memory."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from means import REPOSITORY


def blanks(path: Path, byte: bytes, before: bytes = b"") -> None:
    with gzip.open(path, "wb", 1) as file:
        file.write(before)
        for _ in range(128):
            file.write(byte * 2**24)


def own_keys(path: Path, rows: int, keys: int) -> None:
    with path.open("w") as file:
        for row in range(rows):
            file.write(json.dumps({f"r{row}k{key}": "v" for key in range(keys)}) + "\n")


def wide(path: Path) -> None:
    names = ",".join(f"c{n}" for n in range(200_000))
    path.write_text(f"{names}\n{names}\n")


def broken(path: Path) -> None:
    path.write_text('{"question": "What is it?", "answer": "It."}\n' + "{x\n" * 1_000_000)


def one_large_value(path: Path) -> None:
    value = pa.array(["abc def " * (100 * 2**17)])
    rows = pa.DictionaryArray.from_arrays(pa.array([0] * 20, pa.int32()), value)
    asked = pa.array([f"What is number {n}?" for n in range(20)])
    pq.write_table(pa.table({"question": asked, "answer": rows}), path)


_MEASURED = """
import sys
from pipeline.cli.main import main
code = main(sys.argv[1:])
with open("/proc/self/status") as status:  # getrusage knows the peak of the parent, too
    print(next(line for line in status if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(code)
"""


def peak(*words: str, folder: Path) -> tuple[int, str, float]:
    """Exit code, errors and peak of memory in MB of a command."""
    ended = subprocess.run(
        [sys.executable, "-c", _MEASURED, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    errors, _, used = ended.stderr.rpartition("VmHWM:")
    return ended.returncode, errors, int(used.split()[0]) / 1000


Case = tuple[str, Callable[[Path], None], int, str, float]
QUICK: list[Case] = [
    ("a.csv", wide, 3, "more than 10,000 columns", 500),
    ("a.jsonl", lambda path: own_keys(path, 200, 3000), 3, "more than 10,000 columns", 1000),
    ("c.jsonl", broken, 0, "", 500),
]
SLOW: list[Case] = [
    ("a.jsonl.gz", lambda path: blanks(path, b"\n"), 3, "contains no rows", 500),
    ("b.jsonl.gz", lambda path: blanks(path, b" "), 3, "contains no rows", 500),
    ("a.json.gz", lambda path: blanks(path, b" ", b"["), 3, "not a complete JSON array", 500),
    ("a.csv.gz", lambda path: blanks(path, b"\n", b"question,answer\n"), 3, "no rows", 500),
    ("b.jsonl", lambda path: own_keys(path, 5, 300_000), 3, "more than 10,000 columns", 1000),
    ("a.parquet", one_large_value, 0, "", 1500),
]


def check(case: Case, folder: Path) -> None:
    name, make, code, says, most = case
    make(folder / name)
    ended, errors, used = peak("plan", "--dataset", name, folder=folder)
    assert (ended, says in errors) == (code, True), errors
    assert used < most


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case[0])
def test_planning(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("case", SLOW, ids=lambda case: case[0])
def test_planning_on_larger_ones(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)


@pytest.mark.nightly
def test_a_run_over_a_million_broken_lines(tmp_path: Path) -> None:
    broken(tmp_path / "a.jsonl")
    words = ("--dataset", "a.jsonl", "--output", "set", "--skip-upload")
    ended, errors, used = peak(*words, folder=tmp_path)
    assert (ended, "broken-json 1,000,000" in errors) == (8, True), errors
    assert used < 1500
