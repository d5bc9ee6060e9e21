"""A run that ends at any moment: a reader sees nothing or the whole set, and the next run ends it.

The runs that crash do so by `os._exit` right before one of their writes is sent, each one in turn.
"""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from counted_writes import CRASHED
from datasets import load_from_disk
from ended import Ended
from made_sets import use_server
from s3_runs import (
    SMALL,
    Commands,
    stop_in_the_middle,
    stored,
    without_run,
    write_rows,
)
from s3_servers import S3Server

from pipeline.cli.main import main
from pipeline.dataset.verify import verify
from transforms.errors import OutputTaken
from transforms.storage.s3 import lease as s3_claim
from transforms.storage.s3.store import S3Store
from transforms.storage.s3.uri import S3Uri


@pytest.fixture
def aws(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> dict[str, dict[str, str]]:
    """Makes this process the root of the server, in a folder of its own; options for `datasets`."""
    use_server(monkeypatch, s3_server)
    monkeypatch.chdir(tmp_path)
    return {"storage_options": {"endpoint_url": s3_server.endpoint}}


def straight(rows: Path, uri: str, flag: str = "--output") -> list[str]:
    return ["--dataset", str(rows), flag, uri, *SMALL]


class Crashes:
    """The same command, crashed before some of its writes; the one numbered 0 ran to its end.

    These are ``every`` write, or the first of each kind and the last of all.
    """

    def __init__(
        self, server: S3Server, forks: Commands, bucket: str, words: list[str], every: bool
    ) -> None:
        self._server, self._forks, self._bucket, self._words = server, forks, bucket, words
        (whole,) = self._run(words, [0])
        assert whole.code == 0, whole.said
        self.writes = whole.writes
        numbers = range(1, len(whole.writes) + 1)
        kinds = [kind(write) for write in whole.writes]
        first = {kinds.index(one) + 1 for one in kinds}
        self.all = numbers if every else sorted(first | {len(kinds)})
        self.expected = stored(server, self.uri(0))
        crashed = self._run(words, list(self.all), crash=True)
        assert {one.code for one in crashed} == {CRASHED}, [one.said for one in crashed]

    def uri(self, number: int) -> str:
        return f"s3://{self._bucket}/datasets/run-{number}"

    def _run(self, words: list[str], numbers: list[int], crash: bool = False) -> list[Ended]:
        commands = [[word.replace("URI", self.uri(n)) for word in words] for n in numbers]
        return self._forks.run(self._server, commands, numbers if crash else None)

    def visible(self) -> list[str]:
        """What a reader finds after each crash."""
        found = []
        for number in self.all:
            files = stored(self._server, self.uri(number))
            if "dataset_dict.json" not in files:
                found.append("absent")
            else:
                same = without_run(files) == without_run(self.expected)
                found.append("complete" if same else "broken")
        return found

    def go_on(self, words: list[str]) -> None:
        """Resumes each; all end well, with the bytes of the run that was not disturbed."""
        for number, ended in zip(self.all, self._run(words, list(self.all)), strict=True):
            assert ended.code == 0, (number, ended.said)
            found = stored(self._server, self.uri(number))
            assert without_run(found) == without_run(self.expected), number


def kind(write: str) -> str:
    """What a write is: files of a set that are sent by the same code are of one kind."""
    method, _, path = write.partition(" ")
    place, _, query = path.partition("?")
    name = re.sub(r"^(data-)?[0-9]{5}(-[0-9a-f]{8})?", "", place.rsplit("/", 1)[1])
    if name in ("state.json", "dataset_info.json", "README.md", "report.html"):
        name = "file of the set"
    return f"{method} {name} {query.partition('=')[0]}"


EVERY = pytest.mark.parametrize(
    "every", [False, pytest.param(True, marks=pytest.mark.nightly)], ids=["kind", "every"]
)


def readers_way(uri: str, aws: dict[str, Any]) -> int | None:
    """The rows that a trainer would get; None where the set does not load."""
    try:
        loaded = load_from_disk(uri, **aws)
    except FileNotFoundError:
        return None
    return len(loaded["train"]) + len(loaded["validation"])


@EVERY
def test_a_straight_run_may_crash_before_any_write(
    s3_server: S3Server,
    forks: Commands,
    bucket: str,
    two_units: Path,
    aws: dict[str, Any],
    every: bool,
) -> None:
    runs = Crashes(s3_server, forks, bucket, straight(two_units, "URI"), every)
    # Claim, shards in parts, records, rejects, JSON files, card, manifest, last file, claim.
    assert len(runs.all) >= (20 if every else 13)
    assert runs.visible() == ["absent"] * (len(runs.all) - 1) + ["complete"]
    assert readers_way(runs.uri(runs.all[-2]), aws) is None
    assert readers_way(runs.uri(runs.all[-1]), aws) == 1199
    assert s3_server.pending_uploads(bucket)  # else the last line would prove nothing
    runs.go_on(straight(two_units, "URI", "--resume"))
    assert s3_server.pending_uploads(bucket) == []


@EVERY
def test_an_upload_may_crash_before_any_write(
    s3_server: S3Server,
    forks: Commands,
    bucket: str,
    two_units: Path,
    aws: dict[str, Any],
    tmp_path: Path,
    every: bool,
) -> None:
    local = str(tmp_path / "set")
    assert main(["--dataset", str(two_units), "--output", local, "--skip-upload", *SMALL]) == 0
    runs = Crashes(s3_server, forks, bucket, ["upload", local, "URI", "--quiet"], every)
    assert len(runs.all) >= (15 if every else 9)
    assert runs.visible() == ["absent"] * (len(runs.all) - 1) + ["complete"]
    assert readers_way(runs.uri(runs.all[-2]), aws) is None
    assert readers_way(runs.uri(runs.all[-1]), aws) == 1199
    assert s3_server.pending_uploads(bucket)
    runs.go_on(["upload", local, "URI", "--quiet", "--resume"])
    assert s3_server.pending_uploads(bucket) == []
    files = {
        str(path.relative_to(local)): path.read_bytes()
        for path in Path(local).rglob("*")
        if path.is_file()
    }
    assert runs.expected == files


def test_what_two_crashes_left_pending_is_ended_by_the_run_that_finds_the_set_complete(
    s3_server: S3Server, forks: Commands, bucket: str, two_units: Path
) -> None:
    uri = f"s3://{bucket}/sets/one"
    again = [straight(two_units, uri, "--resume")]
    (first,) = forks.run(s3_server, [straight(two_units, uri)], ["POST .*uploadId="])
    (second,) = forks.run(s3_server, again, ["DELETE"])
    assert (first.code, second.code) == (CRASHED, CRASHED)
    assert "sets/one/dataset_dict.json" in s3_server.keys(bucket)
    assert len(s3_server.pending_uploads(bucket)) == 1

    (ended,) = forks.run(s3_server, again)
    assert ended.code == 0
    swept = [write for write in ended.writes if "/_RUN.json" not in write]
    assert len(swept) == 1
    assert swept[0].startswith("DELETE")
    assert s3_server.pending_uploads(bucket) == []


class TestStopped:
    """A command in Beam's usual mode gets a signal when some of its units are finished."""

    ROWS = 4800

    @pytest.fixture(scope="class")
    def many_rows(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return write_rows(tmp_path_factory.mktemp("many") / "rows.jsonl", self.ROWS)

    def stop(
        self, number: signal.Signals, server: S3Server, uri: str, rows: Path, folder: Path
    ) -> tuple[int, str]:
        (folder / "tmp").mkdir()
        words = ["--dataset", str(rows), "--output", uri, "--shard-size", "1MiB", "--quiet"]
        environment = server.environment() | {"TMPDIR": str(folder / "tmp")}
        return stop_in_the_middle(words, number, environment, folder)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_by_a_request_it_leaves_the_place_free_for_the_next_run(
        self,
        number: signal.Signals,
        s3_server: S3Server,
        bucket: str,
        many_rows: Path,
        aws: dict[str, Any],
        tmp_path: Path,
    ) -> None:
        uri = f"s3://{bucket}/sets/one"
        code, said = self.stop(number, s3_server, uri, many_rows, tmp_path)
        assert code == 128 + number
        assert said.strip().startswith("stopped: nothing was published; run again to start over")
        assert readers_way(uri, aws) is None
        claim = json.loads((s3_server.data / bucket / "sets/one/_RUN.json").read_bytes())
        assert claim["state"] == "released"
        assert list((tmp_path / "tmp").glob("reasonforge-*")) == []
        assert main(straight(many_rows, uri)) == 0
        assert verify(uri).counts.read == self.ROWS

    def test_by_a_kill_it_needs_resume_or_patience(
        self,
        s3_server: S3Server,
        bucket: str,
        many_rows: Path,
        aws: dict[str, Any],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        uri = f"s3://{bucket}/sets/one"
        code, said = self.stop(signal.SIGKILL, s3_server, uri, many_rows, tmp_path)
        assert (code, said) == (-signal.SIGKILL, "")
        assert readers_way(uri, aws) is None
        assert main(straight(many_rows, uri)) == 6
        said = capsys.readouterr().err
        assert "another run of this very plan writes" in said
        assert f"--resume {uri}" in said
        words = [word for word in straight(many_rows, uri, "--resume") if word != "--quiet"]
        assert main(words) == 0
        assert "✓ Resumed: " in capsys.readouterr().out
        assert verify(uri).counts.read == self.ROWS


class TestLease:
    def test_a_dead_run_s_place_is_free_when_its_lease_has_ended(
        self,
        s3_server: S3Server,
        forks: Commands,
        bucket: str,
        two_units: Path,
        aws: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        uri = f"s3://{bucket}/sets/one"
        (crashed,) = forks.run(s3_server, [straight(two_units, uri)], [9])
        assert crashed.code == CRASHED
        assert main(straight(two_units, uri)) == 6
        # The store tells times in whole seconds, each rounded on its own.
        monkeypatch.setattr(s3_claim, "LEASE_SECONDS", -2.0)
        assert main([*straight(two_units, uri), "--seed", "7"]) == 6
        assert main(straight(two_units, uri)) == 0
        assert readers_way(uri, aws) == 1199

    def test_a_run_that_lives_renews_it(
        self, s3_server: S3Server, bucket: str, aws: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(s3_claim, "RENEW_SECONDS", 0.02)
        claim = s3_server.data / bucket / "sets/one/_RUN.json"
        deadline = time.monotonic() + 30
        with S3Store(S3Uri(bucket, "sets/one")).claimed("plan"):
            first = claim.stat().st_mtime_ns
            while claim.stat().st_mtime_ns == first:
                assert time.monotonic() < deadline

    def test_a_run_that_lost_it_leaves_the_new_owner_s_claim_alone(
        self, s3_server: S3Server, bucket: str, aws: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(s3_claim, "RENEW_SECONDS", 0.02)
        folder = S3Store(S3Uri(bucket, "sets/one"))
        with folder.claimed("plan"):
            with folder.claimed("plan", resume=True):
                with pytest.raises(OutputTaken), folder.claimed("plan"):
                    pass
                with pytest.raises(OutputTaken), folder.claimed("another", resume=True):
                    pass
                own = folder.bucket.get("sets/one/_RUN.json")
            ended = folder.bucket.get("sets/one/_RUN.json")
        last = folder.bucket.get("sets/one/_RUN.json")
        assert own
        assert ended
        assert last
        assert json.loads(own[0])["run"] == json.loads(ended[0])["run"]
        assert json.loads(ended[0])["state"] == "complete"
        assert last[0] == ended[0]
