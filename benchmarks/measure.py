"""Runs one command and measures it from outside: wall, CPU and peak memory of its whole tree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SAMPLE_SECONDS = 0.1
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class RowStats:
    """One run: seconds, bytes, and the JSON that the command printed.

    ``cpu`` is user and system time of the process and every child that it waited for.  ``peak`` is
    the larger of two figures: the highest sum over the tree that was sampled, and the kernel's
    exact peak of the largest single process.  ``written`` counts the Arrow files left behind.
    """

    wall: float
    cpu: float
    peak: int
    written: int
    printed: Mapping[str, Any]


def run(
    command: Sequence[str], source: Path, target: Path, folder: Path, env: Mapping[str, str]
) -> RowStats:
    """Measures ``command``, which reads ``source`` and makes ``target``, run in ``folder``.

    Before the clock starts, what earlier runs left to be written is flushed, so that nobody pays
    for another's dirty pages, and the input is read once, so that all find it in the page cache.
    ``target`` is deleted afterwards, before anything else is flushed.
    """
    os.sync()
    _read(source)
    try:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            start = time.perf_counter()
            process = subprocess.Popen(
                command, cwd=folder, env={**os.environ, **env}, stdout=out, stderr=errors
            )
            with _Sampler(process.pid) as sampler:
                _, status, usage = os.wait4(process.pid, 0)
                wall = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            errors.seek(0)
            if process.returncode:
                tail = errors.read().decode(errors="replace")[-3000:]
                sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{tail}")
            return RowStats(
                wall=wall,
                cpu=usage.ru_utime + usage.ru_stime,
                peak=max(sampler.peak, usage.ru_maxrss * 1024),
                written=sum(file.stat().st_size for file in target.rglob("*.arrow")),
                printed=json.loads(out.read()),
            )
    finally:
        shutil.rmtree(target, ignore_errors=True)


def touch_memory() -> None:
    """Writes to most of the free memory once, in a child that ends.

    The host of a virtual machine gives it pages on their first write, which costs seconds; else
    whoever runs first pays for all.
    """
    facts = dict(line.split(":", 1) for line in _text(Path("/proc/meminfo")).splitlines())
    free = 1024 * int(facts.get("MemAvailable", "0").split()[0])
    size = min(18 * 10**9, int(0.7 * free))
    subprocess.run(
        [sys.executable, "-c", f"bytearray({size})[:: 4096] = b'x' * -(-{size} // 4096)"],
        check=False,
    )


def _read(path: Path) -> None:
    with open(path, "rb", buffering=0) as file:
        while file.read(2**20):
            pass


class _Sampler:
    """Watches the memory of a process and all its descendants while it runs."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            self.peak = max(self.peak, sum(_resident(pid) for pid in _tree(self._pid)))


def _tree(pid: int) -> list[int]:
    found = [pid]
    for one in found:  # grows while it is walked
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            found.extend(int(child) for child in _text(children).split())
    return found


def _resident(pid: int) -> int:
    fields = _text(Path(f"/proc/{pid}/statm")).split()
    return int(fields[1]) * _PAGE if fields else 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # the process ended meanwhile, or this is not Linux
