"""The benchmarks that a request names: resolves and reads them, and cuts prompts into n-grams.

A benchmark is named as a data set is: a hub name, or a local file, folder or glob; ``,config=C``,
``,split=S`` and ``,revision=R`` may follow.  The default split is ``test``, else ``validation``,
else the default of a data set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pyarrow as pa

from pipeline.planning.source_files import SourceFiles
from pipeline.planning.source_schema import sample_source, settled
from pipeline.planning.sources import resolve
from pipeline.request import Request
from transforms.conversations.column_roles import NAMES, Role, fold_name
from transforms.conversations.detect_pairs import detect
from transforms.conversations.field_mapping import FieldMapping
from transforms.conversations.normalize_rows import user_prompts
from transforms.conversations.pair_mapping import PairMapping
from transforms.conversations.roles import role_table
from transforms.conversations.sampled_columns import TEXT
from transforms.errors import BadInput, DataPrepError, UsageError
from transforms.formats import source_reader
from transforms.formats.source_reader import FileSample
from transforms.leakage.contamination import (
    LEAST_WORDS,
    Pieces,
    merge_pieces,
    pieces_file,
    pieces_of,
    pieces_to_bytes,
)
from transforms.options import Benchmark
from transforms.records import FileRange
from transforms.text.addresses import shown_address

MOST_PIECES = 2**24
"""They take 128 MB of each worker's memory."""

_FLAG = "--decontaminate"
_OPTION = re.compile(r",(config|split|revision)=([^,]+)$")
_SPLITS = ("test", "validation")
_CUT_BYTES = 2**26
_MOST_PARTS = 64  # merged at a time, as merging sorts all of them


@dataclass(frozen=True)
class Benchmarks:
    """Benchmarks for a plan, and the work files by name that workers compare rows with."""

    benchmarks: tuple[Benchmark, ...]
    files: Mapping[str, bytes]


def read_benchmarks(request: Request) -> Benchmarks:
    """The benchmarks that a request names, in its order.

    Raises:
        UsageError: a benchmark has no prompts that are long enough to search for.
        DataPrepError: it cannot be read; the message names the benchmark.
    """
    found: dict[str, Benchmark] = {}
    files: dict[str, bytes] = {}
    for given in dict.fromkeys(request.decontaminate):
        with_name = f"{_FLAG} {shown_address(given)}"
        try:
            benchmark, data = _read(given, request)
        except DataPrepError as error:
            raise type(error)(_of_a_benchmark(str(error), with_name)) from error
        if benchmark.name in found:
            raise UsageError(f"{with_name}: {benchmark.name} is named twice; name it once")
        found[benchmark.name] = benchmark
        files[pieces_file(benchmark.sha256)] = data
    return Benchmarks(tuple(found.values()), files)


def _read(given: str, request: Request) -> tuple[Benchmark, bytes]:
    name, options = _parse(given)
    named = Request(
        name,
        request.output,
        config=options.get("config"),
        split=options.get("split"),
        revision=options.get("revision"),
        skip_upload=True,
    )
    source = _resolved(named)
    found = sample_source(source, name, named.text_flags)
    if not found.sample:
        raise BadInput(f"{name} contains no rows")
    source = settled(source, found, named.split, name)
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
            "words that a search needs"
        )
    data = pieces_to_bytes(pieces)
    pin = source.revision if source.kind == "hub" else None
    label = ",".join((name, *(f"{k}={v}" for k, v in options.items() if k != "revision")))
    return Benchmark(label, prompts, short, sha256(data).hexdigest(), pin), data


def _merged(parts: Sequence[Pieces], name: str) -> Pieces:
    pieces = merge_pieces(parts)
    if _count(pieces) > MOST_PIECES:
        raise UsageError(
            f"{name} has more than {MOST_PIECES:,} n-grams of {LEAST_WORDS} to 13 words, too "
            "many for a benchmark; name a smaller split or file"
        )
    return pieces


def _count(pieces: Pieces) -> int:
    return sum(map(len, pieces.values()))


def _parse(given: str) -> tuple[str, dict[str, str]]:
    """The name and the options after it; an existing path is a name, whatever it contains."""
    options: dict[str, str] = {}
    name = given
    while not _is_path(name) and (found := _OPTION.search(name)):
        name = name[: found.start()]
        options = {found[1]: found[2], **options}
    return name, options


def _is_path(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError:  # such as a name that is too long; resolving it raises the error
        return False


def _resolved(request: Request) -> SourceFiles:
    source = resolve(request)
    preferred = next(
        (split for split in _SPLITS if split in (source.split, *source.left_out)), None
    )
    if request.split or preferred in (None, source.split):
        return source
    pin = source.revision if source.kind == "hub" else None
    return resolve(replace(request, split=preferred, revision=pin))


def _prompts(found: FileSample, request: Request, name: str) -> FieldMapping:
    """The columns of the prompts: detected as for a data set, but there may be no answers."""
    try:
        choice = detect(found.columns, found.sample, role_table(request.roles), "first")
        if choice.guess:
            raise UsageError("no name says the prompt")
        return choice.mapping.prompts_only()
    except UsageError as error:
        known = (*NAMES[Role.PROMPT], *NAMES[Role.INPUT])
        text = {fold_name(c.name): c.name for c in found.columns if c.type == TEXT}
        column = next((text[name] for name in map(fold_name, known) if name in text), None)
        if column is None:
            there = ", ".join(f"{c.name} ({c.type})" for c in found.columns) or "no columns"
            raise UsageError(
                f"cannot tell which column of {name} holds the prompts; expected a text column "
                f"named {', '.join(known)}, or columns that --dataset would take; found {there}. "
                'Write the prompts to a JSON Lines file, as {"prompt": …}, and name that'
            ) from error
        return PairMapping((column,), (column,))


def _texts(
    source: SourceFiles, found: FileSample, mapping: FieldMapping
) -> Iterator[pa.StringArray]:
    """The prompts of all rows that have one, in batches of some thousand."""
    columns = [
        mapping.narrowed(c, found.sample) for c in found.columns if c.name in mapping.columns
    ]
    names = [column.name for column in columns]
    for file, size in source.files:
        path = source.root + file
        for cut in source_reader.cuts(path, source.file_format, file, size, names, _CUT_BYTES):
            file_range = FileRange(cut.file, cut.start, cut.stop, state=source.states.get(file))
            for rows in source_reader.read(path, source.file_format, file_range, columns):
                _require_whole(rows, path, source, file_range)
                yield user_prompts(rows.table, mapping)


def _require_whole(
    rows: source_reader.SourceRows, path: str, source: SourceFiles, file_range: FileRange
) -> None:
    # Else a prompt that cannot be read would silently not be searched for.
    if rows.rejects is not None and rows.rejects.num_rows:
        reject = rows.rejects.slice(0, 1).to_pylist()[0]
        row = source_reader.first_row(path, source.file_format, file_range) + reject["row"]
        raise BadInput(
            f"{file_range.file} row {row:,} cannot be read ({reject['code']}); correct the file"
        )


def _of_a_benchmark(message: str, benchmark: str) -> str:
    """An error message about a data set, reworded for a benchmark."""
    message = message.removeprefix("--dataset ").replace("--dataset", _FLAG)
    message = re.sub(r"--(config|split|revision) (\S+) (?=is not)", r",\1=\2 ", message)
    return f"{benchmark}: " + re.sub(r"--(config|split|revision)\b", r",\1=", message)
