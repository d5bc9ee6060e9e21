"""What a run needs, and what it leaves alone: three permissions, other files, other sets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from botocore.awsrequest import AWSResponse
from datasets import load_from_disk
from made_sets import use_server
from s3_runs import SMALL, stored, without_run
from s3_servers import S3Server

from pipeline.cli.main import main
from pipeline.dataset.verify import verify
from transforms.steps.read import _ReadUnitFn
from transforms.storage.s3 import bucket as s3_bucket
from transforms.storage.s3 import client as s3_client

THREE = ("s3:PutObject", "s3:GetObject", "s3:ListBucket")
SECRET = "users-secret-123"

Words = Callable[..., list[str]]


@pytest.fixture
def become(
    s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., None]:
    """Makes this process a new user who may do these things in the bucket; root without any."""
    monkeypatch.chdir(tmp_path)

    def user(*actions: str) -> None:
        if not actions:
            use_server(monkeypatch, s3_server)
            return
        name = f"user-{uuid4().hex[:12]}"
        s3_server.make_user(name, SECRET)
        s3_server.set_policy(bucket, name, *actions)
        use_server(monkeypatch, s3_server, name, SECRET)

    return user


@pytest.fixture
def words(two_units: Path) -> Words:
    """The command line of a run, without --quiet."""
    small = [word for word in SMALL if word != "--quiet"]
    return lambda *more: ["--dataset", str(two_units), *small, *more]


def objects(server: S3Server, bucket: str) -> dict[str, bytes]:
    return {key: (server.data / bucket / key).read_bytes() for key in server.keys(bucket)}


class TestThreePermissions:
    @pytest.fixture(autouse=True)
    def user(self, become: Callable[..., None]) -> None:
        become(*THREE)

    def test_are_enough_for_a_straight_run_and_for_readers(
        self,
        s3_server: S3Server,
        bucket: str,
        words: Words,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        uri = f"s3://{bucket}/sets/one"
        assert main(words("--output", uri)) == 0
        said = capsys.readouterr()
        assert f"  Warning: uploads that broke off may be left at {uri}, as this login" in said.out
        assert "s3:ListBucketMultipartUploads" in said.out
        assert said.err == ""
        loaded = load_from_disk(uri, storage_options={"endpoint_url": s3_server.endpoint})
        assert len(loaded["train"]) + len(loaded["validation"]) == 1199

        assert main(words("--output", uri)) == 0
        assert "Already complete" in capsys.readouterr().out
        assert main(["verify", uri]) == 0
        assert main(["verify", uri, "--quick"]) == 0
        capsys.readouterr()
        assert main(["list", f"s3://{bucket}/sets/", "--json"]) == 0
        (listed,) = json.loads(capsys.readouterr().out)["sets"]
        assert (listed["uri"], listed["rows"], listed["complete"]) == (uri, 1199, True)
        assert main(["download", uri, str(tmp_path / "back")]) == 0
        assert verify(str(tmp_path / "back")).counts.read == 1200

    def test_are_enough_for_the_guides_way_and_for_upload(
        self,
        s3_server: S3Server,
        bucket: str,
        words: Words,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        local = str(tmp_path / "cache" / "set")
        assert main(words("--output", local, "--s3-bucket", bucket)) == 0
        said = capsys.readouterr()
        assert "  Warning: uploads that broke off may be left at s3://" in said.out
        assert said.err == ""
        (dated,) = {key.split("/")[1] for key in s3_server.keys(bucket, "datasets/")}
        assert verify(f"s3://{bucket}/datasets/{dated}").counts.read == 1200
        for more in ((), ("--resume",)):
            assert main(["upload", local, f"s3://{bucket}/sets/two", *more]) == 0
            assert "  Warning: uploads that broke off" in capsys.readouterr().out
        assert verify(f"s3://{bucket}/sets/two").counts.read == 1200

    def test_are_enough_to_go_on_although_a_broken_upload_cannot_be_ended(
        self,
        s3_server: S3Server,
        bucket: str,
        words: Words,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(s3_bucket, "_WHOLE_BYTES", 2**18)
        broken = [True]

        def busy(request: Any, **_: object) -> AWSResponse | None:
            if not broken[0] or "data-00001" not in request.url:
                return None
            body = b"<Error><Code>InternalError</Code><Message>Try later</Message></Error>"
            return _reply(request, 500, body)

        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        client = s3_client.client_for(s3_bucket.S3Options())
        client.meta.events.register("before-send.s3.UploadPart", busy)
        uri = f"s3://{bucket}/sets/one"
        assert main(words("--output", uri)) == 5
        assert "answered 500 InternalError" in capsys.readouterr().err
        pending = s3_server.pending_uploads(bucket)
        assert pending == ["sets/one/train/data-00001-of-00002.arrow"]
        broken[0] = False
        assert main(words("--resume", uri)) == 0
        said = capsys.readouterr().out
        assert "✓ Resumed: 1 of 2 shards were there already" in said
        assert "  Warning: uploads that broke off may be left" in said
        assert verify(uri).counts.read == 1200
        assert s3_server.pending_uploads(bucket) == pending  # a lifecycle rule's work

    def test_are_not_enough_to_prune(
        self,
        s3_server: S3Server,
        bucket: str,
        words: Words,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        for name in ("one", "two"):
            assert main(words("--output", f"s3://{bucket}/sets/{name}", "--quiet")) == 0
        before = objects(s3_server, bucket)
        prune = ["prune", f"s3://{bucket}/sets/", "--keep", "1"]
        assert main(prune) == 0
        capsys.readouterr()
        assert main([*prune, "--yes"]) == 4
        assert "s3:DeleteObject" in capsys.readouterr().err
        assert objects(s3_server, bucket) == before


def _reply(request: Any, status: int, body: bytes) -> AWSResponse:
    class Raw:
        def stream(self, **_: object) -> list[bytes]:
            return [body]

    return AWSResponse(request.url, status, {"content-type": "application/xml"}, Raw())


class TestReadOnly:
    @pytest.fixture(autouse=True)
    def user(self, become: Callable[..., None]) -> None:
        become("s3:GetObject", "s3:ListBucket")

    @pytest.mark.parametrize("flag", ["--output", "--resume"])
    def test_a_straight_run_is_refused_before_any_work(
        self,
        flag: str,
        s3_server: S3Server,
        bucket: str,
        words: Words,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        read: list[object] = []
        monkeypatch.setattr(_ReadUnitFn, "process", lambda self, unit: read.append(unit))
        assert main(words(flag, f"s3://{bucket}/sets/one")) == 4
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"no permission for s3://{bucket}/sets/one/_RUN.json" in said
        assert "s3:PutObject" in said
        assert (read, s3_server.keys(bucket)) == ([], [])

    def test_an_upload_is_refused_and_the_set_is_kept(
        self,
        s3_server: S3Server,
        bucket: str,
        words: Words,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        local = tmp_path / "cache" / "set"
        assert main(words("--output", str(local), "--s3-bucket", bucket)) == 4
        said = capsys.readouterr().err
        assert "s3:PutObject" in said
        assert f"The prepared set is kept at {local}; send it later with: python -m" in said
        assert verify(str(local)).counts.read == 1200
        assert main(["upload", str(local), f"s3://{bucket}/sets/one"]) == 4
        assert "s3:PutObject" in capsys.readouterr().err
        assert s3_server.keys(bucket) == []


class TestOtherFiles:
    """A prefix that holds what no run of this plan wrote is left as it is."""

    @pytest.fixture(autouse=True)
    def user(self, become: Callable[..., None]) -> None:
        become()

    @pytest.mark.parametrize(
        "found",
        [
            {"notes.txt": b"mine"},
            {"deep/below/it/notes.txt": b"mine"},
            {"dataset_dict.json": b'{"splits": ["train"]}', "train/state.json": b"{}"},
            {"_RUN.json": b"{}"},
            {"_RUN.json": b'{"plan_digest": "another", "state": "released"}'},
            {"_RUN.json": b'{"plan_digest": "another", "state": "complete"}', "a": b"b"},
            {"_RUN.json": b"no JSON \xff"},
            {"_RUN.json": b'["a", "list"]'},
            {"_RUN.json": b""},
        ],
        ids=lambda found: "+".join(f"{name}={data[:12]!r}" for name, data in found.items()),
    )
    def test_are_an_obstacle_and_left_alone(
        self,
        found: dict[str, bytes],
        s3_server: S3Server,
        bucket: str,
        words: Words,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        uri, local = f"s3://{bucket}/sets/one", str(tmp_path / "set")
        for name, data in found.items():
            s3_server.client().put_object(Bucket=bucket, Key=f"sets/one/{name}", Body=data)
        before = objects(s3_server, bucket)
        assert main(words("--output", local, "--skip-upload", "--quiet")) == 0
        for command in (
            words("--output", uri),
            words("--resume", uri),
            ["upload", local, uri],
            ["upload", local, uri, "--resume"],
        ):
            capsys.readouterr()
            assert main(command) == 6, command
            said = capsys.readouterr().err
            assert said.startswith(f"error: {uri} ")
            assert "give another" in said
            assert objects(s3_server, bucket) == before

    def test_of_a_longer_name_are_none(
        self, s3_server: S3Server, bucket: str, words: Words
    ) -> None:
        client = s3_server.client()
        for key in ("sets/one2/notes.txt", "sets/one-more", "sets/on/e", "sets/one.d/_RUN.json"):
            client.put_object(Bucket=bucket, Key=key, Body=b"mine")
        others = objects(s3_server, bucket)
        pending = client.create_multipart_upload(Bucket=bucket, Key="sets/one2/large")
        assert main(words("--output", f"s3://{bucket}/sets/one")) == 0
        found = objects(s3_server, bucket)
        assert {key: data for key, data in found.items() if "sets/one/" not in key} == others
        assert s3_server.pending_uploads(bucket) == [pending["Key"]]
        assert main(words("--output", f"s3://{bucket}/sets/one2")) == 6

    def test_inside_a_finished_set_are_no_obstacle_to_finding_it(
        self, s3_server: S3Server, bucket: str, words: Words
    ) -> None:
        uri = f"s3://{bucket}/sets/one"
        assert main(words("--output", uri)) == 0
        first = stored(s3_server, uri)
        s3_server.client().put_object(Bucket=bucket, Key="sets/one/notes.txt", Body=b"mine")
        assert main(words("--output", uri)) == 0
        assert without_run(stored(s3_server, uri)) == without_run(first | {"notes.txt": b"mine"})

    def test_inside_a_set_that_is_not_finished_are_an_obstacle(
        self, s3_server: S3Server, bucket: str, words: Words, capsys: pytest.CaptureFixture[str]
    ) -> None:
        uri = f"s3://{bucket}/sets/one"
        assert main(words("--output", uri)) == 0
        client = s3_server.client()
        client.delete_object(Bucket=bucket, Key="sets/one/dataset_dict.json")
        client.put_object(Bucket=bucket, Key="sets/one/train/notes.txt", Body=b"mine")
        before = objects(s3_server, bucket)
        assert main(words("--resume", uri)) == 6
        assert "holds other files (train/notes.txt), so nothing was written" in (
            capsys.readouterr().err
        )
        assert objects(s3_server, bucket) == before

    def test_an_upload_of_somebody_else_is_not_ended(
        self, s3_server: S3Server, bucket: str, words: Words
    ) -> None:
        client = s3_server.client()
        uri = f"s3://{bucket}/sets/one"
        for name in ("my_notes.bin", "checkpoints/model", "train/data-00007-of-00009.arrow"):
            client.create_multipart_upload(Bucket=bucket, Key=f"sets/one/{name}")
        assert main(words("--output", uri)) == 0
        left = ["sets/one/checkpoints/model", "sets/one/my_notes.bin"]
        assert sorted(s3_server.pending_uploads(bucket)) == left
