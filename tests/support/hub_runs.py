"""Whole commands against the stand-in for the hub, and files as the hub holds them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from ended import Ended
from forks import run as run_fork

NAME = "user/name"


# The command line as `python -m pipeline` runs it, but the waits between tries are noted instead of
# waited for. Short sleeps are left alone: Beam polls with them.
LAUNCH = """
import json, runpy, sys, time
notes, waits, sleep = sys.argv.pop(1), [], time.sleep
time.sleep = lambda seconds: sleep(seconds) if seconds < 0.5 else waits.append(seconds)
try:
    runpy.run_module("pipeline", run_name="__main__", alter_sys=True)
finally:
    with open(notes, "w") as file:
        json.dump(waits, file)
"""


@dataclass(frozen=True)
class Run(Ended):
    """What one command did."""

    waits: Sequence[float] = ()

    @property
    def shards(self) -> dict[str, str]:
        """The SHA-256 of each shard."""
        assert self.code == 0, self.err
        return {
            str(path.relative_to(self.output)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.output.glob("*/*.arrow")
        }

    def pairs(self) -> list[tuple[str, str]]:
        """Instruction and response of all rows of both splits, sorted."""
        tables = [
            pa.ipc.open_stream(path.read_bytes()).read_all()
            for path in self.output.glob("*/data-*.arrow")
        ]
        table = pa.concat_tables(tables).select(["instruction", "response"])
        return sorted((row["instruction"], row["response"]) for row in table.to_pylist())


def run(environment: dict[str, str], tmp_path: Path, *flags: str, verb: str = "prepare") -> Run:
    number = len(list(tmp_path.glob("waits-*")))
    notes, output = tmp_path / f"waits-{number}", tmp_path / f"out-{number}" / "set"
    notes.touch()
    output.parent.mkdir()
    words = [str(notes), verb, "--skip-upload", "--output", str(output), *flags]
    # In an empty folder: a folder "user/name" there would be preferred to the hub.
    child = run_fork(LAUNCH, words, environment, output.parent, seconds=120)
    waits = json.loads(notes.read_text() or "[]")
    return Run(child.code, child.out, child.err, output, waits=waits)


def refused(result: Run, code: int, *words: str) -> None:
    """The run failed with one sentence that has these words, and left nothing behind."""
    assert result.code == code, result.err
    sentence = result.err.strip()
    assert sentence.startswith("error: ") and "\n" not in sentence and len(sentence) < 500
    for word in words:
        assert word in sentence
    lock = ".set.lock"
    assert [path.name for path in result.output.parent.iterdir() if path.name != lock] == []


def json_lines(rows: Iterable[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def delimited(rows: Sequence[dict[str, str]], delimiter: str) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def parquet(rows: Sequence[dict[str, Any]], features: dict[str, str] | None = None) -> bytes:
    """A Parquet file with several row groups, with the features as `datasets` would note them."""
    table = pa.Table.from_pylist(list(rows))
    if features:
        noted = {name: {"_type": kind} for name, kind in features.items()}
        info = {"huggingface": json.dumps({"info": {"features": noted}})}
        table = table.replace_schema_metadata(info)
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=len(rows) // 4, compression="none")
    return sink.getvalue()


def arrow_stream(rows: Sequence[dict[str, str]]) -> bytes:
    sink = io.BytesIO()
    table = pa.Table.from_pylist(list(rows))
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=100)
    return sink.getvalue()


def card(**settings: object) -> bytes:
    """A README whose YAML head has these settings (JSON is YAML)."""
    return f"---\n{json.dumps(settings)}\n---\n# A data set\n".encode()


def configuration(name: str = "default", **files: str | Sequence[str]) -> dict[str, object]:
    """A configuration of the card: split=files."""
    entries = [{"split": split, "path": path} for split, path in files.items()]
    return {"config_name": name, "data_files": entries}
