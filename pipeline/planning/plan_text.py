"""The plan as text: source, files, fields, template, rules and work units, with reasons."""

from __future__ import annotations

import json

from pipeline.planning.plan import Plan
from transforms.conversations.remedies import UNKNOWN_ROLE, remedy_of
from transforms.formats.dialects import BACKSLASH, ESCAPED_QUOTES, NO_QUOTES
from transforms.formats.source_reader import FileFormat
from transforms.work_units import DEFAULT_UNIT_BYTES

_SHOWN_FILES = 10
_SHOWN_CHARS = 100
_SHOWN_NAMES = 50


def source_lines(plan: Plan) -> list[str]:
    """The source: split, files, revision, and the splits that are not read."""
    source = plan.source
    size, name = sum(bytes_ for _, bytes_ in source.files), source.file_format.name
    lines = [
        f"✓ Found split {source.split!r}"
        + (f" of configuration {source.config!r}" if source.config else "")
        + f": {len(source.files):,} {'file' if len(source.files) == 1 else 'files'}, "
        f"{size / 1e6:,.1f} MB, {_FORMATS.get(name) or name.replace('_', ' ')}"
        + (f" ({source.file_format.compression})" if source.file_format.compression else "")
        + _dialect(source.file_format),
        f"  Revision: {source.revision}",
    ]
    if plan.max_samples is not None:
        lines.append(f"  Only the first {plan.max_samples:,} rows are read (--max-samples)")
    lines += [f"  Note: {note}" for note in source.notes[:_SHOWN_FILES]]
    if source.left_out:
        lines.append(f"  Left out: split {', '.join(source.left_out)} (choose with --split)")
    return lines


_FORMATS = {"delimited": "CSV"}
_QUOTES = {
    BACKSLASH: 'quotes \\"',
    ESCAPED_QUOTES: 'quotes \\"',
    NO_QUOTES: "quotes are text",
}
_SEPARATORS = {"\t": "tab"}


def _dialect(file_format: FileFormat) -> str:
    """How text files are read, where their name does not say it: ``; separator ';'``."""
    if file_format.key is not None:
        return f" under the key {file_format.key!r}"
    if file_format.name != "delimited":
        return ""
    parts = []
    if file_format.delimiter != ",":
        name = _SEPARATORS.get(file_format.delimiter) or repr(file_format.delimiter)
        parts.append(f"separator {name}")
    if file_format.encoding:
        parts.append(f"encoding {file_format.encoding}")
    if file_format.quotes:
        parts.append(_QUOTES[file_format.quotes])
    return "; " + ", ".join(parts) if parts else ""


def explain(plan: Plan) -> list[str]:
    """The lines of the whole plan, for a person to read."""
    mapping = plan.fields.mapping
    lines = [f"Data set   {plan.dataset} ({plan.source.kind})"]
    lines += [f"           {line.removeprefix('✓ ').strip()}" for line in source_lines(plan)]
    lines += _files(plan)
    lines.append(f"Fields     {mapping.describe()}")
    lines.append(f"           chosen by: {plan.fields.rule}")
    if plan.fields.guess:
        lines.append(f"           {plan.fields.guess_note}")
    lines += [f"           {role}: {', '.join(names)}" for role, names in mapping.roles.items()]
    if roles := roles_seen(plan):
        lines.append(f"           roles: {roles}")
    for name in mapping.columns:
        lines.append(f"           first {name}: {_first(plan, name)}")
    lines += _checks(plan)
    known = {*mapping.columns, *plan.fields.unused_text}
    others = [column.name for column in plan.columns if column.name not in known]
    for kind, names in (("text", plan.fields.unused_text), ("other", others)):
        if names:
            more = f" and {len(names) - _SHOWN_NAMES:,} more" if names[_SHOWN_NAMES:] else ""
            shown = ", ".join(names[:_SHOWN_NAMES])
            lines.append(f"           {kind} columns not used: {shown}{more}")
    if plan.fields.hint:
        lines.append(f"           note: {plan.fields.hint}")
    lines += _text(plan)
    key = plan.split.key or "the normalised instruction"
    lines.append(
        f"Split      validation {plan.split.val_size:g} by hash of {key}, seed {plan.split.seed}"
    )
    lines += _quality(plan)
    size = plan.unit_bytes / DEFAULT_UNIT_BYTES * 64
    lines.append(
        f"Units      {len(plan.units):,}, about {size:g} MiB of text each; each unit becomes one "
        "shard per split"
    )
    lines.append(f"Digest     {plan.digest}")
    return lines


