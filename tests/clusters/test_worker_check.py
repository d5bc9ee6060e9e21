"""Workers that cannot do the job: each gets its sentence, before the job, and nothing hangs."""

from __future__ import annotations

import os
import re
import shutil
import sys
import sysconfig
import venv
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import pytest
from cluster_runs import run
from cluster_workers import WorkerPool
from clusters import FlinkCluster, SparkCluster
from means import REPOSITORY
from s3_faults import SmallDisk, small_disk_fixture  # noqa: F401 - pytest finds the fixture
from s3_servers import S3Server

pytestmark = pytest.mark.clusters

OWN = "reasonforge-data-prep"
BEAM = "apache-beam"


@pytest.fixture
def words(shared_data: Callable[[str], Path], tmp_path: Path) -> list[str]:
    """A command to a folder that the machines share, but for the cluster and its workers."""
    output = tmp_path / "out"
    source = shared_data("gsm8k/test.jsonl")
    words = ["--dataset", str(source), "--skip-upload", "--shard-size", "1MiB"]
    return [*words, "--output", str(output), "--shared-filesystem"]


def nothing_is_left(folder: Path) -> bool:
    return [path.name for path in folder.iterdir() if path.name != ".out.lock"] == []


def refused(
    words: Sequence[str],
    cluster: FlinkCluster | SparkCluster,
    pool: WorkerPool,
    expected: int = 5,
    environment: dict[str, str] | None = None,
) -> str:
    """The error of a command that is refused."""
    whole = {**(environment or os.environ), **cluster.environment}
    said = run([*words, *cluster.flags(), *pool.flags()], whole, cluster, pool, expected=expected)
    assert "✓ Worker on" not in said
    return said[said.index("error: ") :]


def row(name: str, here: str, there: str) -> re.Pattern[str]:
    """A line of the table, of something that does not fit."""
    return re.compile(rf"^  ✗ {re.escape(name)} +{re.escape(here)} +{re.escape(there)}$", re.M)


def test_without_the_project(
    flink: FlinkCluster, words: list[str], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=False, symlinks=True)
    here, there = (sysconfig.get_path("purelib", vars={"base": str(base), "platbase": str(base)})
                   for base in (sys.prefix, home))  # fmt: skip
    # All packages, but not the finder by which an editable install is found.
    Path(there, "packages.pth").write_text(f"{here}\n")
    with WorkerPool(python=home / "bin" / "python") as pool:
        error = refused(words, flink, pool)
    assert re.match(rf"error: the worker on \S+ has no {OWN}:\n", error)
    assert row(OWN, version(OWN), "missing").search(error)
    assert not row(BEAM, version(BEAM), version(BEAM)).search(error)
    assert f"pip install {OWN}=={version(OWN)}" in error
    assert nothing_is_left(tmp_path)


def test_with_another_version_of_it(spark: SparkCluster, words: list[str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    for package in ("pipeline", "transforms"):
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / package, other / package, ignore=skipped)
    (other / "pipeline" / "story.py").write_text("# another story\n")
    about = other / f"{OWN.replace('-', '_')}-0.0.9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {OWN}\nVersion: 0.0.9\n")
    with WorkerPool({**os.environ, "PYTHONPATH": str(other)}) as pool:
        error = refused(words, spark, pool)
    assert re.match(r"error: the worker on \S+ is not like this machine:\n", error)
    assert row(OWN, version(OWN), "0.0.9").search(error)
    assert re.search(r"^  ✗ code +[0-9a-f]{12} +[0-9a-f]{12}$", error, re.M)
    shutil.rmtree(other)
    assert nothing_is_left(tmp_path)


def test_without_credentials(
    flink: FlinkCluster,
    s3_server: S3Server,
    bucket: str,
    shared_data: Callable[[str], Path],
) -> None:
    uri = f"s3://{bucket}/sets/one"
    words = ["--dataset", str(shared_data("gsm8k/test.jsonl")), "--output", uri]
    theirs = s3_server.environment()
    del theirs["AWS_ACCESS_KEY_ID"], theirs["AWS_SECRET_ACCESS_KEY"]
    with WorkerPool(theirs) as pool:
        error = refused(words, flink, pool, 4, s3_server.environment())
    assert re.match(r"error: the worker on \S+ cannot write the output: .*credentials", error)
    assert s3_server.keys(bucket, "sets/one/train") == []


def test_with_a_full_temporary_disk(
    spark: SparkCluster,
    s3_server: S3Server,
    bucket: str,
    shared_data: Callable[[str], Path],
    small_disk: SmallDisk,  # noqa: F811
) -> None:
    source = str(shared_data("gsm8k/test.jsonl"))
    words = ["--dataset", source, "--output", f"s3://{bucket}/sets/one", "--shard-size", "1MiB"]
    small_disk.leave(5 * 2**20)
    with WorkerPool(s3_server.environment(), temporary=small_disk.path) as pool:
        error = refused(words, spark, pool, 5, s3_server.environment())
    found = re.match(
        r"error: the worker on \S+ has (\d+) MiB free in (\S+), where shards wait until they are "
        r"published, but needs 67 MiB; make room, give it another temporary folder with TMPDIR, "
        r"or choose a smaller --shard-size",
        error,
    )
    assert found, error
    assert int(found[1]) <= 5
    assert Path(found[2]) == small_disk.path
    assert s3_server.keys(bucket, "sets/one/train") == []


def test_that_never_start(flink: FlinkCluster, words: list[str], tmp_path: Path) -> None:
    """Beam itself is not there: each worker ends at once, and Beam waits for it for ever."""
    bare = tmp_path / "bin"
    bare.mkdir()
    (bare / "python").write_text(f'#!/bin/sh\nexec {sys._base_executable} -I "$@"\n')
    (bare / "python").chmod(0o755)
    with WorkerPool(path=bare) as pool:
        error = refused([*words, "--start-timeout", "30"], flink, pool)
    shutil.rmtree(bare)
    job = rf"{re.escape(flink.rest)}/#/job/running/([0-9a-f]+)/overview"
    found = re.match(
        r"error: no worker has finished a first small task within 30 s, so the job was cancelled\. "
        rf"It was RUNNING: Flink's job reasonforge-\S+, see {job}; look there",
        error,
    )
    assert found, error
    assert "needs apache-beam" in error

    def is_gone() -> bool:
        (job,) = (one for one in flink.get("/jobs/overview")["jobs"] if one["jid"] == found[1])
        return job["state"] == "CANCELED"

    flink.wait("the job's end", is_gone, 60)
    assert nothing_is_left(tmp_path)
