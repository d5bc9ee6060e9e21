"""Commit: the shards add up, the folder's own files are written, the set appears.

Runs inside the pipeline, once all shards are known, so that a job nobody waits for still finishes
by itself.  A runner may run it again, at any time: the same shards give the same files.

It holds every shard's record, some 750 bytes each, once.  The manifest, which tells them all and
the plan, is written piece by piece.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone

import msgspec
from msgspec import UNSET

from transforms.chat.output_columns import OutputColumns
from transforms.dataset import layout
from transforms.dataset.accounting import account, agree, complete, reject_reasons
from transforms.dataset.card import card, escaped
from transforms.dataset.shard_writer import HashingFile
from transforms.formats.source_content import joined
from transforms.options import QualityRules
from transforms.quality.gates import Gates, check, judge, lack_of_training_rows
from transforms.quality.row_stats import Measured
from transforms.quality.summary import quality_summary
from transforms.records import DatasetFile, Shard, Written
from transforms.report.elements import plain
from transforms.report.headline import short
from transforms.report.page import page
from transforms.split import SPLITS
from transforms.storage import names
from transforms.storage.manifest import ManifestFacts, manifest_json
from transforms.storage.manifest_parts import (
    Leakage,
    PlanFacts,
    RowCounts,
    Run,
    SetShape,
    Training,
)
from transforms.storage.store import DatasetStore, required_work

PLAN_FILE = "plan.json"
"""Work file of a plan that is too large for the pipeline's graph."""


@dataclass(frozen=True)
class Contents:
    """What the manifest says of the set before its rows are counted.

    Attributes:
        plan: the plan as JSON; None where it is the work file ``PLAN_FILE``.
        run: what may differ between two runs of the plan.
        gates: limits that are checked before anything is published.
        summary: a sentence for the card, in Markdown.
        rules: which quality is measured.
        training: what the card says to trainers.
        config: the flags that decided the bytes.
    """

    dataset: str
    revision: str
    plan_digest: str
    plan: object
    run: Run
    gates: Gates
    summary: str
    rules: QualityRules = QualityRules()
    output_columns: OutputColumns = OutputColumns()
    training: Training | None = None
    config: dict[str, object] | None = None


def commit(
    store: DatasetStore,
    units: int,
    contents: Contents,
    shards: Iterable[Shard],
    measured: Measured | None = None,
    leakage: Leakage | None = None,
    check_source: Callable[[], None] = lambda: None,
) -> RowCounts:
    """Checks the shards, writes the rest of the folder, puts it in place; returns the counts.

    Args:
        store: where the shards are.
        units: the number of work units.
        contents: what the manifest says of the set.
        shards: the records of all files that the units wrote.
        measured: what was measured of all rows; None where nothing was.
        leakage: the rows of validation that leak; None where they were not searched.
        check_source: raises ``BadInput`` where the source has changed; called last.

    Raises:
        BadInput: the source has changed; the set does not appear.
        VerificationFailed: a shard is missing, or counts do not add up; the set does not appear.
        GateFailed: the set misses a gate, or has no training rows; it does not appear.
    """
    ordered = complete(shards, units)
    counts = account(ordered)
    agree(counts, measured, leakage)
    quality = quality_summary(contents.rules, counts, ordered, measured, leakage)
    reasons = reject_reasons(ordered, counts)
    verdicts = judge(contents.gates, counts, quality, reasons)
    check(verdicts, lacking=lack_of_training_rows(contents.gates, counts, reasons))
    content = joined(shard.content for shard in ordered if shard.split == SPLITS[0])
    present = store.manifest()
    if present and present.plan_digest == contents.plan_digest and has_content(present, content):
        return counts  # an earlier attempt got this far, but its runner did not hear of it
    del present  # it may be another set's, as large as this one's
    store.confirm(ordered)

    files: list[Shard | DatasetFile] = [shard for shard in ordered if shard.path]
    for split in SPLITS:
        own = [shard for shard in ordered if shard.split == split]
        for path, data in layout.split_files(
            split, own, fingerprint(contents.plan_digest, split), contents.output_columns
        ).items():
            files.append(put_file(store, path, data))
    plan = _plan(store, contents)
    now = datetime.now(timezone.utc)
    started = datetime.fromisoformat(str(contents.run.started))
    facts = ManifestFacts(
        dataset=contents.dataset,
        revision=contents.revision,
        plan_digest=contents.plan_digest,
        plan=msgspec.convert(plan, PlanFacts),
        counts=counts,
        files=(),
        quality=quality,
        config=contents.config,
        shape=SetShape(**asdict(contents.output_columns)),
        training=contents.training,
        run=msgspec.structs.replace(
            contents.run,
            source_content=content or UNSET,
            gates=verdicts,
            finished=now.isoformat(timespec="seconds"),
            seconds=round((now - started).total_seconds(), 3),
        ),
    )
    files.append(put_file(store, names.CARD, _card(contents, facts)))
    files.sort(key=lambda file: file.path)
    report = page(facts, files, store.chunks, store.path)
    files.append(put_file(store, names.REPORT, report))
    files.sort(key=lambda file: file.path)
    written = _publish_text(store, names.MANIFEST, manifest_json(facts, plan, files))
    check_source()
    store.put_last(names.DATASET_DICT_CONTENT, written.sha256)
    store.finish(contents.plan_digest, (file.path for file in files))
    return counts


def has_content(manifest: ManifestFacts, content: str) -> bool:
    """Was a set made from a source of this content?  Yes, where its manifest does not say it."""
    made_from = manifest.run.source_content if manifest.run else UNSET
    return made_from in (UNSET, content)


def fingerprint(plan_digest: str, split: str) -> str:
    """The split's ``_fingerprint``, by which ``datasets`` names its caches: 16 hex digits."""
    return hashlib.blake2b(f"{plan_digest}/{split}".encode(), digest_size=8).hexdigest()


def _plan(store: DatasetStore, contents: Contents) -> object:
    if contents.plan is not None:
        return contents.plan
    found: object = json.loads(required_work(store, PLAN_FILE))
    return found


def put_file(store: DatasetStore, path: str, data: bytes) -> DatasetFile:
    """Writes a small file of the set."""
    store.put(path, data)
    return DatasetFile(path, len(data), hashlib.sha256(data).hexdigest(), 0)


def _publish_text(store: DatasetStore, path: str, pieces: Iterator[str]) -> Written:
    """Writes a large file of the set piece by piece, through a temporary file."""
    temporary = store.scratch_file()
    file = HashingFile(temporary)
    try:
        with io.TextIOWrapper(io.BufferedWriter(file), encoding="utf-8") as text:
            text.writelines(pieces)
    except BaseException:
        file.abandon(temporary)
        raise
    written = file.written(0)
    store.publish(temporary, path, written)
    return written


def _card(contents: Contents, facts: ManifestFacts) -> bytes:
    figures = [(name, plain(words)) for name, words in short(facts)]
    filled = [split for split, rows in facts.counts.splits.items() if rows]
    return card(
        _summary(contents.summary, facts.counts),
        filled or SPLITS,
        contents.output_columns,
        contents.training,
        figures,
    )


def _summary(made_from: str, counts: RowCounts) -> str:
    reasons = ", ".join(f"{n:,} {escaped(code)}" for code, n in counts.rejected.by_reason.items())
    rejected = f" Rejected: {reasons}." if reasons else ""
    return (
        f"{made_from}\n\n{counts.read:,} rows were read: {counts.train:,} are in "
        f"`train`, {counts.validation:,} in `validation`.{rejected} `manifest.json` holds the "
        "plan, the counts and every file's SHA-256."
    )
