"""S3 itself fails: busy, broken, out of space, killed. Ends well or with code 5, never half a set.

Numbers in brackets are those of the fault table. Whatever happened, the same command then works.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import Lock
from types import SimpleNamespace

import pytest
from botocore.awsrequest import AWSPreparedRequest
from s3_faults import (  # noqa: F401 - pytest finds the fixtures
    ATTEMPTS,
    ONE_WAY,
    Once,
    Site,
    SmallDisk,
    in_parts_fixture,
    pauses_fixture,
    site_fixture,
    small_disk_fixture,
)
from s3_servers import S3Server, Toxiproxy

from transforms.errors import StorageError
from transforms.storage.s3 import bucket as s3_bucket
from transforms.storage.s3.bucket import Bucket

PASSING = [
    (503, "SlowDown"),
    (503, "ServiceUnavailable"),
    (500, "InternalError"),
    (502, ""),
    (429, "TooManyRequests"),
    (429, ""),
    (408, ""),
    (400, "RequestTimeout"),
    (409, "OperationAborted"),
]
FIRST_OF_KIND = [(503, "SlowDown"), (400, "RequestTimeout"), (409, "OperationAborted")]
# Each error is waited out in test_twice; giving up is the same code for all of a kind.
GIVEN_UP = [
    *FIRST_OF_KIND,
    *(pytest.param(*e, marks=pytest.mark.nightly) for e in PASSING if e not in FIRST_OF_KIND),
]
WRITES = ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")


def assert_rerun_works(site: Site, way: str = "upload") -> None:
    ended = site.again(way, "set")
    assert ended.code == 0, ended.said
    assert site.seen("set") == "complete"
    assert site.pending() == []


class TestErrorsThatPass:
    @pytest.mark.parametrize(("status", "code"), PASSING)
    def test_twice(self, site: Site, status: int, code: str) -> None:
        """[F16]"""
        given = site.answer("PutObject", status, code, times=2, key="dataset_dict.json")
        ended = site.publish("upload", "set")
        assert len(given) == 2
        assert ended.code == 0, ended.said
        assert len(site.pauses.seconds) == 2
        assert site.seen("set") == "complete"

    @pytest.mark.parametrize(("status", "code"), GIVEN_UP)
    def test_for_ever(self, site: Site, status: int, code: str) -> None:
        """[F16]"""
        given = site.answer("PutObject", status, code, key="dataset_dict.json")
        ended = site.publish("upload", "set")
        assert ended.code == 5
        assert f"answered {status}" in ended.error
        assert code in ended.error
        assert site.uri("set/dataset_dict.json") in ended.error
        assert ended.error.endswith("nothing unfinished is visible; run again later")
        assert len(given) == ATTEMPTS
        assert site.seen("set") == "nothing"
        assert_rerun_works(site)

    @pytest.mark.parametrize("operation", WRITES)
    @pytest.mark.usefixtures("in_parts")
    def test_at_each_write(self, site: Site, operation: str) -> None:
        """[F16]"""
        given = site.answer(operation, 503, "SlowDown", times=2)
        ended = site.publish("upload", "set")
        assert len(given) == 2
        assert ended.code == 0, ended.said
        assert site.seen("set") == "complete"

    @pytest.mark.parametrize(("times", "code"), [(2, 0), (None, 5)])
    def test_in_a_worker(self, site: Site, times: int | None, code: int) -> None:
        """[F16]"""
        given = site.answer("PutObject", 503, "SlowDown", times, key=".arrow")
        ended = site.publish("straight", "set")
        assert len(given) >= 2
        assert ended.code == code, ended.said
        assert site.seen("set") == ("complete" if code == 0 else "nothing")
        if code:
            assert ".arrow" in ended.error
            assert_rerun_works(site, "straight")

    def test_a_refusal_is_not_tried_again(self, site: Site) -> None:
        given = site.answer("PutObject", 403, "AccessDenied", key="dataset_dict.json")
        assert site.publish("upload", "set").code == 4
        assert len(given) == 1
        assert site.pauses.seconds == []


@pytest.mark.usefixtures("in_parts")
class TestUploadsInParts:
    @pytest.mark.parametrize(("times", "code"), [(1, 0), (None, 5)])
    def test_success_with_an_error_in_its_body(
        self, site: Site, times: int | None, code: int
    ) -> None:
        """[F17]"""
        given = site.answer("CompleteMultipartUpload", 200, "InternalError", times)
        ended = site.publish("upload", "set")
        assert given
        assert ended.code == code, ended.said
        assert site.pauses.seconds
        assert site.seen("set") == ("complete" if code == 0 else "nothing")
        assert site.pending() == []  # they were aborted
        if code:
            assert ".arrow, also after retries" in ended.error
            assert_rerun_works(site)

    @pytest.mark.parametrize("operation", ["PutObject", "CompleteMultipartUpload"])
    def test_another_write_is_under_way(self, site: Site, operation: str) -> None:
        """[F18] For PutObject this is the claim, the only write with a condition."""
        given = site.answer(operation, 409, "ConditionalRequestConflict", times=1)
        ended = site.publish("upload", "set")
        assert given
        assert ended.code == 0, ended.said
        assert site.seen("set") == "complete"

    def test_another_write_is_under_way_for_ever(self, site: Site) -> None:
        """[F18]"""
        site.answer("CompleteMultipartUpload", 409, "ConditionalRequestConflict")
        ended = site.publish("upload", "set")
        assert ended.code == 5
        assert "answered 409 ConditionalRequestConflict" in ended.error
        assert site.seen("set") == "nothing"
        assert_rerun_works(site)

    def test_a_claim_that_others_write_for_ever_is_taken(self, site: Site) -> None:
        """[F18]"""
        site.answer("PutObject", 409, "ConditionalRequestConflict", key="_RUN.json")
        ended = site.publish("upload", "set")
        assert ended.code == 6
        assert f"{site.uri('set')} is being claimed by other runs" in ended.error
        assert site.server.keys(site.bucket) == []
        assert_rerun_works(site)


class TestDamageOnTheWay:
    """[F26] A bit flips between this machine and the store."""

    @staticmethod
    def flip(site: Site, operation: str, times: int | None) -> list[bytes]:
        flipped: list[bytes] = []
        among_first = Once(times)

        def sending(request: AWSPreparedRequest, **_: object) -> None:
            if ".arrow" in request.url and among_first():
                data = request.body.read()
                request.body.seek(0)  # the next try reads it again
                request.body = data[:100] + bytes([data[100] ^ 1]) + data[101:]
                flipped.append(request.body)

        site.on(f"before-send.s3.{operation}", sending)
        return flipped

    @pytest.mark.parametrize("operation", ["PutObject", "UploadPart"])
    def test_once_it_is_sent_again(
        self, site: Site, operation: str, request: pytest.FixtureRequest
    ) -> None:
        if operation == "UploadPart":
            request.getfixturevalue("in_parts")
        flipped = self.flip(site, operation, times=1)
        ended = site.publish("upload", "set")
        assert flipped
        assert ended.code == 0, ended.said
        assert site.seen("set") == "complete"

    @pytest.mark.parametrize("operation", ["PutObject", "UploadPart"])
    def test_for_ever_and_it_is_never_stored(
        self, site: Site, operation: str, request: pytest.FixtureRequest
    ) -> None:
        if operation == "UploadPart":
            request.getfixturevalue("in_parts")
        flipped = self.flip(site, operation, times=None)
        ended = site.publish("upload", "set")
        assert len(flipped) >= ATTEMPTS
        assert ended.code == 5
        assert "arrived damaged and was not stored" in ended.error
        assert f"{site.uri('set')}/" in ended.error
        assert not [key for key in site.server.keys(site.bucket) if key.endswith(".arrow")]
        assert_rerun_works(site)

    def test_parts_that_do_not_make_up_the_whole_are_not_stored(
        self, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each part is right, but the whole is not what was hashed here."""
        monkeypatch.setattr(s3_bucket, "_WHOLE_BYTES", 2**15)
        data = os.urandom(2**16)
        path = tmp_path / "file"
        path.write_bytes(data)
        upload = partial(Bucket(site.bucket, site.options).upload, path, "file", len(data))
        right = zlib.crc32(data)
        monkeypatch.setattr(s3_bucket, "zlib", SimpleNamespace(crc32=lambda block, crc: right ^ 1))
        with pytest.raises(StorageError, match="arrived damaged and was not stored") as caught:
            upload(sha256(data).hexdigest())
        assert f"s3://{site.bucket}/file" in str(caught.value)
        assert site.server.keys(site.bucket) == []
        monkeypatch.setattr(s3_bucket, "zlib", zlib)
        upload(sha256(data).hexdigest())
        assert (site.server.data / site.bucket / "file").read_bytes() == data


