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
it leaves the job as a reject (see ``normalize``).
"""

from __future__ import annotations

import re


class DataPrepError(Exception):
    """Base of all errors that a user sees without a traceback."""

    exit_code = 1


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


def of_name(name: str) -> type[DataPrepError] | None:
    """The class of that name; None for an error that is not ours."""
    return _CLASSES.get(name)


# A runner hands a worker's exception over as text that ends in Python's own last traceback line,
# to which Beam adds the step: "transforms.errors.BadInput: MESSAGE [while running 'Read']".
_WORKER_LINE = re.compile(
    rf"{re.escape(__name__)}\.(?P<name>{'|'.join(_CLASSES)}): "
    r"(?P<message>.*?)(?: \[while running '|\n\n|\nTraceback|\Z)",
    re.DOTALL,
)


def from_worker(text: str) -> DataPrepError | None:
    """The error that a worker raised, read back from the text in which a runner reports it.

    Returns None where the text holds none of ours.
    """
    found = _WORKER_LINE.search(text)
    return _CLASSES[found["name"]](found["message"].strip()) if found else None
