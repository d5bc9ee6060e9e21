"""What the readers share: the rows they yield, how files are opened, how failures are named."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.errors import AccessDenied, BadInput, DataPrepError, StorageError
from transforms.records import ROW, Column, one_array
from transforms.units import Cut

BATCH_BYTES = 4 * 2**20
"""About how many bytes of source a reader takes at a time: some thousand rows, cache-friendly."""

MAX_ROW_BYTES = 64 * 2**20
"""A longer row is a reject: no training example is that long, and memory must stay flat."""

SAMPLE_ROWS = 500

_LEAST_FETCH = 2**16
_MOST_FETCH = 8 * 2**20
_HELD_FETCHES = 4
"""Bytes of one request to the hub, and answers that an open file keeps: one for each of some
columns that are read side by side."""

_HUB_TIMEOUT_SECONDS = 15.0
_HUB_RETRIES = 9
_HUB_LONGEST_WAIT = 16.0
"""Waits of 1, 2, 4, 8, 16, 16, … seconds: an outage of a minute and a half ends no long job, and
one that lasts ends it."""


@dataclass(frozen=True, slots=True)
class Format:
    """How a source's files are read; ``name`` is the reader's module."""

    name: str
    compression: str | None = None
    delimiter: str = ","


@dataclass(frozen=True, slots=True)
class Peek:
    """The columns of a file in its order, and its first rows (what of them could become text)."""

    form: Format
    columns: tuple[Column, ...]
    sample: Sequence[Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows of a piece: those that could be read, and rejects for those that not.

    ``table`` has the asked columns and ``ROW``; ``read`` counts both kinds.
    """

    table: pa.Table
    rejects: pa.Table | None = None

    @property
    def read(self) -> int:
        """How many source rows these are."""
        bad = 0 if self.rejects is None else self.rejects.num_rows
        return int(self.table.num_rows + bad)

    def head(self, count: int) -> Rows:
        """The first ``count`` of these rows in source order."""
        if self.rejects is None or self.read <= count:
            return self if self.read <= count else Rows(self.table.slice(0, count))
        numbers = sorted(self.table[ROW].to_pylist() + self.rejects["row"].to_pylist())
        end = numbers[count - 1]
        rejects = self.rejects.filter(pc.less_equal(self.rejects["row"], end))
        return Rows(self.table.filter(pc.less_equal(self.table[ROW], end)), rejects)


def numbered(table: pa.Table, first: int) -> pa.Table:
    """The table with a ``ROW`` column that counts from ``first``."""
    return table.append_column(ROW, pa.array(np.arange(first, first + table.num_rows)))


