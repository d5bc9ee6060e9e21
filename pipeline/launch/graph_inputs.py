"""What the graph is given besides the plan: files for the workers, contents of the manifest."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import apache_beam as beam

from pipeline.launch.graph import assemble
from pipeline.planning.plan import Plan
from pipeline.planning.plan_flags import config_of
from pipeline.request import Request
from transforms.conversations.field_mapping import GUESSED
from transforms.dataset.card import code_span
from transforms.dataset.publish import PLAN_FILE, Contents
from transforms.dataset.trainer_facts import training_facts
from transforms.formats.source_content import source_content
from transforms.records import WorkUnit
from transforms.split import SPLITS
from transforms.steps.read import MAX_INLINE, StoredWorkUnits
from transforms.storage.manifest_parts import Run
from transforms.storage.parallel import in_parallel
from transforms.storage.s3.store import REQUESTS_AT_ONCE
from transforms.storage.store import DatasetStore, read_records, scanned_contents

_READS_AT_ONCE = 4
"""Units of the source that are hashed at a time, which a disk or the processor limits."""


def fill_pipeline(
    pipeline: beam.Pipeline,
    plan: Plan,
    request: Request,
    store: DatasetStore,
    finished: Sequence[int],
    batch_bytes: int,
) -> None:
    """Puts the whole job into an empty pipeline; a large plan travels as work files.

    Args:
        pipeline: An empty pipeline.
        plan: What decides the bytes.
        request: What the user asks for besides the plan, as the gates.
        store: Where the set is written.
        finished: Numbers of the units whose shards the store has already.
        batch_bytes: About how much of a source a batch holds.
    """
    contents = contents_of(plan, request, type(pipeline.runner).__name__)
    work_units: tuple[WorkUnit, ...] | StoredWorkUnits = plan.units
    if len(plan.units) > MAX_INLINE:
        work_units = StoredWorkUnits.written(store, plan.units)
        store.put_work(PLAN_FILE, json.dumps(plan.to_json()).encode())
        contents = replace(contents, plan=None)
    for name, data in plan.attachments.items():
        store.put_work(name, data)
    assemble(pipeline, plan, work_units, store, contents, finished, batch_bytes)


def contents_of(plan: Plan, request: Request, runner: str) -> Contents:
    """What the manifest says of the set before it is counted; ``runner`` is the runner's class."""
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
            f"Made from {code_span(_without_folder(plan.dataset))}, split "
            f"{code_span(plan.source.split)}, revision {code_span(plan.source.revision)}: "
            f"{code_span(plan.fields.mapping.describe())}, chat format "
            f"{code_span(plan.chat.template.name)} {prompt} (reasoning: {plan.chat.think})."
            + (f"\n\n{GUESSED}. `--fields` says which are meant." if plan.fields.guess else "")
        ),
        output_columns=plan.output_columns,
        training=training_facts(plan.chat, plan.output_columns, plan.split.val_size > 0),
        config=config_of(request, plan),
    )


def _without_folder(dataset: str) -> str:
    """A data set's name for the card, which others read: no folder of this machine."""
    names = shlex.split(dataset) if " /" in dataset else [dataset]
    return " ".join(Path(name).name if name.startswith(("/", "~")) else name for name in names)


def source_contents(plan: Plan) -> tuple[str, ...]:
    """The hash of the bytes that each unit is read from, as they are now; "" on the hub."""
    source = plan.reading()

    def hash_unit(unit: WorkUnit) -> str:
        return source_content(source, unit).digest

    return tuple(in_parallel(hash_unit, plan.units, _READS_AT_ONCE))


def finished_units(store: DatasetStore, contents: Sequence[str]) -> tuple[int, ...]:
    """The units whose files an earlier run finished, each checked by size and SHA-256.

    None are, where a unit of the source had other ``contents`` for a run here: which rows a unit
    leaves out as duplicates depends on those before it.
    """
    if any(contents[unit] != content for unit, content in scanned_contents(store)):
        return ()

    def is_finished(unit: int) -> bool:
        shards = read_records(store, unit)
        if shards is None or not all(store.present(shards)):
            return False
        return contents[unit] in [shard.content for shard in shards if shard.split == SPLITS[0]]

    finished = in_parallel(is_finished, range(len(contents)), REQUESTS_AT_ONCE)
    return tuple(unit for unit, is_whole in enumerate(finished) if is_whole)