class TestTheServerEnds:
    @pytest.fixture
    def own(self, site: Site, toxiproxy: Toxiproxy) -> Iterator[S3Server]:
        """A server that may be killed, which `site` then uses."""
        with S3Server() as server:
            server.make_bucket(site.bucket)
            site.server, site.proxy = server, toxiproxy.proxy(server.endpoint)
            site.endpoint = site.proxy.endpoint
            yield server

    @pytest.mark.parametrize("way", ONE_WAY)
    def test_it_is_killed_during_an_upload_and_starts_again(
        self, site: Site, own: S3Server, way: str
    ) -> None:
        """[F19]"""
        one_after_the_other = Lock()  # the one that sees it gone need not be the one that kills it

        def do(act: Callable[[], None]) -> None:
            with one_after_the_other:
                act()

        site.before("PutObject", ".arrow", partial(do, own.kill))
        site.pauses.during_next(partial(do, own.restart))
        ended = site.publish(way, "set")
        assert ended.code == 0, ended.said
        assert site.pauses.seconds
        assert site.seen("set") == "complete"

    @pytest.mark.parametrize("operation", WRITES)
    @pytest.mark.usefixtures("in_parts")
    def test_it_is_killed_and_stays_away(self, site: Site, own: S3Server, operation: str) -> None:
        """[F19]"""
        key = "manifest.json" if operation == "PutObject" else ".arrow"
        site.before(operation, key, own.kill)
        ended = site.publish("upload", "set")
        assert ended.code == 5
        assert f"{site.uri('set')}/" in ended.error
        assert site.seen("set") == "nothing"
        own.restart()
        assert_rerun_works(site)


