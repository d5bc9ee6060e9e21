"""SIGINT and SIGTERM end a run cleanly: staged files are removed, nothing is published.

The handler raises, which unwinds the run.  It also remembers the signal, because a runner that
executes in this thread reports the interruption as a failure of its current step.  Further
signals (wrappers pass them on twice, users press Ctrl-C again) do not disturb the unwinding, unless
it takes longer than ``_PATIENCE_SECONDS``: then a signal ends the process at once.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from typing import NoReturn

_PATIENCE_SECONDS = 5.0

_received: list[tuple[int, float]] = []


class Stopped(BaseException):
    """Raised in the main thread by a signal."""


def install() -> None:
    """Handles SIGINT and SIGTERM from now on."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def received() -> int | None:
    """The signal that stopped the run, if one did."""
    return _received[0][0] if _received else None


def _stop(number: int, frame: object) -> None:
    _received.append((number, time.monotonic()))
    if len(_received) == 1:
        raise Stopped
    if time.monotonic() - _received[0][1] > _PATIENCE_SECONDS:
        leave(number)


def leave(number: int) -> NoReturn:
    """Ends the process at once: worker threads of a runner would keep the interpreter waiting."""
    from transforms.storage.s3.store import remove_scratch

    with suppress(RuntimeError):  # a handler may interrupt a write
        sys.stdout.flush()
        sys.stderr.flush()
    text = "stopped: nothing was published; run again to start over, or with --resume to continue"
    os.write(2, f"\n{text}\n".encode())
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # threads fail when their files are removed
    remove_scratch()
    os._exit(128 + number)
