"""Ways to change a source file, and a clock of the moments at which a job can be disturbed."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.formats import delimited, file_state, source_content, source_reader
from transforms.steps import commit

BATCH_BYTES = 2**16
_ROWS_TOGETHER = 200  # in a row group, or a record batch

Rows = Sequence[Mapping[str, str]]


def rows(first: int, count: int) -> list[dict[str, str]]:
    """Rows of some 500 bytes; every tenth is a copy of an earlier one."""
    numbers = [n - 7 if n % 10 == 9 else n for n in range(first, first + count)]
    return [
        {
            "question": f"What is {n} plus one, please?",
            "answer": f"It is {n + 1}." + 40 * " Of course.",
        }
        for n in numbers
    ]


def _lines(some: Rows) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in some)


def _array(some: Rows) -> bytes:
    return json.dumps(some).encode()


def _csv(some: Rows) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["question", "answer"])
    writer.writeheader()
    writer.writerows(some)
    return text.getvalue().encode()


def _parquet(some: Rows) -> bytes:
    sink = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist(list(some)),
        sink,
        row_group_size=_ROWS_TOGETHER,
        compression="none",
        use_dictionary=False,
    )
    return sink.getvalue()


def _arrow(some: Rows) -> bytes:
    sink = io.BytesIO()
    table = pa.Table.from_pylist(list(some))
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=_ROWS_TOGETHER)
    return sink.getvalue()


FORMATS: dict[str, Callable[[Rows], bytes]] = {
    ".jsonl": _lines,
    ".json": _array,
    ".csv": _csv,
    ".parquet": _parquet,
    ".arrow": _arrow,
}


# ---- changes: each is given the file, what it holds, and what writes its format


def _edited(data: bytes) -> bytes:
    """Other answers in the second half, of the same length."""
    middle = len(data) // 2
    return data[:middle] + data[middle:].replace(b"Of course", b"OF COURSE")


def _keep_times(path: Path, change: Callable[[], object]) -> None:
    before = path.stat()
    change()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _in_place(path: Path, data: bytes) -> None:
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


def _moved_over(path: Path, data: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(data)
    new.replace(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


Change = Callable[[Path, Rows, Callable[[Rows], bytes]], object]
CHANGES: dict[str, Change] = {
    "prepended": lambda path, old, form: _in_place(path, form([*rows(9000, 50), *old])),
    "appended": lambda path, old, form: _in_place(path, form([*old, *rows(9000, 50)])),
    "replaced": lambda path, old, form: _moved_over(path, form(rows(5000, len(old) + 100))),
    "cut": lambda path, old, form: os.truncate(path, path.stat().st_size // 2),
    "cut at a row": lambda path, old, form: _in_place(path, form(old[: len(old) // 2])),
    "emptied": lambda path, old, form: os.truncate(path, 0),
    "edited": lambda path, old, form: _in_place(path, _edited(form(old))),
    "edited at the same time": lambda path, old, form: _keep_times(
        path, lambda: _in_place(path, _edited(form(old)))
    ),
    "replaced at the same time": lambda path, old, form: _keep_times(
        path, lambda: _moved_over(path, _edited(form(old)))
    ),
    "deleted": lambda path, old, form: path.unlink(),
    "a folder": lambda path, old, form: _folder(path),
    "unreadable": lambda path, old, form: path.chmod(0),
}
KEEP_SIZE_AND_TIME = ("edited at the same time", "replaced at the same time")


class Moments:
    """Counts the moments of a job at which its source may change, and acts at one of them.

    A moment comes behind each check of a file's state, which is when a change is noticed last, and
    behind each batch that a reader gives.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self._at, self._act = 0, -1, lambda: None
        monkeypatch.setattr(delimited, "_BLOCK", BATCH_BYTES)
        for module in (source_reader, source_content, commit):
            monkeypatch.setattr(module, "require_unchanged", self._checked)
        self._module = source_reader._module
        monkeypatch.setattr(source_reader, "_module", self._reader)

    def start(self, at: int, act: Callable[[], object]) -> None:
        """Counts anew; ``act`` is called at the moment number ``at``."""
        self.count, self._at, self._act = 0, at, act

    def _tick(self) -> None:
        self.count += 1
        if self.count - 1 == self._at:
            self._act()

    def _checked(self, path: str, planned: Any) -> None:
        file_state.require_unchanged(path, planned)
        self._tick()

    def _reader(self, file_format: source_reader.FileFormat) -> ModuleType:
        real = self._module(file_format)

        def read(
            path: str, form: Any, file_range: Any, columns: Any, batch_bytes: int, *more: Any
        ) -> Iterator[source_reader.SourceRows]:
            for batch in real.read(path, form, file_range, columns, BATCH_BYTES, *more):
                self._tick()
                yield batch

        return SimpleNamespace(**{**vars(real), "read": read})  # type: ignore[return-value]
