"""Python programs that start at once: each is a fork of an interpreter that has imported much.

A test of the command line that needs a process of its own, for its environment, its exit or its
crash, then takes a third of the time.  Who forks must have no threads: that is not the tests'
process but a child of it, which runs this file as a script.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Timer
from typing import NoReturn

from ended import Ended

BEAM = (
    *("apache_beam", "apache_beam.runners.portability.fn_api_runner", "jinja2", "pyarrow.csv"),
    *("pyarrow.compute", "pyarrow.parquet", "xxhash"),
)
"""What reads no settings of this project's when it is imported."""

ALL = (
    *("pipeline.cli.main", "pipeline.launch.job", "pipeline.cli.prepare_command"),
    *("pipeline.cli.dataset_commands", "boto3.s3.transfer", "s3transfer.exceptions"),
)
"""Everything that a command would import, and nothing that starts a thread."""


@dataclass(frozen=True)
class Program:
    """What ``python -c CODE WORDS`` would run, with this environment alone, in this folder."""

    code: str
    words: Sequence[str]
    environment: Mapping[str, str]
    folder: str


class Forks:
    """An interpreter that has imported ``modules`` and runs programs, each in a fork of it.

    What reads its settings when it is imported must not be among them where a program's
    environment has other settings: then ``BEAM`` is right, else ``ALL``.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="forks-")
        self._process = subprocess.Popen(
            [sys.executable, __file__, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that it can be ended with its forks
        )

    def run(
        self, programs: Sequence[Program], at_once: int = 3, seconds: float = 240
    ) -> list[Ended]:
        """Runs programs; ``TimeoutExpired`` if all of them together take longer."""
        with tempfile.TemporaryDirectory(dir=self._folder.name) as name:
            places = [Path(name, str(number)) for number in range(len(programs))]
            tasks = [
                asdict(program) | {"out": f"{place}.out", "err": f"{place}.err"}
                for program, place in zip(programs, places, strict=True)
            ]
            late: list[bool] = []
            alarm = Timer(seconds, lambda: (late.append(True), self._kill()))
            alarm.start()
            try:
                assert self._process.stdin is not None
                assert self._process.stdout is not None
                print(json.dumps([tasks, at_once]), file=self._process.stdin, flush=True)
                answer = self._process.stdout.readline()
            except BaseException:  # Ctrl-C, too: the answer would be taken for the next one's
                self._kill()
                raise
            finally:
                alarm.cancel()
            if late:
                raise subprocess.TimeoutExpired(str(programs), seconds)
            return [
                Ended(code, Path(f"{place}.out").read_text(), Path(f"{place}.err").read_text())
                for code, place in zip(json.loads(answer), places, strict=True)
            ]

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Ends it and whatever still runs."""
        if self.is_running:
            self._kill()
        with suppress(BrokenPipeError):
            self._process.communicate()
        self._folder.cleanup()


@cache
def _shared() -> list[Forks]:
    forks: list[Forks] = []
    atexit.register(lambda: [one.stop() for one in forks])
    return forks


def run(
    code: str, words: Sequence[str], environment: Mapping[str, str], folder: Path, seconds: float
) -> Ended:
    """One program in a fork of this process's own interpreter that has imported Beam."""
    forks = _shared()
    if not forks or not forks[-1].is_running:
        forks.append(Forks(BEAM))
    (ended,) = forks[-1].run([Program(code, words, environment, str(folder))], 1, seconds)
    return ended


# ---- the interpreter that forks


def _serve(modules: Sequence[str]) -> None:
    sys.path.pop(0)  # this folder, which no program has
    for name in modules:
        import_module(name)
    if "pipeline" not in "".join(modules):
        early = {"datasets", "huggingface_hub", "pipeline", "transforms"} & set(sys.modules)
        assert not early, early
    for line in sys.stdin:
        tasks, at_once = json.loads(line)
        print(json.dumps(_fork_all(tasks, at_once)), flush=True)


def _fork_all(tasks: Sequence[dict[str, object]], at_once: int) -> list[int]:
    running: dict[int, int] = {}
    codes = [-1] * len(tasks)

    def wait_for_one() -> None:
        process, status = os.wait()
        codes[running.pop(process)] = os.waitstatus_to_exitcode(status)

    for number, task in enumerate(tasks):
        if len(running) >= at_once:
            wait_for_one()
        process = os.fork()
        if process == 0:
            _run(**task)
        running[process] = number
    while running:
        wait_for_one()
    return codes


def _run(
    code: str, words: list[str], environment: dict[str, str], folder: str, out: str, err: str
) -> NoReturn:
    """Runs a program, which ends this process as it would an interpreter of its own."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    write = os.O_CREAT | os.O_WRONLY | os.O_APPEND
    for number, (path, flags) in enumerate(((os.devnull, os.O_RDONLY), (out, write), (err, write))):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = ["-c", *words]
    exec(code, {"__name__": "__main__"})
    sys.exit()


if __name__ == "__main__":
    _serve(sys.argv[1:])
