"""Render: questions and answers, or turns, become training text; other rows become rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.chat import control_tokens
from transforms.chat.output_columns import OutputColumns, pair_columns, turn_columns
from transforms.chat.render_turns import ESCAPED, KEPT, OWN_SYSTEM, render_turns
from transforms.chat.rendered_rows import RenderedRows
from transforms.chat.sandbox import Sandbox, TemplateSource
from transforms.chat.template import ChatFormat
from transforms.chat.token_limit import Limit
from transforms.conversations import reasoning
from transforms.conversations.turns import ASSISTANT, USER, Turns
from transforms.formats.source_rows import MAX_ROW_BYTES
from transforms.records import (
    HIDDEN,
    ROW,
    TURNS,
    VALIDATION,
    Reject,
    one_array,
    rejects_table,
)


def sandbox_of(chat: ChatFormat) -> Sandbox:
    """The sandbox for the format's template; its process starts with the first use."""
    template = chat.template
    source = TemplateSource(template.name, template.jinja, template.bos, template.eos, chat.date)
    return Sandbox(source, output_bytes=2 * MAX_ROW_BYTES)  # a row, and its JSON escapes


def render(
    table: pa.Table,
    chat: ChatFormat,
    output_columns: OutputColumns,
    sandbox: Sandbox,
    limit: Limit | None = None,
) -> RenderedRows:
    """Renders rows that ``Normalize`` made; a column ``validation`` and hidden columns stay.

    With a ``limit`` each row has its ``TOKENS``.

    Raises:
        TooLong: a row is above the limit, and the rule is to raise an error.
    """
    size = table.nbytes + table.num_rows * (len((chat.system_prompt or "").encode()) + _MARKUP)
    if size > _MOST_BYTES and table.num_rows > 1:
        half = table.num_rows // 2
        parts = (table.slice(0, half), table.slice(half))
        done = [render(part, chat, output_columns, sandbox, limit) for part in parts]
        note_counts: Counter[str] = Counter()
        for part in done:
            note_counts.update(part.note_counts)
        return RenderedRows(
            pa.concat_tables([part.kept for part in done]),
            pa.concat_tables([part.rejects for part in done]),
            note_counts,
            pa.chunked_array([c for part in done for c in part.rows.chunks], pa.int64()),
        )
    if limit is None:
        return _rendered(table, chat, output_columns, sandbox)
    whole = with_text(output_columns)
    rows = limit.apply(table, lambda part: _rendered(part, chat, whole, sandbox))
    dropped = [name for name in whole.columns if name not in output_columns.columns]
    return replace(rows, kept=rows.kept.drop_columns(dropped))


def with_text(output_columns: OutputColumns) -> OutputColumns:
    """The output columns with the text, in which tokens are counted."""
    return replace(output_columns, names=tuple(dict.fromkeys(("text", *output_columns.names))))


def _rendered(
    table: pa.Table, chat: ChatFormat, output_columns: OutputColumns, sandbox: Sandbox
) -> RenderedRows:
    if TURNS not in table.column_names:
        if (
            chat.renders_pairs
            and "messages" not in output_columns.names
            and not _has_inline_reasoning(table, chat)
        ):
            return _pairs(table, chat, output_columns)
        table = _as_turns(table)
    return _turns(table, chat, output_columns, sandbox)


_MARKUP = 2048
"""More bytes than a template adds to a row with two turns."""

_MOST_BYTES = 2**30
"""The most bytes of a batch's texts; an Arrow string array ends at 2 GiB."""


def _has_inline_reasoning(pairs: pa.Table, chat: ChatFormat) -> bool:
    """Must inline reasoning be removed from a response?  Other rows render to the same bytes."""
    if chat.template.thinks != "drop" and chat.think != "strip":
        return False
    tokens = (reasoning.CLOSE,)
    return any(control_tokens.may_contain(chunk, tokens) for chunk in pairs["response"].chunks)


