"""Which runner does a job: Beam's options with our defaults, and which requests it refuses."""

from __future__ import annotations

import os
import re
from collections.abc import Set
from datetime import datetime, timezone
from typing import Any

from apache_beam.options.pipeline_options import (
    DirectOptions,
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
    SparkRunnerOptions,
    StandardOptions,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers
from apache_beam.runners.runner import create_runner
from apache_beam.version import __version__ as beam_version

from pipeline.launch.flink import FlinkCluster
from pipeline.launch.job_monitor import flink_master
from pipeline.request import Request
from transforms.errors import UsageError
from transforms.storage.s3.uri import is_s3

_HERE = ("directrunner", "direct", "fnapirunner")
_LOCAL_PRISM = "prismrunner"
_LOCAL_FLINK = ("[local]", "[auto]")
_LOCAL_SPARK = re.compile(r"local(\[.+\])?")
_NEVER_MS = 10**9  # eleven days
_LONGEST_JOB_SECONDS = 30 * 24 * 3600


class _Options(PipelineOptions):
    """Beam's options, each view of which is made once.

    Beam asks for some 300 views while a job is put together and run, and builds a parser for each:
    a quarter of a second, which is a quarter of a small job.  All views share their values.
    """

    def view_as(self, cls: type[Any]) -> Any:
        """These options as those of ``cls``."""
        views = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return views[cls]

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_views"}


def options_for(request: Request, units: int) -> PipelineOptions:
    """Beam's options for a request whose plan has a number of ``units``.

    Asks a Flink cluster for its version and its slots; ``RunnerFailed`` where it does not answer.
    """
    options = _Options(list(request.beam_args))
    given = {word.split("=")[0] for word in request.beam_args}
    if runner_name(options).lower() not in _HERE:
        return _Options([*request.beam_args, *_portable_defaults(options, given)])
    direct = options.view_as(DirectOptions)
    if "--direct_num_workers" not in given:
        # in_memory has one worker by definition, and a single unit has nothing to share.
        in_memory = "--direct_running_mode" in given and direct.direct_running_mode == "in_memory"
        alone = in_memory or units == 1
        direct.direct_num_workers = 1 if alone else len(os.sched_getaffinity(0))
    if "--direct_running_mode" not in given:
        # Arrow works outside the interpreter's lock, so threads beat processes here.
        alone = direct.direct_num_workers == 1
        direct.direct_running_mode = "in_memory" if alone else "multi_threading"
    return options


def _portable_defaults(options: PipelineOptions, given: Set[str]) -> list[str]:
    """Options that a user need not give: the cluster has them, or one value is sensible."""
    more = []
    if "--job_name" not in given:
        more.append(f"--job_name=reasonforge-{datetime.now(timezone.utc):%Y%m%d-%H%M%S-%f}")
    if "--job_server_timeout" not in given:
        # After it Beam breaks off the stream that reports a job's end: five minutes by default.
        more.append(f"--job_server_timeout={_LONGEST_JOB_SECONDS}")
    master = flink_master(options)
    if not master:
        return more
    if not {"--flink_version", "--flink_job_server_jar"} & given:
        more.append(f"--flink_version={_published(FlinkCluster(master).version())}")
    if options.view_as(PortableOptions).environment_type == "LOOPBACK":
        # Beam numbers workers anew in each TaskManager.  Two that share this command as their
        # workers would stop each other's, so one does the job, and all of it at once.
        return [*more, *(["--parallelism=1"] if "--parallelism" not in given else [])]
    slots = 0 if "--parallelism" in given else FlinkCluster(master).slots()
    if slots:  # none are there yet where a cluster starts its workers when a job asks for them
        more.append(f"--parallelism={slots}")  # Flink's own default is one task
    if "--execution_mode_for_batch" not in given:
        # A shuffle is whole before it is read, so that a lost task repeats its own stage alone.
        more.append("--execution_mode_for_batch=BATCH")
    return more


def _published(version: str) -> str:
    known = FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS
    if version in known:
        return version
    raise UsageError(
        f"the cluster is a Flink {version}, but Apache Beam {beam_version} has job servers for "
        f"{', '.join(known)} only; give --flink_version and --flink_job_server_jar of one that fits"
    )


def runner_for(options: PipelineOptions) -> Any:
    """The runner that the options name; ``UsageError`` for one that Beam does not have."""
    name = runner_name(options)
    if name.lower() in _HERE:
        # A worker thread's output is flushed each second by another thread, which takes what is
        # there and then clears it: an element that is written in between is lost (Beam 2.77,
        # worker/data_plane.py).  Flushed by size, as workers on clusters do, none is.
        worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = _NEVER_MS
        # DirectRunner itself would first try to download and start Prism.
        return FnApiRunner()
    try:
        return create_runner(name)
    except (ValueError, ImportError) as error:
        raise UsageError(f"--runner {name} cannot be used: {error}") from error


def check_place(request: Request, options: PipelineOptions) -> None:
    """``UsageError`` for a local output that workers elsewhere would write to their own disks.

    The run would end well, and the set would be nowhere, or in pieces.
    """
    if is_s3(request.output) or request.shared_filesystem or not works_elsewhere(options):
        return
    raise UsageError(
        f"--output {request.output} is a local folder, but {runner_name(options)} works on other "
        "machines, each of which would write to its own disk; give an s3:// address, or, if the "
        "path is one and the same file system on all of them, add --shared-filesystem"
    )


def check_detachable(request: Request, options: PipelineOptions) -> None:
    """``UsageError`` for a job that would end with this command."""
    if request.uploads:
        raise UsageError(
            "--detach returns before there is anything to upload; give an s3:// output, which the "
            "workers write themselves, or --skip-upload"
        )
    if not works_elsewhere(options):
        raise UsageError(
            f"--detach leaves the job to a cluster, but {runner_name(options)} with these options "
            "works in this command itself; name a cluster, as --runner=FlinkRunner "
            "--flink_master=HOST:8081 --environment_type=EXTERNAL does"
        )
    spark = options.view_as(SparkRunnerOptions)
    alone = options.view_as(PortableOptions).job_endpoint or spark.spark_submit_uber_jar
    if runner_name(options).lower() == "sparkrunner" and not alone:
        raise UsageError(
            "Spark's driver lives in the job server, which SparkRunner starts in this command and "
            "stops with it; for --detach start one that stays (see the README) and give "
            "--runner=PortableRunner --job_endpoint=HOST:PORT"
        )


def works_elsewhere(options: PipelineOptions) -> bool:
    """May the workers run on other machines than this one?"""
    name = runner_name(options).lower()
    if name in (*_HERE, _LOCAL_PRISM):
        return False
    if options.view_as(PortableOptions).environment_type == "LOOPBACK":
        return False  # the workers are threads of this process
    if name == "flinkrunner":
        return options.view_as(FlinkRunnerOptions).flink_master not in _LOCAL_FLINK
    if name == "sparkrunner":
        master = options.view_as(SparkRunnerOptions).spark_master_url
        return not _LOCAL_SPARK.fullmatch(master)
    return True


def runner_name(options: PipelineOptions) -> str:
    """The runner's name as the user gave it."""
    return options.view_as(StandardOptions).runner or "DirectRunner"
