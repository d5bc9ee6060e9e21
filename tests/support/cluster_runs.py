"""Our command beside real clusters: started, watched, ended, and what it has written compared."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from cluster_programs import LOG_CHARS, Program, Programs

from transforms.storage.local import LocalStore

JOB_SECONDS = 300.0  # half a minute when the machine has nothing else to do
_GONE_SECONDS = 15.0  # Beam asks a job server to stop for five seconds, then kills it


class Part(Protocol):
    """A part of a cluster, which can tell what it said."""

    def logs(self) -> str: ...


class Command:
    """Our command, running; `programs` has its temporary folder."""

    def __init__(self, programs: Programs, program: Program, parts: Sequence[Part]) -> None:
        self.programs, self.program, self._parts = programs, program, parts
        self.said = ""  # once it has ended

    def end(self, *expected: int) -> str:
        """What it says, once it has ended with one of these exit codes, and its programs, too."""
        try:
            code: int | str = self.program.wait(JOB_SECONDS)
        except subprocess.TimeoutExpired:
            code = "none in time"
        if code not in expected:
            self.fail(f"exit code {code}, expected {expected}")
        self.programs.wait("its programs' end", lambda: not self.program.left(), _GONE_SECONDS)
        self.said = self.program.said  # its file will be gone
        return self.said

    def until(self, what: str, is_so: Callable[[], object]) -> None:
        """Waits until something is so; it must not have ended by then."""
        try:
            self.programs.wait(what, is_so, JOB_SECONDS)
        except RuntimeError as error:
            self.fail(str(error)[:200])

    def fail(self, why: str) -> None:
        """Fails the test, with the end of all logs."""
        logs = "\n".join(part.logs() for part in self._parts)
        pytest.fail(f"{why}\n{self.program.said[-LOG_CHARS:]}\n{logs}")


@contextmanager
def command(
    words: Sequence[str], environment: Mapping[str, str], *parts: Part
) -> Iterator[Command]:
    """Runs it while the body does."""
    programs = Programs("command")
    try:
        line = [sys.executable, "-m", "pipeline", *words]
        program = programs.start("command", line, {**environment, "TMPDIR": str(programs.folder)})
        yield Command(programs, program, parts)
    finally:
        programs.stop()


def run(
    words: Sequence[str], environment: Mapping[str, str], *parts: Part, expected: int = 0
) -> str:
    """What the command says when it ends with the expected exit code."""
    with command(words, environment, *parts) as running:
        return running.end(expected)


def finished(output: Path) -> int:
    """How many units of a set in the making are finished."""
    return len(LocalStore(str(output)).reports())


def files_of(output: Path) -> dict[str, bytes]:
    """Name -> bytes of a local set."""
    found = (path for path in output.rglob("*") if path.is_file())
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in found}


def differing(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """The names of the files that are not the same."""
    names = found.keys() | expected.keys()
    return sorted(name for name in names if found.get(name) != expected.get(name))
