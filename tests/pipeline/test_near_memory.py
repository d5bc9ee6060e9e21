"""What comparing rows that are nearly near takes, measured on a whole command."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from means import REPOSITORY

ROWS = 80_000
MOST_BYTES = 10**9


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="other systems count in other units")
def test_many_rows_that_are_alike_but_not_near_take_little_memory(tmp_path: Path) -> None:
    """Texts of one template, 0.73 alike: of nearly all rows the estimate asks for a comparison."""
    chance = random.Random(1)
    words = [f"word{n}" for n in range(50_000)]
    template = " ".join(f"common{n}" for n in range(102))
    source = tmp_path / "rows.jsonl"
    with source.open("w") as file:
        for _ in range(ROWS):
            answer = " ".join(chance.choices(words, k=18))
            file.write(json.dumps({"question": template, "answer": answer}) + "\n")
    words = ["--dataset", str(source), "--output", str(tmp_path / "set"), "--skip-upload"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *words, "--dedup", "near", "--json", "--quiet"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    counts = json.loads(printed)["counts"]
    assert (counts["read"], counts["duplicates"]) == (ROWS, 0)
    assert used.ru_maxrss * 1024 < MOST_BYTES
