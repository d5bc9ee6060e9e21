"""Whole runs against the S3 server: their rows, their commands, and what a reader then sees.

`Forks` runs each command in a fork of one interpreter that has imported everything, so that it
costs tenths of a second and not two, and a run can be broken off at every place. Who forks must
have no threads: that is not the tests' process but a child of it, which runs this file as a script.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Timer
from typing import Any, NoReturn

import pytest
from s3_servers import S3Server

CRASHED = 99  # the exit code of a command that was made to crash
SMALL = ("--shard-size", "1MiB", "--direct_running_mode=in_memory", "--quiet")

# Everything that a command would import, and nothing that starts a thread.
_IMPORTED = (
    *(
        "pipeline.cli.main",
        "pipeline.launch.job",
        "pipeline.cli.prepare_command",
        "pipeline.cli.dataset_commands",
    ),
    *("boto3.s3.transfer", "s3transfer.exceptions"),
)
_LONGEST_SECONDS = 240.0


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, what it printed, "METHOD path" of each write it sent."""

    code: int
    said: str
    writes: list[str]


class Forks:
    """An interpreter that runs commands, many at once, each in a process of its own."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="forks-")
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self._folder.name,
            start_new_session=True,  # so that it can be ended with its forks
        )

    def run(
        self,
        server: S3Server,
        commands: Sequence[Sequence[str]],
        crashes: Sequence[int | str] | None = None,
        at_once: int = 3,
    ) -> list[Ended]:
        """Runs command lines as root of a server, each in a new folder.

        `crashes` tells for each before which of its writes it dies: the so-many-th, from 1 (0 is
        never), or the first one like a pattern. Objects beyond a quarter of a MiB go in parts, so
        that small sets have pending uploads, too.
        """
        asked = []
        for words, crash in zip(commands, crashes or [0] * len(commands), strict=True):
            self._count += 1
            folder = Path(self._folder.name, str(self._count))
            folder.mkdir()
            asked.append((list(words), crash, str(folder)))
        environment = server.environment()
        line = json.dumps({"asked": asked, "environment": environment, "at_once": at_once})
        assert self._process.stdin
        assert self._process.stdout
        print(line, file=self._process.stdin, flush=True)
        alarm = Timer(_LONGEST_SECONDS, self._kill)
        alarm.start()
        try:
            codes = json.loads(self._process.stdout.readline())
        finally:
            alarm.cancel()
        folders = [Path(folder) for _, _, folder in asked]
        return [
            Ended(code, (at / "said").read_text(), (at / "writes").read_text().splitlines())
            for code, at in zip(codes, folders, strict=True)
        ]

    def _kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Ends it and whatever still runs."""
        if self._process.poll() is None:
            self._kill()
        self._process.communicate()
        self._folder.cleanup()


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    forks = Forks()
    yield forks
    forks.stop()


def stop_in_the_middle(
    words: Sequence[str], number: signal.Signals, environment: Mapping[str, str], folder: Path
) -> tuple[int, str]:
    """Runs a command that gets a signal when a unit is finished; exit code, errors.

    It gets another one while it gives its claim up, and a thread of it is still writing a shard.
    """
    done = subprocess.run(
        [sys.executable, __file__, str(int(number)), *words],
        env=dict(environment),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=_LONGEST_SECONDS,
        check=False,  # it does not end well
    )
    return done.returncode, done.stderr


@pytest.fixture(scope="session")
def two_units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two units' worth of rows, one of them a reject."""
    return write_rows(tmp_path_factory.mktemp("source") / "rows.jsonl", 1200)


