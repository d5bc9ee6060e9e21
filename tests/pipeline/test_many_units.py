"""100,000 work units: plan, graph, commit and progress cost what the issue allows, and no more.

Seconds are measured by ``benchmarks/many_units.py`` alone, whose cases run here for the rest.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from means import REPOSITORY

from transforms.dataset.layout import SCHEMA
from transforms.dataset.publish import Contents, commit
from transforms.dataset.shard_writer import ShardWriter
from transforms.quality.gates import Gates
from transforms.records import Shard
from transforms.storage.local import LocalStore
from transforms.storage.manifest_parts import Run
from transforms.storage.names import shard_path
from transforms.storage.store import SPLITS_RECORD, UnitReports, write_records

UNITS = 100_000
BEFORE_ANY_MB = 250
"""What a process needs that has imported Beam and Arrow, with room for later releases."""


def measured(case: str) -> dict[str, float]:
    """The figures of a case of the benchmark."""
    script = REPOSITORY / "benchmarks" / "many_units.py"
    done = subprocess.run(
        [sys.executable, script, case], cwd=REPOSITORY, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "shape", ["one-file", pytest.param("many-files", marks=pytest.mark.nightly)]
)
def test_a_plan_takes_little_memory_and_leaves_the_graph_small(shape: str) -> None:
    found = measured(shape)
    assert found["units"] == UNITS
    assert found["peak_mb"] < 500
    graphs = {name: size for name, size in found.items() if name.endswith("graph_mb")}
    assert graphs.keys() == {"local_graph_mb", "s3_graph_mb", "resumed_graph_mb"}
    assert max(graphs.values()) < 1


def test_a_commit_holds_the_records_of_its_shards_once() -> None:
    found = measured("commit")
    assert found["before_mb"] < BEFORE_ANY_MB
    assert found["manifest_mb"] > 60
    assert found["peak_mb"] - found["before_mb"] < 400


def test_a_manifest_written_in_pieces_is_the_json_of_the_whole(tmp_path: Path) -> None:
    folder = LocalStore(str(tmp_path / "out"))
    plan = {"units": [[["größe.jsonl", 0, 9, None]]], "empty": [], "val_size": 0.1}
    run = Run(started="2024-01-31T10:00:00+00:00")
    shards = [Shard(unit, "rejects", "", 0, 3, 0, "") for unit in range(9)]
    with folder.claimed():
        for unit in range(9):
            for split, rows in (("train", 2), ("validation", 1)):
                path = shard_path(split, unit, 9)
                writer = ShardWriter(folder.scratch_file())
                writer.append(pa.table([["text"] * rows] * len(SCHEMA), schema=SCHEMA))
                done = writer.close()
                folder.publish(writer.path, path, done)
                shards.append(Shard(unit, split, path, done.rows, 3, done.bytes, done.sha256))
        commit(folder, 9, Contents("größe", "", "01", plan, run, Gates(0.5), ""), reversed(shards))
    data = Path(folder.path, "manifest.json").read_bytes()
    manifest = json.loads(data)
    whole = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False)
    assert data == whole.encode()
    entries = {entry["path"]: entry for entry in manifest["files"]}
    assert list(entries) == sorted(entries)
    assert len(entries) == 18 + 4 + 2  # shards, two files a split, card and report
    path = "train/data-00003-of-00009.arrow"
    (shard,) = (shard for shard in shards if shard.path == path)
    told = {"path": path, "bytes": shard.bytes, "sha256": shard.sha256, "rows": 2}
    assert entries[path] == told
    assert not list(Path(folder.path).parent.glob(".*"))[1:]  # the lock alone


class TestProgress:
    @staticmethod
    def note(folder: LocalStore, unit: int) -> None:
        write_records(folder, unit, SPLITS_RECORD, [Shard(unit, "train", "x", 1, 1, 5, "")])

    def test_no_record_is_read_twice(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = LocalStore(str(tmp_path / "out"))
        read: list[str] = []
        get_work = LocalStore.get_work

        def spy(self: LocalStore, name: str) -> bytes | None:
            read.append(name)
            return get_work(self, name)

        monkeypatch.setattr(UnitReports, "__len__", lambda self: 0)  # so every call looks
        with folder.claimed():
            monkeypatch.setattr(LocalStore, "get_work", spy)
            for unit in range(5):
                self.note(folder, unit)
                assert len(folder.reports()) == unit + 1
        assert read == [f"{unit:05d}-splits.json" for unit in range(5)]

    def test_many_records_are_looked_for_less_often(self) -> None:
        looks = []

        def names() -> Iterator[str]:
            looks.append(1)
            yield from ()

        seen = UnitReports()
        for _ in range(3):
            seen.look(60, names(), lambda name: None)
        assert len(looks) == 1

    def test_a_record_that_is_gone_is_no_longer_reported(self) -> None:
        seen, data = UnitReports(), b'[{"read": 5, "bytes": 7}]'
        seen.look(0, ["00000-splits.json", "00001-splits.json"], lambda name: data)
        assert seen.reports() == [{"rows": 5, "bytes": 7}] * 2
        seen.look(0, ["00001-splits.json", "00001-rejects.json"], lambda name: data)
        assert seen.reports() == [{"rows": 5, "bytes": 7}]

    def test_what_the_launcher_saw_does_not_travel_to_workers(self, tmp_path: Path) -> None:
        folder = LocalStore(str(tmp_path / "out"))
        size = len(pickle.dumps(folder))
        with folder.claimed():
            for unit in range(20):
                self.note(folder, unit)
            assert len(folder.reports()) == 20
            assert len(pickle.dumps(folder)) == size
            assert len(pickle.loads(pickle.dumps(folder)).reports()) == 20
