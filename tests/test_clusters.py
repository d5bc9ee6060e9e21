"""The whole command on a real Flink and a real Spark: the same bytes as on one machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from cluster_programs import LOG_CHARS, Programs
from cluster_workers import WorkerPool
from clusters import FlinkCluster, SparkCluster
from s3_runs import stored, without_run
from s3_servers import S3Server

pytestmark = pytest.mark.clusters

Cluster = FlinkCluster | SparkCluster

_JOB_SECONDS = 240.0  # half a minute when the machine has nothing else to do
_GONE_SECONDS = 15.0  # Beam asks a job server to stop for five seconds, then kills it


def run(words: Sequence[str], environment: Mapping[str, str], *parts: Cluster | WorkerPool) -> str:
    """What our command says when it ends well; its end, and the logs of the parts, when it fails.

    It leaves nothing behind that it has started.
    """
    programs = Programs("command")
    try:
        command = [sys.executable, "-m", "pipeline", *words, "--shard-size", "1MiB"]
        temporary = {"TMPDIR": str(programs.folder)}
        program = programs.start("command", command, {**environment, **temporary})
        try:
            code: int | str = program.wait(_JOB_SECONDS)
        except subprocess.TimeoutExpired:
            code = "none in time"
        if code != 0:
            logs = "\n".join(part.logs() for part in parts)
            pytest.fail(f"exit code {code}\n{program.said[-LOG_CHARS:]}\n{logs}")
        programs.wait("the job server's end", lambda: not program.left(), _GONE_SECONDS)
        return program.said
    finally:
        programs.stop()


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About as much as GSM8K: four units, and two rows that are rejected."""
    lines = [
        f'{{"question": "Frage {n}, 漢字{" und" * (n % 17)}?", "answer": "{_answer(n)}"}}'
        for n in range(7500)
    ]
    lines[3000:3000] = ['{"question": "", "answer": "of nothing"}', '{"question": "cut o']
    path = tmp_path_factory.mktemp("source") / "rows.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _answer(n: int) -> str:
    return f"Weil {n} 😀. " * (10 + n % 40)


@pytest.fixture(scope="module")
def expected(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The set as this machine alone makes it."""
    output = tmp_path_factory.mktemp("expected") / "out"
    run(["--dataset", str(rows), "--output", str(output), "--skip-upload"], os.environ)
    files = without_run(files_of(output))
    assert len([name for name in files if name.startswith("train/data-")]) == 4
    assert len([name for name in files if name.startswith("rejects/")]) > 0
    return files


def files_of(output: Path) -> dict[str, bytes]:
    """Name -> bytes of a local set."""
    found = (path for path in output.rglob("*") if path.is_file())
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in found}


def differing(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """The names of the files that are not the same."""
    names = found.keys() | expected.keys()
    return sorted(name for name in names if found.get(name) != expected.get(name))


@pytest.fixture(params=["flink", "spark"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Each of the two."""
    return request.getfixturevalue(request.param)


def test_a_worker_pool_writes_the_same_bytes_to_a_shared_folder(
    cluster: Cluster,
    worker_pool: WorkerPool,
    rows: Path,
    expected: dict[str, Any],
    tmp_path: Path,
) -> None:
    words = ["--dataset", str(rows), "--output", str(tmp_path / "out"), "--skip-upload"]
    words += ["--shared-filesystem", *cluster.flags(), *worker_pool.flags()]
    run(words, {**os.environ, **cluster.environment}, cluster, worker_pool)
    assert differing(without_run(files_of(tmp_path / "out")), expected) == []


def test_the_launcher_s_own_threads_write_the_same_bytes_with_loopback(
    cluster: Cluster, rows: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    words = ["--dataset", str(rows), "--output", str(tmp_path / "out"), "--skip-upload"]
    words += [*cluster.flags(), "--environment_type=LOOPBACK"]
    run(words, {**os.environ, **cluster.environment}, cluster)
    assert differing(without_run(files_of(tmp_path / "out")), expected) == []


@pytest.fixture(scope="module")
def s3_workers(s3_server: S3Server) -> Iterator[WorkerPool]:
    """Workers that have the credentials of the S3 server."""
    with WorkerPool(s3_server.environment()) as pool:
        yield pool


def test_a_worker_pool_writes_the_same_bytes_to_s3(
    cluster: Cluster,
    s3_workers: WorkerPool,
    s3_server: S3Server,
    bucket: str,
    rows: Path,
    expected: dict[str, Any],
) -> None:
    uri = f"s3://{bucket}/sets/one"
    words = ["--dataset", str(rows), "--output", uri, *cluster.flags(), *s3_workers.flags()]
    run(words, {**s3_server.environment(), **cluster.environment}, cluster, s3_workers)
    assert differing(without_run(stored(s3_server, uri)), expected) == []
