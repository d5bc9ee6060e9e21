"""Before the job: do the workers fit it, and do they reach its source and its output?

A small pipeline runs on the same runner.  Each worker that it reaches compares itself with the
launcher (``worker_agent``), opens the source and writes a record at the output, which the launcher
must then see.  A worker that cannot do one of these reports why, with its host's name.  A worker
that never starts fails the check after ``--start-timeout``.
"""

from __future__ import annotations

import copy
import json
import pickle
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.transforms import environments
from packaging.requirements import Requirement

from pipeline.launch import worker_agent
from pipeline.launch.execution import Late, execute
from pipeline.planning.plan import Plan
from pipeline.request import Request
from transforms.errors import DataPrepError, RunnerFailed, class_of_name
from transforms.formats import source_reader
from transforms.formats.opening import open_binary
from transforms.storage.local import LocalStore
from transforms.storage.store import DatasetStore
from transforms.work_units import DEFAULT_UNIT_BYTES

_KEYS = 32  # enough for each of a dozen workers to get one; each costs two requests on S3
_REPORT = re.compile(f"{worker_agent.MARK}([0-9a-f]+);")
_SPARE_BYTES = 64 * 2**20
_LAUNCHERS = "launcher.txt"
_NO_ANSWER = "no worker has finished a first small task"
_NO_ANSWER_HINT = (
    "look there, or into the workers' own logs, for why they do not start (the `python` of a "
    f"worker pool needs {worker_agent.BEAM}, a container its image, a task a free slot), or wait "
    "longer with --start-timeout"
)


@dataclass(frozen=True)
class Worker:
    """A host that answered."""

    host: str
    python: str
    beam: str
    free: int  # bytes in its temporary folder

    def describe(self) -> str:
        """For the user."""
        return (
            f"{self.host}: Python {self.python}, {worker_agent.BEAM} {self.beam}, "
            f"{_mebibytes(self.free)} of temporary space"
        )


def check_workers(
    runner: Any, options: PipelineOptions, plan: Plan, request: Request, store: DatasetStore
) -> list[Worker]:
    """Runs the check; returns the hosts of the workers that answered, each once.

    Raises:
        RunnerFailed: Workers are not like this machine, do not see a local source or output, or do
            not start.
        DataPrepError: Another error of ours for what a worker was refused.
    """
    wanted = _wanted(request, store)
    nonce = uuid.uuid4().hex
    store.put_work(_LAUNCHERS, nonce.encode())
    look = partial(_look, store, plan.reading(), plan.units[0].file_ranges[0].file, nonce)
    pipeline = beam.Pipeline(runner=runner, options=_of_another_name(options))
    _ = (
        pipeline
        | beam.Impulse()
        | "Spread" >> beam.ParDo(_AsSource("Spread", _KEYS)).with_output_types(tuple[int, int])
        | "AllWorkers" >> beam.GroupByKey()
        | "Examine" >> beam.ParDo(_AsSource("Examine", wanted, pickle.dumps(look)))
    )
    try:
        with _for_any_version(runner):
            execute(pipeline, Late(request.start_timeout, _NO_ANSWER, _NO_ANSWER_HINT))
    except DataPrepError as error:
        # The message holds only the end of what the runner said.
        found = _REPORT.search(f"{error}\n{error.__cause__}")
        if found is None:
            raise
        raise _explained(json.loads(bytes.fromhex(found[1])), wanted) from error
    return _seen(store, nonce)


def _of_another_name(options: PipelineOptions) -> PipelineOptions:
    """The options of this small job, which must not be taken for the one that follows it."""
    own = copy.deepcopy(options)
    named = own.view_as(GoogleCloudOptions)
    named.job_name = f"{named.job_name}-check"
    return own


@contextmanager
def _for_any_version(runner: Any) -> Iterator[None]:
    """Jobs of this runner do not name the versions of Python and Beam that made them.

    A worker with others would refuse the job before a step of ours can report it, and Flink then
    waits.
    """
    default = runner.default_environment

    def without_version(options: PipelineOptions) -> environments.Environment:
        environment = default(options)
        every = environment.capabilities()
        prefix = environments.SDK_VERSION_CAPABILITY_PREFIX
        environment.capabilities = lambda: [one for one in every if not one.startswith(prefix)]
        return environment

    runner.default_environment = without_version
    try:
        yield
    finally:
        del runner.default_environment


class _AsSource(beam.DoFn):
    """A step that is made on the worker, out of the text of ``worker_agent``."""

    def __init__(self, name: str, *arguments: Any) -> None:
        self._name, self._arguments = name, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        # Names of Python's own only: any worker can load them, whatever its version.
        text = Path(worker_agent.__file__).read_text(encoding="utf-8")
        made = f"{self._name}(*arguments)"
        code = "(exec(text, own), eval(made, own))[1]"
        own = {"__name__": "reasonforge_worker_agent", "arguments": self._arguments}
        return eval, (code, {"text": text, "made": made, "own": own})

    def process(self, element: object) -> Any:
        raise NotImplementedError("made on the worker")


