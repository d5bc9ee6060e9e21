"""Two of anything at one place on S3: runs, finalisers, attempts at one shard; and none at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from threading import Barrier
from typing import Any

import pyarrow as pa
import pytest
from datasets import load_from_disk
from made_sets import use_server
from s3_runs import SMALL, Commands, stored, without_run
from s3_servers import S3Server

import pipeline.dataset.destinations
from pipeline.cli.main import main
from pipeline.dataset.verify import verify
from transforms.dataset.layout import SCHEMA
from transforms.dataset.publish import Contents, commit
from transforms.dataset.shard_writer import ShardWriter
from transforms.errors import DataPrepError, OutputTaken, VerificationFailed
from transforms.quality.gates import Gates
from transforms.records import Shard
from transforms.storage.local import LocalStore
from transforms.storage.manifest_parts import Run
from transforms.storage.names import shard_path
from transforms.storage.s3 import bucket as s3_bucket
from transforms.storage.s3.lease import S3Lease
from transforms.storage.s3.store import S3Store
from transforms.storage.s3.uri import S3Uri
from transforms.storage.store import DatasetStore

UNITS = 2


def contents(plan: str) -> Contents:
    return Contents(
        dataset="some/set",
        revision="abc",
        plan_digest=plan,
        plan={"name": plan},
        run=Run(started="2024-01-31T10:00:00+00:00", runner="Test"),
        gates=Gates(max_reject_rate=0.5),
        summary="Made from `some/set`.",
    )


def write_unit(folder: DatasetStore, plan: str, unit: int) -> list[Shard]:
    """One attempt at a unit: three rows for train, one for validation, all with the plan's name."""
    shards = []
    for split, count in (("train", 3), ("validation", 1)):
        writer = ShardWriter(folder.scratch_file())
        cells = [f"{plan} {split} {unit} {n}" for n in range(count)]
        writer.append(pa.table([cells] * 3, schema=SCHEMA))
        done = writer.close()
        path = shard_path(split, unit, UNITS)
        folder.publish(writer.path, path, done)
        shards.append(Shard(unit, split, path, count, 4, done.bytes, done.sha256))
    return [*shards, Shard(unit, "rejects", "", 0, 4, 0, "")]


def write_units(folder: DatasetStore, plan: str) -> list[Shard]:
    return [shard for unit in range(UNITS) for shard in write_unit(folder, plan, unit)]


def make(folder: S3Store, plan: str) -> None:
    """A whole run."""
    with folder.claimed(plan):
        commit(folder, UNITS, contents(plan), write_units(folder, plan))