def type_name(kind: pa.DataType) -> str:
    """The name of an Arrow type in a ``Column``: every text type is ``string``."""
    if isinstance(kind, pa.BaseExtensionType):
        return type_name(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return type_name(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "string"
    if pa.types.is_integer(kind):
        return "int64"
    if pa.types.is_floating(kind):
        return "double"
    if _is_list(kind):
        return "list"
    if pa.types.is_struct(kind) or pa.types.is_map(kind):
        return "struct"
    return re.sub(r"(?s)(.{60}).+", r"\1…", str(kind))


def _is_list(kind: pa.DataType) -> bool:
    views = pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
    plain = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return bool(views or plain or pa.types.is_fixed_size_list(kind))


def sampled(schema: pa.Schema) -> list[str]:
    """The columns that could become text: text, numbers, and lists that hold no media."""
    return [field.name for field in schema if _could_be_text(field.type)]


def _could_be_text(kind: pa.DataType) -> bool:
    name = type_name(kind)
    if name == "list":
        return _could_be_text(kind.value_type)
    if name == "struct" and pa.types.is_struct(kind):
        return all(_could_be_text(field.type) for field in kind)
    return name in ("string", "int64", "double", "bool", "null")


def typed_columns(schema: pa.Schema, path: str) -> tuple[Column, ...]:
    """The columns of a file that declares its types; ``BadInput`` if a name stands twice."""
    unique_names(schema.names, path)
    return tuple(Column(field.name, type_name(field.type)) for field in schema)


def unique_names(names: Sequence[str], path: str) -> None:
    """``BadInput`` if a column name stands twice: which one was meant cannot be told."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInput(
            f"{path} has more than one column named {', '.join(map(repr, twice))}; rename them"
        )


def check_schema(schema: pa.Schema, columns: Sequence[Column], path: str) -> None:
    """``BadInput`` unless the file has the plan's columns with the plan's types, in any order."""
    found = {column.name: column.type for column in typed_columns(schema, path)}
    for column in columns:
        if column.name not in found:
            raise BadInput(
                f"{path} has no column {column.name!r}, which the first file has; found "
                f"{', '.join(found) or 'none'}. Leave the file out, or prepare it by itself"
            )
        if found[column.name] != column.type:
            raise BadInput(
                f"column {column.name!r} is {found[column.name]} in {path}, but {column.type} in "
                "the first file; make the types equal, or prepare the files separately"
            )


def as_text(table: pa.Table, columns: Sequence[Column]) -> pa.Table:
    """The asked columns in the asked order; text of any Arrow kind as plain ``string``."""
    arrays = [
        table[c.name].cast(pa.string()) if c.type == "string" else _storage(table[c.name])
        for c in columns
    ]
    return pa.table(arrays, names=[c.name for c in columns]) if arrays else table.select([])


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if _holds_json(column.type):
        cells = [_json_cell(cell, column.type) for cell in as_bytes(one_array(column)).to_pylist()]
        return pa.chunked_array([pa.array(cells, pa.binary()).view(pa.string())])
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _holds_json(kind: pa.DataType) -> bool:
    """Are there values that are stored as JSON text each, as ``datasets`` does with what has no
    one type?"""
    if isinstance(kind, pa.JsonType):
        return True
    if pa.types.is_struct(kind):
        return any(_holds_json(field.type) for field in kind)
    return _is_list(kind) and _holds_json(kind.value_type)


def _json_cell(cell: object, kind: pa.DataType) -> bytes | None:
    """A cell of such lists as JSON text; what cannot be that is a bad cell of its row alone."""
    if cell is None:
        return None
    try:
        return json.dumps(_opened(cell, kind), ensure_ascii=False).encode()
    except UnicodeError:
        return b"\xff"
    except (ValueError, RecursionError):
        return b""


def _opened(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if isinstance(kind, pa.JsonType):
        return json.loads(value.decode())
    if pa.types.is_struct(kind):
        # Arrow gives each object the keys of all the others.
        kept = {name: item for name, item in value.items() if item is not None}
        return {name: _opened(item, kind.field(name).type) for name, item in kept.items()}
    if _is_list(kind):
        return [_opened(item, kind.value_type) for item in value]
    return value.decode() if isinstance(value, bytes) else value


def text_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Sample rows: text as text, numbers and lists as they are, other columns left out."""
    kinds = {field.name: type_name(field.type) for field in table.schema}
    text = as_text(table, [Column(name, kinds[name]) for name in sampled(table.schema)])
    try:
        return cast(list[dict[str, Any]], text.to_pylist())
    except UnicodeDecodeError:  # a bad cell is a bad row of the job; the sample shows it mended
        raw = [as_bytes(one_array(column)) for column in text.columns]
        rows = pa.table(raw, names=text.column_names).to_pylist()
        return [{name: _mended(cell) for name, cell in row.items()} for row in rows]


def _mended(cell: object) -> object:
    if isinstance(cell, list):
        return [_mended(item) for item in cell]
    if isinstance(cell, dict):
        return {key: _mended(value) for key, value in cell.items()}
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else cell


def as_bytes(array: pa.Array) -> pa.Array:
    """The array with text, at any depth, as bytes: text that is no UTF-8 is a bad row, not a bad
    file."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return as_bytes(array.storage)
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(array.indices, as_bytes(array.dictionary))
    raw = _bytes_type(kind)
    return array if raw == kind else array.view(raw)


def _bytes_type(kind: pa.DataType) -> pa.DataType:
    raw = {
        pa.string(): pa.binary(),
        pa.large_string(): pa.large_binary(),
        pa.string_view(): pa.binary_view(),
    }
    if isinstance(kind, pa.BaseExtensionType):
        return _bytes_type(kind.storage_type)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_bytes_type(field.type)) for field in kind])
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _bytes_type(kind.value_type), kind.ordered)
    if not _is_list(kind):
        return raw.get(kind, kind)
    inner = kind.value_field.with_type(_bytes_type(kind.value_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(inner, kind.list_size)
    made = next(make for test, make in _LISTS if test(kind))
    return made(inner)


_LISTS = (
    (pa.types.is_list, pa.list_),
    (pa.types.is_large_list, pa.large_list),
    (pa.types.is_list_view, pa.list_view),
    (pa.types.is_large_list_view, pa.large_list_view),
)


def whole_file(form: Format, name: str, size: int) -> Iterator[Cut]:
    """The one cut of a file that cannot be cut; none where it is empty."""
    if size:
        # Text shrinks to about a quarter; the figure only decides which small files share a unit.
        yield Cut(name, 0, 0, size * (4 if form.compression else 1))


def is_remote(path: str) -> bool:
    """Is this a hub address rather than a local path?"""
    return path.startswith("hf://")


def open_binary(path: str, compression: str | None = None) -> BinaryIO:
    """A source file's bytes, decompressed; remote ones by ranged requests that are retried."""
    # The caller closes it.
    raw = cast(BinaryIO, _HubFile(path)) if is_remote(path) else open(path, "rb")  # noqa: SIM115
    if compression is None:
        return raw
    return cast(BinaryIO, pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), compression))