class TestTheServersDiskIsFull:
    """[F20]"""

    @pytest.fixture
    def own(self, site: Site, small_disk: SmallDisk, toxiproxy: Toxiproxy) -> Iterator[S3Server]:
        """A server with a small disk, which `site` then uses."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tempfile.tempdir", str(small_disk.path))
            server = S3Server()
        with server:
            server.make_bucket(site.bucket)
            site.server, site.proxy = server, toxiproxy.proxy(server.endpoint)
            site.endpoint = site.proxy.endpoint
            yield server

    @pytest.mark.parametrize("way", ONE_WAY)
    @pytest.mark.usefixtures("own")
    def test_for_a_shard(self, site: Site, small_disk: SmallDisk, way: str) -> None:
        small_disk.leave(100_000)
        ended = site.publish(way, "set")
        assert ended.code == 5
        assert "(its disk is full)" in ended.error
        assert ".arrow" in ended.error
        assert f"{site.uri('set')}/" in ended.error
        assert site.seen("set") == "nothing"
        small_disk.make_room()
        assert_rerun_works(site, way)

    @pytest.mark.usefixtures("own")
    def test_for_anything(self, site: Site, small_disk: SmallDisk) -> None:
        small_disk.leave(0)
        ended = site.publish("upload", "set")
        assert ended.code == 5
        assert "(its disk is full)" in ended.error
        assert site.server.keys(site.bucket) == []
        small_disk.make_room()
        assert_rerun_works(site)
