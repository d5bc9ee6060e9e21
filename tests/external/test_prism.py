"""The whole command on Beam's small portable runner: the bytes are those of DirectRunner."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from s3_runs import SMALL, without_run

from pipeline.cli.main import main


def set_of(output: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in output.rglob("*")
        if path.is_file()
    }


def test_prism_gives_the_same_bytes(
    two_units: Path, prism: tuple[str, ...], tmp_path: Path
) -> None:
    words = ["--dataset", str(two_units), "--skip-upload", "--shard-size", "1MiB", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *words, "--output", "prism", "--json", *prism],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,  # the assertion shows what it said
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["run"]["runner"] == "PrismRunner"
    assert told["counts"]["rejected"]["total"] == 1
    direct = tmp_path / "direct"
    assert main([*words, "--output", str(direct), *SMALL]) == 0
    found, expected = set_of(tmp_path / "prism"), set_of(direct)
    assert len([name for name in found if name.startswith("train/data-")]) == 2
    assert without_run(found) == without_run(expected)


def test_an_error_of_a_worker_is_one_sentence(prism: tuple[str, ...], tmp_path: Path) -> None:
    rows = [{"question": "Q?", "answer": "A." if n % 2 else ""} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = ["--fields", "instruction=question,response=answer"]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "--dataset", "rows.jsonl", "--output", "set"]
        + ["--skip-upload", "--quiet", *fields, *prism],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 8, done.stderr
    assert done.stderr.startswith("error: not published: 20 of 40 rows")
    assert "while running" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "set").exists()
