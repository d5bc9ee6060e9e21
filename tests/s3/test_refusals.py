"""S3 refuses: one sentence with bucket, key and remedy, the right exit code, nothing is lost."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from s3_faults import (  # noqa: F401 - pytest finds the fixtures
    ONE_WAY,
    SAMPLE,
    WAYS,
    Ended,
    Site,
    pauses_fixture,
    site_fixture,
    use_account,
)
from s3_servers import ROOT_ACCESS

from pipeline.processor import DatasetProcessor
from transforms.errors import AccessDenied

OURS = ("s3:PutObject", "s3:GetObject", "s3:ListBucket")
SIGN_IN = "sign in (for example `aws sso login`), or set AWS_ACCESS_KEY_ID"
PREPARED = Path("new set") / "processed"  # a folder whose name wants quotes in a shell


def prepare_and_send(site: Site, *more: str, bucket: str = "") -> Ended:
    """The guide's way: prepares a local folder, then uploads it."""
    words = ("--dataset", str(SAMPLE), "--output", str(PREPARED))
    return site.run(*words, "--s3-bucket", bucket or site.bucket, *more)


def reading(site: Site, name: str = "set") -> list[tuple[str, ...]]:
    return [
        ("download", site.uri(name), "copy"),
        ("verify", site.uri(name)),
        ("list", site.uri(f"{name}/")),
    ]


def wrote(requests: Sequence[str]) -> bool:
    return any(not request.startswith(("GET", "HEAD")) for request in requests)


