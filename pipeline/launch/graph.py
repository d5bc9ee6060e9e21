"""The graph: the data's whole way, from work units to a committed set.  Start here.

    WorkUnits -> Scan                            a first pass: duplicates, validation prompts
        |          |
        +----------+--> Read -> Normalize -> Decontaminate -> Partition -> Render
                                                                             |
           +------------------+------------------+---------------------------+
           | kept             | kept             | rejected
        Write             FindLeaks         WriteRejects        ResumeShards, ResumeRows: what
           |                  |                  |              an earlier run wrote
           +--> Measure       |                  |
           |       |          |                  |
           +-------+----------+------------------+--> Commit -> a folder that loads

Each step is the module of its name in ``transforms.steps`` (``WorkUnits`` is in ``read``,
``WriteRejects`` in ``write``, both ``Resume`` steps in ``resume``).  Rows travel as Arrow tables
(``Batch``) from Read to Write in one stage, without a shuffle; only hashes and records cross one.
"""

from __future__ import annotations

from collections.abc import Sequence

import apache_beam as beam

from pipeline.planning.plan import Plan
from transforms.dataset.publish import Contents
from transforms.duplicates.row_reader import RowReader
from transforms.formats.source_reader import BATCH_BYTES
from transforms.records import WorkUnit
from transforms.steps.commit import Commit
from transforms.steps.decontaminate import Decontaminate
from transforms.steps.find_leaks import FindLeaks
from transforms.steps.measure import Measure
from transforms.steps.normalize import Normalize
from transforms.steps.partition import Partition
from transforms.steps.read import Read, StoredWorkUnits, WorkUnits
from transforms.steps.render import REJECTED, Render
from transforms.steps.resume import ResumeRows, ResumeShards
from transforms.steps.scan import Scan
from transforms.steps.write import Write, WriteRejects
from transforms.storage.store import DatasetStore


def assemble(
    pipeline: beam.Pipeline,
    plan: Plan,
    work_units: tuple[WorkUnit, ...] | StoredWorkUnits,
    store: DatasetStore,
    contents: Contents,
    finished: Sequence[int] = (),
    batch_bytes: int = BATCH_BYTES,
) -> None:
    """Puts the whole job into a pipeline.

    Args:
        pipeline: An empty pipeline.
        plan: What decides the bytes.
        work_units: The plan's units, or where the workers can read them.
        store: Where the set is written.
        contents: What the manifest says of the set before it is counted.
        finished: Numbers of the units whose shards the store has already.
        batch_bytes: About how much of a source a batch holds; it never shows in the output.
    """
    source, shard_count, quality = plan.reading(), len(plan.units), plan.quality
    mapping, key, template = plan.fields.mapping, plan.split.key, plan.chat.template
    row_reader = RowReader(source, mapping, plan.rules, plan.split, quality)

    units = pipeline | "WorkUnits" >> WorkUnits(work_units)
    drops, source_contents = units | "Scan" >> Scan(row_reader, store, plan.estimated_rows)
    rows = (
        (units, drops, source_contents)
        | "Read" >> Read(source, finished, batch_bytes)
        | "Normalize" >> Normalize(mapping, key, plan.rules, quality.balance)
        | "Decontaminate" >> Decontaminate(quality, store)
        | "Partition" >> Partition(plan.split)
        | "Render" >> Render(plan.chat, plan.output_columns, quality.tokens, store, source)
    )
    shards = rows.kept | "Write" >> Write(store, shard_count, plan.output_columns, quality.balance)
    rejects = rows[REJECTED] | "WriteRejects" >> WriteRejects(store, shard_count, source)
    records, kept = [shards, rejects], [rows.kept]
    if finished:  # a stage without work takes a tenth of a second, too
        records.append(pipeline | "ResumeShards" >> ResumeShards(store, finished))
        kept.append(pipeline | "ResumeRows" >> ResumeRows(store, finished))

    written = records | "Written" >> beam.Flatten()
    lengths = written | "Measure" >> Measure(quality)
    leaks = tuple(kept) | "FindLeaks" >> FindLeaks(
        store, template, plan.split, enabled=quality.leakage_sample_rate > 0
    )
    commit = Commit(store, shard_count, contents, source)
    _ = (written, lengths, leaks, units) | "Commit" >> commit
