"""The files of a source: their revision, split, format and sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from transforms.errors import UsageError
from transforms.formats.source_reader import FileFormat
from transforms.records import FileState


@dataclass(frozen=True)
class SourceFiles:
    """The files of one split of a data set at one revision, in order.

    ``root`` + a file's name is its local path or hub address; ``files`` are (name, bytes).
    ``left_out`` names the splits that are not read.  ``states`` are those of local files, by name.
    ``notes`` are sentences about the files, for the user.
    """

    kind: str
    root: str
    revision: str
    config: str | None
    split: str
    left_out: tuple[str, ...]
    file_format: FileFormat
    files: tuple[tuple[str, int], ...]
    states: Mapping[str, FileState] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def choose_split(splits: Sequence[str], requested: str | None, dataset: str) -> str:
    """The split to read: ``requested``, else ``train``, else the first."""
    if requested is None:
        return "train" if "train" in splits else splits[0]
    if requested not in splits:
        raise UsageError(f"--split {requested} is not in {dataset}; found {', '.join(splits)}")
    return requested


def one_format(files: Sequence[str], formats: Sequence[FileFormat]) -> FileFormat:
    """The format that all files share; ``UsageError`` naming two that differ."""
    for file, file_format in zip(files, formats, strict=True):
        if file_format != formats[0]:
            raise UsageError(
                f"{files[0]} and {file} are of different formats; name one kind with a glob, such "
                "as --dataset 'FOLDER/*.jsonl'"
            )
    return formats[0]
