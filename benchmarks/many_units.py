"""Measures plan, graph and commit of 100,000 work units, no row of which is read or written.

Each figure is that of a process of its own.  The source is a listing: sizes are said, and only its
first file is there, with one row for the plan to look at.

    one file      100,000 units of one file of JSON Lines
    many files    100,000 files of a unit each
    commit        three records a unit, as a runner hands them over, to a folder without shards

Exits with 1 if a budget is missed.  With the name of one of them, prints its figures as JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench import Budget

UNITS = 100_000
_STATUS = Path("/proc/self/status")
UNIT_BYTES = 64 * 2**20
SHAPES = {"one-file": 1, "many-files": UNITS}
CASES = (*SHAPES, "commit")

MOST_SECONDS, MOST_PLAN_MB, MOST_GRAPH_MB = 10.0, 500, 1.0
MOST_COMMIT_MB = 600


def main() -> int:
    """Measures every case; 1 if a budget is missed."""
    parser = argparse.ArgumentParser(description="Measures 100,000 work units.")
    parser.add_argument("case", nargs="?", choices=CASES)
    case = parser.parse_args().case
    if case:
        with tempfile.TemporaryDirectory() as folder:
            measure = commit if case == "commit" else plan
            print(json.dumps({**measure(case, Path(folder)), "peak_mb": _peak_mb()}))
        return 0
    budgets = []
    for case in CASES:
        done = subprocess.run([sys.executable, __file__, case], stdout=subprocess.PIPE, check=True)
        found = json.loads(done.stdout)
        print(f"{case:12}", *(f"{name} {figure:,.2f}" for name, figure in found.items()))
        if case == "commit":
            budgets.append(Budget(f"{case}: peak memory", found["peak_mb"], MOST_COMMIT_MB, " MB"))
        else:
            budgets += [
                Budget(f"{case}: planning", found["seconds"], MOST_SECONDS, " s"),
                Budget(f"{case}: peak memory", found["peak_mb"], MOST_PLAN_MB, " MB"),
                Budget(f"{case}: graph, local", found["local_graph_mb"], MOST_GRAPH_MB, " MB"),
                Budget(f"{case}: graph, S3", found["s3_graph_mb"], MOST_GRAPH_MB, " MB"),
                Budget(f"{case}: graph, resumed", found["resumed_graph_mb"], MOST_GRAPH_MB, " MB"),
            ]
    print("\nbudgets", *budgets, sep="\n")
    return int(any(budget.missed for budget in budgets))


def plan(shape: str, folder: Path) -> dict[str, float]:
    """Plans a listing and puts the job for each kind of output into a pipeline."""
    import apache_beam as beam

    from pipeline.launch import graph_inputs
    from pipeline.planning.plan import make_plan
    from pipeline.request import Request
    from transforms.formats.source_reader import BATCH_BYTES
    from transforms.steps.read import StoredWorkUnits
    from transforms.storage.local import LocalStore
    from transforms.storage.s3.store import S3Store
    from transforms.storage.s3.uri import S3Uri

    request = Request(dataset="listing", output=str(folder / "out"), shard_size=UNIT_BYTES)
    listing = listed(folder, SHAPES[shape])
    local, on_s3 = LocalStore(request.output), S3Store(S3Uri("bucket", "sets/one"))
    straight, remote, resumed = (beam.Pipeline() for _ in range(3))
    start = time.perf_counter()
    with patch("pipeline.planning.plan.resolve", lambda request: listing):
        made = make_plan(request)
    with local.claimed(made.digest):
        graph_inputs.fill_pipeline(straight, made, request, local, (), BATCH_BYTES)
        seconds = time.perf_counter() - start
        stored = StoredWorkUnits(local, len(made.units))
        kept = [unit for part in stored.parts for unit in stored.load(part)] == list(made.units)
    with patch.object(S3Store, "put_work"):
        graph_inputs.fill_pipeline(remote, made, request, on_s3, (), BATCH_BYTES)
    contents = replace(graph_inputs.contents_of(made, request, "Test"), plan=None)
    scattered = range(0, UNITS, 2)  # which of them were finished: every second one
    graph_inputs.assemble(resumed, made, stored, local, contents, scattered)
    return {
        "units": len(made.units) if kept else 0,
        "seconds": seconds,
        "local_graph_mb": _graph_mb(straight),
        "s3_graph_mb": _graph_mb(remote),
        "resumed_graph_mb": _graph_mb(resumed),
    }


def listed(folder: Path, files: int) -> Any:
    """A source of so many files whose sizes make ``UNITS`` units; only the first is there."""
    from pipeline.planning.source_files import SourceFiles
    from transforms.formats.source_reader import FileFormat

    # With a digest, as many stores name theirs: names in a row would be squeezed to nothing.
    names = [f"{hashlib.sha256(b'%d' % n).hexdigest()}.jsonl" for n in range(files)]
    (folder / names[0]).write_text('{"question": "What is it?", "reasoning": "It is a row."}\n')
    sizes = tuple((name, UNIT_BYTES * UNITS // files) for name in names)
    return SourceFiles(
        "local", f"{folder}/", "0" * 40, None, "train", (), FileFormat("json_lines"), sizes
    )


def some_rows(folder: object, name: str) -> Iterator[bytes]:
    """What the report finds in a shard."""
    import pyarrow as pa

    from transforms.dataset.layout import SCHEMA

    if name.endswith(".arrow"):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, SCHEMA) as writer:
            writer.write_table(pa.table([["text"] * 1000] * len(SCHEMA), schema=SCHEMA))
        yield bytes(sink.getvalue())


def commit(_: str, folder: Path) -> dict[str, float]:
    """Commits a set whose shards nobody wrote, with a plan that lies beside it."""
    from transforms.dataset import publish as under_test
    from transforms.quality.gates import Gates
    from transforms.storage.local import LocalStore
    from transforms.storage.manifest_parts import Run

    output = LocalStore(str(folder / "out"))
    contents = under_test.Contents(
        "listing", "0" * 40, "0123", None, Run(started="2024-01-31T10:00:00+00:00"), Gates(0.5), ""
    )
    pieces = [[[f"part-{n:05d}.jsonl", 0, UNIT_BYTES, None]] for n in range(UNITS)]
    with (
        output.claimed(),
        patch.object(LocalStore, "confirm"),
        patch.object(LocalStore, "chunks", some_rows),
    ):
        output.put_work(under_test.PLAN_FILE, json.dumps({"units": pieces}).encode())
        del pieces
        before, start = _peak_mb(), time.perf_counter()
        under_test.commit(output, UNITS, contents, records())
        seconds = time.perf_counter() - start
    size = Path(output.path, "manifest.json").stat().st_size
    return {"seconds": seconds, "before_mb": before, "manifest_mb": size / 1e6}


def records() -> Iterator[Any]:
    """Every unit's three records, none of which shares anything with another."""
    from transforms.records import Shard
    from transforms.storage.names import shard_path

    rejected = {"empty-response": 1}
    for unit in range(UNITS):
        for split, rows in (("train", 900), ("validation", 99), ("rejects", 1)):
            path = shard_path(split, unit, UNITS)
            codes = rejected if split == "rejects" else {}
            places = dict.fromkeys(codes, f"part-{unit:05d}.jsonl row 7")
            digest = hashlib.sha256(path.encode()).hexdigest()
            shard = Shard(unit, split, path, rows, 1000, 2**20 + unit, digest, codes, places)
            yield pickle.loads(pickle.dumps(shard))


def _graph_mb(pipeline: Any) -> float:
    return len(pipeline.to_runner_api().SerializeToString()) / 1e6


def _peak_mb() -> float:
    if not _STATUS.exists():  # only Linux has it
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    # What getrusage tells of a child begins with the size of the process that started it.
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())
    return int(peak) * 1024 / 1e6


if __name__ == "__main__":
    sys.exit(main())
