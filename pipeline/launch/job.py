"""The job: a plan becomes a prepared set, as one Beam pipeline on any runner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

import apache_beam as beam

from pipeline.dataset.destinations import output_folders
from pipeline.launch.execution import Stalled, execute, hand_over
from pipeline.launch.graph_inputs import fill_pipeline, finished_units, source_contents
from pipeline.launch.job_server import connected
from pipeline.launch.runners import (
    check_detachable,
    check_place,
    options_for,
    runner_for,
    works_elsewhere,
)
from pipeline.launch.worker_check import check_workers
from pipeline.planning.plan import Plan, make_plan
from pipeline.planning.split_cure import split_cure
from pipeline.request import Request
from transforms.dataset.publish import has_content
from transforms.errors import OutputTaken, VerificationFailed
from transforms.formats.source_content import joined
from transforms.formats.source_reader import BATCH_BYTES
from transforms.quality.gates import check, judge, lack_of_training_rows, warnings
from transforms.storage.local import LocalStore
from transforms.storage.manifest import Manifest
from transforms.storage.store import DatasetStore, Lease


@dataclass(frozen=True)
class Prepared:
    """The outcome of a run: the manifest of the set at ``path`` (a folder or an S3 address).

    ``resumed`` counts the units that an earlier run had finished; ``warnings`` are sentences about
    what the gates let pass and what could not be tidied up.
    """

    path: str
    manifest: Manifest
    already_complete: bool = False
    resumed: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Submitted:
    """A set that a cluster makes at ``path``: ``job`` is its name and page.

    ``job`` is None where the set is there already.
    """

    path: str
    job: str | None


PrintLine = Callable[[str], None]

_MANY_BYTES = 10**9
"""More bytes take seconds to hash, minutes where a slow disk has them."""

ShowProgress = Callable[[int, DatasetStore], AbstractContextManager[None]]
"""Shows the progress of a number of units, which the store reports, while its body runs."""


def prepare(request: Request, batch_bytes: int = BATCH_BYTES) -> dict[str, object]:
    """Prepares the data set that ``request`` describes at its output; returns its manifest.

    Sends nothing elsewhere: for S3 give an ``s3://`` output, or call ``upload_to_s3`` afterwards.

    An output that already holds the set of the same plan is left as it is.  Raises
    ``transforms.errors.DataPrepError``; nothing that loads is then at the output, or what was
    there before.
    """
    plan = make_plan(request)
    return run(plan, request, batch_bytes=batch_bytes).manifest.to_json()


def run(
    plan: Plan,
    request: Request,
    batch_bytes: int = BATCH_BYTES,
    show_progress: ShowProgress | None = None,
    print_line: PrintLine = lambda line: None,
) -> Prepared:
    """Runs a plan, unless its set is at the output already.

    Args:
        plan: What decides the bytes.
        request: What the user asks for besides the plan, as the runner and the output.
        batch_bytes: About how much of a source a batch holds.
        show_progress: Shows the progress while the job runs.
        print_line: Gets lines for the user.
    """
    with _set_up(plan, request, batch_bytes, print_line) as job:
        store = job.store
        if job.present is not None:
            # Swept here too: the run that completed the set may have ended before it came to that.
            warned = (*job.warnings, *store.sweep())
            return Prepared(store.path, job.present, True, warnings=warned)
        with show_progress(len(plan.units), store) if show_progress else nullcontext():
            execute(job.pipeline, Stalled(request.stall_timeout, lambda: _count_done(store)))
        manifest = store.manifest()
        if manifest is None or manifest.plan_digest != plan.digest:
            raise VerificationFailed(
                f"the runner reports success, but {store.path} does not hold the set of plan "
                f"{plan.digest[:12]}; run again"
            )
        verdicts = (manifest.run and manifest.run.gates) or ()
        warned = (*warnings(verdicts), *split_cure(plan, manifest.counts), *store.sweep())
        return Prepared(store.path, manifest, resumed=job.resumed, warnings=warned)


def submit(plan: Plan, request: Request, print_line: PrintLine = lambda line: None) -> Submitted:
    """Hands a plan to a cluster, which finishes it alone, unless its set is there already."""
    with _set_up(plan, request, BATCH_BYTES, print_line) as job:
        if job.pipeline is None:
            return Submitted(job.store.path, None)
        name = hand_over(job.pipeline, request.start_timeout)
        job.lease.hand_over(name)
        return Submitted(job.store.path, name)


@dataclass(frozen=True)
class _Job:
    """A job that can be run; without a pipeline where its set is ``present`` already.

    ``warnings`` are what this request's gates say of that set.
    """

    store: DatasetStore
    lease: Lease
    present: Manifest | None = None
    pipeline: beam.Pipeline | None = None
    resumed: int = 0
    warnings: tuple[str, ...] = ()


@contextmanager
def _set_up(
    plan: Plan, request: Request, batch_bytes: int, print_line: PrintLine
) -> Iterator[_Job]:
    """Holds the output and the connection to the runner, once its workers are known to fit."""
    options = options_for(request, len(plan.units))
    runner = runner_for(options)
    check_place(request, options)
    if request.detach:
        check_detachable(request, options)
    with ExitStack() as held:
        store, lease = _claim(plan, request, held)
        present = store.manifest()
        if present is not None and _is_of(present, plan, store, request.overwrite, print_line):
            verdicts = judge(request.gates, present.counts, present.quality)
            lacking = lack_of_training_rows(request.gates, present.counts)
            check(verdicts, kept=store.path, lacking=lacking)
            yield _Job(store, lease, present, warnings=warnings(verdicts))
            return
        store.check_free(plan.digest, request.overwrite)
        held.enter_context(connected(runner, options))
        if works_elsewhere(options) and not request.skip_worker_check:
            for worker in check_workers(runner, options, plan, request, store):
                print_line(f"✓ Worker on {worker.describe()}")
        finished = finished_units(store, _contents(plan, print_line)) if request.resume else ()
        pipeline = beam.Pipeline(runner=runner, options=options)
        fill_pipeline(pipeline, plan, request, store, finished, batch_bytes)
        yield _Job(store, lease, None, pipeline, len(finished))


def _contents(plan: Plan, print_line: PrintLine) -> tuple[str, ...]:
    """The hash of each unit's source as it is now; a line says so where it takes a while."""
    size = sum(size for _, size in plan.source.files)
    if plan.source.states and size > _MANY_BYTES:
        print_line(f"  Comparing the source ({size / 1e9:,.1f} GB) with that of an earlier run...")
    return source_contents(plan)


