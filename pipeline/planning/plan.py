"""The plan: everything that decides the bytes of a set, fixed before a worker starts.

The launcher makes it, without Beam.  It is immutable, can be printed and written as JSON; workers
follow it and decide nothing.  Its digest identifies the set: same digest, same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

from pipeline.planning.chat_template import chat_format
from pipeline.planning.decontamination import read_benchmarks
from pipeline.planning.source_files import SourceFiles
from pipeline.planning.source_schema import sample_source, settled
from pipeline.planning.sources import resolve
from pipeline.planning.tokenizer import tokenizer_file
from pipeline.request import Request
from transforms import split
from transforms.chat.output_columns import OutputColumns, parse_columns
from transforms.chat.template import ChatFormat
from transforms.chat.token_counter import TOKENIZER_FILE
from transforms.conversations import row_checks
from transforms.conversations.column_parts import refuse_lists
from transforms.conversations.column_roles import Role, known_role
from transforms.conversations.detect_pairs import detect
from transforms.conversations.field_mapping import FieldChoice, FieldMapping, TurnMapping
from transforms.conversations.fields_flag import parse, require_column
from transforms.conversations.fields_grammar import split_fields
from transforms.conversations.marked_samples import check_marks, ignored_marks
from transforms.conversations.pair_mapping import PairMapping
from transforms.conversations.roles import role_table
from transforms.conversations.rules import ConversationRules
from transforms.conversations.sampled_columns import Sample, nan_notes
from transforms.errors import BadInput, UsageError
from transforms.formats import source_reader
from transforms.leakage.prompts import MAX_SAMPLED_PROMPTS
from transforms.options import QualityRules, TokenRule
from transforms.records import Column, WorkUnit
from transforms.split import SplitRule
from transforms.work_units import DEFAULT_UNIT_BYTES, Cut, pack, take_first, with_states


@dataclass(frozen=True)
class Plan:
    """What is read, how rows become text, and which work unit becomes which shard."""

    dataset: str
    source: SourceFiles
    columns: tuple[Column, ...]
    fields: FieldChoice
    rules: ConversationRules
    chat: ChatFormat
    output_columns: OutputColumns
    split: SplitRule
    quality: QualityRules
    max_samples: int | None
    unit_bytes: int
    units: tuple[WorkUnit, ...]
    sample: Sample
    estimated_rows: int
    attachments: Mapping[str, bytes] = field(default_factory=dict)
    """Work files by name, which workers read from the output; the rules hold their SHA-256."""

    @property
    def read_columns(self) -> tuple[Column, ...]:
        """The columns that workers read: those of the fields, and the split key."""
        mapping = self.fields.mapping
        key = (self.split.key,) if self.split.key else ()
        names = (*mapping.columns, *key, *self.quality.balance)
        return tuple(
            replace(mapping.narrowed(c, self.sample), optional=known_role(c.name) in _OPTIONAL)
            for c in self.columns
            if c.name in names
        )

    def reading(self) -> source_reader.Source:
        """What workers need to read."""
        columns = (*self.read_columns, *self.fields.mapping.checks.late_columns)
        return source_reader.Source(self.source.root, self.source.file_format, columns)

    def to_json(self) -> dict[str, object]:
        """The plan as JSON, without paths of a machine or anything that differs between equal runs.

        The digest is made of it, so its keys are fixed.
        """
        mapping = self.fields.mapping
        return {
            "source": {
                "dataset": self.dataset,
                "kind": self.source.kind,
                "revision": self.source.revision,
                "config": self.source.config,
                "split": self.source.split,
                "format": self.source.file_format.to_json(),
                "files": [{"name": name, "bytes": size} for name, size in self.source.files],
            },
            "columns": {column.name: column.type for column in self.read_columns},
            "fields": {
                **mapping.to_json(),
                "rule": self.fields.rule,
                **({"guess": True} if self.fields.guess else {}),
            },
            "rules": asdict(self.rules),
            "template": self.chat.to_json(),
            "shape": asdict(self.output_columns),
            "split": {**asdict(self.split), "version": split.VERSION},
            "quality": self.quality.to_json(),
            "max_samples": self.max_samples,
            "unit_bytes": self.unit_bytes,
            "units": [
                [[p.file, p.start, p.stop, p.limit] for p in unit.file_ranges]
                for unit in self.units
            ],
        }

    @cached_property
    def digest(self) -> str:
        """BLAKE2b of the canonical JSON; 40 hex digits."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(canonical.encode(), digest_size=20).hexdigest()


