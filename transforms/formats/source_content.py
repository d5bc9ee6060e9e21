"""The content of a unit's source: a hash of the bytes of the local files that it is read from.

The time and size of a file do not show every change: both can be set, and a write through a memory
map shows late.  So the first pass hashes the bytes of a unit before it reads them, and the last
pass after it did: equal hashes mean that both passes read the same rows.  The hash is kept with the
set, for a later run that finds it, and with each finished unit, for ``--resume``.

It costs a tenth of a second for a gigabyte that is in memory: the bytes that a pass reads next, or
has read just before.  XXH3 with 128 bits finds any change that nobody made in order to hide it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module

from xxhash import xxh3_128

from transforms.formats.file_state import changed_error, require_unchanged
from transforms.formats.opening import is_remote, reading
from transforms.formats.source_reader import Source, is_cuttable
from transforms.records import FileRange, WorkUnit

_STEP = 2**20

_MOST_OF_LIMITED = 64 * 2**20
"""Bytes that are hashed of a file that cannot be cut, where only some of its rows are taken."""


@dataclass(frozen=True, slots=True)
class SourceContent:
    """The hash of the bytes of each file range of a unit, 32 hex digits; () on the hub."""

    hashes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """One hash for the whole unit; "" on the hub."""
        return joined(self.hashes)


def joined(parts: Iterable[str]) -> str:
    """One hash for those of several parts in order; "" if there is none, or one is ""."""
    found = list(parts)
    return xxh3_128("".join(found).encode()).hexdigest() if found and all(found) else ""


def source_content(source: Source, unit: WorkUnit) -> SourceContent:
    """Hashes what a unit is read from.

    Raises:
        BadInput: a file is not as it was planned any more.
    """
    if is_remote(source.root):
        return SourceContent()
    return SourceContent(tuple(_content(source, each) for each in unit.file_ranges))


def require_same_content(
    source: Source, unit: WorkUnit, before: SourceContent, after: SourceContent
) -> None:
    """``BadInput``, naming the file, unless both hashes of each file range are the same."""
    if before == after:  # also on the hub, where a revision is pinned and nothing is hashed
        return
    both = zip(unit.file_ranges, before.hashes, after.hashes, strict=True)
    for file_range, first, last in both:
        if first != last:
            raise changed_error(
                source.path(file_range.file), "its bytes differ between two passes over it"
            )


def _content(source: Source, file_range: FileRange) -> str:
    path, found = source.path(file_range.file), xxh3_128()
    block = memoryview(bytearray(_STEP))
    with reading(path, file_range.state):
        require_unchanged(path, file_range.state)
        places = list(_places(source, path, file_range))
        with open(path, "rb", buffering=0) as file:
            for start, stop in places:
                file.seek(start)
                left = stop - start
                while left > 0 and (count := file.readinto(block[: min(left, _STEP)])):
                    found.update(block[:count])
                    left -= count
        require_unchanged(path, file_range.state)
    return found.hexdigest()


def _places(source: Source, path: str, file_range: FileRange) -> Iterator[tuple[int, int]]:
    """(start, stop) of the bytes from which the rows of a file range are read."""
    if file_range.stop and is_cuttable(source.file_format):
        module = import_module(f"transforms.formats.{source.file_format.name}")
        yield from module.byte_places(path, file_range)
        return
    size = os.stat(path).st_size  # noqa: PTH116 (a path is a str)
    yield 0, size if file_range.limit is None else min(size, _MOST_OF_LIMITED)
