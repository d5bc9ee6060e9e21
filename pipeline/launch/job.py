"""The job: a plan becomes a folder, as one Beam pipeline on any runner."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version

import apache_beam as beam

from pipeline.dataset.destinations import output_folders
from pipeline.launch.execution import Stalled, execute, hand_over
from pipeline.launch.graph import assemble
from pipeline.launch.job_server import connected
from pipeline.launch.runners import (
    check_detachable,
    check_place,
    options_for,
    runner_for,
    works_elsewhere,
)
from pipeline.launch.worker_check import probe
from pipeline.planning.plan import Plan, make_plan
from pipeline.planning.plan_flags import config_of
from pipeline.request import Request
from transforms.dataset.publish import PLAN_FILE, Contents
from transforms.dataset.trainer_facts import training_facts
from transforms.errors import OutputTaken, VerificationFailed
from transforms.formats.source_reader import BATCH_BYTES
from transforms.quality.gates import check, judge, warnings
from transforms.records import WorkUnit
from transforms.steps.read import MAX_INLINE, StoredWorkUnits
from transforms.storage.manifest import Manifest
from transforms.storage.manifest_parts import Run
from transforms.storage.parallel import in_parallel
from transforms.storage.s3.store import REQUESTS_AT_ONCE
from transforms.storage.store import DatasetStore, Lease, read_records


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


Say = Callable[[str], None]

Watch = Callable[[int, DatasetStore], AbstractContextManager[None]]
"""Shows the progress of so many units, which the folder reports, while its body runs."""


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
    watch: Watch | None = None,
    say: Say = lambda line: None,
) -> Prepared:
    """Runs a plan, unless its set is at the output already; ``say`` gets lines for the user."""
    with _begun(plan, request, batch_bytes, say) as job:
        store = job.store
        if job.present is not None:
            # Swept here too: the run that completed the set may have ended before it came to that.
            warned = (*job.warned, *store.sweep())
            return Prepared(store.path, job.present, True, warnings=warned)
        with watch(len(plan.units), store) if watch else nullcontext():
            execute(job.pipeline, Stalled(request.stall_timeout, lambda: _done(store)))
        manifest = store.manifest()
        if manifest is None or manifest.plan_digest != plan.digest:
            raise VerificationFailed(
                f"the runner reports success, but {store.path} does not hold the set of plan "
                f"{plan.digest[:12]}; run again"
            )
        verdicts = (manifest.run and manifest.run.gates) or ()
        warned = (*warnings(verdicts), *store.sweep())
        return Prepared(store.path, manifest, resumed=job.resumed, warnings=warned)


def submit(plan: Plan, request: Request, say: Say = lambda line: None) -> Submitted:
    """Hands a plan to a cluster, which finishes it alone; unless its set is there already."""
    with _begun(plan, request, BATCH_BYTES, say) as job:
        if job.pipeline is None:
            return Submitted(job.store.path, None)
        name = hand_over(job.pipeline, request.start_timeout)
        job.hold.hand_over(name)
        return Submitted(job.store.path, name)


@dataclass(frozen=True)
class _Begun:
    """A job that can be run: no pipeline where its set is ``present`` already.

    ``warned`` is what this request's gates say of that set.
    """

    store: DatasetStore
    hold: Lease
    present: Manifest | None = None
    pipeline: beam.Pipeline | None = None
    resumed: int = 0
    warned: tuple[str, ...] = ()


@contextmanager
def _begun(plan: Plan, request: Request, batch_bytes: int, say: Say) -> Iterator[_Begun]:
    """Holds the output and the way to the runner, whose workers fit."""
    options = options_for(request, len(plan.units))
    runner = runner_for(options)
    check_place(request, options)
    if request.detach:
        check_detachable(request, options)
    with ExitStack() as held:
        store, hold = _claim(plan, request, held)
        present = store.manifest()
        if present is not None and present.plan_digest == plan.digest:
            verdicts = judge(request.gates, present.counts, present.quality)
            check(verdicts, kept=store.path)
            yield _Begun(store, hold, present, warned=warnings(verdicts))
            return
        store.check_free(plan.digest, request.overwrite)
        held.enter_context(connected(runner, options))
        if works_elsewhere(options) and not request.skip_worker_check:
            for worker in probe(runner, options, plan, request, store):
                say(f"✓ Worker on {worker.describe()}")
        finished = finished_units(store, len(plan.units)) if request.resume else ()
        pipeline = beam.Pipeline(runner=runner, options=options)
        _fill(pipeline, plan, request, store, finished, batch_bytes)
        yield _Begun(store, hold, None, pipeline, len(finished))


def _done(store: DatasetStore) -> int:
    """Units that are finished, and those that the first pass has seen."""
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


def _fill(
    pipeline: beam.Pipeline,
    plan: Plan,
    request: Request,
    store: DatasetStore,
    finished: Sequence[int],
    batch_bytes: int,
) -> None:
    """Puts the job into the pipeline; a large plan goes beside the output."""
    contents = _contents(plan, request, type(pipeline.runner).__name__)
    units: tuple[WorkUnit, ...] | StoredWorkUnits = plan.units
    if len(plan.units) > MAX_INLINE:
        units = StoredWorkUnits.written(store, plan.units)
        store.put_work(PLAN_FILE, json.dumps(plan.to_json()).encode())
        contents = replace(contents, plan=None)
    for name, data in plan.attachments.items():
        store.put_work(name, data)
    assemble(pipeline, plan, units, store, contents, finished, batch_bytes)


def _contents(plan: Plan, request: Request, runner: str) -> Contents:
    given = plan.chat.system_prompt is not None
    prompt = "with a system prompt" if given else "without a system prompt of its own"
    return Contents(
        dataset=plan.dataset,
        revision=plan.source.revision,
        plan_digest=plan.digest,
        plan=plan.to_json(),
        run=Run(
            started=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            runner=runner,
            versions={
                name: version(name) for name in ("reasonforge-data-prep", "apache-beam", "pyarrow")
            },
        ),
        gates=request.gates,
        rules=plan.quality,
        summary=(
            f"Made from `{plan.dataset}`, split `{plan.source.split}`, revision "
            f"`{plan.source.revision}`: {plan.fields.mapping.describe()}, chat format "
            f"`{plan.chat.template.name}` {prompt} (reasoning: {plan.chat.think})."
        ),
        output_columns=plan.output_columns,
        training=training_facts(plan.chat, plan.output_columns),
        config=config_of(request, plan),
    )


def finished_units(store: DatasetStore, units: int) -> tuple[int, ...]:
    """The units whose files an earlier run finished, each checked by size and SHA-256."""

    def is_finished(unit: int) -> bool:
        shards = read_records(store, unit)
        return shards is not None and all(store.present(shards))

    finished = in_parallel(is_finished, range(units), REQUESTS_AT_ONCE)
    return tuple(unit for unit, is_whole in enumerate(finished) if is_whole)
