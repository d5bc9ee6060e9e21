"""The seam to local folders: one run at a time, and a set appears whole or not at all."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import xxhash

from transforms.errors import AccessDenied, OutputTaken, StorageError, VerificationFailed
from transforms.records import Shard, Written
from transforms.storage.local import LocalStore
from transforms.storage.manifest import read_manifest
from transforms.storage.names import DATASET_DICT_CONTENT
from transforms.storage.store import SPLITS_RECORD, note_scanned, write_records


@pytest.fixture
def folder(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path / "cache" / "out"))


SHARD = "train/data-00000-of-00001.arrow"


def manifest_of(digest: str, text: bytes = b"one") -> bytes:
    """The least that a manifest says."""
    counts = {"read": 0, "train": 0, "validation": 0, "duplicates": 0, "rejected": {"total": 0}}
    file = {"path": SHARD, "bytes": len(text), "sha256": sha256(text).hexdigest(), "rows": 0}
    found = {"format_version": 1, "plan_digest": digest, "counts": counts, "files": [file]}
    return json.dumps(found).encode()


def make(folder: LocalStore, digest: str = "plan-one", text: bytes = b"one") -> None:
    """A finished set, as a run with ``--overwrite`` leaves it."""
    with folder.claimed():
        folder.check_free(digest, overwrite=True)
        fill(folder, digest, text)
        folder.finish(digest)


def fill(folder: LocalStore, digest: str, text: bytes) -> None:
    folder.put(SHARD, text)
    folder.put("manifest.json", manifest_of(digest, text))
    folder.put("dataset_dict.json", DATASET_DICT_CONTENT)


def note(folder: LocalStore, unit: int, rows: int) -> None:
    """What Write records of a finished unit."""
    train = Shard(unit, "train", f"train/{unit}", rows, rows, 1, "")
    write_records(folder, unit, SPLITS_RECORD, [train, replace(train, split="validation", rows=0)])


def data(folder: LocalStore) -> bytes:
    return Path(folder.path, SHARD).read_bytes()


def beside(folder: LocalStore) -> list[str]:
    """What lies in the target's parent, but for the lock file."""
    return sorted(p.name for p in Path(folder.path).parent.iterdir() if p.suffix != ".lock")


class TestClaim:
    def test_a_second_run_in_this_process_is_refused(self, folder: LocalStore) -> None:
        with folder.claimed():
            folder.put(SHARD, b"mine")
            with (
                pytest.raises(OutputTaken, match="another run is writing") as caught,
                LocalStore(folder.path).claimed(),
            ):
                pytest.fail("two runs at one output")
            assert folder.path in str(caught.value)
            assert caught.value.exit_code == 6
            assert (folder.staging / SHARD).read_bytes() == b"mine"

    def test_outputs_beside_each_other_do_not_exclude_each_other(self, tmp_path: Path) -> None:
        one, other = LocalStore(str(tmp_path / "a")), LocalStore(str(tmp_path / "b"))
        with one.claimed(), other.claimed():
            one.put("x", b"1")
            other.put("x", b"2")
            assert (one.staging / "x").read_bytes() == b"1"

    def test_a_failed_run_leaves_nothing_but_the_lock(self, folder: LocalStore) -> None:
        with pytest.raises(ZeroDivisionError), folder.claimed():
            fill(folder, "plan-one", b"one")
            raise ZeroDivisionError
        assert beside(folder) == []

    def test_the_claim_is_free_after_an_error(self, folder: LocalStore) -> None:
        with pytest.raises(ZeroDivisionError), folder.claimed():
            raise ZeroDivisionError
        make(folder)


