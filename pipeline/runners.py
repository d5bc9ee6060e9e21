"""Which runner does a job: Beam's options with our defaults, and what it must not be asked."""

from __future__ import annotations

import os
import re
from typing import Any

from apache_beam.options.pipeline_options import (
    DirectOptions,
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
    SparkRunnerOptions,
    StandardOptions,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import create_runner

from pipeline.request import Request
from transforms.errors import UsageError
from transforms.s3_place import is_s3

_HERE = ("directrunner", "direct", "fnapirunner")
_LOCAL_PRISM = "prismrunner"
_LOCAL_FLINK = ("[local]", "[auto]")
_LOCAL_SPARK = re.compile(r"local(\[.+\])?")


def options_for(request: Request, units: int) -> PipelineOptions:
    """Beam's options of a request that has so many units to do."""
    options = PipelineOptions(list(request.beam_args))
    direct = options.view_as(DirectOptions)
    asked = {word.split("=")[0] for word in request.beam_args}
    if "--direct_num_workers" not in asked:
        # in_memory has one worker by definition, and a single unit has nothing to share.
        in_memory = "--direct_running_mode" in asked and direct.direct_running_mode == "in_memory"
        alone = in_memory or units == 1
        direct.direct_num_workers = 1 if alone else len(os.sched_getaffinity(0))
    if "--direct_running_mode" not in asked:
        # Arrow works outside the interpreter's lock, so threads beat processes here.
        alone = direct.direct_num_workers == 1
        direct.direct_running_mode = "in_memory" if alone else "multi_threading"
    return options


def runner_for(options: PipelineOptions) -> Any:
    """The runner that the options name; ``UsageError`` for one that Beam does not have."""
    name = _name(options)
    if name.lower() in _HERE:
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
        f"--output {request.output} is a local folder, but {_name(options)} works on other "
        "machines, each of which would write to its own disk; give an s3:// address, or, if the "
        "path is one and the same file system on all of them, add --shared-filesystem"
    )


def works_elsewhere(options: PipelineOptions) -> bool:
    """May the workers run on other machines than this one?"""
    name = _name(options).lower()
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


def _name(options: PipelineOptions) -> str:
    return options.view_as(StandardOptions).runner or "DirectRunner"
