"""The network to S3 breaks: a run ends well or with code 5, and never leaves half a set that loads.

Numbers in brackets are those of the fault table. Whatever happened, the same command then works.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ConnectionClosedError
from datasets import load_from_disk
from s3_faults import (  # noqa: F401 - pytest finds the fixtures
    ATTEMPTS,
    ONE_WAY,
    REAL_ATTEMPTS,
    WAYS,
    Once,
    Site,
    error_reply,
    in_parts_fixture,
    pauses_fixture,
    raw_reply,
    site_fixture,
)

from transforms.storage.s3 import client as s3_client
from transforms.storage.s3.lease import LEASE_SECONDS

LAST = "dataset_dict.json"


def assert_rerun_works(site: Site, way: str, name: str = "set") -> None:
    ended = site.again(way, name)
    assert ended.code == 0, ended.said
    assert site.seen(name) == "complete"
    assert site.pending() == []


def statuses(site: Site, operation: str) -> list[int]:
    """The status of each reply to this operation, as they come."""
    seen: list[int] = []

    def received(parsed_response: dict[str, Any] | None, **_: object) -> None:
        if parsed_response:
            seen.append(parsed_response["ResponseMetadata"]["HTTPStatusCode"])

    site.on(f"response-received.s3.{operation}", received)
    return seen


@pytest.mark.parametrize("way", ONE_WAY)
class TestLostReplies:
    """[F9] S3 does what it is asked, and its reply never comes."""

    @staticmethod
    def lose(site: Site, key: str, operation: str = "PutObject", count: int = 30) -> None:
        # After 30 bytes a reply has been cut within its headers.
        losing = partial(site.proxy.add, "limit_data", stream="downstream", bytes=count)
        site.before(operation, key, losing)

    @pytest.mark.parametrize("count", [0, 30])
    def test_to_the_claim_so_that_the_retry_is_told_412(
        self, site: Site, way: str, count: int
    ) -> None:
        self.lose(site, "_RUN.json", count=count)
        site.pauses.during_next(site.proxy.remove_all)
        answers = statuses(site, "PutObject")
        ended = site.publish(way, "set")
        assert 412 in answers[:2]  # after half a reply, or as the first that comes
        assert ended.code == 0, ended.said
        assert site.seen("set") == "complete"
        loaded = load_from_disk(str(site.server.data / site.bucket / "set"))
        assert loaded["train"].num_rows == {"upload": 5000, "straight": 361}[way]

    def test_to_the_claim_and_to_every_retry(self, site: Site, way: str) -> None:
        self.lose(site, "_RUN.json", count=0)
        site.before("GetObject", "_RUN.json", site.proxy.remove_all)
        ended = site.publish(way, "set")
        assert ended.code == 0, ended.said
        assert len(site.pauses.seconds) == ATTEMPTS - 1
        assert site.seen("set") == "complete"

    @pytest.mark.parametrize("key", ["train/state.json", LAST])
    def test_to_a_file_once(self, site: Site, way: str, key: str) -> None:
        self.lose(site, key)
        site.pauses.during_next(site.proxy.remove_all)
        ended = site.publish(way, "set")
        assert ended.code == 0, ended.said
        assert site.seen("set") == "complete"

    @pytest.mark.parametrize(("key", "seen"), [("train/state.json", "nothing"), (LAST, "complete")])
    def test_to_a_file_for_ever(self, site: Site, way: str, key: str, seen: str) -> None:
        self.lose(site, key)
        ended = site.publish(way, "set")
        assert ended.code == 5
        assert site.uri(f"set/{key}") in ended.error or site.uri("set/") in ended.error
        assert "run again" in ended.error
        assert site.seen("set") == seen
        assert_rerun_works(site, way)

    @pytest.mark.parametrize("count", [0, 5, 30])
    @pytest.mark.usefixtures("in_parts")
    def test_to_the_end_of_an_upload_in_parts(self, site: Site, way: str, count: int) -> None:
        """[F10]"""
        self.lose(site, ".arrow", "CompleteMultipartUpload", count)
        site.pauses.during_next(site.proxy.remove_all)
        ended = site.publish(way, "set")
        assert ended.code == 0, ended.said
        assert site.pauses.seconds
        assert site.seen("set") == "complete"
        assert site.pending() == []

    @pytest.mark.usefixtures("in_parts")
    def test_to_the_end_and_the_retry_is_told_that_there_is_no_such_upload(
        self, site: Site, way: str
    ) -> None:
        """[F10] As S3 answers, when it has completed the upload some time ago."""
        lost: set[str] = set()

        def lose(response: tuple[Any, Any] | None, **_: object) -> float | None:
            if response is None or response[0].status_code != 200 or response[0].url in lost:
                return None
            lost.add(response[0].url)
            return 0.0  # tries again, as if nothing had come

        def sending(request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
            return error_reply(request, 404, "NoSuchUpload") if request.url in lost else None

        site.on("needs-retry.s3.CompleteMultipartUpload", lose)
        site.on("before-send.s3.CompleteMultipartUpload", sending)
        ended = site.publish(way, "set")
        assert lost
        assert ended.code == 0, ended.said
        assert site.seen("set") == "complete"

    @pytest.mark.usefixtures("in_parts")
    def test_an_upload_that_something_else_ended_is_a_failure(self, site: Site, way: str) -> None:
        given = site.answer("CompleteMultipartUpload", 404, "NoSuchUpload", key=".arrow")
        ended = site.publish(way, "set")
        assert given
        assert ended.code == 5
        assert "was ended by something else" in ended.error
        assert f"{site.uri('set')}/" in ended.error
        assert site.seen("set") == "nothing"
        assert_rerun_works(site, way)


@pytest.mark.parametrize("way", WAYS)
class TestBrokenConnections:
    def test_a_third_of_them_is_reset(
        self, site: Site, way: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """[F11]"""
        # Else one test in so many would fail by chance.
        monkeypatch.setattr(s3_client, "ATTEMPTS", 20)
        site.proxy.add("reset_peer", toxicity=0.3, timeout=0)
        for number in range(20):
            ended = site.publish(way, f"set-{number}")
            assert ended.code == 0, ended.said
            assert site.seen(f"set-{number}") == "complete"
            s3_client._clients.clear()  # new connections
            if len(site.pauses.seconds) > 2:
                break
        assert site.pauses.seconds

    @pytest.mark.usefixtures("in_parts")
    def test_all_are_cut_while_a_file_goes_over(self, site: Site, way: str) -> None:
        """[F12] Also that which would abort the upload."""
        cutting = partial(site.proxy.add, "limit_data", stream="upstream", bytes=100)
        site.before("UploadPart", ".arrow", cutting)
        ended = site.publish(way, "set")
        assert ended.code == 5
        assert f"{site.uri('set')}/" in ended.error
        assert "run again" in ended.error
        assert site.seen("set") == "nothing"
        assert site.pending()
        assert_rerun_works(site, way)

    @pytest.mark.usefixtures("in_parts")
    def test_what_may_be_left_pending_is_told(self, site: Site, way: str) -> None:
        """[F12] Only shards are cut here: else a small file might fail first, and be told."""

        def cut(request: AWSPreparedRequest, **_: object) -> None:
            if request.url.split("?")[0].endswith(".arrow"):
                raise ConnectionClosedError(endpoint_url=request.url)

        for operation in ("UploadPart", "AbortMultipartUpload"):
            site.on(f"before-send.s3.{operation}", cut)
        ended = site.publish(way, "set")
        assert ended.code == 5
        assert ended.error.endswith(
            ".arrow (ConnectionClosedError): nothing unfinished is visible; run again later. "
            "Parts of it may be left pending there, unseen but billed: a run that completes "
            "removes them, as does a lifecycle rule that ends incomplete uploads"
        )
        assert site.pending()
        assert_rerun_works(site, way)

    def test_a_whole_file_leaves_nothing_pending_and_nothing_is_said_of_it(
        self, site: Site, way: str
    ) -> None:
        """[F12]"""
        cutting = partial(site.proxy.add, "limit_data", stream="upstream", bytes=100)
        site.before("PutObject", ".arrow", cutting)
        ended = site.publish(way, "set")
        assert ended.code == 5
        assert "pending" not in ended.error
        assert site.seen("set") == "nothing"
        assert_rerun_works(site, way)

    def test_s3_is_down(self, site: Site, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """[F13]"""
        monkeypatch.setattr(s3_client, "ATTEMPTS", REAL_ATTEMPTS)
        site.proxy.enable(False)
        ended = site.publish(way, "set")
        assert ended.code == 5
        assert ended.error.startswith(f"{site.proxy.endpoint} cannot be reached for s3://")
        assert site.uri("set/") in ended.error
        assert "check the network and --endpoint-url, then run again" in ended.error
        assert len(site.pauses.seconds) == REAL_ATTEMPTS - 1  # one request was tried, and no more
        assert 0 < sum(site.pauses.seconds) < 90
        assert_rerun_works(site, way)

    def test_s3_is_down_for_a_moment(self, site: Site, way: str) -> None:
        """[F13]"""
        site.before("PutObject", ".arrow", partial(site.proxy.enable, False))
        site.pauses.during_next(lambda: None)
        site.pauses.during_next(partial(site.proxy.enable, True))
        ended = site.publish(way, "set")
        assert ended.code == 0, ended.said
        assert len(site.pauses.seconds) >= 2
        assert site.seen("set") == "complete"

    def test_s3_goes_down_and_stays_down(self, site: Site, way: str) -> None:
        """[F13] The claim stays as it is, so that a rerun has to say that the run is dead."""
        site.before("PutObject", ".arrow", partial(site.proxy.enable, False))
        ended = site.publish(way, "set")
        assert ended.code == 5
        assert f"{site.uri('set')}/" in ended.error
        assert site.seen("set") == "nothing"
        site.heal()
        ended = site.publish(way, "set")
        assert ended.code == 6
        assert f"go on with --resume {site.uri('set')}" in ended.error
        assert_rerun_works(site, way)

    def test_a_while_after_that_a_rerun_takes_the_claim_by_itself(
        self, site: Site, way: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """[F13]"""
        site.before("PutObject", ".arrow", partial(site.proxy.enable, False))
        assert site.publish(way, "set").code == 5
        site.heal()
        assert LEASE_SECONDS > 60  # of a run that has only a slow network
        monkeypatch.setattr(
            "transforms.storage.s3.lease.LEASE_SECONDS", -5.0
        )  # S3 tells whole ones
        ended = site.publish(way, "set")
        assert ended.code == 0, ended.said
        assert site.seen("set") == "complete"

    def test_requests_go_into_a_black_hole(
        self, site: Site, way: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """[F14]"""
        key = {"upload": ".arrow", "straight": "_RUN.json"}[way]
        monkeypatch.setattr(s3_client, "ATTEMPTS", 2)
        monkeypatch.setattr(s3_client, "_READ_SECONDS", 0.2)
        site.before("PutObject", key, partial(site.proxy.add, "timeout", timeout=0))
        started = time.monotonic()
        ended = site.publish(way, "set")
        assert time.monotonic() - started < 20  # else Toxiproxy would hold them for ever
        assert ended.code == 5
        assert "ReadTimeoutError" in ended.error
        assert site.uri("set/") in ended.error
        assert site.seen("set") == "nothing"
        assert_rerun_works(site, way)

    def test_the_network_is_slow(self, site: Site, way: str) -> None:
        """[F15]"""
        for stream in ("upstream", "downstream"):
            site.proxy.add("latency", stream=stream, latency=15, jitter=5)
            site.proxy.add("bandwidth", stream=stream, rate=4000)
        ended = site.publish(way, "set")
        assert ended.code == 0, ended.said
        assert site.pauses.seconds == []
        assert site.seen("set") == "complete"


def cut_reply(request: AWSPreparedRequest, **_: object) -> AWSResponse:
    """One that ends within its headers, which http.client takes for the whole of it."""
    return raw_reply(request, 200, b"", {"server": "S3", "connec": ""})


READING = ("ListObjectsV2", "HeadObject", "GetObject")
WRITING = ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")


@pytest.mark.usefixtures("in_parts")
class TestRepliesCutInTheirHeaders:
    """[F11] Half a reply is none, and not one that says there is nothing."""

    @pytest.mark.parametrize("operation", [*READING, *WRITING])
    def test_once(self, site: Site, operation: str) -> None:
        first = Once()
        site.on(
            f"before-send.s3.{operation}",
            lambda request, **_: cut_reply(request) if first() else None,
        )
        ended = site.publish("upload", "set")
        assert not first()
        assert ended.code == 0, ended.said
        assert site.pauses.seconds
        assert site.seen("set") == "complete"

    @pytest.mark.parametrize("operation", [*READING, *WRITING])
    def test_for_ever(self, site: Site, operation: str) -> None:
        if operation == "GetObject":  # which an upload asks for only when a claim is there
            assert site.publish("upload", "set").code == 0
        site.on(f"before-send.s3.{operation}", cut_reply)
        ended = site.publish("upload", "set")
        assert ended.code == 5
        assert site.uri("set/") in ended.error
        assert "broke, also after retries" in ended.error
        assert site.seen("set") == ("complete" if operation == "GetObject" else "nothing")
        assert_rerun_works(site, "upload")

    def test_by_the_network(self, site: Site) -> None:
        """What the hooks above imitate."""
        site.proxy.add("limit_data", stream="downstream", bytes=150)
        ended = site.publish("upload", "set")
        assert ended.code == 5
        assert site.seen("set") == "nothing"
        assert_rerun_works(site, "upload")

    def test_a_header_cut_in_its_value(self, site: Site) -> None:
        assert site.publish("upload", "set").code == 0

        def sending(request: AWSPreparedRequest, **_: object) -> AWSResponse:
            own = {"etag": '"1"', "content-length": "0", "date": "", "last-modified": "Tu"}
            return raw_reply(request, 200, b"", own)

        site.on("before-send.s3.HeadObject", sending)
        ended = site.publish("upload", "set")
        assert ended.code == 5
        assert "is no reply of S3: check --endpoint-url" in ended.error
        assert_rerun_works(site, "upload")
