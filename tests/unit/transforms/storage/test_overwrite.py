"""An overwrite deletes files of the old set that are as they were written, and nothing else.

A folder that holds any foreign file is byte for byte the same afterwards, wherever that file lies
and whenever it came.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from means import examples

from transforms.errors import OutputTaken
from transforms.storage.local import LocalStore
from transforms.storage.names import DATASET_DICT_CONTENT
from transforms.storage.own_files import old_set


@pytest.fixture(autouse=True, scope="module")
def no_flush() -> Iterator[None]:
    """A flush takes most of the time, and no test here takes the power away."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda handle: None)
        yield


FILES = {
    "README.md": b"card",
    "train/data-00000-of-00001.arrow": b"rows",
    "train/state.json": b"{}",
    "validation/data-00000-of-00001.arrow": b"more rows",
}


def listed(files: dict[str, bytes]) -> list[dict[str, object]]:
    return [
        {"path": name, "bytes": len(data), "sha256": sha256(data).hexdigest(), "rows": 0}
        for name, data in files.items()
    ]


def fill(folder: LocalStore, digest: str) -> None:
    counts = {"read": 0, "train": 0, "validation": 0, "duplicates": 0, "rejected": {"total": 0}}
    files = {name: data + digest.encode() for name, data in FILES.items()}
    made = {"format_version": 1, "plan_digest": digest, "counts": counts, "files": listed(files)}
    for name, data in files.items():
        folder.put(name, data)
    folder.put("manifest.json", json.dumps(made).encode())
    folder.put("dataset_dict.json", DATASET_DICT_CONTENT)


def overwrite(folder: LocalStore, meanwhile: Callable[[], None] = lambda: None) -> None:
    """A run with ``--overwrite``; ``meanwhile`` happens before its end."""
    with folder.claimed("two"):
        folder.check_free("two", overwrite=True)
        fill(folder, "two")
        meanwhile()
        folder.finish("two")


def made(parent: str | Path) -> LocalStore:
    folder = LocalStore(str(Path(parent) / "out"))
    with folder.claimed("one"):
        fill(folder, "one")
        folder.finish("one")
    return folder


def tree(root: Path) -> dict[str, object]:
    """Everything below a folder but the lock: links as they are, bytes, folders."""
    found: dict[str, object] = {}
    for at, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(at, name)
            place = str(path.relative_to(root))
            if path.is_symlink():
                found[place] = ("link", str(path.readlink()))
            elif path.is_dir():
                found[place] = "folder"
            elif path.is_fifo():
                found[place] = "pipe"
            elif path.suffix != ".lock":
                found[place] = path.read_bytes()
    return found


# ---- what a user, a trainer, a file manager or another tool puts somewhere

NAMES = st.one_of(
    st.sampled_from(
        [
            "my_notes.txt",
            ".huggingface.yaml",
            ".DS_Store",
            "report.html",
            "cache-0123456789abcdef.arrow",
            "data-00001-of-00002.arrow",
            "data-00000-of-00001.arrow.bak",
            "state.json~",
            "model.safetensors",
            "optimizer.pt",
            "tmpq3v5x",
            "README.MD",
        ]
    ),
    st.text(
        st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8
    ).filter(lambda name: name not in (".", "..")),
)
FOLDERS = st.sampled_from(
    [".", "train", "validation", "rejects", "checkpoints", "checkpoints/step-10", ".git", "test"]
)
KINDS = st.sampled_from(["file", "empty", "link", "dangling", "link to a folder", "folder", "pipe"])
FOREIGN = st.tuples(FOLDERS, NAMES, KINDS)


def plant(root: Path, one: tuple[str, str, str]) -> bool:
    """Puts something foreign below a folder; False where a file of the set has its name."""
    folder, name, kind = one
    path = root / folder / name
    if os.path.lexists(path):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind in ("file", "empty"):
        path.write_bytes(b"mine" if kind == "file" else b"")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"link": "../README.md", "dangling": "gone"}.get(kind, "/tmp"))
    return True


