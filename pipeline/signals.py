"""SIGINT and SIGTERM end a run cleanly: what is staged is removed, nothing is published.

The handler raises, so that the run is unwound; and it remembers the signal, because a runner that
executes in this thread reports the interruption as a failure of the step it was in.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

_received: list[int] = []


class Stopped(BaseException):
    """Raised in the main thread when a signal asks to stop."""


def install() -> None:
    """Handles SIGINT and SIGTERM from now on."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def received() -> int | None:
    """The signal that asked to stop, if one did."""
    return _received[0] if _received else None


def _stop(number: int, frame: object) -> None:
    _received.append(number)
    raise Stopped


def leave(number: int) -> NoReturn:
    """Ends the process at once: worker threads of a runner would keep the interpreter waiting."""
    from transforms.s3_folder import remove_scratch  # not for --help

    print(
        "\nstopped: nothing was published; run again to start over, or with --resume to go on",
        file=sys.stderr,
    )
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # threads will miss what is removed
    remove_scratch()
    os._exit(128 + number)
