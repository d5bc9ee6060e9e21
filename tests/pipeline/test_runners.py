"""Which runner does the job, with which options, and what is refused before it begins."""

from __future__ import annotations

import pickle
import re
import threading
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.worker.data_plane import PeriodicThread
from flink_page import FlinkPage

from pipeline.cli.main import parse
from pipeline.launch.runners import (
    check_detachable,
    check_place,
    options_for,
    runner_for,
    works_elsewhere,
)
from pipeline.request import Request
from transforms.errors import RunnerFailed, UsageError

FLUSHERS: list[float] = []
"""Seconds between flushes of each thread that flushes what others write, while a worker works."""


def test_beams_options_are_parsed_once_and_their_views_share_values() -> None:
    options = options_for(request("out", "--direct_num_workers=3"), 3)
    view = options.view_as(DirectOptions)
    assert options.view_as(DirectOptions) is view and view.direct_num_workers == 3
    view.direct_num_workers = 5
    assert options.view_as(StandardOptions).view_as(DirectOptions).direct_num_workers == 5
    copy = pickle.loads(pickle.dumps(options))
    assert copy.view_as(DirectOptions).direct_num_workers == 5


def _note_flushers(element: int) -> int:
    for thread in threading.enumerate():
        if isinstance(thread, PeriodicThread) and "flush" in thread._function.__qualname__:
            FLUSHERS.append(thread._interval)
    return element


def test_no_thread_flushes_what_another_one_writes() -> None:
    """Beam's would lose what is written while it does: some rows' hashes in 4 million, at times."""
    words = ["--direct_running_mode=multi_threading", "--direct_num_workers=2"]
    options = PipelineOptions(words)
    with beam.Pipeline(runner=runner_for(options), options=options) as pipeline:
        _ = (
            pipeline
            | beam.Create(range(4))
            | beam.Map(_note_flushers)
            | beam.Map(lambda n: (n, n))
            | beam.GroupByKey()
        )
    assert FLUSHERS and min(FLUSHERS) > 24 * 3600


# With these two nothing is asked of a cluster.
FLINK = ("--runner=FlinkRunner", "--flink_master=flink:8081", "--flink_version=1.19",
         "--parallelism=2")  # fmt: skip


def request(output: str, *words: str, shared: bool = False, upload: bool = False) -> Request:
    return Request(
        dataset="x.jsonl", output=output, skip_upload=not upload, beam_args=words,
        shared_filesystem=shared,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "elsewhere"),
    [
        ((), False),
        (("--runner=DirectRunner",), False),
        (("--runner=PrismRunner",), False),
        (("--runner=FlinkRunner",), False),  # an embedded Flink
        (("--runner=FlinkRunner", "--flink_master=[local]"), False),
        (FLINK, True),
        ((*FLINK, "--environment_type=LOOPBACK"), False),
        (("--runner=SparkRunner",), False),
        (("--runner=SparkRunner", "--spark_master_url=local[2]"), False),
        (("--runner=SparkRunner", "--spark_master_url=spark://spark:7077"), True),
        (("--runner=PortableRunner", "--job_endpoint=flink:8099"), True),
        (("--runner=DataflowRunner",), True),
    ],
)
def test_a_local_output_is_refused_where_workers_are_elsewhere(
    tmp_path: Path, words: tuple[str, ...], elsewhere: bool
) -> None:
    local = str(tmp_path / "out")
    asked = request(local, *words)
    options = options_for(asked, 3)
    assert works_elsewhere(options) == elsewhere
    check_place(request("s3://bucket/prefix", *words), options)
    check_place(request(local, *words, shared=True), options)
    if elsewhere:
        with pytest.raises(UsageError, match="--shared-filesystem"):
            check_place(asked, options)
    else:
        check_place(asked, options)


def options(*words: str) -> dict[str, Any]:
    """All options of a request with these words for Beam."""
    return options_for(request("s3://bucket/prefix", *words), 3).get_all_options(
        retain_unknown_options=True
    )


class TestFlinkDefaults:
    @pytest.fixture
    def words(self, flink_page: FlinkPage) -> tuple[str, ...]:
        return ("--runner=FlinkRunner", f"--flink_master={flink_page.address}")

    def test_the_cluster_tells_its_version_and_slots(self, words: tuple[str, ...]) -> None:
        found = options(*words)
        assert found["flink_version"] == "1.19"
        assert found["parallelism"] == 6
        assert found["execution_mode_for_batch"] == "BATCH"

    def test_no_slots_say_nothing(self, words: tuple[str, ...], flink_page: FlinkPage) -> None:
        without = options(*words[:1])["parallelism"]
        flink_page.overview["slots-total"] = 0
        assert options(*words)["parallelism"] == without

    def test_workers_that_are_this_command_are_of_one_machine(self, words: tuple[str, ...]) -> None:
        loopback = (*words, "--environment_type=LOOPBACK")
        assert options(*loopback)["parallelism"] == 1
        assert options(*loopback, "--parallelism=3")["parallelism"] == 3

    @pytest.mark.parametrize("joined", [True, False])
    def test_what_the_user_gives_wins(
        self, words: tuple[str, ...], flink_page: FlinkPage, joined: bool
    ) -> None:
        given = {
            "flink_version": "1.20",
            "parallelism": "3",
            "execution_mode_for_batch": "PIPELINED",
            "job_name": "mine",
            "job_server_timeout": "5",
        }
        more = [f"--{name}={value}" for name, value in given.items()]
        if not joined:
            more = [word for name, value in given.items() for word in (f"--{name}", value)]
        found = options(*words, *more)
        assert {name: str(found[name]) for name in given} == given
        assert flink_page.asked == []

    def test_a_job_server_of_the_user_s_own_has_its_version(
        self, words: tuple[str, ...], flink_page: FlinkPage
    ) -> None:
        flink_page.overview["flink-version"] = "1.7.2"
        assert options(*words, "--flink_job_server_jar=/own.jar")["parallelism"] == 6

    def test_a_version_without_a_job_server(
        self, words: tuple[str, ...], flink_page: FlinkPage
    ) -> None:
        flink_page.overview["flink-version"] = "1.7.2"
        with pytest.raises(UsageError, match=r"is a Flink 1\.7, .* 1\.19, 1\.20, 2\.0.* only"):
            options(*words)

    def test_a_cluster_that_does_not_answer(
        self, words: tuple[str, ...], flink_page: FlinkPage
    ) -> None:
        flink_page.status = 503
        with pytest.raises(RunnerFailed, match="--flink_master"):
            options(*words)

    @pytest.mark.parametrize("more", [(), ("--flink_master=[local]",), ("--flink_master=[auto]",)])
    def test_an_embedded_one_is_not_asked(self, more: tuple[str, ...]) -> None:
        assert "execution_mode_for_batch" not in options("--runner=FlinkRunner", *more)


