"""What goes over the wire: checksums, parts, encryption, as the flags ask for them."""

from __future__ import annotations

import base64
import random
import zlib
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest
from s3_faults import (  # noqa: F401 - pytest finds the fixtures
    ONE_WAY,
    WAYS,
    Site,
    in_parts_fixture,
    pauses_fixture,
    site_fixture,
)

from transforms.storage.s3 import bucket as s3_bucket
from transforms.storage.s3.bucket import Bucket

SMALLEST_PART = 5 * 2**20  # that S3 takes, but for the last one
Sent = list[tuple[str, Mapping[str, str]]]


def listen(site: Site) -> Sent:
    """The operation and the headers of every request from now on."""
    sent: Sent = []

    def sending(request: AWSPreparedRequest, event_name: str, **_: object) -> None:
        headers = {
            name.lower(): value.decode() if isinstance(value, bytes) else str(value)
            for name, value in request.headers.items()
        }
        sent.append((event_name.rpartition(".")[2], headers))

    site.on("before-send.s3", sending)
    return sent


def names(sent: Sent) -> set[str]:
    return {name for _, headers in sent for name in headers}


def of(sent: Sent, operation: str) -> list[Mapping[str, str]]:
    found = [headers for name, headers in sent if name == operation]
    assert found, f"no {operation} among {sorted({name for name, _ in sent})}"
    return found


def upload(site: Site, tmp_path: Path, size: int, **options: str) -> tuple[bytes, Any]:
    """Sends a file of so many bytes; returns them and what the server knows of the object."""
    data = random.Random(size).randbytes(size)
    (tmp_path / "file").write_bytes(data)
    bucket = Bucket(site.bucket, replace(site.options, **options))
    bucket.upload(tmp_path / "file", "file", size, sha256(data).hexdigest())
    head = site.server.client().head_object(Bucket=site.bucket, Key="file", ChecksumMode="ENABLED")
    assert (site.server.data / site.bucket / "file").read_bytes() == data
    assert head["Metadata"] == {"sha256": sha256(data).hexdigest()}
    return data, head


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_bucket, "_WHOLE_BYTES", SMALLEST_PART)
    monkeypatch.setattr(s3_bucket, "PART_BYTES", SMALLEST_PART)


