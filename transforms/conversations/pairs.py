"""The pair rule: which rows become an instruction and a response, and why others are rejected.

A row is rejected if its instruction, its response or its split key is null, empty, blank, too large
or not valid text.  The rows that are kept are not trimmed or changed.
"""

from __future__ import annotations

import json
from math import isfinite

import pyarrow as pa
import pyarrow.compute as pc

from transforms.conversations.pair_mapping import PairMapping
from transforms.formats.source_rows import MAX_ROW_BYTES
from transforms.records import EXCERPT_CHARS, ROW, one_array, rejects_table


def to_pairs(
    table: pa.Table, fields: PairMapping, key: str | None = None
) -> tuple[pa.Table, pa.Table]:
    """(kept, rejects) of a table with the mapped columns, the key column and ``ROW``.

    ``kept`` has string columns ``instruction``, ``response`` and, with ``key``, ``key``, those of
    reasoning, system prompt and history under these names, and ``ROW``; ``rejects`` has the
    ``REJECTS`` schema.  Both keep the order of the rows.
    """
    codes = pa.nulls(table.num_rows, pa.string())
    columns = {}
    for name in table.column_names:
        if name != ROW and (name != fields.history or name == key):
            as_text = field_text if name in fields.texts else as_valid_text
            columns[name], invalid = as_text(table[name])
            if invalid is not None:
                codes = pc.if_else(invalid, "invalid-unicode", codes)
    # The required columns and the joined one: others do not make up for a blank required column.
    instruction = [columns[name] for name in fields.instruction]
    response = [columns[name] for name in fields.response]
    needed = [columns[name] for name in fields.required] or instruction[:1]
    pairs = {
        "instruction": (_filled(needed), _join(instruction, fields.instruction_separator)),
        "response": (response[0], _join(response, fields.response_separator)),
    }
    if key is not None:
        pairs["split-key"] = (columns[key], columns[key])
    for name, (required, values) in pairs.items():
        codes = pc.coalesce(codes, _faults(required, values, name))
    kept = pa.table(
        [values for _, values in pairs.values()],
        names=["instruction", "response", "key"][: len(pairs)],
    )
    for name in ("reasoning", "system", "history"):
        column = getattr(fields, name)
        if column is not None:
            text = columns.get(column) if name != "history" else None
            kept = kept.append_column(name, table[column] if text is None else text)
    kept = kept.append_column(ROW, table[ROW])
    if codes.null_count == len(codes):
        return kept, rejects_table([])
    good = pc.is_null(codes)
    bad = pc.indices_nonzero(pc.invert(good)).to_pylist()
    named = [name for name in fields.texts if name in columns]
    rows = [
        (
            table[ROW][index].as_py(),
            codes[index].as_py(),
            json.dumps({n: _excerpt(columns[n], index) for n in named}, ensure_ascii=False),
        )
        for index in bad
    ]
    return kept.filter(good), rejects_table(rows)


def split_keys(column: pa.ChunkedArray) -> tuple[pa.StringArray, list[str | None]]:
    """The values of a split key column as text, and for each its reject code or None."""
    keys, invalid = as_valid_text(column)
    codes = _faults(keys, keys, "split-key")
    if invalid is not None:
        codes = pc.if_else(invalid, "invalid-unicode", codes)
    return keys, list(codes.to_pylist())


def as_valid_text(column: pa.ChunkedArray) -> tuple[pa.StringArray, pa.BooleanArray | None]:
    """(the column as one valid UTF-8 array, which rows were not UTF-8, or None if all were).

    Numbers are written as Arrow casts them; NaN and infinity become null.
    """
    array = one_array(column)
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_finite(array), array, None)
    array = array.cast(pa.string())
    try:
        # Neither Parquet nor Arrow files guarantee that their text is UTF-8.
        array.validate(full=True)
    except pa.ArrowInvalid:
        cells = [_decoded(cell) for cell in array.cast(pa.binary()).to_pylist()]
        valid = pa.array(cells, pa.string())
        return valid, pc.and_(pc.is_null(valid), pc.is_valid(array))
    return array, None


def field_text(column: pa.ChunkedArray) -> tuple[pa.StringArray, pa.BooleanArray | None]:
    """``as_valid_text`` of a field, whose numbers are written as JSON writes them: 1.0, not 1."""
    array = one_array(column)
    if pa.types.is_float64(array.type):
        texts = [None if x is None or not isfinite(x) else repr(x) for x in array.to_pylist()]
        return pa.array(texts, pa.string()), None
    texts, invalid = as_valid_text(column)
    if pa.types.is_floating(array.type):
        whole = pc.match_substring_regex(texts, r"^-?[0-9]+$")
        texts = pc.if_else(whole, pc.binary_join_element_wise(texts, ".0", ""), texts)
    return texts, invalid


def _decoded(cell: bytes | None) -> str | None:
    try:
        return None if cell is None else cell.decode()
    except UnicodeDecodeError:
        return None


def _join(columns: list[pa.StringArray], separator: str) -> pa.StringArray:
    """The columns that are not blank, joined; the first where all are."""
    joined = columns[0]
    missing = None  # where all columns before are blank
    for column in columns[1:]:
        longer = pc.binary_join_element_wise(joined, column, separator, null_handling="emit_null")
        blank = pc.fill_null(_is_blank(column), True)
        if missing is None:
            missing = pc.fill_null(_is_blank(joined), True)
        if pc.any(missing).as_py():
            longer = pc.if_else(missing, column, longer)
        joined = pc.if_else(blank, joined, longer)
        missing = pc.and_(missing, blank)
    return joined


def _filled(columns: list[pa.StringArray]) -> pa.StringArray:
    """The first of the columns that is not blank; the first column where all are."""
    filled = columns[0]
    for column in columns[1:]:
        missing = pc.fill_null(_is_blank(filled), True)
        if pc.any(missing).as_py():
            other = pc.fill_null(pc.invert(_is_blank(column)), False)
            filled = pc.if_else(pc.and_(missing, other), column, filled)
    return filled


def _is_blank(values: pa.StringArray) -> pa.BooleanArray:
    """Empty or white space only; null where the value is."""
    return pc.or_(pc.equal(pc.binary_length(values), 0), pc.utf8_is_space(values))


def _faults(required: pa.StringArray, values: pa.StringArray, name: str) -> pa.StringArray:
    """Each value's reject code; null where the value and its ``required`` column are good."""
    none = pa.scalar(None, pa.string())
    return pc.case_when(
        pc.make_struct(
            pc.is_null(required),
            pc.fill_null(pc.equal(pc.binary_length(required), 0), False),
            pc.fill_null(pc.utf8_is_space(required), False),
            pc.fill_null(pc.greater(pc.binary_length(values), MAX_ROW_BYTES), False),
        ),
        f"null-{name}",
        f"empty-{name}",
        f"blank-{name}",
        "row-too-large",
        none,
    )


def _excerpt(values: pa.StringArray, index: int) -> str | None:
    cell = values[index].as_py()
    return None if cell is None else cell[: EXCERPT_CHARS // 2]