@examples(120)
@given(st.lists(FOREIGN, min_size=1, max_size=4))
def test_a_folder_with_anything_foreign_stays_as_it_is(found: list[tuple[str, str, str]]) -> None:
    with TemporaryDirectory() as name:
        folder = made(name)
        planted = [plant(Path(folder.path), one) for one in found]
        if not any(planted):
            return
        before = tree(Path(name))
        with pytest.raises(OutputTaken, match="left alone even with --overwrite") as caught:
            overwrite(folder)
        assert caught.value.exit_code == 6
        assert tree(Path(name)) == before


@examples(60)
@given(FOREIGN)
def test_what_comes_while_the_run_goes_on_stays(found: tuple[str, str, str]) -> None:
    with TemporaryDirectory() as name:
        folder = made(name)
        target = Path(folder.path)
        before: dict[str, object] = {}

        def meanwhile() -> None:
            plant(target, found)
            before.update(tree(target))

        try:
            overwrite(folder, meanwhile)
        except OutputTaken as error:
            assert "--resume" in str(error)
            assert tree(target) == before
        else:
            assert not plant(target, found) or found[1] == "report.html"


@examples(60)
@given(FOREIGN)
def test_what_comes_between_the_renames_stays(found: tuple[str, str, str]) -> None:
    """The folder is moved away already: it is put back, with what came into it."""
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patched:
        folder = made(name)
        target, real, before = Path(folder.path), Path.rename, tree(Path(folder.path))
        planted = False

        def rename(self: Path, to: Path) -> Path:
            nonlocal planted
            done = real(self, to)
            if self == target:
                planted = plant(to, found)
                before.update(tree(to))
            return done

        patched.setattr(Path, "rename", rename)
        if not planted_anew(target, found):
            return
        with pytest.raises(OutputTaken, match="left alone"):
            overwrite(folder)
        assert planted
        assert tree(target) == before


def planted_anew(target: Path, found: tuple[str, str, str]) -> bool:
    """Would it be something new in the folder?"""
    return not os.path.lexists(target / found[0] / found[1])


@examples(80)
@given(
    st.sampled_from(["out", ".out.partial", ".out.work", ".out.replaced"]),
    st.lists(FOREIGN, min_size=1, max_size=3),
)
def test_a_user_s_own_folder_of_any_of_our_names_stays(
    own: str, found: list[tuple[str, str, str]]
) -> None:
    """No set is there: a folder that merely has the name of one of ours is never emptied."""
    with TemporaryDirectory() as name:
        root = Path(name, own)
        root.mkdir()
        for one in found:
            plant(root, one)
        before = tree(root)
        folder = LocalStore(str(Path(name, "out")))
        for again in (False, True):
            try:
                with folder.claimed("two", resume=again):
                    folder.check_free("two", overwrite=True)
                    fill(folder, "two")
                    folder.finish("two")
            except OutputTaken as error:
                assert str(root) in str(error)
            assert tree(root) == before


