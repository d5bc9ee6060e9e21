"""Programs that a test starts, watches and ends: each with a log and a process group of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypeVar

LOG_CHARS = 4000  # of each program, when something fails
_DYING_SECONDS = 10.0  # to give back a large memory takes a moment

T = TypeVar("T")


class Program:
    """A running program; whatever it starts is in its process group and ends with it."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path
    ) -> None:
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def find(self, pattern: str) -> str | None:
        """The first group of a pattern in what it said so far."""
        found = re.search(pattern, self.said)
        return found[1] if found else None

    def started(self) -> list[int]:
        """The ids of the processes that it started itself and that still run, in order."""
        return sorted(pid for pid, parent, _ in _running() if parent == self.pid)

    def left(self) -> list[int]:
        """The ids of all that still runs of it and of what it started."""
        return sorted(pid for pid, _, group in _running() if group == self.pid)

    def wait(self, seconds: float) -> int:
        """Its exit code; ``subprocess.TimeoutExpired`` after so many seconds."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        """End it and all that it started, at once (SIGKILL).  May be called twice."""
        with suppress(ProcessLookupError):  # nothing is left in the group
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        deadline = time.monotonic() + _DYING_SECONDS
        while self.left() and time.monotonic() < deadline:
            time.sleep(0.02)


def command_line(pid: int) -> str:
    """What a process was started as; "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _running() -> Iterator[tuple[int, int, int]]:
    """(process id, parent, group) of all that run; not of those that ended and nobody has asked."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            # The name before may hold anything, even a bracket.
            state, parent, group, *_ = path.read_text().rpartition(")")[2].split()
            if state != "Z":
                yield int(path.parent.name), int(parent), int(group)


class Programs:
    """Some programs with one temporary folder, ``folder``; all of them end with it."""

    def __init__(self, name: str) -> None:
        self._held = ExitStack()
        # What is killed in the middle may leave anything behind, even while it is swept up.
        folder = tempfile.TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True)
        self.folder = Path(self._held.enter_context(folder))
        self.running: dict[str, Program] = {}

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Program:
        """Starts a program in the folder."""
        program = Program(command, environment, self.folder, self.folder / f"{name}.log")
        self._held.callback(program.kill)
        self.running[name] = program
        return program

    def wait(self, what: str, until: Callable[[], T | None], seconds: float) -> T:
        """What ``until`` gives, once that is something true.

        Shows all logs when it takes too long, or when a program ends meanwhile.
        """
        deadline = time.monotonic() + seconds
        watched = {name: one for name, one in self.running.items() if one.code is None}
        while True:
            ended = {name: one.code for name, one in watched.items() if one.code is not None}
            found = until()
            if found:
                return found
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"{what} cannot be had; ended: {ended}\n{self.logs()}")
            time.sleep(0.05)

    def logs(self) -> str:
        """The end of what each program said."""
        said = {name: program.said[-LOG_CHARS:] for name, program in self.running.items()}
        return "\n".join(f"--- {name}\n{text}" for name, text in said.items())

    def stop(self) -> None:
        """Ends all of them and deletes the folder.  May be called twice."""
        self._held.close()
        self.running.clear()
