"""No secret is anywhere but in the environment: not in what is pickled, published, printed, logged.

Each secret is a canary, a text that is nowhere else, and everything is searched for it. That the
search would find one is shown by the endpoint's address, which may be anywhere.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import apache_beam as beam
import pytest
from apache_beam.transforms.display import DisplayData
from hub import Hub, hub_environment
from means import REPOSITORY
from s3_faults import (  # noqa: F401 - pytest finds the fixtures
    SAMPLE,
    WAYS,
    Site,
    pauses_fixture,
    site_fixture,
    use_account,
)

from pipeline.launch import graph_inputs
from pipeline.launch.job import prepare
from pipeline.request import Request
from transforms.errors import DataPrepError
from transforms.storage.s3.bucket import Bucket

OURS = ("s3:PutObject", "s3:GetObject", "s3:ListBucket")
SECRETS = ("HF_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
LIBRARIES = ("botocore", "boto3", "urllib3", "s3transfer")  # whose logs are the user's own affair


class Canaries(dict[str, str]):
    """Variable -> its secret value."""

    def found(self, *texts: str | bytes) -> list[str]:
        """The variables whose value is in any of these."""
        raw = [text.encode() if isinstance(text, str) else text for text in texts]
        assert all(raw), "an empty text proves nothing"
        return [name for name, value in self.items() if any(value.encode() in one for one in raw)]

    def found_in(self, *folders: Path) -> list[str]:
        """The variables whose value is in any name or file below these folders."""
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        assert files
        return self.found(*map(str, files), *(b"-" + path.read_bytes() for path in files))


@pytest.fixture
def canaries(site: Site, monkeypatch: pytest.MonkeyPatch) -> Canaries:
    """This process is a user's whose secrets are canaries; they work."""
    mark = uuid4().hex
    access, secret, token = f"CANARYID{mark}", f"canary-secret-{mark}", f"hf_canary{mark}"
    site.server.make_user(access, secret)
    site.server.set_policy(site.bucket, access, *OURS)
    use_account(monkeypatch, site.server, access, secret)
    monkeypatch.setenv("HF_TOKEN", token)
    return Canaries(zip(SECRETS, (token, access, secret), strict=True))


