"""Shapes that are known and not read by themselves: each is refused by name, with its flags.

Preference pairs (a rejected answer must never be trained), multiple-choice questions, texts that
are compared or translated, and texts with a class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from transforms.conversations.column_roles import Role, fold_name
from transforms.conversations.detect_turns import turn_mapping
from transforms.conversations.fields_grammar import joined, pair_flag
from transforms.conversations.pair_mapping import PairMapping
from transforms.conversations.sampled_columns import TEXT, SampledColumns
from transforms.errors import UsageError
from transforms.records import Column

_MOST_FLAGS = 4
_LETTERS = ("b", "c", "d", "e")
"""Names of choices behind ``a``, which alone is an answer."""


def cannot_tell(source: SampledColumns, seen: str, flags: Sequence[str]) -> UsageError:
    """The refusal of a source: what was seen, the likely readings as flags, the columns."""
    shown = [f"--fields {_quoted(flag)}" for flag in dict.fromkeys(flags)][:_MOST_FLAGS]
    if shown:
        remedy = f"Say which reading is meant: {' or '.join(shown)}"
    else:
        remedy = (
            "Name them: --fields instruction=COLUMN,response=COLUMN or --fields messages=COLUMN"
        )
    return UsageError(
        f"cannot tell which columns are the prompt and the answer: {seen}; found {source.found}. "
        f"{remedy}"
    )


def _quoted(flag: str) -> str:
    """A flag's value as a shell takes it."""
    plain = all(char.isalnum() or char in "=,+._-" for char in flag)
    return flag if plain else "'" + flag.replace("'", "'\\''") + "'"


def refuse_preferences(
    source: SampledColumns,
    roles: Mapping[str, str],
    flag_of: Callable[[Sequence[Column]], str],
) -> None:
    """Refuses a source with rejected answers, with the flag that takes the chosen ones.

    Args:
        source: the columns.
        roles: names of roles -> role.
        flag_of: detects other columns; returns their ``--fields``.

    Raises:
        UsageError: the source holds preferences.
    """
    rejected = source.filled(Role.REJECTED)
    if not rejected:
        return
    chosen = source.filled(Role.CHOSEN)
    others = [column for column in source.columns if column.name not in rejected]
    flag = None
    if chosen:
        prompts = source.filled(Role.PROMPT)
        flag = _turns_flag(source, (*prompts[:1], chosen[0]), roles) if prompts else None
        flag = flag or _turns_flag(source, (chosen[0],), roles)
    if flag is None:
        try:
            flag = flag_of(others)
        except UsageError:
            flag = None
    names = ", ".join((*chosen, *rejected))
    seen = f"{names} are the columns of preferences, of which {' and '.join(rejected)} must not be "
    if flag is None:
        raise UsageError(
            f"{seen}trained: expected questions with answers, or turns; found {source.found}, and "
            "no prompt beside them. Split each text into a prompt and an answer, or into turns"
        )
    raise UsageError(
        f"{seen}trained: expected questions with answers, or turns; found {source.found}. To train "
        f"the chosen side alone: --fields {_quoted(flag)}"
    )


def _turns_flag(
    source: SampledColumns, names: tuple[str, ...], roles: Mapping[str, str]
) -> str | None:
    """The flag of columns that each hold turns, else None."""
    try:
        for name in names:
            turn_mapping((name,), None, None, source.sample, roles)
    except UsageError:
        return None
    return f"messages={joined(names)}"


def choices_of(source: SampledColumns) -> list[str]:
    """The columns of choices; letters are some only if they begin with ``a`` and ``b``."""
    found = source.filled(Role.CHOICES)
    letters = [name for name in found if fold_name(name) in _LETTERS]
    first = [name for name in source.filled(Role.ANSWER) if fold_name(name) == "a"]
    if first and any(fold_name(name) == "b" for name in letters):
        return [*first, *found]
    return [name for name in found if name not in letters]


def refuse_choices(source: SampledColumns) -> None:
    """Refuses multiple-choice questions: choices belong to the prompt, the answer is a number."""
    choices = choices_of(source)
    prompts = [n for n in source.filled(Role.PROMPT) if source.is_scalar(n)]
    if not choices or not (prompts or source.filled(Role.CONTEXT)):
        return
    answers = [n for n in source.filled(Role.ANSWER) if source.is_scalar(n) and n not in choices]
    flags = [PairMapping((p,), (a,)).flag for p in prompts for a in answers]
    seen = (
        f"{', '.join(choices)} belong to multiple-choice questions, whose choices are a part of "
        "the prompt; write them into the prompt and the right one into an answer"
    )
    if not flags:
        raise UsageError(f"cannot make a prompt and an answer: {seen}. Found {source.found}")
    raise cannot_tell(source, f"{seen}, or leave them out with a flag", flags)


def refuse_other_shapes(source: SampledColumns) -> None:
    """Refuses texts that are compared or translated, and texts with a class."""
    pairs = source.filled(Role.PAIR)
    labels = [name for name in source.filled(Role.LABEL) if source.is_scalar(name)]
    for name in pairs:
        cells = [cell for cell in source.values(name) if isinstance(cell, Mapping)]
        if fold_name(name) == "translation" and cells:
            keys = [str(key) for key in dict.fromkeys(key for cell in cells for key in cell)]
            ways = [(a, b) for a in keys for b in keys if a != b]
            flags = [pair_flag((f"{name}.{a}",), (f"{name}.{b}",)) for a, b in ways]
            raise cannot_tell(source, f"{name} holds translations, in either direction", flags)
    better = [name for name in pairs if fold_name(name) == "positive"]
    if better:
        prompts = [*source.filled(Role.PROMPT), *(n for n in pairs if fold_name(n) == "anchor")]
        seen = f"{', '.join(pairs)} are the columns of texts that fit, or do not fit, a query"
        raise cannot_tell(source, seen, [PairMapping((p,), (better[0],)).flag for p in prompts[:1]])
    if len(pairs) > 1:
        named = ", ".join((*pairs, *labels))
        seen = f"{named} are the columns of texts that are compared, not of a prompt and its answer"
        whole = [pair_flag(pairs[:2], (label,)) for label in labels]
        raise cannot_tell(source, seen, whole or [PairMapping((pairs[0],), (pairs[1],)).flag])
    text = [c.name for c in source.columns if c.type == TEXT and source.texts(c.name)]
    text = [name for name in text if name not in labels]
    if labels and text and not source.filled(Role.ANSWER):
        seen = f"{labels[0]} is the class of a text, which is an answer only if you say so"
        raise cannot_tell(
            source,
            seen,
            [pair_flag((name,), labels[:1]) for name in text],
        )
