"""The S3 server and the proxy do what the tests of the storage rely upon."""

from __future__ import annotations

import io
import os
import random
import re
import socket
import threading
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4
from zlib import crc32

import pytest
import s3_servers
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    FlexibleChecksumError,
)
from environments import go_program
from s3_servers import ROOT_ACCESS, Proxy, S3Server, Toxiproxy

pytestmark = pytest.mark.doubles

PART = 5 * 2**20  # the smallest that S3 takes
PARTS = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
BODY = random.Random(7).randbytes(2 * PART + 123)  # three parts
OURS = ("s3:PutObject", "s3:GetObject", "s3:ListBucket")  # all that the job may ask for
EMPTY_ETAG = '"d41d8cd98f00b204e9800998ecf8427e"'  # no object here has it


def base64(digest: bytes) -> str:
    return b64encode(digest).decode()


def refusal(caught: pytest.ExceptionInfo[ClientError]) -> tuple[int, str]:
    """The status and the code of an error reply."""
    reply = caught.value.response
    return reply["ResponseMetadata"]["HTTPStatusCode"], reply["Error"]["Code"]


def upload(client: Any, bucket: str, key: str, **extra: Any) -> None:
    client.upload_fileobj(io.BytesIO(BODY), bucket, key, ExtraArgs=extra, Config=PARTS)


def head(client: Any, bucket: str, key: str) -> Any:
    return client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")


def content(client: Any, bucket: str, key: str) -> bytes:
    return bytes(client.get_object(Bucket=bucket, Key=key)["Body"].read())


@pytest.fixture
def client(s3_server: S3Server) -> Any:
    return s3_server.client()


@pytest.fixture
def user(s3_server: S3Server, bucket: str) -> Any:
    """A client with the three permissions that the job needs, and no others."""
    access = f"user-{uuid4()}"
    s3_server.make_user(access, "secret-of-the-user")
    s3_server.set_policy(bucket, access, *OURS)
    return s3_server.client(access, "secret-of-the-user")


@pytest.fixture
def proxy(s3_server: S3Server, toxiproxy: Toxiproxy) -> Proxy:
    return toxiproxy.proxy(s3_server.endpoint)


