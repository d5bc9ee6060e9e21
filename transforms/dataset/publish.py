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
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any

from transforms.chat.output_columns import OutputColumns
from transforms.dataset import layout
from transforms.dataset.accounting import account, agree, complete, reject_reasons
from transforms.dataset.card import card
from transforms.dataset.shard_writer import HashingFile
from transforms.options import QualityRules
from transforms.quality.gates import Gates, check, judge
from transforms.quality.summary import quality_summary
from transforms.records import DatasetFile, Shard, Written
from transforms.report.elements import plain
from transforms.report.headline import short
from transforms.report.manifest_view import ManifestView
from transforms.report.page import page
from transforms.split import SPLITS
from transforms.storage import names
from transforms.storage.store import DatasetStore, required_work

PLAN_FILE = "plan.json"
"""Work file of a plan that is too large for the pipeline's graph."""


@dataclass(frozen=True)
class Contents:
    """What the manifest says of the set before it is counted.

    ``plan`` is the plan as JSON, or None where it lies at ``PLAN_FILE``; ``run`` is what may
    differ between two runs of it (runner, versions, ``started`` as an ISO 8601 time).
    ``gates`` are checked before anything is published; ``rules`` say what quality was looked for.
    ``training`` is what the card tells of trainers, ``config`` the flags that decided the bytes.
    """

    dataset: str
    revision: str
    plan_digest: str
    plan: Mapping[str, Any] | None
    run: Mapping[str, Any]
    gates: Gates
    summary: str
    rules: QualityRules = QualityRules()
    output_columns: OutputColumns = OutputColumns()
    training: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


def commit(
    store: DatasetStore,
    units: int,
    contents: Contents,
    shards: Iterable[Shard],
    found: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Checks the shards, writes the rest of the folder, puts it in place; returns the counts.

    ``found`` are the parts of the manifest's ``quality`` that were measured.  Raises
    ``VerificationFailed`` where a shard is missing, or the rows or what was measured of them do not
    add up, ``GateFailed`` where the set is not of the quality asked for.  The folder is then not
    put in place.
    """
    ordered = complete(shards, units)
    counts = account(ordered)
    agree(counts, found)
    quality = quality_summary(contents.rules, counts, ordered, found)
    verdicts = judge(contents.gates, counts, quality, reject_reasons(ordered, counts))
    check(verdicts)
    present = store.manifest()
    if present and present["plan_digest"] == contents.plan_digest:
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
    manifest = {
        "format_version": names.FORMAT_VERSION,
        "dataset": contents.dataset,
        "revision": contents.revision,
        "plan_digest": contents.plan_digest,
        "plan": _plan(store, contents),
        "counts": counts,
        "quality": quality,
        "config": contents.config,
        "shape": asdict(contents.output_columns),
        "training": contents.training,
    }
    files.append(put_file(store, names.CARD, _card(contents, manifest, store.path)))
    files.sort(key=lambda file: file.path)
    report = page(manifest, files, store.chunks, store.path)
    files.append(put_file(store, names.REPORT, report))

    now = datetime.now(timezone.utc)
    seconds = (now - datetime.fromisoformat(contents.run["started"])).total_seconds()
    manifest["files"] = sorted(files, key=lambda file: file.path)
    manifest["run"] = {
        **contents.run,
        "gates": [verdict.to_json() for verdict in verdicts],
        "finished": now.isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
    }
    _publish_json(store, names.MANIFEST, manifest)
    store.put(names.DATASET_DICT, layout.dataset_dict())
    store.finish(contents.plan_digest)
    return counts


def fingerprint(plan_digest: str, split: str) -> str:
    """The split's ``_fingerprint``, by which ``datasets`` names its caches: 16 hex digits."""
    return hashlib.blake2b(f"{plan_digest}/{split}".encode(), digest_size=8).hexdigest()


def _plan(store: DatasetStore, contents: Contents) -> Any:
    if contents.plan is not None:
        return contents.plan
    return json.loads(required_work(store, PLAN_FILE))


def put_file(store: DatasetStore, path: str, data: bytes) -> DatasetFile:
    """Writes a small file of the set."""
    store.put(path, data)
    return DatasetFile(path, len(data), hashlib.sha256(data).hexdigest(), 0)


def _publish_json(store: DatasetStore, path: str, value: Any) -> None:
    """Writes a large file of the set, by way of a temporary one."""
    temporary = store.scratch_file()
    file = HashingFile(temporary)
    try:
        with io.TextIOWrapper(io.BufferedWriter(file), encoding="utf-8") as text:
            text.writelines(layout.json_text(value))
    except BaseException:
        file.abandon(temporary)
        raise
    store.publish(temporary, path, Written(0, file.size, file.hexdigest()))


def _card(contents: Contents, manifest: Mapping[str, Any], where: str) -> bytes:
    counts = manifest["counts"]
    figures = [(name, plain(words)) for name, words in short(ManifestView(manifest, where))]
    filled = [split for split in SPLITS if counts[split]]
    return card(
        _facts(contents, counts),
        filled or SPLITS,
        contents.output_columns,
        contents.training,
        figures,
    )


def _facts(contents: Contents, counts: Mapping[str, Any]) -> str:
    reasons = ", ".join(f"{n:,} {code}" for code, n in counts["rejected"]["by_reason"].items())
    rejected = f" Rejected: {reasons}." if reasons else ""
    return (
        f"{contents.summary}\n\n{counts['read']:,} rows were read: {counts['train']:,} are in "
        f"`train`, {counts['validation']:,} in `validation`.{rejected} `manifest.json` holds the "
        "plan, the counts and every file's SHA-256."
    )
