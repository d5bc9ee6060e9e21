"""Runs a pipeline to its end on any runner: raises its errors, ends it when it stalls.

Beam waits for a portable job on a stream that breaks off after ``--job_server_timeout`` seconds,
and without that for ever; it leaves a job on its cluster when the launcher is stopped.  So this
module polls the state of a job instead, and cancels a job that it gives up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.runner import PipelineState

from pipeline.launch.job_monitor import cancel, describe_job, is_on_cluster, job_page
from transforms.errors import DataPrepError, RunnerFailed, from_worker

_POLL_SECONDS = 0.5
_TEXT_CHARS = 1500  # of what the runner says of a failure


class Watchdog(Protocol):
    """Watches a job that runs; ``hint`` is what to do about one that is late."""

    hint: str

    def late(self) -> str | None:
        """Why it is not worth waiting for the job any longer; None while it is."""


@dataclass
class Late:
    """The whole job may take ``seconds``; ``what`` has not happened when it takes longer."""

    seconds: float
    what: str
    hint: str = ""

    def __post_init__(self) -> None:
        self._began = time.monotonic()

    def late(self) -> str | None:
        if time.monotonic() - self._began < self.seconds:
            return None
        return f"{self.what} within {self.seconds:,.0f} s"


@dataclass
class Stalled:
    """``seconds`` may pass without a change of ``progress``, which counts finished units."""

    seconds: float
    progress: Callable[[], int]
    hint: str = "look there for what it waits for, then go on with --resume"

    def __post_init__(self) -> None:
        self._last, self._seen = time.monotonic(), -1

    def late(self) -> str | None:
        done = self.progress()
        if done != self._seen:
            self._last, self._seen = time.monotonic(), done
        if time.monotonic() - self._last < self.seconds:
            return None
        return f"no further unit was finished for {self.seconds:,.0f} s ({done:,} are)"


def execute(pipeline: beam.Pipeline, watchdog: Watchdog) -> None:
    """Runs a pipeline to its end.

    Cancels a job that the ``watchdog`` finds late, or that a signal interrupts.

    Raises:
        DataPrepError: The error that a worker raised; ``RunnerFailed`` with the runner's message
            where no error of ours is known.
    """
    options = pipeline.options
    result = start(pipeline)
    with _translated_errors(pipeline.runner), _cancelled_on_error(result, options):
        while not PipelineState.is_terminal(result.state):
            reason = watchdog.late()
            if reason:
                state = describe_job(options, result.state)
                raise RunnerFailed(
                    f"{reason}, so the job was cancelled. It was {state}; {watchdog.hint}"
                )
            time.sleep(_POLL_SECONDS)
        _end(result)


def start(pipeline: beam.Pipeline) -> Any:
    """Hands a pipeline to its runner, which may run it at once; returns Beam's result of it."""
    with _translated_errors(pipeline.runner):
        return pipeline.run()


def hand_over(pipeline: beam.Pipeline, seconds: float) -> str:
    """Leaves a pipeline to its cluster as soon as that has it; returns the job's name and page.

    Raises:
        RunnerFailed: The cluster has not taken the job after ``seconds``.
    """
    options = pipeline.options
    result = start(pipeline)
    watchdog = Late(seconds, "the cluster has not taken the job")
    with _translated_errors(pipeline.runner), _cancelled_on_error(result, options):
        while not PipelineState.is_terminal(result.state):
            if is_on_cluster(options, result.state):
                return job_page(options)
            reason = watchdog.late()
            if reason:
                raise RunnerFailed(f"{reason}. It is {describe_job(options, result.state)}")
            time.sleep(_POLL_SECONDS)
        _end(result)  # a cluster may show a job that failed at once, too
        return job_page(options)


def _end(result: Any) -> None:
    """Raises what made the job fail, if it did."""
    try:
        result.wait_until_finish()
    except Exception:
        # The stream of states may have broken off long ago.
        if result.state != PipelineState.DONE:
            raise


@contextmanager
def _cancelled_on_error(result: Any, options: PipelineOptions) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(Exception):  # it may be gone already
            if not PipelineState.is_terminal(result.state):
                result.cancel()
        with suppress(RunnerFailed):
            cancel(options)
        raise


@contextmanager
def _translated_errors(runner: Any) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        known = from_worker(str(error))
        if known is not None:
            raise known from error
        if isinstance(error, DataPrepError) or not isinstance(runner, PortableRunner):
            raise  # the launcher's own; or a bug in this process, whose traceback is worth having
        raise RunnerFailed(
            "the runner gave the job up and nothing was published; run again, or with --resume to "
            f"go on. It says:\n{str(error).strip()[-_TEXT_CHARS:]}"
        ) from error
