"""Names of a set's files."""

from __future__ import annotations

DATASET_DICT = "dataset_dict.json"


MANIFEST = "manifest.json"


CARD = "README.md"


REPORT = "report.html"


REJECTS_FOLDER = "rejects"


FORMAT_VERSION = 1


RECORD_BATCH_ROWS = 1000
"""Rows in a record batch of a shard, as ``datasets`` writes them: the grain of random access."""


def shard_path(split: str, number: int, shard_count: int) -> str:
    """Where shard ``number`` of ``shard_count`` lies: ``train/data-00003-of-00012.arrow``."""
    ending = "jsonl" if split == REJECTS_FOLDER else "arrow"
    return f"{split}/data-{number:05d}-of-{shard_count:05d}.{ending}"
