"""The job: a plan becomes a folder, as one Beam pipeline on any runner."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import apache_beam as beam

from pipeline.output import finished_units, output_folders
from pipeline.plan import Plan, make_plan
from pipeline.request import Request
from pipeline.runners import check_place, options_for, runner_for
from transforms.commit import PLAN_FILE, Commit, Contents
from transforms.errors import OutputTaken, VerificationFailed, from_worker
from transforms.formats import BATCH_BYTES
from transforms.normalize import REJECTED, Normalize
from transforms.partition import Partition
from transforms.read import Read
from transforms.recall import Recall
from transforms.records import Unit
from transforms.render import Render
from transforms.storage import Folder
from transforms.stored_units import MAX_INLINE, StoredUnits
from transforms.write import Write, WriteRejects


@dataclass(frozen=True)
class Prepared:
    """The outcome of a run: the manifest of the set at ``path`` (a folder or an S3 address).

    ``resumed`` counts the units that an earlier run had finished; ``warnings`` are sentences about
    what could not be tidied up.
    """

    path: str
    manifest: dict[str, Any]
    already_complete: bool = False
    resumed: int = 0
    warnings: tuple[str, ...] = ()


Watch = Callable[[int, Folder], AbstractContextManager[None]]
"""Shows the progress of so many units, which the folder reports, while its body runs."""


def prepare(request: Request, batch_bytes: int = BATCH_BYTES) -> dict[str, Any]:
    """Prepares the data set that ``request`` describes at its output; returns its manifest.

    Sends nothing elsewhere: for S3 give an ``s3://`` output, or call ``upload_to_s3`` afterwards.

    An output that already holds the set of the same plan is left as it is.  Raises
    ``transforms.errors.DataPrepError``; nothing that loads is then at the output, or what was
    there before.
    """
    plan = make_plan(request)
    return run(plan, request, batch_bytes=batch_bytes).manifest


def run(
    plan: Plan, request: Request, batch_bytes: int = BATCH_BYTES, watch: Watch | None = None
) -> Prepared:
    """Runs a plan, unless its set is at the output already."""
    options = options_for(request, len(plan.units))
    pipeline = beam.Pipeline(runner=runner_for(options), options=options)
    check_place(request, options)
    with ExitStack() as held:
        folder = _claim(plan, request, held)
        present = folder.manifest()
        if present is not None and present.get("plan_digest") == plan.digest:
            # Swept here too: the run that completed the set may have ended before it came to that.
            return Prepared(folder.path, present, True, warnings=tuple(folder.sweep()))
        folder.check_free(plan.digest, request.overwrite)
        finished = finished_units(folder, len(plan.units)) if request.resume else ()
        _fill(pipeline, plan, request, folder, finished, batch_bytes)
        with watch(len(plan.units), folder) if watch else nullcontext():
            _run_to_the_end(pipeline)
        manifest = folder.manifest()
        if manifest is None or manifest["plan_digest"] != plan.digest:
            raise VerificationFailed(
                f"the runner reports success, but {folder.path} does not hold the set of plan "
                f"{plan.digest[:12]}; run again"
            )
        warnings = tuple(folder.sweep())
        return Prepared(folder.path, manifest, resumed=len(finished), warnings=warnings)


def _claim(plan: Plan, request: Request, held: ExitStack) -> Folder:
    """The first of the output's possible places that no other run holds."""
    *others, last = output_folders(request)
    for folder in others:
        try:
            held.enter_context(folder.claimed(plan.digest, request.resume))
        except OutputTaken:
            continue
        return folder
    held.enter_context(last.claimed(plan.digest, request.resume))
    return last


def _fill(
    pipeline: beam.Pipeline,
    plan: Plan,
    request: Request,
    folder: Folder,
    finished: Sequence[int],
    batch_bytes: int,
) -> None:
    """Puts the job into the pipeline; a large plan goes beside the output."""
    contents = _contents(plan, request, type(pipeline.runner).__name__)
    left = tuple(unit for unit in plan.units if unit.number not in set(finished))
    units: tuple[Unit, ...] | StoredUnits = left
    if len(plan.units) > MAX_INLINE:
        units = StoredUnits.store(folder, left)
        folder.put_work(PLAN_FILE, json.dumps(plan.to_json()).encode())
        contents = replace(contents, plan=None)
    assemble(pipeline, plan, units, folder, contents, finished, batch_bytes)


def _run_to_the_end(pipeline: beam.Pipeline) -> None:
    try:
        pipeline.run().wait_until_finish()
    except Exception as error:
        kind = type(error)
        known = from_worker(f"{kind.__module__}.{kind.__name__}: {error}")
        if known is None:
            raise
        raise known from error


def assemble(
    pipeline: beam.Pipeline,
    plan: Plan,
    units: tuple[Unit, ...] | StoredUnits,
    folder: Folder,
    contents: Contents,
    finished: Sequence[int] = (),
    batch_bytes: int = BATCH_BYTES,
) -> None:
    """The whole job in one sentence; ``finished`` are units whose shards the folder has already."""
    source, count = plan.reading(), len(plan.units)
    rows = (
        pipeline
        | "Read" >> Read(source, units, batch_bytes)
        | "Normalize" >> Normalize(plan.fields.mapping, plan.split.key)
    )
    shards = (
        rows.kept
        | "Partition" >> Partition(plan.split)
        | "Render" >> Render(plan.template)
        | "Write" >> Write(folder, count)
    )
    rejects = rows[REJECTED] | "WriteRejects" >> WriteRejects(folder, count, source)
    earlier = pipeline | "Recall" >> Recall(folder, finished)
    _ = (shards, rejects, earlier) | beam.Flatten() | "Commit" >> Commit(folder, count, contents)


def _contents(plan: Plan, request: Request, runner: str) -> Contents:
    system = "with a system turn" if "system\n" in plan.template.before else "without a system turn"
    return Contents(
        dataset=plan.dataset,
        revision=plan.source.revision,
        plan_digest=plan.digest,
        plan=plan.to_json(),
        run={
            "started": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "runner": runner,
            "versions": {
                name: version(name) for name in ("reasonforge-data-prep", "apache-beam", "pyarrow")
            },
        },
        max_reject_rate=request.max_reject_rate,
        summary=(
            f"Made from `{plan.dataset}`, split `{plan.source.split}`, revision "
            f"`{plan.source.revision}`: {plan.fields.mapping.describe()}, chat format "
            f"`{plan.template.name}` {system}."
        ),
    )