def write_rows(path: Path, count: int) -> Path:
    """A file of so many rows of 1.5 kB; the eighth is a reject."""
    rows = [{"question": f"Frage {n}, 漢字?", "reasoning": "Weil. " * 250} for n in range(count)]
    rows[7]["reasoning"] = " "
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def stored(server: S3Server, uri: str) -> dict[str, bytes]:
    """Name -> bytes of a set's objects, without the claim and the records of the run."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    names = [key[len(prefix) + 1 :] for key in server.keys(bucket, f"{prefix}/")]
    root = server.data / bucket / prefix
    return {name: (root / name).read_bytes() for name in names if not name.startswith("_")}


def without_run(files: Mapping[str, bytes]) -> dict[str, Any]:
    """What may not differ between two runs of one plan."""
    manifest = json.loads(files["manifest.json"])
    del manifest["run"]
    return {**files, "manifest.json": manifest}


# ---- the interpreter that forks


def _serve() -> None:
    for name in _IMPORTED:
        import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        codes = _fork_all(request["asked"], request["environment"], request["at_once"])
        print(json.dumps(codes), flush=True)


def _fork_all(
    asked: Sequence[tuple[list[str], int | str, str]], environment: Mapping[str, str], at_once: int
) -> list[int]:
    running: dict[int, int] = {}
    codes = [-1] * len(asked)

    def wait_for_one() -> None:
        process, status = os.wait()
        codes[running.pop(process)] = os.waitstatus_to_exitcode(status)

    for number, (words, crash, folder) in enumerate(asked):
        if len(running) >= at_once:
            wait_for_one()
        process = os.fork()
        if process == 0:
            _run(words, crash, folder, environment)
        running[process] = number
    while running:
        wait_for_one()
    return codes


def _run(
    words: list[str], crash: int | str, folder: str, environment: Mapping[str, str]
) -> NoReturn:
    code = 1
    try:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        said = os.open("said", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(said, 1)
        os.dup2(said, 2)
        _count_writes(crash)
        from pipeline.cli.main import main

        code = main(words)
    except BaseException:  # noqa: BLE001 (a fork must never return into its parent's code)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _count_writes(crash: int | str) -> None:
    from transforms.storage.s3 import bucket as s3_bucket
    from transforms.storage.s3 import client as s3_client

    s3_bucket._WHOLE_BYTES = 2**18
    log = open("writes", "a", buffering=1)  # noqa: SIM115 (open until the process ends)
    count = 0

    def on_bytes(request: Any, **_: object) -> None:
        nonlocal count
        if request.method not in ("PUT", "POST", "DELETE"):
            return
        count += 1
        write = f"{request.method} {request.url.split('/', 3)[-1]}"
        if re.match(crash, write) if isinstance(crash, str) else count == crash:
            os._exit(CRASHED)
        print(write, file=log)

    s3_client.client_for(s3_bucket.S3Options()).meta.events.register("before-send.s3", on_bytes)


# ---- the command that is stopped


def _run_and_stop(number: int, words: list[str]) -> int:
    from pipeline.cli import main, signals

    main._calm()  # before Beam is imported, as it is in a command
    from transforms.dataset import unit_files
    from transforms.storage.s3.lease import S3Lease
    from transforms.storage.s3.store import S3Store
    from transforms.storage.s3.uri import S3Uri

    record, leave = unit_files.write_records, S3Lease._leave
    recorded: Counter[int] = Counter()
    S3Store(S3Uri("bucket", "prefix")).scratch_file().touch()

    def stopping(folder: Any, unit: int, kind: str, shards: Any) -> None:
        if 2 in recorded.values():
            raise RuntimeError("threads that go on for a while must not finish the run")
        record(folder, unit, kind, shards)
        recorded[unit] += 1
        if recorded[unit] == 2:  # its splits and its rejects
            deadline = time.monotonic() + 30
            while signals.received() is None and time.monotonic() < deadline:
                os.kill(os.getpid(), number)  # one that comes as the main thread falls asleep waits
                os.sched_yield()

    def stopping_again(claim: S3Lease, state: str) -> None:
        os.kill(os.getpid(), number)
        leave(claim, state)

    unit_files.write_records, S3Lease._leave = stopping, stopping_again  # type: ignore[method-assign]
    return main.main(words)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(_run_and_stop(int(sys.argv[1]), sys.argv[2:]))
    _serve()
