"""Row checks: columns beside the text that say not to train a row, or that the plan does not use.

A mark is a column such as ``label`` (KTO), ``weight`` or ``loss_mask`` beside a pair; those of
turns are in ``training_marks``.  Where it is false or 0 the row must not be trained as it is:
planning refuses a source whose sample has such a row, and later ones are rejected as
``marked-untrained``, until training can leave them out.  ``--ignore-training-marks`` trains on them
all the same.

A column that holds nothing in the sample, but whose name decides the text, is watched: a row that
fills it is rejected as ``unplanned-column``, never trained without it.  The same holds for keys of
JSON rows that the sample does not have at all, since each row may bring its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import pyarrow as pa

from transforms.conversations.cells import cells, text_cells
from transforms.conversations.column_roles import NAMES, Role, fold_name, known_role, spellings
from transforms.conversations.training_marks import MARKED
from transforms.errors import UsageError
from transforms.records import ROW, Column, one_array, rejects_table

Sample = Sequence[Mapping[str, object]]

_MARKS = (Role.MARK, Role.LABEL)

# A prompt, an answer or turns are in the sample, or the source is refused.
_LATE = (
    Role.INPUT,
    Role.CONTEXT,
    Role.SYSTEM,
    Role.HISTORY,
    Role.REASONING,
    Role.TOOLS,
    Role.CHOSEN,
    Role.REJECTED,
    *_MARKS,
)

_FALSE = ("false", "0", "0.0")
_BOOLEAN = (*_FALSE, "true", "1", "1.0")


@dataclass(frozen=True)
class RowChecks:
    """The columns that are looked at before a row is trained.

    Attributes:
        marks: columns that say whether a row is trained.
        watched: columns that hold nothing in the sample, and whose names decide the text.
        late: keys that no row of the sample has, and whose names decide the text.  They follow from
            the columns and the table of names, so a plan does not list them.
    """

    marks: tuple[str, ...] = ()
    watched: tuple[str, ...] = ()
    late: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the source that are read for the checks."""
        return (*self.marks, *self.watched)

    @property
    def late_columns(self) -> tuple[Column, ...]:
        """What a JSON reader is to read for ``late``: of the type null, which costs it nothing."""
        return tuple(Column(name, "null", text=True) for name in self.late)

    def narrowed(self, column: Column) -> Column:
        """A column that a reader takes whatever its values become in later rows."""
        is_scalar = column.name in self.columns and column.type not in ("list", "struct")
        return replace(column, text=True) if is_scalar else column

    def to_json(self) -> dict[str, object]:
        """What a plan says of them: nothing where there are none."""
        made = {"marks": self.marks, "watched": self.watched}
        return {name: columns for name, columns in made.items() if columns}


def find_marks(columns: Sequence[Column], sample: Sample, used: Sequence[str]) -> tuple[str, ...]:
    """The columns of marks, but for those that are ``used`` as text.

    Raises:
        UsageError: the sample has a row that must not be trained.
    """
    marks = [c.name for c in columns if c.name not in used and _is_mark(c.name, sample)]
    for name in marks:
        if bad := _marked_rows(name, sample):
            value = json.dumps(sample[bad[0] - 1][name], default=str)
            raise UsageError(
                f"the column {name!r} marks rows that must not be trained as they are: it is "
                f"{value} in row {bad[0]:,}, and says so in {len(bad):,} of the first "
                f"{len(sample):,} rows. Take these rows out of the source, or train on all of "
                "them: --ignore-training-marks"
            )
    return tuple(marks)


def ignored_marks(columns: Sequence[Column], sample: Sample, used: Sequence[str]) -> str:
    """What ``--ignore-training-marks`` trains on in the sample; "" for nothing."""
    marks = [c.name for c in columns if c.name not in used and _is_mark(c.name, sample)]
    told = [(name, len(_marked_rows(name, sample))) for name in marks]
    return "; ".join(
        f"the column {name!r} marks {count:,} of the first {len(sample):,} rows as not to train, "
        "which --ignore-training-marks trains on"
        for name, count in told
        if count
    )


def _marked_rows(name: str, sample: Sample) -> list[int]:
    return [number for number, row in enumerate(sample, 1) if is_untrained(row.get(name))]