@pytest.fixture
def pickles(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """All that Beam pickles from now on, before it packs it."""
    seen: list[bytes] = []
    for pickler in ("cloudpickle_pickler", "dill_pickler"):
        with contextlib.suppress(ImportError):  # dill is not always there
            module = __import__(f"apache_beam.internal.{pickler}", fromlist=["zlib"])
            for packer in ("zlib", "bz2"):
                real = getattr(module, packer)

                def compress(data: bytes, *a: Any, real: Any = real, **k: Any) -> bytes:
                    seen.append(data)
                    return bytes(real.compress(data, *a, **k))

                spy = SimpleNamespace(**{**vars(real), "compress": compress})
                monkeypatch.setattr(module, packer, spy)
    return seen


@pytest.fixture
def pipelines(monkeypatch: pytest.MonkeyPatch) -> list[beam.Pipeline]:
    """Every pipeline that is made from now on."""
    made: list[beam.Pipeline] = []
    real = graph_inputs.assemble

    def assemble(pipeline: beam.Pipeline, *args: Any, **options: Any) -> None:
        made.append(pipeline)
        real(pipeline, *args, **options)

    monkeypatch.setattr(graph_inputs, "assemble", assemble)
    return made


class Listener(logging.Handler):
    """Keeps the text of every record, with its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: dict[str, list[str]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.setdefault(record.name.partition(".")[0], []).append(self.format(record))

    def ours(self) -> Iterable[str]:
        return [t for name, texts in self.texts.items() if name not in LIBRARIES for t in texts]


@pytest.fixture
def logs() -> Iterator[Listener]:
    """What is logged anywhere from now on, down to DEBUG."""
    listener, root = Listener(), logging.getLogger()
    level = root.level
    root.addHandler(listener)
    root.setLevel(logging.DEBUG)
    yield listener
    root.setLevel(level)
    root.removeHandler(listener)


class TestTheJob:
    def test_what_beam_sends_to_workers_and_shows(
        self,
        site: Site,
        canaries: Canaries,
        pickles: list[bytes],
        pipelines: list[beam.Pipeline],
        logs: Listener,
    ) -> None:
        prepare(Request(dataset=str(SAMPLE), output=site.uri("set"), s3=site.options))
        assert site.seen("set") == "complete"
        (pipeline,) = pipelines
        proto = pipeline.to_runner_api().SerializeToString()
        shown = json.dumps(DisplayData.create_from(pipeline.options).items, default=vars)
        options = json.dumps(pipeline.options.get_all_options(), default=str)
        where = site.endpoint.encode()
        assert [one for one in pickles if where in one], "the S3 options are not pickled as thought"
        assert b"WriteRejects" in proto
        assert "direct_num_workers" in options
        assert "experiments" in shown
        assert canaries.found(*pickles, proto, options, shown) == []
        assert logs.ours()
        assert canaries.found(*logs.ours()) == []

    def test_folders_and_buckets_after_use(self, site: Site, canaries: Canaries) -> None:
        folder, bucket = site.folder("set"), Bucket(site.bucket, site.options)
        assert folder.manifest() is None
        assert bucket.get("set") is None
        for one in (folder, bucket, site.options):
            pickled = pickle.dumps(one)
            assert site.endpoint.encode() in pickled
            assert canaries.found(pickled, repr(one)) == []
            assert pickle.loads(pickled) == one

    def test_the_plan(self, site: Site, canaries: Canaries) -> None:
        for more in ((), ("--json",)):
            ended = site.run("plan", "--dataset", str(SAMPLE), "--output", site.uri("set"), *more)
            assert ended.code == 0
            assert "digest" in ended.said.lower()
            assert canaries.found(ended.said) == []


@pytest.mark.parametrize("more", [(), ("--json",)])
class TestWhatIsPublishedAndPrinted:
    @pytest.mark.parametrize("way", WAYS)
    def test_by_a_run(
        self,
        site: Site,
        canaries: Canaries,
        logs: Listener,
        way: str,
        more: tuple[str, ...],
        tmp_path: Path,
    ) -> None:
        logging.getLogger().setLevel(logging.WARNING)  # else the command would have to lower it
        ended = site.publish(way, "set", *more)
        assert ended.code == 0
        said = [ended.said]
        for words in (
            ("verify", site.uri("set")),
            ("list", site.uri("")),
            ("download", site.uri("set"), "copy"),
        ):
            ended = site.run(*words, *more)
            assert ended.code == 0, ended.said
            said.append(ended.said)
        assert canaries.found(*said) == []
        root = site.server.data / site.bucket
        assert {"_RUN.json", "manifest.json", "README.md"} <= {p.name for p in root.rglob("*")}
        assert list(tmp_path.rglob("upload_metadata_*.json"))
        assert canaries.found_in(root, tmp_path) == []
        assert logs.texts == {}  # not even botocore's

    def test_by_preparing_and_sending(
        self, site: Site, canaries: Canaries, more: tuple[str, ...], tmp_path: Path
    ) -> None:
        words = ("--dataset", str(SAMPLE), "--output", "new/set", "--s3-bucket", site.bucket)
        ended = site.run(*words, *more)
        assert ended.code == 0
        assert canaries.found(ended.said) == []
        assert list(tmp_path.rglob("new/upload_metadata_*.json"))
        assert canaries.found_in(site.server.data / site.bucket, tmp_path) == []


def refuse(site: Site, status: int, code: str) -> None:
    """As S3 does, whose replies repeat the key id and the token."""
    repeated = {"AWSAccessKeyId": "AWS_ACCESS_KEY_ID", "Token-0": "AWS_SESSION_TOKEN"}
    more = "".join(f"<{name}>{os.environ[value]}</{name}>" for name, value in repeated.items())
    site.answer("", status, code, more=more)


FAULTS: dict[str, Callable[[Site], object]] = {
    "wrong signature": lambda site: refuse(site, 403, "SignatureDoesNotMatch"),
    "unknown key": lambda site: refuse(site, 403, "InvalidAccessKeyId"),
    "wrong token": lambda site: refuse(site, 400, "InvalidToken"),
    "expired": lambda site: refuse(site, 400, "ExpiredToken"),
    "denied": lambda site: refuse(site, 403, "AccessDenied"),
    "busy": lambda site: refuse(site, 503, "SlowDown"),
    "strange": lambda site: refuse(site, 400, "NeverHeardOf"),
    "server's own": lambda site: None,  # it has no such token
    "down": lambda site: site.proxy.enable(False),
    "cut": lambda site: site.proxy.add("limit_data", bytes=10),
}


class TestErrors:
    @pytest.mark.parametrize(
        ("fault", "when"),
        [
            *((fault, "at once") for fault in FAULTS),
            *((fault, "in a worker") for fault in FAULTS if fault != "server's own"),
        ],
    )
    def test_tell_no_secret(
        self,
        site: Site,
        canaries: Canaries,
        logs: Listener,
        fault: str,
        when: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        canaries["AWS_SESSION_TOKEN"] = f"canary-token-{uuid4().hex}"
        monkeypatch.setenv("AWS_SESSION_TOKEN", canaries["AWS_SESSION_TOKEN"])
        if when == "at once":
            FAULTS[fault](site)
        else:
            # The server would refuse the token: it is put in the way of a request only.
            monkeypatch.delenv("AWS_SESSION_TOKEN")

            def begin() -> None:
                monkeypatch.setenv("AWS_SESSION_TOKEN", canaries["AWS_SESSION_TOKEN"])
                FAULTS[fault](site)

            site.before("PutObject", ".arrow", begin)
        for more in ((), ("--json",)):
            ended = site.publish("straight", "set", *more)
            assert ended.code in (2, 4, 5, 6), ended.said
            assert canaries.found(ended.said) == []
        with pytest.raises(DataPrepError) as caught:
            prepare(Request(dataset=str(SAMPLE), output=site.uri("set"), s3=site.options))
        chain = "".join(traceback.format_exception(caught.value))
        assert "s3://" in chain
        assert canaries.found(chain, repr(caught.value)) == []
        assert canaries.found("-", *logs.ours()) == []

    def test_tell_no_secret_of_an_upload(self, site: Site, canaries: Canaries) -> None:
        refuse_key = "manifest.json"
        given = site.answer("PutObject", 403, "AccessDenied", key=refuse_key)
        words = ("--dataset", str(SAMPLE), "--output", "new/set", "--s3-bucket", site.bucket)
        ended = site.run(*words)
        assert given
        assert ended.code == 4
        assert "send it later with: python -m pipeline upload" in ended.error
        assert canaries.found(ended.said) == []


class TestTheHubsToken:
    """In a process of its own, because the libraries read the hub's address when they begin."""

    @pytest.mark.parametrize("way", ["prepare and send", "straight"])
    def test_is_used_and_told_to_nobody(
        self, site: Site, canaries: Canaries, hub: Hub, way: str, tmp_path: Path
    ) -> None:
        hub.valid_tokens.add(canaries["HF_TOKEN"])
        hub.add("user/name", {"data.jsonl": SAMPLE.read_bytes()}, private=True)
        own = tmp_path / "own"
        own.mkdir()
        environment = site.server.environment(
            hub_environment(hub, tmp_path, canaries["HF_TOKEN"]),
            canaries["AWS_ACCESS_KEY_ID"],
            canaries["AWS_SECRET_ACCESS_KEY"],
        )
        output = {
            "straight": ("--output", site.uri("set"), "--direct_running_mode=multi_processing"),
            "prepare and send": ("--output", "cache/set", "--s3-bucket", site.bucket),
        }[way]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pipeline", "--dataset", "user/name", "--json"),
                *(*output, "--direct_num_workers=2"),
            ],
            cwd=own,
            env=environment | {"PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert any(request.had_token for request in hub.requests)
        assert canaries.found(done.stdout, done.stderr) == []
        assert canaries.found_in(site.server.data / site.bucket, own) == []


def test_the_search_finds_what_is_there(canaries: Canaries, tmp_path: Path) -> None:
    for name, value in canaries.items():
        assert canaries.found("nothing", f"in {value}.") == [name]
        (tmp_path / "file").write_text(value)
        assert canaries.found_in(tmp_path) == [name]
        (tmp_path / "file").unlink()
