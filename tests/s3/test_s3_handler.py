"""S3Handler: folders and files to a real S3 server and back, and no key leads out of a folder."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4
from xml.sax.saxutils import escape

import pytest
from datasets import Dataset, DatasetDict, load_from_disk
from made_sets import ROWS, UNITS, local_set, s3_set, use_server
from s3_servers import ROOT_ACCESS, Proxy, S3Server, Toxiproxy
from s3_taps import contents, flip, here, reply, tap  # noqa: F401 (here is a fixture)

from pipeline.s3_handler import S3Handler
from transforms.errors import (
    AccessDenied,
    BadInput,
    OutputTaken,
    StorageError,
    UsageError,
    VerificationFailed,
)
from transforms.storage.s3 import bucket as s3_bucket
from transforms.storage.s3 import client as s3_client
from transforms.storage.s3.uri import S3Options

FILES = {
    "checkpoint-1/optimizer.pt": random.Random(1).randbytes(3_000_000),
    "checkpoint-1/README": b"",
    "config.json": b"{}",
    "with space/ä #1?.txt": b"a name as people give them",
}


EASTERN = S3Handler().options


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "local"
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@pytest.fixture
def sent() -> list[tuple[str, str]]:
    """(operation, path) of each request from now on."""
    seen: list[tuple[str, str]] = []

    def note(request: Any, event_name: str, **_: object) -> None:
        seen.append((event_name.rpartition(".")[2], request.url.partition("?")[0]))

    tap(EASTERN).register("before-send.s3", note)
    return seen


def sets(root: Path) -> DatasetDict:
    """As other tools save them."""
    data = Dataset.from_dict({"text": ["a", "b", "c"]})
    DatasetDict({"train": data, "validation": data.select([0])}).save_to_disk(str(root))
    return load_from_disk(str(root))


class TestRoundTrip:
    def test_a_folder_comes_back_as_it_was(
        self, folder: Path, s3_server: S3Server, bucket: str, tmp_path: Path
    ) -> None:
        handler = S3Handler()
        keys = handler.upload_directory(folder, bucket, "runs/one")
        assert keys == sorted(f"runs/one/{name}" for name in FILES)
        assert s3_server.keys(bucket) == sorted(keys)
        back = handler.download_directory(bucket, "runs/one", tmp_path / "back")
        assert back == tmp_path / "back"
        assert contents(back) == FILES

    @pytest.mark.parametrize("prefix", ["", "/", "a", "a/", "/a/b/"])
    def test_slashes_of_a_prefix_do_not_matter(
        self, folder: Path, s3_server: S3Server, bucket: str, tmp_path: Path, prefix: str
    ) -> None:
        keys = S3Handler().upload_directory(str(folder), bucket, prefix)
        plain = prefix.strip("/")
        assert keys[0] == (f"{plain}/" if plain else "") + "checkpoint-1/README"
        S3Handler().download_directory(bucket, prefix, str(tmp_path / "back"))
        assert contents(tmp_path / "back") == FILES

    def test_only_what_is_below_the_prefix_comes(
        self, folder: Path, bucket: str, tmp_path: Path
    ) -> None:
        handler = S3Handler()
        handler.upload_directory(folder, bucket, "one")
        for key in ("one.txt", "one-more/file", "other"):
            handler.upload_file(folder / "config.json", bucket, key)
        handler.download_directory(bucket, "one", tmp_path / "back")
        assert contents(tmp_path / "back") == FILES

    def test_large_files_go_and_come_in_parts(
        self, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: Any
    ) -> None:
        monkeypatch.setattr(s3_bucket, "_WHOLE_BYTES", 5 * 2**20)
        monkeypatch.setattr(s3_bucket, "PART_BYTES", 5 * 2**20)
        (tmp_path / "local").mkdir()
        data = random.Random(2).randbytes(11_000_000)
        (tmp_path / "local" / "large").write_bytes(data)
        S3Handler().upload_directory(tmp_path / "local", bucket, "a")
        back = S3Handler().download_directory(bucket, "a", tmp_path / "back")
        assert contents(back) == {"large": data}
        operations = [operation for operation, _ in sent]
        assert operations.count("UploadPart") == operations.count("GetObject") == 3

    def test_one_file(self, folder: Path, s3_server: S3Server, bucket: str) -> None:
        uri = S3Handler().upload_file(str(folder / "config.json"), bucket, "a/b c.json")
        assert uri == f"s3://{bucket}/a/b c.json"
        assert (s3_server.data / bucket / "a" / "b c.json").read_bytes() == b"{}"

    def test_the_options_reach_the_server(
        self, folder: Path, s3_server: S3Server, bucket: str, tmp_path: Path
    ) -> None:
        given = S3Options(endpoint_url=s3_server.endpoint, expected_owner=ROOT_ACCESS)
        handler = S3Handler("eu-central-1", given)
        assert handler.options == S3Options(
            endpoint_url=s3_server.endpoint, region="eu-central-1", expected_owner=ROOT_ACCESS
        )
        assert S3Handler("eu-central-1", S3Options(region="us-east-1")).options.region == (
            "us-east-1"
        )
        assert S3Handler().options == S3Options(region="us-east-1")
        owned = S3Handler(options=given)
        owned.upload_directory(folder, bucket, "a")
        owned.download_directory(bucket, "a", tmp_path / "back")
        strange = S3Handler(options=S3Options(expected_owner="somebody"))
        with pytest.raises(UsageError, match="does not belong to the account somebody"):
            strange.upload_file(folder / "config.json", bucket, "b")
        with pytest.raises(UsageError, match="does not belong to the account somebody"):
            strange.download_directory(bucket, "a", tmp_path / "other")


class TestTrainer:
    """What the guide's trainer does with a set."""

    def train(self, folder: Path) -> None:
        data = load_from_disk(str(folder))
        assert data["train"].num_rows == UNITS * ROWS["train"]
        assert data["validation"].num_rows == UNITS * ROWS["validation"]
        assert set(data["train"].column_names) == {"text", "instruction", "response"}

    def test_a_set_that_was_written_straight_to_s3(
        self, s3_server: S3Server, bucket: str, tmp_path: Path
    ) -> None:
        s3_set(s3_server, bucket, "datasets/processed_reasoning_20251220_143022")
        place = "datasets/processed_reasoning_20251220_143022"
        self.train(S3Handler().download_directory(bucket, place, tmp_path / "set"))

    def test_a_set_that_was_uploaded(self, bucket: str, tmp_path: Path) -> None:
        made = local_set(tmp_path)
        S3Handler().upload_directory(made.root, bucket, "datasets/a")
        self.train(S3Handler().download_directory(bucket, "datasets/a", tmp_path / "back"))
        assert contents(tmp_path / "back") == contents(made.root)

    def test_its_own_code(self, s3_server: S3Server, bucket: str, tmp_path: Path) -> None:
        s3_set(s3_server, bucket, "datasets/a")
        client = s3_server.client()
        prefix, root = "datasets/a", tmp_path / "dataset"
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            for found in page["Contents"]:
                path = root / found["Key"][len(prefix) :].lstrip("/")
                path.parent.mkdir(parents=True, exist_ok=True)
                client.download_file(bucket, found["Key"], str(path))
        self.train(root)


