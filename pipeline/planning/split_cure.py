"""The cure of a split without validation rows: flags that are tried on the rows first.

Only of small sets, where a split without rows is likely; larger ones are not read again.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pyarrow as pa

from pipeline.planning.plan import Plan
from transforms.conversations.normalize_rows import rows_of
from transforms.errors import DataPrepError
from transforms.formats import source_reader
from transforms.records import Column, one_array
from transforms.split import SplitRule
from transforms.storage.manifest_parts import RowCounts
from transforms.text.normalization import normalise_keys

MOST_ROWS = 5000
_SIZES = (0.1, 0.2, 0.3, 0.5)
_SEEDS = 50
_KEY_TYPES = ("string", "int64")


def split_cure(plan: Plan, counts: RowCounts) -> tuple[str, ...]:
    """A sentence with a flag that gives rows of both splits; () where none is needed or found."""
    rule = plan.split
    if counts.validation or not counts.kept or not 0 < rule.val_size < 1:
        return ()
    if counts.read > MOST_ROWS:
        return ()
    try:
        flag = _flag_of_prompts(plan) or _flag_of_key(plan)
    except DataPrepError:
        return ()  # the set is complete, also where its source can no longer be read
    if flag is None:
        return (
            f"none of the {counts.kept:,} rows can be split off for validation; read more rows",
        )
    return (f"for rows of both splits: {flag}",)


def _flag_of_prompts(plan: Plan) -> str | None:
    """Another size or seed that splits the keys as they are."""
    rule = plan.split
    keys = _keys(plan, rule.key)
    seeds = (SplitRule(rule.val_size, seed, rule.key) for seed in range(_SEEDS))
    sizes = (SplitRule(size, rule.seed, rule.key) for size in _SIZES if size > rule.val_size)
    for found in (*sizes, *seeds):
        if _has_both(found, keys):
            seed = found.seed != rule.seed
            return f"--seed {found.seed}" if seed else f"--val-size {found.val_size}"
    return None


def _flag_of_key(plan: Plan) -> str | None:
    """Another column that splits the rows, as all of them have one prompt."""
    rule = plan.split
    for column in plan.columns:
        if column.type not in _KEY_TYPES or column.name == rule.key:
            continue
        name = column.name
        try:
            keys = _keys(plan, name)
        except DataPrepError:
            continue
        for size in (rule.val_size, *(size for size in _SIZES if size > rule.val_size)):
            if _has_both(SplitRule(size, rule.seed, name), keys):
                more = "" if size == rule.val_size else f" --val-size {size}"
                return f"--split-key {shlex.quote(name)}{more}"
    return None


def _has_both(rule: SplitRule, keys: pa.StringArray) -> bool:
    marks = rule.is_validation(keys).to_pylist()
    return any(marks) and not all(marks)


def _keys(plan: Plan, key: str | None) -> pa.StringArray:
    """What the rows that are kept are split by."""
    found = list(_key_arrays(plan, key))
    return pa.concat_arrays(found) if found else pa.array([], pa.string())


def _key_arrays(plan: Plan, key: str | None) -> Iterator[pa.StringArray]:
    source, mapping = plan.reading(), plan.fields.mapping
    read = {column.name for column in source.columns}
    more: list[Column] = [c for c in plan.columns if c.name == key and c.name not in read]
    columns = (*source.columns, *more)
    for unit in plan.units:
        for part in unit.file_ranges:
            path = source.path(part.file)
            for rows in source_reader.read(path, source.file_format, part, columns):
                kept, _ = rows_of(rows.table, mapping, key, plan.rules)
                if key is None:
                    yield normalise_keys(one_array(kept["instruction"]))
                else:
                    yield one_array(kept["key"])
