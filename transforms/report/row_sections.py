"""The page's sections on rows: what was read, the splits, duplicates, leakage, contamination."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from transforms.leakage.contamination import OVERLAP
from transforms.records import DatasetFile, Shard
from transforms.report.elements import (
    NOT_MEASURED,
    NOTHING,
    SHARE,
    Example,
    Figure,
    Section,
    Table,
    Words,
    plain,
    share,
)
from transforms.report.headline import contamination, kept_rows, leakage
from transforms.report.manifest_view import ManifestView
from transforms.split import SPLITS
from transforms.storage.names import REJECTS_FOLDER

_MOST_ROWS = 50
_MOST_FILES = 20

Rejects = Mapping[str, Sequence[tuple[str, str]]]
"""(place, excerpt) of some rejected rows, by their reason."""


def read(manifest: ManifestView, rejects: Rejects) -> Section:
    """What became of every row."""
    counts = manifest.part("counts")
    whole = counts.part("read").count()
    found = (
        ("read", whole),
        ("kept", Figure(kept_rows(counts))),
        ("rejected", counts.part("rejected", "total").count()),
        ("left out as duplicates", counts.part("duplicates").count()),
    )
    rows = tuple(((name,), (n,), (_of(n, whole),)) for name, n in found)
    tables = [Table("Every row read", ("rows", "number", "share"), rows)]
    reasons = _most(counts.part("rejected", "by_reason"))
    if reasons:
        told = tuple(((name,), (n,), (_of(n, whole),)) for name, n in reasons)
        tables.append(Table("Rejected, by reason", ("reason", "rows", "share of all"), told))
    note_counts = _most(counts.part("events"))
    noted = tuple(((name,), (n,)) for name, n in note_counts if not name.startswith(OVERLAP))
    if noted:
        tables.append(Table("Kept, but to be known", ("what", "rows"), noted))
    examples = tuple(
        Example(f"For example, {name}", tuple(rejects[name]))
        for name, _ in reasons
        if rejects.get(name)
    )
    words: list[Words] = []
    if reasons:
        words.append((f"All rejected rows are in the folder {REJECTS_FOLDER}/ of the set.",))
    return Section("read", "What was read", tuple(words), tuple(tables), examples=examples)


def splits(manifest: ManifestView, files: Iterable[DatasetFile | Shard]) -> Section:
    """How many rows, shards and bytes each split has."""
    counts, rule = manifest.part("counts"), manifest.part("plan", "split")
    kept = Figure(kept_rows(counts))
    shards = [file for file in files if file.path.endswith(".arrow")]
    rows = []
    for split in SPLITS:
        own = [file for file in shards if file.path.startswith(f"{split}/")]
        n = counts.part(split).count()
        size = Figure(sum(file.bytes for file in own))
        rows.append(((split,), (n,), (_of(n, kept),), (Figure(len(own)),), (size,)))
    words: Words = ("How the rows were split is not known.",)
    if rule:
        key = rule.part("key").text() if rule.part("key") else "the normalised instruction"
        words = (
            f"A row is in validation by a hash of {key} and the seed ",
            rule.part("seed").count(),
            "; the expected share is ",
            rule.part("val_size").number(SHARE),
            ". Rows with equal keys are never in both splits.",
        )
    head = ("split", "rows", "share", "shards", "bytes")
    return Section("splits", "The two splits", (words,), (Table("Splits", head, tuple(rows)),))


def duplicates(manifest: ManifestView) -> Section:
    """What was left out, and where it stood."""
    found = manifest.part("quality", "duplicates")
    if not found:
        return Section("duplicates", "Duplicates", ((f"Duplicates were {NOT_MEASURED}.",),))
    mode = found.part("mode").text()
    if mode == "off":
        why = "Duplicates were not looked for (--dedup off): what repeats is in the set."
        return Section("duplicates", "Duplicates", ((why,),))
    words: Words = (
        found.part("exact").count(),
        " rows are exact copies of an earlier one (instruction and response)",
    )
    if mode == "near":
        alike = found.part("threshold").number()
        nearly = found.part("near").count()
        words = (*words, ", ", nearly, " nearly so (", alike, " of their word 3-grams or more)")
    else:
        words = (*words, "; near copies were not looked for (--dedup near does)")
    rows = tuple(((name,), (n,)) for name, n in _most(found.part("by_file"))[:_MOST_FILES])
    more = found.part("other_files").count() if found.part("other_files") else Figure(0)
    tables = (Table("Duplicates left out, by file", ("file", "rows"), rows),) if rows else ()
    note: Words = ("Further files that have some: ", more, ".")
    some = manifest.part("counts", "duplicates").count().value
    rest = ". These are not in the set; the first one in source order is." if some else "."
    lines = ((*words, rest),)
    return Section("duplicates", "Duplicates", (*lines, note) if more.value else lines, tables)


def leaks(manifest: ManifestView) -> Section:
    """Validation rows that training nearly holds, with examples."""
    found = manifest.part("quality", "leakage")
    if plain(leakage(found).words) == NOT_MEASURED:
        why = f"Near copies of validation rows in training were {NOT_MEASURED}."
        return Section("leakage", "Leakage", ((why,),))
    exact = found.part("exact").count()
    words: Words = (
        "Of ",
        manifest.part("counts", "validation").count(),
        " validation rows ",
        found.part("checked").count(),
        " were looked at. ",
        found.part("rows").count(),
        " of these have a near copy among the training prompts",
    )
    if found.part("threshold"):
        words = (*words, " (", found.part("threshold").number(), " of their word 3-grams or more)")
    words = (*words, "; exact copies: ", exact, *_why_copies(manifest, not exact.value), ".")
    examples = []
    for number, one in enumerate(found.part("examples").entries(_MOST_FILES), 1):
        alike = plain((one.part("similarity").number(),))
        texts = tuple((split, one.part(split).text()) for split in reversed(SPLITS))
        examples.append(Example(f"Pair {number}: similarity {alike}", texts))
    return Section("leakage", "Leakage", (words,), examples=tuple(examples))


def _why_copies(manifest: ManifestView, none: bool) -> Words:
    """What the split has to do with exact copies, so far as the manifest tells it."""
    by_prompt = manifest.part("quality", "leakage", "by_prompt").value
    if by_prompt is True:
        return (", as rows with equal prompts are kept in one split",) if none else ()
    if by_prompt is not False:
        return ()
    key = manifest.part("plan", "split", "key")
    how = f"split by the column {key.text()}" if key else "split before prompts are escaped"
    return (f"; rows are {how}, so that equal prompts may stand in both splits",)


def overlap(manifest: ManifestView) -> Section:
    """Rows that hold pieces of benchmarks."""
    found = manifest.part("quality", "contamination")
    rows = tuple(
        (
            (one.part("benchmark").text(),),
            (one.part("prompts").count(),),
            (one.part("too_short").count(),),
            (one.part("rows").count(),),
            ("left out" if one.part("action").text() == "drop" else "kept and counted",),
        )
        for one in found.entries(_MOST_ROWS)
    )
    head = (
        "benchmark",
        "prompts",
        "too short to look for",
        "rows with 13 words, or a whole short prompt",
        "they are",
    )
    told = plain(contamination(found))
    words = (f"{told[:1].upper()}{told[1:]}.",)
    tables = (Table("Benchmarks", head, rows),) if rows else ()
    return Section("contamination", "Contamination", (words,), tables)


def balance(manifest: ManifestView) -> Section:
    """Is validation like training?"""
    found = manifest.part("quality", "balance")
    if not found.entries(_MOST_ROWS):
        return Section("balance", "Balance", ((f"The splits' balance was {NOT_MEASURED}.",),))
    rows, tables = [], []
    for one in found.entries(_MOST_ROWS):
        what = one.part("what").text()
        numbers = tuple(
            (one.part(name).number(),) if one.part(name) else NOTHING
            for name in ("distance", "limit")
        )
        verdict, measure = one.part("verdict").text(), one.part("measure").text()
        rows.append(((what,), (verdict,), *numbers, (measure,)))
        values = tuple(
            (
                (value.part("value").text(),),
                (value.part("train").count(),),
                (value.part("validation").count(),),
            )
            for value in one.part("values").entries(_MOST_FILES)
        )
        if values:
            tables.append(Table(f"Rows by {what}", ("value", *SPLITS), values))
    words: Words = (
        "Validation should look like training. A distance is from 0 (alike) to 1; beyond its "
        "limit chance alone does not explain it.",
    )
    head = ("what", "verdict", "distance", "limit", "measure")
    whole = Table("Training compared with validation", head, tuple(rows))
    return Section("balance", "Balance", (words,), (whole, *tables))


def _of(part: Figure, whole: Figure) -> Figure:
    return share(int(part.value), int(whole.value))


def _most(found: ManifestView) -> list[tuple[str, Figure]]:
    """The counts of an object, the largest first."""
    counts = [(name, one.count()) for name, one in found.items()]
    return sorted(counts, key=lambda item: (-item[1].value, item[0]))[:_MOST_ROWS]
