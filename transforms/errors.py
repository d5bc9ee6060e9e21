"""What can go wrong with a request or the world, and the exit code of each.

    DataPrepError              1  anything else
    |-- UsageError             2  the request is wrong or incomplete
    |-- BadInput               3  the source cannot be read
    |-- AccessDenied           4  credentials are missing, wrong or not enough
    |-- StorageError           5  storage or network failed after retries; a rerun is safe
    |-- RunnerFailed           5  a cluster cannot do the job, or gave it up; a rerun is safe
    |-- OutputTaken            6  the output holds something else, or another run writes it
    |-- VerificationFailed     7  a result does not add up, or a set is not what it was
    `-- GateFailed             8  the set is not of the quality that was asked for

Every message says what was expected, what was found and what to do.  A bad *row* is not an error:
it leaves the job as a reject (see ``conversations.normalize_rows``).

From a worker an error comes back to the launcher as text alone: a Python traceback, and around it
what the runner adds.  Beam re-raises a step's error as ``type(error)(error.args[0] + " [while
running …]", *error.args[1:])``.  So each error keeps its message a second time, as its last
argument, and one whose text was changed on its way ends in a marker with class and message, which
``from_worker`` reads.
"""

from __future__ import annotations

import json
import re


class DataPrepError(Exception):
    """Base of all errors that a user sees without a traceback.

    Args:
        text: The message; after Beam has re-raised the error, the message and the step's name.
        message: The message as it was raised; the same as ``text`` if it is not given.
    """

    exit_code = 1

    def __init__(self, text: str = "", message: str | None = None) -> None:
        super().__init__(text, text if message is None else message)

    def __str__(self) -> str:
        text, message = self.args
        return str(text) if text == message else f"{text}\n{_marker(type(self).__name__, message)}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class UsageError(DataPrepError):
    """The request is wrong or incomplete."""

    exit_code = 2


class BadInput(DataPrepError):
    """The source cannot be read."""

    exit_code = 3


class AccessDenied(DataPrepError):
    """Credentials are missing, wrong or not enough."""

    exit_code = 4


class StorageError(DataPrepError):
    """Storage or network failed after its retries; running again is safe."""

    exit_code = 5


class RunnerFailed(DataPrepError):
    """A cluster cannot do the job, or gave it up; running again is safe."""

    exit_code = 5


class OutputTaken(DataPrepError):
    """The output holds something else, or another run is writing it."""

    exit_code = 6


class VerificationFailed(DataPrepError):
    """A result does not add up and was not published, or a set is not what was published."""

    exit_code = 7


class GateFailed(DataPrepError):
    """The set is not of the quality that was asked for, and was not published."""

    exit_code = 8


_ALL: list[type[DataPrepError]] = [DataPrepError, *DataPrepError.__subclasses__()]
_CLASSES = {error.__name__: error for error in _ALL}
_MARKER = re.compile("reasonforge-error:([0-9a-f]+);")


def class_of_name(name: str) -> type[DataPrepError] | None:
    """The class of that name; None for an error that is not ours."""
    return _CLASSES.get(name)


def _marker(name: str, message: str) -> str:
    """Class and message in hex, which survives being quoted by runners of several languages."""
    return f"reasonforge-error:{json.dumps([name, message]).encode().hex()};"


def from_worker(text: str) -> DataPrepError | None:
    """The error that a worker raised, from the text in which a runner reports it.

    The last one, where there are several: Python prints the errors first that led to it.  None
    where the text has no marker of ours.
    """
    found = _MARKER.findall(text)
    if not found:
        return None
    name, message = json.loads(bytes.fromhex(found[-1]))
    return _CLASSES[name](message)
