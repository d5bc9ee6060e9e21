"""The layout rule: file names and JSON of the folder that ``datasets.load_from_disk`` reads.

Read in ``datasets`` 5.2 (``Dataset.load_from_disk``, ``DatasetDict.load_from_disk``) and tried with
5.2 and 3.6:

    README.md            the card; its front matter lets load_dataset(FOLDER) find the splits
    dataset_dict.json    {"splits": [...]}; written last, without it nothing loads
    manifest.json        the record of the set
    rejects/             rows that were not kept, JSON Lines
    train/  validation/  data-00000-of-00012.arrow ..., state.json, dataset_info.json

Shards are uncompressed Arrow IPC *streams* (the file format does not load; compression costs the
memory map).  Nothing but shards and the two JSON files may lie in a split's folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from transforms.records import SetFile, Shard
from transforms.split import SPLITS

COLUMNS = ("text", "instruction", "response")
FEATURES = {name: {"dtype": "string", "_type": "Value"} for name in COLUMNS}
SCHEMA = pa.schema(
    [(name, pa.string()) for name in COLUMNS],
    metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
)

RECORD_BATCH_ROWS = 1000
"""Rows in a record batch of a shard, as ``datasets`` writes them: the grain of random access."""

DATASET_DICT = "dataset_dict.json"
MANIFEST = "manifest.json"
CARD = "README.md"
REJECTS_FOLDER = "rejects"
FORMAT_VERSION = 1


def shard_path(split: str, number: int, of: int) -> str:
    """Where shard ``number`` of ``of`` lies: ``train/data-00003-of-00012.arrow``."""
    ending = "jsonl" if split == REJECTS_FOLDER else "arrow"
    return f"{split}/data-{number:05d}-of-{of:05d}.{ending}"


def to_json(value: Any) -> bytes:
    """JSON as ``save_to_disk`` writes it (two spaces, sorted keys): equal values, equal bytes."""
    return "".join(json_text(value)).encode()


def json_text(value: Any) -> Iterator[str]:
    """The same in small pieces.  Files of the set may stand in it, which become their entries."""
    encoder = json.JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False, default=_entry)
    return encoder.iterencode(value)


def _entry(file: Shard | SetFile) -> dict[str, Any]:
    return {"path": file.path, "bytes": file.bytes, "sha256": file.sha256, "rows": file.rows}


def split_files(split: str, files: Sequence[Shard | SetFile], fingerprint: str) -> dict[str, bytes]:
    """``state.json`` and ``dataset_info.json`` of a split of ``files``."""
    state: dict[str, Any] = {
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
        "features": FEATURES,
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


def dataset_dict() -> bytes:
    """The file that makes the folder load."""
    return json.dumps({"splits": list(SPLITS)}).encode()


def card(facts: str, splits: Sequence[str] = SPLITS) -> bytes:
    """The card: front matter that names the files of ``splits``, the columns, ``facts`` as prose.

    ``splits`` are those that hold rows: ``load_dataset`` raises ValueError for an empty one.
    """
    configs = "\n".join(f"  - split: {split}\n    path: {split}/*.arrow" for split in splits)
    return f"""---
configs:
- config_name: default
  data_files:
{configs}
---

# Prepared instruction data

{facts}

| column | what it holds |
|---|---|
| `text` | the whole conversation in the model's chat format, for training |
| `instruction` | the question or prompt |
| `response` | the answer or completion |

```python
from datasets import load_from_disk

data = load_from_disk("FOLDER")
print(data["train"][0]["text"])
```
""".encode()