def make_plan(request: Request) -> Plan:
    """Resolves the source, reads its first rows, chooses the fields and cuts the work units.

    Raises:
        DataPrepError: the request cannot be met.
    """
    source = resolve(request)
    found = sample_source(source, request.dataset_name, request.text_flags)
    source = settled(source, found, request.split, request.dataset_name)
    late_keys = found.file_format.name.startswith("json_")
    columns = _with_named(found.columns, request.fields) if late_keys else found.columns
    try:
        choice = _choose_fields(request, columns, found.sample, late_keys)
    except UsageError as error:
        raise UsageError(f"{error}{found.difference}") from error
    key = None
    if request.split_key:
        key = require_column(request.split_key, found.columns, "--split-key").name
    tokenizer = tokenizer_file(request)
    files = {TOKENIZER_FILE: tokenizer.data} if tokenizer else {}
    benchmarks = read_benchmarks(request)
    quality = replace(
        _quality(request, found.columns, tokenizer.rule if tokenizer else None),
        benchmarks=benchmarks.benchmarks,
    )
    unit_bytes = request.shard_size or DEFAULT_UNIT_BYTES
    names = (*choice.mapping.columns, *((key,) if key else ()), *quality.balance)
    cuts = _cuts(source, names, unit_bytes, request.max_samples)
    units = tuple(with_states(pack(cuts, unit_bytes), source.states))
    if not units:
        raise BadInput(f"{request.dataset_name} contains no rows")
    rows = _estimated_rows(found.sample, names, len(units), unit_bytes)
    return Plan(
        dataset=request.dataset_name,
        source=source,
        columns=columns,
        fields=choice,
        rules=_rules(request, choice.mapping),
        chat=chat_format(request, choice.mapping),
        output_columns=_output_columns(request, choice.mapping),
        split=SplitRule(request.val_size, request.seed, key),
        quality=replace(
            quality, leakage_sample_rate=_leakage_sample_rate(request.val_size, len(units), rows)
        ),
        max_samples=request.max_samples,
        unit_bytes=unit_bytes,
        units=units,
        sample=found.sample,
        estimated_rows=rows,
        attachments={**files, **benchmarks.files},
    )


_OPTIONAL = (Role.INPUT, Role.CONTEXT, Role.SYSTEM, Role.HISTORY, Role.REASONING, Role.TOOLS)
"""Roles of columns that only some rows may have; a prompt or an answer is in the sample."""


def _with_named(columns: Sequence[Column], fields: str | None) -> tuple[Column, ...]:
    """The columns, and those that ``--fields`` names: rows after a JSON sample may bring them."""
    named = {name for _, names in split_fields(fields) for name in names} if fields else set()
    filled = tuple(column for column in columns if column.type != "null")
    late = sorted(named - {column.name for column in filled})
    roles = {name: role for name in late if (role := known_role(name)) in _OPTIONAL}
    lists = (Role.HISTORY, Role.TOOLS)
    added = [Column(name, "list" if role in lists else "string") for name, role in roles.items()]
    return (*(column for column in columns if column.name not in roles), *added)


