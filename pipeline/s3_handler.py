"""Folders and files to S3 and back, of any layout: the helper of the guide's trainer.

    handler = S3Handler(region="us-east-1")
    handler.download_directory("my-bucket", "datasets/processed_reasoning_20251220_143022", "data")
    data = datasets.load_from_disk("data")

A set that this tool prepared is better fetched with ``pipeline.dataset.download``, which checks it
against its manifest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pipeline.dataset.transfers import FILES_AT_ONCE, Wanted, check_space, fetch, is_right
from transforms.errors import AccessDenied, BadInput, OutputTaken, StorageError, UsageError
from transforms.storage.checksums import hash_file
from transforms.storage.disk import explained
from transforms.storage.names import DATASET_DICT
from transforms.storage.parallel import for_each, in_parallel
from transforms.storage.s3.bucket import Bucket
from transforms.storage.s3.uri import S3Options, check_bucket_name

_DRIVE = re.compile(r"[A-Za-z]:")


class S3Handler:
    """Transfers between local folders and S3: in parallel, in parts, checked, with retries.

    Args:
        region: region of the buckets, where ``options`` name none.
        options: endpoint, profile, expected owner and encryption; none of them is secret.
            Credentials come from the usual AWS environment.

    Every method raises ``transforms.errors.DataPrepError`` with bucket, key and what to do:
    ``UsageError`` for names, buckets and regions that are wrong, ``AccessDenied`` for credentials
    and permissions, ``StorageError`` where network, store or disk fail after the retries,
    ``VerificationFailed`` where bytes are not what they should be.
    """

    def __init__(self, region: str = "us-east-1", options: S3Options | None = None) -> None:
        given = options or S3Options()
        self.options = replace(given, region=given.region or region)

    def upload_directory(self, local_path: str | Path, bucket: str, prefix: str) -> list[str]:
        """Sends every file below a folder to ``prefix/PATH``, over what is there; returns the keys.

        The keys are sorted.  Files named ``dataset_dict.json`` are sent when all others are there,
        so that a set never loads before it is whole.  Links that lead out of the folder, links to
        folders and files that are no plain files raise ``UsageError`` before anything is sent.
        """
        root = Path(local_path)
        prefix = prefix.strip("/")
        keys = {name: f"{prefix}/{name}" if prefix else name for name in _files_below(root)}
        for name, key in keys.items():
            _check_name(key, f"the key of {root / name}")
        store = self._bucket(bucket)
        for names in _sets_last(list(keys)):
            for_each(lambda name: _send(store, root / name, keys[name]), names, FILES_AT_ONCE)
        return sorted(keys.values())

    def download_directory(self, bucket: str, prefix: str, local_path: str | Path) -> Path:
        """Fetches every object below ``prefix/`` into a folder; returns the folder.

        Each file appears whole.  Files that are there with an object's size and SHA-256 are not
        fetched again, so a download that broke off goes on; other files of the folder are left
        alone.  Before anything is written all keys are looked at: ``UsageError`` where one would
        leave the folder or is a file and a folder at once, ``OutputTaken`` where a file of other
        content is in its place, ``BadInput`` where there is no object.
        """
        root = Path(local_path)
        store = self._bucket(bucket)
        below = f"{prefix.strip('/')}/".lstrip("/")
        objects = _objects_below(store, below)
        with explained(str(root)):
            if root.exists() and not root.is_dir():
                raise UsageError(f"{root} is a file; give a folder to download to")
            missing = _missing(store, objects, root)
            check_space(root.absolute(), sum(one.bytes for one in missing))
            root.mkdir(parents=True, exist_ok=True)
            by_name = {one.name: one for one in missing}
            for names in _sets_last(list(by_name)):
                fetch(store, [by_name[name] for name in names], root)
        return root

    def upload_file(self, local_path: str | Path, bucket: str, key: str) -> str:
        """Sends one file to ``key``, over what is there; returns its ``s3://`` address."""
        path = Path(local_path)
        if not path.is_file():
            raise UsageError(f"{path} is no file; give one to upload")
        _check_name(key, "the key")
        _send(self._bucket(bucket), path, key)
        return f"s3://{bucket}/{key}"

    def _bucket(self, name: str) -> Bucket:
        check_bucket_name(name, "the bucket", name)
        return Bucket(name, self.options)


