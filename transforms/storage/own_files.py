"""What in a folder on this disk is ours, and the removal of that alone, file by file.

A folder may hold what a user put there: notes, checkpoints, a trainer's caches.  So no folder is
ever removed as a whole.  A finished set is replaced only if nothing but its files is there, each
with the size and SHA-256 that its manifest says; a working folder is emptied only of names that a
run gives.  Everything else is named in an error, and stays.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from transforms.errors import OutputTaken, VerificationFailed
from transforms.records import DatasetFile
from transforms.storage.checksums import hash_file
from transforms.storage.entries import FILE, FOLDER, foreign, local_entries, named
from transforms.storage.manifest import AGAIN, Manifest, read_manifest
from transforms.storage.names import DATASET_DICT, DATASET_DICT_CONTENT, MANIFEST, SET_FOLDERS
from transforms.storage.parallel import in_parallel
from transforms.storage.reader import LocalReader, readable

HASHED_AT_ONCE = 8

_Signature = tuple[int, ...]
_CACHES = "cache-*.arrow files are a trainer's and may be deleted"


@dataclass(frozen=True)
class OldSet:
    """A finished set in a folder that holds nothing else, as it was when it was looked at.

    ``signatures`` has inode, size and times of each of its files, () of one that is missing: a file
    that is written afterwards has another one.
    """

    manifest: Manifest
    signatures: dict[str, _Signature]

    def remove(self, folder: Path) -> None:
        """Removes its files from ``folder`` (where it was moved to), if they are as they were.

        The manifest goes last, so that a removal that broke off can be repeated.  Whatever else is
        there stays, and the folder with it.
        """
        last = self.signatures.keys() - {MANIFEST}
        for name in (*sorted(last, key=lambda name: name != DATASET_DICT), MANIFEST):
            signature = self.signatures[name]
            if signature and _signature(folder / name) == signature:
                (folder / name).unlink(missing_ok=True)
        remove_empty(folder)

    def check_unchanged(self, folder: Path, path: str, cure: str = "") -> None:
        """``OutputTaken`` where ``folder``, to which it was moved from ``path``, changed since."""
        now = {name: _signature(folder / name) for name in self.signatures}
        changed = [name for name in now if now[name] != self.signatures[name]]
        _refuse(path, [one.name for one in foreign(local_entries(folder), now)], changed, cure)


def old_set(folder: Path, cure: str = "") -> OldSet:
    """The set in a folder that an overwrite may remove; reads and hashes all its files.

    Args:
        folder: where it is.
        cure: what a user can do besides moving what is in the way; another ``--output`` if "".

    Raises:
        OutputTaken: it holds anything but the files of one set with their bytes.
    """
    path = str(folder)
    signatures = {name: _signature(folder / name) for name in (MANIFEST, DATASET_DICT)}
    manifest = own_manifest(folder, path)
    check_nothing_else(folder, manifest, path, cure)
    last = LocalReader(str(folder)).read(DATASET_DICT)
    changed = [] if last in (None, DATASET_DICT_CONTENT) else [DATASET_DICT]

    def is_right(file: DatasetFile) -> bool:
        signatures[file.path] = found = _signature(folder / file.path)
        if not found:
            return True  # a file that is missing is not lost by an overwrite
        with readable(file.path):
            return hash_file(folder / file.path) == (file.bytes, file.sha256)

    right = in_parallel(is_right, manifest.files, HASHED_AT_ONCE)
    changed += [file.path for file, fits in zip(manifest.files, right, strict=True) if not fits]
    _refuse(path, [], changed, cure)
    return OldSet(manifest, signatures)


def own_manifest(folder: Path, path: str) -> Manifest:
    """The manifest of the set in a folder; ``OutputTaken`` where there is none of ours to read."""
    try:
        data = LocalReader(str(folder)).read(MANIFEST)
        if data is not None:
            return read_manifest(data, path)
        why = f"it has no {MANIFEST}"
    except VerificationFailed as error:
        why = str(error).removesuffix(f"; {AGAIN}")
    raise OutputTaken(
        f"{path} exists and holds no prepared data set, so it is left alone even with "
        f"--overwrite ({why}); move it away, or give another --output"
    )


def check_nothing_else(folder: Path, manifest: Manifest, path: str, cure: str = "") -> None:
    """``OutputTaken`` where a folder holds anything but files that its manifest lists."""
    found = foreign(local_entries(folder), [file.path for file in manifest.files])
    _refuse(path, [one.name for one in found], [], cure)


def _refuse(path: str, others: Sequence[str], changed: Sequence[str], cure: str) -> None:
    if not others and not changed:
        return
    parts = []
    if others:
        parts.append(f"{_count(others)} not of the set there ({named(others)})")
    if changed:
        parts.append(f"{_count(changed)} changed since the set was made ({named(changed)})")
    caches = f" ({_CACHES})" if any("/cache-" in name for name in others) else ""
    raise OutputTaken(
        f"{path} holds {' and '.join(parts)}, so it is left alone even with --overwrite: move "
        f"what you want to keep elsewhere{caches}, {cure or 'or give another --output'}"
    )


def _count(names: Sequence[str]) -> str:
    return "1 entry that is" if len(names) == 1 else f"{len(names):,} entries that are"


def remove_files(folder: Path, is_ours: Callable[[str], bool], last: str = "") -> None:
    """Removes the plain files of a working folder whose names are ours; ``last`` after the others.

    What cannot be removed stays, as does everything else.
    """
    ours = [one.name for one in local_entries(folder) if one.kind == FILE and is_ours(one.name)]
    for name in sorted(ours, key=lambda name: name == last):
        with suppress(OSError):
            (folder / name).unlink()
    remove_empty(folder)


def remove_empty(folder: Path) -> None:
    """Removes a folder of a set, and its folders, if they are empty."""
    for name in (*SET_FOLDERS, ""):
        with suppress(OSError):  # it holds something, or is gone
            (folder / name).rmdir()


def check_working_folder(
    folder: Path, is_ours: Callable[[str], bool], path: str, folders: Sequence[str] = ()
) -> None:
    """``OutputTaken`` where a folder that a run at ``path`` would empty holds what is not ours.

    Args:
        folder: the working folder, which need not exist.
        is_ours: whether a plain file's name is one that a run gives.
        path: what a user would call the place of the set.
        folders: the names of folders that a run makes in it.
    """
    if not folder.is_symlink() and not folder.exists():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise OutputTaken(
            f"{folder} is in the way of a run at {path}, which needs a folder there: move it away, "
            "or give another --output"
        )
    others = [
        one.name
        for one in local_entries(folder)
        if not (one.kind == FILE and is_ours(one.name))
        and not (one.kind == FOLDER and one.name.rstrip("/") in folders)
    ]
    if others:
        raise OutputTaken(
            f"{folder}, the working folder of a run at {path}, holds {_count(others)} not of a "
            f"run ({named(others)}), so nothing was changed: move what you want to keep "
            "elsewhere, delete the folder, or give another --output"
        )


def _signature(path: Path) -> _Signature:
    """Inode, size and times of a plain file; () where there is none."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return ()
    if not stat.S_ISREG(found.st_mode):
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