def _is_of(
    present: Manifest, plan: Plan, store: DatasetStore, overwrite: bool, print_line: PrintLine
) -> bool:
    """Is the set at the output the one of this plan and of the source as it is now?"""
    if present.plan_digest != plan.digest:
        return False
    if has_content(present, joined(_contents(plan, print_line))):
        return True
    if overwrite and isinstance(store, LocalStore):
        return False
    raise OutputTaken(
        f"{store.path} holds the set of this plan, but the source has other bytes now, with the "
        "same sizes and times; "
        + ("add --overwrite to replace it, or " if isinstance(store, LocalStore) else "")
        + "give another --output"
    )


def _count_done(store: DatasetStore) -> int:
    """The number of units that are finished, and of those that the first pass has seen."""
    return len(store.reports()) + store.scanned()


def _claim(plan: Plan, request: Request, held: ExitStack) -> tuple[DatasetStore, Lease]:
    """The first of the output's possible places that no other run holds."""
    *others, last = output_folders(request)
    for store in others:
        try:
            return store, held.enter_context(_claimed(store, plan, request))
        except OutputTaken:
            continue
    return last, held.enter_context(_claimed(last, plan, request))


def _claimed(store: DatasetStore, plan: Plan, request: Request) -> AbstractContextManager[Lease]:
    return store.claimed(plan.digest, request.resume, len(plan.units))