class TestUpload:
    def test_what_makes_a_set_load_goes_last(
        self, tmp_path: Path, s3_server: S3Server, bucket: str
    ) -> None:
        sets(tmp_path / "cache" / "one")
        sets(tmp_path / "cache" / "other")
        early: list[str] = []

        def note(request: Any, **_: object) -> None:
            if request.url.endswith("/dataset_dict.json"):
                early.append(",".join(s3_server.keys(bucket)))

        tap(EASTERN).register("before-send.s3.PutObject", note)
        keys = S3Handler().upload_directory(tmp_path / "cache", bucket, "a")
        others = {key for key in keys if not key.endswith("/dataset_dict.json")}
        assert len(others) == 12
        assert len(early) == 2
        assert all(set(seen.split(",")) >= others for seen in early)

    def test_it_is_not_sent_when_another_file_fails(
        self, tmp_path: Path, s3_server: S3Server, bucket: str
    ) -> None:
        sets(tmp_path / "set")

        def broken(request: Any, **_: object) -> None:
            if request.url.endswith("/validation/state.json"):
                raise ZeroDivisionError

        tap(EASTERN).register("before-send.s3.PutObject", broken)
        with pytest.raises(ZeroDivisionError):
            S3Handler().upload_directory(tmp_path / "set", bucket, "a")
        assert "a/dataset_dict.json" not in s3_server.keys(bucket)

    @pytest.mark.parametrize(
        ("make", "match"),
        [
            (lambda path, out: path.symlink_to(out / "secret"), "is a link out of"),
            (lambda path, out: path.symlink_to(out), "is a link out of"),
            (lambda path, out: path.symlink_to("/etc/passwd"), "is a link out of"),
            (lambda path, out: path.symlink_to(".."), "is a link out of"),
            (lambda path, out: path.symlink_to("."), "is a link to a folder"),
            (lambda path, out: path.symlink_to("checkpoint-1"), "is a link to a folder"),
            (lambda path, out: path.symlink_to("gone"), "is no plain file"),
            (lambda path, out: path.symlink_to(path.name), "is no plain file"),
            (lambda path, out: os.mkfifo(path), "is no plain file"),
            (lambda path, out: path.with_name("a\\b").touch(), "is no path below a folder"),
            (lambda path, out: Path(os.fsdecode(b"%s\xff" % bytes(path))).touch(), "is no path"),
        ],
    )
    def test_what_cannot_be_sent_is_named_before_anything_is(
        self,
        folder: Path,
        tmp_path: Path,
        bucket: str,
        s3_server: S3Server,
        make: Callable[[Path, Path], None],
        match: str,
    ) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret").write_bytes(b"secret")
        make(folder / "zz", outside)
        with pytest.raises(UsageError, match=match):
            S3Handler().upload_directory(folder, bucket, "a")
        assert s3_server.keys(bucket) == []

    def test_a_link_inside_of_the_folder_is_a_file(
        self, folder: Path, bucket: str, tmp_path: Path
    ) -> None:
        (folder / "latest").symlink_to("config.json")
        link = tmp_path / "link"
        link.symlink_to(folder)  # the folder itself may be one
        S3Handler().upload_directory(link, bucket, "a")
        back = S3Handler().download_directory(bucket, "a", tmp_path / "back")
        assert contents(back) == {**FILES, "latest": b"{}"}

    def test_nothing_to_send(self, tmp_path: Path, bucket: str) -> None:
        with pytest.raises(UsageError, match="is no folder"):
            S3Handler().upload_directory(tmp_path / "gone", bucket, "a")
        (tmp_path / "empty" / "deep").mkdir(parents=True)
        with pytest.raises(UsageError, match="holds no files"):
            S3Handler().upload_directory(tmp_path / "empty", bucket, "a")
        with pytest.raises(UsageError, match="is no file"):
            S3Handler().upload_file(tmp_path, bucket, "a")

    @pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", "a\\b", "C:/a"])
    def test_keys_that_nobody_could_fetch(self, folder: Path, bucket: str, key: str) -> None:
        with pytest.raises(UsageError, match="the key .* is no path below a folder"):
            S3Handler().upload_file(folder / "config.json", bucket, key)

    @pytest.mark.parametrize("name", ["", "UPPER", "a", "s3://bucket", "a..b", "a/b"])
    def test_names_of_no_bucket(self, folder: Path, name: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="names no bucket"):
            S3Handler().upload_directory(folder, name, "a")
        with pytest.raises(UsageError, match="names no bucket"):
            S3Handler().download_directory(name, "a", tmp_path / "back")

    def test_a_file_that_changes_while_it_is_read(
        self, folder: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = s3_bucket.Bucket.upload

        def changed(self: s3_bucket.Bucket, path: Path, *rest: Any) -> None:
            path.write_bytes(b"other")
            real(self, path, *rest)

        monkeypatch.setattr(s3_bucket.Bucket, "upload", changed)
        with pytest.raises(VerificationFailed, match="config.json is not what was written"):
            S3Handler().upload_file(folder / "config.json", bucket, "a")

    def test_permission_and_network(
        self,
        folder: Path,
        bucket: str,
        s3_server: S3Server,
        toxiproxy: Toxiproxy,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(s3_client, "_clients", {})
        monkeypatch.setattr(s3_client, "ATTEMPTS", 2)
        proxy: Proxy = toxiproxy.proxy(s3_server.endpoint)
        proxy.enable(False)
        with pytest.raises(StorageError, match="cannot be reached"):
            S3Handler(options=S3Options(proxy.endpoint)).upload_directory(folder, bucket, "a")
        with pytest.raises(UsageError, match="the bucket no-such-bucket does not exist"):
            S3Handler().upload_directory(folder, "no-such-bucket", "a")
        access, secret = f"user-{uuid4()}", "secret-of-the-user"
        s3_server.make_user(access, secret)
        use_server(monkeypatch, s3_server, access, secret)
        with pytest.raises(AccessDenied, match="must allow s3:PutObject"):
            S3Handler().upload_directory(folder, bucket, "a")


def listing(*keys: str, size: int = 4, more: str = "") -> bytes:
    """What a store says that holds these keys."""
    entries = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size><ETag>1</ETag>"
        "<LastModified>2024-01-31T10:00:00.000Z</LastModified></Contents>"
        for key in keys
    )
    entries += f"<IsTruncated>false</IsTruncated>{more}"
    return f"<ListBucketResult>{entries}</ListBucketResult>".encode()


@pytest.fixture
def store() -> Iterator[Callable[..., list[str]]]:
    """``store(KEY, ...)`` makes the server list these keys; returns the objects asked for."""

    def make(*keys: str, **how: Any) -> list[str]:
        asked: list[str] = []

        def answer(request: Any, event_name: str, **_: object) -> Any:
            if event_name.endswith(".ListObjectsV2"):
                return reply(request.url, listing(*keys, **how))
            asked.append(request.url)
            return reply(request.url, b"evil", is_head=request.method == "HEAD")

        tap(EASTERN).register("before-send.s3", answer)
        return asked

    return make


class TestHostileKeys:
    @pytest.mark.parametrize(
        "name",
        [
            *("../x", "../../x", "b/../../x", "b/..", "..", ".", "./x", "b/./x", "/x", "//x"),
            *("b//x", "/etc/x", "b\\x", "..\\x", "\\\\host\\x", "C:x", "c:/x", "b/"),
        ],
    )
    def test_a_key_that_would_leave_the_folder_is_refused_before_anything_is_written(
        self, store: Callable[..., list[str]], tmp_path: Path, name: str
    ) -> None:
        asked = store("a/good", f"a/{name}")
        before = contents(tmp_path)
        with pytest.raises(UsageError, match="is no path below a folder") as caught:
            S3Handler().download_directory("some-bucket", "a", tmp_path / "deep" / "back")
        assert repr(name) in str(caught.value)
        assert f"s3://some-bucket/a/{name}" in str(caught.value)
        assert asked == []
        assert contents(tmp_path) == before
        assert list(tmp_path.iterdir()) == []

    def test_a_key_that_is_hostile_once_it_is_decoded(
        self, store: Callable[..., list[str]], tmp_path: Path
    ) -> None:
        asked = store("a/%2e%2e/x", more="<EncodingType>url</EncodingType>")
        with pytest.raises(UsageError, match=r"\('../x'\) is no path below a folder"):
            S3Handler().download_directory("some-bucket", "a", tmp_path / "back")
        assert asked == []
        assert list(tmp_path.iterdir()) == []

    def test_a_nul(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """XML cannot hold it, but a store may send it in another way."""
        keys = [("a/good", 4, None), ("a/b\0", 4, None)]
        monkeypatch.setattr(s3_bucket.Bucket, "keys", lambda self, prefix: iter(keys))
        with pytest.raises(UsageError, match="is no path below a folder"):
            S3Handler().download_directory("some-bucket", "a", tmp_path / "back")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("keys", [("a/b", "a/b/c"), ("a/b/c/d", "a/b"), ("a/b", "a/b/c/d")])
    def test_a_key_that_is_a_file_and_a_folder(
        self, store: Callable[..., list[str]], tmp_path: Path, keys: tuple[str, ...]
    ) -> None:
        asked = store(*keys)
        with pytest.raises(UsageError, match="s3://some-bucket/a/b is a file and a folder at once"):
            S3Handler().download_directory("some-bucket", "a", tmp_path / "back")
        assert asked == []
        assert list(tmp_path.iterdir()) == []

    def test_what_looks_hostile_and_is_a_name(
        self, store: Callable[..., list[str]], tmp_path: Path
    ) -> None:
        names = ("...", "..x", "x..", "~", "-rf", "$HOME", "ab:c", "b/C:x", "%2e%2e", "ä\u202e")
        store(*(f"a/{name}" for name in names))
        back = S3Handler().download_directory("some-bucket", "a", tmp_path / "back")
        assert contents(back) == dict.fromkeys(names, b"evil")

    def test_marks_of_folders_are_left_out(
        self, bucket: str, folder: Path, s3_server: S3Server, tmp_path: Path
    ) -> None:
        client = s3_server.client()
        for key in ("a/", "a/empty/", "a/checkpoint-1/"):
            client.put_object(Bucket=bucket, Key=key, Body=b"")
        S3Handler().upload_directory(folder, bucket, "a")
        assert "a/empty/" in s3_server.keys(bucket)
        back = S3Handler().download_directory(bucket, "a", tmp_path / "back")
        assert contents(back) == FILES

    @pytest.mark.parametrize("what", ["a folder", "a file"])
    def test_a_link_in_the_folder_does_not_lead_out(
        self, folder: Path, bucket: str, tmp_path: Path, what: str
    ) -> None:
        outside, back = tmp_path / "outside", tmp_path / "back"
        for path in (outside, back):
            path.mkdir()
        S3Handler().upload_directory(folder, bucket, "a")
        if what == "a folder":
            (back / "checkpoint-1").symlink_to(outside)
        else:
            (back / "config.json").symlink_to(outside / "new")
        with pytest.raises(OutputTaken, match="leads out of .* by a link; remove the link"):
            S3Handler().download_directory(bucket, "a", back)
        assert contents(outside) == {}


class TestDownload:
    def test_nothing_is_there(self, bucket: str, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match=f"s3://{bucket}/a/ holds no objects; check the address"):
            S3Handler().download_directory(bucket, "a", tmp_path / "back")
        with pytest.raises(UsageError, match="the bucket no-such-bucket does not exist"):
            S3Handler().download_directory("no-such-bucket", "a", tmp_path / "back")
        assert list(tmp_path.iterdir()) == []

    def test_files_that_are_there_are_not_fetched_again(
        self, folder: Path, bucket: str, tmp_path: Path, sent: Any
    ) -> None:
        S3Handler().upload_directory(folder, bucket, "a")
        back = S3Handler().download_directory(bucket, "a", tmp_path / "back")
        (back / "config.json").unlink()
        (back / "mine").write_bytes(b"mine")
        sent.clear()
        S3Handler().download_directory(bucket, "a", back)
        got = [url for operation, url in sent if operation == "GetObject"]
        assert [url.rpartition("/")[2] for url in got] == ["config.json"]
        assert contents(back) == {**FILES, "mine": b"mine"}

    @pytest.mark.parametrize("same_size", [True, False])
    def test_another_file_in_the_place_is_left_alone(
        self, folder: Path, bucket: str, tmp_path: Path, same_size: bool
    ) -> None:
        S3Handler().upload_directory(folder, bucket, "a")
        back = tmp_path / "back"
        back.mkdir()
        (back / "config.json").write_bytes(b"[]" if same_size else b"[1]")
        before = contents(back)
        with pytest.raises(OutputTaken, match="config.json is there already, with other content"):
            S3Handler().download_directory(bucket, "a", back)
        assert contents(back) == before

    def test_a_file_that_the_store_has_no_checksum_of_is_fetched_again(
        self, bucket: str, s3_server: S3Server, tmp_path: Path
    ) -> None:
        plain = s3_server.client(request_checksum_calculation="when_required")
        plain.put_object(Bucket=bucket, Key="a/file", Body=b"right")
        back = tmp_path / "back"
        back.mkdir()
        (back / "file").write_bytes(b"bad")
        with pytest.raises(OutputTaken, match="with other content"):
            S3Handler().download_directory(bucket, "a", back)
        (back / "file").write_bytes(b"wrong")
        S3Handler().download_directory(bucket, "a", back)
        assert contents(back) == {"file": b"right"}

    def test_the_folder_is_a_file(self, folder: Path, bucket: str, tmp_path: Path) -> None:
        S3Handler().upload_directory(folder, bucket, "a")
        (tmp_path / "back").write_bytes(b"mine")
        with pytest.raises(UsageError, match="back is a file; give a folder"):
            S3Handler().download_directory(bucket, "a", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == b"mine"

    def test_a_damaged_object(
        self, folder: Path, bucket: str, s3_server: S3Server, tmp_path: Path
    ) -> None:
        S3Handler().upload_directory(folder, bucket, "a")
        flip(s3_server.data / bucket / "a" / "checkpoint-1" / "optimizer.pt")
        with pytest.raises(VerificationFailed, match="optimizer.pt came "):
            S3Handler().download_directory(bucket, "a", tmp_path / "back")
        assert "checkpoint-1/optimizer.pt" not in contents(tmp_path / "back")

    def test_a_set_is_not_loadable_before_it_is_whole(
        self, bucket: str, s3_server: S3Server, tmp_path: Path
    ) -> None:
        sets(tmp_path / "set")
        S3Handler().upload_directory(tmp_path / "set", bucket, "a")
        flip(s3_server.data / bucket / "a" / "validation" / "state.json", at=10)
        with pytest.raises(VerificationFailed):
            S3Handler().download_directory(bucket, "a", tmp_path / "back")
        assert not (tmp_path / "back" / "dataset_dict.json").exists()

    def test_a_full_disk_is_told_before_anything_is_written(
        self, store: Callable[..., list[str]], tmp_path: Path
    ) -> None:
        asked = store("a/huge", size=10**17)
        with pytest.raises(StorageError, match="100,000,000,000,000,000 bytes are to be fetched"):
            S3Handler().download_directory("some-bucket", "a", tmp_path / "deep" / "back")
        assert asked == []
        assert list(tmp_path.iterdir()) == []

    def test_many_threads_may_use_one_handler(
        self, folder: Path, bucket: str, tmp_path: Path
    ) -> None:
        handler = S3Handler()

        def both(number: int) -> None:
            handler.upload_directory(folder, bucket, f"{number}")
            handler.download_directory(bucket, f"{number}", tmp_path / f"{number}")

        threads = [threading.Thread(target=both, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(contents(tmp_path / f"{number}") == FILES for number in range(4))