class TestWhatIsNamed:
    def test_notes_and_checkpoints(self, tmp_path: Path) -> None:
        folder = made(tmp_path)
        plant(Path(folder.path), ("checkpoints", "model.bin", "file"))
        plant(Path(folder.path), (".", "my_notes.txt", "file"))
        with pytest.raises(OutputTaken) as caught:
            overwrite(folder)
        assert str(caught.value) == (
            f"{folder.path} holds 2 entries that are not of the set there (checkpoints/, "
            "my_notes.txt), so it is left alone even with --overwrite: move what you want to keep "
            "elsewhere, or give another --output"
        )

    def test_the_first_few_of_many(self, tmp_path: Path) -> None:
        folder = made(tmp_path)
        for number in range(1200):
            plant(Path(folder.path), (".", f"note-{number:04d}\x1b", "empty"))
        with pytest.raises(OutputTaken) as caught:
            overwrite(folder)
        said = str(caught.value)
        assert "holds 1,200 entries" in said
        assert "note-0004\\x1b and 1,195 more)" in said
        assert "\x1b" not in said

    def test_a_trainer_s_caches_may_be_deleted(self, tmp_path: Path) -> None:
        folder = made(tmp_path)
        plant(Path(folder.path), ("train", "cache-0123.arrow", "file"))
        with pytest.raises(OutputTaken, match=r"cache-\*\.arrow files are a trainer's and may be"):
            overwrite(folder)

    @pytest.mark.parametrize("name", ["README.md", "train/state.json", "dataset_dict.json"])
    @pytest.mark.parametrize("same_size", [False, True])
    def test_a_changed_file_of_the_set(self, tmp_path: Path, name: str, same_size: bool) -> None:
        folder = made(tmp_path)
        path = Path(folder.path, name)
        path.write_bytes(path.read_bytes()[:-1] + (b"!" if same_size else b"!!"))
        before = tree(Path(folder.path))
        with pytest.raises(OutputTaken) as caught:
            overwrite(folder)
        assert f"1 entry that is changed since the set was made ({name})" in str(caught.value)
        assert tree(Path(folder.path)) == before

    @pytest.mark.parametrize("name", ["README.md", "train/data-00000-of-00001.arrow"])
    def test_a_file_that_is_changed_while_the_run_goes_on(self, tmp_path: Path, name: str) -> None:
        folder = made(tmp_path)
        path = Path(folder.path, name)
        with pytest.raises(OutputTaken, match="changed since the set was made"):
            overwrite(folder, lambda: path.write_bytes(b"my own edit") and None)
        assert path.read_bytes() == b"my own edit"

    def test_a_set_that_came_while_the_run_went_on(self, tmp_path: Path) -> None:
        other = made(tmp_path / "elsewhere")
        folder = LocalStore(str(tmp_path / "out"))
        with pytest.raises(OutputTaken, match="was empty or held another set when this run began"):
            overwrite(folder, lambda: Path(other.path).rename(folder.path) and None)
        assert tree(Path(folder.path))["README.md"] == b"cardone"

    def test_a_set_of_another_tool(self, tmp_path: Path) -> None:
        folder = made(tmp_path)
        Path(folder.path, "manifest.json").unlink()
        before = tree(Path(folder.path))
        with pytest.raises(OutputTaken, match=r"holds no prepared data set.*has no manifest\.json"):
            overwrite(folder)
        assert tree(Path(folder.path)) == before

    def test_a_set_of_a_newer_version(self, tmp_path: Path) -> None:
        folder = made(tmp_path)
        path = Path(folder.path, "manifest.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 2}))
        with pytest.raises(OutputTaken, match="install a newer reasonforge-data-prep"):
            overwrite(folder)

    def test_a_user_s_file_with_the_name_of_the_lock(self, tmp_path: Path) -> None:
        lock = tmp_path / ".out.lock"
        lock.write_text("mine")
        with pytest.raises(OutputTaken, match=r"\.out\.lock is in the way"):
            overwrite(LocalStore(str(tmp_path / "out")))
        assert lock.read_text() == "mine"

    def test_a_link_with_the_name_of_the_lock(self, tmp_path: Path) -> None:
        (tmp_path / "mine").write_text("mine")
        (tmp_path / ".out.lock").symlink_to("mine")
        with pytest.raises(OutputTaken, match=r"\.out\.lock is in the way"):
            overwrite(LocalStore(str(tmp_path / "out")))
        assert (tmp_path / "mine").read_text() == "mine"


class TestRemoval:
    """The last step: the old set lies in its own folder, and goes file by file."""

    @pytest.mark.parametrize("name", ["README.md", "manifest.json", "dataset_dict.json"])
    @pytest.mark.parametrize("kind", ["edited", "new file", "link", "folder"])
    def test_what_is_not_as_it_was_stays(self, tmp_path: Path, name: str, kind: str) -> None:
        root = Path(made(tmp_path).path)
        old = old_set(root)
        if kind != "edited":
            (root / name).unlink()
        if kind in ("edited", "new file"):
            (root / name).write_bytes(b"mine")
        elif kind == "link":
            (root / name).symlink_to("elsewhere")
        else:
            (root / name).mkdir()
        before = tree(root)[name]
        old.remove(root)
        assert tree(root) == {name: before}

    def test_what_came_stays_and_a_warning_tells_of_it(self, tmp_path: Path) -> None:
        folder = made(tmp_path)
        replaced = Path(folder.path).with_name(".out.replaced")
        Path(folder.path).rename(replaced)
        old = old_set(replaced)
        plant(replaced, ("train", "my_notes.txt", "file"))
        old.remove(replaced)
        assert tree(replaced) == {"train": "folder", "train/my_notes.txt": b"mine"}
        (warning,) = folder.sweep()
        assert f"is kept at {replaced}" in warning
        assert "train/my_notes.txt" in warning

    def test_there_is_no_warning_where_nothing_is_left(self, tmp_path: Path) -> None:
        assert made(tmp_path).sweep() == []


class TestWorkingFolders:
    @pytest.mark.parametrize("own", [".out.partial", ".out.work", ".out.replaced"])
    def test_a_set_of_another_tool_that_has_the_name_of_one_stays(
        self, tmp_path: Path, own: str
    ) -> None:
        folder, root = made(tmp_path), tmp_path / own
        for name in ("train/state.json", "train/data-00000-of-00001.arrow", "dataset_dict.json"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"mine")
        before = tree(tmp_path)
        with pytest.raises(OutputTaken) as caught:
            overwrite(folder)
        assert str(root) in str(caught.value)
        assert tree(tmp_path) == before

    def test_notes_in_the_staging_folder_are_not_published(self, tmp_path: Path) -> None:
        folder = made(tmp_path)
        note = folder.staging / "train" / "my_notes.txt"
        with pytest.raises(OutputTaken, match="nothing was published") as caught:
            overwrite(folder, lambda: note.write_text("mine") and None)
        assert "train/my_notes.txt" in str(caught.value)
        assert note.read_text() == "mine"
        assert tree(Path(folder.path))["README.md"] == b"cardone"

    def test_a_shard_of_an_earlier_attempt_is_not_published(self, tmp_path: Path) -> None:
        folder = made(tmp_path)
        earlier = "rejects/data-00003-of-00009.jsonl"
        overwrite(folder, lambda: folder.put(earlier, b"{}"))
        assert not Path(folder.path, "rejects").exists()

    def test_notes_in_the_work_folder_stay(self, tmp_path: Path) -> None:
        folder = made(tmp_path)
        note = folder.work / "my_notes.txt"
        overwrite(folder, lambda: note.write_text("mine") and None)
        assert tree(Path(folder.path))["README.md"] == b"cardtwo"
        assert tree(folder.work) == {"my_notes.txt": b"mine"}
        with pytest.raises(OutputTaken, match=r"holds 1 entry that is not of a run \(my_notes"):
            overwrite(folder)

    def test_what_a_stopped_run_left_is_removed(self, tmp_path: Path) -> None:
        class Killed(BaseException):
            """What no handler of errors sees."""

        folder = LocalStore(str(tmp_path / "out"))
        with pytest.MonkeyPatch.context() as patched, pytest.raises(Killed):
            patched.setattr(LocalStore, "_clear", lambda self: None)  # as kill -9 does
            with folder.claimed("one"):
                folder.put("train/data-00000-of-00009.arrow", b"half")
                folder.put_work("00000-rejects.json", b"[]")
                folder.scratch_file().write_bytes(b"half a shard")
                raise Killed
        overwrite(folder)
        assert sorted(path.name for path in tmp_path.iterdir()) == [".out.lock", "out"]

    def test_a_run_that_died_before_its_claim_is_no_obstacle(self, tmp_path: Path) -> None:
        folder = LocalStore(str(tmp_path / "out"))
        folder.staging.mkdir()
        folder.work.mkdir()
        folder.scratch_file().write_bytes(b'{"plan')
        overwrite(folder)
        assert sorted(path.name for path in tmp_path.iterdir()) == [".out.lock", "out"]

    def test_a_file_in_their_place_is_named(self, tmp_path: Path) -> None:
        folder = LocalStore(str(tmp_path / "out"))
        folder.staging.write_text("mine")
        with pytest.raises(OutputTaken, match=r"\.out\.partial is in the way"):
            overwrite(folder)
        assert folder.staging.read_text() == "mine"
