"""Folders of ``save_to_disk``: what a folder says of itself is not trusted."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pytest
from command_runs import has, put
from conversions import Convert
from source_files import (
    TABLE,
    saved_folder,
    stream,
    table_of,
)


@pytest.mark.parametrize(
    "name",
    ["../secret.arrow", "/etc/passwd", "..", ".", "", "a/../../secret.arrow", None, 7, "a\0b"],
)
def test_files_outside_of_the_folder(convert: Convert, tmp_path: Path, name: object) -> None:
    stream(tmp_path / "in" / "secret.arrow", TABLE)
    source = saved_folder(tmp_path / "in", files=[{"filename": name}])
    ended = convert("--dataset", source)
    assert ended.code == 3
    assert has(ended.err, "state.json", "expected file names in its folder")


@pytest.mark.parametrize("splits", [["../other"], ["/etc"], [".."], [], "train", [7]])
def test_splits_outside_of_the_folder(convert: Convert, tmp_path: Path, splits: object) -> None:
    source = saved_folder(tmp_path / "in")
    put(source / "dataset_dict.json", json.dumps({"splits": splits}))
    ended = convert("--dataset", source)
    assert ended.code == 3
    assert has(ended.err, "dataset_dict.json", "splits")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'{"_data_files": 5}', b"\xff"])
def test_a_broken_state(convert: Convert, tmp_path: Path, data: bytes) -> None:
    source = saved_folder(tmp_path / "in")
    put(source / "train" / "state.json", data)
    ended = convert("--dataset", source)
    assert ended.code == 3
    assert has(ended.err, "state.json")


def test_a_missing_shard(convert: Convert, tmp_path: Path) -> None:
    source = saved_folder(tmp_path / "in", files=[{"filename": "data-00001-of-00002.arrow"}])
    ended = convert("--dataset", source)
    assert ended.code == 3
    assert has(ended.err, "data-00001-of-00002.arrow is missing", "state.json")


def test_a_linked_shard(convert: Convert, tmp_path: Path) -> None:
    secret = stream(tmp_path / "secret.arrow", TABLE)
    source = saved_folder(tmp_path / "in", files=[{"filename": "link.arrow"}])
    (source / "train" / "link.arrow").symlink_to(secret)
    ended = convert("--dataset", source)
    assert ended.code == 2
    assert has(ended.err, "link.arrow", "link out of the folder")


@pytest.mark.parametrize("way", ["file", "saved"])
@pytest.mark.parametrize("ending", range(8))
def test_a_stream_cut_between_batches(
    convert: Convert, tmp_path: Path, way: str, ending: int
) -> None:
    """A cut stream reads without error, and may end with zeros like a whole one."""
    sink, batches = io.BytesIO(), []
    # Each batch by itself: slices of a larger one are not padded with zeros.
    for part in range(3):
        texts = ["It is so."] * 9 + ["It is" + "." * ending]
        batches.append(table_of(answer=texts[part:]).combine_chunks().to_batches()[0])
    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        ends = [writer.write_batch(batch) or sink.tell() for batch in batches]
    source = saved_folder(tmp_path / "in")
    shard = source / "train" / "data-00000-of-00001.arrow"
    for end in (*ends, len(sink.getvalue()) - 8, len(sink.getvalue()) - 4):
        put(shard, sink.getvalue()[:end])
        ended = convert("--dataset", source if way == "saved" else shard)
        assert ended.code == 3
        assert has(ended.err, shard.name, "no end-of-stream marker", "rows are missing")
    put(shard, sink.getvalue())
    assert convert("--dataset", source if way == "saved" else shard).code == 0


def test_two_streams_in_one_file(convert: Convert, tmp_path: Path) -> None:
    path = stream(tmp_path / "a.arrow", TABLE)
    put(path, path.read_bytes() * 2)
    ended = convert("--dataset", path)
    assert ended.code == 3
    assert has(ended.err, "a.arrow", "has data after the end", "one stream")
