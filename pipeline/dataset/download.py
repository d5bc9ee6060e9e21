"""A set from S3 into a local folder: it appears there whole and checked, or not at all.

    data_cache/.NAME.download/   as far as it came: manifest.json first, dataset_dict.json last
    data_cache/.NAME.lock        held by the run that fetches, or by one that prepares a set there
    data_cache/NAME/             the set, by one rename

A run that was stopped leaves ``.NAME.download``; the next one keeps its files whose size and
SHA-256 are right.  Nothing is taken but the files that the manifest names.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.dataset.transfers import FILES_AT_ONCE, Received, Wanted, check_space, fetch, is_right
from transforms.dataset import layout
from transforms.errors import OutputTaken, UsageError, VerificationFailed
from transforms.records import DatasetFile
from transforms.split import SPLITS
from transforms.storage.checksums import sync
from transforms.storage.disk import explained
from transforms.storage.manifest import Manifest
from transforms.storage.names import DATASET_DICT, MANIFEST
from transforms.storage.parallel import in_parallel
from transforms.storage.reader import CompleteSet, S3Reader, complete_set
from transforms.storage.s3.uri import S3Options, S3Uri

_PLAIN = S3Options()


@dataclass(frozen=True)
class Downloaded:
    """A set that is whole and checked at ``path``.

    ``fetched`` and ``present`` count the files of its manifest that this run fetched, and those
    that were there already; ``bytes`` are those of the fetched ones.
    """

    path: Path
    uri: str
    fetched: int
    present: int
    bytes: int
    manifest: Manifest

    def to_json(self) -> dict[str, object]:
        """What ``--json`` prints."""
        return {
            "path": str(self.path),
            "uri": self.uri,
            "fetched": self.fetched,
            "present": self.present,
            "bytes": self.bytes,
            "manifest": self.manifest.to_json(),
        }


def download(
    uri: str, target: Path, options: S3Options = _PLAIN, received: Received | None = None
) -> Downloaded:
    """Fetches the set at ``uri`` into the folder ``target``: a new one, or empty, or this very set.

    ``received`` hears of bytes as they come, from one thread at a time; a negative number takes
    back bytes that must come again.

    Raises ``VerificationFailed`` where no complete set is, or a file is not what its manifest says;
    ``OutputTaken`` where the target holds anything else, or another run writes it; ``StorageError``
    where the disk has no room or the network fails: what was fetched is kept for the next run.
    """
    place, folder = S3Uri.parse(uri), _folder(target)
    source = _source(S3Reader(place, options))
    temporary = folder.with_name(f".{folder.name}.download")
    with explained(str(target)), _one_run(folder):
        if _holds_anything(folder):
            _check_same(folder, source)
            return Downloaded(target, place.uri, 0, len(source.files), 0, source.manifest)
        _check_renames(folder)
        missing = _prepare(temporary, source)
        size = sum(file.bytes for file in missing)
        check_space(temporary, size)
        temporary.mkdir(exist_ok=True)
        _write(temporary / MANIFEST, source.manifest.document)
        fetch(
            S3Reader(place, options).bucket,
            [Wanted(place.key(f.path), f.path, f.bytes, f.sha256) for f in missing],
            temporary,
            received,
        )
        _check_states(temporary, source)
        _write(temporary / DATASET_DICT, source.dataset_dict)
        _put_in_place(temporary, folder)
    present = len(source.files) - len(missing)
    return Downloaded(target, place.uri, len(missing), present, size, source.manifest)


def _source(at: S3Reader) -> CompleteSet:
    found = complete_set(at)
    # It has no SHA-256 in the manifest, and names the folders that are read.
    if found.dataset_dict != layout.dataset_dict():
        raise VerificationFailed(
            f"{DATASET_DICT} of {at.path} is not that of a set of this tool (found "
            f"{found.dataset_dict[:100]!r}); publish the set again"
        )
    return found


def _folder(target: Path) -> Path:
    """The target as an absolute path; a link is written where it points."""
    try:
        folder = target.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, NUL, a long name
        raise UsageError(f"{target} cannot be a folder ({error}); give another one") from error
    if not folder.name:
        raise UsageError(f"{target} is the root folder; give a folder inside of it")
    return folder


def _check_renames(folder: Path) -> None:
    if folder.is_mount() or folder == Path.cwd():
        raise UsageError(
            f"{folder} is a mount point or the current folder, which a rename cannot replace; give "
            f"a folder inside of it, such as {folder / 'dataset'}"
        )


@contextmanager
def _one_run(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))  # also that of ``LocalStore``
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputTaken(
            f"another run is writing {folder}; wait for it, or give another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _holds_anything(folder: Path) -> bool:
    return folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))


def _check_same(folder: Path, source: CompleteSet) -> None:
    """``OutputTaken`` unless the folder holds this very set, whole."""
    own = {MANIFEST: source.manifest.document, DATASET_DICT: source.dataset_dict}
    if any(_content(folder / name) != data for name, data in own.items()):
        raise OutputTaken(
            f"{folder} is there already and does not hold the set at {source.path}; expected an "
            "empty folder or none: give another one, or move this one away"
        )
    for file, is_there in zip(source.files, _present(folder, source.files), strict=True):
        if not is_there:
            raise OutputTaken(
                f"{folder} holds the set at {source.path}, but its {file.path} is missing or "
                "damaged: move the folder away, then download it again"
            )


def _prepare(temporary: Path, source: CompleteSet) -> Sequence[DatasetFile]:
    """Leaves nothing in the folder but right files of this set; returns the missing ones."""
    if temporary.is_symlink():
        temporary.unlink()  # what it leads to is not ours
    if _content(temporary / MANIFEST) != source.manifest.document:
        if temporary.exists():
            shutil.rmtree(temporary)
        return source.files
    _remove_others(temporary, {MANIFEST, *(file.path for file in source.files)})
    missing = []
    for file, is_there in zip(source.files, _present(temporary, source.files), strict=True):
        if not is_there:
            (temporary / file.path).unlink(missing_ok=True)
            missing.append(file)
    return missing


def _remove_others(folder: Path, names: set[str]) -> None:
    """Removes what a killed transfer left behind, and links, which might lead out."""
    parents = {name.rpartition("/")[0] for name in names}
    for at, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(at, name)
            place = path.relative_to(folder).as_posix()
            if path.is_symlink() or (name in files and place not in names):
                path.unlink()
            elif name in folders and place not in parents:
                shutil.rmtree(path)
        folders[:] = [name for name in folders if Path(at, name).exists()]


def _present(folder: Path, files: Sequence[DatasetFile]) -> list[bool]:
    def is_there(file: DatasetFile) -> bool:
        return is_right(folder / file.path, file.bytes, file.sha256)

    return list(in_parallel(is_there, files, FILES_AT_ONCE))


def _check_states(folder: Path, source: CompleteSet) -> None:
    """``VerificationFailed`` where a split would read files that are no part of the set."""
    names = {file.path for file in source.files}
    for split in SPLITS:
        where = f"{source.path}/{split}/state.json"
        try:
            state = json.loads((folder / split / "state.json").read_bytes())
            listed = [f"{split}/{file['filename']}" for file in state["_data_files"]]
        except (FileNotFoundError, ValueError, LookupError, TypeError) as error:
            raise VerificationFailed(
                f"{where} is missing or lists no files, so the set cannot be loaded; publish it "
                "again"
            ) from error
        foreign = next((name for name in listed if name not in names), None)
        if foreign:
            raise VerificationFailed(
                f"{where} lists {foreign}, which {MANIFEST} does not: the set would read files "
                "that are not its own; publish it again"
            )


def _put_in_place(temporary: Path, folder: Path) -> None:
    for path in (*temporary.glob("*/"), temporary):
        sync(path)
    try:
        temporary.replace(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        raise OutputTaken(
            f"{folder} was made by something else meanwhile; what was fetched is kept in "
            f"{temporary}: move {folder.name} away, then run again"
        ) from error
    sync(folder.parent)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    sync(path)
