"""Diff: what changed between two prepared sets, from hashes of their rows alone.

A row is told by its prompt (the normalised instruction, by which rows are split, too) and by all
of its columns; it may stand several times.  Each set is read once, shard by shard and checked on
the way; 17 bytes of each row are held.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.lib.recfunctions import repack_fields

from pipeline.dataset.verify import Stream, begin
from transforms.chat.output_columns import user_prompt
from transforms.errors import UsageError, VerificationFailed
from transforms.records import DatasetFile
from transforms.split import SPLITS, hash64
from transforms.storage.reader import DatasetReader, open_dataset
from transforms.storage.s3.uri import S3Options
from transforms.text.normalization import normalise_keys

_SEED = 0
_BETWEEN = "\x1f"  # unit separator: what stands in one column cannot pass for the next one's


@dataclass(frozen=True)
class Differences:
    """Counts of rows.

    ``same`` rows are in both sets, and ``moved`` ones of them are in another split.  ``changed``
    rows have the same prompt in both sets and another content.  The others are ``added`` (only in
    the second set) or ``removed`` (only in the first).
    """

    first: str
    second: str
    same: int
    moved: int
    changed: int
    added: int
    removed: int

    def to_json(self) -> dict[str, object]:
        """What ``--json`` prints."""
        return asdict(self)


def diff(
    first: str, second: str, options: S3Options, on_bytes: Callable[[int], None] | None = None
) -> Differences:
    """Compares two sets, each a folder or an S3 address.

    Raises ``UsageError`` where they have other columns, ``VerificationFailed`` where one is not
    what its manifest says.
    """
    places = [open_dataset(place, options) for place in (first, second)]
    columns, hashes = [], []
    for place in places:
        found, rows = _read(place, on_bytes)
        columns.append(found)
        hashes.append(rows)
    if columns[0] != columns[1]:
        raise UsageError(
            f"{first} has the columns {', '.join(columns[0])}, and {second} has "
            f"{', '.join(columns[1])}; prepare both with the same --columns to compare them"
        )
    return Differences(first, second, **compare(*hashes))


HASHES = np.dtype([("prompt", np.uint64), ("content", np.uint64), ("validation", np.bool_)])
"""What is held of a row."""


def compare(first: np.ndarray, second: np.ndarray) -> dict[str, int]:
    """The counts of ``Differences``; each array has a ``HASHES`` for every row."""
    pairs = ["prompt", "content"]
    whole, same = _common(first, second, pairs)
    _, in_place = _common(first, second, [*pairs, "validation"])
    left = [_counts(rows["prompt"]) for rows in (first, second)]
    for prompt, count in zip(whole["prompt"].tolist(), same.tolist(), strict=True):
        for counts in left:
            counts[prompt] -= count
    changed = sum(min(count, left[1].get(prompt, 0)) for prompt, count in left[0].items())
    total = int(same.sum())
    return {
        "same": total,
        "moved": total - int(in_place.sum()),
        "changed": changed,
        "added": len(second) - total - changed,
        "removed": len(first) - total - changed,
    }


def _common(
    first: np.ndarray, second: np.ndarray, fields: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows that both have, by some of their fields, and how often both have each."""
    packed = [repack_fields(rows[fields]) for rows in (first, second)]
    (one, one_counts), (two, two_counts) = (np.unique(a, return_counts=True) for a in packed)
    both, at_one, at_two = np.intersect1d(one, two, assume_unique=True, return_indices=True)
    return both, np.minimum(one_counts[at_one], two_counts[at_two])


def _counts(values: np.ndarray) -> dict[int, int]:
    distinct, counts = np.unique(values, return_counts=True)
    return dict(zip(distinct.tolist(), counts.tolist(), strict=True))


def _read(
    place: DatasetReader, on_bytes: Callable[[int], None] | None
) -> tuple[tuple[str, ...], np.ndarray]:
    manifest, problems = begin(place)
    if problems:
        raise VerificationFailed(f"{place.path}: {problems[0]}; run verify to see all problems")
    columns: tuple[str, ...] = ()
    parts = [np.empty(0, HASHES)]
    for file in manifest.files:
        split = file.path.partition("/")[0]
        if split in SPLITS and file.path.endswith(".arrow"):
            columns, rows = _shard(place, file, split == SPLITS[1], on_bytes or (lambda size: None))
            parts.append(rows)
    return columns, np.concatenate(parts)


def _shard(
    place: DatasetReader, file: DatasetFile, validation: bool, on_bytes: Callable[[int], None]
) -> tuple[tuple[str, ...], np.ndarray]:
    stream = Stream(place.chunks(file.path), on_bytes)
    parts = [np.empty(0, HASHES)]
    try:
        with pa.ipc.open_stream(stream) as reader:
            columns = tuple(reader.schema.names)
            for batch in reader:
                rows = np.empty(batch.num_rows, HASHES)
                rows["prompt"] = hash64(_SEED, normalise_keys(user_prompt(pa.table(batch))))
                rows["content"] = hash64(_SEED, _contents(batch))
                rows["validation"] = validation
                parts.append(rows)
    except (pa.ArrowException, OSError) as error:
        raise VerificationFailed(f"{place.path}: {file.path} is no Arrow stream") from error
    if stream.end() != file.sha256:
        raise VerificationFailed(
            f"{place.path}: {file.path} holds other bytes than were written; "
            "run verify to see all problems"
        )
    return columns, np.concatenate(parts)


def _contents(batch: pa.RecordBatch) -> pa.StringArray:
    texts = [
        column
        if pa.types.is_string(column.type)
        else pa.array([json.dumps(cell) for cell in column.to_pylist()], pa.string())
        for column in batch.columns
    ]
    return pc.binary_join_element_wise(*texts, _BETWEEN)
