"""Shards: Arrow streams whose bytes depend on their rows alone."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import xxhash
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from means import examples

from transforms.dataset.layout import SCHEMA
from transforms.dataset.shard_writer import HashingFile, ShardWriter
from transforms.records import Written
from transforms.storage.names import RECORD_BATCH_ROWS

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def rows(count: int, salt: str = "") -> pa.Table:
    """Rows of uneven length, so that buffers of parts end anywhere."""
    cells = [f"{salt}{n} é{'x' * (n * 7 % 13)}" for n in range(count)]
    return pa.table([cells, [c[:3] for c in cells], [c[-5:] for c in cells]], schema=SCHEMA)


def write(path: Path, batches: list[pa.Table]) -> tuple[bytes, Written]:
    writer = ShardWriter(path)
    for batch in batches:
        writer.append(batch)
    done = writer.close()
    return path.read_bytes(), done


def cut(table: pa.Table, cuts: list[int]) -> list[pa.Table]:
    edges = [0, *sorted(min(c, table.num_rows) for c in cuts), table.num_rows]
    return [table.slice(a, b - a) for a, b in zip(edges, edges[1:], strict=False)]


@examples(60)
@given(
    count=st.sampled_from([0, 1, 7, 999, 1000, 1001, 2000, 3456]),
    cuts=st.lists(st.integers(0, 3456), max_size=12),
    copied=st.booleans(),
)
def test_the_bytes_do_not_depend_on_how_the_rows_were_batched(
    count: int, cuts: list[int], copied: bool
) -> None:
    table = rows(count)
    parts = cut(table, cuts)
    if copied:  # as a reader would have made them: buffers of their own
        parts = [pa.table([c.to_pylist() for c in p.columns], schema=SCHEMA) for p in parts]
    with tempfile.TemporaryDirectory() as folder:
        whole = write(Path(folder, "whole"), [table])
        assert write(Path(folder, "parts"), parts) == whole


@examples(60)
@given(
    cells=st.lists(st.tuples(texts, st.booleans()), max_size=60),
    every=st.integers(1, 20),
    offset=st.integers(0, 5),
)
def test_the_bytes_do_not_depend_on_what_was_filtered_out_around_the_rows(
    cells: list[tuple[str, bool]], every: int, offset: int
) -> None:
    text = [cell for cell, _ in cells]
    table = pa.table([text, text, text], schema=SCHEMA)
    mask = pa.array([keep for _, keep in cells], pa.bool_())
    wanted = [cell for cell, keep in cells if keep]
    clean = pa.table([wanted, wanted, wanted], schema=SCHEMA)
    # What a filter leaves, and what if_else makes, with a bitmap though nothing is null.
    nulls = pa.table(
        [pc.if_else(mask, column, None).filter(mask) for column in table.columns], schema=SCHEMA
    )
    with tempfile.TemporaryDirectory() as folder:
        expected = write(Path(folder, "clean"), [clean])
        for name, found in (("filtered", table.filter(mask)), ("nulls", nulls)):
            parts = cut(found, [offset + every * n for n in range(20)])
            assert write(Path(folder, name), parts) == expected


def test_the_bytes_of_a_shard_are_known(tmp_path: Path) -> None:
    # A change here is a change of every set: it needs a note in the change log.  It may come with
    # a new release of pyarrow, whose version each manifest names.
    _, done = write(tmp_path / "x", [rows(1500)])
    assert done.sha256 == ("d8f76e3c0ce375cc4d4e7b061bb92250205281191470bbba3286880dfceb18bd")


@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 2500])
def test_record_batches_hold_a_thousand_rows(tmp_path: Path, count: int) -> None:
    write(tmp_path / "x", cut(rows(count), [10, 11, 500, 1300]))
    with pa.ipc.open_stream(tmp_path / "x") as stream:
        sizes = [batch.num_rows for batch in stream]
    full, rest = divmod(count, RECORD_BATCH_ROWS)
    assert RECORD_BATCH_ROWS == 1000
    assert sizes == [1000] * full + [rest] * bool(rest)


def test_the_file_is_an_uncompressed_stream_with_the_features(tmp_path: Path) -> None:
    table = rows(1200)
    data, _ = write(tmp_path / "x", [table])
    with pytest.raises(pa.ArrowInvalid):
        pa.ipc.open_file(tmp_path / "x")
    with pa.ipc.open_stream(tmp_path / "x") as stream:
        assert stream.schema.equals(SCHEMA, check_metadata=True)
        assert b"huggingface" in stream.schema.metadata
        assert stream.read_all().equals(table)
    assert data.endswith(b"\xff\xff\xff\xff\x00\x00\x00\x00")  # the end-of-stream marker
    longest = max(table["text"].to_pylist(), key=len)
    assert longest.encode() in data


def test_the_record_tells_rows_bytes_and_sha256(tmp_path: Path) -> None:
    data, done = write(tmp_path / "x", [rows(3), rows(0), rows(4)])
    digests = hashlib.sha256(data).hexdigest(), xxhash.xxh3_128_hexdigest(data)
    assert done == Written(7, len(data), *digests)


def test_a_shard_without_rows_loads(tmp_path: Path) -> None:
    _, done = write(tmp_path / "x.arrow", [])
    assert done.rows == 0
    loaded = Dataset.from_file(str(tmp_path / "x.arrow"))
    assert (loaded.num_rows, loaded.column_names) == (0, ["text", "instruction", "response"])


def test_a_shard_loads_as_its_rows(tmp_path: Path) -> None:
    write(tmp_path / "x.arrow", [rows(2300)])
    assert Dataset.from_file(str(tmp_path / "x.arrow")).to_list() == rows(2300).to_pylist()


@pytest.mark.parametrize("count", [1, 1001])
def test_rows_without_any_text_are_written(tmp_path: Path, count: int) -> None:
    write(tmp_path / "x.arrow", [pa.table([[""] * count] * 3, schema=SCHEMA)])
    assert Dataset.from_file(str(tmp_path / "x.arrow"))["text"] == [""] * count


def test_an_abandoned_shard_leaves_nothing(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "x")
    writer.append(rows(1100))
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


def test_two_attempts_never_write_one_file(tmp_path: Path) -> None:
    ShardWriter(tmp_path / "x")
    with pytest.raises(FileExistsError):
        ShardWriter(tmp_path / "x")


def test_a_hashing_file_counts_what_it_wrote(tmp_path: Path) -> None:
    file = HashingFile(tmp_path / "x")
    assert file.writable()
    assert file.write(b"abc") == 3
    assert file.write(memoryview(bytes(range(8))).cast("I")) == 8
    file.close()
    file.close()
    data = b"abc" + bytes(range(8))
    assert (tmp_path / "x").read_bytes() == data
    digests = hashlib.sha256(data).hexdigest(), xxhash.xxh3_128_hexdigest(data)
    assert file.written(3) == Written(3, 11, *digests)
