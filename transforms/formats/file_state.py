"""Is a local source file still the one that was planned?

A job reads a file up to three times, and its work units follow from the file's size.  A change
between would mix rows of two states, so it ends the job.  Files on the hub are fixed by their
revision.

The plan keeps the ``FileState`` of each file, and whoever reads a piece compares it before and
after.  Another machine than the one that planned compares sizes and whole seconds alone: a share
may show coarser times there, and has another ``FileState.changed``.  What no state shows, as a
write through a memory map, ``source_content`` finds.
"""

from __future__ import annotations

import os
from stat import S_ISREG

from xxhash import xxh3_64_hexdigest

from transforms.errors import BadInput
from transforms.records import FileState

_SECOND = 10**9


def state_of(path: str | os.PathLike[str]) -> FileState:
    """The state of a file; ``OSError`` where there is none."""
    return _state(os.stat(path))  # noqa: PTH116 (a path may be a str)


def _state(found: os.stat_result) -> FileState:
    # Hashed, since work files that lie on S3 need not name machines.
    host = xxh3_64_hexdigest(os.uname().nodename.encode())
    return FileState(found.st_size, found.st_mtime_ns, found.st_ctime_ns, host)


def require_unchanged(path: str, planned: FileState | None) -> None:
    """``BadInput`` where the file at ``path`` is not as it was ``planned``; None fits any file."""
    what = difference(path, planned)
    if what:
        raise changed_error(path, what)


def changed_error(path: str, what: str) -> BadInput:
    """The error for a file that was changed in the middle of a job."""
    return BadInput(
        f"{path} changed while it was read ({what}), and rows of two states must not be mixed; "
        "nothing was published: run again when nothing writes to it"
    )


def difference(path: str, planned: FileState | None) -> str | None:
    """How the file at ``path`` differs from what was ``planned``; None where it does not."""
    if planned is None:
        return None
    try:
        found = os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return "it is gone"
    except OSError as error:
        return f"it cannot be found any more: {error.strerror}"
    state = _state(found)
    if not S_ISREG(found.st_mode):
        return "it is not a file any more"
    if state.size != planned.size:
        return f"it had {planned.size:,} bytes and has {state.size:,}"
    unit = 1 if state.host == planned.host else _SECOND
    if state.modified // unit != planned.modified // unit:
        return "it was written to or replaced"
    if state.host == planned.host and state.changed != planned.changed:
        return "it was replaced, or its times or permissions were set"
    return None
