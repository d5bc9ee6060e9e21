"""What makes a set load, checked against its manifest: the small files, their names, their values.

A manifest may come from anybody, with digests that fit.  So a set is more than its digests: it has
every file that its readers need, ``state.json`` leads to its own shards alone, and neither of its
JSON files says more than this tool writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from transforms.chat.output_columns import OutputColumns
from transforms.dataset.layout import split_files
from transforms.errors import VerificationFailed
from transforms.records import DatasetFile
from transforms.split import SPLITS
from transforms.storage.entries import FILE, foreign, origin
from transforms.storage.manifest import Manifest
from transforms.storage.names import (
    CARD,
    DATASET_DICT,
    DATASET_DICT_CONTENT,
    DATASET_INFO,
    MANIFEST,
    REPORT,
    STATE,
)
from transforms.storage.reader import CompleteSet, DatasetReader
from transforms.text.visible import visible

_CHARS = 200
_FINGERPRINT = re.compile("[0-9a-f]{16}")


def columns_of(manifest: Manifest, path: str) -> OutputColumns:
    """The columns of a set's shards; sets from before there were shapes have the default ones.

    Raises:
        VerificationFailed: no set has such columns.
    """
    found = manifest.shape
    if found is None:
        return OutputColumns()
    try:
        columns = OutputColumns(found.names, found.reasoning, found.tools)
        columns.schema  # noqa: B018 (raises where a column is unknown)
    except (KeyError, TypeError, AttributeError) as error:
        raise VerificationFailed(
            f"{path} has a {MANIFEST} whose shape cannot be read; fetch or make the set again"
        ) from error
    return columns


def check_listed(found: CompleteSet) -> None:
    """``VerificationFailed`` where the manifest's list is not that of a set; reads nothing."""
    _raise_first(_listing_problems(found.manifest, found.dataset_dict), found.path)


def check_structure(at: DatasetReader, found: CompleteSet) -> None:
    """``VerificationFailed`` with the first problem of ``structure_problems``.

    Args:
        at: the files, of which those are read that make the splits load.
        found: the set that they are of.
    """
    _raise_first(structure_problems(at, found.manifest, found.dataset_dict), found.path)


def _raise_first(problems: Sequence[str], where: str) -> None:
    for problem in problems:
        raise VerificationFailed(
            f"{where} is no set of this tool, or was changed: {problem}; prepare or publish it "
            "again"
        )


def structure_problems(at: DatasetReader, manifest: Manifest, dataset_dict: bytes) -> list[str]:
    """What is wrong with the files that make a set load, and with the manifest's list of files."""
    problems = _listing_problems(manifest, dataset_dict)
    columns = columns_of(manifest, at.path)
    for split in SPLITS:
        problems += _split_problems(at, split, manifest.files, columns)
    return problems


def _listing_problems(manifest: Manifest, dataset_dict: bytes) -> list[str]:
    problems = []
    if dataset_dict != DATASET_DICT_CONTENT:
        problems.append(
            f"{DATASET_DICT} does not name the splits {' and '.join(SPLITS)} and nothing else"
        )
    names = {file.path for file in manifest.files}
    needed = [CARD, REPORT] if manifest.quality else [CARD]  # the report came with the quality
    needed += [f"{split}/{name}" for split in SPLITS for name in (STATE, DATASET_INFO)]
    problems += [f"{MANIFEST} does not name {name}" for name in needed if name not in names]
    for split in SPLITS:
        if not any(name.startswith(f"{split}/data-") for name in names):
            problems.append(f"{split}/ has no shard in {MANIFEST}: the set cannot be loaded")
    return problems


def foreign_problems(at: DatasetReader, files: Sequence[DatasetFile]) -> list[str]:
    """What lies at the place and is no file of the set."""
    problems = []
    for one in foreign(at.entries(), [file.path for file in files]):
        cure = "remove it" if one.kind == FILE else "move it away"
        problems.append(
            f"'{visible(one.name)[:_CHARS]}' is not part of the set ({origin(one)}): {cure}, for "
            "what reads the folder may read it too"
        )
    return problems


def _split_problems(
    at: DatasetReader, split: str, files: Sequence[DatasetFile], columns: OutputColumns
) -> list[str]:
    # Sorted by number: from the 100,000th on their numbers are longer.
    shards = sorted(
        (file for file in files if file.path.startswith(f"{split}/data-")),
        key=lambda file: (len(file.path), file.path),
    )
    problems = []
    for name, expected in split_files(split, shards, "", columns).items():
        try:
            data = at.read(name)
        except VerificationFailed as error:
            problems.append(str(error))
            continue
        if data is not None:
            problems += _wrong_values(name, data, json.loads(expected))
    return problems


def _wrong_values(name: str, data: bytes, expected: dict[str, Any]) -> list[str]:
    """What a ``state.json`` or ``dataset_info.json`` says that no set of these shards says."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or (name.endswith(STATE) and not _entries(found)):
        what = "it lists no shards" if name.endswith(STATE) else "it is no object of JSON"
        return [f"{name} is damaged: {what}"]
    if name.endswith(STATE):
        wrong = _wrong_shard(found["_data_files"], expected["_data_files"])
        if wrong:
            return [f"{name} {wrong}"]
        mark = found.get("_fingerprint")
        if isinstance(mark, str) and _FINGERPRINT.fullmatch(mark):
            expected = {**expected, "_fingerprint": mark}
    for key in sorted({*found, *expected}):
        if key not in expected:
            return [f"{name} has the key {_shown(key)}, which no set has"]
        if key not in found:
            return [f"{name} lacks the key {_shown(key)}"]
        if json.dumps(found[key], sort_keys=True) != json.dumps(expected[key], sort_keys=True):
            told, right = _shown(found[key]), _shown(expected[key])
            right = "16 hexadecimal digits" if key == "_fingerprint" else right
            return [f"{name} says {told} as {key}, expected {right}"]
    return []


def _entries(state: dict[str, Any]) -> bool:
    return isinstance(state.get("_data_files"), list)


def _wrong_shard(found: list[Any], expected: list[Any]) -> str | None:
    """The first of a state's shards that is not the manifest's."""
    if found == expected:
        return None
    pairs = enumerate(zip(found, expected, strict=False))
    number = next((n for n, (one, right) in pairs if one != right), min(len(found), len(expected)))
    told, right = (
        _shown(_filename(shards[number])) if number < len(shards) else "nothing"
        for shards in (found, expected)
    )
    return f"names {told} as shard {number}, expected {right}"


def _filename(entry: Any) -> object:
    """The name alone, of an entry that says no more; the whole entry otherwise."""
    plain = isinstance(entry, dict) and entry.keys() <= {"filename"}
    return entry.get("filename") if plain else entry


def _shown(value: object) -> str:
    return repr(value)[:_CHARS]