def _checks(plan: Plan) -> list[str]:
    """The columns that are looked at before a row is trained, and what they decide."""
    checks, lines = plan.fields.mapping.checks, []
    if checks.marks:
        names = ", ".join(checks.marks)
        lines.append(f"           rows that {names} marks as not to train: rejected")
    if checks.watched:
        names = ", ".join(checks.watched)
        lines.append(f"           rows that fill {names}, blank in the sample: rejected")
    return lines


def _text(plan: Plan) -> list[str]:
    chat, template = plan.chat, plan.chat.template
    prompt = "none" if chat.system_prompt is None else _shown(chat.system_prompt)
    lines = [f"Template   {template.name} (SHA-256 {template.sha256[:12]}…), ends {template.eos!r}"]
    lines.append(f"           system prompt for rows without one: {prompt}")
    lines.append(
        f"           reasoning: {chat.think}; control tokens in rows: {chat.control_tokens}"
    )
    lines.append(f"Columns    {', '.join(plan.output_columns.columns)}")
    return lines


_DEDUP = {
    "off": "all rows are kept",
    "exact": "exact duplicates of earlier rows are removed",
    "near": "exact and near duplicates of earlier rows are removed",
}


def _quality(plan: Plan) -> list[str]:
    """Duplicates, benchmarks and tokens, and what happens to the rows concerned."""
    rules = plan.quality
    lines = [f"Quality    duplicates: {_DEDUP[rules.dedup]}"]
    for benchmark in rules.benchmarks:
        action = "removed" if rules.contaminated == "drop" else "reported"
        short = (
            f", {benchmark.too_short:,} of them too short to search for"
            if benchmark.too_short
            else ""
        )
        pin = f" at {benchmark.revision[:12]}" if benchmark.revision else ""
        lines.append(
            f"           rows that contain text from {benchmark.name}{pin} "
            f"({benchmark.prompts:,} prompts{short}): {action}"
        )
    if rules.tokens is not None:
        most = rules.tokens.max_tokens
        limit = "no limit" if most is None else f"texts above {most:,}: {rules.tokens.too_long}"
        lines.append(f"           tokens counted with {rules.tokens.tokenizer}; {limit}")
    compared = ", ".join(("length", "source file", *rules.balance))
    lines.append(f"           compared between the splits: {compared}")
    return lines


def _files(plan: Plan) -> list[str]:
    shown = [
        f"           {name}  {size / 1e6:,.1f} MB"
        for name, size in plan.source.files[:_SHOWN_FILES]
    ]
    more = len(plan.source.files) - len(shown)
    return ["Files", *shown, *([f"           and {more:,} more"] if more else [])]


def _first(plan: Plan, name: str) -> str:
    value = next((row[name] for row in plan.sample if row.get(name) not in (None, "")), None)
    if value is None:
        return "(none in the sample)"
    return _shown(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def roles_seen(plan: Plan) -> str:
    """The names of roles in the sample with their roles, ``human → user, …``; "" without turns."""
    roles = plan.fields.mapping.roles_in(plan.sample)
    return ", ".join(f"{name} → {role or _unknown(name)}" for name, role in roles.items())


def _unknown(name: str) -> str:
    remedy = remedy_of(UNKNOWN_ROLE, [repr(name)])
    return f"unknown: the row is rejected ({remedy})"


def _shown(text: str) -> str:
    cut = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
    return json.dumps(cut, ensure_ascii=False)
