"""Messages of Arrow streams and files: as Arrow reads them, also past batches and in pieces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.errors import BadInput
from transforms.formats import arrow_messages, source_reader
from transforms.formats.arrow_messages import PrivateFile, messages
from transforms.formats.source_reader import FileFormat
from transforms.records import Column, FileRange

OPTIONS = pa.ipc.IpcWriteOptions
WAYS: dict[str, tuple[Callable[..., Any], Any]] = {
    "stream": (pa.ipc.new_stream, None),
    "file": (pa.ipc.new_file, None),
    "before 0.15": (pa.ipc.new_stream, OPTIONS(use_legacy_format=True)),
    "compressed": (pa.ipc.new_stream, OPTIONS(compression="zstd")),
    "deltas": (pa.ipc.new_stream, OPTIONS(emit_dictionary_deltas=True)),
}
sizes = st.lists(st.integers(0, 40), min_size=1, max_size=8)


def write(path: Path, way: str, sizes: list[int]) -> list[list[dict[str, Any]]]:
    """Batches of these sizes, with a dictionary that grows from one to the next."""
    schema = pa.schema([("q", pa.string()), ("kind", pa.dictionary(pa.int32(), pa.string()))])
    new, options = WAYS[way]
    number, rows, known = 0, [], ["none"]
    with new(str(path), schema, options=options) as writer:
        for batch, size in enumerate(sizes):
            if way != "file":  # a file has one dictionary for all
                known = [*known, f"kind {batch}"]
            some = [known[n % len(known)] for n in range(size)]
            kinds = pa.DictionaryArray.from_arrays(
                pa.array([known.index(kind) for kind in some], pa.int32()), known
            )
            texts = pa.array([f"question {number + n} " * 9 for n in range(size)], pa.string())
            table = pa.record_batch([texts, kinds], schema=schema)
            writer.write_batch(table)
            rows.append(table.to_pylist())
            number += size
    return rows


@pytest.mark.parametrize("most_in_memory", [10, 2**20])
@pytest.mark.parametrize("way", WAYS)
@given(sizes=sizes, data=st.data())
def test_any_run_of_batches_is_what_was_written(
    way: str,
    most_in_memory: int,
    sizes: list[int],
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.arrow"
    written = write(path, way, sizes)
    found = list(messages(str(path)))
    assert [message.rows for message in found if message.rows is not None] == sizes
    edges = [message.start for message in found[1:]]
    assert edges == [message.stop for message in found[:-1]]

    start = data.draw(st.integers(0, len(sizes) - 1))
    stop = data.draw(st.integers(start + 1, len(sizes)))
    file_range = FileRange("", start, stop)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrow_messages, "_MOST_IN_MEMORY", most_in_memory)
        batches = list(
            source_reader.read(
                str(path), FileFormat("arrow_ipc"), file_range, [Column("q", "string")], 300
            )
        )
    texts = [text for batch in batches for text in batch.table["q"].to_pylist()]
    assert texts == [row["q"] for rows in written[start:stop] for row in rows]
    before = source_reader.first_row(str(path), FileFormat("arrow_ipc"), file_range)
    assert before == sum(sizes[:start])


@pytest.mark.parametrize("most_in_memory", [10, 2**20])
def test_dictionaries_of_batches_that_are_passed_over_count(
    tmp_path: Path, most_in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow_messages, "_MOST_IN_MEMORY", most_in_memory)
    for way in ("stream", "deltas"):
        path = tmp_path / f"{way}.arrow"
        written = write(path, way, [5, 5, 5])
        with pa.ipc.open_stream(pa.PythonFile(PrivateFile(str(path), 2), mode="r")) as stream:
            assert stream.read_all().to_pylist() == written[2]


def test_a_read_stays_as_it_was_when_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow_messages, "_MOST_IN_MEMORY", 100)
    path = tmp_path / "a"
    path.write_bytes(bytes(range(200)) * 10)
    file = PrivateFile(str(path))
    small, large = file.read(50), file.read(1000)
    path.write_bytes(b"")
    assert bytes(small) + bytes(large) == (bytes(range(200)) * 10)[:1050]
    assert bytes(file.read(1000)) == b""


def test_a_damaged_header_is_the_file_s_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    write(path, "stream", [20, 20, 20])
    whole = path.read_bytes()
    second = [message for message in messages(str(path)) if message.rows][1]
    for place in range(second.start, second.start + 120):
        for value in (0, 0x7F, 0xFF):
            path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            try:
                for message in messages(str(path)):
                    assert message.stop > message.start
            except ValueError:
                pass
    path.write_bytes(whole[: second.start + 8] + b"\xff" * 60 + whole[second.start + 68 :])
    with pytest.raises(BadInput, match="a.arrow"):
        source_reader.first_row(str(path), FileFormat("arrow_ipc"), FileRange("", 2, 3))
