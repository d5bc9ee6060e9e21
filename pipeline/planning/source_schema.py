"""One schema over all files of a source, and the rows that the planning looks at.

Files of one set may differ: the first Parquet shard has only nulls in a column, or a file lacks a
column that another has.  A column that any file has is a column of the source; in a file without it
its cells are null.

Of a format with a schema every file is looked at.  Of JSON a few are sampled, spread over all,
since their rows would have to be read; ``row_checks`` finds keys that only other files have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from pipeline.planning.source_files import SourceFiles, choose_split
from transforms.conversations.column_roles import known_role
from transforms.errors import BadInput
from transforms.formats.source_reader import FileFormat, FileSample, read_columns, read_sample
from transforms.formats.source_rows import require_few
from transforms.options import NO_FLAGS, TextFlags
from transforms.storage.parallel import in_parallel

_FILES_AT_ONCE = 8
_SAMPLED_FILES = 16
_NAMED = 3
_SAMPLED_ROWS = 50
"""Rows of a further file that join the sample where they fill a column that it leaves empty."""


@dataclass(frozen=True, slots=True)
class SourceSample(FileSample):
    """The columns of all files, and sample rows.

    Attributes:
        added: columns that the first file lacks -> the first file that has them.
    """

    added: Mapping[str, str] = field(default_factory=dict)

    @property
    def difference(self) -> str:
        """A sentence about the columns that the first file lacks; "" where it has all."""
        names = [f"{column!r} is in {file}" for column, file in self.added.items()]
        few = ", ".join(names[:_NAMED]) + (", …" if names[_NAMED:] else "")
        return f" The first file does not have all columns: {few}." if names else ""


def sample_source(source: SourceFiles, dataset: str, flags: TextFlags = NO_FLAGS) -> SourceSample:
    """The columns of all files, and the first rows.

    The rows are those of the first file that has any.  Some of a further file follow where they
    fill a column whose name decides the text, and which is empty in the rows before.

    ``flags`` say how CSV is written.

    Raises:
        UsageError: ``flags`` do not apply, or more than one reading of the first file fits.
        BadInput: the files have no bytes, or one cannot be read.
    """
    names = [name for name, size in source.files if size]
    if not names:
        raise BadInput(f"{dataset} is empty: its files have no bytes")
    found, further = _first_with_rows(source, names, flags)
    columns = {column.name: column for column in found.columns}
    require_few(len(columns), dataset)
    rows = list(found.sample)
    filled = _filled(found)
    left, added = _SAMPLED_FILES, dict[str, str]()
    for name, other in _look_at(source, found.file_format, further):
        for column in other.columns:
            if column.name not in columns:
                added[column.name] = name
            if column.name not in columns or columns[column.name].type == "null":
                columns[column.name] = column
        deciding = {c.name for c in other.columns if c.type != "null" and _decides(c.name)}
        if left and not deciding <= filled:
            left -= 1
            sampled = other if other.sample else _sample(source, found.file_format, name)
            new = (_filled(sampled) & deciding) - filled
            columns |= {c.name: c for c in sampled.columns if c.name in new}
            rows += sampled.sample if new else ()
            filled |= new
        require_few(len(columns), dataset)
    return SourceSample(
        found.file_format, tuple(columns.values()), rows, keys=found.keys, added=added
    )


def settled(source: SourceFiles, found: FileSample, split: str | None, dataset: str) -> SourceFiles:
    """The source with what its first rows say: the format, and the split if that is a key.

    Raises:
        UsageError: the source has no such split.
    """
    if len(found.keys) < 2:
        choose_split([source.split], split, dataset)
        return replace(source, file_format=found.file_format)
    key = str(found.file_format.key)
    others = tuple(name for name in found.keys if name != key)
    return replace(source, file_format=found.file_format, split=key, left_out=others)


def _first_with_rows(
    source: SourceFiles, names: Sequence[str], flags: TextFlags
) -> tuple[FileSample, Sequence[str]]:
    """The first file that has rows, else the first, and the names of those after it."""
    samples = (read_sample(source.root + name, source.file_format, flags) for name in names)
    first = next(samples)
    for index, found in enumerate(chain([first], samples)):
        if found.sample:
            return found, names[index + 1 :]
    return first, ()


def _look_at(
    source: SourceFiles, file_format: FileFormat, names: Sequence[str]
) -> Iterator[tuple[str, FileSample]]:
    """Further files with their columns, and with rows where these say what the columns are."""

    def look(name: str) -> tuple[str, FileSample]:
        columns = read_columns(source.root + name, file_format)
        if columns is None:
            return name, _sample(source, file_format, name)
        return name, FileSample(file_format, columns, ())

    if names and read_columns(source.root + names[0], file_format) is None:
        step = -(-len(names) // _SAMPLED_FILES)
        names = names[step - 1 :: step]
    return in_parallel(look, names, _FILES_AT_ONCE)


def _sample(source: SourceFiles, file_format: FileFormat, name: str) -> FileSample:
    path = source.root + name
    found = read_sample(path, file_format)
    if found.file_format.name != file_format.name:
        raise BadInput(
            f"{path} and the first file are of different kinds of JSON, such as JSON Lines, a "
            "JSON array, or one object around the rows; prepare the files separately"
        )
    return replace(found, sample=found.sample[:_SAMPLED_ROWS])


def _decides(name: str) -> bool:
    role = known_role(name)
    return role is not None and role.decides_text


def _filled(found: FileSample) -> set[str]:
    """The columns with a value in the sample."""
    return {name for row in found.sample for name, cell in row.items() if cell not in _NOTHING}


_NOTHING: tuple[object, ...] = (None, "", [], {})
