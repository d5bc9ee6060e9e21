"""How far a set is, and whose the place of a submitted one is: in a folder and on S3."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from made_sets import CONTENTS, make_set, use_server
from s3_runs import SMALL
from s3_servers import S3Server

import pipeline.launch.job
from pipeline.cli.main import main
from pipeline.dataset import catalog
from pipeline.dataset.status import Status, look
from transforms.errors import BadInput, OutputTaken, UsageError
from transforms.records import Shard
from transforms.storage.local import LocalStore
from transforms.storage.s3 import lease as s3_claim
from transforms.storage.s3.store import S3Store
from transforms.storage.s3.uri import S3Options, S3Uri, is_s3
from transforms.storage.store import SPLITS_RECORD, DatasetStore, write_records

PLAN = CONTENTS.plan_digest
JOB = "Flink's job mine, see http://flink:8081/#/job/running/b2/overview"
KEYS = {"address", "state", "units", "finished", "rows", "started", "job", "counts"}

# A run that dies in the middle.
DIE = """
import os, sys
from transforms.storage.local import LocalStore
with LocalStore(sys.argv[1]).claimed("plan", units=3):
    os._exit(9)
"""


@pytest.fixture(params=["local", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place where nothing is yet."""
    monkeypatch.chdir(tmp_path)
    if request.param == "local":
        return str(tmp_path / "sets" / "one")
    use_server(monkeypatch, request.getfixturevalue("s3_server"))
    return f"s3://{request.getfixturevalue('bucket')}/sets/one"


@pytest.fixture
def folder(address: str) -> DatasetStore:
    return folder_at(address)


def folder_at(address: str) -> DatasetStore:
    """As another process has it, which has seen nothing yet."""
    return S3Store(S3Uri.parse(address)) if is_s3(address) else LocalStore(address)


def status(address: str) -> Status:
    return look(address, S3Options())


def finish_unit(folder: DatasetStore, unit: int, rows: int) -> None:
    """Records a unit as Write does."""
    train = Shard(unit, "train", f"train/{unit}", rows, rows, 1, "")
    write_records(folder, unit, SPLITS_RECORD, [train, replace(train, split="validation", rows=0)])


class TestStates:
    def test_nothing_is_there(self, address: str) -> None:
        with pytest.raises(UsageError, match="holds no data set, and none was begun") as caught:
            status(address)
        assert address in str(caught.value)

    def test_something_else_is_there(self, address: str, folder: DatasetStore) -> None:
        if is_s3(address):
            folder.put("notes.txt", b"mine")
        else:
            Path(address).mkdir(parents=True)
            (Path(address) / "notes.txt").write_bytes(b"mine")
        with pytest.raises(UsageError, match="holds no data set"):
            status(address)

    def test_a_set_that_is_made(self, address: str, folder: DatasetStore) -> None:
        with folder.claimed(PLAN, units=3):
            found = status(address)
            assert (found.state, found.units, found.finished, found.rows) == ("writing", 3, 0, 0)
            finish_unit(folder, 0, 50)
            finish_unit(folder, 2, 7000)
            found = status(address)
            assert (found.finished, found.rows) == (2, 7050)
            begun = found.started
            assert begun
            assert found.describe() == (f"🔄 Being made: 2 of 3 units, 7,050 rows, begun {begun}")
            assert found.job is found.counts is None

    def test_a_run_that_says_not_how_many_units(self, address: str, folder: DatasetStore) -> None:
        with folder.claimed(PLAN):
            assert "0 of ? units" in status(address).describe()

    def test_a_run_that_was_stopped(self, address: str, folder: DatasetStore) -> None:
        with pytest.raises(KeyboardInterrupt), folder.claimed(PLAN, units=3):
            finish_unit(folder, 1, 50)
            raise KeyboardInterrupt
        found = status(address)
        assert (found.state, found.finished, found.units) == ("stopped", 1, 3)
        assert found.describe().startswith("Stopped: 1 of 3 units, 50 rows, begun 2")
        assert f"--resume {address}" in found.describe()

    def test_a_run_that_died(
        self, address: str, folder: DatasetStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if is_s3(address):
            with folder.claimed(PLAN, units=3):
                # Below zero: the store tells whole seconds.
                monkeypatch.setattr(s3_claim, "LEASE_SECONDS", -10.0)
                assert status(address).state == "stopped"
        else:
            done = subprocess.run([sys.executable, "-c", DIE, address], timeout=60, check=False)
            assert done.returncode == 9
            assert status(address).state == "stopped"

    def test_a_submitted_one(self, address: str, folder: DatasetStore) -> None:
        with folder.claimed(PLAN, units=3) as hold:
            hold.hand_over(JOB)
        finish_unit(folder, 0, 50)  # the job goes on
        found = status(address)
        assert (found.state, found.finished, found.units) == ("submitted", 1, 3)
        assert found.job == JOB
        said = found.describe()
        assert said.startswith("🔄 Submitted: 1 of 3 units, 50 rows, begun 2")
        assert JOB in said
        assert f"--resume {address}" in said

    def test_a_complete_one(self, address: str, folder: DatasetStore) -> None:
        make_set(folder)
        found = status(address)
        assert (found.state, found.units, found.finished, found.rows) == ("complete", 2, 2, 7402)
        assert found.describe() == (
            f"✓ Complete: 5,000 training and 2,400 validation examples at {address}"
        )

    def test_a_set_that_is_being_replaced(self, tmp_path: Path) -> None:
        folder = LocalStore(str(tmp_path / "out"))
        make_set(folder)
        with folder.claimed("another plan", units=3):
            assert status(folder.path).state == "writing"
        assert status(folder.path).state == "complete"

    def test_a_link_to_a_folder_that_is_made(self, tmp_path: Path) -> None:
        """A set is written where a link points."""
        folder = LocalStore(str(tmp_path / "disk" / "out"))
        (tmp_path / "link").symlink_to(folder.path)
        with folder.claimed(PLAN, units=3):
            assert status(str(tmp_path / "link")).state == "writing"
        make_set(folder)
        assert status(str(tmp_path / "link")).state == "complete"

    def test_to_look_changes_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError):
            status(str(tmp_path / "sets" / "one"))
        assert list(tmp_path.iterdir()) == []


