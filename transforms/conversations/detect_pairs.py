"""The field rule: detects the columns of prompt and answer, or of turns, by their names.

The plan applies it once, to the schema and a sample; workers only follow the mapping.  In this
order:

1.  Preferences are refused (``refused_shapes``).
2.  The guide's pair, question and reasoning.
3.  A column of turns (``detect_turns``).
4.  Multiple-choice questions are refused, also before the guide's pair.
5.  One prompt and one answer by the table of ``column_roles``, or a documented reading of several,
    with each column that belongs to them by its name (``pair_columns``).
6.  A guess from the cells, only where exactly two text columns are left (``_Pairs.guess``).

Everything else is refused with what was seen and the flags that say which reading is meant.  The
order of the columns decides nothing but which of two nameless columns is the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

from transforms.conversations.column_roles import Role, fold_name, known_role
from transforms.conversations.detect_turns import detect_turns
from transforms.conversations.field_mapping import FieldChoice
from transforms.conversations.fields_grammar import joined, quoted
from transforms.conversations.pair_columns import WITH_INPUT, PairColumns
from transforms.conversations.pair_mapping import PairMapping
from transforms.conversations.prose import asks, is_prose
from transforms.conversations.refused_shapes import (
    cannot_tell,
    choices_of,
    refuse_choices,
    refuse_other_shapes,
    refuse_preferences,
)
from transforms.conversations.roles import ALIASES
from transforms.conversations.sampled_columns import TEXT, Sample, SampledColumns
from transforms.errors import UsageError
from transforms.records import Column

_MOST_READINGS = 8

GUESS = "a guess: the first of two text columns asks, and the other answers"

_WEAK = ("user", "human", "q", "inputs", "assistant", "gpt", "a", "target", "targets")
"""Names that hold prompt or answer where no other column of the role does: a user's name also is
called ``user``."""

_READINGS = (
    ("problem", "solution", ("answer",)),  # NuminaMath, MATH: the solution ends with the answer
    ("instruction", "output", ("prompt",)),  # Alpaca with its whole text beside it
)
"""Documented readings of several prompts or answers: prompt, answer, what may stand beside them."""


def detect(
    columns: Sequence[Column],
    sample: Sample,
    roles: Mapping[str, str] = ALIASES,
    list_answers: str | None = None,
) -> FieldChoice:
    """Chooses the columns of a source.

    Args:
        columns: the columns of the source.
        sample: some of its rows.
        roles: names of roles -> role.
        list_answers: what happens to lists of several answers; None rejects them.

    Raises:
        UsageError: the names do not say which columns are meant; the message has the readings.
    """
    source = SampledColumns(columns, sample)
    refuse_preferences(source, roles, lambda others: detect(others, sample, roles).mapping.flag)
    rules = _Pairs(source, list_answers)
    if not choices_of(source) and (guide := rules.guide()):
        return guide
    if turns := detect_turns(columns, sample, roles):
        rest = [column for column in columns if column.name not in turns.mapping.roles["turns"]]
        _refuse_others(turns, detect_turns(rest, sample, roles), rules)
        return turns
    refuse_choices(source)
    if pair := rules.named():
        return pair
    refuse_other_shapes(source)
    if guess := rules.guess():
        return guess
    raise rules.nothing()


class _Pairs:
    """The rules for the pairs of one source, and the columns that could be either side."""

    def __init__(self, source: SampledColumns, list_answers: str | None) -> None:
        self.source = source
        self.prompts = self._candidates(Role.PROMPT)
        self.answers = self._candidates(Role.ANSWER, Role.CHOSEN)
        inputs = [name for name in source.of_role(Role.INPUT) if source.is_scalar(name)]
        filled = [name for name in source.filled(Role.INPUT) if name in inputs]
        if filled and not self.prompts:
            blank = [n for n in source.of_role(Role.PROMPT) if fold_name(n) in WITH_INPUT]
            self.prompts = blank if len(blank) == 1 else filled
        inputs = [name for name in inputs if name not in self.prompts]
        self.beside = PairColumns(source, inputs, list_answers)

    def _candidates(self, *roles: Role) -> list[str]:
        """The filled columns of these roles, without weak names beside strong ones."""
        found = [name for role in roles for name in self.source.filled(role)]
        if Role.PROMPT in roles:
            found = [name for name in found if self.source.is_scalar(name)]
        strong = [name for name in found if fold_name(name) not in _WEAK]
        return strong or found

    def guide(self) -> FieldChoice | None:
        """The pair of the guide: the reasoning is the response."""
        pair = []
        for role, wanted in ((Role.PROMPT, "question"), (Role.REASONING, "reasoning")):
            named = [n for n in self.source.filled(role) if fold_name(n) == wanted]
            pair += [name for name in named if self._is_text(name)] if len(named) == 1 else []
        return self._choice(*pair) if len(pair) == 2 else None

    def _is_text(self, name: str) -> bool:
        return self.source.types[name] == TEXT

    def named(self) -> FieldChoice | None:
        """The pair that the names say; None where they say nothing of a prompt or an answer.

        Raises:
            UsageError: several columns could be either.
        """
        if not self.prompts or not self.answers:
            return None
        pair = self._documented()
        if pair is None:
            self._refuse_several("prompt", self.prompts)
            self._refuse_several("answer", self.answers)
            pair = (self.prompts[0], self.answers[0])
        return self._choice(*pair)

    def _documented(self) -> tuple[str, str] | None:
        prompts = {fold_name(name): name for name in self.prompts}
        answers = {fold_name(name): name for name in self.answers}
        if len(prompts) < len(self.prompts) or len(answers) < len(self.answers):
            return None  # two spellings of one name
        for prompt, answer, beside in _READINGS:
            others = {*prompts, *answers} - {prompt, answer}
            if prompt in prompts and answer in answers and others <= {*beside}:
                return prompts[prompt], answers[answer]
        return None

    def _refuse_several(self, what: str, names: Sequence[str]) -> None:
        if len(names) > 1:
            raise cannot_tell(
                self.source,
                f"{len(names)} columns could be the {what}: {', '.join(names)}",
                [self.beside.flag(p, a) for p in self.prompts for a in self.answers],
            )

    def guess(self, in_any_order: bool = False) -> FieldChoice | None:
        """A pair of exactly two text columns, of which the first asks and the other does not.

        A column that is named as the prompt or the answer has its place from its name.
        """
        source = self.source
        more = (Role.INPUT, Role.CONTEXT, Role.CHOICES, Role.PAIR, Role.LABEL, Role.TOOLS)
        named = [name for role in (Role.PROMPT, Role.ANSWER) for name in source.of_role(role)]
        if any(source.filled(role) for role in more) or not all(map(source.has_text, named)):
            return None
        nameless = (c.name for c in source.columns if c.type == TEXT and not known_role(c.name))
        prose = (name for name in nameless if is_prose(source.texts(name)))
        others = list(islice(prose, 3))  # three are too many, however many there are
        left = [*self.prompts, *others, *self.answers]
        if len(left) != 2 or not others or not all(map(self._is_text, left)):
            return None
        prompt, answer = left
        if in_any_order and len(others) == 2 and asks(source.texts(answer)):
            prompt, answer = answer, prompt
        if not (self.prompts or asks(source.texts(prompt))):
            return None
        if not self.answers and asks(source.texts(answer)):
            return None
        return replace(self._choice(prompt, answer), rule=GUESS, guess=True)

    def nothing(self) -> UsageError:
        """The refusal where no rule fits."""
        source = self.source
        odd = [name for name in source.filled(Role.PROMPT) if not source.is_scalar(name)]
        if odd and not self.prompts:
            kind = source.types[odd[0]]
            return cannot_tell(source, f"{odd[0]} is named as the prompt, but is a {kind}", [])
        blank = [name for name in source.of_role(Role.ANSWER) if name not in self.answers]
        free = self._other_texts((None, Role.CONTEXT, Role.TURNS))
        if self.prompts or self.answers:
            free = free or self._other_texts((Role.METADATA,))
        if self.prompts and blank and not self.answers:
            seen = f"{blank[0]} is named as the answer, but is blank in the first rows"
            pairs = [(prompt, name) for prompt in self.prompts for name in free]
        elif self.prompts and not self.answers:
            seen = f"{' and '.join(self.prompts)} can be the prompt, but no name says the answer"
            pairs = [(prompt, name) for prompt in self.prompts for name in free]
        elif self.answers and not self.prompts:
            seen = f"{' and '.join(self.answers)} can be the answer, but no name says the prompt"
            pairs = [(name, answer) for answer in self.answers for name in free]
        else:
            seen = "no name says the prompt or the answer"
            pairs = [(a, b) for a in free for b in free if a != b] if len(free) == 2 else []
        return cannot_tell(source, seen, [PairMapping((p,), (a,)).flag for p, a in pairs])

    def _other_texts(self, roles: Sequence[Role | None]) -> list[str]:
        """The first columns of text whose names have one of these roles."""
        columns = self.source.columns
        names = (c.name for c in columns if c.type == TEXT and known_role(c.name) in roles)
        return list(islice(filter(self.source.texts, names), _MOST_READINGS))

    def _choice(self, prompt: str, answer: str) -> FieldChoice:
        mapping = self.beside.mapping(prompt, answer)
        used = set(mapping.columns)
        free = [c.name for c in self.source.columns if c.type == TEXT and c.name not in used]
        unused = tuple(filter(self.source.has_text, free))
        return FieldChoice(mapping, _rule(mapping), unused, _answer_hint(mapping, unused))


def _refuse_others(turns: FieldChoice, more: FieldChoice | None, rules: _Pairs) -> None:
    """Refuses turns in a column that is not named as such, beside more turns or a pair."""
    names = turns.mapping.roles["turns"]
    if any(known_role(name) is Role.TURNS for name in names):
        return
    other = more or rules.named() or rules.guess(in_any_order=True)
    if other and not {*other.mapping.columns} <= {*names}:
        raise cannot_tell(
            rules.source,
            f"{' and '.join(names)} holds turns, and there is another reading",
            [turns.mapping.flag, other.mapping.flag],
        )


def _rule(mapping: PairMapping) -> str:
    """The rule that fired, with the names in lower case: ``columns instruction(+input)+output``."""
    names = [name.lower() for name in mapping.instruction]
    if len(names) > 1 and known_role(mapping.instruction[1]) is Role.INPUT:
        names = [f"{names[0]}(+{names[1]})"]
    return f"columns {'+'.join((*names, *(name.lower() for name in mapping.response)))}"


def _answer_hint(mapping: PairMapping, unused: Sequence[str]) -> str:
    """How the answer beside the guide's pair can be used."""
    answer = next((name for name in unused if fold_name(name) in ("answer", "solution")), None)
    if answer is None or known_role(mapping.response[0]) is not Role.REASONING:
        return ""
    question, steps = joined(mapping.instruction), mapping.response[0]
    return (
        f"the column {answer!r} is not used; to put it after the reasoning: --fields "
        f"instruction={question},response={joined((steps, answer))}; to keep the two apart: "
        f"--fields instruction={question},reasoning={quoted(steps)},response={quoted(answer)}"
    )
