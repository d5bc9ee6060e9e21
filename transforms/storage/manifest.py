"""``manifest.json`` as one frozen value: the only reader, and the writer of its JSON.

It names every file of a set but itself and ``dataset_dict.json``.  A manifest may come from
elsewhere, so nothing in it is trusted: sizes and nesting are limited, every part has its type, and
a name becomes a path only where it is that of a file of a set.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import UNSET, Struct

from transforms.errors import VerificationFailed
from transforms.records import DatasetFile, Shard
from transforms.storage.manifest_parts import (
    PlanFacts,
    Quality,
    RowCounts,
    Run,
    SetShape,
    Training,
)
from transforms.storage.names import FORMAT_VERSION, MANIFEST, may_be_listed

MOST_BYTES = 2**30
"""A larger file is refused unread: a set of 100,000 work units has a manifest of some 65 MB."""

_TOOL = "reasonforge-data-prep"
_SHA256 = re.compile(r"[0-9a-f]{64}")
AGAIN = "prepare or fetch the set again"


class ManifestFacts(Struct, frozen=True, kw_only=True):
    """What a manifest says of a set; a part that an older set lacks is None."""

    format_version: int = FORMAT_VERSION
    plan_digest: str
    counts: RowCounts
    files: tuple[DatasetFile, ...]
    dataset: str | None = None
    revision: str | None = None
    plan: PlanFacts | None = None
    quality: Quality | None = None
    config: dict[str, object] | None = None
    shape: SetShape | None = None
    training: Training | None = None
    run: Run | None = None


class Manifest(ManifestFacts, frozen=True, kw_only=True):
    """A manifest that was read; ``document`` is its JSON, with keys that no part names."""

    document: bytes

    @property
    def sha256(self) -> str:
        """SHA-256 of the file in hex: it stands for the whole set, whose files the manifest names.

        The manifest cannot hold it; users keep it elsewhere.
        """
        return hashlib.sha256(self.document).hexdigest()

    def to_json(self) -> dict[str, object]:
        """The whole document, for users and for ``--json``."""
        found: dict[str, object] = msgspec.json.decode(self.document)
        return found


def read_manifest(data: bytes, where: str) -> Manifest:
    """The manifest in ``data``, which is that of the set at ``where``.

    Raises:
        VerificationFailed: ``data`` is not a manifest, or one of a newer format, or a part is not
            what it must be.  The message names the part by its JSON path.
    """
    if len(data) > MOST_BYTES:
        raise VerificationFailed(
            f"{MANIFEST} of {where} has {len(data):,} bytes, expected at most {MOST_BYTES:,}: it "
            f"is damaged or foreign; {AGAIN}"
        )
    _check_format(data, where)
    try:
        facts = msgspec.json.decode(data, type=ManifestFacts)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _unreadable(error, where) from error
    for number, file in enumerate(facts.files):
        _check_file(file, f"$.files[{number}]", where)
    _check_names([file.path for file in facts.files], where)
    return Manifest(**msgspec.structs.asdict(facts), document=data)


class _Header(Struct):
    plan_digest: str
    format_version: object = None
    run: object = None


def _check_format(data: bytes, where: str) -> None:
    try:
        header = msgspec.json.decode(data, type=_Header)
    except msgspec.ValidationError as error:
        problem = json_problem(error)
        raise VerificationFailed(
            f"{MANIFEST} of {where} is not a manifest of this tool: {problem}; {AGAIN}"
        ) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise VerificationFailed(f"{MANIFEST} of {where} is no JSON ({error}); {AGAIN}") from error
    found = header.format_version
    if type(found) is int and found > FORMAT_VERSION:
        run = header.run if isinstance(header.run, dict) else {}
        versions = run.get("versions")
        tool = versions.get(_TOOL) if isinstance(versions, dict) else None
        needed = f"{_TOOL} {tool} or newer" if isinstance(tool, str) else f"a newer {_TOOL}"
        raise VerificationFailed(
            f"{MANIFEST} of {where} has format version {found}, and this version of the tool reads "
            f"versions up to {FORMAT_VERSION}: install {needed}"
        )
    if type(found) is not int or found != FORMAT_VERSION:  # true and 1.0 equal 1
        raise VerificationFailed(
            f"{MANIFEST} of {where} has format version {found!r}, expected {FORMAT_VERSION}: it is "
            f"damaged or foreign; {AGAIN}"
        )


def json_problem(error: Exception) -> str:
    """What msgspec found wrong, as ``$.counts.train: expected int, found str``."""
    if isinstance(error, RecursionError):
        return "$: the values are nested too deeply"
    what, _, path = str(error).partition(" - at ")
    what = what.replace("`", "").replace(", got ", ", found ")
    return f"{path.strip('`') or '$'}: {what[:1].lower()}{what[1:]}"


def _unreadable(error: Exception, where: str) -> VerificationFailed:
    return VerificationFailed(
        f"{MANIFEST} of {where} is damaged or foreign: {json_problem(error)}; {AGAIN}"
    )


# ---- the files that it names


def _check_file(file: DatasetFile, path: str, where: str) -> None:
    """Only names of a set's files: they stay inside of any folder, and no program is among them."""
    found: tuple[str, object] | None = None
    if not may_be_listed(file.path):
        found = "path", file.path
    elif _SHA256.fullmatch(file.sha256) is None:
        found = "sha256", file.sha256
    elif file.bytes < 0:
        found = "bytes", file.bytes
    elif file.rows < 0:
        found = "rows", file.rows
    if found:
        raise VerificationFailed(
            f"{MANIFEST} of {where} lists a file that no set holds: {path}.{found[0]} is "
            f"{repr(found[1])[:200]}; the manifest is damaged or foreign, and nothing of it was "
            f"used; {AGAIN}"
        )


def _check_names(paths: Sequence[str], where: str) -> None:
    names = set(paths)
    if len(names) != len(paths):
        (twice, _), *_ = Counter(paths).most_common(1)
        raise VerificationFailed(
            f"{MANIFEST} of {where} lists a file twice: {twice} in $.files; it is damaged or "
            f"foreign; {AGAIN}"
        )


# ---- writing


def manifest_json(
    facts: ManifestFacts, plan: object, files: Sequence[Shard | DatasetFile]
) -> Iterator[str]:
    """The JSON of a manifest in small pieces, with the whole ``plan`` and these ``files``."""
    return json_text({**_fields(facts), "plan": plan, "files": files})


def json_text(value: object) -> Iterator[str]:
    """JSON as ``save_to_disk`` writes it (two spaces, sorted keys), in small pieces.

    Equal values give equal bytes.  Files and parts of a manifest are written as their objects.
    """
    encoder = json.JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False, default=_fields)
    return encoder.iterencode(value)


def _fields(value: object) -> dict[str, object]:
    if isinstance(value, Shard | DatasetFile):
        return {
            "path": value.path,
            "bytes": value.bytes,
            "sha256": value.sha256,
            "rows": value.rows,
        }
    if isinstance(value, Struct):
        fields = msgspec.structs.asdict(value)
        return {name: each for name, each in fields.items() if each is not UNSET}
    raise TypeError(f"{type(value).__name__} is not a part of a manifest")