class TestAppearance:
    def test_the_target_appears_at_finish_whole(self, folder: LocalStore) -> None:
        with folder.claimed():
            fill(folder, "plan-one", b"one")
            assert not Path(folder.path).exists()
            folder.finish("plan-one")
            assert data(folder) == b"one"
        assert beside(folder) == ["out"]
        assert sorted(p.name for p in Path(folder.path).iterdir()) == [
            "dataset_dict.json",
            "manifest.json",
            "train",
        ]

    def test_the_staging_folder_is_hidden_beside_the_target(self, folder: LocalStore) -> None:
        assert folder.staging.parent == Path(folder.path).parent
        assert folder.staging.name.startswith(".")

    def test_finishing_again_for_the_same_plan_changes_nothing(self, folder: LocalStore) -> None:
        with folder.claimed():
            fill(folder, "plan-one", b"one")
            folder.finish("plan-one")
            folder.finish("plan-one")
        assert data(folder) == b"one"

    def test_finishing_without_a_staging_folder_is_an_error(self, folder: LocalStore) -> None:
        make(folder)
        with pytest.raises(StorageError, match="is gone; run again"):
            folder.finish("plan-two")
        assert data(folder) == b"one"

    def test_a_late_attempt_changes_no_byte_of_the_finished_set(self, folder: LocalStore) -> None:
        with folder.claimed():
            fill(folder, "plan-one", b"one")
            folder.finish("plan-one")
            with pytest.raises(StorageError):
                folder.put(SHARD, b"late")
            assert data(folder) == b"one"
        assert beside(folder) == ["out"]

    def test_writing_a_file_again_replaces_it_whole(self, folder: LocalStore) -> None:
        with folder.claimed():
            folder.put("x", b"long enough")
            folder.put("x", b"short")
            assert (folder.staging / "x").read_bytes() == b"short"

    def test_a_published_file_is_moved_not_copied(self, folder: LocalStore) -> None:
        with folder.claimed():
            scratch = folder.scratch_file()
            scratch.write_bytes(b"shard")
            folder.publish(scratch, SHARD, Written(0, 5, ""))
            assert (folder.staging / SHARD).read_bytes() == b"shard"
            assert not scratch.exists()

    def test_scratch_files_never_collide(self, folder: LocalStore) -> None:
        assert len({folder.scratch_file() for _ in range(100)}) == 100