class TestNoPermission:
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("missing", OURS)
    def test_one_is_missing(
        self, site: Site, way: str, missing: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = f"user-{uuid4()}"
        site.server.make_user(name, "its-secret")
        site.server.set_policy(site.bucket, name, *(one for one in OURS if one != missing))
        use_account(monkeypatch, site.server, name, "its-secret")
        ended = site.publish(way, "set")
        assert ended.code == 4
        assert ended.error.startswith(f"no permission for {site.uri('set/')}")
        assert re.search(rf"the IAM policy must allow [\w: ]*{missing}\b", ended.error)
        assert site.seen("set") == "nothing"
        site.server.set_policy(site.bucket, name, *OURS)
        assert site.again(way, "set").code == 0
        assert site.seen("set") == "complete"

    @pytest.mark.parametrize("way", WAYS)
    def test_all_are_missing(self, site: Site, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
        name = f"user-{uuid4()}"
        site.server.make_user(name, "its-secret")
        use_account(monkeypatch, site.server, name, "its-secret")
        ended = site.publish(way, "set")
        assert ended.code == 4
        assert f"no permission for {site.uri('set/')}" in ended.error
        for words in reading(site):
            ended = site.run(*words)
            assert ended.code == 4
            assert f"no permission for {site.uri('set/')}" in ended.error
        assert not wrote(site.requests)

    def test_s3_hides_what_is_not_there_from_those_who_may_not_list(self, site: Site) -> None:
        """So a refused GET may want either permission."""
        site.answer("GetObject", 403, "AccessDenied")
        ended = site.run("download", site.uri("set"), "copy")
        assert ended.code == 4
        assert "must allow s3:GetObject and s3:ListBucket on this bucket" in ended.error


class TestNoBucket:
    def test_is_told_by_every_verb(self, site: Site) -> None:
        site.bucket = f"gone-{uuid4()}"
        words = [*reading(site), ("prune", site.uri("sets/"), "--keep", "1")]
        for ended in (
            *(site.publish(way, "set") for way in WAYS),
            *(site.run(*command) for command in words),
        ):
            assert ended.code == 2, ended.said
            assert ended.error == (
                f"the bucket {site.bucket} does not exist at {site.proxy.endpoint}: create it, or "
                "check the name (--s3-bucket) and --endpoint-url"
            )
        assert not wrote(site.requests)

    def test_is_told_before_the_work(self, site: Site) -> None:
        ended = prepare_and_send(site, bucket=f"gone-{uuid4()}")
        assert ended.code == 2
        assert "does not exist at" in ended.error
        assert not PREPARED.parent.exists()


class TestAnotherRegion:
    @pytest.mark.parametrize(
        ("status", "code", "more", "headers"),
        [
            (301, "PermanentRedirect", "", {"x_amz_bucket_region": "eu-west-1"}),
            (307, "TemporaryRedirect", "", {"x_amz_bucket_region": "eu-west-1"}),
            (400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>", {}),
            (400, "IllegalLocationConstraintException", "<Region>eu-west-1</Region>", {}),
        ],
    )
    def test_is_named(
        self, site: Site, status: int, code: str, more: str, headers: dict[str, str]
    ) -> None:
        site.answer("", status, code, more=more, **headers)
        for ended in (*(site.publish(way, "set") for way in WAYS), site.run(*reading(site)[0])):
            assert ended.code == 2, ended.said
            assert ended.error == (
                f"the bucket {site.bucket} is in another region than asked: add --region eu-west-1"
            )

    def test_a_redirect_to_another_address(self, site: Site) -> None:
        """As of a server that sends everybody on from http to https."""
        site.answer("", 301, "Moved Permanently", location="https://s3.example/")
        for way in WAYS:
            ended = site.publish(way, "set")
            assert ended.code == 2
            assert ended.error == (
                f"{site.endpoint} sends requests for {site.uri('set/')} on to https://s3.example/: "
                "check --endpoint-url, and whether it wants https://"
            )
        assert len(site.requests) < 10


class TestCredentials:
    """[F23]"""

    @pytest.mark.parametrize("way", ONE_WAY)
    def test_with_a_wrong_secret(
        self, site: Site, way: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use_account(monkeypatch, site.server, ROOT_ACCESS, "not-the-secret")
        ended = site.publish(way, "set")
        assert ended.code == 4
        assert "refuses these credentials (SignatureDoesNotMatch) for s3://" in ended.error
        assert site.uri("set/") in ended.error
        assert SIGN_IN in ended.error
        assert not wrote(site.requests)
        use_account(monkeypatch, site.server)
        assert site.publish(way, "set").code == 0  # no claim was left

    def test_that_nobody_knows(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        use_account(monkeypatch, site.server, "nobody", "secret")
        ended = site.publish("upload", "set")
        assert ended.code == 4
        assert "refuses these credentials (" in ended.error
        assert SIGN_IN in ended.error

    @pytest.mark.parametrize("way", ONE_WAY)
    def test_that_have_expired(self, site: Site, way: str) -> None:
        site.answer("", 400, "ExpiredToken")
        ended = site.publish(way, "set")
        assert ended.code == 4
        assert f"the AWS credentials have expired at {site.uri('set/')}" in ended.error
        assert SIGN_IN in ended.error
        assert not wrote(site.requests)

    @pytest.mark.parametrize("way", ONE_WAY)
    @pytest.mark.parametrize("key", ["_RUN.json", ".arrow", "manifest.json", "dataset_dict.json"])
    def test_that_expire_half_way(self, site: Site, way: str, key: str) -> None:
        """Whatever is asked next: the reply to a HEAD does not say why."""
        site.before("PutObject", key, partial(site.answer, "", 400, "ExpiredToken"))
        ended = site.publish(way, "set")
        if key == "dataset_dict.json":  # too late to do harm
            assert site.seen("set") == "complete"
        else:
            assert ended.code == 4, ended.said
            assert f"the AWS credentials have expired at {site.uri('set')}" in ended.error
            assert site.seen("set") == "nothing"
        assert site.again(way, "set").code == 0
        assert site.seen("set") == "complete"

    @pytest.mark.parametrize("way", ONE_WAY)
    def test_there_are_none(self, site: Site, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        ended = site.publish(way, "set")
        assert ended.code == 4
        assert ended.error.startswith(f"no AWS credentials for {site.uri('set/')}")
        assert SIGN_IN in ended.error
        assert site.requests == []

    @pytest.mark.parametrize("problem", ["none", "half", "wrong", "expired"])
    def test_are_asked_for_before_the_work(
        self, site: Site, problem: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if problem == "expired":
            site.answer("", 400, "ExpiredToken")
        elif problem == "wrong":
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
        else:
            monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
            if problem == "none":
                monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        ended = prepare_and_send(site)
        assert ended.code == 4, ended.said
        assert SIGN_IN in ended.error
        assert site.uri("datasets/processed_") in ended.error
        assert not PREPARED.parent.exists()
        ended = prepare_and_send(site, "--skip-upload")
        assert ended.code == 0
        assert PREPARED.is_dir()

    def test_of_a_profile_that_is_not_there(self, site: Site) -> None:
        for ended in (
            *(site.publish(way, "set", "--profile", "nobody") for way in WAYS),
            prepare_and_send(site, "--profile", "nobody"),
        ):
            assert ended.code == 2
            assert "The config profile (nobody) could not be found" in ended.error
            assert "aws configure list-profiles" in ended.error
        assert site.requests == []
        assert not PREPARED.parent.exists()


class TestTheBucketsOwner:
    @pytest.mark.parametrize("way", WAYS)
    def test_is_another(self, site: Site, way: str) -> None:
        ended = site.publish(way, "set", "--expected-bucket-owner", "123456789012")
        assert ended.code == 2
        assert ended.error == (
            f"the bucket {site.bucket} does not belong to the account 123456789012 "
            "(--expected-bucket-owner): nothing was sent; check the bucket's name"
        )
        assert not wrote(site.requests)
        for words in reading(site):
            ended = site.run(*words, "--expected-bucket-owner", "123456789012")
            assert ended.code == 2
            assert "does not belong to the account" in ended.error

    @pytest.mark.parametrize("way", ONE_WAY)
    def test_is_the_expected_one(self, site: Site, way: str) -> None:
        asked: list[bool] = []
        site.on(
            "before-send.s3",
            lambda request, **_: asked.append("x-amz-expected-bucket-owner" in request.headers),
        )
        ended = site.publish(way, "set", "--expected-bucket-owner", ROOT_ACCESS)
        assert ended.code == 0, ended.said
        assert asked
        assert all(asked)
        assert site.seen("set") == "complete"


class TestThePreparedSet:
    """It is kept, and the very command that the error tells sends it later."""

    @staticmethod
    def told(said: str) -> list[str]:
        found = re.search(r"(?<=send it later with: python -m pipeline )upload .*", said)
        assert found, said
        return shlex.split(found[0])

    @pytest.mark.parametrize("fault", ["permission", "network", "expired", "busy"])
    def test_is_sent_by_the_command_that_is_told(self, site: Site, fault: str) -> None:
        if fault == "network":
            site.before("PutObject", ".arrow", partial(site.proxy.enable, False))
        else:
            status, error = {
                "permission": (403, "AccessDenied"),
                "expired": (400, "ExpiredToken"),
                "busy": (503, "SlowDown"),
            }[fault]
            site.answer("PutObject", status, error, key=".arrow")
        ended = prepare_and_send(site, "--region", "us-east-1", "--sse", "AES256")
        assert ended.code == {"network": 5, "busy": 5}.get(fault, 4)
        assert f"The prepared set is kept at {PREPARED}; send it later with" in ended.error
        assert site.uri("datasets/processed_") in ended.error
        words = self.told(ended.error)
        name = words[2].removeprefix(f"s3://{site.bucket}/")
        assert site.seen(name) == "nothing"

        site.heal()
        assert words[-6:] == [
            *("--endpoint-url", site.proxy.endpoint, "--region", "us-east-1", "--sse", "AES256")
        ]
        ended = site.run(*words)
        assert ended.code == 0, ended.said
        assert site.seen(name) == "complete"

    def test_is_sent_by_the_command_that_the_api_tells(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", site.proxy.endpoint)
        site.answer("PutObject", 403, "AccessDenied", key="manifest.json")
        with pytest.raises(AccessDenied) as caught:
            DatasetProcessor("some/set", site.bucket, "cache").upload_to_s3(site.local)
        words = self.told(str(caught.value))
        site.heal()
        assert site.run(*words).code == 0
        assert site.seen(words[2].removeprefix(f"s3://{site.bucket}/")) == "complete"
