"""Leakage: which validation prompts have a near copy in training, counted exactly."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slow_leaks import as_rows, slow_leaks

from transforms.chat.output_columns import user_prompt
from transforms.leakage import prompt_index
from transforms.leakage.near_prompts import Leak, LeakFinder, Seen, leakage, merge_seen
from transforms.leakage.prompt_index import Pairs, PromptIndex
from transforms.leakage.prompts import NONE, Prompts, is_sampled, make_prompts, merge_prompts
from transforms.split import hash64
from transforms.text.ngrams import Hashed, ngrams, word_array
from transforms.text.normalization import normalise_keys

# Few words, so that prompts share 3-grams, and short prompts are near each other.
prompts = st.lists(st.sampled_from(["one", "two", "three", "four"]), max_size=9).map(" ".join)


def array(values: Sequence[str]) -> pa.StringArray:
    return pa.array(values, pa.string())


def keys_of(values: Sequence[str]) -> np.ndarray:
    return hash64(42, normalise_keys(array(values)))


def known(values: Sequence[str]) -> Prompts:
    return make_prompts(normalise_keys(array(values)), keys_of(values))


def look(validation: Sequence[str], training: Sequence[str]) -> dict:
    rows = [*validation, *training]
    marks = np.arange(len(rows)) < len(validation)
    return leakage(search(known(validation), (rows, marks)))


def search(prompts: Prompts, *parts: tuple[Sequence[str], Sequence[bool]]) -> Seen:
    """What one finder shows that takes the parts, (rows, is validation), one after the other."""
    finder = LeakFinder(PromptIndex(prompts))
    for rows, marks in parts:
        finder.add(array(rows), keys_of(rows), np.array(marks, bool))
    return finder.seen()


def jaccard(one: str, other: str) -> float:
    def shingles(text: str) -> set[tuple[str, ...]]:
        word_array = text.split()
        if len(word_array) < 3:
            return {tuple(word_array)} if word_array else set()
        return set(zip(word_array, word_array[1:], word_array[2:], strict=False))

    either = shingles(one) | shingles(other)
    return len(shingles(one) & shingles(other)) / len(either) if either else 0.0


def alike(one: str, other: str) -> float:
    return 1.0 if one == other else jaccard(one, other)


class TestFinder:
    @given(st.lists(prompts, max_size=6), st.lists(prompts, max_size=6))
    def test_it_finds_what_comparing_all_with_all_finds(
        self, validation: list[str], training: list[str]
    ) -> None:
        found = look(validation, training)
        nearest = [max((alike(v, t) for t in training), default=0.0) for v in validation]
        assert found.checked == len(validation)
        assert found.rows == sum(value >= 0.8 for value in nearest)
        assert found.exact == sum(v in training for v in validation)
        told = {e.validation: e.similarity for e in found.examples or ()}
        assert told == {
            v: pytest.approx(value, abs=1e-4)
            for v, value in zip(validation, nearest, strict=True)
            if value >= 0.8
        }

    def test_it_finds_them_among_longer_prompts_that_share_a_lot(self) -> None:
        order = random.Random(1)
        sentences = [
            " ".join(order.choices([f"w{n}" for n in range(300)], k=12)) for _ in range(40)
        ]
        made = [" ".join(order.sample(sentences, 4)) for _ in range(600)]
        changed = [f"{text} {order.choice(sentences)[:20]}" for text in made[:30]]
        validation, training = made[:100], [*made[100:], *changed]
        expected = [v for v in validation if max(jaccard(v, t) for t in training) >= 0.8]
        assert len(expected) >= 30
        assert look(validation, training).rows == len(expected)

    def test_a_long_prompt_that_holds_a_short_one_is_not_near_it(self) -> None:
        short = "how many apples are in this basket of yours my friend tell me"
        long = f"{short} and how many pears are there in the other one that stands beside the door"
        assert look([short], [long]).rows == look([long], [short]).rows == 0

    def test_a_row_that_repeats_itself_is_taken_for_what_it_says(self) -> None:
        assert look(["a b c d e f g h i j k l"], ["a b c d e f g h i j k l " * 30]).rows == 1

    @pytest.mark.parametrize("size", [4, 8, 12, 16, 40, 400])
    def test_as_many_words_that_no_prompt_has_as_there_may_be(self, size: int) -> None:
        prompt = [f"w{n}" for n in range(size + 2)]
        longer = [*prompt, *(f"x{n}" for n in range(size // 4))]
        assert jaccard(" ".join(prompt), " ".join(longer)) == 0.8
        assert look([" ".join(prompt)], [" ".join(longer)]).rows == 1
        assert look([" ".join(prompt)], [" ".join([*longer, "y"])]).rows == 0

    def test_most_rows_are_passed_over(self) -> None:
        order = random.Random(2)
        texts = [" ".join(f"w{order.randrange(3000)}" for _ in range(40)) for _ in range(400)]
        rows = ngrams(word_array(array([*texts, ""])), 3)
        assert PromptIndex(known(texts[:50])).familiar(rows).tolist() == list(range(50))

    def test_what_a_row_repeats_counts_once(self) -> None:
        prompt = " ".join(f"w{n}" for n in range(42))
        longer = prompt + " x y z" * 30
        assert jaccard(prompt, longer) >= 0.8
        assert look([prompt], [longer]).rows == 1

    def test_a_prompt_that_stands_often_counts_each_time(self) -> None:
        found = look(["a b c d"] * 3, ["A b, c d!"])
        assert (found.checked, found.rows, found.exact) == (3, 3, 0)

    def test_equal_but_for_white_space_is_exact(self) -> None:
        found = look(["a b c d"], ["a  b\nc d "])
        assert (found.rows, found.exact) == (1, 1)

    def test_validation_rows_that_nobody_looks_for_are_not_counted(self) -> None:
        found = search(known(["a b c d"]), (["a b c d", "e f g h"], [True, True]))
        assert leakage(found).checked == 1

    def test_a_prompt_that_was_rejected_later_is_no_leak(self) -> None:
        assert leakage(search(known(["a b c d"]), (["a b c d"], [False]))).rows == 0

    def test_copies_of_boilerplate_are_all_found(self) -> None:
        same = " ".join(f"w{n}" for n in range(100))
        validation = [f"{same} {n} {n * 7} {n * 11} {n * 13}" for n in range(300)]
        assert look(validation, validation).exact == 300
        training = [f"{same} {n} {n * 17} {n * 19} {n * 23}" for n in range(300)]
        assert look(validation, training).rows == 300

    def test_prompts_without_words_may_be_copies(self) -> None:
        found = look(["??", "😀😀!", "a b c"], ["??", "😀😀!", "a b c"])
        assert (found.rows, found.exact) == (3, 3)

    def test_without_anything_to_look_for(self) -> None:
        found = leakage(search(NONE, (["a", ""], [True, False])))
        assert (found.checked, found.rows, found.examples) == (0, 0, ())


# Prompts that share frames, or have few words; some are there twice but for white space.
frames = st.sampled_from(["", "f g h i j k l m n o p", "f g h i j k l m n o p q r s t u v w x y z"])
# A comma makes another prompt of the same 3-grams.
framed = st.builds(
    lambda frame, own, space: f"{frame}{space}{own}",
    frames,
    prompts,
    st.sampled_from([" ", "  ", ", "]),
)
parts = st.lists(st.tuples(framed, st.booleans()), max_size=12)


class TestTheRule:
    @given(
        st.lists(framed, max_size=12),
        st.lists(parts, max_size=3),
        *(st.sampled_from(sizes) for sizes in ([2, 12], [1, 2, 32], [1, 8, 2**16])),
    )
    def test_all_calls_together_show_what_comparing_one_by_one_shows(
        self,
        validation: list[str],
        parts: list[list[tuple[str, bool]]],
        shared: int,
        compared: int,
        at_once: int,
    ) -> None:
        split = [([row for row, _ in part], [mark for _, mark in part]) for part in parts]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(prompt_index, "_SHARED", shared)
            patch.setattr(prompt_index, "_MAX_COMPARED", compared)
            patch.setattr(prompt_index, "_MAX_PAIRS", at_once)
            patch.setattr(prompt_index, "_MAX_AT_ONCE", at_once)
            together = search(known(validation), *split)
            alone = merge_seen(Seen({}, {}), [search(known(validation), part) for part in split])
        rows = [
            row
            for texts, marks in split
            for row in as_rows(array(texts), keys_of(texts), np.array(marks, bool))
        ]
        expected = slow_leaks(known(validation), rows, shared, compared)
        assert {prompt: folded(leak) for prompt, leak in together.leaks.items()} == {
            prompt: folded(leak) for prompt, leak in expected.items()
        }
        assert together.rows == alone.rows
        assert {k: folded(leak) for k, leak in alone.leaks.items()} == {
            k: folded(leak) for k, leak in together.leaks.items()
        }

    @pytest.mark.parametrize("words", [6, 40, 3000])
    @pytest.mark.parametrize("frame", [0, 30])
    def test_many_prompts_lead_to_some_of_each_others(self, words: int, frame: int) -> None:
        order = random.Random(words + frame)
        start = " ".join(f"f{n}" for n in range(frame))
        texts = [
            " ".join([start, *(f"w{order.randrange(words)}" for _ in range(order.randrange(3, 9)))])
            for _ in range(500)
        ]
        validation, training = texts[:200], texts[200:]
        halves = [(training[:150], [False] * 150), (training[150:], [False] * 150)]
        found = search(known(validation), *halves)
        rows = as_rows(array(training), keys_of(training), np.zeros(300, bool))
        assert found.leaks == slow_leaks(known(validation), rows, 12, 32)
        assert bool(found.leaks) == (frame > 0 or words == 6)

    @pytest.mark.parametrize("turned", [False, True])
    def test_an_equal_prompt_is_nearer_than_all_others_of_the_same_words(
        self, turned: bool
    ) -> None:
        texts = ["a b c d", "a, b c d", "a b, c d", "a b c, d", "A b c d", "a B c d"]
        parts = [([text], [False]) for text in (texts[::-1] if turned else texts)]
        leaks = search(known(texts), *parts).leaks
        assert {leak.train: leak.exact for leak in leaks.values()} == dict.fromkeys(texts, True)


def folded(leak: Leak) -> Leak:
    """With white space folded: of equal prompts any may be the example."""
    return replace(leak, train=" ".join(leak.train.split()))


class TestPrice:
    """What many alike prompts cost is bounded: counted, not timed."""

    FRAME = " ".join(f"f{n}" for n in range(35))

    def prompts(self, start: int, count: int) -> list[str]:
        order = random.Random(start)
        return [f"{self.FRAME} {order.sample(range(10**9), 3)}" for _ in range(count)]

    def test_of_prompts_with_one_frame_few_pairs_are_compared(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        compared = []
        similarities = PromptIndex.similarities

        def counted(index: PromptIndex, found: Hashed, pairs: Pairs) -> np.ndarray:
            compared.append(len(pairs))
            return similarities(index, found, pairs)

        monkeypatch.setattr(PromptIndex, "similarities", counted)
        parts = [(self.prompts(n, 400), [False] * 400) for n in range(1, 6)]
        found = search(known(self.prompts(0, 200)), *parts)
        assert len(found.leaks) == 200
        # Some 64,000 pairs are near.
        assert sum(compared) <= 200 * (1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) * 1.3

    def test_a_frame_is_one_list(self) -> None:
        rows = ngrams(word_array(array(self.prompts(1, 100))), 3)
        hits = PromptIndex(known(self.prompts(0, 200))).hits(rows)
        assert hits.rows.tolist() == list(range(100))
        assert set(hits.weights.tolist()) == {16}

    def test_a_row_leads_to_a_list_once(self) -> None:
        rows = ngrams(word_array(array(["x y z x y z x y z", "x y z"])), 3)
        hits = PromptIndex(known(["x y z", "y z x", "z x y"])).hits(rows)
        assert hits.rows.tolist() == [0, 0, 0, 1]
        assert sorted(hits.weights[:3].tolist()) == [2, 2, 3]

    def test_lists_are_equal_if_all_their_prompts_are(self) -> None:
        lists = [[0, 1, 2], [1, 2], [0, 1, 2], [0], [1, 2], [2]]
        begins = np.cumsum([0, *map(len, lists)])[:-1]
        kept, which = prompt_index._equal_lists(np.concatenate(lists), begins)
        assert [lists[number] for number in kept[which]] == lists
        assert len(kept) == 4


class TestPrompts:
    @given(st.lists(prompts, max_size=8))
    def test_they_travel_as_bytes(self, values: list[str]) -> None:
        made = known(values)
        read = Prompts.from_bytes(made.to_bytes())
        assert read.ids.tolist() == made.ids.tolist()
        assert read.shingles.hashes.tolist() == made.shingles.hashes.tolist()
        assert read.shingles.offsets.tolist() == made.shingles.offsets.tolist()

    @given(
        st.lists(st.lists(prompts, max_size=5), min_size=1, max_size=5),
        st.integers(1, 6),
        st.integers(0, 30),
    )
    def test_it_does_not_matter_how_they_are_merged(
        self, parts: list[list[str]], most: int, most_shingles: int
    ) -> None:
        everything = known([value for part in parts for value in part])
        at_once = merge_prompts([everything], most, most_shingles)
        step_by_step = NONE
        for part in reversed(parts):
            travelled = Prompts.from_bytes(step_by_step.to_bytes())
            step_by_step = merge_prompts([known(part), travelled], most, most_shingles)
        each = merge_prompts(
            [merge_prompts([known(part)], most, most_shingles) for part in parts],
            most,
            most_shingles,
        )
        for made in (step_by_step, each):
            assert made.ids.tolist() == at_once.ids.tolist()
            assert made.shingles.hashes.tolist() == at_once.shingles.hashes.tolist()
            assert made.below == at_once.below
        kept = len(at_once.ids)
        assert at_once.ids.tolist() == everything.ids[:kept].tolist()
        assert at_once.below == [*everything.ids.tolist(), 2**64][kept]
        filled = np.cumsum(everything.shingles.counts)
        assert kept == min(most, int((filled <= most_shingles).sum()))

    def test_what_was_left_out_for_its_size_leaves_no_room_for_later_ones(self) -> None:
        def sized(**shingles: int) -> Prompts:
            ids = np.array([int(name[1:]) for name in shingles], np.uint64)
            offsets = np.concatenate(([0], np.cumsum(list(shingles.values())))).astype(np.uint64)
            return Prompts(ids, Hashed(np.arange(offsets[-1], dtype=np.uint64), offsets))

        large, small = sized(_1=30, _3=30), sized(_2=4, _4=5)
        first = merge_prompts([large], max_shingles=40)
        assert (first.ids.tolist(), first.below) == ([1], 3)
        for parts in ([large, small], [first, small], [small, first]):
            made = merge_prompts(parts, max_shingles=40)
            assert (made.ids.tolist(), made.below) == ([1, 2], 3)

    def test_long_prompts_do_not_fill_the_memory(self) -> None:
        long = [" ".join(f"w{n}x{k}" for n in range(42)) for k in range(9)]
        kept = merge_prompts([known(long)], max_shingles=100)
        assert (len(kept.ids), len(kept.shingles.hashes)) == (2, 80)

    def test_none_left_travel_with_what_was_left_out(self) -> None:
        made = merge_prompts([known(["a b c d"])], max_shingles=1)
        assert (len(made.ids), made.below) == (0, known(["a b c d"]).ids[0])
        assert Prompts.from_bytes(made.to_bytes()).below == made.below

    def test_a_share_is_taken_by_id(self) -> None:
        ids = hash64(7, array([f"prompt {n}" for n in range(2000)]))
        assert is_sampled(ids, 1.0).all()
        assert not is_sampled(ids, 0.0).any()
        assert 0.2 < is_sampled(ids, 0.25).mean() < 0.3


@st.composite
def seen(draw: st.DrawFn) -> Seen:
    number = st.integers(0, 3)
    rows = st.dictionaries(number, st.integers(1, 3))
    key = st.integers(0, 1)
    leak = st.builds(
        lambda share, exact, key: Leak(share, exact, key, f"prompt {key}"),
        *(st.sampled_from([0.8, 0.9, 1.0]), st.booleans(), key),
    )
    found = {prompt: (count, f"prompt {prompt}") for prompt, count in draw(rows).items()}
    return Seen(found, draw(st.dictionaries(number, leak)))


@given(st.lists(seen(), max_size=5), st.randoms(use_true_random=False))
def test_figures_do_not_depend_on_the_order_of_arrival(
    parts: list[Seen], order: random.Random
) -> None:
    one = leakage(merge_seen(Seen({}, {}), parts))
    order.shuffle(parts)
    halves = [merge_seen(Seen({}, {}), parts[: len(parts) // 2]), *parts[len(parts) // 2 :]]
    assert leakage(merge_seen(Seen({}, {}), halves)) == one


class TestAsked:
    MARKERS = ("<|user|>", ("<|end|>", "<|user|>"))

    def test_the_instruction(self) -> None:
        rows = pa.table({"instruction": ["a", ""], "prompt": ["b", "c"]})
        assert user_prompt(rows, *self.MARKERS).to_pylist() == ["a", ""]

    def test_the_first_turn_of_the_user(self) -> None:
        def turn(role: str, content: str) -> dict[str, str]:
            return {"role": role, "content": content}

        rows = [
            [turn("system", "s"), turn("user", "a"), turn("assistant", "b"), turn("user", "c")],
            [turn("assistant", "d")],
            [],
            [turn("user", "e")],
        ]
        assert user_prompt(pa.table({"messages": rows}), *self.MARKERS).to_pylist() == [
            "a",
            "",
            "",
            "e",
        ]

    def test_what_stands_between_the_tokens_of_a_prompt(self) -> None:
        prompts = ["<|system|>s<|end|><|user|>a\nb<|end|><|assistant|>", "plain", "<|user|>c"]
        rows = pa.table({"prompt": prompts, "completion": [""] * 3})
        assert user_prompt(rows, *self.MARKERS).to_pylist() == ["a\nb", "plain", "c"]
        assert user_prompt(rows, "", ()).to_pylist() == prompts