def _pairs(table: pa.Table, chat: ChatFormat, output_columns: OutputColumns) -> RenderedRows:
    tokens = chat.template.control_tokens
    why: dict[int, Reject] = {}
    changed = table
    for name in ("instruction", "response"):
        if not any(control_tokens.may_contain(chunk, tokens) for chunk in table[name].chunks):
            continue  # by chunks, as one array of them would be a copy
        texts = one_array(table[name])
        found = control_tokens.find_texts(texts, tokens)
        if found is None:
            continue
        for row in np.flatnonzero(found).tolist():
            where = control_tokens.excerpt(texts[row].as_py(), tokens)
            why.setdefault(row, Reject("control-token", f"{name}: {where}"))
        if chat.control_tokens == "escape":
            place = table.column_names.index(name)
            escaped = control_tokens.escape_all(texts, tokens)
            changed = changed.set_column(place, name, escaped)
    note_counts = {}
    if why and chat.control_tokens != "reject":
        note_counts = {ESCAPED if chat.control_tokens == "escape" else KEPT: len(why)}
        why = {}
    kept = _good(changed, why)
    if chat.template.adds_system and chat.system_prompt is None and kept.num_rows:
        note_counts[OWN_SYSTEM] = kept.num_rows
    texts = chat.render_pairs(kept["instruction"], kept["response"])
    prompts = None
    if output_columns.with_prompts:
        before, between, _ = chat.pair_delimiters()
        given = pc.binary_length(chat.as_rendered("user", one_array(kept["instruction"])))
        fixed = len(before.encode()) + len(between.encode())
        prompts = given.to_numpy(zero_copy_only=False) + fixed
    shaped = pair_columns(kept, texts, prompts, output_columns)
    return RenderedRows(
        _with_side_columns(shaped, kept), _rejects(table, why), note_counts, kept[ROW]
    )


def _as_turns(pairs: pa.Table) -> pa.Table:
    count = pairs.num_rows
    chunks = [*pairs["instruction"].chunks, *pairs["response"].chunks]
    content = pa.chunked_array(chunks, pa.string()).combine_chunks()
    places = np.arange(2 * count).reshape(2, count).T.ravel()
    roles = np.tile(np.array([USER, ASSISTANT], np.int8), count)
    turns = Turns(np.arange(0, 2 * count + 1, 2), roles, content.take(pa.array(places)))
    kept = [name for name in pairs.column_names if name == ROW or _is_side_column(name)]
    return pairs.select(kept).append_column(TURNS, turns.column())


def _turns(
    table: pa.Table, chat: ChatFormat, output_columns: OutputColumns, sandbox: Sandbox
) -> RenderedRows:
    turns = Turns.of_column(one_array(table[TURNS]))
    tools = one_array(table["tools"]) if "tools" in table.column_names else None
    no_place = _without_columns(turns, output_columns)
    done = render_turns(turns, tools, chat, lambda: sandbox, output_columns.with_prompts, no_place)
    shaped = turn_columns(done.turns, done.texts, done.prompts, tools, output_columns)
    kept = _good(_with_side_columns(shaped, table), done.bad)
    rows = _good(table.select([ROW]), done.bad)[ROW]
    return RenderedRows(kept, _rejects(table, done.bad), done.note_counts, rows)


def _without_columns(turns: Turns, output_columns: OutputColumns) -> dict[int, Reject]:
    """Rows with tool calls where the sample showed none, so that no column holds them."""
    if "messages" not in output_columns.names or output_columns.tools or turns.tool_calls is None:
        return {}
    calls = pc.is_valid(turns.tool_calls).to_numpy(zero_copy_only=False)
    why = "no row of the sample has tool calls, so there is no column for them; use --columns text"
    return dict.fromkeys(turns.rows[calls].tolist(), Reject("calls-not-in-columns", why))


def _good(table: pa.Table, bad: Mapping[int, Reject]) -> pa.Table:
    if not bad:
        return table
    good = np.ones(table.num_rows, bool)
    good[list(bad)] = False
    return table.filter(pa.array(good))


def _with_side_columns(shaped: pa.Table, rows: pa.Table) -> pa.Table:
    for name in filter(_is_side_column, rows.column_names):
        shaped = shaped.append_column(name, rows[name])
    return shaped


def _is_side_column(name: str) -> bool:
    """Does the column stay with its row through rendering?"""
    return name == VALIDATION or (name.startswith(HIDDEN) and name != ROW)


def _rejects(table: pa.Table, bad: Mapping[int, Reject]) -> pa.Table:
    rows = [(table[ROW][row].as_py(), why.code, why.excerpt) for row, why in sorted(bad.items())]
    return rejects_table(rows)
