"""Manifests with every part of a quality, made up, and what a page of them says."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from html.parser import HTMLParser
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from transforms.chat.output_columns import OutputColumns
from transforms.quality.lengths import Counts, histogram, summary
from transforms.records import DatasetFile
from transforms.report.page import page
from transforms.storage.manifest import read_manifest

MARKS = {"user_marker": "<|im_start|>user\n", "assistant_marker": "<|im_start|>assistant\n"}


def _lengths(unit: str, middle: float, seed: int) -> dict[str, Any]:
    chance = np.random.default_rng(seed)
    train, validation = (
        Counts.of(chance.gamma(4, middle / 4, rows).astype(np.uint32)) for rows in (6726, 747)
    )
    return {
        "unit": unit,
        "train": msgspec.to_builtins(summary(train)),
        "validation": msgspec.to_builtins(summary(validation)),
        "histogram": msgspec.to_builtins(histogram(train, validation)),
    }


def made_quality() -> dict[str, Any]:
    """Every part that is measured, of a set of 6,726 and 747 rows."""
    above = {
        "train": {"1024": 655, "2048": 33, "4096": 1, "8192": 0},
        "validation": {"1024": 70, "2048": 4, "4096": 0, "8192": 0},
    }
    return {
        "version": 1,
        "duplicates": {
            "mode": "near",
            "exact": 12,
            "near": 1_340,
            "threshold": 0.8,
            "by_file": {"test.jsonl": 2, "a/train~1.jsonl": 1_350},
            "other_files": 3,
        },
        "contamination": [
            {
                "benchmark": "gsm8k.jsonl",
                "prompts": 1_319,
                "too_short": 3,
                "rows": 7,
                "action": "report",
            }
        ],
        "truncated": 5,
        "leakage": {
            "checked": 747,
            "rows": 13,
            "exact": 0,
            "threshold": 0.8,
            "examples": [
                {
                    "similarity": 0.9123,
                    "validation": "Tom has 3 apples and buys 4 more. How many has he now?",
                    "train": "Tom has 3 pears and buys 4 more. How many has he now?",
                }
            ],
        },
        "lengths": {
            "text": _lengths("characters", 2200, 1),
            "instruction": _lengths("characters", 300, 2),
            "response": _lengths("characters", 1800, 3),
            "tokens": {**_lengths("tokens", 700, 4), "above": above},
        },
        "tokenizer": {
            "name": "some/model",
            "sha256": "5d9f569c4f60aca629a9f656045eb88a823d3f9743738cbc4d0a6bdeb48f75a8",
            "max_tokens": 4096,
            "too_long": "reject",
        },
        "balance": [
            {
                "what": "text length",
                "measure": "Kolmogorov-Smirnov",
                "distance": 0.031,
                "limit": 0.062,
                "verdict": "alike",
            },
            {
                "what": "column domain",
                "measure": "total variation",
                "distance": 0.25,
                "limit": 0.121,
                "verdict": "differs",
                "values": [
                    {"value": "mathematics", "train": 6000, "validation": 500},
                    {"value": "(none)", "train": 726, "validation": 247},
                ],
            },
            {
                "what": "source file",
                "measure": "total variation",
                "distance": None,
                "limit": None,
                "verdict": "too many values",
                "values": [],
            },
        ],
    }


def made_manifest(**changes: Any) -> dict[str, Any]:
    """A whole manifest with that quality; ``changes`` replace its keys."""
    return {
        "format_version": 1,
        "dataset": "some/reasoning",
        "revision": "1bdb2a29449498d7bcef88c50a555940fa26bbbc",
        "plan_digest": "fc97fc16610dda6bd6f8f2171b7f3f73fbf7fa58",
        "counts": {
            "read": 8_925,
            "train": 6_726,
            "validation": 747,
            "duplicates": 1_352,
            "rejected": {"total": 100, "by_reason": {"empty-response": 40, "unknown-role": 60}},
            "events": {"reasoning-not-in-text": 17, "benchmark-overlap: gsm8k.jsonl": 7},
        },
        "quality": made_quality(),
        "config": {"seed": 42},
        "shape": {"names": ["text"], "reasoning": False, "tools": False},
        "training": {
            **MARKS,
            "template": "chatml",
            "template_sha256": "5d9f569c4f60aca629a9f656045eb88a823d3f9743738cbc4d0a6bdeb48f75a8",
            "eos_token": "<|im_end|>",
            "snippets": {"TRL": "from trl import SFTTrainer"},
        },
        "plan": {
            "source": {
                "kind": "hub",
                "config": None,
                "split": "train",
                "format": {"name": "json_lines"},
                "files": [{"name": f"part-{n}.jsonl", "bytes": 7 ** min(n, 20)} for n in range(25)],
            },
            "columns": {"question": "string", "answer": "string"},
            "fields": {
                "instruction": ("question",),
                "response": ("answer", "proof"),
                "system": None,
                "rule": "columns question+answer",
            },
            "template": {
                "version": 1,
                "control_tokens": ["<|im_start|>", "<|im_end|>", ""],
                "system_prompt": "Be\nkind.",
                "think": "auto",
                "control_token_policy": "reject",
            },
            "split": {"seed": 42, "val_size": 0.1, "key": None, "version": 1},
            "max_samples": None,
            "units": [["anything"]],
        },
        **changes,
    }


def text_of(question: str, answer: str) -> str:
    user, assistant = MARKS.values()
    return f"{user}{question}<|im_end|>\n{assistant}{answer}<|im_end|>"


class MadeFiles:
    """Shards and rejects in memory: what is read of them is counted."""

    def __init__(self) -> None:
        self.files: list[DatasetFile] = []
        self._data: dict[str, bytes] = {}
        self.read: dict[str, int] = {}

    def put(self, path: str, data: bytes, rows: int) -> None:
        self.files.append(DatasetFile(path, len(data), "0" * 64, rows))
        self._data[path] = data

    def shard(self, path: str, texts: list[str], schema: pa.Schema | None = None) -> None:
        sink = io.BytesIO()
        schema = schema or OutputColumns().schema
        with pa.ipc.new_stream(sink, schema) as stream:
            table = pa.table([texts] * len(schema.names), schema=schema)
            stream.write_table(table, max_chunksize=1000)
        self.put(path, sink.getvalue(), len(texts))

    def chunks(self, path: str) -> Iterator[bytes]:
        data = self._data[path]
        for start in range(0, len(data), 1000):
            self.read[path] = self.read.get(path, 0) + 1000
            yield data[start : start + 1000]


def made_files(rows: int = 30, answer: str = "It is **4**.\n\n```python\n2 + 2\n```") -> MadeFiles:
    """Two shards of each split, and rejects of two reasons."""
    made = MadeFiles()
    for split in ("train", "validation"):
        for number in range(2):
            texts = [text_of(f"{split} {number} {n}: what is 2 + 2?", answer) for n in range(rows)]
            made.shard(f"{split}/data-0000{number}-of-00002.arrow", texts)
    lines = "".join(
        f'{{"file": "part-0.jsonl", "row": {n}, "code": "{code}", "excerpt": "{{\\"answer\\"}}"}}\n'
        for n, code in enumerate(["empty-response"] * 5 + ["unknown-role"] * 2, 1)
    )
    made.put("rejects/data-00000-of-00002.jsonl", lines.encode(), 7)
    return made


def made_page(manifest: dict[str, Any] | None = None, files: MadeFiles | None = None) -> str:
    files = files or made_files()
    found = read_manifest(as_bytes(manifest or made_manifest(), files.files), "here")
    return page(found, files.files, files.chunks, "here").decode()


def as_bytes(manifest: dict[str, Any], files: list[DatasetFile] | None = None) -> bytes:
    """The JSON of a manifest that lists these files."""
    entries = [asdict(file) for file in files or ()]
    text = json.dumps({"files": entries, **manifest})
    return text.replace("Infinity", "1e999").encode()


class Page(HTMLParser):
    """A page as a browser reads it: elements, text, and numbers with their places.

    Only closed elements are known to be closed: `text` is that of all but the style.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.numbers: list[tuple[str | None, str, str]] = []
        self.text = ""
        self._of: list[str] = []
        self._number: tuple[str | None, str] | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        self._of.append(tag)
        if tag == "data":
            self._number = (found.get("data-at"), str(found["value"]))

    def handle_endtag(self, tag: str) -> None:
        while self._of and self._of.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._of and self._of[-1] == "style":
            return
        self.text += data
        if self._of and self._of[-1] == "data" and self._number:
            self.numbers.append((*self._number, data))

    def names(self) -> list[str]:
        return [tag for tag, _ in self.elements]


def at(manifest: Any, pointer: str) -> Any:
    """What stands at a JSON pointer."""
    found = manifest
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        found = found[int(key) if isinstance(found, (list, tuple)) else key]
    return found
