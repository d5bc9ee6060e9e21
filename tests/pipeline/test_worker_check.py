"""The first look at the workers: what they are like, what they reach, and how that is told."""

from __future__ import annotations

import copy
import json
import platform
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.portable_runner import PortableRunner
from hypothesis import given
from hypothesis import strategies as st
from made_sets import use_server
from s3_servers import S3Server

from pipeline.launch import worker_agent, worker_check
from pipeline.launch.job_server import connected
from pipeline.launch.runners import options_for, runner_for
from pipeline.launch.worker_agent import DISTRIBUTION, facts, misfits, report
from pipeline.launch.worker_check import _AsSource, _explained, _wanted
from pipeline.planning.plan import Plan, make_plan
from pipeline.request import Request
from transforms.errors import AccessDenied, BadInput, DataPrepError, RunnerFailed, StorageError
from transforms.storage.local import LocalStore
from transforms.storage.s3.store import S3Store
from transforms.storage.s3.uri import S3Uri
from transforms.storage.store import DatasetStore

HOST = socket.gethostname()
GIB = 2**30


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "source" / "rows.jsonl"
    path.parent.mkdir()
    path.write_text('{"question": "Q?", "answer": "A."}\n' * 40)
    return path


@pytest.fixture(scope="module")
def wanted() -> dict[str, Any]:
    """What this machine wants of workers."""
    return _wanted(Request("x.jsonl", "out", skip_upload=True), LocalStore("/out"))