class TestAccess:
    def test_a_wrong_secret_is_refused(self, s3_server: S3Server, bucket: str) -> None:
        with pytest.raises(ClientError) as caught:
            s3_server.client(secret="wrong").list_objects_v2(Bucket=bucket)
        assert refusal(caught) == (403, "SignatureDoesNotMatch")

    def test_an_unknown_user_is_refused(self, s3_server: S3Server, bucket: str) -> None:
        with pytest.raises(ClientError) as caught:
            s3_server.client("nobody", "wrong").list_objects_v2(Bucket=bucket)
        assert refusal(caught) == (403, "InvalidAccessKeyId")

    def test_the_bucket_must_belong_to_the_expected_owner(self, client: Any, bucket: str) -> None:
        with pytest.raises(ClientError) as caught:
            client.put_object(Bucket=bucket, Key="a", Body=b"1", ExpectedBucketOwner="stranger")
        assert refusal(caught) == (403, "AccessDenied")
        client.put_object(Bucket=bucket, Key="a", Body=b"1", ExpectedBucketOwner=ROOT_ACCESS)

    def test_three_permissions_put_get_and_list(self, user: Any, bucket: str) -> None:
        user.put_object(Bucket=bucket, Key="a/1", Body=b"old")
        user.put_object(Bucket=bucket, Key="a/1", Body=b"new")
        upload(user, bucket, "a/2", ChecksumAlgorithm="SHA256")
        assert content(user, bucket, "a/1") == b"new"
        assert head(user, bucket, "a/2")["ContentLength"] == len(BODY)
        listed = user.list_objects_v2(Bucket=bucket, Prefix="a/")["Contents"]
        assert [found["Key"] for found in listed] == ["a/1", "a/2"]
        user.head_bucket(Bucket=bucket)

    def test_three_permissions_do_not_delete(
        self, s3_server: S3Server, user: Any, bucket: str
    ) -> None:
        user.put_object(Bucket=bucket, Key="a", Body=b"1")
        with pytest.raises(ClientError) as caught:
            user.delete_object(Bucket=bucket, Key="a")
        assert refusal(caught) == (403, "AccessDenied")
        # The call for many keys succeeds, and tells the refusal in its reply.
        reply = user.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a"}]})
        assert [error["Code"] for error in reply["Errors"]] == ["AccessDenied"]
        assert s3_server.keys(bucket) == ["a"]

    def test_three_permissions_neither_find_nor_abort_multipart_uploads(
        self, s3_server: S3Server, user: Any, bucket: str
    ) -> None:
        own = {"Bucket": bucket, "Key": "a"}
        own["UploadId"] = user.create_multipart_upload(**own)["UploadId"]
        for call in (
            lambda: user.list_multipart_uploads(Bucket=bucket),
            lambda: user.list_parts(**own),
            lambda: user.abort_multipart_upload(**own),
        ):
            with pytest.raises(ClientError) as caught:
                call()
            assert refusal(caught) == (403, "AccessDenied")
        assert s3_server.pending_uploads(bucket) == ["a"]

    def test_two_more_permissions_do(self, s3_server: S3Server, bucket: str) -> None:
        access = f"user-{uuid4()}"
        s3_server.make_user(access, "secret-of-the-user")
        more = ("s3:AbortMultipartUpload", "s3:ListBucketMultipartUploads")
        s3_server.set_policy(bucket, access, *OURS, *more)
        user = s3_server.client(access, "secret-of-the-user")
        user.create_multipart_upload(Bucket=bucket, Key="a")
        (found,) = user.list_multipart_uploads(Bucket=bucket)["Uploads"]
        user.abort_multipart_upload(Bucket=bucket, Key="a", UploadId=found["UploadId"])
        assert s3_server.pending_uploads(bucket) == []

    def test_a_user_without_a_policy_may_do_nothing(self, s3_server: S3Server, bucket: str) -> None:
        access = f"user-{uuid4()}"
        s3_server.make_user(access, "secret-of-the-user")
        with pytest.raises(ClientError) as caught:
            s3_server.client(access, "secret-of-the-user").head_bucket(Bucket=bucket)
        assert refusal(caught) == (403, "403")  # a HEAD reply has no body to tell a code

    def test_the_same_user_twice_is_an_error(self, s3_server: S3Server) -> None:
        access = f"user-{uuid4()}"
        s3_server.make_user(access, "secret-of-the-user")
        with pytest.raises(RuntimeError, match=f"cannot make the user {access}: .*exist"):
            s3_server.make_user(access, "secret-of-the-user")