class TestOverwrite:
    def test_the_old_set_stands_until_the_new_one_is_finished(self, folder: LocalStore) -> None:
        make(folder)
        with folder.claimed():
            folder.check_free("plan-two", overwrite=True)
            fill(folder, "plan-two", b"two")
            assert data(folder) == b"one"
            folder.finish("plan-two")
            assert data(folder) == b"two"
        assert beside(folder) == ["out"]

    def test_a_failed_run_leaves_the_old_set(self, folder: LocalStore) -> None:
        make(folder)
        with pytest.raises(ZeroDivisionError), folder.claimed():
            fill(folder, "plan-two", b"two")
            raise ZeroDivisionError
        assert data(folder) == b"one"
        assert beside(folder) == ["out"]

    def test_nothing_of_the_old_set_stays(self, folder: LocalStore) -> None:
        make(folder)
        Path(folder.path, "report.html").touch()
        listed = json.loads(manifest_of("plan-one"))
        page = {"path": "report.html", "bytes": 0, "sha256": sha256().hexdigest(), "rows": 0}
        listed["files"].append(page)
        Path(folder.path, "manifest.json").write_text(json.dumps(listed))
        make(folder, "plan-two", b"two")
        assert data(folder) == b"two"
        assert not Path(folder.path, "report.html").exists()

    def test_a_set_with_a_missing_file_can_be_replaced(self, folder: LocalStore) -> None:
        make(folder)
        Path(folder.path, SHARD).unlink()
        make(folder, "plan-two", b"two")
        assert data(folder) == b"two"
        assert beside(folder) == ["out"]

    def test_an_overwrite_that_stopped_between_its_renames_is_undone(
        self, folder: LocalStore
    ) -> None:
        make(folder)
        Path(folder.path).rename(Path(folder.path).with_name(".out.replaced"))
        with folder.claimed():
            assert data(folder) == b"one"
            assert folder.manifest() == read_manifest(manifest_of("plan-one"), folder.path)
        assert beside(folder) == ["out"]

    def test_a_stop_between_the_renames_loses_neither_set(
        self, folder: LocalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Killed(BaseException):
            """What no handler of errors sees."""

        make(folder)
        real = Path.rename

        def rename(self: Path, target: Path) -> Path:
            if self != Path(folder.path):
                raise Killed
            return real(self, target)

        with pytest.raises(Killed), folder.claimed():
            folder.check_free("plan-two", overwrite=True)
            fill(folder, "plan-two", b"two")
            monkeypatch.setattr(Path, "rename", rename)
            folder.finish("plan-two")
        monkeypatch.undo()
        assert beside(folder) == [".out.replaced"]
        make(folder, "plan-two", b"two")
        assert data(folder) == b"two"
        assert beside(folder) == ["out"]

    def test_an_error_between_the_renames_is_undone(
        self, folder: LocalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make(folder)
        real = Path.rename

        def rename(self: Path, target: Path) -> Path:
            if self == folder.staging:
                raise OSError(5, "Input/output error")
            return real(self, target)

        with pytest.raises(StorageError), folder.claimed():
            folder.check_free("plan-two", overwrite=True)
            fill(folder, "plan-two", b"two")
            monkeypatch.setattr(Path, "rename", rename)
            folder.finish("plan-two")
        assert data(folder) == b"one"
        assert beside(folder) == ["out"]

    @pytest.mark.parametrize("left", [[], ["manifest.json"], ["manifest.json", SHARD]])
    def test_a_remainder_of_an_earlier_overwrite_is_no_obstacle(
        self, folder: LocalStore, left: list[str]
    ) -> None:
        make(folder)
        old = Path(folder.path).with_name(".out.replaced")
        (old / "train").mkdir(parents=True)
        for name in left:
            (old / name).write_bytes(Path(folder.path, name).read_bytes())
        make(folder, "plan-two", b"two")
        assert data(folder) == b"two"
        assert beside(folder) == ["out"]


class TestCheckFree:
    def test_nothing_and_an_empty_folder_are_free(self, folder: LocalStore) -> None:
        folder.check_free("plan-one", overwrite=False)
        Path(folder.path).mkdir(parents=True)
        folder.check_free("plan-one", overwrite=False)
        make(folder)
        assert data(folder) == b"one"

    def test_another_plan_s_set_needs_overwrite(self, folder: LocalStore) -> None:
        make(folder, "1111111111111111")
        with folder.claimed():
            with pytest.raises(OutputTaken) as caught:
                folder.check_free("2222222222222222", overwrite=False)
            for part in (folder.path, "111111111111", "222222222222", "--overwrite", "--output"):
                assert part in str(caught.value)
            folder.check_free("2222222222222222", overwrite=True)

    @pytest.mark.parametrize("overwrite", [False, True])
    @pytest.mark.parametrize("name", ["thesis.txt", "manifest.json", ".hidden", "train/x.arrow"])
    def test_a_folder_that_is_not_ours_is_never_touched(
        self, folder: LocalStore, name: str, overwrite: bool
    ) -> None:
        file = Path(folder.path, name)
        file.parent.mkdir(parents=True)
        file.write_text("{}")
        with pytest.raises(OutputTaken, match="left alone even with --overwrite"):
            folder.check_free("plan-one", overwrite)
        assert file.read_text() == "{}"

    def test_a_file_is_never_replaced(self, folder: LocalStore) -> None:
        Path(folder.path).parent.mkdir(parents=True)
        Path(folder.path).write_text("mine")
        with pytest.raises(OutputTaken, match="left alone"):
            folder.check_free("plan-one", overwrite=True)

    @pytest.mark.parametrize("manifest", [b"[]", b"{}", b"7", b'{"plan_digest": 7}', b"garbage"])
    def test_a_foreign_manifest_is_refused_without_a_crash(
        self, folder: LocalStore, manifest: bytes
    ) -> None:
        Path(folder.path).mkdir(parents=True)
        Path(folder.path, "dataset_dict.json").write_bytes(b"{}")
        Path(folder.path, "manifest.json").write_bytes(manifest)
        assert folder.manifest() is None
        with pytest.raises(OutputTaken):
            folder.check_free("plan-one", overwrite=False)


class TestManifest:
    def test_of_a_finished_set(self, folder: LocalStore) -> None:
        make(folder)
        assert folder.manifest() == read_manifest(manifest_of("plan-one"), folder.path)

    def test_there_is_none_without_a_set(self, folder: LocalStore) -> None:
        assert folder.manifest() is None

    def test_there_is_none_while_the_set_does_not_load(self, folder: LocalStore) -> None:
        make(folder)
        Path(folder.path, "dataset_dict.json").unlink()
        assert folder.manifest() is None

    @pytest.mark.parametrize("damage", [b"", b'{"plan_digest"', b"\xff"])
    def test_a_damaged_one_is_none(self, folder: LocalStore, damage: bytes) -> None:
        make(folder)
        Path(folder.path, "manifest.json").write_bytes(damage)
        assert folder.manifest() is None


class TestConfirm:
    """A shard that changed between its write and the rename is never published."""

    DATA = b"the rows of a shard"

    def staged(self, folder: LocalStore, fast: bool) -> Shard:
        folder.put(SHARD, self.DATA)
        digest = xxhash.xxh3_128_hexdigest(self.DATA) if fast else ""
        return Shard(
            0, "train", SHARD, 3, 3, len(self.DATA), sha256(self.DATA).hexdigest(), xxh3=digest
        )

    @pytest.mark.parametrize("fast", [True, False], ids=["xxh3", "record without it"])
    def test_what_is_as_it_was_written(self, folder: LocalStore, fast: bool) -> None:
        with folder.claimed():
            folder.confirm([self.staged(folder, fast), Shard(0, "rejects", "", 0, 3, 0, "")])

    @pytest.mark.parametrize("fast", [True, False], ids=["xxh3", "record without it"])
    @pytest.mark.parametrize("change", ["bit", "shorter", "gone", "link", "folder"])
    def test_what_is_not(self, folder: LocalStore, fast: bool, change: str) -> None:
        with folder.claimed():
            shard, path = self.staged(folder, fast), folder.staging / SHARD
            path.unlink()
            if change == "bit":
                path.write_bytes(bytes([self.DATA[0] ^ 1]) + self.DATA[1:])
            elif change == "shorter":
                path.write_bytes(self.DATA[:-1])
            elif change == "folder":
                path.mkdir()
            elif change == "link":
                (folder.work / "plan.json").write_bytes(self.DATA)
                path.symlink_to(folder.work / "plan.json")
            with pytest.raises(VerificationFailed, match="nothing was published, run again"):
                folder.confirm([shard])
            if change == "folder":
                path.rmdir()


class TestReports:
    def test_the_launcher_sees_finished_units(self, folder: LocalStore) -> None:
        with folder.claimed():
            assert folder.reports() == []
            note(folder, 0, rows=5)
            note(folder, 1, rows=7)
            note(folder, 1, rows=7)  # a repeated bundle
            folder.scratch_file().write_bytes(b"half a shard")
            assert sorted(report["rows"] for report in folder.reports()) == [5, 7]

    def test_reports_are_no_part_of_the_set(self, folder: LocalStore) -> None:
        with folder.claimed():
            note(folder, 0, rows=5)
            fill(folder, "plan-one", b"one")
            folder.finish("plan-one")
            assert folder.reports() == []
        assert not Path(folder.path, ".work").exists()

    def test_of_the_first_pass_only_this_run_s_notes_count(self, folder: LocalStore) -> None:
        with folder.claimed():
            note_scanned(folder, 0, "a1")
            note_scanned(folder, 1, "")
            folder.reports()
            assert folder.scanned() == 2
            going_on = LocalStore(folder.path)
            going_on.reports()
            assert going_on.scanned() == 0  # else it would seem to stand still, and be given up
            on_a_worker: LocalStore = pickle.loads(pickle.dumps(going_on))
            note_scanned(on_a_worker, 0, "b2")
            going_on.reports()
            assert going_on.scanned() == 1

    def test_there_are_none_before_a_run(self, folder: LocalStore) -> None:
        assert folder.reports() == []


class TestBrokenDisk:
    def test_no_permission_is_named_with_the_path(
        self, folder: LocalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(self: Path, *args: object, **kwargs: object) -> None:
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "mkdir", refuse)
        with (
            pytest.raises(AccessDenied, match="no permission to write") as caught,
            folder.claimed(),
        ):
            pytest.fail("claimed without permission")
        assert str(Path(folder.path).parent) in str(caught.value)
        assert caught.value.exit_code == 4

    def test_a_full_disk_is_named_and_nothing_stays(
        self, folder: LocalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(self: Path, data: bytes) -> int:
            raise OSError(28, "No space left on device", str(self))

        monkeypatch.setattr(Path, "write_bytes", full)
        with (
            pytest.raises(StorageError, match="No space left on device") as caught,
            folder.claimed(),
        ):
            folder.put("x", b"data")
        assert folder.path in str(caught.value)
        assert caught.value.exit_code == 5
        assert beside(folder) == []