@pytest.mark.parametrize(
    "words",
    [
        ("--runner=PrismRunner",),
        ("--runner=SparkRunner", "--spark_master_url=spark://spark:7077"),
        ("--runner=PortableRunner", "--job_endpoint=flink:8099"),
        FLINK,
    ],
)
def test_a_job_elsewhere_has_a_name_of_its_own_and_is_waited_for(words: tuple[str, ...]) -> None:
    found = options(*words)
    # As Dataflow, Kubernetes and file names take it.
    assert re.fullmatch(r"reasonforge-\d{8}-\d{6}-\d{6}", found["job_name"])
    assert found["job_server_timeout"] >= 7 * 24 * 3600
    assert options(*words)["job_name"] != found["job_name"]


@pytest.mark.parametrize("words", [(), ("--runner=DirectRunner",), ("--runner=direct",)])
def test_a_job_here_needs_none_of_it(words: tuple[str, ...]) -> None:
    plain = PipelineOptions([]).get_all_options()
    found = options(*words)
    for name in ("job_name", "job_server_timeout", "flink_version", "parallelism"):
        assert found[name] == plain[name]
    assert "execution_mode_for_batch" not in found


class TestDetach:
    def refused(self, asked: Request, reason: str) -> None:
        with pytest.raises(UsageError, match=reason):
            check_detachable(asked, options_for(asked, 3))

    @pytest.mark.parametrize(
        "words",
        [
            FLINK,
            ("--runner=PortableRunner", "--job_endpoint=spark:8099"),
            ("--runner=SparkRunner", "--spark_master_url=spark://s:7077", "--job_endpoint=s:8099"),
            (
                "--runner=SparkRunner",
                "--spark_master_url=spark://s:7077",
                "--spark_submit_uber_jar",
            ),
        ],
    )
    def test_a_cluster_goes_on_alone(self, words: tuple[str, ...]) -> None:
        asked = request("s3://bucket/prefix", *words)
        check_detachable(asked, options_for(asked, 3))

    def test_an_upload_would_follow(self) -> None:
        self.refused(request("out", *FLINK, shared=True, upload=True), "--skip-upload")

    @pytest.mark.parametrize(
        "words",
        [
            (),
            ("--runner=PrismRunner",),
            ("--runner=FlinkRunner",),
            (*FLINK, "--environment_type=LOOPBACK"),
            ("--runner=SparkRunner", "--spark_master_url=local[2]"),
        ],
    )
    def test_the_work_is_done_in_this_command(self, words: tuple[str, ...]) -> None:
        self.refused(request("s3://bucket/prefix", *words), "works in this command itself")

    def test_spark_s_driver_would_end_with_this_command(self) -> None:
        words = ("--runner=SparkRunner", "--spark_master_url=spark://spark:7077")
        self.refused(request("s3://bucket/prefix", *words), "Spark's driver.*--job_endpoint")


class TestFlagsOfJobServers:
    """Beam learns them from a job server, but a misspelt one must be found before that."""

    @pytest.mark.parametrize(
        "words",
        [
            ("--bundle_size=3",),
            ("--bundle_size", "3"),
            ("--execution_mode_for_batch=PIPELINED", "--object_reuse=true"),
        ],
    )
    def test_pass(self, words: tuple[str, ...]) -> None:
        _, _, asked = parse(["--skip-upload", *FLINK, *words])
        assert asked.beam_args == (*FLINK, *words)

    def test_reach_the_job(self) -> None:
        found = options(*FLINK, "--bundle_size=3")
        assert str(found["bundle_size"]) == "3"

    @pytest.mark.parametrize(
        ("word", "meant"),
        [
            ("--bundle_sizes=3", "--bundle_size"),
            ("--execution-mode-for-batch=BATCH", "--execution_mode_for_batch"),
            ("--execution_mode_for_batches=BATCH", "--execution_mode_for_batch"),
            ("--flink_masters=x", "--flink_master"),
        ],
    )
    def test_misspelt_are_refused(self, word: str, meant: str) -> None:
        with pytest.raises(UsageError, match=f"did you mean {meant}\\?"):
            parse(["--skip-upload", *FLINK, word])
