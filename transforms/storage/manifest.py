"""Reading ``manifest.json``, also one that came from elsewhere: nothing in it is trusted as a path.

``commit`` writes it.  It names every file of a set but itself and ``dataset_dict.json``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from transforms.errors import VerificationFailed
from transforms.records import DatasetFile
from transforms.storage.names import DATASET_DICT, FORMAT_VERSION, MANIFEST

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def parse(data: bytes, where: str) -> dict[str, Any]:
    """The manifest in ``data``; ``VerificationFailed``, naming ``where``, if it is none of ours."""
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise VerificationFailed(f"{MANIFEST} of {where} is no JSON ({error})") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("plan_digest"), str):
        raise VerificationFailed(f"{MANIFEST} of {where} is not a manifest of this tool")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise VerificationFailed(
            f"{MANIFEST} of {where} has format version {manifest.get('format_version')!r}, "
            f"expected {FORMAT_VERSION}: use the version of this tool that made the set"
        )
    files(manifest, where)
    if not _are_counts(manifest.get("counts")):
        raise VerificationFailed(
            f"{MANIFEST} of {where} does not count its rows ({str(manifest.get('counts'))[:200]}); "
            "the manifest is damaged or foreign: prepare or fetch the set again"
        )
    return manifest


def files(manifest: Mapping[str, Any], where: str) -> list[DatasetFile]:
    """The files that a manifest names; ``VerificationFailed`` for names that are not the layout's.

    A name is at most one folder and a plain file name, so that it stays inside of any folder.
    """
    found = []
    entries = manifest.get("files")
    for entry in entries if isinstance(entries, list) else [None]:
        if not isinstance(entry, dict) or not _is_file(entry):
            raise VerificationFailed(
                f"{MANIFEST} of {where} lists a file that no set holds: {str(entry)[:200]}; the "
                "manifest is damaged or foreign, and nothing of it was used"
            )
        found.append(DatasetFile(entry["path"], entry["bytes"], entry["sha256"], entry["rows"]))
    names = {file.path for file in found}
    if len(names) != len(found):
        raise VerificationFailed(f"{MANIFEST} of {where} lists a file twice")
    both = names & {name.partition("/")[0] for name in names if "/" in name}
    if both:
        raise VerificationFailed(
            f"{MANIFEST} of {where} lists {both.pop()} as a file and as a folder; the manifest is "
            "damaged or foreign, and nothing of it was used"
        )
    return found


def _are_counts(counts: object) -> bool:
    if not isinstance(counts, dict) or not isinstance(counts.get("rejected"), dict):
        return False
    numbers = [counts.get(name) for name in ("read", "train", "validation", "duplicates")]
    return all(type(n) is int and n >= 0 for n in (*numbers, counts["rejected"].get("total")))


def _is_file(entry: Mapping[str, Any]) -> bool:
    path, digest = entry.get("path"), entry.get("sha256")
    return (
        isinstance(path, str)
        and _NAME.fullmatch(path) is not None
        and path not in (MANIFEST, DATASET_DICT)
        and isinstance(digest, str)
        and _SHA256.fullmatch(digest) is not None
        and all(type(entry.get(n)) is int and entry[n] >= 0 for n in ("bytes", "rows"))
    )
