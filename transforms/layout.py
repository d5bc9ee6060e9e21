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

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transforms.chat.output_columns import Shape, describe
from transforms.records import SetFile, Shard
from transforms.split import SPLITS
from transforms.storage.names import REPORT

DEFAULT_SHAPE = Shape()
COLUMNS = DEFAULT_SHAPE.columns
SCHEMA = DEFAULT_SHAPE.schema


def to_json(value: Any) -> bytes:
    """JSON as ``save_to_disk`` writes it (two spaces, sorted keys): equal values, equal bytes."""
    return "".join(json_text(value)).encode()


def json_text(value: Any) -> Iterator[str]:
    """The same in small pieces.  Files of the set may stand in it, which become their entries."""
    encoder = json.JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False, default=_entry)
    return encoder.iterencode(value)


def _entry(file: Shard | SetFile) -> dict[str, Any]:
    return {"path": file.path, "bytes": file.bytes, "sha256": file.sha256, "rows": file.rows}


def split_files(
    split: str,
    files: Sequence[Shard | SetFile],
    fingerprint: str,
    shape: Shape = DEFAULT_SHAPE,
) -> dict[str, bytes]:
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
        "features": shape.features,
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


def card(
    facts: str,
    splits: Sequence[str] = SPLITS,
    shape: Shape = DEFAULT_SHAPE,
    training: Mapping[str, Any] | None = None,
    figures: Sequence[tuple[str, str]] = (),
) -> bytes:
    """The card: front matter that names the files of ``splits``, the columns, ``facts`` as prose,
    ``training`` (see ``pipeline.training``), how trainers are told of the set, and ``figures``,
    (name, what is told) of its quality, where there is a report with all of them.

    ``splits`` are those that hold rows: ``load_dataset`` raises ValueError for an empty one.
    """
    columns = "\n".join(f"| `{name}` | {what} |" for name, what in describe(shape.features))
    shown = shape.columns[0]
    configs = "\n".join(f"  - split: {split}\n    path: {split}/*.arrow" for split in splits)
    return f"""---
configs:
- config_name: default
  data_files:
{configs}
---

# Prepared instruction data

{facts}
{_quality(figures) if figures else ""}
| column | what it holds |
|---|---|
{columns}

```python
{load_snippet(shown)}
```
{_training(training) if training else ""}""".encode()


def load_snippet(column: str) -> str:
    """Python that loads the set and shows a column; ``FOLDER`` stands for its place."""
    return (
        "from datasets import load_from_disk\n\n"
        'data = load_from_disk("FOLDER")\n'
        f'print(data["train"][0]["{column}"])'
    )


def _quality(figures: Sequence[tuple[str, str]]) -> str:
    rows = "\n".join(f"| {name} | {told} |" for name, told in figures)
    return f"\n| quality | |\n|---|---|\n{rows}\n\n`{REPORT}` tells all of it, with examples.\n"


def _training(facts: Mapping[str, Any]) -> str:
    """How trainers are told of the set; strings as Python writes them, so that line ends show."""
    rows = [
        ("template", f"`{facts['template']}`, SHA-256 `{facts['template_sha256']}`"),
        ("before the user's part", f"`{facts['user_marker']!r}`"),
        ("before the assistant's part", f"`{facts['assistant_marker']!r}`"),
        ("end of a text", f"`{facts['eos_token']!r}`"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    snippets = "\n\n".join(
        f"**{name}**\n\n```\n{snippet}\n```" for name, snippet in facts["snippets"].items()
    )
    return f"\n## Training\n\n| | |\n|---|---|\n{table}\n\n{snippets}\n"