@pytest.fixture
def aws(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Makes this process the root of the server, in a folder of its own; options for `datasets`."""
    use_server(monkeypatch, s3_server)
    monkeypatch.chdir(tmp_path)
    return {"storage_options": {"endpoint_url": s3_server.endpoint}}


@pytest.fixture
def folder(bucket: str, aws: dict[str, Any]) -> S3Store:
    return S3Store(S3Uri(bucket, "sets/one"))


def at_once(*actions: Callable[[], Any]) -> list[Any]:
    """What they return or raise, begun together in threads."""
    barrier = Barrier(len(actions))

    def begin(act: Callable[[], Any]) -> Any:
        barrier.wait(30)
        try:
            return act()
        except DataPrepError as error:
            return error

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(begin, actions))


class TestFinalisers:
    def test_a_second_one_changes_nothing(self, folder: S3Store, s3_server: S3Server) -> None:
        with folder.claimed("plan"):
            shards = write_units(folder, "plan")
            first = commit(folder, UNITS, contents("plan"), shards)
            before = stored(s3_server, folder.path)
            assert commit(folder, UNITS, contents("plan"), reversed(shards)) == first
        assert stored(s3_server, folder.path) == before
        assert verify(folder.path).counts.train == 6

    def test_four_at_once_have_the_same_result(
        self, folder: S3Store, s3_server: S3Server, aws: dict[str, Any]
    ) -> None:
        with folder.claimed("plan"):
            shards = write_units(folder, "plan")
            found = at_once(*[lambda: commit(folder, UNITS, contents("plan"), shards)] * 4)
        assert [counts.train for counts in found] == [6] * 4
        other = replace(folder, place=S3Uri(folder.place.bucket, "sets/other"))
        make(other, "plan")
        alone, together = (stored(s3_server, one.path) for one in (other, folder))
        assert without_run(together) == without_run(alone)
        assert verify(folder.path).counts.train == 6
        assert len(load_from_disk(folder.path, **aws)["train"]) == 6


class TestAttempts:
    def test_two_at_one_shard_count_its_rows_once(
        self, folder: S3Store, aws: dict[str, Any]
    ) -> None:
        with folder.claimed("plan"):
            attempts = at_once(*[lambda: write_units(folder, "plan")] * 2)
            assert attempts[0] == attempts[1]
            counts = commit(folder, UNITS, contents("plan"), [*attempts[0], *attempts[1]])
        assert (counts.train, counts.read) == (6, 8)
        loaded = load_from_disk(folder.path, **aws)["train"]["text"]
        assert loaded == [f"plan train {unit} {n}" for unit in range(UNITS) for n in range(3)]

    @pytest.mark.parametrize("in_parts", [False, True])
    def test_a_late_one_changes_no_byte_of_the_finished_set(
        self,
        in_parts: bool,
        folder: S3Store,
        s3_server: S3Server,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        if in_parts:
            monkeypatch.setattr(s3_bucket, "_WHOLE_BYTES", 0)
        make(folder, "plan")
        before = stored(s3_server, folder.path)
        write_units(folder, "plan")
        assert stored(s3_server, folder.path) == before
        assert verify(folder.path).counts.train == 6

    def test_a_lost_record_stops_the_commit(self, folder: S3Store, s3_server: S3Server) -> None:
        with folder.claimed("plan"):
            shards = write_units(folder, "plan")
            for gone in range(len(shards)):
                rest = [*shards[:gone], *shards[gone + 1 :]]
                with pytest.raises(VerificationFailed, match="expected 6 shard records, found 5"):
                    commit(folder, UNITS, contents("plan"), rest)
            with pytest.raises(VerificationFailed, match="two attempts .* wrote different bytes"):
                commit(folder, UNITS, contents("plan"), [*shards, replace(shards[0], sha256="0")])
        assert set(stored(s3_server, folder.path)) == {one.path for one in shards if one.path}

    @pytest.mark.parametrize("harm", ["gone", "longer", "other bytes", "no checksum"])
    def test_a_lost_or_changed_object_stops_the_commit(
        self, harm: str, folder: S3Store, s3_server: S3Server, bucket: str
    ) -> None:
        with folder.claimed("plan"):
            shards = write_units(folder, "plan")
            key = folder.place.key(shards[-2].path)
            data = stored(s3_server, folder.path)[shards[-2].path]
            if harm == "gone":
                folder.bucket.delete([key])
            elif harm == "no checksum":  # the right bytes, put by something else
                s3_server.client(request_checksum_calculation="when_required").put_object(
                    Bucket=bucket, Key=key, Body=data
                )
            else:
                folder.bucket.put(key, data + b"!" if harm == "longer" else data[::-1])
            with pytest.raises(VerificationFailed, match=shards[-2].path) as caught:
                commit(folder, UNITS, contents("plan"), shards)
            assert caught.value.exit_code == 7
            names = {path.rpartition("/")[2] for path in stored(s3_server, folder.path)}
            assert not names & {"dataset_dict.json", "manifest.json", "state.json"}
            write_unit(folder, "plan", 1)
            commit(folder, UNITS, contents("plan"), shards)
        assert verify(folder.path).counts.train == 6


class TestUploads:
    def local(self, path: Path, text: str) -> str:
        """A finished local set of the plan "plan", whose rows hold another text."""
        folder = LocalStore(str(path))
        with folder.claimed("plan"):
            commit(folder, UNITS, contents("plan"), write_units(folder, text))
        return folder.path

    def test_a_set_is_never_changed_to_other_bytes_of_its_plan(
        self,
        folder: S3Store,
        s3_server: S3Server,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        make(folder, "plan")
        before = stored(s3_server, folder.path)
        assert main(["upload", self.local(tmp_path / "other", "else"), folder.path]) == 6
        assert "whose bytes are others" in capsys.readouterr().err
        assert stored(s3_server, folder.path) == before

    def test_what_a_set_lost_is_sent_again(
        self, folder: S3Store, s3_server: S3Server, tmp_path: Path
    ) -> None:
        make(folder, "plan")
        before = stored(s3_server, folder.path)
        folder.bucket.delete([folder.place.key(shard_path("train", 1, UNITS))])
        assert main(["upload", self.local(tmp_path / "same", "plan"), folder.path]) == 0
        assert without_run(stored(s3_server, folder.path)) == without_run(before)

    def test_of_one_set_at_once_end_as_one(
        self, folder: S3Store, s3_server: S3Server, forks: Commands, tmp_path: Path
    ) -> None:
        command = ["upload", self.local(tmp_path / "set", "plan"), folder.path]
        ends = sorted(forks.run(s3_server, [command] * 3), key=lambda end: end.code)
        assert ends[0].code == 0, ends[0].said
        assert {end.code for end in ends} <= {0, 6}, [end.said for end in ends]
        assert verify(folder.path).counts.train == 6


class TestRuns:
    def test_of_two_plans_twenty_times_one_commits_and_the_other_is_refused(
        self, bucket: str, aws: dict[str, Any], s3_server: S3Server
    ) -> None:
        for number in range(20):
            folder = S3Store(S3Uri(bucket, f"sets/{number}"))
            ends = at_once(lambda: make(folder, "one"), lambda: make(folder, "two"))  # noqa: B023
            winner, loser = ("one", "two") if ends[0] is None else ("two", "one")
            assert ends.count(None) == 1, ends
            (error,) = (end for end in ends if end is not None)
            assert isinstance(error, OutputTaken)
            assert error.exit_code == 6
            assert verify(folder.path).counts.train == 6
            files = stored(s3_server, folder.path)
            assert json.loads(files["manifest.json"])["plan_digest"] == winner
            shards = b"".join(data for name, data in files.items() if name.endswith(".arrow"))
            assert shards.count(f"{winner} train".encode()) == 3 * 6  # in each of three columns
            assert f"{loser} ".encode() not in shards

    def test_whole_commands_of_two_plans_are_no_different(
        self,
        bucket: str,
        aws: dict[str, Any],
        s3_server: S3Server,
        forks: Commands,
        two_units: Path,
    ) -> None:
        uris = [f"s3://{bucket}/sets/{number}" for number in range(3)]
        words = ["--dataset", str(two_units), *SMALL]
        ends = forks.run(
            s3_server,
            [[*words, "--output", uri, "--seed", seed] for uri in uris for seed in ("1", "2")],
            at_once=6,
        )
        for number, uri in enumerate(uris):
            pair = ends[2 * number : 2 * number + 2]
            assert sorted(one.code for one in pair) == [0, 6], [one.said for one in pair]
            seed = 1 if pair[0].code == 0 else 2
            said = pair[seed % 2].said
            assert "give another" in said or "already holds a data set of another plan" in said
            assert verify(uri).counts.read == 1200
            manifest = json.loads(stored(s3_server, uri)["manifest.json"])
            assert manifest["plan"]["split"]["seed"] == seed

    @pytest.mark.parametrize("earlier", ["none", "released"])
    def test_of_many_that_claim_at_once_one_holds_the_place(
        self, earlier: str, folder: S3Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read, tried, check, waited = Barrier(4), Barrier(4), S3Lease._check, set()

        def check_together(self: S3Lease, *found: Any) -> None:
            check(self, *found)
            if self not in waited:  # all have seen that the claim is free
                waited.add(self)
                read.wait(30)

        if earlier == "released":
            with pytest.raises(KeyError), folder.claimed("plan"):
                raise KeyError
            monkeypatch.setattr(S3Lease, "_check", check_together)

        def claim() -> None:
            try:
                with folder.claimed("plan"):
                    tried.wait(30)
            except OutputTaken:
                tried.wait(30)
                raise

        ends = at_once(*[claim] * 4)
        assert [type(end) for end in ends].count(OutputTaken) == 3

    def test_of_two_of_one_plan_the_other_is_refused_or_finds_the_set(
        self,
        bucket: str,
        aws: dict[str, Any],
        s3_server: S3Server,
        forks: Commands,
        two_units: Path,
    ) -> None:
        uri = f"s3://{bucket}/sets/one"
        words = [word for word in SMALL if word != "--quiet"]
        command = ["--dataset", str(two_units), *words, "--output", uri]
        first, second = sorted(
            forks.run(s3_server, [command] * 2, at_once=2), key=lambda end: end.code
        )
        assert first.code == 0, first.said
        complete = "Already complete" in first.said + second.said
        assert second.code == 6 if "another run of this very plan" in second.said else complete
        assert verify(uri).counts.read == 1200

    def test_a_dated_name_is_of_one_run_also_within_a_second(
        self,
        bucket: str,
        aws: dict[str, Any],
        s3_server: S3Server,
        two_units: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        class Clock(datetime):
            @classmethod
            def now(cls, tz: object = None) -> Clock:
                return cls(2024, 1, 31, 10, 0, 0, tzinfo=timezone.utc)

        monkeypatch.setattr(pipeline.dataset.destinations, "datetime", Clock)
        command = ["--dataset", str(two_units), *SMALL, "--output", f"s3://{bucket}/datasets/"]
        assert [main(command), main(command), main([*command, "--seed", "7"])] == [0, 0, 0]
        names = [f"processed_reasoning_20240131_100000{suffix}" for suffix in ("", "_2", "_3")]
        assert {key.split("/")[1] for key in s3_server.keys(bucket)} == set(names)
        for name in names:
            assert verify(f"s3://{bucket}/datasets/{name}").counts.read == 1200

    def test_dated_names_of_runs_that_begin_together_differ(
        self,
        bucket: str,
        aws: dict[str, Any],
        s3_server: S3Server,
        forks: Commands,
        two_units: Path,
    ) -> None:
        command = ["--dataset", str(two_units), *SMALL, "--output", f"s3://{bucket}/datasets/"]
        ends = forks.run(s3_server, [command] * 3, at_once=3)
        assert [one.code for one in ends] == [0] * 3, [one.said for one in ends]
        names = {key.split("/")[1] for key in s3_server.keys(bucket)}
        assert len(names) == 3
        for name in names:
            assert verify(f"s3://{bucket}/datasets/{name}").counts.read == 1200
