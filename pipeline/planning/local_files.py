"""Local files: those that a glob finds, each once, and what they must be to be read.

A glob's ``**`` does not follow links to folders, which may form a loop.  Files that are the same
one, by a link or twice in a list, are read once.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from transforms.errors import AccessDenied, BadInput, UsageError
from transforms.formats.file_names import FIRST_BYTES, check_first_bytes
from transforms.formats.source_rows import FileFormat

_KINDS = {
    stat.S_ISFIFO: "a pipe",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISSOCK: "a socket",
}
_REPOSITORY = "datasets--*"
"""Name of a repository's folder in the hub's cache; beside snapshots/ it has blobs/ and refs/."""


def matching(pattern: str) -> list[Path]:
    """The files that a glob finds, sorted; hidden ones only where the pattern names them."""
    if "**" not in pattern:
        found: Iterable[str | Path] = glob.glob(pattern)
    else:
        start, rest = _halves(pattern)
        found = (path for path in start.glob(rest) if not _is_hidden(path.relative_to(start), rest))
    return sorted(path for path in map(Path, found) if not path.is_dir())


def _halves(pattern: str) -> tuple[Path, str]:
    """The folder before the first part with a wildcard, and the rest."""
    parts = Path(pattern).parts
    first = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first]), os.path.join(*parts[first:])


def _is_hidden(path: Path, pattern: str) -> bool:
    return "/." not in f"/{pattern}" and any(part.startswith(".") for part in path.parts)


def each_once(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The files without those that are another one of them, and a sentence on each of these."""
    first: dict[tuple[int, int], Path] = {}
    notes = []
    for path in paths:
        state = path.stat()
        known = first.setdefault((state.st_dev, state.st_ino), path)
        if known is not path:
            same = "is named twice" if path == known else f"is the same file as {known.name}"
            notes.append(f"{path.name} {same}, and is read once")
    return list(first.values()), notes


def check_files(paths: Sequence[Path], file_format: FileFormat) -> None:
    """Looks at the kind of each file and at its first bytes.

    Raises:
        UsageError: one is no regular file.
        BadInput: one is not what its name says, such as a Git LFS pointer.
    """
    for path in paths:
        check_regular(path)
        try:
            with open(path, "rb", buffering=0) as file:
                check_first_bytes(str(path), file_format, file.read(FIRST_BYTES))
        except PermissionError as error:
            raise AccessDenied(f"no permission to read {path}") from error
        except OSError as error:
            raise BadInput(f"cannot read {path} ({error.strerror or error})") from error


def check_regular(path: Path) -> None:
    """``UsageError`` for what can be read once only, or has no end: it is not opened."""
    mode = path.stat().st_mode
    for is_kind, what in _KINDS.items():
        if is_kind(mode):
            raise UsageError(
                f"{path} is {what}, but the job reads its source more than once; write the rows "
                "to a file, and name that"
            )


def snapshot_of(folder: Path) -> Path:
    """The folder itself, or the snapshot to read if it is one of the hub's cache.

    Raises:
        UsageError: several data sets or snapshots are there.
    """
    repositories = [path for path in folder.glob(_REPOSITORY) if (path / "snapshots").is_dir()]
    if len(repositories) > 1:
        names = ", ".join(sorted(path.name for path in repositories)[:5])
        raise UsageError(f"{folder} is a cache with several data sets; name one of them: {names}")
    repository = repositories[0] if repositories else folder
    if folder.name == "snapshots":
        repository = folder.parent
    snapshots = repository / "snapshots"
    if not (snapshots.is_dir() and (repository / "blobs").is_dir()):
        return folder
    found = sorted(path for path in snapshots.iterdir() if path.is_dir())
    main = repository / "refs" / "main"
    if main.is_file():
        commit = main.read_text("utf-8", "replace").strip()
        found = [path for path in found if path.name == commit] or found
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:5]) or "none"
        raise UsageError(f"{repository} has several snapshots, or none; name one: {names}")
    return found[0]


def link_root(folder: Path) -> Path:
    """The folder that links in ``folder`` may lead into: in the hub's cache the repository."""
    for parent in folder.parents:
        if parent.name == "snapshots" and (parent.parent / "blobs").is_dir():
            return parent.parent
    return folder
