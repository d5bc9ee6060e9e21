"""The same bytes everywhere: three sets, six runners, a folder and S3."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from _pytest.mark import ParameterSet
from cluster_pages import pages
from cluster_runs import command, differing, files_of, run
from cluster_workers import WorkerPool
from clusters import FlinkCluster, SparkCluster
from made_tokenizers import byte_bpe
from s3_runs import stored, without_run
from s3_servers import ROOT_SECRET, S3Server

pytestmark = pytest.mark.clusters

Cluster = FlinkCluster | SparkCluster

CANARY = "hf_canaryThatNoPageMayShow"
ROWS = 400_000
DIRECT = ("in_memory", "multi_threading", "multi_processing")
SOURCES = ("gsm8k", "alpaca", "generated")


def pairwise(*runners: str) -> Iterator[ParameterSet]:
    """Source, runner and place: each two of them meet; the rest of the product is ``nightly``."""
    product = itertools.product(enumerate(SOURCES), enumerate(runners), enumerate(("folder", "s3")))
    for (i, source), (j, runner), (k, to) in product:
        marks = [pytest.mark.nightly] if (i + j + k) % 2 else []
        yield pytest.param(source, runner, to, marks=marks)


@dataclass(frozen=True)
class Source:
    """A data set, the flags that go with it, and its number of units."""

    path: Path
    flags: tuple[str, ...]
    units: int


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400,000 rows of every length, and one in a thousand that is a reject."""
    path = tmp_path_factory.mktemp("generated") / "rows.parquet"
    numbers = range(ROWS)
    questions = ["" if n % 1000 == 7 else f"Frage {n}, 漢字{' und' * (n % 17)}?" for n in numbers]
    answers = [f"Weil {n} 😀. " * (1 + n % 40) for n in numbers]
    table = pa.table({"question": questions, "answer": answers})
    pq.write_table(table, path, row_group_size=ROWS // 16)
    return path


@pytest.fixture(scope="module")
def source(
    request: pytest.FixtureRequest,
    shared_data: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Source:
    """The one of ``SOURCES`` that the test names."""
    if request.param == "gsm8k":
        # With all that is measured: the figures must be the same, too.
        test, tokenizer = shared_data("gsm8k/test.jsonl"), tmp_path_factory.mktemp("t") / "t.json"
        tokenizer.write_bytes(byte_bpe())
        flags = ("--dedup", "near", "--decontaminate", str(test), "--tokenizer", str(tokenizer))
        limit = ("--max-tokens", "700", "--too-long", "truncate-response")
        return Source(shared_data("gsm8k/train.jsonl"), ("--shard-size", "1MiB", *flags, *limit), 4)
    if request.param == "alpaca":
        path = shared_data("llama_factory_demo/alpaca_en_demo.json")
        # Jinja renders this one, in a child of each worker.
        return Source(path, ("--max-samples", "900", "--template", "qwen3"), 1)
    return Source(request.getfixturevalue("generated"), ("--shard-size", "16MiB"), 8)


@pytest.fixture(scope="module")
def expected(source: Source, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The set as one machine makes it, by default."""
    output = tmp_path_factory.mktemp("expected") / "out"
    run([*words_for(source), "--output", str(output)], os.environ)
    files = without_run(files_of(output))
    assert len([name for name in files if name.startswith("train/data-")]) >= source.units
    return files


def words_for(source: Source) -> list[str]:
    return ["--dataset", str(source.path), *source.flags, "--skip-upload"]


@pytest.fixture(scope="module")
def s3_workers(s3_server: S3Server) -> Iterator[WorkerPool]:
    """Workers that have the credentials of the S3 server, and a token for the hub."""
    with WorkerPool({**s3_server.environment(), "HF_TOKEN": CANARY}) as pool:
        yield pool


@pytest.mark.parametrize(
    ("source", "runner", "to"), pairwise(*DIRECT, "prism"), indirect=["source"]
)
def test_on_this_machine(
    source: Source,
    runner: str,
    to: str,
    expected: dict[str, Any],
    s3_server: S3Server,
    bucket: str,
    prism: tuple[str, ...],
    tmp_path: Path,
) -> None:
    flags = [f"--direct_running_mode={runner}", "--direct_num_workers=2"]
    if runner == "in_memory":
        flags = flags[:1]
    if runner == "prism":
        flags = [*prism]
    output = f"s3://{bucket}/sets/one" if to == "s3" else str(tmp_path / "out")
    run([*words_for(source), *flags, "--output", output], s3_server.environment())
    found = stored(s3_server, output) if to == "s3" else files_of(Path(output))
    assert differing(without_run(found), expected) == []


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """The one that the test names."""
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize(
    ("source", "cluster", "to"), pairwise("flink", "spark"), indirect=["source", "cluster"]
)
def test_on_a_cluster(
    source: Source,
    cluster: Cluster,
    to: str,
    expected: dict[str, Any],
    s3_workers: WorkerPool,
    s3_server: S3Server,
    bucket: str,
    tmp_path: Path,
) -> None:
    words = [*words_for(source), *cluster.flags(), *s3_workers.flags(), "--skip-worker-check"]
    output = f"s3://{bucket}/sets/one" if to == "s3" else str(tmp_path / "out")
    words += ["--output", output, *(["--shared-filesystem"] if to == "folder" else [])]
    environment = {**s3_server.environment(), **cluster.environment, "HF_TOKEN": CANARY}
    run(words, environment, cluster, s3_workers)
    found = stored(s3_server, output) if to == "s3" else files_of(Path(output))
    assert differing(without_run(found), expected) == []


@pytest.mark.parametrize("runner", ["flink", "flink inside", "spark inside"])
def test_threads_of_the_launcher_do_it_with_loopback(
    runner: str,
    request: pytest.FixtureRequest,
    shared_data: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    """On a Flink that is there, with one of its TaskManagers; and on those inside a job server."""
    cluster: Cluster = request.getfixturevalue(runner.split()[0])
    flags = [word for word in cluster.flags() if not word.startswith("--parallelism")]
    if runner.endswith("inside"):
        address = {"flink": "--flink_master=[local]", "spark": "--spark_master_url=local[2]"}
        replaced = address[runner.split()[0]]
        name = replaced.split("=")[0]
        flags = [replaced if word.startswith(f"{name}=") else word for word in flags]
    words = ["--dataset", str(shared_data("gsm8k/test.jsonl")), "--skip-upload"]
    alone, loopback = tmp_path / "alone", tmp_path / "loopback"
    run([*words, "--output", str(alone)], os.environ)
    words += ["--output", str(loopback), *flags, "--environment_type=LOOPBACK"]
    run(words, {**os.environ, **cluster.environment}, cluster)
    assert differing(without_run(files_of(loopback)), without_run(files_of(alone))) == []


@pytest.mark.parametrize("cluster", ["flink", "spark"], indirect=True)
def test_the_workers_are_asked_first_and_no_page_shows_a_secret(
    cluster: Cluster,
    s3_workers: WorkerPool,
    s3_server: S3Server,
    bucket: str,
    shared_data: Callable[[str], Path],
) -> None:
    """The one test that gives the cluster's address and the output, and nothing more."""
    words = ["submit", "--dataset", str(shared_data("gsm8k/train.jsonl")), "--shard-size", "1MiB"]
    words += ["--output", f"s3://{bucket}/sets/one", *cluster.flags(), *s3_workers.flags()]
    words = [word for word in words if not word.startswith("--parallelism")]
    environment = {**s3_server.environment(), **cluster.environment, "HF_TOKEN": CANARY}
    with command(words, environment, cluster, s3_workers) as running:
        running.until("the workers' answer", lambda: "✓ Worker on " in running.program.said)
        seen = pages(cluster)

        def driver_is_seen() -> bool:
            """The pages of Spark's driver, which has all settings, last as long as its job."""
            seen.update(pages(cluster))
            return any("/environment" in url for url in seen)

        if isinstance(cluster, SparkCluster):
            running.until("the driver's pages", driver_is_seen)
        said = running.end(0)
    assert re.search(r"✓ Worker on \S+: Python 3\.\d+\.\d+, apache-beam 2\.", said)
    seen |= pages(cluster)
    assert len(seen) >= 8
    assert any("reasonforge-" in text for text in seen.values()), "the job's own pages"
    secrets = (CANARY, ROOT_SECRET)
    assert [url for url, text in seen.items() if any(one in text for one in secrets)] == []
