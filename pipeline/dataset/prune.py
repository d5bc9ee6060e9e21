"""Which sets on S3 are old, and how one is deleted: its own objects, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pipeline.dataset.catalog import MARKS, ListedDataset, newest_first
from transforms.errors import OutputTaken, UsageError, VerificationFailed
from transforms.records import DatasetFile
from transforms.storage.entries import named
from transforms.storage.manifest import AGAIN, read_manifest
from transforms.storage.names import MANIFEST
from transforms.storage.parallel import for_each, in_parallel
from transforms.storage.reader import S3Reader, is_left_by_a_run
from transforms.storage.s3.store import REQUESTS_AT_ONCE
from transforms.storage.s3.uri import S3Options, S3Uri

_FROM_ENVIRONMENT = S3Options()


def plan_prune(sets: Sequence[ListedDataset], keep: int) -> list[ListedDataset]:
    """The complete sets beyond the newest ``keep``; a set that is not complete is left alone."""
    if keep < 1:
        raise UsageError(f"--keep must be 1 or more, found {keep}: prune never deletes every set")
    return newest_first([one for one in sets if one.complete])[keep:]


def prune(uri: str, options: S3Options = _FROM_ENVIRONMENT) -> int:
    """Deletes the set at an address; how many objects that were.

    The file that makes it load goes first, so no reader ever meets half of it, and what tells that
    this was a set goes last, so that a deletion that broke off can be repeated.

    Raises:
        UsageError: there is no set, or there are other sets below it.
        OutputTaken: other objects are there, or an object of the set has changed.
    """
    place = S3Uri.parse(uri)
    at = S3Reader(place, options)
    start = place.key("")
    # With the closing slash: a sibling whose name is longer starts with the same characters.
    sizes = {key.removeprefix(start): size for key, size, _ in at.bucket.keys(start)}
    if not place.prefix or not sizes.keys() & set(MARKS):
        raise UsageError(
            f"{uri} holds no set (expected {', '.join(MARKS)} right below it), so nothing was "
            "deleted; give the address of one set, as list shows it"
        )
    for name in sizes:
        folder, _, last = name.rpartition("/")
        if folder and last in MARKS:
            raise UsageError(
                f"{uri} holds other sets too, such as {folder}, so nothing was deleted; move them "
                "elsewhere first"
            )
    files = _own_files(at, sizes)
    first, *end = MARKS
    at.bucket.delete([place.key(first)] if first in sizes else [])
    left_by_runs = [n for n in sizes if n not in MARKS and is_left_by_a_run(n, sizes[n])]
    between = [*(file.path for file in files), *left_by_runs]
    for_each(lambda name: at.bucket.delete([place.key(name)]), between, REQUESTS_AT_ONCE)
    at.bucket.delete([place.key(name) for name in end if name in sizes])
    return len(sizes)


def _own_files(at: S3Reader, sizes: dict[str, int]) -> list[DatasetFile]:
    """The files of the set that are there; ``OutputTaken`` where anything else is."""
    files = _manifest_files(at) if MANIFEST in sizes else ()
    listed = {file.path for file in files}
    foreign = [
        name
        for name, size in sizes.items()
        if name not in listed and name not in MARKS and not is_left_by_a_run(name, size)
    ]
    if foreign:
        raise _kept(at, "not of the set", foreign)
    there = [file for file in files if file.path in sizes]
    right = in_parallel(lambda file: _is_right(at, file), there, REQUESTS_AT_ONCE)
    changed = [file.path for file, fits in zip(there, right, strict=True) if not fits]
    if changed:
        raise _kept(at, "changed since the set was published", changed)
    return there


def _kept(at: S3Reader, what: str, names: Sequence[str]) -> OutputTaken:
    count = "1 object that is" if len(names) == 1 else f"{len(names):,} objects that are"
    return OutputTaken(
        f"{at.path} holds {count} {what} ({named(names)}), so nothing of it was deleted: move "
        "what you want to keep elsewhere, or delete the set with a tool of your store"
    )


def _manifest_files(at: S3Reader) -> Sequence[DatasetFile]:
    try:
        data = at.read(MANIFEST)
        return () if data is None else read_manifest(data, at.path).files
    except VerificationFailed as error:
        raise OutputTaken(
            f"what belongs to the set at {at.path} is not known, so nothing of it was deleted: "
            f"{str(error).removesuffix(f'; {AGAIN}')}; delete it with a tool of your store"
        ) from error


def _is_right(at: S3Reader, file: DatasetFile) -> bool:
    """Has an object the bytes that the manifest says?  It is read where the store cannot tell."""
    seen = at.look(file.path)
    if seen is None:
        return True
    if seen.size != file.bytes:
        return False
    if seen.sha256 is not None:
        return seen.sha256 == file.sha256
    found = hashlib.sha256()
    for chunk in at.chunks(file.path):
        found.update(chunk)
    return found.hexdigest() == file.sha256
