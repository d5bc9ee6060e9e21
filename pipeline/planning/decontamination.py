"""Benchmarks whose prompts must not stand in the rows: found, read and cut into pieces.

Named as data sets are: a hub name, or a local file, folder or glob, with ``,config=``, ``,split=``
and ``,revision=`` behind it where that must be said.  Of several splits ``test`` is taken, else
``validation``, else the one that a data set's rows would come from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.planning.source_files import SourceFiles
from pipeline.planning.sources import first_rows, resolve
from pipeline.request import Request
from transforms.conversations.detect_pairs import RULES, TEXT, detect
from transforms.conversations.field_mapping import FieldMapping, PairMapping
from transforms.conversations.normalize_rows import user_prompts
from transforms.conversations.roles import role_table
from transforms.errors import BadInput, DataPrepError, UsageError
from transforms.formats import source_reader
from transforms.formats.source_reader import FileSample
from transforms.leakage.contamination import (
    LEAST_WORDS,
    Pieces,
    file_of,
    merge_pieces,
    pack,
    pieces_of,
)
from transforms.options import Benchmark
from transforms.records import FileRange

MOST_PIECES = 2**24
"""As many take 128 MB of each worker."""

_FLAG = "--decontaminate"
_OPTION = re.compile(r",(config|split|revision)=([^,]+)$")
_SPLITS = ("test", "validation")
_CUT_BYTES = 2**26
_MOST_PARTS = 64  # merged at a time, as merging sorts all of them


@dataclass(frozen=True)
class Read:
    """Benchmarks for a plan, and what workers compare with: work files by their names."""

    benchmarks: tuple[Benchmark, ...]
    files: Mapping[str, bytes]


def read_benchmarks(request: Request) -> Read:
    """The benchmarks that a request names, in its order.

    Raises what reading a data set raises, with the benchmark's name, and ``UsageError`` where one
    has no prompts that can be looked for.
    """
    found: dict[str, Benchmark] = {}
    files: dict[str, bytes] = {}
    for given in dict.fromkeys(request.decontaminate):
        with_name = f"{_FLAG} {given}"
        try:
            benchmark, data = _read(given, request)
        except DataPrepError as error:
            raise type(error)(_of_a_benchmark(str(error), with_name)) from error
        if benchmark.name in found:
            raise UsageError(f"{with_name}: {benchmark.name} is named twice; name it once")
        found[benchmark.name] = benchmark
        files[file_of(benchmark.sha256)] = data
    return Read(tuple(found.values()), files)


def _read(given: str, request: Request) -> tuple[Benchmark, bytes]:
    name, options = _parted(given)
    source = _resolved(Request(name, request.output, skip_upload=True, **options))
    found = first_rows(source, name)
    if not found.sample:
        raise BadInput(f"{name} holds no rows")
    source = replace(source, file_format=found.file_format)
    mapping = _prompts(found, request, name)
    parts, prompts, short = [merge_pieces([])], 0, 0
    for texts in _texts(source, found, mapping):
        more, too_short = pieces_of(texts)
        parts.append(more)
        prompts, short = prompts + len(texts), short + too_short
        if len(parts) > _MOST_PARTS or sum(map(_count, parts)) > MOST_PIECES:
            parts = [_merged(parts, name)]
    pieces = _merged(parts, name)
    if short == prompts:
        columns = ", ".join(mapping.columns)
        raise UsageError(
            f"none of the {prompts:,} prompts of {name} (column {columns}) has the {LEAST_WORDS} "
            "words that are looked for"
        )
    data = pack(pieces)
    pin = source.revision if source.kind == "hub" else None
    label = ",".join((name, *(f"{k}={v}" for k, v in options.items() if k != "revision")))
    return Benchmark(label, prompts, short, sha256(data).hexdigest(), pin), data


def _merged(parts: Sequence[Pieces], name: str) -> Pieces:
    pieces = merge_pieces(parts)
    if _count(pieces) > MOST_PIECES:
        raise UsageError(
            f"{name} has more than {MOST_PIECES:,} pieces of {LEAST_WORDS} to 13 words, which is "
            "more than a benchmark has; name a smaller split or file"
        )
    return pieces


def _count(pieces: Pieces) -> int:
    return sum(map(len, pieces.values()))


def _parted(given: str) -> tuple[str, dict[str, Any]]:
    """The name and the options behind it; a path that is there is a name whatever it holds."""
    options: dict[str, str] = {}
    name = given
    while not _is_path(name) and (found := _OPTION.search(name)):
        name = name[: found.start()]
        options = {found[1]: found[2], **options}
    return name, options


def _is_path(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError:  # too long, for one; what to say of it is known where it is read
        return False


def _resolved(request: Request) -> SourceFiles:
    source = resolve(request)
    wanted = next((split for split in _SPLITS if split in (source.split, *source.left_out)), None)
    if request.split or wanted in (None, source.split):
        return source
    pin = source.revision if source.kind == "hub" else None
    return resolve(replace(request, split=wanted, revision=pin))


def _prompts(found: FileSample, request: Request, name: str) -> FieldMapping:
    """Where the prompts stand: as for rows to train on, but that there may be no answers."""
    try:
        mapping = detect(found.columns, found.sample, role_table(request.roles)).mapping
    except UsageError as error:
        known = dict.fromkeys(rule.instruction for rule in RULES)
        text = {c.name.lower(): c.name for c in found.columns if c.type == TEXT}
        column = next((text[name] for name in known if name in text), None)
        if column is None:
            there = ", ".join(f"{c.name} ({c.type})" for c in found.columns) or "no columns"
            raise UsageError(
                f"cannot tell which column of {name} holds the prompts; expected a text column "
                f"named {', '.join(known)}, or columns that --dataset would take; found {there}. "
                'Write the prompts to a JSON Lines file, as {"prompt": …}, and name that'
            ) from error
        return PairMapping((column,), (column,))
    return mapping.prompts_only()


def _texts(
    source: SourceFiles, found: FileSample, mapping: FieldMapping
) -> Iterator[pa.StringArray]:
    """The prompts of all rows that have one, some thousand at a time."""
    columns = [mapping.narrowed(c) for c in found.columns if c.name in mapping.columns]
    names = [column.name for column in columns]
    for file, size in source.files:
        path = source.root + file
        for cut in source_reader.cuts(path, source.file_format, file, size, names, _CUT_BYTES):
            file_range = FileRange(cut.file, cut.start, cut.stop)
            for rows in source_reader.read(path, source.file_format, file_range, columns):
                _require_whole(rows, path, source, file_range)
                yield user_prompts(rows.table, mapping)


def _require_whole(
    rows: source_reader.SourceRows, path: str, source: SourceFiles, file_range: FileRange
) -> None:
    # A prompt that cannot be read would be one that nobody looked for.
    if rows.rejects is not None and rows.rejects.num_rows:
        reject = rows.rejects.slice(0, 1).to_pylist()[0]
        row = source_reader.first_row(path, source.file_format, file_range) + reject["row"]
        raise BadInput(
            f"{file_range.file} row {row:,} cannot be read ({reject['code']}); mend the file"
        )


def _of_a_benchmark(said: str, which: str) -> str:
    """What is said of a data set, said of a benchmark."""
    said = said.removeprefix("--dataset ").replace("--dataset", _FLAG)
    said = re.sub(r"--(config|split|revision) (\S+) (?=is not)", r",\1=\2 ", said)
    return f"{which}: " + re.sub(r"--(config|split|revision)\b", r",\1=", said)