def _sets_last(names: Sequence[str]) -> Iterator[list[str]]:
    """What may go over side by side, then what makes a set load."""
    last = [name for name in names if name.rpartition("/")[2] == DATASET_DICT]
    yield [name for name in names if name not in last]
    yield last


def _files_below(root: Path) -> list[str]:
    """Paths of all files below a folder, sorted; ``UsageError`` for what cannot be sent."""
    if not root.is_dir():
        raise UsageError(f"{root} is no folder; give one to upload")
    inside = root.resolve()
    found = []
    with _reading(root):
        for at, folders, files in os.walk(root, onerror=_raise):
            for name in files:
                if not Path(at, name).is_file():
                    raise UsageError(
                        f"{Path(at, name)} is no plain file (a broken link, a pipe or a device): "
                        "remove it; nothing was sent"
                    )
            for path in (Path(at, name) for name in (*folders, *files)):
                if not path.resolve().is_relative_to(inside):
                    raise UsageError(
                        f"{path} is a link out of {root}: put what it leads to in its place; "
                        "nothing was sent"
                    )
                if path.is_symlink() and path.is_dir():
                    raise UsageError(
                        f"{path} is a link to a folder, which S3 cannot hold: put the folder "
                        "itself in its place; nothing was sent"
                    )
            found += [Path(at, name).relative_to(root).as_posix() for name in files]
    if not found:
        raise UsageError(f"{root} holds no files; give the folder to upload")
    return sorted(found)


def _objects_below(store: Bucket, below: str) -> list[Wanted]:
    """The objects whose keys start with ``below``; ``UsageError`` for keys that are no paths."""
    found = []
    for key, size, _ in store.keys(below):
        name = key[len(below) :]
        if size == 0 and (not name or name.endswith("/")):
            continue  # what consoles put there to show a folder
        _check_name(name, f"the key s3://{store.name}/{key}")
        found.append(Wanted(key, name, size, None))
    if not found:
        raise BadInput(f"s3://{store.name}/{below} holds no objects; check the address")
    folders = {str(parent) for one in found for parent in Path(one.name).parents}
    for one in found:
        if one.name in folders:
            raise UsageError(
                f"the key s3://{store.name}/{one.key} is a file and a folder at once, which no "
                "disk can hold; nothing was written: rename one of them"
            )
    return found


def _check_name(name: str, what: str) -> None:
    """``UsageError`` for a key that would be no path below a folder, on any system."""
    unfit = any(part in ("", ".", "..") for part in name.split("/"))
    unfit = unfit or "\\" in name or "\0" in name or _DRIVE.match(name) is not None
    if unfit or any("\ud800" <= character <= "\udfff" for character in name):
        raise UsageError(
            f"{what} ({name!r}) is no path below a folder on every system: it has an empty part, "
            "'.', '..', a backslash, a drive letter, NUL or bytes that are no text; nothing was "
            "written: rename it"
        )


def _missing(store: Bucket, objects: Sequence[Wanted], root: Path) -> list[Wanted]:
    """The objects that are no files yet; ``OutputTaken`` where another file is in the place."""

    def is_there(wanted: Wanted) -> bool:
        path = root / wanted.name
        if not path.exists():
            return False
        stored = store.head(wanted.key)
        digest = stored.sha256 if stored else None
        if is_right(path, wanted.bytes, digest):
            return digest is not None  # else its bytes may be others
        raise OutputTaken(
            f"{path} is there already, with other content than s3://{store.name}/{wanted.key}; "
            "nothing was written: give another folder, or move the file away"
        )

    there = in_parallel(is_there, objects, FILES_AT_ONCE)
    return [one for one, is_one in zip(objects, there, strict=True) if not is_one]


def _send(store: Bucket, path: Path, key: str) -> None:
    with _reading(path):
        store.upload(path, key, *hash_file(path))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise AccessDenied(f"no permission to read {error.filename or path}") from error
    except OSError as error:
        raise StorageError(f"cannot read {path} ({error}); nothing more was sent") from error


def _raise(error: OSError) -> None:
    raise error
