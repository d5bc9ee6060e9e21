"""Jobs that nobody waits for: the launcher is gone, and the set is published by the job itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cluster_runs import command, differing, files_of, run
from cluster_workers import WorkerPool
from clusters import FlinkCluster, JobServer, SparkCluster
from s3_runs import stored, without_run
from s3_servers import S3Server

from pipeline.dataset.status import COMPLETE, look
from transforms.storage.claim import SUBMITTED
from transforms.storage.s3.uri import S3Options

pytestmark = pytest.mark.clusters


@pytest.fixture(scope="module")
def words(shared_data: Callable[[str], Path]) -> list[str]:
    return ["--dataset", str(shared_data("gsm8k/train.jsonl")), "--shard-size", "1MiB"]


@pytest.fixture(scope="module")
def expected(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    output = tmp_path_factory.mktemp("expected") / "out"
    run([*words, "--output", str(output), "--skip-upload"], os.environ)
    return without_run(files_of(output))


def test_flink_finishes_a_set_on_a_shared_folder(
    flink: FlinkCluster,
    worker_pool: WorkerPool,
    words: list[str],
    expected: Mapping[str, Any],
    tmp_path: Path,
) -> None:
    output = tmp_path / "out"
    line = ["submit", *words, "--output", str(output), "--skip-upload", "--shared-filesystem"]
    line += ["--skip-worker-check", *flink.flags(), *worker_pool.flags()]
    with command(
        [*line, "--detach"], {**os.environ, **flink.environment}, flink, worker_pool
    ) as running:
        running.until("the job's name", lambda: "✓ Submitted: " in running.program.said)
        said = running.program.said
        running.program.kill()  # with its job server, before it can end by itself
    assert "✓ Submitted: Flink's job reasonforge-" in said
    assert f"{flink.rest}/#/job/running/" in said
    assert f"python -m pipeline status {output}" in said
    found = look(str(output), S3Options())
    assert found.state in (SUBMITTED, COMPLETE)
    assert found.units == 4
    if found.state == SUBMITTED:
        # The place is the job's until that has ended.
        said = run(line, os.environ, flink, expected=6)
        assert f"a submitted job writes {output}" in said
    flink.wait("the set", lambda: look(str(output), S3Options()).state == COMPLETE, 120)
    assert differing(without_run(files_of(output)), expected) == []


@pytest.fixture
def job_server(
    spark: SparkCluster,
) -> Iterator[JobServer]:
    """A job server that stays, as a team would run it beside its Spark."""
    with JobServer(spark) as server:
        yield server


def test_spark_finishes_a_set_on_s3(
    spark: SparkCluster,
    job_server: JobServer,
    s3_server: S3Server,
    bucket: str,
    words: list[str],
    expected: Mapping[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = f"s3://{bucket}/sets/one"
    environment = s3_server.environment()
    with WorkerPool(environment) as pool:
        line = ["submit", *words, "--output", uri, "--skip-worker-check", "--detach"]
        line += [*job_server.flags(), *pool.flags()]
        with command(line, environment, spark, job_server, pool) as running:
            running.until("the job's name", lambda: "✓ Submitted: " in running.program.said)
            assert f"of the job server at {job_server.endpoint}" in running.program.said
            running.program.kill()
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

        def complete() -> bool:
            return look(uri, S3Options()).state == COMPLETE

        job_server.programs.wait("the set", complete, 180)
    assert differing(without_run(stored(s3_server, uri)), expected) == []
    # Whoever asks again finds it, although nobody has given the place back.
    assert "✓ Already complete" in run([*words, "--output", uri], environment)
