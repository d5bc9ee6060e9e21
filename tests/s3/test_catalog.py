"""List and prune: what is below an address, which of it is old, and a deletion that harms none."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from datasets import load_from_disk
from made_sets import FILES, MadeSet, s3_set, use_server
from s3_servers import S3Server

from pipeline.dataset.catalog import ListedDataset, list_sets, table
from pipeline.dataset.prune import plan_prune, prune
from pipeline.dataset.verify import verify
from transforms.errors import (
    AccessDenied,
    OutputTaken,
    StorageError,
    UsageError,
    VerificationFailed,
)
from transforms.storage.s3 import lease as s3_claim
from transforms.storage.s3.bucket import Bucket

NOON = datetime(2024, 1, 31, 12, tzinfo=timezone.utc)


def listed(name: str, hours: float = 0, complete: bool = True, **more: Any) -> ListedDataset:
    """A set that nobody made."""
    fields = {"dataset": "some/set", "rows": 7400, "bytes": 2_345_678, "note": "", **more}
    when = NOON + timedelta(hours=hours)
    return ListedDataset(name, f"s3://bucket/datasets/{name}", when, complete=complete, **fields)


Make = Callable[..., MadeSet]


def stored_at(made: MadeSet, name: str, hours: float) -> None:
    """Sets the time at which the server says that it got an object."""
    time = (NOON + timedelta(hours=hours)).timestamp()
    os.utime(made.root / name, (time, time))


@pytest.fixture
def make(s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Make:
    """``make("name", 3)``: a set below datasets/, in the store since three hours after noon."""
    use_server(monkeypatch, s3_server)

    def make_one(name: str, hours: float | None = None, below: str = "datasets/") -> MadeSet:
        made = s3_set(s3_server, bucket, f"{below}{name}")
        if hours is not None:
            stored_at(made, "manifest.json", hours)
        return made

    return make_one


def one(address: str) -> ListedDataset:
    (found,) = list_sets(address)
    return found


class TestList:
    @pytest.fixture
    def address(self, bucket: str) -> str:
        return f"s3://{bucket}/datasets/"

    def test_what_is_told_of_a_set(self, make: Make, address: str) -> None:
        made = make("name", 3)
        found = one(address)
        assert found == ListedDataset(
            name="name",
            uri=made.place,
            when=NOON + timedelta(hours=3),
            dataset="some/set",
            rows=7400,
            bytes=sum(file["bytes"] for file in made.manifest()["files"]),
            complete=True,
        )
        assert found.to_json() == {
            "name": "name",
            "uri": made.place,
            "when": "2024-01-31T15:00:00+00:00",
            "dataset": "some/set",
            "rows": 7400,
            "bytes": found.bytes,
            "complete": True,
            "note": "",
        }
        json.dumps(found.to_json())

    def test_the_newest_comes_first_with_and_without_a_closing_slash(
        self, make: Make, address: str
    ) -> None:
        for name, hours in (("b", 2), ("a", 3), ("c", 1)):
            make(name, hours)
        found = list_sets(address)
        assert [one.name for one in found] == ["a", "b", "c"]
        assert list_sets(address.rstrip("/")) == found

    def test_a_whole_bucket(self, make: Make, bucket: str) -> None:
        made = make("name", below="")
        for address in (f"s3://{bucket}", f"s3://{bucket}/"):
            assert [one.uri for one in list_sets(address)] == [made.place]

    def test_folders_that_hold_something_else_are_left_out(
        self, make: Make, address: str, bucket: str
    ) -> None:
        store = Bucket(bucket)
        for key in ("other/file.txt", "deep/below/manifest.json", "a b/manifest.json", "README.md"):
            store.put(f"datasets/{key}", b"{}")
        assert list_sets(address) == []
        make("name")
        assert one(address).name == "name"

    def test_nothing_is_below_a_set(self, make: Make) -> None:
        assert list_sets(f"{make('name').place}/") == []

    def test_a_bucket_that_is_not_there(self, make: Make) -> None:
        with pytest.raises(UsageError, match="the bucket no-such-bucket does not exist"):
            list_sets("s3://no-such-bucket/datasets/")

    @pytest.mark.parametrize("address", ["datasets/", "s3:/bucket", "s3://bucket/../x"])
    def test_an_address_that_is_none(self, address: str) -> None:
        with pytest.raises(UsageError):
            list_sets(address)


class TestIncomplete:
    @pytest.fixture
    def made(self, make: Make) -> MadeSet:
        return make("name", 3)

    @pytest.fixture
    def address(self, bucket: str) -> str:
        return f"s3://{bucket}/datasets/"

    def claim(self, made: MadeSet, **changes: str) -> None:
        made.put(
            "_RUN.json", json.dumps({**json.loads(made.read("_RUN.json")), **changes}).encode()
        )

    def begun(self, made: MadeSet, state: str) -> None:
        """As a run leaves it that did not end well."""
        made.remove("dataset_dict.json")
        made.remove("manifest.json")
        self.claim(made, state=state, started="2099-01-31T10:00:00+00:00")

    def test_a_set_that_is_being_written(self, made: MadeSet, address: str) -> None:
        self.begun(made, "writing")
        found = one(address)
        assert (found.complete, found.note) == (False, "being written")
        assert (found.dataset, found.rows, found.bytes) == (None, None, None)
        assert datetime.now(timezone.utc) - found.when < timedelta(minutes=5)  # not that of 2099

    def test_a_run_that_said_it_broke_off(self, made: MadeSet, address: str) -> None:
        self.begun(made, "released")
        assert one(address).note == "broken off"

    def test_a_run_that_is_dead(
        self, made: MadeSet, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.begun(made, "writing")
        monkeypatch.setattr(s3_claim, "LEASE_SECONDS", -10.0)
        assert one(address).note == "broken off"

    def test_the_manifest_is_there_but_not_the_last_file(self, made: MadeSet, address: str) -> None:
        made.remove("dataset_dict.json")
        made.remove("_RUN.json")
        found = one(address)
        assert (found.complete, found.note) == (False, "being written or broken off")
        assert found.rows == 7400

    def test_no_manifest(self, made: MadeSet, address: str) -> None:
        made.remove("manifest.json")
        found = one(address)
        assert (found.complete, found.note) == (False, "manifest.json is missing")

    @pytest.mark.parametrize("change", [{"format_version": 2}, {"files": 7}, {"plan_digest": None}])
    def test_a_manifest_that_cannot_be_used(
        self, made: MadeSet, address: str, change: dict[str, Any]
    ) -> None:
        made.put_manifest({**made.manifest(), **change})
        found = one(address)
        assert not found.complete
        assert found.note == "manifest.json is damaged or of another version"
        assert found.rows is None

    def test_a_manifest_that_comes_damaged(self, made: MadeSet, address: str) -> None:
        data = made.read("manifest.json")
        made.damage("manifest.json", data.replace(b"7402", b"7403"))
        assert one(address).note == "manifest.json is damaged or of another version"

    def test_a_manifest_that_comes_damaged_is_all_there_is(
        self, made: MadeSet, address: str
    ) -> None:
        self.test_a_manifest_that_comes_damaged(made, address)
        made.remove("dataset_dict.json")
        made.remove("_RUN.json")
        found = one(address)
        assert (found.complete, found.note) == (
            False,
            "manifest.json is damaged or of another version",
        )

    @pytest.mark.parametrize("data", [b"", b"[]", b"{"])
    def test_a_claim_that_is_none(self, made: MadeSet, address: str, data: bytes) -> None:
        made.put("_RUN.json", data)
        assert one(address).complete
        made.remove("dataset_dict.json")
        made.remove("manifest.json")
        found = one(address)
        assert found.note == "broken off"
        assert datetime.now(timezone.utc) - found.when < timedelta(minutes=5)  # last change

    @pytest.mark.parametrize("finished", [None, 7, "soon", "2099-01-01T00:00:00+00:00"])
    def test_the_manifest_s_own_time_is_not_believed(
        self, made: MadeSet, address: str, finished: Any
    ) -> None:
        manifest = made.manifest()
        manifest["run"]["finished"] = finished
        made.put_manifest(manifest)
        stored_at(made, "manifest.json", 5)
        assert one(address).when == NOON + timedelta(hours=5)
        assert one(address).complete


class TestPlanPrune:
    def test_the_newest_are_kept(self) -> None:
        sets = [listed(name, hours) for name, hours in (("a", 2), ("b", 4), ("c", 1), ("d", 3))]
        assert [one.name for one in plan_prune(sets, 1)] == ["d", "a", "c"]
        assert [one.name for one in plan_prune(sets, 3)] == ["c"]
        assert plan_prune(sets, 4) == plan_prune(sets, 99) == []

    def test_what_is_not_complete_is_neither_pruned_nor_counted(self) -> None:
        new, old = listed("new", 9, complete=False), listed("old", 0, complete=False)
        sets = [new, listed("a", 2), listed("b", 1), old]
        assert [one.name for one in plan_prune(sets, 1)] == ["b"]

    def test_sets_of_one_second_have_an_order(self) -> None:
        sets = [listed("a"), listed("a_2")]
        assert plan_prune(sets, 1) == plan_prune(sets[::-1], 1) == [sets[0]]

    @pytest.mark.parametrize("keep", [0, -1])
    def test_all_sets_are_never_pruned(self, keep: int) -> None:
        with pytest.raises(UsageError, match="--keep must be 1 or more"):
            plan_prune([listed("a")], keep)


class TestPrune:
    def test_a_set_goes_whole_and_alone(self, make: Make, s3_server: S3Server, bucket: str) -> None:
        sets = {name: make(name) for name in ("name", "name2", "nam")}
        others = [k for k in s3_server.keys(bucket) if not k.startswith("datasets/name/")]
        count = len(s3_server.keys(bucket)) - len(others)
        assert prune(sets["name"].place) == count
        assert s3_server.keys(bucket) == others
        for name in ("name2", "nam"):
            verify(sets[name].place)

    def test_prune_as_it_is_planned(self, make: Make, bucket: str) -> None:
        for name, hours in (("a", 1), ("b", 2), ("c", 3), ("begun", 0)):
            make(name, hours)
        Bucket(bucket).delete(["datasets/begun/dataset_dict.json"])
        address = f"s3://{bucket}/datasets/"
        for old in plan_prune(list_sets(address), 2):
            prune(old.uri)
        assert [one.name for one in list_sets(address)] == ["c", "b", "begun"]

    def test_a_set_of_2099_does_not_outlive_the_newest(self, make: Make, bucket: str) -> None:
        for name, hours in (("a", 1), ("b", 2), ("c", 3)):
            made = make(name)
            if name == "a":
                manifest = made.manifest()
                manifest["run"]["finished"] = "2099-01-01T00:00:00+00:00"
                made.put_manifest(manifest)
            stored_at(made, "manifest.json", hours)
        old = plan_prune(list_sets(f"s3://{bucket}/datasets/"), 1)
        assert [one.name for one in old] == ["b", "a"]

    @pytest.mark.parametrize(
        "name",
        [
            "my_notes.txt",
            "checkpoints/model.bin",
            "train/x.py",
            "_run/notes.md",
            ".hidden",
            "train/data-00002-of-00003.arrow",
        ],
    )
    def test_a_set_with_anything_else_is_kept_whole(
        self, make: Make, s3_server: S3Server, bucket: str, name: str
    ) -> None:
        made = make("name")
        Bucket(bucket).put(f"datasets/name/{name}", b"mine")
        before = s3_server.keys(bucket)
        with pytest.raises(OutputTaken) as caught:
            prune(made.place)
        assert f"holds 1 object that is not of the set ({name}), so nothing" in str(caught.value)
        assert caught.value.exit_code == 6
        assert s3_server.keys(bucket) == before

    @pytest.mark.parametrize("same_size", [False, True])
    def test_a_set_with_a_changed_object_is_kept_whole(
        self, make: Make, s3_server: S3Server, bucket: str, same_size: bool
    ) -> None:
        made = make("name")
        data = made.read("README.md")
        made.put("README.md", data.swapcase() if same_size else data + b"!")
        before = s3_server.keys(bucket)
        with pytest.raises(OutputTaken, match=r"1 object that is changed .*\(README\.md\)"):
            prune(made.place)
        assert s3_server.keys(bucket) == before

    @pytest.mark.parametrize("is_right", [False, True])
    def test_what_has_no_checksum_at_the_store_is_read(
        self, make: Make, s3_server: S3Server, bucket: str, is_right: bool
    ) -> None:
        made = make("name")
        client = s3_server.client(request_checksum_calculation="when_required")
        data = made.read("README.md")
        body = data if is_right else data.swapcase()
        client.put_object(Bucket=bucket, Key="datasets/name/README.md", Body=body)
        if is_right:
            prune(made.place)
            assert s3_server.keys(bucket) == []
        else:
            with pytest.raises(OutputTaken, match="1 object that is changed"):
                prune(made.place)

    def test_a_set_whose_manifest_cannot_be_read_is_kept_whole(
        self, make: Make, s3_server: S3Server, bucket: str
    ) -> None:
        made = make("name")
        made.put("manifest.json", b"{}")
        before = s3_server.keys(bucket)
        with pytest.raises(OutputTaken, match="what belongs to the set .* is not known"):
            prune(made.place)
        assert s3_server.keys(bucket) == before

    def test_the_file_that_makes_it_load_goes_first_and_what_marks_it_last(
        self, make: Make
    ) -> None:
        made = make("name")
        asked: list[str] = []
        client = Bucket(made.place[5:].partition("/")[0])._client
        event = "before-parameter-build.s3.DeleteObject"

        def ask(params: dict[str, str], **_: object) -> None:
            asked.append(params["Key"].removeprefix("datasets/name/"))

        client.meta.events.register(event, ask)
        count = prune(made.place)
        client.meta.events.unregister(event, ask)
        assert asked[0] == "dataset_dict.json"
        assert asked[-2:] == ["manifest.json", "_RUN.json"]
        assert len(asked) == len(set(asked)) == count == FILES + 3

    @pytest.mark.parametrize("stop", [1, 2, 9])
    def test_a_deletion_that_breaks_off_leaves_nothing_that_loads_and_can_be_repeated(
        self,
        make: Make,
        s3_server: S3Server,
        bucket: str,
        monkeypatch: pytest.MonkeyPatch,
        stop: int,
    ) -> None:
        made = make("name", 3)
        calls = []
        delete = Bucket.delete

        def stopping(self: Bucket, keys: list[str]) -> None:
            calls.append(keys)
            if len(calls) > stop:
                raise StorageError("the network broke")
            delete(self, keys)

        with monkeypatch.context() as broken:
            broken.setattr(Bucket, "delete", stopping)
            with pytest.raises(StorageError):
                prune(made.place)
        with pytest.raises(FileNotFoundError):
            load_from_disk(str(made.root))
        with pytest.raises(VerificationFailed):
            verify(made.place)
        found = one(f"s3://{bucket}/datasets/")
        assert (found.complete, found.note) == (False, "deleted in part")
        prune(made.place)
        assert s3_server.keys(bucket) == []

    def test_a_user_who_may_not_delete_loses_nothing(
        self, make: Make, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = make("name", 3)
        before = s3_server.keys(bucket)
        user = f"user-of-{bucket}"
        s3_server.make_user(user, "secret-of-the-user")
        s3_server.set_policy(bucket, user, "s3:PutObject", "s3:GetObject", "s3:ListBucket")
        use_server(monkeypatch, s3_server, user, "secret-of-the-user")
        with pytest.raises(AccessDenied, match=r"dataset_dict\.json .*must allow s3:DeleteObject"):
            prune(made.place)
        assert s3_server.keys(bucket) == before
        assert one(f"s3://{bucket}/datasets/").complete  # they may list
        verify(made.place)

    @pytest.mark.parametrize("where", ["datasets", "datasets/nam", "", "datasets/name/train"])
    def test_what_is_no_set_is_not_deleted(
        self, make: Make, s3_server: S3Server, bucket: str, where: str
    ) -> None:
        make("name")
        before = s3_server.keys(bucket)
        with pytest.raises(UsageError, match="holds no set .*so nothing was deleted"):
            prune(f"s3://{bucket}/{where}")
        assert s3_server.keys(bucket) == before

    def test_a_bucket_is_not_emptied_even_if_it_is_a_set(
        self, make: Make, s3_server: S3Server, bucket: str
    ) -> None:
        verify(make("", below="").place)
        before = s3_server.keys(bucket)
        with pytest.raises(UsageError, match="nothing was deleted"):
            prune(f"s3://{bucket}/")
        assert s3_server.keys(bucket) == before

    @pytest.mark.parametrize("where", ["datasets", ""])
    def test_a_set_with_others_below_it_is_not_deleted(
        self, make: Make, s3_server: S3Server, bucket: str, where: str
    ) -> None:
        make("datasets", below="")  # first, as it would not be let in among others
        make("name")
        before = s3_server.keys(bucket)
        with pytest.raises(UsageError, match="nothing was deleted"):
            prune(f"s3://{bucket}/{where}")
        assert s3_server.keys(bucket) == before


class TestTable:
    def test_columns_are_aligned(self) -> None:
        sets = [
            listed("processed_reasoning_20240131_120000", dataset="a/b", rows=1_234_567),
            listed("x", 1.5, False, dataset=None, rows=None, bytes=None, note="being written"),
        ]
        assert table(sets, "s3://bucket/datasets/") == (
            "name                                 when (UTC)           source       rows    size"
            "  state\n"
            "processed_reasoning_20240131_120000  2024-01-31 12:00:00  a/b     1,234,567  2.3 MB"
            "  complete\n"
            "x                                    2024-01-31 13:30:00  -               -       -"
            "  being written"
        )

    def test_times_are_told_in_one_zone(self) -> None:
        there = NOON.astimezone(timezone(timedelta(hours=5)))
        shown = listed("x")
        assert "2024-01-31 12:00:00" in table([ListedDataset(**{**vars(shown), "when": there})], "")

    def test_a_source_can_neither_steer_the_terminal_nor_take_the_line(self) -> None:
        line = table([listed("x", dataset="\x1b[2J\n" + "long" * 50)], "").splitlines()[1]
        assert r"\x1b[2J\nlong" in line
        assert "…" in line
        assert len(line) < 120

    def test_no_sets(self) -> None:
        assert table([], "s3://bucket/datasets/") == "no data sets at s3://bucket/datasets/"