class TestConditions:
    def test_a_put_of_what_must_not_exist(self, client: Any, bucket: str) -> None:
        client.put_object(Bucket=bucket, Key="a", Body=b"first", IfNoneMatch="*")
        with pytest.raises(ClientError) as caught:
            client.put_object(Bucket=bucket, Key="a", Body=b"second", IfNoneMatch="*")
        assert refusal(caught) == (412, "PreconditionFailed")
        assert content(client, bucket, "a") == b"first"

    def test_one_of_many_at_once_wins(self, client: Any, bucket: str) -> None:
        start = threading.Barrier(8)

        def put(number: int) -> int | None:
            start.wait(timeout=30)
            try:
                client.put_object(Bucket=bucket, Key="a", Body=b"%d" % number, IfNoneMatch="*")
            except ClientError as error:
                assert error.response["Error"]["Code"] == "PreconditionFailed"
                return None
            return number

        with ThreadPoolExecutor(8) as pool:
            winners = [number for number in pool.map(put, range(8)) if number is not None]
        assert [b"%d" % number for number in winners] == [content(client, bucket, "a")]

    def test_a_put_over_a_known_version(self, client: Any, bucket: str) -> None:
        etag = client.put_object(Bucket=bucket, Key="a", Body=b"old")["ETag"]
        client.put_object(Bucket=bucket, Key="a", Body=b"new", IfMatch=etag)
        with pytest.raises(ClientError) as caught:
            client.put_object(Bucket=bucket, Key="a", Body=b"late", IfMatch=etag)
        assert refusal(caught) == (412, "PreconditionFailed")
        assert content(client, bucket, "a") == b"new"

    def test_a_put_over_a_version_that_is_gone(self, client: Any, bucket: str) -> None:
        with pytest.raises(ClientError) as caught:
            client.put_object(Bucket=bucket, Key="a", Body=b"late", IfMatch=EMPTY_ETAG)
        assert refusal(caught) == (404, "NoSuchKey")

    def test_completing_an_upload_of_what_must_not_exist(
        self, s3_server: S3Server, client: Any, bucket: str
    ) -> None:
        client.put_object(Bucket=bucket, Key="a", Body=b"first")
        own = {"Bucket": bucket, "Key": "a"}
        own["UploadId"] = client.create_multipart_upload(**own)["UploadId"]
        part = {"PartNumber": 1, "ETag": client.upload_part(**own, PartNumber=1, Body=b"2")["ETag"]}
        with pytest.raises(ClientError) as caught:
            client.complete_multipart_upload(
                **own, MultipartUpload={"Parts": [part]}, IfNoneMatch="*"
            )
        assert refusal(caught) == (412, "PreconditionFailed")
        assert content(client, bucket, "a") == b"first"
        assert s3_server.pending_uploads(bucket) == ["a"]

    def test_the_transfer_manager_takes_no_condition(self, client: Any, bucket: str) -> None:
        with pytest.raises(ValueError, match="IfNoneMatch"):
            upload(client, bucket, "a", IfNoneMatch="*")


class TestChecksums:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"ChecksumSHA256": base64(sha256(b"other").digest())},
            {"ChecksumCRC32": base64(crc32(b"other").to_bytes(4, "big"))},
        ],
        ids=lambda wrong: next(iter(wrong)),
    )
    def test_a_body_that_does_not_fit_is_not_stored(
        self, s3_server: S3Server, client: Any, bucket: str, wrong: dict[str, str]
    ) -> None:
        with pytest.raises(ClientError) as caught:
            client.put_object(Bucket=bucket, Key="a", Body=b"content", **wrong)
        assert refusal(caught) == (400, "BadDigest")
        assert s3_server.keys(bucket) == []

    def test_head_tells_that_of_a_single_put(self, client: Any, bucket: str) -> None:
        expected = base64(sha256(b"content").digest())
        client.put_object(Bucket=bucket, Key="a", Body=b"content", ChecksumSHA256=expected)
        reply = head(client, bucket, "a")
        assert (reply["ChecksumSHA256"], reply["ChecksumType"]) == (expected, "FULL_OBJECT")
        assert reply["ContentLength"] == len(b"content")
        # Those who do not ask are not told.
        assert "ChecksumSHA256" not in client.head_object(Bucket=bucket, Key="a")

    def test_sha256_of_a_multipart_upload_is_that_of_its_parts(
        self, client: Any, bucket: str
    ) -> None:
        upload(client, bucket, "a", ChecksumAlgorithm="SHA256")
        reply = head(client, bucket, "a")
        parts = [BODY[i : i + PART] for i in range(0, len(BODY), PART)]
        expected = sha256(b"".join(sha256(part).digest() for part in parts)).digest()
        assert reply["ChecksumSHA256"] == f"{base64(expected)}-{len(parts)}"
        assert reply["ChecksumType"] == "COMPOSITE"
        assert content(client, bucket, "a") == BODY

    def test_sha256_of_a_whole_multipart_upload_is_refused(
        self, s3_server: S3Server, client: Any, bucket: str
    ) -> None:
        with pytest.raises(ClientError) as caught:
            upload(client, bucket, "a", ChecksumSHA256=base64(sha256(BODY).digest()))
        assert refusal(caught) == (400, "InvalidRequest")
        assert s3_server.pending_uploads(bucket) == []

    def test_crc32_of_a_whole_multipart_upload(
        self, s3_server: S3Server, client: Any, bucket: str
    ) -> None:
        expected = base64(crc32(BODY).to_bytes(4, "big"))
        upload(client, bucket, "a", ChecksumCRC32=expected)
        reply = head(client, bucket, "a")
        assert (reply["ChecksumCRC32"], reply["ChecksumType"]) == (expected, "FULL_OBJECT")
        with pytest.raises(ClientError) as caught:
            upload(client, bucket, "b", ChecksumCRC32=base64(bytes(4)))
        assert refusal(caught) == (400, "BadDigest")
        assert s3_server.keys(bucket) == ["a"]
        assert s3_server.pending_uploads(bucket) == []  # the transfer manager has aborted it

    def test_a_stored_byte_changes(self, s3_server: S3Server, client: Any, bucket: str) -> None:
        client.put_object(Bucket=bucket, Key="a/1", Body=b"content", ChecksumAlgorithm="SHA256")
        before = head(client, bucket, "a/1")
        (s3_server.data / bucket / "a" / "1").write_bytes(b"c0ntent")
        with pytest.raises(FlexibleChecksumError):
            content(client, bucket, "a/1")
        # The server notices nothing: it tells what it once noted.
        told = ("ETag", "ChecksumSHA256", "ContentLength")
        after = head(client, bucket, "a/1")
        assert [after[field] for field in told] == [before[field] for field in told]

    def test_nobody_notices_a_changed_byte_of_a_multipart_upload(
        self, s3_server: S3Server, client: Any, bucket: str
    ) -> None:
        upload(client, bucket, "a", ChecksumAlgorithm="SHA256")
        changed = BODY[:-1] + bytes([BODY[-1] ^ 1])
        (s3_server.data / bucket / "a").write_bytes(changed)
        assert content(client, bucket, "a") == changed


