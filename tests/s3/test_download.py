"""Download: the set arrives whole and checked, or not at all, from a real S3 server."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from botocore.awsrequest import AWSResponse
from datasets import load_from_disk
from made_sets import FILES, ROWS, UNITS, MadeSet, s3_set, use_server
from means import REPOSITORY
from s3_servers import Proxy, S3Server, Toxiproxy
from s3_taps import LAST, Requests, contents, flip, here, reply, tap  # noqa: F401 (here is a fixture)

from pipeline.dataset import transfers
from pipeline.dataset.download import Downloaded, download
from pipeline.dataset.prune import prune
from transforms.errors import (
    AccessDenied,
    OutputTaken,
    StorageError,
    UsageError,
    VerificationFailed,
)
from transforms.storage.manifest import Manifest, read_manifest
from transforms.storage.s3 import bucket as s3_bucket
from transforms.storage.s3 import client as s3_client
from transforms.storage.s3.uri import S3Options

SHARD, OTHER = "train/data-00000-of-00002.arrow", "train/data-00001-of-00002.arrow"


@pytest.fixture(scope="session")
def template(s3_server: S3Server) -> MadeSet:
    bucket = f"template-{uuid4()}"
    s3_server.make_bucket(bucket)
    with pytest.MonkeyPatch.context() as patch:
        use_server(patch, s3_server)
        return s3_set(s3_server, bucket)


@pytest.fixture
def a_set(template: MadeSet, s3_server: S3Server, bucket: str) -> MadeSet:
    """A set on the server, for one test alone."""
    root = s3_server.data / bucket / "datasets" / "set"
    shutil.copytree(template.root, root)  # with what the server keeps beside the bytes
    return MadeSet(f"s3://{bucket}/datasets/set", root)


def paths(a_set: MadeSet) -> list[str]:
    """Every file of a set."""
    return [file["path"] for file in a_set.manifest()["files"]] + [*LAST]


def read(a_set: MadeSet) -> Manifest:
    return read_manifest(a_set.read("manifest.json"), a_set.place)


def size(a_set: MadeSet) -> int:
    return sum(file["bytes"] for file in a_set.manifest()["files"])


def is_at(a_set: MadeSet, folder: Path) -> bool:
    """Is the folder this very set, byte for byte, with nothing else?"""
    return contents(folder) == {name: a_set.read(name) for name in paths(a_set)}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "downloaded"


@pytest.fixture
def proxy(s3_server: S3Server, toxiproxy: Toxiproxy) -> Proxy:
    return toxiproxy.proxy(s3_server.endpoint)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few and short attempts."""
    monkeypatch.setattr(s3_client, "_clients", {})
    monkeypatch.setattr(s3_client, "ATTEMPTS", 2)
    monkeypatch.setattr(s3_client, "_READ_SECONDS", 1)


def temporary(target: Path) -> Path:
    return target.with_name(f".{target.name}.download")


