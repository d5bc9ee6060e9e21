"""A set from S3 into a local folder: it appears there whole and checked, or not at all.

    data_cache/.NAME.download/   as far as it came: manifest.json first, dataset_dict.json last
    data_cache/.NAME.lock        held by the run that fetches, or by one that prepares a set there
    data_cache/NAME/             the set, by one rename

A run that was stopped leaves ``.NAME.download``; the next one keeps its files whose size and
SHA-256 are right.  Nothing is taken but the files that the manifest names.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from pipeline.dataset.structure import check_listed, check_structure
from pipeline.dataset.transfers import FILES_AT_ONCE, Received, Wanted, check_space, fetch, is_right
from transforms.errors import BadInput, OutputTaken, UsageError, VerificationFailed
from transforms.records import DatasetFile
from transforms.storage.checksums import sync
from transforms.storage.disk import explained, lock_beside
from transforms.storage.manifest import Manifest, read_manifest
from transforms.storage.names import DATASET_DICT, MANIFEST, SET_FOLDERS, is_set_file
from transforms.storage.own_files import check_working_folder, remove_files
from transforms.storage.parallel import in_parallel
from transforms.storage.reader import CompleteSet, LocalReader, S3Reader, complete_set
from transforms.storage.replacing import holds_anything
from transforms.storage.s3.uri import S3Options, S3Uri

_PLAIN = S3Options()
_UNFINISHED = re.compile(r"\.[0-9A-Fa-f]{8}$")
"""The ending of an unfinished file: eight digits, which the transfer manager adds."""


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
            "manifest_sha256": self.manifest.sha256,
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
    at = S3Reader(place, options)
    source = complete_set(at)
    temporary = folder.with_name(f".{folder.name}.download")
    check_listed(source)
    with explained(str(target)), _one_run(folder), _still_there(at, target):
        if holds_anything(folder):
            _check_same(folder, source)
            return Downloaded(target, place.uri, 0, len(source.files), 0, source.manifest)
        _check_renames(folder)
        missing = _prepare(temporary, folder, source)
        size = sum(file.bytes for file in missing)
        check_space(temporary, size)
        temporary.mkdir(exist_ok=True)
        _write(temporary / MANIFEST, source.manifest.document)
        fetch(
            at.bucket,
            [Wanted(place.key(f.path), f.path, f.bytes, f.sha256) for f in missing],
            temporary,
            received,
        )
        check_structure(LocalReader(str(temporary)), source)
        _write(temporary / DATASET_DICT, source.dataset_dict)
        _put_in_place(temporary, folder)
    present = len(source.files) - len(missing)
    return Downloaded(target, place.uri, len(missing), present, size, source.manifest)


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
    lock = lock_beside(folder)  # also that of ``LocalStore``
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


@contextmanager
def _still_there(at: S3Reader, target: Path) -> Iterator[None]:
    """Says of an object that is missing if the whole set is being deleted."""
    try:
        yield
    except (BadInput, VerificationFailed) as error:
        if at.look(DATASET_DICT) is not None:
            raise
        raise VerificationFailed(
            f"the set at {at.path} was deleted while it was downloaded, as prune does it; nothing "
            f"is at {target}: choose another set, as list shows them, or prepare this one again"
        ) from error


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


def _prepare(temporary: Path, folder: Path, source: CompleteSet) -> Sequence[DatasetFile]:
    """Leaves nothing in the folder but right files of this set; returns the missing ones.

    The folder is ours where it has the manifest of a set, which is the first file that is written
    there; only files that a download makes are removed from it.

    Raises:
        OutputTaken: it holds anything else.
    """
    began = _is_manifest(_content(temporary / MANIFEST), str(temporary))
    ours = _is_of_a_download if began else _is_new_manifest
    check_working_folder(temporary, ours, str(folder), SET_FOLDERS if began else ())
    if _content(temporary / MANIFEST) != source.manifest.document:
        remove_files(temporary, _is_of_a_download, last=MANIFEST)
        return source.files
    own = {MANIFEST, *(file.path for file in source.files)}
    remove_files(temporary, lambda name: name not in own and _is_of_a_download(name))
    missing = []
    for file, is_there in zip(source.files, _present(temporary, source.files), strict=True):
        if not is_there:
            (temporary / file.path).unlink(missing_ok=True)
            missing.append(file)
    return missing


def _is_manifest(data: bytes | None, where: str) -> bool:
    try:
        return data is not None and bool(read_manifest(data, where).plan_digest)
    except VerificationFailed:
        return False


def _is_of_a_download(name: str) -> bool:
    """A file of a set, or one that a transfer or ``_write`` had not finished."""
    return is_set_file(_UNFINISHED.sub("", name))


def _is_new_manifest(name: str) -> bool:
    return name != MANIFEST and _UNFINISHED.sub("", name) == MANIFEST


def _present(folder: Path, files: Sequence[DatasetFile]) -> list[bool]:
    def is_there(file: DatasetFile) -> bool:
        return is_right(folder / file.path, file.bytes, file.sha256)

    return list(in_parallel(is_there, files, FILES_AT_ONCE))


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
    unfinished = path.with_name(f"{path.name}.00000000")
    unfinished.write_bytes(data)
    sync(unfinished)
    unfinished.replace(path)
