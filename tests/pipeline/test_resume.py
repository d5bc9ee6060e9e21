"""--resume: what an earlier run finished is not made again, and the bytes are those of one run."""

from __future__ import annotations

import os
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_sets import use_server
from s3_runs import SMALL, stop_in_the_middle, stored, without_run, write_rows
from s3_servers import S3Server

import pipeline.launch.graph_inputs
import transforms.steps.read
from pipeline.cli.main import main
from pipeline.dataset.verify import verify
from transforms.errors import StorageError
from transforms.records import Batch, WorkUnit, Written
from transforms.steps.read import _ReadUnitFn
from transforms.storage.local import LocalStore
from transforms.storage.s3 import client as s3_client
from transforms.storage.s3.store import S3Store
from transforms.storage.s3.uri import S3Options

UNITS = 4
ROWS = 2400


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four units' worth of rows, one of them a reject."""
    return write_rows(tmp_path_factory.mktemp("source") / "rows.jsonl", ROWS)


@pytest.fixture(scope="module")
def reference(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The set as a run makes it that nothing disturbs."""
    output = tmp_path_factory.mktemp("reference") / "set"
    assert main(prepare(rows, str(output))) == 0
    return files_of(output)


def files_of(output: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in output.rglob("*")
        if path.is_file()
    }


def prepare(rows: Path, place: str, flag: str = "--output") -> list[str]:
    return ["--dataset", str(rows), flag, place, "--skip-upload", *SMALL]


@pytest.fixture
def read_units(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the units that workers read."""
    numbers: list[int] = []
    read = _ReadUnitFn._read

    def noted(self: _ReadUnitFn, unit: WorkUnit, *more: Any) -> Iterator[Batch]:
        numbers.append(unit.number)
        return read(self, unit, *more)

    monkeypatch.setattr(_ReadUnitFn, "_read", noted)
    return numbers


@pytest.fixture
def break_for(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the storage fail for these files, until it is called again."""
    fails: set[str] = set()

    def breaking(folder: type[Any]) -> None:
        publish = folder.publish

        def broken(self: Any, temporary: Path, name: str, written: Written) -> None:
            if name in fails:
                raise StorageError("the storage failed")
            publish(self, temporary, name, written)

        monkeypatch.setattr(folder, "publish", broken)

    breaking(LocalStore)
    breaking(S3Store)

    def begin(*names: str) -> None:
        fails.clear()
        fails.update(names)

    return begin


@pytest.fixture
def few_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than two units travel as files, instead of more than a thousand."""
    monkeypatch.setattr(transforms.steps.read, "MAX_INLINE", 2)
    monkeypatch.setattr(pipeline.launch.graph_inputs, "MAX_INLINE", 2)


class TestOnS3:
    @pytest.fixture
    def uri(
        self, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> str:
        use_server(monkeypatch, s3_server)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        return f"s3://{bucket}/sets/one"

    @pytest.fixture
    def sent(self, uri: str) -> list[str]:
        """The names of the shards that are put."""
        names: list[str] = []

        def on_bytes(request: Any, **_: object) -> None:
            path = request.url.split("?")[0]
            if request.method == "PUT" and path.endswith(".arrow"):
                names.append("/".join(path.split("/")[-2:]))

        s3_client.client_for(S3Options()).meta.events.register("before-send.s3", on_bytes)
        return names

    @pytest.fixture
    def half(self, rows: Path, uri: str, break_for: Callable[..., None], tmp_path: Path) -> None:
        """A run that the store stopped when two units were there, and a shard of another."""
        break_for(shard("validation", 2), shard("validation", 3))
        assert main(prepare(rows, uri)) == 5
        assert list(tmp_path.glob("reasonforge-*")) == []
        break_for()

    def test_only_what_is_missing_is_made(
        self,
        rows: Path,
        s3_server: S3Server,
        uri: str,
        sent: list[str],
        half: None,
        read_units: list[int],
        reference: dict[str, bytes],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        there = set(stored(s3_server, uri))
        assert there >= {shard(s, unit) for s in ("train", "validation") for unit in (0, 1)}
        assert shard("train", 2) in there  # without a record
        assert not {name.rpartition("/")[2] for name in there} & {"state.json", "manifest.json"}
        sent.clear()
        words = [word for word in prepare(rows, uri, "--resume") if word != "--quiet"]
        assert main(words) == 0
        assert "✓ Resumed: 2 of 4 shards were there already" in capsys.readouterr().out
        assert sorted(sent) == [shard(s, unit) for s in ("train", "validation") for unit in (2, 3)]
        assert sorted(read_units) == [2, 3]
        assert without_run(stored(s3_server, uri)) == without_run(reference)
        assert verify(uri).counts.read == ROWS

    def test_a_plain_run_makes_everything_again(
        self,
        rows: Path,
        s3_server: S3Server,
        uri: str,
        sent: list[str],
        half: None,
        reference: dict[str, bytes],
    ) -> None:
        sent.clear()
        assert main(prepare(rows, uri)) == 0
        assert len(sent) == 2 * UNITS
        assert without_run(stored(s3_server, uri)) == without_run(reference)

    @pytest.mark.parametrize("harm", ["gone", "other bytes", "shorter", "a record gone"])
    def test_a_shard_that_is_not_as_its_record_says_is_made_again(
        self,
        harm: str,
        rows: Path,
        s3_server: S3Server,
        bucket: str,
        uri: str,
        sent: list[str],
        half: None,
        reference: dict[str, bytes],
    ) -> None:
        name = shard("validation", 1)
        data = stored(s3_server, uri)[name]
        key = f"sets/one/{name}"
        if harm == "gone":
            s3_server.client().delete_object(Bucket=bucket, Key=key)
        elif harm == "a record gone":
            s3_server.client().delete_object(Bucket=bucket, Key="sets/one/_run/00001-rejects.json")
        else:
            other = data[:-8] if harm == "shorter" else data[::-1]
            s3_server.client().put_object(Bucket=bucket, Key=key, Body=other)
        sent.clear()
        assert main(prepare(rows, uri, "--resume")) == 0
        assert sorted(sent) == [
            shard(split, unit) for split in ("train", "validation") for unit in (1, 2, 3)
        ]
        assert without_run(stored(s3_server, uri)) == without_run(reference)

    def test_another_plan_is_refused(
        self,
        rows: Path,
        s3_server: S3Server,
        bucket: str,
        uri: str,
        half: None,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        before = s3_server.keys(bucket), stored(s3_server, uri)
        assert main([*prepare(rows, uri, "--resume"), "--seed", "7"]) == 6
        assert "was claimed by a run of plan" in capsys.readouterr().err
        assert (s3_server.keys(bucket), stored(s3_server, uri)) == before

    def test_where_nothing_was_begun_is_a_whole_run(
        self, rows: Path, s3_server: S3Server, uri: str, reference: dict[str, bytes]
    ) -> None:
        assert main(prepare(rows, uri, "--resume")) == 0
        assert without_run(stored(s3_server, uri)) == without_run(reference)

    def test_a_large_plan_goes_on_too(
        self,
        rows: Path,
        s3_server: S3Server,
        uri: str,
        few_inline: None,
        half: None,
        sent: list[str],
        reference: dict[str, bytes],
    ) -> None:
        sent.clear()
        assert main(prepare(rows, uri, "--resume")) == 0
        assert len(sent) == 4
        assert without_run(stored(s3_server, uri)) == without_run(reference)


class TestInAFolder:
    @pytest.fixture
    def output(self, tmp_path: Path) -> Path:
        return tmp_path / "cache" / "set"

    @pytest.fixture
    def half(self, rows: Path, output: Path, break_for: Callable[..., None]) -> None:
        """A run that the disk stopped when two units were there, and a shard of another."""
        break_for(shard("validation", 2), shard("validation", 3))
        assert main(prepare(rows, str(output))) == 5
        break_for()
        assert not output.exists()

    def beside(self, output: Path) -> set[str]:
        return {path.name for path in output.parent.iterdir()} - {".set.lock"}

    def test_only_what_is_missing_is_made(
        self,
        rows: Path,
        output: Path,
        half: None,
        read_units: list[int],
        reference: dict[str, bytes],
    ) -> None:
        assert self.beside(output) == {".set.partial", ".set.work"}
        assert main(prepare(rows, str(output), "--resume")) == 0
        assert sorted(read_units) == [2, 3]
        assert without_run(files_of(output)) == without_run(reference)
        assert self.beside(output) == {"set"}

    def test_a_plain_run_starts_over(
        self,
        rows: Path,
        output: Path,
        half: None,
        read_units: list[int],
        reference: dict[str, bytes],
    ) -> None:
        assert main(prepare(rows, str(output))) == 0
        assert len(read_units) == UNITS
        assert without_run(files_of(output)) == without_run(reference)
        assert self.beside(output) == {"set"}

    @pytest.mark.parametrize("harm", ["flipped", "gone", "shorter", "a record gone"])
    def test_a_shard_that_is_not_as_its_record_says_is_made_again(
        self,
        harm: str,
        rows: Path,
        output: Path,
        half: None,
        read_units: list[int],
        reference: dict[str, bytes],
    ) -> None:
        path = output.with_name(".set.partial") / shard("train", 1)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        if harm == "gone":
            path.unlink()
        elif harm == "a record gone":
            (output.with_name(".set.work") / "00001-splits.json").unlink()
        else:
            path.write_bytes(data if harm == "flipped" else data[:-8])
        assert main(prepare(rows, str(output), "--resume")) == 0
        assert sorted(read_units) == [1, 2, 3]
        assert without_run(files_of(output)) == without_run(reference)

    def test_another_plan_is_refused_and_keeps_what_is_there(
        self,
        rows: Path,
        output: Path,
        half: None,
        read_units: list[int],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert main([*prepare(rows, str(output), "--resume"), "--seed", "7"]) == 6
        assert "repeat the flags of that run, or leave out --resume" in capsys.readouterr().err
        assert main(prepare(rows, str(output), "--resume")) == 0
        assert sorted(read_units) == [2, 3]

    def test_where_nothing_was_begun_is_a_whole_run(
        self, rows: Path, output: Path, reference: dict[str, bytes]
    ) -> None:
        assert main(prepare(rows, str(output), "--resume")) == 0
        assert without_run(files_of(output)) == without_run(reference)

    def test_a_large_plan_goes_on_too(
        self,
        rows: Path,
        output: Path,
        few_inline: None,
        half: None,
        read_units: list[int],
        reference: dict[str, bytes],
    ) -> None:
        assert main(prepare(rows, str(output), "--resume")) == 0
        assert sorted(read_units) == [2, 3]
        assert without_run(files_of(output)) == without_run(reference)

    @pytest.mark.parametrize("unit", [0, 3])
    def test_a_source_that_changed_since_is_read_whole(
        self,
        unit: int,
        rows: Path,
        output: Path,
        break_for: Callable[..., None],
        read_units: list[int],
        tmp_path: Path,
    ) -> None:
        """Which rows a finished unit leaves out may depend on any row before it."""
        own = tmp_path / "rows.jsonl"
        own.write_bytes(rows.read_bytes())
        break_for(shard("validation", 2), shard("validation", 3))
        assert main(prepare(own, str(output))) == 5
        break_for()
        edit_and_keep_times(own, f"Frage {ROWS // UNITS * unit + 9},".encode())
        read_units.clear()
        assert main(prepare(own, str(output), "--resume")) == 0
        assert sorted(read_units) == [0, 1, 2, 3]
        clean = tmp_path / "clean" / "set"
        assert main(prepare(own, str(clean))) == 0
        assert without_run(files_of(output)) == without_run(files_of(clean))

    def test_rows_that_are_to_blame_leave_nothing(self, rows: Path, output: Path) -> None:
        assert main([*prepare(rows, str(output)), "--max-reject-rate", "0"]) == 8
        assert self.beside(output) == set()

    def test_a_disk_that_fails_before_a_unit_is_whole_leaves_nothing(
        self, rows: Path, output: Path, break_for: Callable[..., None]
    ) -> None:
        break_for(*(shard("validation", unit) for unit in range(UNITS)))
        assert main(prepare(rows, str(output))) == 5
        assert self.beside(output) == set()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_a_run_that_was_stopped_goes_on(
        self,
        number: signal.Signals,
        rows: Path,
        output: Path,
        tmp_path: Path,
        read_units: list[int],
        reference: dict[str, bytes],
    ) -> None:
        words = [word for word in prepare(rows, str(output)) if "in_memory" not in word]
        code, _ = stop_in_the_middle(words, number, os.environ, tmp_path)
        assert code == (-number if number == signal.SIGKILL else 128 + number)
        assert self.beside(output) == {".set.partial", ".set.work"}
        records = Counter(path.name[:5] for path in output.with_name(".set.work").glob("*-*s.json"))
        finished = {int(unit) for unit, kinds in records.items() if kinds == 2}
        assert 0 < len(finished) < UNITS
        assert main(prepare(rows, str(output), "--resume")) == 0
        assert sorted(read_units) == sorted(set(range(UNITS)) - finished)
        assert without_run(files_of(output)) == without_run(reference)
        assert self.beside(output) == {"set"}


def edit_and_keep_times(path: Path, words: bytes) -> None:
    """Other letters of as many bytes, at the same time."""
    before, data = path.stat(), path.read_bytes()
    assert words in data
    path.write_bytes(data.replace(words, words.swapcase()))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def shard(split: str, unit: int) -> str:
    return f"{split}/data-{unit:05d}-of-{UNITS:05d}.arrow"