class _HubFile(io.RawIOBase):
    """``hf://datasets/NAME@COMMIT/FILE`` as a seekable file: all bytes that are asked for, or an
    error.  Authenticates from the environment or the stored login.

    Not the opener of ``datasets``: around every jump it fetches 5 MiB, so that columns of Parquet
    that are read side by side come several times over, and columns that nobody asked for, too; it
    waits for up to a quarter of an hour, but not where a worker resolves the repository again; and
    it calls a revoked login a missing file.
    """

    def __init__(self, address: str) -> None:
        from huggingface_hub import hf_hub_url

        name, _, place = address.removeprefix("hf://datasets/").partition("@")
        commit, _, file = place.partition("/")
        self._url = hf_hub_url(name, file, repo_type="dataset", revision=commit)
        self._address, self._at = address, 0
        data, self._size = self._fetch(0, _LEAST_FETCH)  # the answer tells the size
        self._held = [(0, data)]  # (position, bytes), the latest last

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        parts = []
        while self._at < end:
            part = self._part(self._at, end)
            parts.append(part)
            self._at += len(part)
        return b"".join(parts)

    def _part(self, start: int, end: int) -> bytes:
        """One or more of the bytes from ``start`` to ``end``, held or fetched."""
        for at, data in self._held:
            if at <= start < at + len(data):
                return data[start - at : end - at]
        # Reading on, if only after a gap smaller than what was read before it, doubles what is
        # fetched at a time; after a jump no more is fetched than is asked for.
        before = next(
            (h for h in self._held if 0 <= start - (h[0] + len(h[1])) < len(h[1])), (0, b"")
        )
        ahead = max(_LEAST_FETCH, min(2 * len(before[1]), _MOST_FETCH))
        data, _ = self._fetch(start, min(max(end, start + ahead), self._size))
        others = [h for h in self._held if h is not before]
        self._held = [*others[1 - _HELD_FETCHES :], (start, data)]
        return data[: end - start]

    def _fetch(self, start: int, stop: int) -> tuple[bytes, int]:
        """The bytes from ``start`` to ``stop`` or the end of the file, and the file's size."""
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff

        wanted = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        answer = http_backoff(
            "GET",
            self._url,
            headers={**build_hf_headers(), **wanted},
            timeout=_HUB_TIMEOUT_SECONDS,
            max_retries=_HUB_RETRIES,
            max_wait_time=_HUB_LONGEST_WAIT,
        )
        if answer.status_code == 416:  # nothing there: the file is empty
            return b"", 0
        hf_raise_for_status(answer)
        data = bytes(answer.content)
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        size = int(total) if total.isdecimal() else 0
        if len(data) != min(stop, size) - start:
            raise StorageError(
                f"the hub sent {len(data):,} bytes of {self._address}, asked for bytes {start:,} "
                f"to {stop:,} of {total or 'unknown'}; run again later"
            )
        return data, size


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turns whatever goes wrong while reading ``path`` into an error that names it."""
    try:
        yield
    except DataPrepError:
        raise
    except FileNotFoundError as error:
        raise BadInput(f"{path} is not there (any more); plan again") from error
    except PermissionError as error:
        raise AccessDenied(f"no permission to read {path}") from error
    except Exception as error:
        raise _named(path, error) from error


def _named(path: str, error: Exception) -> DataPrepError:
    text = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return AccessDenied(
            f"the hub refused {path} ({status}); check HF_TOKEN or run `hf auth login`"
        )
    if status == 404:
        return BadInput(f"{path} is not on the hub (404)")
    if is_remote(path) and (status is not None or _is_network(error)):
        return StorageError(f"reading {path} failed after retries ({text}); run again later")
    known = (pa.ArrowException, ValueError, OSError, EOFError)
    if isinstance(error, known):
        return BadInput(
            f"cannot read {path} ({text}); the file is damaged or not of the format that its "
            "name says: replace it, or leave it out"
        )
    raise error


def _is_network(error: Exception) -> bool:
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    from huggingface_hub.utils import httpx

    return isinstance(error, httpx.RequestError)