@pytest.fixture
def worker(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a worker that fits; a test changes them."""
    here = {name: wanted[name] for name in ("python", "versions", "code")}
    return copy.deepcopy({**here, "host": "worker-7", "free": 5 * GIB, "scratch": "/tmp"})


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[LocalStore]:
    """A place that this run holds."""
    folder = LocalStore(str(tmp_path / "out"))
    with folder.claimed("plan"):
        yield folder


class TestFacts:
    def test_are_those_of_this_process(self) -> None:
        found = facts(["pyarrow", "no-such-package"])
        assert found["host"] == HOST
        assert found["python"] == platform.python_version()
        assert found["versions"] == {
            "apache-beam": version("apache-beam"),
            "pyarrow": version("pyarrow"),
            "no-such-package": None,
            DISTRIBUTION: version(DISTRIBUTION),
        }
        assert len(found["code"]) == 64
        assert found["free"] > 0
        assert found["scratch"] == tempfile.gettempdir()
        json.dumps(found)

    def test_room_is_looked_for_where_shards_wait(self, tmp_path: Path) -> None:
        assert facts([], str(tmp_path))["scratch"] == str(tmp_path)
        # A folder that is not shared is told by what cannot be written there.
        assert facts([], str(tmp_path / "gone"))["scratch"] == tempfile.gettempdir()

    def test_shards_for_s3_wait_in_the_temporary_folder(self) -> None:
        request = Request("x.jsonl", "s3://bucket/prefix")
        assert _wanted(request, S3Store(S3Uri("bucket", "prefix")))["scratch"] is None
        local = LocalStore("/data/out")
        assert _wanted(request, local)["scratch"] == "/data/.out.work"

    def test_without_the_project_there_is_no_code(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(worker_agent, "PACKAGES", ("transforms", "no_such_package"))
        found = facts([])
        assert found["code"] is None
        assert found["versions"][DISTRIBUTION] is None  # what it has left of it is of no use


class TestMisfits:
    def test_this_machine_fits_itself(self, wanted: dict[str, Any]) -> None:
        assert misfits(facts(list(wanted["versions"])), {**wanted, "free": 1}) == []

    @pytest.mark.parametrize(
        ("where", "value", "found"),
        [
            (("python",), "3.9.1", ["python"]),
            (("python",), "{minor}.999", []),  # pickles and bytecode are those of a minor version
            (("versions", "apache-beam"), "2.78.0", ["apache-beam"]),
            (("versions", "apache-beam"), "2.77.0+gpu", []),
            (("versions", "pyarrow"), "14.0.1", ["pyarrow"]),
            (("versions", "pyarrow"), None, ["pyarrow"]),
            (("versions", "boto3"), "1.43.999", []),  # any that setup.py allows
            (("versions", DISTRIBUTION), "0.0.9", [DISTRIBUTION]),
            (("code",), "0" * 64, ["code"]),
            (("free",), 200 * 2**20, ["free"]),
        ],
    )
    def test_each_alone(
        self,
        worker: dict[str, Any],
        wanted: dict[str, Any],
        where: tuple[str, ...],
        value: Any,
        found: list[str],
    ) -> None:
        assert misfits(worker, wanted) == []
        *parents, last = where
        holder = worker[parents[0]] if parents else worker
        minor = ".".join(platform.python_version_tuple()[:2])
        holder[last] = value.format(minor=minor) if isinstance(value, str) else value
        assert misfits(worker, wanted) == found

    def test_several_are_all_named(self, worker: dict[str, Any], wanted: dict[str, Any]) -> None:
        worker.update(python="3.9.1", code=None, free=0)
        worker["versions"].update({DISTRIBUTION: None, "numpy": "1.26.4"})
        assert set(misfits(worker, wanted)) == {"python", "numpy", DISTRIBUTION, "free"}

    def test_a_larger_shard_wants_more_space(self, wanted: dict[str, Any]) -> None:
        large = _wanted(Request("x.jsonl", shard_size=GIB), LocalStore("/out"))
        assert large["free"] > 3 * GIB > wanted["free"]


def as_java_tells(text: str) -> str:
    return f"java.lang.RuntimeException: Error received from SDK harness: {text}\n\tat org.x.Y(Z)"


class TestReport:
    @given(
        st.dictionaries(st.text(), st.text() | st.integers() | st.none()),
        st.sampled_from([str, repr, json.dumps, as_java_tells, lambda t: json.dumps(repr(t))]),
        st.text(max_size=20),
    )
    def test_is_found_in_whatever_quotes_it(self, more: dict[str, Any], quote: Any, a: str) -> None:
        told = {name: value for name, value in more.items() if name != "found"}
        text = report({"host": "h"}, step="read\nthe 'source'", told=told)
        long = f"{a}\n{3000 * 'x'} RuntimeError: {text} [while running 'Examine']\n{a}"
        found = worker_check._REPORT.search(quote(quote(long)))
        assert found
        assert json.loads(bytes.fromhex(found[1])) == {
            "host": "h", "step": "read\nthe 'source'", "told": told
        }  # fmt: skip

    def test_a_part_of_one_is_none(self) -> None:
        text = report({"host": "h"})
        assert worker_check._REPORT.search(text)
        assert worker_check._REPORT.search(text[:-1]) is None


class TestExplained:
    def told(self, worker: dict[str, Any], wanted: dict[str, Any]) -> str:
        error = _explained({**worker, "misfits": misfits(worker, wanted)}, wanted)
        assert isinstance(error, RunnerFailed)
        assert "worker-7" in str(error)
        return str(error)

    def crosses(self, text: str) -> list[str]:
        lines = [line.split() for line in text.splitlines()]
        return [" ".join(words[1:]) for words in lines if words[0] == "✗"]

    def test_no_project(self, worker: dict[str, Any], wanted: dict[str, Any]) -> None:
        worker["code"] = worker["versions"][DISTRIBUTION] = None
        said = self.told(worker, wanted)
        here = version(DISTRIBUTION)
        assert f"the worker on worker-7 has no {DISTRIBUTION}:" in said
        assert self.crosses(said) == [
            f"{DISTRIBUTION} {here} missing",
            f"code {wanted['code'][:12]} missing",
        ]
        assert f"pip install {DISTRIBUTION}=={here}" in said
        assert "deploy/Dockerfile" in said

    def test_a_missing_package_and_another_version(
        self, worker: dict[str, Any], wanted: dict[str, Any]
    ) -> None:
        worker["versions"].update({"pyarrow": None, "numpy": "1.26.4"})
        said = self.told(worker, wanted)
        assert "is not like this machine" in said
        assert sorted(self.crosses(said)) == [
            f"numpy {version('numpy')} 1.26.4",
            f"pyarrow {version('pyarrow')} missing",
        ]

    def test_another_python(self, worker: dict[str, Any], wanted: dict[str, Any]) -> None:
        worker["python"] = "3.9.1"
        said = self.told(worker, wanted)
        assert self.crosses(said) == [f"python {platform.python_version()} 3.9.1"]

    def test_other_code(self, worker: dict[str, Any], wanted: dict[str, Any]) -> None:
        worker["code"] = 64 * "0"
        said = self.told(worker, wanted)
        assert self.crosses(said) == [f"code {wanted['code'][:12]} 000000000000"]

    def test_no_space(self, worker: dict[str, Any], wanted: dict[str, Any]) -> None:
        worker.update(free=100 * 2**20, scratch="/small")
        said = self.told(worker, wanted)
        assert "has 100 MiB free in /small, where shards wait" in said
        assert f"needs {wanted['free'] / 2**20:,.0f} MiB" in said
        assert "TMPDIR" in said
        assert "--shard-size" in said
        assert self.crosses(said) == []

    @pytest.mark.parametrize("kind", [AccessDenied, BadInput, StorageError])
    def test_what_a_worker_was_refused(
        self, worker: dict[str, Any], wanted: dict[str, Any], kind: type[DataPrepError]
    ) -> None:
        found = {**worker, "kind": kind.__name__, "step": "write the output", "message": "no way"}
        error = _explained(found, wanted)
        assert type(error) is kind
        assert str(error) == "the worker on worker-7 cannot write the output: no way"

    def test_an_error_that_is_not_ours(
        self, worker: dict[str, Any], wanted: dict[str, Any]
    ) -> None:
        found = {**worker, "kind": "BrokenPipeError", "step": "read the source", "message": "no"}
        assert type(_explained(found, wanted)) is RunnerFailed


# Loads steps where nothing of this project can be, and runs them.
LOAD = """
import importlib.util, json, sys
from pathlib import Path
sys.meta_path = [found for found in sys.meta_path if "editable" not in str(found)]
sys.path = [folder for folder in sys.path if not Path(folder, "pipeline").is_dir()]
assert importlib.util.find_spec("pipeline") is None
from apache_beam.internal import pickler
steps = [pickler.loads(text.encode())[0] for text in json.load(sys.stdin)]
spread, examine = sorted(steps, key=lambda step: type(step).__name__, reverse=True)
keys = list(spread.process(b""))
said = ""
try:
    list(examine.process(keys[0]))
except RuntimeError as error:
    said = str(error)
ours = [name for name in sys.modules if name.split(".")[0] in ("pipeline", "transforms")]
print(json.dumps({"keys": [key for key, _ in keys], "said": said, "ours": ours}))
"""


def test_the_steps_need_nothing_of_this_project(wanted: dict[str, Any], tmp_path: Path) -> None:
    pipeline = beam.Pipeline()
    _ = pipeline | beam.Impulse() | "One" >> beam.ParDo(_AsSource("Spread", 3))
    _ = (
        pipeline
        | "Other" >> beam.Impulse()
        | "Two" >> beam.ParDo(_AsSource("Examine", wanted, b""))
    )
    steps = [
        beam_runner_api_pb2.ParDoPayload.FromString(step.spec.payload).do_fn.payload.decode()
        for step in pipeline.to_runner_api().components.transforms.values()
        if step.unique_name in ("One", "Two")
    ]
    assert len(steps) == 2
    done = subprocess.run(
        [sys.executable, "-I", "-c", LOAD],
        input=json.dumps(steps),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,  # the assertion shows what it said
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["keys"] == [0, 1, 2]
    assert found["ours"] == []
    told = worker_check._REPORT.search(found["said"])
    assert told
    one = json.loads(bytes.fromhex(told[1]))
    assert one["code"] is None
    assert one["misfits"] == [DISTRIBUTION]
    assert f"has no {DISTRIBUTION}" in str(_explained(one, wanted))


class TestOnPrism:
    """With real workers, which are threads of this process, and what goes wrong between them."""

    @pytest.fixture
    def ask(self, rows: Path, prism: tuple[str, ...]) -> Iterator[Any]:
        def ask(folder: DatasetStore, plan: Plan | None = None) -> list[worker_check.Worker]:
            asked = Request(str(rows), folder.path, skip_upload=True, beam_args=prism)
            options = options_for(asked, 1)
            runner = runner_for(options)
            with connected(runner, options):
                return worker_check.check_workers(
                    runner, options, plan or make_plan(asked), asked, folder
                )

        return ask

    def test_each_host_answers_once(self, ask: Any, folder: LocalStore) -> None:
        workers = ask(folder)
        assert [worker.host for worker in workers] == [HOST]
        said = workers[0].describe()
        assert f"{HOST}: Python {platform.python_version()}, apache-beam " in said
        assert "MiB of temporary space" in said
        names = sorted(path.name for path in folder.work.glob("worker-*.json"))
        assert len(names) == 32
        assert json.loads((folder.work / names[0]).read_bytes())["host"] == HOST

    def test_an_output_on_s3(
        self, ask: Any, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use_server(monkeypatch, s3_server)
        folder = S3Store(S3Uri(bucket, "sets/one"))
        assert [worker.host for worker in ask(folder)] == [HOST]
        assert len(s3_server.keys(bucket, "sets/one/_run/worker-")) == 32

    def test_a_bucket_that_a_worker_may_not_write(
        self, ask: Any, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reading = ("s3:GetObject", "s3:ListBucket")
        s3_server.make_user("probing", "probingsecret")
        s3_server.set_policy(bucket, "probing", *reading, "s3:PutObject")
        use_server(monkeypatch, s3_server, "probing", "probingsecret")
        put = S3Store.put_work

        def put_once(folder: S3Store, name: str, data: bytes) -> None:
            put(folder, name, data)  # what the launcher itself leaves there
            s3_server.set_policy(bucket, "probing", *reading)

        monkeypatch.setattr(S3Store, "put_work", put_once)
        with pytest.raises(AccessDenied, match=f"worker on {HOST} cannot write the output: ") as e:
            ask(S3Store(S3Uri(bucket, "sets/one")))
        assert "s3:PutObject" in str(e.value)

    @pytest.mark.parametrize("hidden", ["launcher", "worker-"])
    def test_a_folder_that_is_another_one_on_the_worker(
        self, ask: Any, folder: LocalStore, monkeypatch: pytest.MonkeyPatch, hidden: str
    ) -> None:
        get = LocalStore.get_work

        def get_own(folder: LocalStore, name: str) -> bytes | None:
            return None if name.startswith(hidden) else get(folder, name)

        monkeypatch.setattr(LocalStore, "get_work", get_own)
        with pytest.raises(RunnerFailed, match="--shared-filesystem") as caught:
            ask(folder)
        assert folder.path in str(caught.value)
        assert (HOST in str(caught.value)) == (hidden == "launcher")  # who sees what is not there

    def test_records_of_an_earlier_look_prove_nothing(
        self, ask: Any, folder: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ask(folder)
        before = {path.name: path.read_bytes() for path in folder.work.glob("worker-*.json")}
        get = LocalStore.get_work

        def get_old(folder: LocalStore, name: str) -> bytes | None:
            return before.get(name) or get(folder, name)

        monkeypatch.setattr(LocalStore, "get_work", get_old)
        with pytest.raises(RunnerFailed, match="--shared-filesystem"):
            ask(folder)

    def test_a_source_that_is_not_there_on_the_worker(
        self, ask: Any, folder: LocalStore, rows: Path
    ) -> None:
        plan = make_plan(Request(str(rows), folder.path, skip_upload=True))
        rows.unlink()
        with pytest.raises(DataPrepError, match=f"worker on {HOST} cannot read the source") as e:
            ask(folder, plan)
        assert "rows.jsonl" in str(e.value)

    def test_a_worker_that_does_not_fit(
        self, ask: Any, folder: LocalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = _wanted

        def wanting(request: Request, folder: DatasetStore) -> dict[str, Any]:
            found = known(request, folder)
            return {**found, "ranges": {**found["ranges"], "numpy": "<1"}}

        monkeypatch.setattr(worker_check, "_wanted", wanting)
        with pytest.raises(RunnerFailed, match="is not like this machine") as caught:
            ask(folder)
        assert "✗ numpy" in str(caught.value)
        assert list(folder.work.glob("worker-*.json")) == []


class _Noting(PortableRunner):
    """Notes the name of what it is given and what that asks of workers, and runs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.asked: set[str] = set()

    def run_portable_pipeline(self, pipeline: Any, options: PipelineOptions) -> Any:
        self.names.append(str(options.view_as(GoogleCloudOptions).job_name))
        for environment in pipeline.components.environments.values():
            self.asked |= set(environment.capabilities)
        raise BadInput("enough")


def test_the_look_is_not_taken_for_the_job(rows: Path, folder: LocalStore) -> None:
    """A cluster knows the job by its name, and submit waits until it does."""
    asked = Request(str(rows), folder.path, skip_upload=True)
    options = PipelineOptions(["--job_name=mine", "--environment_type=LOOPBACK"])
    runner = _Noting()
    with pytest.raises(BadInput):
        worker_check.check_workers(runner, options, make_plan(asked), asked, folder)
    assert runner.names == ["mine-check"]
    assert options.view_as(GoogleCloudOptions).job_name == "mine"


def test_workers_of_another_version_do_not_refuse_the_look(rows: Path, folder: LocalStore) -> None:
    """Beam's own check would end them, and Flink would wait for them until the time is over."""
    version_of = "beam:version:sdk_base:"
    asked = Request(str(rows), folder.path, skip_upload=True)
    options = PipelineOptions(["--environment_type=LOOPBACK"])
    runner = _Noting()
    with pytest.raises(BadInput):
        worker_check.check_workers(runner, options, make_plan(asked), asked, folder)
    assert runner.asked
    assert [one for one in runner.asked if one.startswith(version_of)] == []
    with pytest.raises(BadInput, match="enough"):  # but the job that follows is refused
        (beam.Pipeline(runner=runner, options=options) | beam.Impulse()).pipeline.run()
    assert [one for one in runner.asked if one.startswith(version_of)] != []
