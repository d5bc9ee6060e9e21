"""What a Flink tells of itself by its web page, and the sentence where none answers."""

from __future__ import annotations

from typing import Any

import pytest
from flink_page import FlinkPage

from pipeline.launch.flink import FlinkCluster
from transforms.errors import RunnerFailed


@pytest.fixture
def cluster(flink_page: FlinkPage) -> FlinkCluster:
    return FlinkCluster(flink_page.address)


@pytest.mark.parametrize(
    ("told", "version"), [("1.19.3", "1.19"), ("2.0.0", "2.0"), ("1.20-SNAPSHOT", "1.20-SNAPSHOT")]
)
def test_the_version_has_two_parts(
    cluster: FlinkCluster, flink_page: FlinkPage, told: str, version: str
) -> None:
    flink_page.overview["flink-version"] = told
    assert cluster.version() == version


def test_the_slots_are_those_of_all_machines(cluster: FlinkCluster, flink_page: FlinkPage) -> None:
    assert cluster.slots() == 6
    flink_page.overview["slots-total"] = 0
    assert cluster.slots() == 0


def test_of_a_name_the_newest_job_counts(cluster: FlinkCluster, flink_page: FlinkPage) -> None:
    assert cluster.job("mine") is None
    flink_page.add_job("mine", "a1", "FAILED", 1000)
    flink_page.add_job("mine", "b2", "RUNNING", 3000)
    flink_page.add_job("mine", "c3", "FINISHED", 2000)
    flink_page.add_job("another", "d4", "RUNNING", 4000)
    assert cluster.job("mine") == ("b2", "RUNNING")
    assert cluster.job("min") is None


@pytest.mark.parametrize("before", ["", "http://"])
def test_the_address_may_be_given_with_http_or_without(flink_page: FlinkPage, before: str) -> None:
    cluster = FlinkCluster(before + flink_page.address)
    assert cluster.version() == "1.19"
    assert cluster.page("b2") == f"http://{flink_page.address}/#/job/running/b2/overview"


def refused(cluster: FlinkCluster) -> None:
    """Whatever is asked gives the same sentence."""
    for ask in (cluster.version, cluster.slots, lambda: cluster.job("mine")):
        with pytest.raises(RunnerFailed, match=r"no Flink answers at .*--flink_master") as caught:
            ask()
        assert cluster.address in str(caught.value)
        assert caught.value.exit_code == 5


def test_nobody_listens(flink_page: FlinkPage) -> None:
    flink_page.stop()
    refused(FlinkCluster(flink_page.address))


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (500, '{"flink-version": "1.19.3", "slots-total": 6, "jobs": []}'),
        (404, "not found"),
        (200, "<html><body>Spark Master</body></html>"),
        (200, "[]"),  # JSON of another program
        (200, '{"flink-version": null, "slots-total": null, "jobs": null}'),
        (200, '{"message": "hello"}'),
    ],
)
def test_another_program_answers(
    cluster: FlinkCluster, flink_page: FlinkPage, status: int, text: str
) -> None:
    flink_page.status, flink_page.text = status, text
    refused(cluster)


@pytest.mark.parametrize("master", ["", "not a host:x", "http://", "127.0.0.1:99999"])
def test_an_address_that_is_none(master: Any) -> None:
    refused(FlinkCluster(master))
