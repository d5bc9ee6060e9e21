"""Workers on hosts that share no folder with this machine or with each other."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_hosts import FlinkOnHosts, Hosts, PoolOnHosts, hosts  # noqa: F401 - a fixture
from cluster_runs import differing, files_of, run
from means import REPOSITORY
from s3_runs import stored, without_run
from s3_servers import S3Server, Toxiproxy

pytestmark = pytest.mark.clusters

# All hosts have it: it is a part of this project.
SAMPLE = REPOSITORY / "pipeline" / "sample" / "reasoning.jsonl"


@pytest.fixture
def environment(hosts: Hosts, s3_server: S3Server, toxiproxy: Toxiproxy) -> dict[str, str]:  # noqa: F811
    """That of the launcher and the workers; the S3 server is where the hosts reach it."""
    way = toxiproxy.proxy(s3_server.endpoint, hosts.address)
    return {
        **s3_server.environment(endpoint=way.endpoint),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), f"127.0.0.1,localhost,{hosts.address}"),
    }


@pytest.fixture
def flink_on_hosts(hosts: Hosts) -> Iterator[FlinkOnHosts]:  # noqa: F811
    with FlinkOnHosts(hosts) as flink:
        yield flink


@pytest.fixture
def pool(hosts: Hosts, environment: dict[str, str]) -> Iterator[PoolOnHosts]:  # noqa: F811
    pool = PoolOnHosts(hosts, environment)
    yield pool
    pool.stop()


def test_a_local_output_is_refused_and_s3_works(
    flink_on_hosts: FlinkOnHosts,
    pool: PoolOnHosts,
    environment: dict[str, str],
    s3_server: S3Server,
    bucket: str,
    tmp_path: Path,
) -> None:
    parts = (flink_on_hosts, pool)
    words = ["--dataset", str(SAMPLE), "--skip-upload"]
    local = ["--output", str(tmp_path / "out")]
    cluster = [*flink_on_hosts.flags(), *pool.flags()]

    said = run([*words, *local, *cluster], environment, *parts, expected=2)
    assert "works on other machines, each of which would write to its own disk" in said

    shared = [*words, *local, "--shared-filesystem", *cluster]
    said = run(shared, environment, *parts, expected=5)
    refusal = r"error: the worker on \S+ cannot write the output: .*same file system"
    assert re.search(refusal, said), said
    assert [path.name for path in tmp_path.iterdir() if path.name != ".out.lock"] == []

    uri = f"s3://{bucket}/sets/one"
    said = run([*words, "--output", uri, *cluster], environment, *parts)
    assert "✓ Worker on " in said
    run([*words, *local], os.environ)
    found = without_run(stored(s3_server, uri))
    assert differing(found, without_run(files_of(tmp_path / "out"))) == []
