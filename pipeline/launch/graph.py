"""The graph: the data's whole way, from work units to a committed set."""

from __future__ import annotations

from collections.abc import Sequence

import apache_beam as beam

from pipeline.planning.plan import Plan
from transforms.dataset.publish import Contents
from transforms.duplicates.row_reader import RowReader
from transforms.formats.source_reader import BATCH_BYTES
from transforms.records import Shard, WorkUnit
from transforms.steps.commit import Commit
from transforms.steps.decontaminate import Decontaminate
from transforms.steps.find_leaks import FindLeaks
from transforms.steps.measure import Measure, without_counts
from transforms.steps.normalize import Normalize
from transforms.steps.partition import Partition
from transforms.steps.read import Read, StoredWorkUnits, WorkUnits
from transforms.steps.render import REJECTED, Render
from transforms.steps.resume import ResumeRows, ResumeShards, runs
from transforms.steps.scan import Scan
from transforms.steps.write import Write, WriteRejects
from transforms.storage.store import DatasetStore


def assemble(
    pipeline: beam.Pipeline,
    plan: Plan,
    units: tuple[WorkUnit, ...] | StoredWorkUnits,
    store: DatasetStore,
    contents: Contents,
    finished: Sequence[int] = (),
    batch_bytes: int = BATCH_BYTES,
) -> None:
    """The whole job in one sentence; ``finished`` are units whose shards the folder has already."""
    source, count = plan.reading(), len(plan.units)
    work = pipeline | "WorkUnits" >> WorkUnits(units)
    row_reader = RowReader(source, plan.fields.mapping, plan.rules, plan.split, plan.quality)
    drops = work | "Scan" >> Scan(row_reader, store, plan.estimated_rows)
    rows = (
        (work, drops)
        | "Read" >> Read(source, runs(finished), batch_bytes)
        | "Normalize"
        >> Normalize(plan.fields.mapping, plan.split.key, plan.rules, plan.quality.balance)
        | "Decontaminate" >> Decontaminate(plan.quality, store)
        | "Partition" >> Partition(plan.split)
        | "Render" >> Render(plan.chat, plan.output_columns, plan.quality.tokens, store, source)
    )
    shards = rows.kept | "Write" >> Write(store, count, plan.output_columns, plan.quality.balance)
    rejects = rows[REJECTED] | "WriteRejects" >> WriteRejects(store, count, source)
    records, kept = [shards, rejects], [rows.kept]
    if finished:  # a stage without work takes a tenth of a second, too
        records.append(pipeline | "ResumeShards" >> ResumeShards(store, finished))
        kept.append(pipeline | "ResumeRows" >> ResumeRows(store, finished))
    written = records | "Written" >> beam.Flatten()
    lengths = written | "Measure" >> Measure(plan.quality)
    leaks = tuple(kept) | "FindLeaks" >> FindLeaks(
        store, plan.chat.template, plan.split, plan.quality.leakage_sample_rate > 0
    )
    bare = written | "Bare" >> beam.Map(without_counts).with_output_types(Shard)
    _ = (bare, lengths, leaks) | "Commit" >> Commit(store, count, contents)