def _choose_fields(
    request: Request, columns: Sequence[Column], sample: Sample, late_keys: bool
) -> FieldChoice:
    if not sample:
        raise BadInput(f"{request.dataset_name} contains no rows")
    if request.fields is None:
        choice = detect(columns, sample, role_table(request.roles), request.list_answers)
    else:
        roles = role_table(request.roles)
        mapping = parse(request.fields, columns, sample, roles, request.list_answers)
        unused = [c.name for c in columns if c.type == "string" and c.name not in mapping.columns]
        choice = FieldChoice(mapping, "--fields", tuple(unused))
    mapping, hint = choice.mapping, choice.hint
    if request.list_answers is None:
        refuse_lists(mapping.opened, sample)
    if request.unpack_json:
        mapping = mapping.unpacked()
    ignored = ""
    if isinstance(mapping, PairMapping):
        if request.ignore_training_marks:
            ignored = row_checks.ignored_marks(columns, sample, mapping.columns)
    elif isinstance(mapping, TurnMapping):
        marked = mapping.with_marks(columns, sample, ignored=False)
        if request.ignore_training_marks:
            ignored = ignored_marks(marked, sample)
        else:
            check_marks(marked, sample)
    mapping = mapping.with_marks(columns, sample, request.ignore_training_marks)
    if request.fields is None:  # else the user has named all columns that are meant
        mapping = mapping.with_watched(columns, sample, request.ignore_training_marks)
        if late_keys:
            mapping = mapping.with_late(columns, _ignored_roles(request))
    if mapping.tools and not (request.tools or "messages" in request.columns):
        hint = f"the tools in {mapping.tools!r} are not rendered (add --tools)"
        mapping = mapping.without_tools()
    notes = [note for note in (hint, ignored, *nan_notes(mapping.texts, sample)) if note]
    return replace(choice, mapping=mapping, hint="; ".join(notes))


def _ignored_roles(request: Request) -> tuple[Role, ...]:
    """The roles of columns that do not change what this request prepares."""
    marks = (Role.MARK, Role.LABEL) if request.ignore_training_marks else ()
    rendered = request.tools or "messages" in request.columns
    return marks if rendered else (*marks, Role.TOOLS)


def _rules(request: Request, mapping: FieldMapping) -> ConversationRules:
    if not mapping.makes_turns:
        return ConversationRules()  # one question and one answer: nothing to repair
    return ConversationRules(request.same_role, request.ends_with_user, request.assistant_first)


def _output_columns(request: Request, mapping: FieldMapping) -> OutputColumns:
    return OutputColumns(parse_columns(request.columns), mapping.has_reasoning, mapping.has_tools)


def _quality(request: Request, columns: Sequence[Column], tokens: TokenRule | None) -> QualityRules:
    balance = [require_column(name, columns, "--balance").name for name in request.balance]
    return QualityRules(
        dedup=request.dedup,
        contaminated=request.contaminated,
        tokens=tokens,
        balance=tuple(dict.fromkeys(balance)),
    )


def _estimated_rows(sample: Sample, names: Sequence[str], units: int, unit_bytes: int) -> int:
    """The number of rows in the units if their texts are as long as those of the sample."""
    texts = (json.dumps([row.get(name) for name in names], default=str) for row in sample)
    size = sum(len(text) for text in texts)
    return units * unit_bytes * len(sample) // size


def _leakage_sample_rate(val_size: float, units: int, rows: int) -> float:
    """The share of validation prompts to search for in train.

    It is twice what fills ``MAX_SAMPLED_PROMPTS``, since the number of rows is an estimate.
    """
    if not 0 < val_size < 1:
        return 0.0
    return 1.0 if units == 1 else min(1.0, 2 * MAX_SAMPLED_PROMPTS / (val_size * rows))


def _cuts(
    source: SourceFiles, names: Sequence[str], unit_bytes: int, max_samples: int | None
) -> Iterator[Cut]:
    def all_cuts() -> Iterator[Cut]:
        for name, size in source.files:
            path = source.root + name
            yield from source_reader.cuts(path, source.file_format, name, size, names, unit_bytes)

    def count(cut: Cut, at_most: int) -> int:
        return source_reader.count_rows(source.root + cut.file, source.file_format, cut, at_most)

    return all_cuts() if max_samples is None else take_first(all_cuts(), max_samples, count)
