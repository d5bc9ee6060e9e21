"""Whole runs against the S3 server: their rows, their commands, and what a reader then sees."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ended import Ended
from forks import ALL, Forks, Program
from s3_servers import S3Server

SMALL = ("--shard-size", "1MiB", "--direct_running_mode=in_memory", "--quiet")

_LONGEST_SECONDS = 240.0

# A command that dies before one of its writes, and leaves at its end without waiting for threads.
_COMMAND = f"""
import os, sys, traceback
sys.path.append({str(Path(__file__).parent)!r})
from counted_writes import count_writes
code = 1
try:
    crash = sys.argv.pop(1)
    count_writes(int(crash) if crash.isdecimal() else crash)
    from pipeline.cli.main import main
    code = main(sys.argv[1:])
except BaseException:
    traceback.print_exc()
finally:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
"""


class Commands:
    """Runs command lines, many at once, each in a fork and a new folder."""

    def __init__(self) -> None:
        self._forks = Forks(ALL)
        self._folder = tempfile.TemporaryDirectory(prefix="commands-")
        self._count = 0

    def run(
        self,
        server: S3Server,
        commands: Sequence[Sequence[str]],
        crashes: Sequence[int | str] | None = None,
        at_once: int = 3,
    ) -> list[Ended]:
        """Runs command lines as root of a server.

        `crashes` tells for each before which of its writes it dies: the so-many-th, from 1 (0 is
        never), or the first one like a pattern. Objects beyond a quarter of a MiB go in parts, so
        that small sets have pending uploads, too.
        """
        programs = []
        for words, crash in zip(commands, crashes or [0] * len(commands), strict=True):
            self._count += 1
            folder = Path(self._folder.name, str(self._count))
            folder.mkdir()
            argv = [str(crash), *words]
            programs.append(Program(_COMMAND, argv, server.environment(), str(folder)))
        ends = self._forks.run(programs, at_once, _LONGEST_SECONDS)
        return [
            replace(ended, writes=Path(program.folder, "writes").read_text().splitlines())
            for program, ended in zip(programs, ends, strict=True)
        ]

    def stop(self) -> None:
        """Ends what still runs."""
        self._forks.stop()
        self._folder.cleanup()


@pytest.fixture(scope="session")
def forks() -> Iterator[Commands]:
    commands = Commands()
    yield commands
    commands.stop()


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


# ---- the command that is stopped


def _run_and_stop(number: int, words: list[str]) -> int:
    from pipeline.cli import main, signals

    main._silence_libraries()  # before Beam is imported, as it is in a command
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
    sys.exit(_run_and_stop(int(sys.argv[1]), sys.argv[2:]))
