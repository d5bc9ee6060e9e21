"""Runs a pipeline to its end on any runner: errors told, stalls noticed, nothing left running.

Beam waits for a portable job on a stream that breaks off after ``--job_server_timeout`` seconds,
for ever otherwise, and leaves a job on its cluster when the launcher is stopped.  So the state is
asked for instead, as often as a user would look, and a job that is given up is cancelled.
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

from pipeline.launch.job_monitor import cancel, is_known, job_page, look_up
from transforms.errors import RunnerFailed, from_worker

_LOOK_SECONDS = 0.5
_TEXT_CHARS = 1500  # of what the runner says of a failure


class Watchdog(Protocol):
    """Looks at a job that runs; ``hint`` is what to do about one that is late."""

    hint: str

    def late(self) -> str | None:
        """Why the job is not to be waited for any longer; None while it is."""


@dataclass
class Late:
    """The whole job may take so many seconds; ``what`` has not happened when it took longer."""

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
    """So many seconds may pass without a change of ``progress``, which counts finished units."""

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
    """Runs it to its end.

    Raises the error that a worker raised, or ``RunnerFailed`` with what the runner says; a job that
    the ``watchdog`` finds late, or that a signal interrupts, is cancelled.
    """
    options = pipeline.options
    result = start(pipeline)
    with _ours_if_known(pipeline.runner), _cancelled_if_left(result, options):
        while not PipelineState.is_terminal(result.state):
            reason = watchdog.late()
            if reason:
                state = look_up(options, result.state)
                raise RunnerFailed(
                    f"{reason}, so the job was cancelled. It was {state}; {watchdog.hint}"
                )
            time.sleep(_LOOK_SECONDS)
        _end(result)


def start(pipeline: beam.Pipeline) -> Any:
    """Hands a pipeline to its runner, which may run it at once; Beam's result of it."""
    with _ours_if_known(pipeline.runner):
        return pipeline.run()


def hand_over(pipeline: beam.Pipeline, seconds: float) -> str:
    """Leaves a pipeline to its cluster as soon as that has it; the job's name and page.

    Raises ``RunnerFailed`` where it has not after so many seconds.
    """
    options = pipeline.options
    result = start(pipeline)
    patience = Late(seconds, "the cluster has not taken the job")
    with _ours_if_known(pipeline.runner), _cancelled_if_left(result, options):
        while not PipelineState.is_terminal(result.state):
            if is_known(options, result.state):
                return job_page(options)
            reason = patience.late()
            if reason:
                raise RunnerFailed(f"{reason}. It is {look_up(options, result.state)}")
            time.sleep(_LOOK_SECONDS)
        _end(result)  # a cluster may show a job that failed at once, too
        return job_page(options)


def _end(result: Any) -> None:
    """Raises what made the job fail, if it did."""
    try:
        result.wait_until_finish()
    except Exception:
        # The stream that tells the state may have broken off long ago.
        if result.state != PipelineState.DONE:
            raise


@contextmanager
def _cancelled_if_left(result: Any, options: PipelineOptions) -> Iterator[None]:
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
def _ours_if_known(runner: Any) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        kind = type(error)
        # One of ours, too, where the worker is this process: Beam has added the step to its text.
        known = from_worker(f"{kind.__module__}.{kind.__name__}: {error}")
        if known is not None:
            raise known from error
        if not isinstance(runner, PortableRunner):
            raise  # a bug of ours, in this very process: the traceback is worth having
        raise RunnerFailed(
            "the runner gave the job up and nothing was published; run again, or with --resume to "
            f"go on. It says:\n{str(error).strip()[-_TEXT_CHARS:]}"
        ) from error
