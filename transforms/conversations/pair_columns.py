"""What belongs to a prompt and its answer: input, context, system prompt, history, reasoning.

Each is found by its name.  It may be blank in the whole sample, as it may be filled in later rows.
Where two columns have one role, or their order in the prompt is not known, the source is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from transforms.conversations.column_parts import JOIN, REJECT, ColumnPart
from transforms.conversations.column_roles import Role, fold_name, known_role
from transforms.conversations.fields_flag import has_inline, required_columns
from transforms.conversations.fields_grammar import joined, quoted
from transforms.conversations.pair_mapping import PairMapping
from transforms.conversations.pair_turns import is_history
from transforms.conversations.refused_shapes import cannot_tell
from transforms.conversations.sampled_columns import TEXT, SampledColumns
from transforms.errors import UsageError

WITH_INPUT = ("instruction", "instructions")
"""Prompts that an input belongs to, as in Alpaca."""

_BEFORE_CONTEXT = (*WITH_INPUT, "prompt", "prompts")
"""Prompts that a context follows, as in Dolly; a question follows its context, as in SQuAD."""


@dataclass(frozen=True)
class PairColumns:
    """The columns beside the pairs of one source.

    Attributes:
        source: the columns and some rows.
        inputs: the columns of inputs, none of which is a prompt by itself.
        several: what happens to lists of several answers; None rejects them.
    """

    source: SampledColumns
    inputs: Sequence[str]
    several: str | None = None

    def mapping(self, prompt: str, answer: str) -> PairMapping:
        """The pair with all that belongs to it.

        Raises:
            UsageError: that is not clear; the message has the readings.
        """
        instruction, separator = self._instruction(prompt, answer)
        is_guide = known_role(answer) is Role.REASONING
        mapping = PairMapping(
            instruction,
            (answer,),
            instruction_separator=separator,
            reasoning=None if is_guide else self._one(Role.REASONING, prompt, answer),
            system=self._one(Role.SYSTEM, prompt, answer),
            history=self._history(),
            required=required_columns(instruction),
        )
        if tools := [name for name in self.source.filled(Role.TOOLS) if self._has_tools(name)]:
            raise cannot_tell(
                self.source,
                f"{tools[0]} offers tools, which a question and an answer cannot show; a flag "
                "without them leaves them out",
                [mapping.flag],
            )
        parts = [ColumnPart(name, name, None, JOIN) for name in instruction if self._is_list(name)]
        if part := self._answer_part(mapping):
            mapping = replace(mapping, response=(part.name,))
            parts.append(part)
        mapping = replace(mapping, parts=tuple(parts))
        return replace(mapping, inline=has_inline(mapping, self.source.sample))

    def flag(self, prompt: str, answer: str) -> str:
        """The pair with all that belongs to it as ``--fields``, so far as that is clear."""
        try:
            return self.mapping(prompt, answer).flag
        except UsageError:
            return PairMapping((prompt,), (answer,)).flag

    def _has_tools(self, name: str) -> bool:
        return any(cell not in ("[]", "{}", "null") for cell in self.source.values(name))

    def _is_list(self, name: str) -> bool:
        return self.source.types[name] == "list"

    def _instruction(self, prompt: str, answer: str) -> tuple[tuple[str, ...], str]:
        """The columns of the prompt in order, and what stands between them."""
        input_ = self._input(prompt, answer)
        context = self._one(Role.CONTEXT, prompt, answer)
        if context and input_:
            names = (prompt, input_, context)
            raise cannot_tell(
                self.source,
                f"{' and '.join(names)} all belong to the prompt, in an order that is not known",
                [PairMapping(names, (answer,)).flag],
            )
        if input_:
            return (prompt, input_), "\n"
        if context:
            after = fold_name(prompt) in _BEFORE_CONTEXT
            return (prompt, context) if after else (context, prompt), "\n\n"
        return (prompt,), "\n\n"

    def _input(self, prompt: str, answer: str) -> str | None:
        """The input that an instruction is about."""
        inputs = [name for name in self.inputs if name != prompt]
        filled = [name for name in inputs if self.source.values(name)]
        if fold_name(prompt) in WITH_INPUT:
            if len(filled) < 2:
                return next(iter(filled or inputs), None)
        elif not filled:
            return None
        flags = [
            PairMapping(names, (answer,)).flag
            for names in ((prompt, filled[0]), *((name,) for name in (prompt, *filled)))
        ]
        seen = f"{' and '.join((prompt, *filled))} could each be the prompt, or a part of it"
        raise cannot_tell(self.source, seen, flags)

    def _one(self, role: Role, prompt: str, answer: str) -> str | None:
        """The one column of a role beside the pair."""
        filled = [n for n in self.source.filled(role) if n not in (prompt, answer)]
        alone = PairMapping((prompt,), (answer,)).flag
        if len(filled) > 1:
            raise cannot_tell(
                self.source,
                f"{len(filled)} columns could be the {role.value}: {', '.join(filled)}",
                [_beside(alone, prompt, role, name) for name in filled],
            )
        if not filled:
            blank = [name for name in self.source.of_role(role) if self.source.is_scalar(name)]
            return blank[0] if len(blank) == 1 else None
        (name,) = filled
        if self.source.is_scalar(name) or (role is Role.CONTEXT and self._holds_texts(name)):
            return name
        raise cannot_tell(
            self.source,
            f"{name} is named as the {role.value}, but is a {self.source.types[name]}; a flag "
            "without it leaves it out",
            [alone],
        )

    def _holds_texts(self, name: str) -> bool:
        cells = self.source.values(name)
        return self._is_list(name) and all(
            isinstance(cell, list) and all(isinstance(item, (str, type(None))) for item in cell)
            for cell in cells
        )

    def _history(self) -> str | None:
        found = [
            name
            for name in self.source.of_role(Role.HISTORY)
            if self._is_list(name) or self.source.types[name] == TEXT
        ]
        if len(found) != 1:
            return None
        filled = self.source.values(found[0])
        # Others are no chat, such as a patient's history.
        return None if filled and not any(map(is_history, filled)) else found[0]

    def _answer_part(self, mapping: PairMapping) -> ColumnPart | None:
        """The text in an answer of lists or objects, None for an answer that is text itself."""
        (answer,) = mapping.response
        several = self.several or REJECT
        if self.source.is_scalar(answer):
            return None
        cells = self.source.values(answer)
        objects = [cell for cell in cells if isinstance(cell, Mapping)]
        if self._is_list(answer):
            part = ColumnPart(answer, answer, None, several)
            if not cells or any(part.code(cell) != "not-text" for cell in cells):
                return part
            raise cannot_tell(
                self.source, f"{answer} is named as the answer, but holds lists of objects", []
            )
        if objects and all("text" in cell for cell in objects):
            return ColumnPart(f"{answer}.text", answer, "text", several)  # SQuAD
        keys = sorted({str(key) for cell in objects for key in cell})
        # A key that holds text is the likely answer.
        keys.sort(key=lambda key: not any(isinstance(cell.get(key), str) for cell in objects))
        names = (answer, *(f"{answer}.{key}" for key in keys))
        raise cannot_tell(
            self.source,
            f"the answer {answer} holds objects; the whole object becomes JSON text, or one of its "
            "keys is the answer",
            [replace(mapping, response=(name,)).flag for name in names],
        )


def _beside(flag: str, prompt: str, role: Role, name: str) -> str:
    if role is Role.CONTEXT:
        return flag.replace(
            f"instruction={quoted(prompt)}", f"instruction={joined((name, prompt))}", 1
        )
    return f"{flag},{role.value}={quoted(name)}"
