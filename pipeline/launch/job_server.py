"""The way to a cluster: what is checked, shipped and started before a job can go there."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from apache_beam.options.pipeline_options import (
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    SparkRunnerOptions,
    WorkerOptions,
)
from apache_beam.runners.portability.portable_runner import PortableRunner

from pipeline.launch.job_monitor import check_reachable
from pipeline.launch.runners import runner_name, works_elsewhere
from transforms.errors import RunnerFailed, UsageError


@contextmanager
def connected(runner: Any, options: PipelineOptions) -> Iterator[None]:
    """Jobs of this runner can be handed over while the body runs.

    Raises ``RunnerFailed`` where the cluster or its job server cannot be reached or started.
    """
    if not isinstance(runner, PortableRunner):
        yield
        return
    endpoint = options.view_as(PortableOptions).job_endpoint
    spark = options.view_as(SparkRunnerOptions).spark_master_url
    if endpoint:
        check_reachable(endpoint, "--job_endpoint")
    if spark.startswith("spark://"):
        check_reachable(spark, "--spark_master_url")
    with tempfile.TemporaryDirectory(prefix="reasonforge-") as folder:
        if _lacks_the_project(options):
            from pipeline.launch.wheel import make_wheel  # few jobs need it

            setup = options.view_as(SetupOptions)
            setup.extra_packages = [*(setup.extra_packages or ()), str(make_wheel(Path(folder)))]
        with _job_server(runner, options) if not endpoint else nullcontext():
            yield


def _lacks_the_project(options: PipelineOptions) -> bool:
    """Will the workers run in Beam's own image, in which this project is not?"""
    portable = options.view_as(PortableOptions)
    named = portable.environment_config or portable.environment_options
    image = options.view_as(WorkerOptions).sdk_container_image
    docker = portable.environment_type in (None, "DOCKER")
    return works_elsewhere(options) and docker and not named and not image


@contextmanager
def _job_server(runner: PortableRunner, options: PipelineOptions) -> Iterator[None]:
    """One for all jobs; Beam would start one for each, and stop them when the process ends well."""
    before = signal.getsignal(signal.SIGINT)
    try:
        server = runner.default_job_server(options)
        server.start()
    except NotImplementedError as error:
        raise UsageError(str(error)) from error
    except FileNotFoundError as error:
        raise RunnerFailed(
            f"Beam's job server is a Java program, and {error.filename} is not there; install "
            "Java 17, or give --runner=PortableRunner --job_endpoint=HOST:PORT of one that runs"
        ) from error
    except Exception as error:
        raise RunnerFailed(
            f"Beam's job server for {runner_name(options)} does not start: {error}"
        ) from error
    finally:
        # Beam would stop it at the first signal, before the job can be cancelled.
        signal.signal(signal.SIGINT, before)
    runner.default_job_server = lambda _: server
    try:
        yield
    finally:
        with suppress(Exception):  # a program that is gone has stopped, too
            server.stop()
