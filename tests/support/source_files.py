"""Small source files of every format, whole and damaged, and the rows that they hold."""

from __future__ import annotations

import json
import os
import pickle
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_runs import put

ROWS = [
    {"question": f"What is {i} plus one, please?", "answer": f"It is {i + 1}, of course."}
    for i in range(40)
]
GOOD = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
CSV_ROW = "What is this about?,It is about that.\n"
NAMED = ("--fields", "instruction=question,response=answer")
TABLE = pa.Table.from_pylist(ROWS)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "good.jsonl"
    path.parent.mkdir()
    path.write_bytes(GOOD)
    return path


def parquet(path: Path, table: pa.Table, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def stream(path: Path, table: pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)
    return path


def table_of(**columns: Any) -> pa.Table:
    """A table with a question for every row of the other columns."""
    size = len(next(iter(columns.values())))
    questions = [f"What is number {i} about?" for i in range(size)]
    return pa.table({"question": questions, **columns})


def evil_pickle(folder: Path) -> bytes:
    """A pickle that makes ``folder/canary`` when it is loaded."""

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {folder / 'canary'}",)

    return pickle.dumps(Evil())


def saved_folder(
    path: Path, table: pa.Table = TABLE, features: object = None, files: object = None
) -> Path:
    """A folder as ``save_to_disk`` writes it, with one split; ``files`` is what it says it has."""
    stream(path / "train" / "data-00000-of-00001.arrow", table)
    put(path / "dataset_dict.json", '{"splits": ["train"]}')
    names = [{"filename": "data-00000-of-00001.arrow"}] if files is None else files
    put(path / "train" / "state.json", json.dumps({"_data_files": names, "_fingerprint": "0"}))
    put(path / "train" / "dataset_info.json", json.dumps({"features": features or {}}))
    return path


def media_source(path: Path, media: str, way: str, *names: str) -> Path:
    """A source whose media column names files elsewhere; ``way`` is file, folder or saved."""
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = pa.array([{"bytes": None, "path": name} for name in names], struct)
    features = {
        "question": {"dtype": "string", "_type": "Value"},
        "answer": {"dtype": "string", "_type": "Value"},
        "media": {"_type": media},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = table_of(answer=["It is so.", "It is not."], media=cells)
    table = table.replace_schema_metadata(metadata)
    if way == "saved":
        return saved_folder(path, table, features)
    source = parquet(path / "train.parquet", table)
    return source.parent if way == "folder" else source


ODD_TEXTS = (
    "NUL \0 and bell \a and escape \x1b[31m and delete \x7f",
    "right \u202eto left\u202c, isolates \u2066x\u2069, marks \u200f\u200e",
    unicodedata.normalize("NFC", "é ü ﬁ Å 각"),
    unicodedata.normalize("NFD", "é ü ﬁ Å 각"),
    "zero width \u200b\u200d\ufeff and separators \u2028 \u2029 \x85 \x0b \x0c",
    "  led and trailed by space \t\r\n\r ",
    "e" + "\u0301" * 5000 + " combining",
    "private \ue000 \U0010fffd, not a character \ufffe \ufdd0, emoji 👩‍👩‍👧‍👦",
    "<|im_sta" + "\u00ad" + "rt|>",
    "{{ 7*7 }} {% for x in range(9**9) %}{{ x }}{% endfor %} {{ ''.__class__ }} ${7*7}",
    "%(a)s {0}",
    "'; DROP TABLE t; -- <script>alert(1)</script> $(touch x) `id` \\n \\u0041",
)


def odd_texts(folder: Path, kind: str) -> Path:
    """A source of rows with odd text in both fields."""
    rows = [{"question": text, "answer": text[::-1]} for text in ODD_TEXTS]
    path = folder / f"a.{kind}"
    if kind == "jsonl":
        put(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    elif kind == "json":
        put(path, json.dumps(rows))
    elif kind == "csv":
        quoted = [
            ",".join('"' + cell.replace('"', '""') + '"' for cell in row.values()) for row in rows
        ]
        put(path, "\r\n".join(["question,answer", *quoted]))
    else:
        {"parquet": parquet, "arrow": stream}[kind](path, pa.Table.from_pylist(rows))
    return path
