"""The layout rule: file names and JSON of the folder that ``datasets.load_from_disk`` reads.

Read in ``datasets`` 5.2 (``Dataset.load_from_disk``, ``DatasetDict.load_from_disk``) and tried with
5.2 and 3.6:

    README.md            the card; its front matter lets load_dataset(FOLDER) find the splits
    dataset_dict.json    {"splits": [...]}; written last, without it nothing loads
    manifest.json        the record of the set
    report.html          one page that tells its quality
    rejects/             rows that were not kept, JSON Lines
    train/  validation/  data-00000-of-00012.arrow ..., state.json, dataset_info.json

Shards are uncompressed Arrow IPC *streams* (the file format does not load; compression costs the
memory map).  Nothing but shards and the two JSON files may lie in a split's folder.
"""

from __future__ import annotations

from collections.abc import Sequence

from transforms.chat.output_columns import OutputColumns
from transforms.records import DatasetFile, Shard
from transforms.storage.manifest import json_text

DEFAULT_COLUMNS = OutputColumns()
COLUMNS = DEFAULT_COLUMNS.columns
SCHEMA = DEFAULT_COLUMNS.schema


def to_json(value: object) -> bytes:
    """JSON as ``save_to_disk`` writes it: two spaces, sorted keys."""
    return "".join(json_text(value)).encode()


def split_files(
    split: str,
    files: Sequence[Shard | DatasetFile],
    fingerprint: str,
    output_columns: OutputColumns = DEFAULT_COLUMNS,
) -> dict[str, bytes]:
    """``state.json`` and ``dataset_info.json`` of a split of ``files``."""
    state: dict[str, object] = {
        "_data_files": [{"filename": file.path.rsplit("/", 1)[-1]} for file in files],
        "_fingerprint": fingerprint,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": split,
    }
    size = sum(file.bytes for file in files)
    info = {
        "citation": "",
        "description": "",
        "features": output_columns.features,
        "homepage": "",
        "license": "",
        "size_in_bytes": size,
        "splits": {
            split: {
                "name": split,
                "num_bytes": size,
                "num_examples": sum(file.rows for file in files),
            }
        },
    }
    return {f"{split}/state.json": to_json(state), f"{split}/dataset_info.json": to_json(info)}
