"""The graph: the data's whole way, from work units to a committed set."""

from __future__ import annotations

from collections.abc import Sequence

import apache_beam as beam

from pipeline.planning.plan import Plan
from transforms.dataset.publish import Contents
from transforms.duplicates.row_reader import Surveyed
from transforms.formats.source_reader import BATCH_BYTES
from transforms.records import Shard, Unit
from transforms.steps.commit import Commit
from transforms.steps.decontaminate import Decontaminate
from transforms.steps.find_leaks import FindLeaks
from transforms.steps.measure import Measure, without_counts
from transforms.steps.normalize import Normalize
from transforms.steps.partition import Partition
from transforms.steps.read import Read, StoredUnits, Units
from transforms.steps.render import REJECTED, Render
from transforms.steps.resume import Recall, RecallRows, runs
from transforms.steps.scan import Survey
from transforms.steps.write import Write, WriteRejects
from transforms.storage.store import Folder


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
    work = pipeline | "Units" >> Units(units)
    looks = Surveyed(source, plan.fields.mapping, plan.rules, plan.split, plan.quality)
    drops = work | "Survey" >> Survey(looks, folder, plan.guessed_rows)
    rows = (
        (work, drops)
        | "Read" >> Read(source, runs(finished), batch_bytes)
        | "Normalize"
        >> Normalize(plan.fields.mapping, plan.split.key, plan.rules, plan.quality.balance)
        | "Decontaminate" >> Decontaminate(plan.quality, folder)
        | "Partition" >> Partition(plan.split)
        | "Render" >> Render(plan.chat, plan.shape, plan.quality.tokens, folder, source)
    )
    shards = rows.kept | "Write" >> Write(folder, count, plan.shape, plan.quality.balance)
    rejects = rows[REJECTED] | "WriteRejects" >> WriteRejects(folder, count, source)
    records, kept = [shards, rejects], [rows.kept]
    if finished:  # a stage without work takes a tenth of a second, too
        records.append(pipeline | "Recall" >> Recall(folder, finished))
        kept.append(pipeline | "RecallRows" >> RecallRows(folder, finished))
    written = records | "Written" >> beam.Flatten()
    lengths = written | "Measure" >> Measure(plan.quality)
    leaks = tuple(kept) | "FindLeaks" >> FindLeaks(
        folder, plan.chat.template, plan.split, plan.quality.looked_at > 0
    )
    bare = written | "Bare" >> beam.Map(without_counts).with_output_types(Shard)
    _ = (bare, lengths, leaks) | "Commit" >> Commit(folder, count, contents)
