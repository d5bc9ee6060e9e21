"""Benchmarks: pieces of their prompts are found in rows, wherever they stand, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slow_pieces import pieces, slow_overlap, slow_pieces, slow_words, strings
from step_runs import codes_of

from transforms.conversations.turns import Turn, Turns
from transforms.leakage.contamination import (
    LENGTHS,
    OverlapFinder,
    decontaminated,
    merge_pieces,
    pieces_from_bytes,
    pieces_of,
    pieces_to_bytes,
)
from transforms.records import ROW, TURNS
from transforms.storage.local import LocalStore


def words_of(start: int, count: int) -> str:
    return " ".join(f"w{n}" for n in range(start, start + count))


def pairs(*rows: tuple[str, str]) -> pa.Table:
    numbers = pa.array(range(1, len(rows) + 1), pa.int64())
    columns = [strings(*(row[n] for row in rows)) for n in (0, 1)]
    return pa.table([*columns, numbers], names=["instruction", "response", ROW])


def conversations(*rows: Sequence[str]) -> pa.Table:
    made = Turns.of_rows([[Turn(n % 2 + 1, text) for n, text in enumerate(row)] for row in rows])
    return pa.table({ROW: pa.array(range(1, len(rows) + 1), pa.int64()), TURNS: made.column()})


# ---- the rule


# Few words, so that prompts and texts meet.
TEXTS = st.lists(st.sampled_from(("a", "b", "B!")), max_size=18).map(" ".join)


class TestRule:
    @given(st.lists(TEXTS, max_size=3), st.lists(TEXTS, min_size=1, max_size=4))
    def test_rows_are_found_if_and_only_if_they_share_a_piece(
        self, prompts: list[str], texts: list[str]
    ) -> None:
        found = OverlapFinder({"x": pieces(*prompts)}).find(strings(*texts))["x"]
        expected = [n for n, text in enumerate(texts) if slow_overlap(text, prompts)]
        assert np.unique(found.texts).tolist() == expected
        for text, first, length in zip(found.texts, found.firsts, found.lengths, strict=True):
            run_of_words = tuple(slow_words(texts[text])[first : first + length])
            assert any(run_of_words in slow_pieces(prompt) for prompt in prompts)

    @pytest.mark.parametrize("shared", range(6, 16))
    @pytest.mark.parametrize("prompt", [7, 8, 9, 12, 13, 14, 20])
    def test_thirteen_words_or_a_whole_short_prompt_of_eight(
        self, shared: int, prompt: int
    ) -> None:
        text = f"before {words_of(0, min(shared, prompt))} behind"
        table = pairs(("q", text), (text, "a"), ("no", "thing"))
        _, _, events = decontaminated(
            table, OverlapFinder({"x": pieces(words_of(0, prompt))}), False
        )
        is_found = prompt >= 8 and shared >= min(prompt, 13)
        assert events == ({"benchmark-overlap: x": 2} if is_found else {})

    def test_prompts_that_are_too_short_are_counted(self) -> None:
        assert pieces_of(strings("", "a b", words_of(0, 7), words_of(0, 8)))[1] == 3

    def test_case_punctuation_and_white_space_do_not_matter(self) -> None:
        finder = OverlapFinder(
            {"x": pieces("Tom has 5 apples; he buys 7 more. How many are there?")}
        )
        same = "tom HAS 5\u00a0apples \u2014 he (buys) 7\n\nmore: how  many are there"
        assert len(finder.find(strings(same))["x"].texts)
        assert not len(finder.find(strings(same.replace("7", "8")))["x"].texts)

    def test_no_piece_goes_over_two_turns_or_two_rows(self) -> None:
        finder = OverlapFinder({"x": pieces(words_of(0, 13))})
        halves = (words_of(0, 6), words_of(6, 7))
        for table in (
            conversations(halves),
            pairs(halves),
            pairs(("a", halves[0]), (halves[1], "b")),
        ):
            assert decontaminated(table, finder, True)[2] == {}

    def test_every_turn_is_looked_at(self) -> None:
        said = words_of(0, 13)
        table = conversations((said, "b"), ("a", "b"), ("a", "b", "c", said, said), ("a", "b"))
        kept, rejects, events = decontaminated(table, OverlapFinder({"x": pieces(said)}), True)
        assert codes_of(rejects) == [(1, "benchmark-overlap"), (3, "benchmark-overlap")]
        assert kept[ROW].to_pylist() == [2, 4]
        assert events == {"benchmark-overlap: x": 2}

    def test_a_dropped_row_shows_the_words_and_the_first_benchmark(self) -> None:
        finder = OverlapFinder({"one": pieces(words_of(50, 20)), "two": pieces(words_of(0, 13))})
        both = f"Who, {words_of(0, 14).replace(' ', ' – ').upper()}? {words_of(52, 15)}."
        table = pairs(("x", both), ("y", "z"), (words_of(0, 13), words_of(0, 13)))
        kept, rejects, events = decontaminated(table, finder, True)
        assert rejects["excerpt"].to_pylist() == [
            f"one: {words_of(52, 13)}",
            f"two: {words_of(0, 13)}",
        ]
        assert kept["instruction"].to_pylist() == ["y"]
        assert events == {"benchmark-overlap: one": 1, "benchmark-overlap: two": 2}
        whole, none, same = decontaminated(table, finder, False)
        assert (whole, none.num_rows, same) == (table, 0, events)

    @given(st.lists(st.lists(TEXTS, max_size=4), max_size=3))
    def test_pieces_travel_as_bytes(self, parts: list[list[str]]) -> None:
        found = merge_pieces([pieces(*prompts) for prompts in parts])
        whole = pieces(*(prompt for prompts in parts for prompt in prompts))
        again = pieces_from_bytes(pieces_to_bytes(found))
        assert list(again) == list(LENGTHS)
        for length in LENGTHS:
            assert again[length].tolist() == whole[length].tolist() == sorted(set(whole[length]))

    def test_of_many_texts_exactly_the_planted_ones_are_found(self) -> None:
        chooser = random.Random(3)
        known = [f"k{n}" for n in range(400)]
        prompts = [" ".join(chooser.choices(known, k=30)) for _ in range(500)]
        texts = [" ".join(chooser.choices(known, k=200)) for _ in range(2000)]
        planted = sorted(chooser.sample(range(2000), 40))
        for n in planted:
            start = chooser.randrange(18)
            piece = " ".join(chooser.choice(prompts).split()[start : start + 13])
            at = chooser.randrange(len(texts[n]))
            texts[n] = f"{texts[n][:at]} {piece} {texts[n][at:]}"
        found = OverlapFinder({"x": pieces(*prompts)}).find(strings(*texts))["x"]
        assert np.unique(found.texts).tolist() == planted


# ---- the transform


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    folder = LocalStore(str(tmp_path / "set"))
    with folder.claimed():
        yield folder