class TestParts:
    @pytest.mark.usefixtures("small_parts")
    @pytest.mark.parametrize(("last", "count"), [(1, 3), (SMALLEST_PART - 1, 3), (0, 2)])
    def test_are_equal_but_the_last(
        self, site: Site, tmp_path: Path, last: int, count: int
    ) -> None:
        sent = listen(site)
        upload(site, tmp_path, 2 * SMALLEST_PART + last)
        sizes = [int(headers["content-length"]) for headers in of(sent, "UploadPart")]
        assert len(sizes) == count
        assert sorted(sizes, reverse=True) == [SMALLEST_PART] * 2 + [last] * (count - 2)

    @pytest.mark.usefixtures("small_parts")
    def test_the_server_checks_the_whole(self, site: Site, tmp_path: Path) -> None:
        sent = listen(site)
        data, head = upload(site, tmp_path, 2 * SMALLEST_PART + 5)
        crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
        assert (head["ChecksumCRC32"], head["ChecksumType"]) == (crc, "FULL_OBJECT")
        (begun,), (ended,) = of(sent, "CreateMultipartUpload"), of(sent, "CompleteMultipartUpload")
        assert begun["x-amz-checksum-algorithm"] == "CRC32"
        assert begun["x-amz-checksum-type"] == "FULL_OBJECT"
        assert ended["x-amz-checksum-crc32"] == crc
        assert all("x-amz-checksum-crc32" in part for part in of(sent, "UploadPart"))

    def test_only_large_files_have_them(
        self, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(s3_bucket, "_WHOLE_BYTES", 1000)
        sent = listen(site)
        data, head = upload(site, tmp_path, 1000)
        (put,) = of(sent, "PutObject")
        assert put["x-amz-checksum-sha256"] == head["ChecksumSHA256"]
        assert base64.b64decode(head["ChecksumSHA256"]) == sha256(data).digest()
        sent.clear()
        upload(site, tmp_path, 1001)
        assert len(of(sent, "UploadPart")) == 1

    def test_a_gigabyte_has_no_more_than_s3_takes(self) -> None:
        assert s3_bucket.PART_BYTES >= SMALLEST_PART
        assert 10_000 * s3_bucket.PART_BYTES > 100 * 2**30


class TestStoresThatKnowNoChecksums:
    REQUIRED = ("--request-checksum-calculation", "when_required")
    OF_CHECKSUMS = ("x-amz-checksum-", "x-amz-sdk-checksum", "x-amz-trailer", "content-md5")

    @classmethod
    def checksums(cls, sent: Sent) -> set[str]:
        mode = "x-amz-checksum-mode"  # asks for one, where there is one
        return {name for name in names(sent) - {mode} if name.startswith(cls.OF_CHECKSUMS)}

    @pytest.mark.parametrize("way", ONE_WAY)
    @pytest.mark.parametrize("parts", [False, True])
    def test_are_sent_none(
        self, site: Site, way: str, parts: bool, request: pytest.FixtureRequest
    ) -> None:
        if parts:
            request.getfixturevalue("in_parts")
        sent = listen(site)
        ended = site.publish(way, "set", *self.REQUIRED)
        assert ended.code == 0, ended.said
        assert of(sent, "UploadPart" if parts else "PutObject")
        assert self.checksums(sent) == set()
        assert site.seen("set") == "complete"

    def test_what_is_there_is_known_by_its_metadata(self, site: Site) -> None:
        assert site.publish("upload", "set", *self.REQUIRED).code == 0
        site.requests.clear()
        ended = site.publish("upload", "set", *self.REQUIRED)
        assert "(0 sent now)" in ended.said
        writes = {request for request in site.requests if not request.startswith(("GET", "HEAD"))}
        assert writes == {f"PUT {site.bucket}/set/_RUN.json"}
        assert site.run("download", site.uri("set"), "copy", *self.REQUIRED).code == 0
        assert site.run("verify", site.uri("set"), "--quick", *self.REQUIRED).code == 0

    def test_else_there_are_some(self, site: Site) -> None:
        sent = listen(site)
        assert site.publish("upload", "set").code == 0
        assert "x-amz-checksum-sha256" in self.checksums(sent)
        assert all("x-amz-checksum-sha256" in put for put in of(sent, "PutObject"))


class TestEncryptionAtRest:
    SSE, KEY = "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"

    @pytest.mark.parametrize("way", ONE_WAY)
    @pytest.mark.parametrize("parts", [False, True])
    @pytest.mark.parametrize("words", [("AES256",), ("aws:kms",), ("aws:kms", "a-key")])
    def test_is_asked_for_with_every_object(
        self,
        site: Site,
        way: str,
        parts: bool,
        words: tuple[str, ...],
        request: pytest.FixtureRequest,
    ) -> None:
        if parts:
            request.getfixturevalue("in_parts")
        kind, *key = words
        sent = listen(site)
        more = ("--sse-kms-key-id", *key) if key else ()
        ended = site.publish(way, "set", "--sse", kind, *more)
        assert ended.code == 0, ended.said
        begun = of(sent, "PutObject") + (of(sent, "CreateMultipartUpload") if parts else [])
        for headers in begun:
            assert headers[self.SSE] == kind
            assert [headers[self.KEY]] == key if key else self.KEY not in headers
        assert site.seen("set") == "complete"

    @pytest.mark.usefixtures("in_parts")
    def test_else_is_the_buckets_affair(self, site: Site) -> None:
        sent = listen(site)
        assert site.publish("upload", "set").code == 0
        assert self.SSE not in names(sent)