def _wanted(request: Request, store: DatasetStore) -> worker_agent.Needs:
    """This machine's facts, and what fits them."""
    needs = [Requirement(text) for text in requires(worker_agent.DISTRIBUTION) or ()]
    ranges = {need.name: str(need.specifier) for need in needs if need.marker is None}
    # Bytes and protocol are those of one Beam and one version of this project.
    ranges[worker_agent.BEAM] = f"=={version(worker_agent.BEAM)}"
    ranges[worker_agent.DISTRIBUTION] = f"=={version(worker_agent.DISTRIBUTION)}"
    here = worker_agent.facts([name for name in ranges if name != worker_agent.DISTRIBUTION])
    # While a unit is written the one before is sent; its files hold a little more than its text.
    free = 3 * (request.shard_size or DEFAULT_UNIT_BYTES) + _SPARE_BYTES
    # Shards for S3 wait in the temporary folder, others beside the output.
    scratch = str(store.work) if isinstance(store, LocalStore) else None
    return {**here, "ranges": ranges, "free": free, "scratch": scratch}


def _look(
    store: DatasetStore,
    source: source_reader.Source,
    file: str,
    nonce: str,
    key: int,
    found: worker_agent.Facts,
) -> None:
    """On a worker: opens the source and writes its record at the output."""
    step = "read the source"
    try:
        with open_binary(source.path(file)) as opened:
            opened.read(1)
        step = "write the output"
        if store.get_work(_LAUNCHERS) != nonce.encode():
            raise RunnerFailed(
                f"{store.path} is not the same file system there as here, although "
                "--shared-filesystem says so; mount it everywhere, or give an s3:// address"
            )
        record = {
            "nonce": nonce,
            "host": found["host"],
            "python": found["python"],
            "free": found["free"],
            "beam": found["versions"][worker_agent.BEAM],
        }
        store.put_work(_record(key), json.dumps(record).encode())
    except (DataPrepError, OSError) as error:
        kind = type(error).__name__
        text = worker_agent.report(found, kind=kind, step=step, message=str(error))
        raise RuntimeError(text) from None


def _record(key: int) -> str:
    return f"worker-{key:02d}.json"


def _seen(store: DatasetStore, nonce: str) -> list[Worker]:
    """The workers' records, each of which must be here."""
    workers: dict[str, Worker] = {}
    for key in range(_KEYS):
        data = store.get_work(_record(key))
        record = json.loads(data) if data else {}
        if record.get("nonce") != nonce:
            raise RunnerFailed(
                f"a worker has written a file at {store.path} that this machine does not see, so "
                "the path is not one and the same file system on all machines, as "
                "--shared-filesystem says; mount it everywhere, or give an s3:// address"
            )
        workers[record["host"]] = Worker(
            record["host"], record["python"], record["beam"], record["free"]
        )
    return [workers[host] for host in sorted(workers)]


def _explained(report: worker_agent.Report, wanted: worker_agent.Needs) -> DataPrepError:
    """The error that a worker's report stands for."""
    host = report["host"]
    if "misfits" not in report:
        kind = class_of_name(report["kind"]) or RunnerFailed
        return kind(f"the worker on {host} cannot {report['step']}: {report['message']}")
    wrong = report["misfits"]
    if wrong == ["free"]:
        return RunnerFailed(
            f"the worker on {host} has {_mebibytes(report['free'])} free in {report['scratch']}, "
            f"where shards wait until they are published, but needs {_mebibytes(wanted['free'])}; "
            "make room, give it another temporary folder with TMPDIR, or choose a smaller "
            "--shard-size"
        )
    if report["code"] is None:
        what = f"has no {worker_agent.DISTRIBUTION}"
    else:
        what = "is not like this machine"
    return RunnerFailed(
        f"the worker on {host} {what}:\n{_table(report, wanted, wrong)}\n"
        f"give its Python the same versions (pip install {worker_agent.DISTRIBUTION}="
        f"={wanted['versions'][worker_agent.DISTRIBUTION]} there, or run it in the image of "
        "deploy/Dockerfile), then run again"
    )


def _table(report: worker_agent.Report, wanted: worker_agent.Needs, wrong: Sequence[str]) -> str:
    """The launcher beside the worker; a cross marks what does not fit."""
    rows: list[tuple[str, str | None, str]] = [("python", wanted["python"], report["python"])]
    for name, here in wanted["versions"].items():
        rows.append((name, here, report["versions"].get(name) or "missing"))
    rows.append(("code", str(wanted["code"])[:12], str(report["code"] or "missing")[:12]))
    rows.append(("free", _mebibytes(wanted["free"]), _mebibytes(report["free"])))
    width = max(len(name) for name, _, _ in rows)
    lines = [f"    {'':{width}}  {'launcher':<12}  worker"]
    for name, here, there in rows:
        mark = "✗" if name in wrong or there == "missing" else " "
        lines.append(f"  {mark} {name:{width}}  {here:<12}  {there}")
    return "\n".join(lines)


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
