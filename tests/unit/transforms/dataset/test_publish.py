"""Commit: the shards add up, or nothing is published."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from datasets import load_from_disk

from transforms.conversations.remedies import remedy_of
from transforms.dataset.accounting import account, agree, complete, reject_reasons
from transforms.dataset.layout import SCHEMA
from transforms.dataset.publish import Contents, commit, fingerprint
from transforms.dataset.shard_writer import ShardWriter
from transforms.errors import GateFailed, VerificationFailed
from transforms.quality.gates import Gates
from transforms.quality.row_stats import Measured
from transforms.records import Shard
from transforms.storage.local import LocalStore
from transforms.storage.manifest_parts import (
    Leakage,
    Lengths,
    RejectedRows,
    RowCounts,
    Run,
    SplitLengths,
)
from transforms.storage.names import shard_path

CONTENTS = Contents(
    dataset="some/set",
    revision="abc",
    plan_digest="0123456789abcdef",
    plan={"seed": 42},
    run=Run(started="2024-01-31T10:00:00+00:00", runner="Test"),
    gates=Gates(max_reject_rate=0.5),
    summary="Made from `some/set`.",
)

COUNTS = RowCounts(read=8, train=6, validation=2, rejected=RejectedRows(0), duplicates=0)


def record(unit: int, split: str, rows: int, read: int, **more: Any) -> Shard:
    """A shard that nobody wrote."""
    path = shard_path(split, unit, 9) if rows or split != "rejects" else ""
    return Shard(unit, split, path, rows, read, 10 * rows, f"{split}{unit}", **more)


def unit(number: int, train: int, validation: int, **codes: int) -> list[Shard]:
    """The three records of a unit whose rejects have these codes."""
    codes = {code.replace("_", "-"): count for code, count in codes.items()}
    rejected = sum(codes.values())
    read = train + validation + rejected
    places = dict.fromkeys(codes, f"a.jsonl row {number + 1}")
    return [
        record(number, "train", train, read),
        record(number, "validation", validation, read),
        record(number, "rejects", rejected, read, codes=codes, examples=places),
    ]


class TestComplete:
    SHARDS = (*unit(0, 3, 1), *unit(1, 2, 2, empty_response=1), *unit(2, 0, 0))

    def test_shards_come_in_the_order_of_splits_and_units(self) -> None:
        found = complete(reversed(self.SHARDS), 3)
        assert [(shard.split, shard.unit) for shard in found] == [
            (split, number) for split in ("train", "validation", "rejects") for number in range(3)
        ]

    def test_an_equal_record_of_another_attempt_counts_once(self) -> None:
        again = [replace(shard, codes=dict(shard.codes)) for shard in self.SHARDS]
        assert complete([*self.SHARDS, *again], 3) == complete(self.SHARDS, 3)

    @pytest.mark.parametrize("gone", range(9))
    def test_a_missing_shard_is_named(self, gone: int) -> None:
        lost = self.SHARDS[gone]
        with pytest.raises(VerificationFailed, match="expected 9 shard records, found 8") as caught:
            complete([*self.SHARDS[:gone], *self.SHARDS[gone + 1 :]], 3)
        assert f"missing: {lost.split} {lost.unit};" in str(caught.value)
        assert caught.value.exit_code == 7

    def test_many_missing_shards_are_not_all_named(self) -> None:
        with pytest.raises(VerificationFailed) as caught:
            complete([], 100)
        assert len(str(caught.value)) < 200

    @pytest.mark.parametrize(
        "change", [{"sha256": "other"}, {"rows": 4}, {"bytes": 1}, {"read": 9}, {"path": "x"}]
    )
    def test_attempts_that_disagree_are_an_error(self, change: dict[str, Any]) -> None:
        with pytest.raises(VerificationFailed, match="two attempts at train shard 0"):
            complete([*self.SHARDS, replace(self.SHARDS[0], **change)], 3)

    def test_a_unit_that_the_plan_does_not_know_is_an_error(self) -> None:
        with pytest.raises(VerificationFailed, match="expected 6 shard records, found 9"):
            complete(self.SHARDS, 2)


class TestAccount:
    def test_the_counts_are_the_sums_of_the_records(self) -> None:
        shards = [
            *unit(0, 3, 1, empty_response=2),
            *unit(1, 5, 0),
            *unit(2, 0, 2, broken_json=1, empty_response=1),
        ]
        assert msgspec.to_builtins(account(shards)) == {
            "read": 15,
            "train": 8,
            "validation": 3,
            "rejected": {"total": 4, "by_reason": {"broken-json": 1, "empty-response": 3}},
            "duplicates": 0,
            "events": {},
        }

    def test_a_lost_row_is_an_error(self) -> None:
        good = unit(0, 3, 1)
        shards = [replace(good[0], rows=2), *good[1:]]
        with pytest.raises(VerificationFailed, match="unit 0 read 4 rows and placed 3"):
            account(shards)

    def test_rows_of_two_units_do_not_make_up_for_each_other(self) -> None:
        one, other = unit(0, 3, 1), unit(1, 3, 1)
        shards = [replace(one[0], rows=4), *one[1:], replace(other[0], rows=2), *other[1:]]
        with pytest.raises(VerificationFailed, match="unit 0 read 4 rows and placed 5"):
            account(shards)

    def test_files_of_a_unit_that_read_different_rows_are_an_error(self) -> None:
        one, two, three = unit(0, 3, 1)
        with pytest.raises(VerificationFailed, match="unit 0 disagree .*: 4 and 5"):
            account([one, replace(two, read=5), three])

    def test_rejects_without_a_reason_are_an_error(self) -> None:
        one, two, three = unit(0, 3, 1, empty_response=2)
        with pytest.raises(VerificationFailed, match="1 were counted by reason and 2 written"):
            account([one, two, replace(three, codes={"empty-response": 1})])


class TestRejectReasons:
    def test_the_three_most_frequent_ones_are_named_with_their_first_rows(self) -> None:
        units = [
            *unit(0, 3, 0, broken_json=1, ends_with_user=3),
            *unit(1, 2, 0, ends_with_user=1, null_response=2, same_role_twice=3),
        ]
        assert reject_reasons(units, account(units)) == (
            "ends-with-user 4 (first: a.jsonl row 1): remove the turns after the last answer with "
            "--ends-with-user trim; same-role-twice 3 (first: a.jsonl row 2): join neighbouring "
            "turns of one role with --same-role merge; null-response 2 (first: a.jsonl row 2): "
            f"{remedy_of('null-response')}"
        )

    def test_the_names_of_unknown_roles_of_all_units_are_told(self) -> None:
        units = [*unit(0, 3, 0, unknown_role=1), *unit(1, 2, 0, unknown_role=2)]
        units[2] = replace(units[2], unknown_roles=["'bing'"])
        units[5] = replace(units[5], unknown_roles=["'bing'", "'x'"])
        assert reject_reasons(units, account(units)) == (
            "unknown-role 3 (first: a.jsonl row 1): map 'bing', 'x', for example with --role "
            "bing=assistant (or user, system, tool, function_call)"
        )

    def test_no_rejects_have_none(self) -> None:
        assert reject_reasons(unit(0, 3, 1), account(unit(0, 3, 1))) == ""


@pytest.fixture
def folder(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path / "out"))


def written(folder: LocalStore, units: int = 2) -> list[Shard]:
    """Real shards in the folder: train has three rows a unit, validation one, and one reject."""
    shards = []
    for number in range(units):
        for split, count in (("train", 3), ("validation", 1)):
            writer = ShardWriter(folder.scratch_file())
            cells = [f"{split} {number} {n}" for n in range(count)]
            writer.append(pa.table([cells] * 3, schema=SCHEMA))
            done = writer.close()
            path = shard_path(split, number, units)
            folder.publish(writer.path, path, done)
            shards.append(Shard(number, split, path, count, 5, done.bytes, done.sha256))
        path = shard_path("rejects", number, units)
        folder.put(path, b"{}\n")
        digest = hashlib.sha256(b"{}\n").hexdigest()
        codes, places = {"broken-json": 1}, {"broken-json": "a.jsonl row 5"}
        shards.append(Shard(number, "rejects", path, 1, 5, 3, digest, codes, places))
    return shards


def manifest_of(folder: LocalStore) -> Any:
    """What the finished set says of itself."""
    manifest = folder.manifest()
    assert manifest is not None
    return manifest.to_json()


def contents(folder: LocalStore) -> dict[str, bytes]:
    root = Path(folder.path)
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


class TestCommit:
    def test_the_set_loads_with_every_row(self, folder: LocalStore) -> None:
        with folder.claimed():
            commit(folder, 2, CONTENTS, written(folder))
        loaded = load_from_disk(folder.path)
        assert loaded["train"]["text"] == [f"train {u} {n}" for u in (0, 1) for n in range(3)]
        assert loaded["validation"]["text"] == ["validation 0 0", "validation 1 0"]

    def test_the_manifest_describes_every_file_but_the_last_two(self, folder: LocalStore) -> None:
        with folder.claimed():
            commit(folder, 2, CONTENTS, written(folder))
        files = contents(folder)
        manifest = json.loads(files.pop("manifest.json"))
        assert json.loads(files.pop("dataset_dict.json")) == {"splits": ["train", "validation"]}
        assert {
            entry["path"]: (entry["bytes"], entry["sha256"]) for entry in manifest["files"]
        } == {path: (len(data), hashlib.sha256(data).hexdigest()) for path, data in files.items()}
        assert [entry["path"] for entry in manifest["files"]] == sorted(files)
        assert sum(e["rows"] for e in manifest["files"] if e["path"].endswith(".arrow")) == 8

    def test_the_manifest_says_what_was_asked_and_found(self, folder: LocalStore) -> None:
        with folder.claimed():
            counts = commit(folder, 2, CONTENTS, written(folder))
        manifest = manifest_of(folder)
        assert list(manifest) == [
            "config",
            "counts",
            "dataset",
            "files",
            "format_version",
            "plan",
            "plan_digest",
            "quality",
            "revision",
            "run",
            "shape",
            "training",
        ]
        assert manifest["counts"] == msgspec.to_builtins(counts)
        assert manifest["counts"] == {
            "read": 10,
            "train": 6,
            "validation": 2,
            "rejected": {"total": 2, "by_reason": {"broken-json": 2}},
            "duplicates": 0,
            "events": {},
        }
        assert (manifest["plan"], manifest["run"]["runner"]) == ({"seed": 42}, "Test")

    def test_nothing_but_shards_and_two_json_files_lies_in_a_split(
        self, folder: LocalStore
    ) -> None:
        with folder.claimed():
            commit(folder, 2, CONTENTS, written(folder))
        for split in ("train", "validation"):
            assert sorted(path.name for path in Path(folder.path, split).iterdir()) == [
                "data-00000-of-00002.arrow",
                "data-00001-of-00002.arrow",
                "dataset_info.json",
                "state.json",
            ]

    def test_the_order_in_which_shards_arrive_does_not_show(self, tmp_path: Path) -> None:
        found = []
        for name, turn in (("one", 1), ("other", -1)):
            folder = LocalStore(str(tmp_path / name))
            with folder.claimed():
                commit(folder, 2, CONTENTS, written(folder)[::turn])
            files = contents(folder)
            manifest = json.loads(files.pop("manifest.json"))
            del manifest["run"]
            found.append((files, manifest))
        assert found[0] == found[1]

    def test_the_file_that_makes_it_load_is_written_last(
        self, folder: LocalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = []
        publish = LocalStore._publish

        def spy(self: LocalStore, temporary: Path, name: str) -> None:
            names.append(name)
            with pytest.raises(FileNotFoundError):  # neither here nor at the target
                load_from_disk(str(self.staging))
            assert not Path(self.path).exists()
            publish(self, temporary, name)

        with folder.claimed():
            shards = written(folder)
            monkeypatch.setattr(LocalStore, "_publish", spy)
            commit(folder, 2, CONTENTS, shards)
        assert names[-4:] == ["README.md", "report.html", "manifest.json", "dataset_dict.json"]
        assert len(names) == 8

    def test_a_second_run_changes_nothing_and_says_the_same(self, folder: LocalStore) -> None:
        with folder.claimed():
            shards = written(folder)
            first = commit(folder, 2, CONTENTS, shards)
            before = contents(folder)
            assert commit(folder, 2, CONTENTS, [*shards, *shards]) == first
        assert contents(folder) == before

    def test_a_second_run_still_checks_its_shards(self, folder: LocalStore) -> None:
        with folder.claimed():
            shards = written(folder)
            commit(folder, 2, CONTENTS, shards)
            with pytest.raises(VerificationFailed):
                commit(folder, 2, CONTENTS, shards[1:])

    @pytest.mark.parametrize("stop", range(8))
    def test_a_run_that_stops_before_any_step_leaves_nothing_and_can_be_repeated(
        self, folder: LocalStore, monkeypatch: pytest.MonkeyPatch, stop: int
    ) -> None:
        class Killed(BaseException):
            """What no handler of errors sees."""

        def stopping(name: str) -> None:
            real, calls = getattr(LocalStore, name), []

            def call(self: LocalStore, *args: Any) -> None:
                steps.append(name)
                calls.append(name)
                if len(steps) > stop:
                    raise Killed
                real(self, *args)

            monkeypatch.setattr(LocalStore, name, call)

        steps: list[str] = []
        with folder.claimed():
            shards = written(folder)
            stopping("_publish")
            stopping("finish")
            with pytest.raises(Killed):
                commit(folder, 2, CONTENTS, shards)
            assert not Path(folder.path).exists()
            monkeypatch.undo()
            commit(folder, 2, CONTENTS, shards)
        assert load_from_disk(folder.path)["train"].num_rows == 6

    def test_a_run_that_stops_while_putting_the_set_in_place_can_be_repeated(
        self, folder: LocalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Killed(BaseException):
            """What no handler of errors sees."""

        def rename(self: Path, target: Path) -> Path:
            raise Killed

        with folder.claimed():
            shards = written(folder)
            monkeypatch.setattr(Path, "rename", rename)
            with pytest.raises(Killed):
                commit(folder, 2, CONTENTS, shards)
            monkeypatch.undo()
            commit(folder, 2, CONTENTS, shards)
        assert load_from_disk(folder.path)["train"].num_rows == 6

    @pytest.mark.parametrize("fault", ["missing", "conflict", "lost row", "rejects"])
    def test_what_does_not_add_up_is_never_put_in_place(
        self, folder: LocalStore, fault: str
    ) -> None:
        with folder.claimed():
            shards = written(folder)
            first = shards[0]
            asked = CONTENTS
            if fault == "missing":
                shards = shards[1:]
            elif fault == "conflict":
                shards.append(replace(first, sha256="0"))
            elif fault == "lost row":
                shards[0] = replace(first, rows=first.rows - 1)
            else:
                asked = replace(CONTENTS, gates=Gates(max_reject_rate=0.1))
            with pytest.raises(GateFailed if fault == "rejects" else VerificationFailed):
                commit(folder, 2, asked, shards)
            assert not (folder.staging / "dataset_dict.json").exists()
        assert not Path(folder.path).exists()
        assert not folder.staging.exists()

    @pytest.mark.parametrize(
        ("train", "validation", "checked", "leaks", "said"),
        [
            (5, 2, 2, 0, "the lengths of 5 train rows of 6"),
            (7, 2, 2, 0, "the lengths of 7 train rows of 6"),
            (6, 3, 2, 0, "the lengths of 3 validation rows of 2"),
            (6, 2, 3, 0, "3 validation rows of 2 were checked"),
            (6, 2, 1, 2, "2 leaks among the 1 validation rows checked"),
            (6, 2, 2, 2, ""),
            (6, 2, 0, 0, ""),
        ],
    )
    def test_what_was_measured_must_be_of_the_rows_that_are_there(
        self,
        folder: LocalStore,
        train: int,
        validation: int,
        checked: int,
        leaks: int,
        said: str,
    ) -> None:
        lengths = Lengths(
            unit="characters",
            train=SplitLengths(rows=train),
            validation=SplitLengths(rows=validation),
        )
        measured = Measured({"text": lengths}, (), None)
        leakage = Leakage(checked=checked, rows=leaks)
        if not said:
            agree(COUNTS, measured, leakage)
            return
        with folder.claimed():
            shards = written(folder)
            with pytest.raises(VerificationFailed, match=f"add up: {said}; nothing was published"):
                commit(folder, 2, CONTENTS, shards, measured, leakage)
        assert not Path(folder.path).exists()

    @pytest.mark.parametrize("found", [None, Measured({}, (), None)])
    def test_what_was_not_measured_need_not_agree(self, found: Measured | None) -> None:
        agree(COUNTS, found, None)

    def test_the_card_tells_the_counts(self, folder: LocalStore) -> None:
        with folder.claimed():
            commit(folder, 2, CONTENTS, written(folder))
        card = contents(folder)["README.md"].decode()
        assert "Made from `some/set`." in card
        assert "10 rows were read: 6 are in `train`, 2 in `validation`." in card
        assert "Rejected: 2 broken-json." in card

    def test_no_rejects_are_not_mentioned(self, folder: LocalStore) -> None:
        with folder.claimed():
            shards = []
            for shard in written(folder):
                empty = shard.split == "rejects"
                kept = replace(shard, rows=0, path="", codes={}) if empty else shard
                shards.append(replace(kept, read=4))
            commit(folder, 2, CONTENTS, shards)
        manifest = manifest_of(folder)
        assert manifest["counts"]["rejected"] == {"total": 0, "by_reason": {}}
        assert not any(entry["path"].startswith("rejects") for entry in manifest["files"])
        assert "Rejected" not in contents(folder)["README.md"].decode()


def test_fingerprints_differ_by_plan_and_split_and_never_change() -> None:
    assert fingerprint("0123", "train") == "2d8588f5ca01e958"
    names = {fingerprint(plan, split) for plan in ("a", "b") for split in ("train", "validation")}
    assert len(names) == 4
    assert all(len(name) == 16 for name in names)