def _is_mark(name: str, sample: Sample) -> bool:
    role = known_role(name)
    if role not in _MARKS or not any(name in row for row in sample):
        return False
    filled = [value for row in sample if not _is_blank(value := row.get(name))]
    # A label of other values is a class.
    return role is Role.MARK or all(map(_is_boolean, filled))


def _is_boolean(value: object) -> bool:
    if isinstance(value, list):
        return all(map(_is_boolean, value))
    return str(value).strip().lower() in _BOOLEAN


def is_untrained(value: object) -> bool:
    """Does a mark say that the row, or a part of it, is not trained?  Nothing says nothing."""
    if isinstance(value, list):
        return any(map(is_untrained, value))
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            listed = json.loads(value)
        except (ValueError, RecursionError):
            return False
        return isinstance(listed, list) and is_untrained(listed)
    return value is not None and str(value).strip().lower() in _FALSE


def _is_blank(value: object) -> bool:
    # JSON readers give a list as its text.
    return value in (None, [], {}) or (
        isinstance(value, str) and value.strip() in ("", "[]", "{}", "null")
    )


def find_watched(
    columns: Sequence[Column], sample: Sample, used: Sequence[str], ignore_marks: bool
) -> tuple[str, ...]:
    """The columns that are not ``used``, hold nothing in the sample, and decide the text."""
    seen = {name for row in sample for name in row}
    taken = set(used)
    free = [c.name for c in columns if c.name not in taken and c.name in seen and c.type != "null"]
    return tuple(
        name
        for name in free
        if (role := known_role(name)) is not None
        and role.decides_text
        and not (ignore_marks and role in _MARKS)
        and all(_is_blank(row.get(name)) for row in sample)
    )


def find_late(
    columns: Sequence[Column], used: Sequence[str], ignored: Sequence[Role]
) -> tuple[str, ...]:
    """The names that decide the text and that the sample of a JSON source has in no row.

    Args:
        columns: those of the sample; one without a value in it has the type ``null``.
        used: the columns that are read.
        ignored: roles that do not matter to this request.
    """
    present = {fold_name(c.name) for c in columns if c.type != "null" or c.name in used}
    nulls = [c.name for c in columns if c.type == "null" and c.name not in used]
    names = spellings(chain(*(NAMES[role] for role in _LATE)), [c.name for c in columns])
    return tuple(
        name
        for name in dict.fromkeys((*nulls, *names))
        if (role := known_role(name)) in _LATE
        and role not in ignored
        and fold_name(name) not in present
    )


def checked(
    table: pa.Table, checks: RowChecks, key: str | None = None
) -> tuple[pa.Table, pa.Table]:
    """(rows that pass, ``REJECTS`` of the others), without the columns of the checks.

    The split key stays, also where it is one of them.
    """
    read = {*checks.columns, *checks.late}
    kept = [name for name in table.column_names if name == key or name not in read]
    late = [name for name in checks.late if name in table.column_names]
    marks = [*checks.marks, *(name for name in late if known_role(name) in _MARKS)]
    watched = [*checks.watched, *(name for name in late if name not in marks)]
    tests = [(name, MARKED, is_untrained) for name in marks]
    tests += [(name, "unplanned-column", _is_filled) for name in watched]
    codes: list[str | None] = [None] * table.num_rows
    excerpts: dict[int, str] = {}
    for name, code, is_bad in tests:
        for index, value in _failing(table[name], is_bad):
            if codes[index] is None:
                codes[index] = code
                excerpts[index] = json.dumps({name: value}, ensure_ascii=False, default=str)
    bad = [index for index, code in enumerate(codes) if code is not None]
    numbers = table[ROW]
    rejects = [(numbers[index].as_py(), str(codes[index]), excerpts[index]) for index in bad]
    passing = table.select(kept)
    if bad:
        passing = passing.filter(pa.array([code is None for code in codes], pa.bool_()))
    return passing, rejects_table(rejects)


def _is_filled(value: object) -> bool:
    return not _is_blank(value)


def _failing(
    column: pa.ChunkedArray, is_bad: Callable[[object], bool]
) -> Iterator[tuple[int, object]]:
    """(row, value) of the cells that fail."""
    array = one_array(column)
    if array.null_count == len(array):
        return
    values = text_cells(array) if pa.types.is_string(array.type) else cells(column)
    yield from ((index, value) for index, value in enumerate(values) if is_bad(value))
