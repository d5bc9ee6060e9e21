"""The console: lines of text, errors and JSON without a raw character of the data, and progress
that does not flood a log.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, TextIO, cast

from pipeline.cli import signals
from transforms.errors import DataPrepError
from transforms.text.addresses import without_credentials, without_passwords
from transforms.text.visible import json_visible, visible, visible_lines

_TERMINAL_SECONDS = 0.2
_LOG_SECONDS = 10.0

SCANNING = "scan"

Reports = Callable[[], Sequence[Mapping[str, int]]]


def shown(text: str) -> str:
    """A text as one line that a terminal may get: nothing in it moves a cursor or hides.

    Texts of rows, names of columns and files, and strings of foreign manifests are part of
    messages.  Line ends in them would fake a line of ours, so they become escapes as well.
    """
    return visible(without_passwords(text))


def shown_message(text: str) -> str:
    """An error as lines that a terminal may get; its first one alone begins at the margin."""
    first, *more = map(shown, without_credentials(text).split("\n"))
    # The lines of a table, as of what a worker lacks, are indented already.
    return "\n".join([first, *(line if line.startswith("  ") else f"  │ {line}" for line in more)])


class VisibleStream:
    """A stream for what Python and libraries print: warnings, logs, tracebacks."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> int:
        """Writes a text whose line ends stay."""
        self._out.write(visible_lines(without_passwords(text)))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes texts."""
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        """No: colours would become escapes, too."""
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)


@contextmanager
def visible_errors() -> Iterator[None]:
    """Shows all that is printed to stderr while the body runs, and what ends the process."""
    before = sys.stderr
    if before is None:  # as a service may start it
        yield
        return
    stream = cast(TextIO, VisibleStream(before))
    sys.stderr = stream
    sys.excepthook = _excepthook
    try:
        yield
    finally:
        if sys.stderr is stream:  # after a signal it is set aside
            sys.stderr = before


def _excepthook(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    text = "".join(traceback.format_exception(kind, error, trace))
    sys.stderr.write(visible_lines(without_passwords(text)))


def print_json(value: object, out: TextIO) -> None:
    """Prints JSON with the same characters as escapes that are escapes on a line."""
    encoder = json.JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False)
    for piece in encoder.iterencode(value):
        out.write(json_visible(piece))
    out.write("\n")


class Console:
    """Prints to ``out``; nothing at all when ``quiet``."""

    def __init__(self, out: TextIO, quiet: bool = False) -> None:
        self._out = out
        self.quiet = quiet

    def say(self, *lines: str) -> None:
        """Prints lines; a line end within one is shown as an escape."""
        if not self.quiet:
            encoding = self._out.encoding or "utf-8"
            for line in lines or ("",):
                safe = shown(line).encode(encoding, "replace").decode(encoding)
                print(safe, file=self._out)
            self._out.flush()

    @contextmanager
    def progress(
        self, units: int, reports: Reports, scanned: Callable[[], int] = lambda: 0
    ) -> Iterator[None]:
        """Shows progress while the body runs: a live line on a terminal, else a line now and then.

        Args:
            units: number of work units.
            reports: returns the rows and bytes of each finished unit.
            scanned: returns the number of units that the scan has read.
        """
        if self.quiet:
            yield
            return
        done = Event()
        watch = self._watch_terminal if self._out.isatty() else self._watch_log
        thread = Thread(target=watch, args=(units, reports, scanned, done), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    @contextmanager
    def transfer(self, total: int | None) -> Iterator[Callable[[int], None]]:
        """Shows the bytes that the body passes to the yielded function, of ``total`` if known."""
        if self.quiet:
            yield lambda count: None
            return
        moved, lock, done = [0], Lock(), Event()

        def on_bytes(count: int) -> None:
            with lock:
                moved[0] += count

        watch = self._watch_bytes if self._out.isatty() else self._log_bytes
        thread = Thread(target=watch, args=(total, moved, done), daemon=True)
        thread.start()
        try:
            yield on_bytes
        finally:
            done.set()
            thread.join()

    def _watch_bytes(self, total: int | None, moved: list[int], done: Event) -> None:
        from rich.console import Console as Terminal
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Terminal(file=self._out), transient=True) as live:
            task = live.add_task("", total=total)
            while not done.wait(_TERMINAL_SECONDS):
                live.update(task, completed=moved[0])

    def _log_bytes(self, total: int | None, moved: list[int], done: Event) -> None:
        started = time.monotonic()
        while not done.wait(_LOG_SECONDS):
            of = f" of {total / 1e6:,.0f}" if total else ""
            speed = moved[0] / 1e6 / (time.monotonic() - started)
            self.say(f"  {moved[0] / 1e6:,.0f}{of} MB, {speed:,.1f} MB/s")

    def _watch_terminal(
        self, units: int, reports: Reports, scanned: Callable[[], int], done: Event
    ) -> None:
        from rich.console import Console as Terminal
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(),
        )
        started = time.monotonic()
        with Progress(*columns, console=Terminal(file=self._out), transient=True) as live:
            task = live.add_task(SCANNING, total=units)
            while not done.wait(_TERMINAL_SECONDS):
                finished = reports()
                rows = sum(report["rows"] for report in finished)
                rate = int(rows / (time.monotonic() - started))
                text, count = f"{rows:,} rows  {rate:,} rows/s, shards", len(finished)
                if not finished:
                    text, count = SCANNING, scanned()
                live.update(task, completed=count, description=text)

    def _watch_log(
        self, units: int, reports: Reports, scanned: Callable[[], int], done: Event
    ) -> None:
        started = time.monotonic()
        while not done.wait(_LOG_SECONDS):
            finished = reports()
            count = 0 if finished else scanned()
            self.say(progress_line(units, finished, time.monotonic() - started, count))


@contextmanager
def runner_output_aside() -> Iterator[None]:
    """Keeps what the runner and its worker processes write to stderr off the console.

    They print warnings, logs and the traceback of every error, even of a user's mistake, for which
    one sentence is enough.  Any other error shows all of it.
    """
    sys.stderr.flush()
    real, stderr = os.dup(2), sys.stderr
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        os.dup2(log.fileno(), 2)
        sys.stderr = log
        try:
            yield
        except DataPrepError:
            raise
        except Exception:
            if signals.received() is None:
                log.flush()
                log.seek(0)
                os.write(real, visible_lines(without_passwords(log.read())).encode())
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)
            # After a signal the worker threads continue, and fail, until the process ends.
            sys.stderr = stderr if signals.received() is None else io.StringIO()


def progress_line(
    units: int, finished: Sequence[Mapping[str, int]], seconds: float, scanned: int = 0
) -> str:
    """The plain form of the live line: rows, rows per second, shards, time left.

    Before a unit is finished it shows the number of units that the scan has read.
    """
    if scanned and not finished:
        return f"  {SCANNING}: {scanned}/{units} units"
    rows = sum(report["rows"] for report in finished)
    left = (
        f", about {seconds / len(finished) * (units - len(finished)):.0f} s left"
        if finished
        else ""
    )
    return f"  {rows:,} rows, {rows / seconds:,.0f} rows/s, {len(finished)}/{units} shards{left}"
