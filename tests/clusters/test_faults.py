"""A part of a cluster dies or hangs in the middle of a job: the set is absent or complete.

After a rerun each row is there once, as the same bytes.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cluster_runs import Command, command, differing, files_of, finished, run
from cluster_workers import WorkerPool
from clusters import FlinkCluster, RestartingFlink, SparkCluster
from s3_runs import without_run

from transforms.storage.names import DATASET_DICT

pytestmark = pytest.mark.clusters

Cluster = FlinkCluster | SparkCluster
UNITS = 40


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work enough to be harmed in the middle: a mebibyte of text in each unit."""
    path = tmp_path_factory.mktemp("source") / "rows.jsonl"
    answer = "Weil es so ist 😀. " * 50
    with open(path, "w", encoding="utf-8") as file:
        for n in range(UNITS * 1000):
            file.write(f'{{"question": "Frage {n}, 漢字?", "answer": "{answer}{n}"}}\n')
    return path


@pytest.fixture(scope="module")
def expected(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    output = tmp_path_factory.mktemp("expected") / "out"
    run(words(rows, output), os.environ)
    return without_run(files_of(output))


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    """Workers of one test, which may do them harm."""
    with WorkerPool() as pool:
        yield pool


def words(rows: Path, output: Path) -> list[str]:
    size = ["--shard-size", "1MiB"]
    return ["--dataset", str(rows), "--output", str(output), "--skip-upload", *size]


def on(cluster: Cluster, pool: WorkerPool) -> list[str]:
    return ["--shared-filesystem", "--skip-worker-check", *cluster.flags(), *pool.flags()]


def harmed(
    harm: Callable[[], object],
    cluster: Cluster,
    pool: WorkerPool,
    rows: Path,
    output: Path,
    *more: str,
) -> Command:
    """A command whose cluster is harmed when it has finished some of its units."""
    environment = {**os.environ, **cluster.environment}
    line = [*words(rows, output), *on(cluster, pool), *more]
    with command(line, environment, cluster, pool) as running:
        running.until("some units", lambda: finished(output) >= 3)
        assert finished(output) < UNITS, "the job was too quick for this test"
        harm()
        running.end(0, 5)
    return running


def absent_or_complete(
    ended: Command, output: Path, rows: Path, expected: Mapping[str, Any]
) -> None:
    """What is there after the harm, and after a rerun that goes on."""
    if ended.program.code == 5:
        assert "error: the runner gave the job up and nothing was published" in ended.said
        assert not (output / DATASET_DICT).exists()
        assert not output.exists()
        assert "✓ Resumed: " in run([*words(rows, output), "--resume", str(output)], os.environ)
    assert differing(without_run(files_of(output)), expected) == []


@pytest.mark.parametrize("kind", ["flink", "spark"])
def test_a_worker_process_is_killed(
    kind: str,
    request: pytest.FixtureRequest,
    pool: WorkerPool,
    rows: Path,
    expected: Mapping[str, Any],
    tmp_path: Path,
) -> None:
    cluster = request.getfixturevalue(kind)
    output = tmp_path / "out"
    ended = harmed(pool.kill_worker, cluster, pool, rows, output)
    absent_or_complete(ended, output, rows, expected)


def test_a_task_manager_of_flink_is_killed(
    flink: FlinkCluster,
    pool: WorkerPool,
    rows: Path,
    expected: Mapping[str, Any],
    tmp_path: Path,
) -> None:
    output = tmp_path / "out"
    try:
        killed = flink.task_managers()[0]
        ended = harmed(lambda: os.kill(killed, signal.SIGKILL), flink, pool, rows, output)
    finally:
        flink.replace_task_manager()
    absent_or_complete(ended, output, rows, expected)


def test_flink_repeats_what_was_lost_where_it_is_set_up_so(
    pool: WorkerPool, rows: Path, expected: Mapping[str, Any], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with RestartingFlink() as flink:
        ended = harmed(pool.kill_worker, flink, pool, rows, output)
    assert ended.program.code == 0, ended.said
    absent_or_complete(ended, output, rows, expected)


def test_an_executor_of_spark_is_killed(
    spark: SparkCluster,
    pool: WorkerPool,
    rows: Path,
    expected: Mapping[str, Any],
    tmp_path: Path,
) -> None:
    output = tmp_path / "out"
    ended = harmed(lambda: os.kill(spark.executors()[0], signal.SIGKILL), spark, pool, rows, output)
    absent_or_complete(ended, output, rows, expected)


def test_workers_that_hang_are_not_waited_for(
    flink: FlinkCluster,
    pool: WorkerPool,
    rows: Path,
    expected: Mapping[str, Any],
    tmp_path: Path,
) -> None:
    output = tmp_path / "out"

    def freeze() -> None:
        for pid in pool.workers():
            os.kill(pid, signal.SIGSTOP)

    # Workers that only start must not pass for hanging ones, on a busy machine neither.
    ended = harmed(freeze, flink, pool, rows, output, "--stall-timeout", "30")
    assert ended.program.code == 5, ended.said
    page = rf"{re.escape(flink.rest)}/#/job/running/[0-9a-f]+/overview"
    assert re.search(
        r"error: no further unit was finished for 30 s \((\d+) are\), so the job was cancelled\. "
        rf"It was RUNNING: Flink's job reasonforge-\S+, see {page}; look there for what it "
        "waits for, then go on with --resume",
        ended.said,
    ), ended.said
    pool.stop()
    run([*words(rows, output), "--resume", str(output)], os.environ)
    assert differing(without_run(files_of(output)), expected) == []
