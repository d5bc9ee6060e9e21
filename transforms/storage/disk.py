"""What both sides of a local folder need: errors of its disk, and the lock of its name."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from transforms.errors import AccessDenied, OutputTaken, StorageError


def lock_beside(folder: Path) -> FileLock:
    """The lock ``.NAME.lock`` of a folder, which is always an empty file.

    Raises:
        OutputTaken: another kind of file has its name; taking the lock would empty it.
    """
    path = folder.with_name(f".{folder.name}.lock")
    try:
        found = path.lstat()
    except FileNotFoundError:
        return FileLock(path)
    if not stat.S_ISREG(found.st_mode) or found.st_size:
        raise OutputTaken(
            f"{path} is in the way of the lock of {folder}, which is an empty file of that name: "
            "move it away, or give another folder"
        )
    return FileLock(path)


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Turns what a disk refuses into an error that names it."""
    try:
        yield
    except PermissionError as error:
        raise AccessDenied(f"no permission to write {error.filename or path}") from error
    except OSError as error:
        raise StorageError(
            f"cannot write {path} ({error.strerror or error}); nothing was published: make room or "
            "repair the disk, then run again"
        ) from error