class TestObjects:
    def test_a_list_is_by_prefix(self, s3_server: S3Server, client: Any, bucket: str) -> None:
        for key in ("out/a", "out/b/c", "output/d", "other"):
            client.put_object(Bucket=bucket, Key=key, Body=b"1")
        assert s3_server.keys(bucket, "out/") == ["out/a", "out/b/c"]
        assert s3_server.keys(bucket, "out") == ["out/a", "out/b/c", "output/d"]
        assert s3_server.keys(bucket, "nothing") == []
        assert s3_server.keys(bucket) == ["other", "out/a", "out/b/c", "output/d"]

    def test_metadata_comes_back(self, client: Any, bucket: str) -> None:
        metadata = {"rows": "17", "sha256": sha256(BODY).hexdigest()}
        client.put_object(Bucket=bucket, Key="one", Body=b"1", Metadata=metadata)
        upload(client, bucket, "parts", Metadata=metadata, ChecksumAlgorithm="SHA256")
        assert head(client, bucket, "one")["Metadata"] == metadata
        assert head(client, bucket, "parts")["Metadata"] == metadata

    def test_pending_uploads_are_listed_and_not_visible(
        self, s3_server: S3Server, client: Any, bucket: str
    ) -> None:
        own = {"Bucket": bucket, "Key": "out/a"}
        own["UploadId"] = client.create_multipart_upload(**own)["UploadId"]
        client.upload_part(**own, PartNumber=1, Body=BODY[:PART])
        client.create_multipart_upload(Bucket=bucket, Key="other")
        assert s3_server.pending_uploads(bucket) == ["other", "out/a"]
        (found,) = client.list_multipart_uploads(Bucket=bucket, Prefix="out/")["Uploads"]
        assert (found["Key"], found["UploadId"]) == ("out/a", own["UploadId"])
        assert s3_server.keys(bucket) == []
        client.abort_multipart_upload(**own)
        assert s3_server.pending_uploads(bucket) == ["other"]

    def test_missing_key_and_missing_bucket(self, client: Any, bucket: str) -> None:
        with pytest.raises(ClientError) as caught:
            client.get_object(Bucket=bucket, Key="a")
        assert refusal(caught) == (404, "NoSuchKey")
        with pytest.raises(ClientError) as caught:
            client.list_objects_v2(Bucket=f"no-{bucket}"[:63])
        assert refusal(caught) == (404, "NoSuchBucket")


