"""This machine or this login falls short: no room, no right to tidy up, no record of the upload.

Numbers in brackets are those of the fault table.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

import pytest
from means import REPOSITORY
from s3_faults import (  # noqa: F401 - pytest finds the fixtures
    ONE_WAY,
    SAMPLE,
    WAYS,
    Site,
    SmallDisk,
    in_parts_fixture,
    pauses_fixture,
    site_fixture,
    small_disk_fixture,
    use_account,
)

from pipeline.processor import DatasetProcessor
from transforms.storage.s3.bucket import Bucket

OURS = ("s3:PutObject", "s3:GetObject", "s3:ListBucket")  # what the users' policy grants


class TestAWorkersDiskIsFull:
    """[F21]"""

    NEEDED = re.compile(
        r"cannot write the temporary file (?P<path>\S+) \((?P<why>[\w ]+)\): (?P<bytes>[\d,]+) "
        r"bytes or more are needed there; make room, or choose another disk with TMPDIR"
    )

    def test_at_the_first_shard(
        self, site: Site, small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(small_disk.path))
        small_disk.leave(100_000)
        ended = site.publish("straight", "set")
        assert ended.code == 5
        found = self.NEEDED.match(ended.error)
        assert found, ended.error
        assert Path(found["path"]).parent == small_disk.path
        assert found["why"] == "No space left on device"
        assert int(found["bytes"].replace(",", "")) > 100_000
        assert small_disk.names() == []
        assert site.seen("set") == "nothing"

        small_disk.make_room()
        ended = site.publish("straight", "set")  # the claim was given back
        assert ended.code == 0, ended.said
        assert site.seen("set") == "complete"
        assert small_disk.names() == []

    def test_a_quota_on_the_size_of_a_file(self, site: Site, tmp_path: Path) -> None:
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        limit = 100_000
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pipeline", "--dataset", str(SAMPLE), "--quiet"),
                *("--output", site.uri("set")),
            ],
            cwd=REPOSITORY,
            env=site.server.environment()
            | {"TMPDIR": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            preexec_fn=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit)),
        )
        assert done.returncode == 5, done.stderr
        assert done.stderr.count("\n") == 1
        found = self.NEEDED.match(done.stderr.removeprefix("error: "))
        assert found, done.stderr
        assert Path(found["path"]).parent == scratch
        assert found["why"] == "File too large"
        assert list(scratch.iterdir()) == []
        assert site.seen("set") == "nothing"
        assert site.publish("straight", "set").code == 0
        assert site.seen("set") == "complete"


@pytest.mark.parametrize("mode", ["in_memory", "multi_threading"])
def test_shards_that_cannot_be_sent_are_removed_and_those_that_wait_too(
    site: Site, two_units: Path, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    given = site.answer("PutObject", 403, "AccessDenied", key=".arrow")
    words = ("--dataset", str(two_units), "--shard-size", "1MiB")
    ended = site.run(*words, "--output", site.uri("set"), f"--direct_running_mode={mode}")
    assert given
    assert ended.code == 4
    assert ended.error.startswith(f"no permission for {site.uri('set/')}")
    deadline = time.monotonic() + 30
    while list(scratch.glob("reasonforge*")) and time.monotonic() < deadline:
        os.sched_yield()  # a worker's last thread may still be at it
    assert list(scratch.glob("reasonforge*")) == []


@pytest.mark.parametrize("way", WAYS)
class TestALoginThatMayNotTidyUp:
    """[F24] It may put, get and list, but neither delete nor look for uploads nor end them."""

    @pytest.fixture(autouse=True)
    def login(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        name = f"user-{uuid4()}"
        site.server.make_user(name, "its-secret")
        site.server.set_policy(site.bucket, name, *OURS)
        use_account(monkeypatch, site.server, name, "its-secret")

    def test_publishes_with_a_warning(self, site: Site, way: str) -> None:
        ended = site.publish(way, "set")
        assert ended.code == 0, ended.said
        warnings = [line for line in ended.said.splitlines() if "Warning" in line]
        (warning,) = (line for line in warnings if "validation rows" not in line)
        assert f"uploads that broke off may be left at {site.uri('set')}" in warning
        assert "s3:ListBucketMultipartUploads" in warning
        assert "a lifecycle rule that ends incomplete uploads removes them" in warning
        assert site.seen("set") == "complete"

    @pytest.mark.usefixtures("in_parts")
    def test_leaves_what_broke_off_and_says_so(self, site: Site, way: str) -> None:
        site.answer("UploadPart", 500, "InternalError", key=".arrow")
        ended = site.publish(way, "set")
        assert ended.code == 5
        assert "left pending there" in ended.error
        assert site.seen("set") == "nothing"
        pending = site.pending()
        assert pending
        ended = site.again(way, "set")
        assert ended.code == 0, ended.said
        assert f"Warning: uploads that broke off may be left at {site.uri('set')}" in ended.said
        assert site.seen("set") == "complete"
        assert site.pending() == pending


def full(*_: object) -> NoReturn:
    raise OSError(28, "No space left on device", "cache/upload_metadata.json")


class TestAfterTheCommit:
    """[F34] The set is published: what fails now is told, and does not make the run a failure."""

    def test_the_record_of_an_upload_is_not_written(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pipeline.dataset.upload.write_metadata", full)
        ended = site.publish("upload", "set")
        assert ended.code == 0
        assert "Warning: the set is published, but no record of it was written" in ended.said
        assert "No space left on device: 'cache/upload_metadata.json'" in ended.said
        assert "Upload complete" in ended.said
        assert site.seen("set") == "complete"

    def test_nor_by_json(
        self,
        site: Site,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("pipeline.dataset.upload.write_metadata", full)
        ended = site.publish("upload", "set", "--json", "--quiet")
        assert ended.code == 0
        assert json.loads(ended.said)["metadata"] is None

    def test_nor_when_workers_write_to_s3(self, site: Site) -> None:
        Path("data_cache").write_text("a file where the folder should be")
        ended = site.publish("straight", "set")
        assert ended.code == 0
        assert "Warning: the set is published, but no record of it was written" in ended.said
        assert "DATA PREPARATION COMPLETE" in ended.said
        assert site.seen("set") == "complete"

    def test_nor_after_preparing(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pipeline.dataset.upload.write_metadata", full)
        words = ("--dataset", str(SAMPLE), "--output", "new/set", "--s3-bucket", site.bucket)
        ended = site.run(*words)
        assert ended.code == 0
        assert "Warning: the set is published, but no record of it was written" in ended.said
        (key,) = (k for k in site.server.keys(site.bucket) if k.endswith("/dataset_dict.json"))
        assert site.seen(key.removesuffix("/dataset_dict.json")) == "complete"

    def test_nor_by_the_api(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", site.proxy.endpoint)
        monkeypatch.setattr("pipeline.dataset.upload.write_metadata", full)
        processor = DatasetProcessor("some/set", site.bucket, "cache")
        uri = processor.upload_to_s3(site.local)
        assert site.seen(uri.removeprefix(f"s3://{site.bucket}/")) == "complete"
        assert "Warning: the set is published, but no record" in capsys.readouterr().out

    @pytest.mark.parametrize("way", ONE_WAY)
    @pytest.mark.parametrize(("status", "code"), [(500, "InternalError"), (403, "AccessDenied")])
    def test_the_search_for_uploads_that_broke_off_fails(
        self, site: Site, way: str, status: int, code: str
    ) -> None:
        given = site.answer("ListMultipartUploads", status, code)
        ended = site.publish(way, "set")
        assert given
        assert ended.code == 0, ended.said
        assert f"Warning: uploads that broke off may be left at {site.uri('set')}" in ended.said
        assert site.seen("set") == "complete"

    @pytest.mark.parametrize("way", WAYS)
    def test_the_claim_cannot_be_given_back(self, site: Site, way: str) -> None:
        site.before(
            "PutObject",
            "dataset_dict.json",
            lambda: site.answer("PutObject", 500, "InternalError", key="_RUN.json"),
        )
        ended = site.publish(way, "set")
        assert ended.code == 0, ended.said
        assert site.seen("set") == "complete"
        claim = Bucket(site.bucket, site.options).get("set/_RUN.json")
        assert claim
        assert json.loads(claim[0])["state"] == "writing"
        assert site.again(way, "set").code == 0
