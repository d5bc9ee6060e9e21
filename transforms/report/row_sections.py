"""The page's sections on rows: what was read, the splits, duplicates, leakage, contamination."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from transforms.leakage.contamination import OVERLAP
from transforms.records import DatasetFile, Shard
from transforms.report.elements import (
    DISTANCE,
    NOT_MEASURED,
    NOTHING,
    SHARE,
    Example,
    Figure,
    Section,
    Table,
    Words,
    at,
    plain,
    share,
)
from transforms.report.headline import contamination, leakage
from transforms.split import SPLITS
from transforms.storage.manifest import ManifestFacts
from transforms.storage.manifest_parts import Leakage, Quality, RowCounts, SplitBy
from transforms.storage.names import REJECTS_FOLDER

_MOST_ROWS = 50
_MOST_FILES = 20

Rejects = Mapping[str, Sequence[tuple[str, str]]]
"""(place, excerpt) of some rejected rows, by their reason."""


def read(counts: RowCounts, rejects: Rejects) -> Section:
    """What became of every row."""
    whole = Figure(counts.read, at("counts", "read"))
    found = (
        ("read", whole),
        ("kept", Figure(counts.kept)),
        ("rejected", Figure(counts.rejected.total, at("counts", "rejected", "total"))),
        ("duplicates removed", Figure(counts.duplicates, at("counts", "duplicates"))),
    )
    rows = tuple(((name,), (n,), (_of(n, whole),)) for name, n in found)
    tables = [Table("All rows read", ("rows", "number", "share"), rows)]
    reasons = _most(counts.rejected.by_reason, at("counts", "rejected", "by_reason"))
    if reasons:
        told = tuple(((name,), (n,), (_of(n, whole),)) for name, n in reasons)
        tables.append(Table("Rejected, by reason", ("reason", "rows", "share of all"), told))
    note_counts = _most(counts.events, at("counts", "events"))
    noted = tuple(((name,), (n,)) for name, n in note_counts if not name.startswith(OVERLAP))
    if noted:
        tables.append(Table("Kept, with a note", ("what", "rows"), noted))
    examples = tuple(
        Example(f"Examples of {name}", tuple(rejects[name]))
        for name, _ in reasons
        if rejects.get(name)
    )
    words: list[Words] = []
    if reasons:
        words.append((f"All rejected rows are in the folder {REJECTS_FOLDER}/ of the set.",))
    return Section("read", "What was read", tuple(words), tuple(tables), examples=examples)


def splits(manifest: ManifestFacts, files: Iterable[DatasetFile | Shard]) -> Section:
    """How many rows, shards and bytes each split has."""
    counts, rule = manifest.counts, _split_rule(manifest)
    kept = Figure(counts.kept)
    shards = [file for file in files if file.path.endswith(".arrow")]
    rows = []
    for split, count in counts.splits.items():
        own = [file for file in shards if file.path.startswith(f"{split}/")]
        n = Figure(count, at("counts", split))
        size = Figure(sum(file.bytes for file in own))
        rows.append(((split,), (n,), (_of(n, kept),), (Figure(len(own)),), (size,)))
    words: Words = ("The split rule is unknown.",)
    if rule:
        key = "the normalised instruction" if rule.key is None else rule.key
        words = (
            f"A row is in validation by a hash of {key} and the seed ",
            Figure(rule.seed, at("plan", "split", "seed")),
            "; the expected share is ",
            Figure(rule.val_size, at("plan", "split", "val_size"), SHARE),
            ". Rows with equal keys are never in both splits.",
        )
    head = ("split", "rows", "share", "shards", "bytes")
    return Section("splits", "The two splits", (words,), (Table("Splits", head, tuple(rows)),))


def _split_rule(manifest: ManifestFacts) -> SplitBy | None:
    return manifest.plan.split if manifest.plan else None


def duplicates(counts: RowCounts, quality: Quality) -> Section:
    """What was removed, and from which files."""
    found, place = quality.duplicates, at("quality", "duplicates")
    if not found:
        return Section("duplicates", "Duplicates", ((f"Duplicates were {NOT_MEASURED}.",),))
    if found.mode == "off":
        why = "Duplicates were not searched (--dedup off): they remain in the set."
        return Section("duplicates", "Duplicates", ((why,),))
    words: Words = (
        Figure(found.exact, f"{place}/exact"),
        " rows are exact duplicates of an earlier row (instruction and response)",
    )
    if found.mode == "near":
        alike = Figure(found.threshold or 0.0, f"{place}/threshold", DISTANCE)
        nearly = Figure(found.near, f"{place}/near")
        words = (*words, ", ", nearly, " are near duplicates (they share at least ", alike)
        words = (*words, " of their word 3-grams)")
    else:
        words = (*words, "; near duplicates were not searched (see --dedup near)")
    most = _most(found.by_file or {}, f"{place}/by_file")[:_MOST_FILES]
    rows = tuple(((name,), (n,)) for name, n in most)
    more = Figure(found.other_files or 0, f"{place}/other_files")
    tables = (Table("Duplicates removed, by file", ("file", "rows"), rows),) if rows else ()
    note: Words = ("Further files with duplicates: ", more, ".")
    rest = ". They were removed; the first row in source order is kept."
    rest = rest if counts.duplicates else "."
    lines = ((*words, rest),)
    return Section("duplicates", "Duplicates", (*lines, note) if more.value else lines, tables)


def leaks(manifest: ManifestFacts) -> Section:
    """Validation rows with a near duplicate in train, with examples."""
    found, place = manifest.quality and manifest.quality.leakage, at("quality", "leakage")
    if not found or plain(leakage(found).words) == NOT_MEASURED:
        why = f"Near duplicates of validation rows in train were {NOT_MEASURED}."
        return Section("leakage", "Leakage", ((why,),))
    exact = Figure(found.exact, f"{place}/exact")
    words: Words = (
        "Of ",
        Figure(manifest.counts.validation, at("counts", "validation")),
        " validation rows ",
        Figure(found.checked, f"{place}/checked"),
        " were checked. ",
        Figure(found.rows, f"{place}/rows"),
        " of them have a near duplicate among the prompts of train",
    )
    if found.threshold is not None:
        alike = Figure(found.threshold, f"{place}/threshold", DISTANCE)
        words = (*words, " (they share at least ", alike, " of their word 3-grams)")
    words = (*words, "; exact duplicates: ", exact, *_why_copies(found, _split_rule(manifest)), ".")
    examples = []
    for number, one in enumerate((found.examples or ())[:_MOST_FILES], 1):
        similarity = plain((Figure(one.similarity, kind=DISTANCE),))
        texts = (("validation", one.validation), ("train", one.train))
        examples.append(Example(f"Pair {number}: similarity {similarity}", texts))
    return Section("leakage", "Leakage", (words,), examples=tuple(examples))


def _why_copies(found: Leakage, rule: SplitBy | None) -> Words:
    """What the split has to do with exact copies, so far as the manifest tells it."""
    if found.by_prompt is True:
        return () if found.exact else (", as rows with equal prompts are kept in one split",)
    if found.by_prompt is not False:
        return ()
    key = rule.key if rule else None
    how = f"split by the column {key}" if key is not None else "split before prompts are escaped"
    return (f"; rows are {how}, so equal prompts can be in both splits",)


def overlap(quality: Quality) -> Section:
    """Rows that contain parts of benchmarks."""
    found = quality.contamination
    rows = tuple(
        (
            (one.benchmark,),
            (Figure(one.prompts, at("quality", "contamination", n, "prompts")),),
            (Figure(one.too_short, at("quality", "contamination", n, "too_short")),),
            (Figure(one.rows, at("quality", "contamination", n, "rows")),),
            ("dropped" if one.action == "drop" else "kept",),
        )
        for n, one in enumerate((found or ())[:_MOST_ROWS])
    )
    head = (
        "benchmark",
        "prompts",
        "too short to check",
        "contaminated rows",
        "action",
    )
    told = plain(contamination(found))
    words = (f"{told[:1].upper()}{told[1:]}.",)
    tables = (Table("Benchmarks", head, rows),) if rows else ()
    return Section("contamination", "Contamination", (words,), tables)


def balance(quality: Quality) -> Section:
    """Does validation resemble train?"""
    if not quality.balance:
        return Section("balance", "Balance", ((f"The splits' balance was {NOT_MEASURED}.",),))
    rows, tables = [], []
    for n, one in enumerate(quality.balance[:_MOST_ROWS]):
        place = at("quality", "balance", n)
        numbers = tuple(
            NOTHING if value is None else (Figure(value, f"{place}/{name}", DISTANCE),)
            for name, value in (("distance", one.distance), ("limit", one.limit))
        )
        rows.append(((one.what,), (one.verdict,), *numbers, (one.measure,)))
        values = tuple(
            (
                (value.value,),
                (Figure(value.train, f"{place}/values/{m}/train"),),
                (Figure(value.validation, f"{place}/values/{m}/validation"),),
            )
            for m, value in enumerate(one.values[:_MOST_FILES])
        )
        if values:
            tables.append(Table(f"Rows by {one.what}", ("value", *SPLITS), values))
    words: Words = (
        "Validation should resemble train. A distance is from 0 (equal) to 1; above its limit it "
        "is unlikely to be chance.",
    )
    head = ("what", "verdict", "distance", "limit", "measure")
    whole = Table("Train compared with validation", head, tuple(rows))
    return Section("balance", "Balance", (words,), (whole, *tables))


def _of(part: Figure, whole: Figure) -> Figure:
    return share(int(part.value), int(whole.value))


def _most(found: Mapping[str, int], place: str) -> list[tuple[str, Figure]]:
    """The counts of an object at a place, the largest first."""
    counts = [(name, Figure(value, place + at(name))) for name, value in found.items()]
    return sorted(counts, key=lambda item: (-item[1].value, item[0]))[:_MOST_ROWS]