class TestCommand:
    def run(self, *words: str, environment: dict[str, str] | None = None) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "pipeline", "status", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,  # its code is asked for
        )

    def test_tells_of_a_folder(self, tmp_path: Path) -> None:
        folder = LocalStore(str(tmp_path / "out"))
        make_set(folder)
        done = self.run(folder.path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == status(folder.path).describe() + "\n"

    def test_tells_of_s3_as_json(
        self, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use_server(monkeypatch, s3_server)
        folder = S3Store(S3Uri(bucket, "sets/one"))
        with folder.claimed(PLAN, units=3) as hold:
            hold.hand_over(JOB)
        done = self.run(folder.path, "--json", environment=s3_server.environment())
        assert done.returncode == 0
        told = json.loads(done.stdout)
        assert set(told) == KEYS
        assert (told["state"], told["units"], told["job"]) == ("submitted", 3, JOB)
        assert "🔄 Submitted" in done.stderr

    def test_of_nothing_is_an_error(self, tmp_path: Path) -> None:
        done = self.run(str(tmp_path / "out"), "--json")
        assert done.returncode == 2
        assert json.loads(done.stdout)["error"]["exit_code"] == 2
        assert "holds no data set" in done.stderr

    def test_json_has_the_same_keys_always(
        self, address: str, folder: DatasetStore, capsys: pytest.CaptureFixture[str]
    ) -> None:
        make_set(folder)
        assert main(["status", address, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert set(told) == KEYS
        assert told["counts"]["train"] == 5000


class TestSubmitted:
    """A place whose job goes on without a command: a pipeline that the test runs itself."""

    @pytest.fixture
    def jobs(self, monkeypatch: pytest.MonkeyPatch) -> list[beam.Pipeline]:
        jobs: list[beam.Pipeline] = []

        def take(pipeline: beam.Pipeline, seconds: float) -> str:
            jobs.append(pipeline)
            return JOB

        monkeypatch.setattr(pipeline.launch.job, "hand_over", take)
        monkeypatch.setattr(pipeline.launch.job, "check_detachable", lambda *_: None)
        return jobs

    @pytest.fixture
    def words(self, two_units: Path) -> list[str]:
        return ["--dataset", str(two_units), "--skip-upload", *SMALL]

    @pytest.fixture
    def submitted(self, address: str, words: list[str], jobs: list[beam.Pipeline]) -> str:
        assert main(["submit", "--detach", *words, "--output", address]) == 0
        assert status(address).state == "submitted"
        return address

    @pytest.fixture
    def refused(self, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
        def refused(*words: str) -> str:
            capsys.readouterr()
            assert main(words) == 6
            return capsys.readouterr().err

        return refused

    def test_the_job_alone_completes_it(
        self, submitted: str, words: list[str], jobs: list[beam.Pipeline], tmp_path: Path
    ) -> None:
        jobs[0].run()
        found = status(submitted)
        assert (found.state, found.units, found.rows) == ("complete", 2, 1200)
        assert len(jobs) == 1

    def test_another_run_is_refused(
        self, submitted: str, words: list[str], refused: Callable[..., str]
    ) -> None:
        finish_unit(folder_at(submitted), 0, 50)
        for verb in ((), ("submit", "--detach")):
            said = refused(*verb, *words, "--output", submitted)
            assert f"a submitted job writes {submitted} (started 2" in said
            assert f"{JOB}; `status` shows its progress" in said
            assert f"--resume {submitted}" in said
        assert status(submitted).state == "submitted"

    def test_one_of_another_plan_is_refused_too(
        self, submitted: str, words: list[str], refused: Callable[..., str]
    ) -> None:
        refused(*words, "--output", submitted, "--seed", "7")
        refused(*words, "--resume", submitted, "--seed", "7")
        assert status(submitted).state == "submitted"

    def test_one_that_resumes_takes_it_over(
        self, submitted: str, words: list[str], jobs: list[beam.Pipeline]
    ) -> None:
        folder = folder_at(submitted)
        with folder.claimed(self.plan(submitted), resume=True, units=2):
            assert status(submitted).state == "writing"
        assert main([*words, "--resume", submitted]) == 0
        assert status(submitted).state == "complete"

    def plan(self, address: str) -> str:
        claim = folder_at(address).claim()
        assert claim
        return claim.plan_digest

    def test_it_is_free_again_when_the_job_is_done(
        self,
        submitted: str,
        words: list[str],
        jobs: list[beam.Pipeline],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        jobs[0].run()
        loud = [word for word in words if word != "--quiet"]
        for verb in ((), ("submit", "--detach")):
            assert main([*verb, *loud, "--output", submitted]) == 0
            assert "Already complete" in capsys.readouterr().out
        assert status(submitted).state == "complete"
        assert len(jobs) == 1

    def test_a_job_may_be_done_before_the_command_is(
        self, address: str, words: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def take(job: beam.Pipeline, seconds: float) -> str:
            job.run()
            return JOB

        monkeypatch.setattr(pipeline.launch.job, "hand_over", take)
        monkeypatch.setattr(pipeline.launch.job, "check_detachable", lambda *_: None)
        assert main(["submit", "--detach", *words, "--output", address]) == 0
        assert status(address).state == "complete"
        assert main([*words, "--output", address]) == 0

    def test_a_job_that_fails_at_once_leaves_the_place_free(
        self, address: str, words: list[str], jobs: list[beam.Pipeline], monkeypatch: Any
    ) -> None:
        def fail(job: beam.Pipeline, seconds: float) -> str:
            raise BadInput("broken")

        with monkeypatch.context() as patch:
            patch.setattr(pipeline.launch.job, "hand_over", fail)
            assert main(["submit", "--detach", *words, "--output", address]) == 3
        assert main([*words, "--output", address]) == 0


class TestWhatAJobLeaves:
    """The commit of a job may die, or be late, when the set is in place: nobody tidies up then."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> LocalStore:
        folder = LocalStore(str(tmp_path / "out"))
        with folder.claimed(PLAN, units=2) as hold:
            hold.hand_over(JOB)
        shutil.copytree(folder.work, tmp_path / "left")
        shutil.rmtree(folder.work)
        shutil.rmtree(folder.staging)
        make_set(folder)
        (tmp_path / "left").rename(folder.work)
        return folder

    def test_the_set_is_complete_and_its_place_free(self, folder: LocalStore) -> None:
        assert status(folder.path).state == "complete"
        with folder.claimed(PLAN):
            assert folder.manifest()
        assert status(folder.path).state == "complete"
        assert not folder.work.exists()

    def test_another_plan_s_job_still_holds_it(self, folder: LocalStore) -> None:
        manifest = Path(folder.path) / "manifest.json"
        manifest.write_text(manifest.read_text().replace(PLAN, "another"))
        assert status(folder.path).state == "submitted"
        with pytest.raises(OutputTaken, match="submitted"), folder.claimed("another"):
            pytest.fail("two writers at one place")


def test_the_list_tells_of_a_job(
    s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_server(monkeypatch, s3_server)
    with S3Store(S3Uri(bucket, "sets/one")).claimed(PLAN, units=3) as hold:
        hold.hand_over(JOB)
    monkeypatch.setattr(s3_claim, "LEASE_SECONDS", -10.0)  # no launcher renews it
    (one,) = catalog.list_sets(f"s3://{bucket}/sets/")
    assert (one.complete, one.note) == (False, "being written by a job")
