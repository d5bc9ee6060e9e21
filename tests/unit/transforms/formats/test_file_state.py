"""A local file is still the planned one, or the error names it and says what changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.errors import BadInput
from transforms.formats import source_reader
from transforms.formats.file_state import difference, require_unchanged, state_of
from transforms.formats.source_reader import FileFormat
from transforms.records import Column, FileRange, FileState

LINE = b'{"q": "What is it?", "a": "It is that."}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(20 * LINE)
    return path


def edit(path: Path, same_times: bool) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        file.write(LINE.upper())
    if same_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def move_over(path: Path) -> None:
    before, new = path.stat(), path.with_name("new")
    new.write_bytes(20 * LINE.upper())
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(path)


def become_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "appended": (lambda path: path.write_bytes(21 * LINE), "had 820 bytes and has 861"),
    "cut": (lambda path: os.truncate(path, 41), "had 820 bytes and has 41"),
    "edited": (lambda path: edit(path, same_times=False), "written to or replaced"),
    "edited, times kept": (lambda path: edit(path, same_times=True), "times or permissions"),
    "replaced, times kept": (move_over, "replaced, or its times"),
    "deleted": (lambda path: path.unlink(), "it is gone"),
    "a folder": (become_folder, "not a file any more"),
    "unreadable": (lambda path: path.chmod(0), "permissions were set"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_change_is_told_with_the_file_and_what_to_do(path: Path, kind: str) -> None:
    planned = state_of(path)
    require_unchanged(str(path), planned)
    change, what = CHANGES[kind]
    change(path)
    with pytest.raises(BadInput) as told:
        require_unchanged(str(path), planned)
    assert str(path) in str(told.value)
    assert what in str(told.value)
    assert str(told.value).endswith("run again when nothing writes to it")


def test_the_folder_of_a_file_may_be_gone_too(path: Path) -> None:
    planned = state_of(path)
    path.unlink()
    path.parent.rmdir()
    path.parent.write_bytes(b"")
    assert difference(str(path), planned) == "it is gone"


def test_another_machine_compares_size_and_time_of_the_bytes_alone(path: Path) -> None:
    """A share may show another time of change there; the hashes of the bytes see the rest."""
    os.utime(path, ns=(0, 5_123_456_789))
    elsewhere = replace(state_of(path), host="another", changed=1)
    assert difference(str(path), elsewhere) is None
    assert difference(str(path), replace(elsewhere, modified=5_000_000_000)) is None
    assert difference(str(path), replace(elsewhere, modified=4_999_999_999)) is not None
    edit(path, same_times=True)
    assert difference(str(path), elsewhere) is None
    edit(path, same_times=False)
    assert difference(str(path), elsewhere) == "it was written to or replaced"


def test_reading_and_hard_names_of_another_file_are_no_change(path: Path) -> None:
    planned = state_of(path)
    path.read_bytes()
    (path.parent / "beside").write_bytes(b"")
    assert difference(str(path), planned) is None
    assert difference("/nowhere", None) is None


# ---- the entry to the readers


def read(path: Path, file_range: FileRange, batch_bytes: int = 60) -> list[int]:
    columns = [Column("q", "string")]
    batches = source_reader.read(
        str(path), FileFormat("json_lines"), file_range, columns, batch_bytes
    )
    return [batch.read for batch in batches]


@pytest.fixture
def planned(path: Path) -> FileState:
    return state_of(path)


def test_a_file_that_changed_before_it_is_read_gives_no_row(path: Path, planned: FileState) -> None:
    edit(path, same_times=False)
    assert sum(read(path, FileRange("", 0, 0))) == 20
    with pytest.raises(BadInput, match="changed while it was read"):
        read(path, FileRange("", 0, 0, state=planned))


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("batch", [0, 3])
def test_a_change_between_two_batches_ends_the_reading(
    path: Path, planned: FileState, kind: str, batch: int
) -> None:
    columns = [Column("q", "string")]
    reading = source_reader.read(
        str(path), FileFormat("json_lines"), FileRange("", 0, 0, state=planned), columns, 60
    )
    for _ in range(batch + 1):
        next(reading)
    CHANGES[kind][0](path)
    with pytest.raises(BadInput, match="changed while it was read"):
        next(reading)


def test_a_change_after_the_last_batch_is_found_too(path: Path, planned: FileState) -> None:
    """Else a file that is cut at the end of a batch would only seem to be shorter."""
    columns = [Column("q", "string")]
    reading = source_reader.read(
        str(path), FileFormat("json_lines"), FileRange("", 0, 0, state=planned), columns, 10**6
    )
    next(reading)
    edit(path, same_times=True)
    with pytest.raises(BadInput, match="changed while it was read"):
        next(reading)


def test_what_a_reader_makes_of_half_a_file_is_told_as_the_change(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"q": [str(n) for n in range(1000)]}), path)
    file_range = FileRange("", 0, 1, state=state_of(path))
    os.truncate(path, 100)
    batches = source_reader.read(
        str(path), FileFormat("parquet"), file_range, [Column("q", "string")]
    )
    with pytest.raises(BadInput, match="changed while it was read"):
        list(batches)
    with pytest.raises(BadInput, match="changed while it was read"):
        source_reader.first_row(
            str(path), FileFormat("parquet"), FileRange("", 1, 2, state=file_range.state)
        )


def test_rows_of_a_mapped_file_stay_when_it_is_cut(tmp_path: Path) -> None:
    """Reading a page of the file that is gone would end the process."""
    path = tmp_path / "rows.arrow"
    table = pa.table({"q": [f"question {n}" * 100 for n in range(2000)]})
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=500)
    state, columns = state_of(path), [Column("q", "string")]
    reading = source_reader.read(
        str(path), FileFormat("arrow_ipc"), FileRange("", 0, 4, state=state), columns
    )
    first = next(reading).table
    os.truncate(path, 0)
    assert first["q"].to_pylist() == table["q"].slice(0, first.num_rows).to_pylist()
    with pytest.raises(BadInput, match="had .* bytes and has 0"):
        next(reading)
