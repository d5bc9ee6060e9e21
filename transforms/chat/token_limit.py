"""The token limit: what happens to rows whose text has more than ``--max-tokens``.

    reject             the row is rejected with the code ``too-many-tokens``
    raise              the job fails and names the first such row
    truncate-response  the last answer is cut at the end of a token, and the row is rendered again,
                       so that its text ends as all others do

Reasoning in the text counts and is not cut.  A row whose answer would be empty is rejected with the
code ``prompt-too-long``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.chat.token_counter import TokenCounter
from transforms.conversations import reasoning
from transforms.conversations.turns import ASSISTANT, Turns
from transforms.errors import BadInput
from transforms.options import TokenRule
from transforms.records import ROW, TOKENS, TURNS, one_array, rejects_table

if TYPE_CHECKING:
    from transforms.chat.rendered_rows import RenderedRows


class TooLong(Exception):
    """A row of a batch is too long, and the rule is to end the job."""

    def __init__(self, row: int, tokens: int, most: int) -> None:
        super().__init__(row, tokens, most)
        self.row, self.tokens, self.most = row, tokens, most

    def at(self, file: str, row: int) -> BadInput:
        """The error for the user; ``row`` counts from 1 in the file."""
        return BadInput(
            f"{file} row {row:,} has {self.tokens:,} tokens, more than the {self.most:,} of "
            "--max-tokens; raise the limit, or use --too-long reject or --too-long "
            "truncate-response"
        )


Rendering = Callable[[pa.Table], "RenderedRows"]
"""Renders rows of ``Normalize``, each by itself; the result has a column ``text``."""


@dataclass(frozen=True)
class Limit:
    """A rule with the counter of its tokenizer."""

    rule: TokenRule
    counter: TokenCounter

    def apply(self, table: pa.Table, render: Rendering) -> RenderedRows:
        """Renders the rows of a table, with their ``TOKENS``, none above the limit, in order.

        Raises:
            TooLong: a row is above the limit, and the rule is to raise an error.
        """
        done = self._counted(render(table))
        most = self.rule.max_tokens
        long = np.zeros(0, bool) if most is None else done.kept[TOKENS].to_numpy() > most
        if most is None or not long.any():
            return done
        rows, tokens = done.rows.to_numpy()[long], done.kept[TOKENS].to_numpy()[long]
        if self.rule.too_long == "raise":
            raise TooLong(int(rows[0]), int(tokens[0]), most)
        counts = dict(zip(rows.tolist(), tokens.tolist(), strict=True))
        fine = pa.array(~long)
        concerned = table.filter(pc.is_in(table[ROW], pa.array(rows)))
        note_counts = Counter(done.note_counts)
        if note_counts:  # notes on these rows are counted after the cut
            note_counts.subtract(render(concerned).note_counts)
        done = replace(done, kept=done.kept.filter(fine), rows=done.rows.filter(fine))
        if self.rule.too_long == "reject":
            bad = _rejects(counts, "too-many-tokens", f"tokens, more than {most:,}")
            return replace(
                done, rejects=pa.concat_tables([done.rejects, bad]), note_counts=+note_counts
            )
        cut = self._cut(concerned, counts, most, render)
        note_counts.update(cut.note_counts)
        kept = pa.concat_tables([done.kept, cut.kept])
        numbers = pa.chunked_array([*done.rows.chunks, *cut.rows.chunks], pa.int64())
        order = pc.sort_indices(pc.index_in(numbers, one_array(table[ROW])))
        rejects = pa.concat_tables([done.rejects, cut.rejects])
        return replace(
            done,
            kept=kept.take(order),
            rows=numbers.take(order),
            rejects=rejects,
            note_counts=+note_counts,
        )

    def _counted(self, done: RenderedRows) -> RenderedRows:
        counts = self.counter.count(done.kept["text"])
        return replace(done, kept=done.kept.append_column(TOKENS, pa.array(counts, pa.int64())))

    def _cut(
        self, table: pa.Table, tokens: dict[int, int], most: int, render: Rendering
    ) -> RenderedRows:
        """The rows with these numbers of tokens, with shorter answers."""
        answers = {
            row: _Answer.of(text, self.counter)
            for row, text in zip(table[ROW].to_pylist(), _last_answers(table), strict=True)
        }
        for row, count in tokens.items():
            answers[row].shorten(count - most)
        parts: list[RenderedRows] = []
        gone: dict[int, int] = {}
        left = table
        while True:
            numbers = left[ROW].to_pylist()
            gone |= {row: tokens[row] for row in numbers if not answers[row].has_text}
            left = left.filter(pa.array([row not in gone for row in numbers], pa.bool_()))
            done = self._counted(
                render(_with_answers(left, [answers[row].text for row in left[ROW].to_pylist()]))
            )
            # Text and template may form other tokens where they meet.
            excess = done.kept[TOKENS].to_numpy() - most
            fits = pa.array(excess <= 0)
            for row, count in zip(done.rows.to_pylist(), excess.tolist(), strict=True):
                if count > 0:
                    answers[row].shorten(count)
            left = left.filter(pc.is_in(left[ROW], done.rows.filter(pc.invert(fits))))
            parts.append(replace(done, kept=done.kept.filter(fits), rows=done.rows.filter(fits)))
            if not left.num_rows:
                break
        bad = _rejects(gone, "prompt-too-long", f"tokens, more than {most:,} without the answer")
        kept = pa.concat_tables([part.kept for part in parts])
        note_counts: Counter[str] = Counter()
        if any(part.note_counts for part in parts):
            note_counts.update(render(self._final(table, answers, parts)).note_counts)
        note_counts[TRUNCATED] += kept.num_rows
        return replace(
            parts[0],
            kept=kept,
            rows=pa.chunked_array([c for p in parts for c in p.rows.chunks], pa.int64()),
            rejects=pa.concat_tables([*(part.rejects for part in parts), bad]),
            note_counts=note_counts,
        )

    @staticmethod
    def _final(table: pa.Table, answers: dict[int, _Answer], parts: list[RenderedRows]) -> pa.Table:
        """The rows that are kept, in their final form."""
        kept = {row for part in parts for row in part.rows.to_pylist()}
        final = table.filter(pa.array([row in kept for row in table[ROW].to_pylist()], pa.bool_()))
        return _with_answers(final, [answers[row].text for row in final[ROW].to_pylist()])


@dataclass
class _Answer:
    """An answer of which ``room`` tokens are kept; ``lead`` is reasoning, which is not cut."""

    lead: str
    answer: str
    ends: np.ndarray
    room: int

    @classmethod
    def of(cls, content: str, counter: TokenCounter) -> _Answer:
        inline = reasoning.split(content)
        lead = content[: len(content) - len(inline.answer)] if inline.closed else ""
        ends = counter.ends(inline.answer)
        return cls(lead, inline.answer, ends, len(ends))

    def shorten(self, tokens: int) -> None:
        self.room -= tokens

    @property
    def _answer_text(self) -> str:
        return self.answer[: int(self.ends[self.room - 1])] if self.room > 0 else ""

    @property
    def has_text(self) -> bool:
        return bool(self._answer_text.strip())

    @property
    def text(self) -> str:
        return self.lead + self._answer_text


def _last_answers(table: pa.Table) -> list[str]:
    if TURNS not in table.column_names:
        return list(table["response"].to_pylist())
    turns = Turns.of_column(one_array(table[TURNS]))
    return list(turns.content_at(turns.last(ASSISTANT)).to_pylist())


def _with_answers(table: pa.Table, answers: list[str]) -> pa.Table:
    texts = pa.array(answers, pa.string())
    if TURNS not in table.column_names:
        return table.set_column(table.column_names.index("response"), "response", texts)
    turns = Turns.of_column(one_array(table[TURNS]))
    last = np.zeros(len(turns.roles), bool)
    last[turns.last(ASSISTANT)] = True  # a row without one has no answer to cut
    changed = replace(turns, content=pc.replace_with_mask(turns.content, pa.array(last), texts))
    return table.set_column(table.column_names.index(TURNS), TURNS, changed.column())


def _rejects(tokens: dict[int, int], code: str, what: str) -> pa.Table:
    return rejects_table([(row, code, f"{count:,} {what}") for row, count in tokens.items()])


TRUNCATED = "response-truncated"
"""The note on a row whose response was cut to ``--max-tokens``."""
