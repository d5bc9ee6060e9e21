"""Normalize: source columns become ``instruction`` and ``response``, or turns.

Rows that a rule rejects join the batch's ``rejects``, which has those that Read rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from transforms.conversations.column_parts import with_parts
from transforms.conversations.field_mapping import FieldMapping, TurnMapping
from transforms.conversations.pair_mapping import PairMapping
from transforms.conversations.pair_turns import pair_turns
from transforms.conversations.pairs import as_valid_text, split_keys, to_pairs
from transforms.conversations.rejected_rows import split_rejects
from transforms.conversations.row_checks import RowChecks, checked
from transforms.conversations.rules import ConversationRules, to_conversations
from transforms.conversations.turns import USER
from transforms.records import ROW, TURNS, Batch, balance_column, one_array

_VALUE_CHARS = 100


def normalize(
    batch: Batch,
    mapping: FieldMapping,
    key: str | None,
    rules: ConversationRules,
    balance: Sequence[str] = (),
) -> Batch:
    """The batch with the rows that are kept; the others join its rejects."""
    kept, rejects = rows_of(batch.table, mapping, key, rules)
    kept = with_balance(kept, batch.table, balance)
    if batch.rejects is not None:
        rejects = pa.concat_tables([batch.rejects, rejects])
    return replace(batch, table=kept, rejects=rejects)


def with_balance(kept: pa.Table, source: pa.Table, names: Sequence[str]) -> pa.Table:
    """Adds the values of source columns, as text of at most 100 characters.

    ``balance_column`` names the new columns; a value that is not valid text is null.
    """
    if not names:
        return kept
    places = pc.index_in(kept[ROW], one_array(source[ROW]))
    for number, name in enumerate(names):
        values, _ = as_valid_text(source[name].take(places))
        short = pc.utf8_slice_codeunits(values, 0, _VALUE_CHARS)
        kept = kept.append_column(balance_column(number), short)
    return kept


def rows_of(
    table: pa.Table,
    mapping: FieldMapping,
    key: str | None = None,
    rules: ConversationRules = ConversationRules(),  # noqa: B008 (immutable)
) -> tuple[pa.Table, pa.Table]:
    """(kept, rejects) of a table of source columns; both keep the order of the rows."""
    # Other columns, which are only compared between the splits, decide no row.
    late = [name for name in mapping.checks.late if name in table.column_names]
    names = dict.fromkeys((*mapping.columns, *late, *((key,) if key else ()), ROW))
    table = table.select(list(names))
    if mapping.checks == RowChecks():
        return _rows(table, mapping, key, rules)
    table, unfit = checked(table, mapping.checks, key)
    kept, rejects = _rows(table, mapping.with_checks(RowChecks()), key, rules)
    return kept, pa.concat_tables([unfit, rejects])


def _rows(
    table: pa.Table, mapping: FieldMapping, key: str | None, rules: ConversationRules
) -> tuple[pa.Table, pa.Table]:
    match mapping:
        case PairMapping():
            kept, rejects = _pair_rows(table, mapping, key)
            if not mapping.makes_turns:
                return kept, rejects
            made, more = pair_turns(kept, mapping, rules)
            return made, pa.concat_tables([rejects, more])
        case TurnMapping():
            return _conversation_rows(table, mapping, key, rules)
    raise TypeError(f"no rule for a {type(mapping).__name__}")


def _pair_rows(
    table: pa.Table, mapping: PairMapping, key: str | None = None
) -> tuple[pa.Table, pa.Table]:
    if not mapping.parts:
        return to_pairs(table, mapping, key)
    opened, codes = with_parts(table, mapping.parts)
    if not any(codes):
        return to_pairs(opened, mapping, key)
    good, unfit = split_rejects(table, codes, [part.column for part in mapping.parts])
    kept, rejects = to_pairs(opened.filter(good), mapping, key)
    return kept, pa.concat_tables([unfit, rejects])


def user_prompts(table: pa.Table, mapping: FieldMapping) -> pa.StringArray:
    """The first prompts of the rows that have one, with ``mapping.prompts_only()``."""
    match mapping:
        case PairMapping():
            return one_array(_pair_rows(table, mapping)[0]["instruction"])
        case TurnMapping():
            turns, _, _ = to_conversations(table, mapping.prompts_only(), ConversationRules())
            first = turns.first(USER)
            return turns.content_at(first[first >= 0])
    raise TypeError(f"no rule for a {type(mapping).__name__}")


def _conversation_rows(
    table: pa.Table, mapping: TurnMapping, key: str | None, rules: ConversationRules
) -> tuple[pa.Table, pa.Table]:
    turns, tools, codes = to_conversations(table, mapping, rules)
    columns = {"instruction": turns.content_at(turns.first(USER)), TURNS: turns.column()}
    if tools is not None:
        columns["tools"] = tools
    if key is not None:
        columns["key"], found = split_keys(table[key])
        codes = [code or fault for code, fault in zip(codes, found, strict=True)]
    columns[ROW] = table[ROW]
    made = pa.table(columns)
    if not any(codes):
        return made, split_rejects(table.slice(0, 0), [], ())[1]
    good, rejects = split_rejects(table, codes, mapping.columns, mapping)
    return made.filter(good), rejects
