"""Sends a prepared local set to S3: data first, ``dataset_dict.json`` last, so it never half loads.

What lies at the address already with the right size and SHA-256 is not sent again, so an upload
that broke off goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from pipeline.dataset.structure import check_structure
from transforms.errors import DataPrepError, OutputTaken, UsageError, VerificationFailed
from transforms.records import DatasetFile
from transforms.storage import names
from transforms.storage.manifest import Manifest
from transforms.storage.manifest_parts import Run
from transforms.storage.parallel import for_each
from transforms.storage.reader import LocalReader, complete_set
from transforms.storage.s3.store import S3Store

_FILES_AT_ONCE = 4
_DATED = re.compile(r"\d{8}_\d{6}(_\d+)?$")
_SAYS_WHERE = "says_where_the_set_is_kept"  # attribute of an error that ``kept`` has raised

OnBytes = Callable[[int], None]
OnFile = Callable[[str], None]


@dataclass(frozen=True)
class Uploaded:
    """A set at ``uri``: its manifest, the keys of its files in the order of sending, warnings.

    ``sent`` counts the files that were not there before.
    """

    uri: str
    manifest: Manifest
    keys: tuple[str, ...]
    sent: int
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """What ``--json`` prints."""
        return {
            "s3_uri": self.uri,
            "files": list(self.keys),
            "sent": self.sent,
            "counts": self.manifest.to_json()["counts"],
            "manifest_sha256": self.manifest.sha256,
            "warnings": list(self.warnings),
        }


def local_manifest(local: Path) -> Manifest:
    """The manifest of a complete local set.

    Raises:
        UsageError: there is no set.
        VerificationFailed: what makes the set load is not what this tool writes.
    """
    if not (local / names.DATASET_DICT).is_file() or not (local / names.MANIFEST).is_file():
        raise UsageError(
            f"{local} holds no complete set ({names.DATASET_DICT} and {names.MANIFEST} are "
            "expected there); prepare it first"
        )
    at = LocalReader(str(local))
    found = complete_set(at)
    check_structure(at, found)
    return found.manifest


@contextmanager
def claimed(stores: Iterable[S3Store], plan_digest: str, resume: bool) -> Iterator[S3Store]:
    """Holds the first of these places that no other run holds."""
    with ExitStack() as held:
        taken: OutputTaken | None = None
        for store in stores:
            try:
                held.enter_context(store.claimed(plan_digest, resume))
            except OutputTaken as error:
                taken = error
                continue
            yield store
            return
        raise taken or UsageError("no place to upload to")


def send(local: Path, store: S3Store, on_bytes: OnBytes, on_file: OnFile) -> Uploaded:
    """Uploads the set at ``local`` to a place that is held.

    Args:
        local: the folder of the set.
        store: the place.
        on_bytes: called with a number of bytes that were sent or were there already.
        on_file: called with a line for the user for each file.

    Raises:
        VerificationFailed: a local file is not what its manifest says.
        OutputTaken: the place holds a set of this plan with other bytes.
    """
    manifest = local_manifest(local)
    steps = _in_order(local, manifest)
    present = store.manifest()
    if present and present.files != manifest.files:
        raise OutputTaken(
            f"{store.path} already holds a set of this plan whose bytes are others (made by other "
            "versions of this tool or its libraries), and a set in use is never changed; give "
            "another address"
        )
    sent = 0
    for files in steps:  # one step is whole before the next begins
        there = store.present(files)
        for_each(
            lambda one: _send_one(local, store, *one, manifest, on_bytes, on_file),
            zip(files, there, strict=True),
            _FILES_AT_ONCE,
        )
        sent += there.count(False)
    return Uploaded(
        uri=store.path,
        manifest=manifest,
        keys=tuple(store.place.key(file.path) for files in steps for file in files),
        sent=sent,
        warnings=tuple(store.sweep()),
    )


def _in_order(local: Path, manifest: Manifest) -> list[list[DatasetFile]]:
    """What may be sent side by side, and what only when all before it is there.

    The manifest that is sent must be the one that was read: another run may replace the set.
    """
    data = [file for file in manifest.files if file.path.endswith((".arrow", ".jsonl"))]
    small = [file for file in manifest.files if file not in data]
    listing = (local / names.DATASET_DICT).read_bytes()
    last = ((names.MANIFEST, manifest.document), (names.DATASET_DICT, listing))
    return [data, small, *([_described(name, content)] for name, content in last)]


def _described(name: str, content: bytes) -> DatasetFile:
    return DatasetFile(name, len(content), hashlib.sha256(content).hexdigest(), 0)


def _send_one(
    local: Path,
    store: S3Store,
    file: DatasetFile,
    is_there: bool,
    manifest: Manifest,
    on_bytes: OnBytes,
    on_file: OnFile,
) -> None:
    if is_there:
        on_bytes(file.bytes)
        on_file(f"✓ Already there: {file.path}")
    elif file.path == names.DATASET_DICT:
        store.put_last(names.DATASET_DICT_CONTENT, manifest.sha256)
        on_bytes(file.bytes)
        on_file(f"✓ Uploaded: {file.path}")
    else:
        key = store.place.key(file.path)
        store.bucket.upload(_inside(local, file), key, file.bytes, file.sha256, on_bytes)
        on_file(f"✓ Uploaded: {file.path}")


def _inside(local: Path, file: DatasetFile) -> Path:
    path = local / file.path
    if not path.is_file() or not path.resolve().is_relative_to(local.resolve()):
        raise VerificationFailed(
            f"{path} is missing, or a link out of the set, but the manifest names it; prepare the "
            "set again"
        )
    return path


@contextmanager
def kept(local: Path, store: S3Store) -> Iterator[None]:
    """Adds to an error of an upload where the set is kept, and how to send it later."""
    try:
        yield
    except DataPrepError as error:
        if getattr(error, _SAYS_WHERE, False):
            raise
        # With --resume, for this run may have died without the means to give its claim back.
        words = [str(local), store.path, "--resume", *store.options.flags()]
        named = type(error)(
            f"{error}. The prepared set is kept at {local}; send it later with: python -m pipeline "
            f"upload {shlex.join(words)}"
        )
        setattr(named, _SAYS_WHERE, True)
        raise named from error


def note(cache: Path, uploaded: Uploaded, dataset: str) -> tuple[Path | None, str]:
    """``write_metadata``, and the line to tell; a failure undoes nothing: the set is published."""
    try:
        path = write_metadata(cache, uploaded, dataset)
    except (OSError, UsageError) as error:
        return None, f"Warning: the set is published, but no record of it was written: {error}"
    return path, f"Metadata saved to: {path}"


def write_metadata(cache: Path, uploaded: Uploaded, dataset: str) -> Path:
    """The guide's ``upload_metadata_TIMESTAMP.json`` in the local cache; returns its path.

    The guide's four fields, and what the manifest at the address says.
    """
    dated = _DATED.search(uploaded.uri)  # the time that the address names, where it names one
    stamp = dated[0] if dated else f"{datetime.now(timezone.utc):%Y%m%d_%H%M%S}"
    manifest = uploaded.manifest
    content = {
        "dataset_name": dataset,
        "s3_uri": uploaded.uri,
        "timestamp": stamp,
        "files": list(uploaded.keys),
        "counts": manifest.to_json()["counts"],
        "bytes": sum(file.bytes for file in manifest.files),
        "sha256": {file.path: file.sha256 for file in manifest.files},
        "manifest_sha256": manifest.sha256,
        "revision": manifest.revision,
        "plan_digest": manifest.plan_digest,
        "versions": (manifest.run or Run()).versions or {},
    }
    cache.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        suffix = f"_{number}" if number > 1 else ""
        path = cache / f"upload_metadata_{stamp}{suffix}.json"
        try:
            with open(path, "xb") as file:
                file.write(json.dumps(content, indent=2, ensure_ascii=False).encode())
        except FileExistsError:
            continue
        return path
    raise UsageError(f"{cache} holds a thousand upload records of this second")
