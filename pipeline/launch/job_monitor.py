"""What a runner says of a job: its own state of it, and the page that shows it."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SparkRunnerOptions,
)
from apache_beam.runners.runner import PipelineState

from pipeline.launch.flink import FlinkCluster
from transforms.errors import RunnerFailed
from transforms.text.addresses import shown_address

_SECONDS = 10.0


def is_on_cluster(options: PipelineOptions, state: str) -> bool:
    """Will the job go on without the launcher?"""
    master = flink_master(options)
    if master:
        # Beam says "running" as soon as the job server begins to send the job.
        return FlinkCluster(master).job(job_name(options)) is not None
    return state in (PipelineState.RUNNING, PipelineState.DONE)


def cancel(options: PipelineOptions) -> None:
    """Ends the job on its cluster: Beam's job server for Flink ends its own part only."""
    master = flink_master(options)
    job = FlinkCluster(master).job(job_name(options)) if master else None
    if master and job and job[1] not in ("FINISHED", "FAILED", "CANCELED"):
        FlinkCluster(master).cancel(job[0])


def job_page(options: PipelineOptions) -> str:
    """The job's name and its page, for a user."""
    name, master = job_name(options), flink_master(options)
    if master:
        cluster = FlinkCluster(master)
        job = cluster.job(name)
        return f"Flink's job {name}, see {cluster.page(job[0]) if job else cluster.address}"
    spark = options.view_as(SparkRunnerOptions).spark_master_url
    if spark.startswith("spark://"):
        page = f"http://{urlsplit(spark).hostname}:8080"
        return f"Spark's application {name}, see the master's page, usually {page}"
    endpoint = options.view_as(PortableOptions).job_endpoint
    return f"the job {name}" + (f" of the job server at {endpoint}" if endpoint else "")


def describe_job(options: PipelineOptions, state: str) -> str:
    """The job's state by its runner, or by Beam (``state``), and its page."""
    master = flink_master(options)
    try:
        job = FlinkCluster(master).job(job_name(options)) if master else None
        return f"{job[1] if job else state}: {job_page(options)}"
    except RunnerFailed as error:
        return f"{state} by Beam, but {error}"


def job_name(options: PipelineOptions) -> str:
    """The name under which a runner shows the job."""
    return str(options.view_as(GoogleCloudOptions).job_name)


def flink_master(options: PipelineOptions) -> str | None:
    """The address of the Flink cluster that the options name; None where they name none."""
    master = str(options.view_as(FlinkRunnerOptions).flink_master)
    return None if master.startswith("[") else master


def check_reachable(address: str, flag: str) -> None:
    """``RunnerFailed`` unless somebody listens at ``host:port``; Beam would wait for minutes."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), _SECONDS):
            return
    except (OSError, ValueError) as error:
        raise RunnerFailed(
            f"nobody listens at {flag} {shown_address(address, is_address=True)} ({error}); check "
            "the address, and that it can be reached from this machine"
        ) from error