def begun(a_set: MadeSet, target: Path, *names: str) -> Path:
    """What an earlier run that was killed has left, with these files of the set."""
    folder = temporary(target)
    for name in ("manifest.json", *names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile((a_set.root / name), folder / name)
    return folder


class TestDownload:
    def test_the_set_loads_and_is_byte_for_byte_the_one_on_s3(
        self, a_set: MadeSet, target: Path
    ) -> None:
        done = download(a_set.place, target)
        assert is_at(a_set, target)
        loaded = load_from_disk(str(target))
        assert {name: part.num_rows for name, part in loaded.items()} == {
            name: UNITS * rows for name, rows in ROWS.items()
        }
        assert loaded["validation"][0]["text"].startswith("validation 0 ")
        assert done == Downloaded(target, a_set.place, FILES, 0, size(a_set), read(a_set))
        assert not temporary(target).exists()

    def test_large_files_come_in_parts(
        self, a_set: MadeSet, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(s3_bucket, "_WHOLE_BYTES", 50_000)
        monkeypatch.setattr(s3_bucket, "PART_BYTES", 50_000)
        requests = Requests(a_set.place)
        on_bytes: list[int] = []
        download(a_set.place, target, received=on_bytes.append)
        assert is_at(a_set, target)
        assert requests.fetched().count(SHARD) == -(-len(a_set.read(SHARD)) // 50_000) > 2
        assert sum(on_bytes) == size(a_set)

    def test_what_it_says_is_json(self, a_set: MadeSet, target: Path) -> None:
        done = download(f"{a_set.place}/", target)
        assert json.loads(json.dumps(done.to_json())) == {
            "path": str(target),
            "uri": a_set.place,
            "fetched": FILES,
            "present": 0,
            "bytes": size(a_set),
            "manifest": a_set.manifest(),
            "manifest_sha256": hashlib.sha256(a_set.read("manifest.json")).hexdigest(),
        }

    def test_the_bytes_are_told_one_at_a_time(self, a_set: MadeSet, target: Path) -> None:
        on_bytes, inside = [], threading.Lock()

        def received(count: int) -> None:
            assert inside.acquire(blocking=False)
            time.sleep(0.001)
            on_bytes.append(count)
            inside.release()

        download(a_set.place, target, received=received)
        assert sum(on_bytes) == size(a_set)

    def test_only_files_of_the_manifest_are_taken(self, a_set: MadeSet, target: Path) -> None:
        assert (a_set.root / "_RUN.json").is_file()
        a_set.put("_run/00000-splits.json", b"[]")
        a_set.put("train/cache-1.arrow", b"strange")
        a_set.put("notes.txt", b"strange")
        a_set.put("a/b/c", b"strange")
        requests = Requests(a_set.place)
        download(a_set.place, target)
        assert is_at(a_set, target)
        assert requests.names() == set(paths(a_set))

    def test_an_empty_folder_is_filled(self, a_set: MadeSet, target: Path) -> None:
        target.mkdir(parents=True)
        download(a_set.place, target)
        assert is_at(a_set, target)

    def test_a_link_is_written_where_it_points(self, a_set: MadeSet, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to(tmp_path / "elsewhere" / "set")
        done = download(a_set.place, link)
        assert link.is_symlink()
        assert is_at(a_set, tmp_path / "elsewhere" / "set")
        assert done.path == link

    def test_a_relative_target(
        self, a_set: MadeSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert download(a_set.place, Path("set")).path == Path("set")
        assert is_at(a_set, tmp_path / "set")

    def test_the_file_that_makes_it_load_is_the_last(
        self, a_set: MadeSet, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, names = Path.write_bytes, []

        def spy(path: Path, data: bytes) -> int:
            names.append(path.stem)  # without the ending of what is not there whole
            if path.stem == "dataset_dict.json":
                there = set(contents(temporary(target)))
                assert there == set(paths(a_set)) - {"dataset_dict.json"}
            return real(path, data)

        monkeypatch.setattr(Path, "write_bytes", spy)
        download(a_set.place, target)
        assert names == ["manifest.json", "dataset_dict.json"]

    def test_it_waits_for_no_heavy_library(self) -> None:
        script = (
            "import sys, pipeline.dataset.download, pipeline.s3_handler\n"
            "print({'boto3', 'botocore', 'datasets', 'apache_beam'} & set(sys.modules))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True
        )
        assert done.stdout == "set()\n", done.stderr


class TestTarget:
    def test_what_is_there_already_is_checked_and_not_fetched(
        self, a_set: MadeSet, target: Path
    ) -> None:
        download(a_set.place, target)
        (target / "train" / "cache-1.arrow").write_bytes(b"of datasets")
        before = contents(target)
        requests = Requests(a_set.place)
        done = download(a_set.place, target)
        assert requests.fetched() == []
        assert contents(target) == before
        assert done == Downloaded(target, a_set.place, 0, FILES, 0, read(a_set))

    @pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
    def test_a_damaged_copy_is_named_and_left_alone(
        self, a_set: MadeSet, target: Path, damage: str
    ) -> None:
        download(a_set.place, target)
        shard = target / SHARD
        if damage == "flipped":
            flip(shard)
        elif damage == "cut":
            os.truncate(shard, 1000)
        else:
            shard.unlink()
        before = contents(target)
        with pytest.raises(OutputTaken, match=f"{SHARD} is missing or damaged"):
            download(a_set.place, target)
        assert contents(target) == before

    @pytest.mark.parametrize("what", ["a file", "other files", "another set", "half of it"])
    def test_anything_else_is_left_alone(
        self, a_set: MadeSet, target: Path, s3_server: S3Server, bucket: str, what: str
    ) -> None:
        if what == "a file":
            target.parent.mkdir()
            target.write_bytes(b"mine")
        elif what == "other files":
            target.mkdir(parents=True)
            (target / "mine").write_bytes(b"mine")
        elif what == "another set":
            other = s3_set(s3_server, bucket, "datasets/other")
            download(other.place, target)
        else:
            download(a_set.place, target)
            (target / "dataset_dict.json").unlink()
        before = contents(target.parent)
        with pytest.raises(
            OutputTaken, match="expected an empty folder or none: give another"
        ) as e:
            download(a_set.place, target)
        assert str(target) in str(e.value)
        assert e.value.exit_code == 6
        assert contents(target.parent) == {**before, ".downloaded.lock": b""}

    def test_of_two_downloads_at_once_one_gives_way(self, a_set: MadeSet, target: Path) -> None:
        begins, ended = threading.Event(), threading.Event()

        def received(count: int) -> None:
            begins.set()
            assert ended.wait(30)

        asked = {"uri": a_set.place, "target": target, "received": received}
        first = threading.Thread(target=download, kwargs=asked)
        first.start()
        try:
            assert begins.wait(30)
            with pytest.raises(OutputTaken, match="another run is writing"):
                download(a_set.place, target)
        finally:
            ended.set()
            first.join()
        assert is_at(a_set, target)

    def test_a_folder_that_appears_meanwhile_is_left_alone(
        self, a_set: MadeSet, target: Path
    ) -> None:
        def received(count: int) -> None:
            target.mkdir(exist_ok=True)
            (target / "mine").write_bytes(b"mine")

        with pytest.raises(OutputTaken, match="made by something else meanwhile"):
            download(a_set.place, target, received=received)
        assert contents(target) == {"mine": b"mine"}
        shutil.rmtree(target)
        assert download(a_set.place, target).fetched == 0
        assert is_at(a_set, target)

    @pytest.mark.parametrize("where", ["/", ".", "a\0b", "x" * 300])
    def test_what_can_be_no_folder_is_refused(
        self, a_set: MadeSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
    ) -> None:
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path / "empty")
        requests = Requests(a_set.place)
        with pytest.raises((UsageError, StorageError)):
            download(a_set.place, Path(where))
        assert requests.fetched() == []

    def test_a_mount_point_is_refused_before_anything_is_fetched(
        self, a_set: MadeSet, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target.mkdir(parents=True)
        monkeypatch.setattr(Path, "is_mount", lambda path: path == target)
        requests = Requests(a_set.place)
        with pytest.raises(UsageError, match="mount point .* give a folder inside of it"):
            download(a_set.place, target)
        assert requests.fetched() == []


class TestSpace:
    def test_a_full_disk_is_told_before_anything_is_fetched(
        self, a_set: MadeSet, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []

        def usage(path: Path) -> Any:
            asked.append(path)
            return shutil._ntuple_diskusage(10**9, 10**9, 5000)  # type: ignore[attr-defined]

        monkeypatch.setattr(shutil, "disk_usage", usage)
        requests = Requests(a_set.place)
        with pytest.raises(StorageError, match=f"{size(a_set):,} bytes.*has 5,000 left: make room"):
            download(a_set.place, target)
        assert asked == [target.parent]
        assert requests.fetched() == []
        assert not target.exists()
        assert not temporary(target).exists()

    def test_only_what_is_missing_needs_room(
        self, a_set: MadeSet, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = [path for path in paths(a_set) if path.startswith("train/data")]
        begun(a_set, target, *names)
        left = size(a_set) - sum((a_set.root / name).stat().st_size for name in names)
        for free, enough in ((left + 16 * 2**20 - 1, False), (left + 16 * 2**20, True)):
            usage = shutil._ntuple_diskusage(10**9, 0, free)  # type: ignore[attr-defined]
            monkeypatch.setattr(shutil, "disk_usage", lambda path, found=usage: found)
            if enough:
                download(a_set.place, target)
            else:
                with pytest.raises(StorageError, match=f"{left:,} bytes"):
                    download(a_set.place, target)

    def test_a_disk_that_gets_full_on_the_way(
        self, a_set: MadeSet, s3_server: S3Server, target: Path
    ) -> None:
        script = (
            "import resource, sys\nfrom pathlib import Path\n"
            "from pipeline.dataset.download import download\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000))\n"
            "try:\n    download(sys.argv[1], Path(sys.argv[2]))\n"
            "except Exception as error:\n    print(type(error).__name__, error)"
        )
        said = child(script, a_set.place, str(target), env=s3_server.environment())
        assert said.startswith("StorageError cannot write ")
        assert "make room" in said
        assert not target.exists()
        assert [name for name in contents(temporary(target)) if "." in name[-9:-7]] == []
        assert download(a_set.place, target).present > 0
        assert is_at(a_set, target)


def child(script: str, *arguments: str, env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=REPOSITORY,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout or done.stderr


class TestResume:
    def test_after_kill_9_only_the_rest_is_fetched(
        self, a_set: MadeSet, s3_server: S3Server, target: Path
    ) -> None:
        script = (
            "import os, signal, sys\nfrom pathlib import Path\n"
            "from pipeline.dataset.download import download\n"
            "came = 0\n"
            "def received(count):\n"
            "    global came\n    came += count\n"
            "    if came > int(sys.argv[3]):\n        os.kill(os.getpid(), signal.SIGKILL)\n"
            "download(sys.argv[1], Path(sys.argv[2]), received=received)"
        )
        half = str(size(a_set) // 2)
        said = child(script, a_set.place, str(target), half, env=s3_server.environment())
        assert said == ""
        assert not target.exists()
        left = contents(temporary(target))
        assert "dataset_dict.json" not in left
        kept = {
            name for name, data in left.items() if name in paths(a_set) and data == a_set.read(name)
        } - {"manifest.json"}
        assert 0 < len(kept) < FILES

        requests = Requests(a_set.place)
        done = download(a_set.place, target)
        rest = set(paths(a_set)) - kept - {"manifest.json", "dataset_dict.json"}
        assert requests.fetched() == sorted(rest)
        assert (done.present, done.fetched) == (len(kept), FILES - len(kept))
        assert done.bytes == sum((a_set.root / name).stat().st_size for name in rest)
        assert is_at(a_set, target)

    def test_an_error_ends_it_soon_and_the_next_run_goes_on(
        self, a_set: MadeSet, target: Path
    ) -> None:
        came = 0

        def received(count: int) -> None:
            nonlocal came
            came += count
            if came > size(a_set) // 2:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            download(a_set.place, target, received=received)
        assert not target.exists()
        done = download(a_set.place, target)
        assert 0 < done.present < FILES
        assert is_at(a_set, target)

    def test_after_an_error_no_more_objects_are_asked_for(
        self, bucket: str, tmp_path: Path
    ) -> None:
        s3_bucket.Bucket(bucket).put("a", bytes(1000))
        requests = Requests(f"s3://{bucket}")
        wanted = [transfers.Wanted("a", f"{n}", 999 if n == 5 else 1000, None) for n in range(200)]
        with pytest.raises(VerificationFailed, match="should have 999 bytes, but it has 1,000"):
            transfers.fetch(s3_bucket.Bucket(bucket), wanted, tmp_path)
        assert len(requests.fetched()) < 50

    def test_a_signal_stops_transfers_in_the_middle(
        self, bucket: str, tmp_path: Path, proxy: Proxy
    ) -> None:
        """The main thread gets the signal, not those that transfer: as by Ctrl-C."""
        interrupted = threading.Event()

        def received(_: int) -> None:
            if not interrupted.is_set():
                interrupted.set()
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        s3_bucket.Bucket(bucket).put("a", bytes(8_000_000))
        proxy.add("bandwidth", rate=1000)  # the whole takes half a minute
        wanted = [transfers.Wanted("a", f"{n}", 8_000_000, None) for n in range(4)]
        begin = time.monotonic()
        slow = s3_bucket.Bucket(bucket, S3Options(proxy.endpoint))
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                transfers.fetch(slow, wanted, tmp_path, received)
        finally:
            signal.signal(signal.SIGINT, before)
        assert time.monotonic() - begin < 8
        assert contents(tmp_path) == {}

    def test_what_a_killed_run_left_is_cleaned(self, a_set: MadeSet, target: Path) -> None:
        folder = begun(a_set, target, SHARD, OTHER, "README.md")
        shutil.copyfile(a_set.root / SHARD, folder / f"{SHARD}.1a2B3c4D")
        flip(folder / OTHER)
        os.truncate(folder / "README.md", 5)
        (folder / "dataset_dict.json").write_bytes(b"{")
        (folder / "manifest.json.00000000").write_bytes(b"{")
        done = download(a_set.place, target)
        assert done.present == 1
        assert is_at(a_set, target)

    @pytest.mark.parametrize("began", [False, True])
    @pytest.mark.parametrize(
        "name", ["strange/deep/file", "notes.txt", "train/notes.txt", "validation", "x.1a2b3c4d"]
    )
    def test_what_no_download_made_stays(
        self, a_set: MadeSet, target: Path, name: str, began: bool
    ) -> None:
        folder = begun(a_set, target, SHARD, "README.md")
        if not began:
            (folder / "manifest.json").unlink()
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"mine")
        before = contents(folder)
        with pytest.raises(OutputTaken, match="not of a run") as caught:
            download(a_set.place, target)
        assert name.partition("/")[0] in str(caught.value)
        assert contents(folder) == before

    def test_files_of_another_set_are_not_kept(
        self, a_set: MadeSet, target: Path, s3_server: S3Server, bucket: str
    ) -> None:
        other = s3_set(s3_server, bucket, "datasets/other")
        begun(other, target, "rejects/data-00000-of-00002.jsonl", "train/dataset_info.json")
        done = download(a_set.place, target)
        assert done.present == 0
        assert is_at(a_set, target)

    def test_a_folder_whose_manifest_is_none_of_a_set_stays(
        self, a_set: MadeSet, target: Path
    ) -> None:
        folder = begun(a_set, target, "README.md")
        os.truncate(folder / "manifest.json", 100)
        before = contents(folder)
        with pytest.raises(OutputTaken, match=r"not of a run \(README\.md, manifest\.json\)"):
            download(a_set.place, target)
        assert contents(folder) == before

    def test_a_manifest_that_was_not_written_to_its_end_is_no_obstacle(
        self, a_set: MadeSet, target: Path
    ) -> None:
        folder = begun(a_set, target)
        (folder / "manifest.json").rename(folder / "manifest.json.00000000")
        download(a_set.place, target)
        assert is_at(a_set, target)


class TestDamage:
    def refused(self, a_set: MadeSet, target: Path, match: str) -> VerificationFailed:
        with pytest.raises(VerificationFailed, match=match) as caught:
            download(a_set.place, target)
        assert not target.exists()
        assert caught.value.exit_code == 7
        return caught.value

    def test_a_flipped_byte_is_tried_twice_and_named(self, a_set: MadeSet, target: Path) -> None:
        flip(a_set.root / SHARD)
        requests = Requests(a_set.place)
        self.refused(a_set, target, f"{a_set.place}/{SHARD} came with bytes that are not")
        assert requests.fetched().count(SHARD) == 2

    def test_a_flipped_byte_that_the_store_has_no_checksum_of(
        self, a_set: MadeSet, target: Path
    ) -> None:
        data = bytearray(a_set.read(SHARD))
        data[-1000] ^= 1
        a_set.put(SHARD, bytes(data))  # another object now, right in itself
        requests = Requests(a_set.place)
        on_bytes: list[int] = []
        with pytest.raises(VerificationFailed, match=f"{SHARD} came twice with other bytes"):
            download(a_set.place, target, received=on_bytes.append)
        assert requests.fetched().count(SHARD) == 2
        assert not target.exists()
        assert not (temporary(target) / SHARD).exists()
        assert sum(on_bytes) <= size(a_set) - len(data)

    def test_a_byte_that_flipped_on_the_way_is_fetched_again(
        self, a_set: MadeSet, target: Path
    ) -> None:
        data = bytearray(a_set.read(SHARD))
        data[5000] ^= 1
        replies = iter([bytes(data)])

        def flipped(request: Any, **_: object) -> AWSResponse | None:
            body = next(replies, None) if request.url.endswith(SHARD) else None
            return None if body is None else reply(request.url, body)

        tap().register("before-send.s3.GetObject", flipped)
        on_bytes: list[int] = []
        download(a_set.place, target, received=on_bytes.append)
        assert next(replies, None) is None
        assert is_at(a_set, target)
        assert sum(on_bytes) == size(a_set)

    def test_a_file_of_another_size_is_not_even_fetched(self, a_set: MadeSet, target: Path) -> None:
        a_set.put(SHARD, bytes(10_000_000))
        requests = Requests(a_set.place)
        self.refused(a_set, target, f"{SHARD} should have .* bytes, but it has 10,000,000")
        assert SHARD not in requests.fetched()

    def test_a_file_that_is_gone(self, a_set: MadeSet, target: Path) -> None:
        a_set.remove(SHARD)
        self.refused(a_set, target, f"{SHARD} should have .* bytes, but it is not there")

    @pytest.mark.parametrize("name", ["dataset_dict.json", "manifest.json"])
    def test_an_incomplete_set(self, a_set: MadeSet, target: Path, name: str) -> None:
        a_set.remove(name)
        self.refused(a_set, target, f"{a_set.place} holds no complete set.*: {name}.* is missing")
        assert not target.parent.exists()

    def test_an_address_without_a_set(self, a_set: MadeSet, target: Path) -> None:
        with pytest.raises(VerificationFailed, match="holds no complete set"):
            download(a_set.place.rpartition("/")[0], target)

    @pytest.mark.parametrize(
        ("data", "match"),
        [
            (b"{", "is no JSON"),
            (b"[]", "is not a manifest of this tool"),
            (b'{"plan_digest": "a", "format_version": 99, "files": []}', "format version 99"),
        ],
    )
    def test_a_manifest_that_is_none(
        self, a_set: MadeSet, target: Path, data: bytes, match: str
    ) -> None:
        a_set.put("manifest.json", data)
        self.refused(a_set, target, match)

    @pytest.mark.parametrize("name", ["train/state.json", "validation/state.json"])
    def test_a_set_that_would_not_load(self, a_set: MadeSet, target: Path, name: str) -> None:
        files = [file for file in a_set.manifest()["files"] if file["path"] != name]
        a_set.put_manifest({**a_set.manifest(), "files": files})
        self.refused(a_set, target, f"manifest.json does not name {name}")


class TestHostile:
    @pytest.fixture
    def around(self, target: Path) -> Callable[[], list[str]]:
        """All that lies beside and above the target."""
        root = target.parent.parent
        return lambda: sorted(str(path.relative_to(root)) for path in root.rglob("*"))

    @pytest.mark.parametrize(
        "name",
        [
            *(
                "evil.py",
                "train/x.py",
                "_run/x",
                "../x",
                "../../x",
                "train/../../x",
                "train/..",
                "..",
                ".",
                "",
                "/x",
                "train//x",
            ),
            *("{target}/../x", "{target}", "a/b/c", ".hidden", "train/.x", "a\\b", "C:x", "C:/x"),
            *("a\0b", "a b", "manifest.json", "dataset_dict.json", "~/x", "train/x\n", "ä"),
        ],
    )
    def test_names_that_no_set_holds(
        self, a_set: MadeSet, target: Path, around: Callable[[], list[str]], name: str
    ) -> None:
        data = b"evil"
        a_set.put("x", data)
        path = name.format(target=target)
        digest = hashlib.sha256(data).hexdigest()
        evil = {"path": path, "bytes": len(data), "sha256": digest, "rows": 0}
        files = [*a_set.manifest()["files"], evil]
        a_set.put_manifest({**a_set.manifest(), "files": files})
        with pytest.raises(VerificationFailed, match="lists a file that no set holds"):
            download(a_set.place, target)
        assert around() == []

    def test_a_dataset_dict_that_names_other_folders(self, a_set: MadeSet, target: Path) -> None:
        a_set.put("dataset_dict.json", b'{"splits": ["../../home"]}')
        with pytest.raises(VerificationFailed, match="does not name the splits train and val"):
            download(a_set.place, target)
        assert not target.exists()

    @pytest.mark.parametrize("filename", ["../../secret.arrow", "/secret.arrow", "other.arrow"])
    def test_a_state_that_names_other_files(
        self, a_set: MadeSet, target: Path, filename: str
    ) -> None:
        state = json.loads(a_set.read("train/state.json"))
        state["_data_files"].append({"filename": filename})
        a_set.forge("train/state.json", json.dumps(state).encode())
        with pytest.raises(
            VerificationFailed, match=r"state\.json names .* as shard 2, expected nothing"
        ):
            download(a_set.place, target)
        assert not target.exists()

    @pytest.mark.parametrize("planted", ["folder", "file", "all"])
    def test_links_that_were_planted_do_not_lead_out(
        self, a_set: MadeSet, target: Path, tmp_path: Path, planted: str
    ) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "README.md").write_bytes(b"mine")
        if planted == "all":
            target.parent.mkdir()
            temporary(target).symlink_to(outside)
            shutil.copyfile((a_set.root / "manifest.json"), outside / "manifest.json")
        else:
            folder = begun(a_set, target)
            link = folder / ("train" if planted == "folder" else "README.md")
            link.symlink_to(outside if planted == "folder" else outside / "README.md")
        before = contents(outside)
        with pytest.raises(OutputTaken, match="in the way of a run|not of a run"):
            download(a_set.place, target)
        assert contents(outside) == before

    def test_a_link_that_is_planted_on_the_way_is_refused(
        self, a_set: MadeSet, target: Path, tmp_path: Path
    ) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        link = temporary(target) / "validation"

        def received(count: int) -> None:
            if not link.is_symlink():
                link.symlink_to(outside)  # its turn comes last

        with pytest.raises(OutputTaken, match="leads out of .* by a link"):
            download(a_set.place, target, received=received)
        assert contents(outside) == {}
        assert not target.exists()


class TestDeletedMeanwhile:
    def test_it_is_told_as_such(self, a_set: MadeSet, target: Path) -> None:
        deleted = []

        def received(_: int) -> None:
            if not deleted:
                deleted.append(prune(a_set.place))

        with pytest.raises(VerificationFailed, match="was deleted while it was downloaded"):
            download(a_set.place, target, received=received)
        assert deleted
        assert not target.exists()

    def test_one_object_that_is_missing_is_no_deletion(self, a_set: MadeSet, target: Path) -> None:
        a_set.remove("README.md")
        with pytest.raises(VerificationFailed, match=r"README\.md should have"):
            download(a_set.place, target)


class TestNetwork:
    def test_connections_that_are_reset_now_and_then(
        self, a_set: MadeSet, target: Path, proxy: Proxy
    ) -> None:
        proxy.add("reset_peer", toxicity=0.3, timeout=0)
        on_bytes: list[int] = []
        download(a_set.place, target, S3Options(endpoint_url=proxy.endpoint), on_bytes.append)
        assert is_at(a_set, target)
        assert sum(on_bytes) == size(a_set)

    @pytest.mark.usefixtures("impatient")
    @pytest.mark.parametrize("after", [30, 90_000])
    def test_connections_that_are_always_cut(
        self, a_set: MadeSet, target: Path, proxy: Proxy, after: int
    ) -> None:
        proxy.add("limit_data", bytes=after)
        through = S3Options(endpoint_url=proxy.endpoint)
        begin = time.monotonic()
        with pytest.raises(StorageError, match="broke, also after retries, .*run again") as caught:
            download(a_set.place, target, through)
        assert time.monotonic() - begin < 20
        assert proxy.endpoint in str(caught.value)
        assert not target.exists()
        proxy.remove_all()
        download(a_set.place, target, through)
        assert is_at(a_set, target)

    @pytest.mark.usefixtures("impatient")
    def test_a_store_that_answers_nothing_any_more(
        self, a_set: MadeSet, target: Path, proxy: Proxy
    ) -> None:
        proxy.add("timeout", timeout=0)
        begin = time.monotonic()
        with pytest.raises(StorageError, match="ReadTimeoutError"):
            download(a_set.place, target, S3Options(endpoint_url=proxy.endpoint))
        assert time.monotonic() - begin < 10

    @pytest.mark.usefixtures("impatient")
    def test_a_store_that_falls_silent_on_the_way(
        self, a_set: MadeSet, target: Path, proxy: Proxy
    ) -> None:
        def received(count: int) -> None:
            if not silent:
                silent.append(True)
                proxy.add("timeout", timeout=0)

        silent: list[bool] = []
        begin = time.monotonic()
        with pytest.raises(StorageError, match="Timeout"):
            download(a_set.place, target, S3Options(endpoint_url=proxy.endpoint), received)
        assert time.monotonic() - begin < 30
        assert not target.exists()

    @pytest.mark.usefixtures("impatient")
    def test_a_store_that_is_off(self, a_set: MadeSet, target: Path, proxy: Proxy) -> None:
        proxy.enable(False)
        with pytest.raises(StorageError, match="cannot be reached"):
            download(a_set.place, target, S3Options(endpoint_url=proxy.endpoint))

    def test_a_slow_network(self, a_set: MadeSet, target: Path, proxy: Proxy) -> None:
        proxy.add("bandwidth", rate=300)
        proxy.add("latency", latency=50, jitter=20)
        download(a_set.place, target, S3Options(endpoint_url=proxy.endpoint))
        assert is_at(a_set, target)


class TestAccess:
    def test_no_such_bucket(self, target: Path) -> None:
        with pytest.raises(UsageError, match="the bucket no-such-bucket does not exist"):
            download("s3://no-such-bucket/a", target)

    @pytest.mark.parametrize("uri", ["bucket/a", "s3:/bucket/a", "s3://b/../a", "s3://BUCKET/a"])
    def test_no_address(self, target: Path, uri: str) -> None:
        with pytest.raises(UsageError):
            download(uri, target)

    def test_a_user_who_may_only_read(
        self,
        a_set: MadeSet,
        target: Path,
        s3_server: S3Server,
        bucket: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        access, secret = f"reader-{uuid4()}", "secret-of-the-reader"
        s3_server.make_user(access, secret)
        use_server(monkeypatch, s3_server, access, secret)
        with pytest.raises(AccessDenied, match="must allow s3:GetObject"):
            download(a_set.place, target)
        s3_server.set_policy(bucket, access, "s3:GetObject")
        download(a_set.place, target)
        assert is_at(a_set, target)
