"""The values that travel through the job: pieces, units, batches, shards.

They live in an importable module so that every runner can pickle them, and import no Beam so that
the rules and the planner can use them (``coders`` defines how Beam encodes a ``Batch``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

ROW = "__row__"
"""Column of a batch between Read and Render: the row's number in its piece, counted from 1."""

TURNS = "turns"
"""Column of a batch between Normalize and Render: the turns of rows that are more than a pair."""

REJECTS = pa.schema([("row", pa.int64()), ("code", pa.string()), ("excerpt", pa.string())])
"""Rows that a step does not keep: number, kebab-case reason, the first characters of the row."""

EXCERPT_CHARS = 200


def rejects_table(rows: list[tuple[int, str, str]]) -> pa.Table:
    """A ``REJECTS`` table of (row, code, excerpt) tuples; an excerpt is cut and made valid text."""
    clean = [e[:EXCERPT_CHARS].encode("utf-8", "replace").decode("utf-8") for _, _, e in rows]
    return pa.table([[r for r, _, _ in rows], [c for _, c, _ in rows], clean], schema=REJECTS)


@dataclass(frozen=True)
class Reject:
    """Why a row is not kept: its reject code, and an excerpt that shows it."""

    code: str
    excerpt: str


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """A batch's column as one array; copied only where it is in several chunks."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def table_to_bytes(table: pa.Table) -> bytes:
    """A table as an Arrow IPC stream; of a slice, its own rows alone (a pickle would hold all)."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def table_from_bytes(data: bytes) -> pa.Table:
    """The table of an Arrow IPC stream."""
    return pa.ipc.open_stream(data).read_all()


@dataclass(frozen=True, slots=True)
class Column:
    """A source column that the job reads, with its Arrow type by name (``string``, ``list``…).

    Attributes:
        keys: those of a list's objects that are read, as text; () where it is no such list.
        other_keys: further keys that are read, each with the type that its values have in the
            sample; ``null`` where the sample has none.
        text: whether the cells become text: numbers and booleans as JSON writes them, and the
            numbers of classes as the names in ``labels``.
        labels: the names of a column of classes (``ClassLabel`` of ``datasets``), else ().
        optional: whether a file may lack the column, whose cells are then null.
    """

    name: str
    type: str
    keys: tuple[str, ...] = ()
    other_keys: tuple[tuple[str, str], ...] = ()
    text: bool = False
    labels: tuple[str, ...] = ()
    optional: bool = False


@dataclass(frozen=True, slots=True)
class FileState:
    """What shows that a local file is still the one that was planned.

    Attributes:
        size: its bytes.
        modified: when its bytes changed, in ns; whoever may write the file can set it.
        changed: when its bytes, name, permissions or ``modified`` changed, in ns; nobody can set
            it, and a copy of the file has another one.
        host: a hash of the name of the machine on which this was seen.
    """

    size: int
    modified: int
    changed: int
    host: str


@dataclass(frozen=True, slots=True)
class FileRange:
    """A run of one source file that one unit reads, in order.

    ``start`` and ``stop`` count what the format can be cut at: bytes of a JSON Lines file, row
    groups of Parquet, record batches of Arrow; (0, 0) is the whole of a file that cannot be cut.
    ``limit`` is the number of rows that are taken, from the first on; None takes all.  ``state`` is
    that of the file when the plan was made; None for one on the hub, which a revision fixes.
    """

    file: str
    start: int
    stop: int
    limit: int | None = None
    state: FileState | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class WorkUnit:
    """A work unit: the pieces that become shard ``number`` of every split."""

    number: int
    file_ranges: tuple[FileRange, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some thousand rows of a unit, with their place.

    ``index`` counts 0, 1, 2… within the unit.  The batch that has ``last`` set is empty and closes
    the unit.  ``read`` is the number of source rows behind this batch, whatever later steps keep
    of them, so that Commit can account for every row.  ``rejects`` holds what steps could not take;
    ``note_counts`` counts rows that the user should know of, by note.  ``duplicates`` counts the
    rows that Read left out, exact copies and near ones.  The last batch has the ``content`` of the
    unit's source (see ``formats.source_content``).
    """

    unit: int
    index: int
    last: bool
    file_range: FileRange
    table: pa.Table
    read: int
    rejects: pa.Table | None = None
    note_counts: Mapping[str, int] = field(default_factory=dict)
    duplicates: tuple[int, int] = (0, 0)
    content: str = ""


@dataclass(frozen=True, slots=True)
class DatasetFile:
    """A file of a finished set, as its manifest lists it; ``path`` is relative to the set's root.

    ``sha256`` is in hex; ``rows`` is 0 for files that hold no rows.
    """

    path: str
    bytes: int
    sha256: str
    rows: int


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished file of one unit, as Write made it.

    ``split`` is ``train``, ``validation`` or ``rejects``; a unit reports each exactly once.
    ``path`` is relative to the output's root; "" where a unit without rejects wrote no file.
    ``read`` is the unit's source rows, the same in its three records.  ``codes`` counts the rejects
    of a reason, ``examples`` has the place of its first, and ``unknown_roles`` the names that no
    role has, quoted.  ``note_counts`` and
    ``duplicates``, [exact, near] by source file, are the unit's; its training shard has them,
    ``row_stats`` (see ``quality.row_stats``) and ``content``, the digest of the bytes that the unit
    was read from (see ``formats.source_content``), which are "" in the others.  ``xxh3`` is the
    file's XXH3-128 in hex, a fast check that it is still what was written; "" where nothing keeps
    it.
    """

    unit: int
    split: str
    path: str
    rows: int
    read: int
    bytes: int
    sha256: str
    codes: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, str] = field(default_factory=dict)
    unknown_roles: list[str] = field(default_factory=list)
    note_counts: Mapping[str, int] = field(default_factory=dict)
    duplicates: Mapping[str, list[int]] = field(default_factory=dict)
    row_stats: str = ""
    content: str = ""
    xxh3: str = ""


VALIDATION = "validation"
"""The boolean column that Partition adds."""


PROMPT, PROMPT_KEY = "__prompt__", "__prompt_key__"
"""Columns of a batch from Partition on: the instruction, and a hash of it normalised (uint64)."""


TOKENS = "__tokens__"
"""Column of a batch from Render on: the tokens of each row's text (int64)."""


HIDDEN = "__"
"""Columns whose names begin so travel with their rows, and are not written."""


def balance_column(place: int) -> str:
    """Column of a batch from Normalize on: the values of a column that is compared."""
    return f"{HIDDEN}balance__{place}"


@dataclass(frozen=True, slots=True)
class Written:
    """A closed file: its rows, bytes, SHA-256 and XXH3-128 in hex."""

    rows: int
    bytes: int
    sha256: str
    xxh3: str = ""
