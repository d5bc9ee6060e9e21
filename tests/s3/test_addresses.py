"""Addresses and flags that are wrong are refused before anything is asked of any server.

Numbers in brackets are those of the bad inputs.
"""

from __future__ import annotations

import re
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_faults import SAMPLE, Site, pauses_fixture, site_fixture  # noqa: F401 - pytest finds them

from transforms.storage.s3 import client as s3_client


@pytest.fixture
def nobody(site: Site) -> Iterator[socket.socket]:
    """The place of S3 is taken by somebody who notes each call and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        site.endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield listener


def was_called(listener: socket.socket) -> bool:
    return bool(select.select([listener], [], [], 0)[0])


BUCKET_ONLY = ["s3://bucket", "s3://bucket/", "s3://bucket-1.example"]
WRONG = {
    "s3:": "is no S3 address; expected s3://BUCKET/PREFIX",
    "s3:/b": "is no S3 address",
    "s3:/bucket/x": "is no S3 address",
    "s3:bucket/x": "is no S3 address",
    "S3://bucket/x": "is no S3 address",
    "s3://": "names no bucket",
    "s3:///x": "names no bucket",
    "s3://b/x": "names no bucket",  # too short
    f"s3://{'b' * 64}/x": "names no bucket",
    "s3://Bucket/x": "names no bucket: expected 3 to 63 lower-case letters",
    "s3://my_bucket/x": "names no bucket",
    "s3://my bucket/x": "names no bucket",
    "s3://-bucket/x": "names no bucket",
    "s3://bucket-/x": "names no bucket",
    "s3://buc..ket/x": "names no bucket",
    "s3://bücket/x": "names no bucket",
    "s3://bucket//x": "holds an empty part",
    "s3://bucket/a//b": "holds an empty part",
    "s3://bucket/a//": "holds an empty part",
    "s3://bucket//": "holds an empty part",
    "s3://bucket/../x": "'..'",
    "s3://bucket/a/..": "'..'",
    "s3://bucket/./x": "holds an empty part, '..'",
    "s3://bucket/a b": "a space or another character",
    "s3://bucket/ a": "a space",
    "s3://bucket/a#b": "another character that addresses cannot hold everywhere",
    "s3://bucket/a?versionId=1": "another character",
    "s3://bucket/a%20b": "another character",
    "s3://bucket/größe": "use letters, digits and - _ . = /",
    "s3://bucket/a\\b": "another character",
    "s3://bucket/a\nb": "another character",
    "s3://bucket/a:b": "another character",
    "s3://bucket/{a}": "another character",
    "s3://bucket/*.json\x00": "another character",
}


class TestWrongAddresses:
    """[6]"""

    @pytest.mark.parametrize(("address", "says"), WRONG.items())
    def test_are_refused(self, site: Site, nobody: socket.socket, address: str, says: str) -> None:
        for words, flag in (
            (["--dataset", str(SAMPLE), "--output", address], "--output"),
            (["--dataset", str(SAMPLE), "--resume", address], "--output"),
            (["upload", str(site.local), address], "the address"),
            (["download", address, "copy"], "the address"),
        ):
            ended = site.run(*words)
            assert ended.code == 2, ended.said
            # A query or a fragment may be a token, and is not repeated.
            shown = re.sub(r"([?#]).*", r"\1…", address)
            assert ended.error.startswith(f"{flag} {shown!r} ")
            assert says in ended.error
        assert not was_called(nobody)
        assert not Path("copy").exists()
        assert s3_client._clients == {}

    def test_a_login_in_an_address_is_not_repeated(self, site: Site, nobody: socket.socket) -> None:
        """[9]"""
        address = "s3://key:canary-5fd1@bucket/x"
        for words in (["upload", str(site.local), address], ["download", address, "copy"]):
            ended = site.run(*words)
            assert ended.code == 2
            assert "'s3://…@bucket/x' names no bucket" in ended.error
            assert "canary" not in ended.said
        assert not was_called(nobody)

    @pytest.mark.parametrize("address", BUCKET_ONLY)
    def test_a_whole_bucket_is_nowhere_to_write(
        self, site: Site, nobody: socket.socket, address: str
    ) -> None:
        ended = site.run("--dataset", str(SAMPLE), "--output", address)
        assert ended.code == 2
        assert ended.error == f"--output {address} is a whole bucket; give a prefix in it"
        if not address.endswith("/"):  # below which there would be a dated name
            ended = site.run("upload", str(site.local), address)
            assert ended.code == 2
            assert "is a whole bucket; give a prefix in it" in ended.error
        assert not was_called(nobody)


class TestGoodAddresses:
    @pytest.mark.parametrize(
        "prefix", ["set", "a/b/set", "a=1/set", "it's-1.2_(x)!,*+@", "..a/b..", "_set", "-set"]
    )
    def test_are_taken_as_they_are(self, site: Site, prefix: str) -> None:
        ended = site.publish("upload", prefix)
        assert ended.code == 0, ended.said
        assert site.seen(prefix) == "complete"
        assert site.run("download", site.uri(prefix), "copy").code == 0
        assert site.run("verify", "copy").code == 0

    @pytest.mark.parametrize("prefix", ["datasets/", ""])
    def test_a_closing_slash_makes_a_dated_name_below(self, site: Site, prefix: str) -> None:
        ended = site.publish("upload", prefix)
        assert ended.code == 0, ended.said
        (key,) = (k for k in site.server.keys(site.bucket) if k.endswith("/dataset_dict.json"))
        name = key.removesuffix("/dataset_dict.json")
        assert name.startswith(f"{prefix}set_20")
        assert f"S3 URI: s3://{site.bucket}/{name}\n" in ended.said
        assert site.seen(name) == "complete"

    def test_so_it_does_when_workers_write_there(self, site: Site) -> None:
        ended = site.publish("straight", "datasets/")
        assert ended.code == 0, ended.said
        (key,) = (k for k in site.server.keys(site.bucket) if k.endswith("/dataset_dict.json"))
        assert key.startswith("datasets/processed_reasoning_20")

    def test_reading_does_not_mind_a_closing_slash(self, site: Site) -> None:
        assert site.publish("upload", "set").code == 0
        assert site.run("download", site.uri("set/"), "copy").code == 0
        assert site.run("verify", site.uri("set/")).code == 0


class TestWrongFlags:
    """All others are in tests/unit/pipeline/cli/test_flags.py."""

    @pytest.mark.parametrize(
        ("argv", "part"),
        [
            (["--sse", "AES128"], "--sse must be AES256 or aws:kms, found 'AES128'"),
            (["--region", "no/region"], "region"),
        ],
    )
    def test_are_refused(
        self, site: Site, nobody: socket.socket, argv: list[str], part: str
    ) -> None:
        for command in (
            ["upload", str(site.local), site.uri("set")],
            ["--dataset", str(SAMPLE), "--output", site.uri("set")],
            ["download", site.uri("set"), "copy"],
        ):
            ended = site.run(*command, *argv)
            assert ended.code == 2, ended.said
            assert part in ended.error
        assert not was_called(nobody)

    def test_a_secret_is_refused_and_not_repeated(self, site: Site, nobody: socket.socket) -> None:
        """[9]"""
        secret = "--s3_secret_access_key=canary-5fd1"
        ended = site.run("--dataset", str(SAMPLE), "--output", site.uri("set"), secret)
        assert ended.code == 2
        assert "--s3_secret_access_key would show a secret on the runner's pages" in ended.error
        assert "canary" not in ended.said
        assert not was_called(nobody)