class TestServer:
    def test_kill_and_restart_keep_everything(self) -> None:
        with S3Server() as server:
            endpoint = server.endpoint
            server.make_bucket("bucket")
            server.make_user("user", "secret-of-the-user")
            server.set_policy("bucket", "user", *OURS)
            user = server.client("user", "secret-of-the-user")
            user.put_object(Bucket="bucket", Key="a", Body=b"1", Metadata={"rows": "17"})
            user.create_multipart_upload(Bucket="bucket", Key="b")
            server.kill()
            with pytest.raises(EndpointConnectionError):
                user.head_bucket(Bucket="bucket")
            server.restart()
            assert server.endpoint == endpoint
            assert content(user, "bucket", "a") == b"1"
            assert head(user, "bucket", "a")["Metadata"] == {"rows": "17"}
            assert server.pending_uploads("bucket") == ["b"]
        assert not server.data.exists()

    def test_a_taken_port_is_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = other.getsockname()[1]
            for server_class in (S3Server, Toxiproxy):
                ports = iter((taken, s3_servers._free_port()))
                monkeypatch.setattr(s3_servers, "_free_port", ports.__next__)
                with server_class() as server:
                    assert server._server.port != taken
                monkeypatch.undo()

    def test_a_server_that_does_not_start_says_why(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        script = tmp_path / "versitygw"
        script.write_text("#!/bin/sh\necho disk on fire >&2\nexit 1\n")
        script.chmod(0o700)
        monkeypatch.setattr(s3_servers, "go_program", lambda name: script)
        with pytest.raises(RuntimeError, match=r"does not answer. It said:\ndisk on fire"):
            S3Server()

    def test_the_environment_has_none_of_the_users_settings(
        self, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_PROFILE", "the-users")
        monkeypatch.setenv("AWS_SESSION_TOKEN", "the-users")
        found = s3_server.environment()
        assert "AWS_PROFILE" not in found
        assert "AWS_SESSION_TOKEN" not in found
        assert found["AWS_ENDPOINT_URL_S3"] == s3_server.endpoint
        assert found["PATH"] == os.environ["PATH"]
        assert not Path(found["AWS_CONFIG_FILE"]).exists()
        assert "PATH" not in s3_server.environment({"HOME": "elsewhere"})
        s3_server.client().list_buckets()  # the profile does not exist


class TestProxy:
    def through(self, s3_server: S3Server, proxy: Proxy, attempts: int = 1) -> Any:
        retries = {"total_max_attempts": attempts, "mode": "standard"}
        return s3_server.client(endpoint=proxy.endpoint, retries=retries, read_timeout=1)

    def test_it_changes_nothing_by_itself(
        self, s3_server: S3Server, proxy: Proxy, bucket: str
    ) -> None:
        client = self.through(s3_server, proxy)
        upload(client, bucket, "a", ChecksumAlgorithm="SHA256")
        assert content(client, bucket, "a") == BODY

    def test_it_can_be_off_for_a_time(self, s3_server: S3Server, proxy: Proxy, bucket: str) -> None:
        client, endpoint = self.through(s3_server, proxy), proxy.endpoint
        client.head_bucket(Bucket=bucket)
        proxy.enable(False)
        with pytest.raises(EndpointConnectionError):
            client.head_bucket(Bucket=bucket)
        proxy.enable(True)
        assert proxy.endpoint == endpoint
        client.head_bucket(Bucket=bucket)

    def test_one_proxy_is_none_of_the_others_business(
        self, s3_server: S3Server, proxy: Proxy, toxiproxy: Toxiproxy, bucket: str
    ) -> None:
        proxy.enable(False)
        other = toxiproxy.proxy(s3_server.endpoint)
        self.through(s3_server, other).head_bucket(Bucket=bucket)

    def test_a_reply_is_lost_and_the_retry_is_told_412(
        self, s3_server: S3Server, proxy: Proxy, bucket: str
    ) -> None:
        """The object is there, put by the very caller who is told that it lost the race."""
        client = self.through(s3_server, proxy, attempts=2)
        # "100 Continue" is 25 bytes. With fewer than that the body would never be sent.
        proxy.add("limit_data", stream="downstream", bytes=30)

        def mend(**_: object) -> None:
            proxy.remove_all()

        client.meta.events.register_first("needs-retry.s3.PutObject", mend)
        with pytest.raises(ClientError) as caught:
            client.put_object(Bucket=bucket, Key="a", Body=b"mine", IfNoneMatch="*")
        assert refusal(caught) == (412, "PreconditionFailed")
        assert content(s3_server.client(), bucket, "a") == b"mine"

    def test_every_reply_is_lost_and_the_object_is_there(
        self, s3_server: S3Server, proxy: Proxy, bucket: str
    ) -> None:
        proxy.add("limit_data", stream="downstream", bytes=30)
        with pytest.raises(ConnectionClosedError):
            self.through(s3_server, proxy).put_object(
                Bucket=bucket, Key="a", Body=b"mine", IfNoneMatch="*"
            )
        assert content(s3_server.client(), bucket, "a") == b"mine"

    def test_a_cut_upload_is_not_visible_but_pending(
        self, s3_server: S3Server, proxy: Proxy, bucket: str
    ) -> None:
        client = self.through(s3_server, proxy)
        own = {"Bucket": bucket, "Key": "a"}
        own["UploadId"] = client.create_multipart_upload(**own)["UploadId"]
        proxy.add("limit_data", stream="upstream", bytes=PART // 2)
        with pytest.raises(ConnectionClosedError):
            client.upload_part(**own, PartNumber=1, Body=BODY[:PART])
        assert s3_server.keys(bucket) == []
        assert s3_server.pending_uploads(bucket) == ["a"]

    def test_a_mistake_is_told(self, proxy: Proxy) -> None:
        with pytest.raises(RuntimeError, match="invalid toxic type"):
            proxy.add("no_such_toxic")


class TestBuild:
    @pytest.fixture
    def go(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A stand-in for Go that notes its calls; it is alone on the PATH, and no cache is full."""
        script = tmp_path / "path" / "go"
        script.parent.mkdir()
        script.write_text(
            '#!/bin/sh\necho "$@" >> "$CALLS"\necho "$REASON" >&2\n'
            ': > "$GOBIN/server"\n[ -z "$REASON" ]\n'
        )
        script.chmod(0o700)
        monkeypatch.setenv("PATH", str(script.parent))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
        monkeypatch.setenv("REASON", "")
        return script

    def test_many_ask_and_it_is_built_once(self, go: Path, tmp_path: Path) -> None:
        with ThreadPoolExecutor(4) as pool:
            paths = set(pool.map(go_program, ["toxiproxy"] * 4))
        (path,) = paths
        assert path.is_file()
        assert path.is_relative_to(tmp_path / "cache")
        calls = (tmp_path / "calls").read_text().splitlines()
        assert len(calls) == 1
        assert re.fullmatch(r"install github\.com/Shopify/toxiproxy/\S+@v[\d.]+", calls[0])
        go.unlink()
        assert go_program("toxiproxy") == path  # what is there needs no Go

    @pytest.mark.parametrize("missing", [True, False])
    def test_without_it_tests_are_skipped_with_the_reason(
        self, go: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: bool
    ) -> None:
        monkeypatch.setattr("means.ON_CI", False)
        monkeypatch.setenv("REASON", "no network")
        if missing:
            go.unlink()
        with pytest.raises(
            pytest.skip.Exception, match="no `go` on the PATH" if missing else "no network"
        ):
            go_program("toxiproxy")
        assert not list((tmp_path / "cache").rglob("server"))

    def test_in_ci_they_fail(self, go: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("means.ON_CI", True)
        go.unlink()
        with pytest.raises(pytest.fail.Exception, match="no `go` on the PATH"):
            go_program("versitygw")
