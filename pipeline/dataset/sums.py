"""What a manifest counts must add up: the rows, the files' rows, and each part of the quality."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transforms.records import DatasetFile
from transforms.split import SPLITS
from transforms.storage.manifest import Manifest
from transforms.storage.manifest_parts import Lengths, Quality, RowCounts
from transforms.storage.names import MANIFEST, REJECTS_FOLDER


def wrong_sums(manifest: Manifest) -> list[str]:
    """What does not add up in the manifest itself."""
    problems = [*_wrong_counts(manifest.counts, manifest.files)]
    if manifest.quality:
        problems += _wrong_quality(manifest.quality, manifest.counts)
    return [f"{MANIFEST} {problem}" for problem in problems]


def _wrong_counts(counts: RowCounts, files: Sequence[DatasetFile]) -> Iterator[str]:
    rejected = counts.rejected
    parts = {**counts.splits, "duplicates": counts.duplicates, "rejected": rejected.total}
    if counts.read != sum(parts.values()):
        found = " + ".join(f"{count:,} {name}" for name, count in parts.items())
        yield f"counts {counts.read:,} rows read, but {found}"
    for folder, name in (*zip(SPLITS, SPLITS, strict=True), (REJECTS_FOLDER, "rejected")):
        rows = sum(file.rows for file in files if file.path.startswith(f"{folder}/"))
        if rows != parts[name]:
            yield (
                f"counts {parts[name]:,} rows {name}, but the files that it names in {folder}/ "
                f"have {rows:,}"
            )
    by_reason = sum(rejected.by_reason.values())
    if by_reason != rejected.total:
        yield f"counts {rejected.total:,} rows rejected, but {by_reason:,} by reason"
    for name, count in counts.events.items():
        if count > counts.read:
            yield f"counts {count:,} rows with the note {name!r:.100} of {counts.read:,} read"


def _wrong_quality(quality: Quality, counts: RowCounts) -> Iterator[str]:
    found = quality.duplicates
    if found:
        removed = found.exact + found.near
        if removed != counts.duplicates:
            yield f"counts {counts.duplicates:,} duplicates, but {removed:,} in its quality"
        by_file = sum((found.by_file or {}).values())
        if found.by_file is not None and (
            by_file > removed or (by_file < removed and not found.other_files)
        ):
            yield f"counts {removed:,} duplicates in its quality, but {by_file:,} by file"
    for one in quality.contamination or ():
        if one.rows > counts.read:
            yield f"counts {one.rows:,} contaminated rows of {counts.read:,} read"
    if (quality.truncated or 0) > counts.kept:
        yield f"counts {quality.truncated:,} rows cut short of {counts.kept:,} kept"
    leaks = quality.leakage
    if leaks and not max(leaks.rows, leaks.exact) <= leaks.checked <= counts.validation:
        yield (
            f"counts {leaks.rows:,} leaks, {leaks.exact:,} of them exact, among {leaks.checked:,} "
            f"rows checked of {counts.validation:,} validation rows"
        )
    for column, lengths in (quality.lengths or {}).items():
        yield from _wrong_lengths(column, lengths, counts)
    for balance in quality.balance or ():
        for split, rows in counts.splits.items():
            shown = sum(getattr(value, split) for value in balance.values)
            if shown > rows:
                yield f"balances {balance.what!r:.100} of {shown:,} {split} rows of {rows:,}"


def _wrong_lengths(column: str, lengths: Lengths, counts: RowCounts) -> Iterator[str]:
    for split, rows in counts.splits.items():
        measured = lengths.splits[split].rows
        if measured > rows or (column == "text" and measured != rows):
            yield f"measures {column!r:.100} of {measured:,} {split} rows of {rows:,}"
        binned = sum(lengths.histogram.splits[split]) if lengths.histogram else measured
        if binned != measured:
            yield f"measures {column!r:.100} of {measured:,} {split} rows, but bins {binned:,}"
        above = (lengths.above or {}).get(split, {})
        if max(above.values(), default=0) > measured:
            yield f"measures {column!r:.100} of {measured:,} {split} rows, but more are longer"
