"""Words and n-grams of a batch, against a slow reference that looks at one character at a time."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slow_pieces import slow_words
from xxhash import xxh3_64_intdigest

from transforms.text.hash_index import Known
from transforms.text.hashing import each_once
from transforms.text.ngrams import Hashed, ngrams, without_repeats, word_array, word_places

_ALL = 2**64 - 1


def scattered(number: int) -> int:
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 & _ALL
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB & _ALL
    return number ^ (number >> 31)


def slow_hash(word: str) -> int:
    data = word.encode()
    if len(data) > 64:
        return xxh3_64_intdigest(data)
    pieces = [data[-8:]] if len(data) > 8 else []
    pieces += [data[place : place + 8] for place in range(8, len(data) - 8, 8)]
    mixed = int.from_bytes(data[:8], "little") * 0x9E3779B97F4A7C15 & _ALL
    mixed ^= len(data) * 0x165667B19E3779F9 & _ALL
    for piece in pieces:
        mixed = scattered(mixed) ^ int.from_bytes(piece, "little") * 0xC2B2AE3D27D4EB4F & _ALL
    return scattered(mixed)


def slow_n_grams(hashes: Sequence[int], length: int, short: bool) -> list[int]:
    runs = [hashes[start : start + length] for start in range(len(hashes) - length + 1)]
    if not runs and hashes and short:
        runs = [[*hashes, *[0] * (length - len(hashes))]]
    found = []
    for run in runs:
        total = 0
        for number in run:
            total = (total * 0x100000001B3 + number) & _ALL
        found.append(scattered(total))
    return found


def by_row(found: Hashed) -> list[list[int]]:
    assert found.hashes.dtype == found.offsets.dtype == np.uint64
    assert found.offsets[-1] == len(found.hashes)
    return [found.row(index).tolist() for index in range(len(found))]


def strings(*values: str) -> pa.StringArray:
    return pa.array(values, pa.string())


# Each kind of character, and the first and last ones of each range that is treated by itself.
EDGES = "aZ09 \t\n.-_'@[`{\x7f\x00\x80\xa0\xbf\xc0éß\u07ff\u1fff\u2000\u2014\u2fff\u3000\u3001"
MORE = "\u303f\u3040あ漢字\ud7ff\ue000\uffff\U00010000😀\U0010ffff"
UNSPACED = "\u0dff\u0e00\u0eff\u0f00\u0fff\u1000\u109f\u10a0\u177f\u1780\u17ff\u1800"
WIDE = "\uff00\uff01\uff0f\uff10\uff19\uff1a\uff20\uff21\uff3a\uff3b\uff40\uff41\uff5a\uff5b"
CHARACTERS = st.sampled_from(EDGES + MORE + UNSPACED + WIDE + "\uff65\uff66")
LONG = st.integers(0, 70).map("éb".__mul__) | st.from_regex("[a-z]{9,70}", fullmatch=True)
TEXTS = st.lists(CHARACTERS | st.characters(exclude_categories=("Cs",)) | LONG).map("".join)
BATCHES = st.lists(TEXTS, max_size=6)


@given(BATCHES)
def test_words_are_those_of_the_reference(texts: list[str]) -> None:
    expected = [[slow_hash(word) for word in slow_words(text)] for text in texts]
    assert by_row(word_array(strings(*texts))) == expected


@given(BATCHES, st.integers(1, 5), st.booleans())
def test_n_grams_are_those_of_the_reference(texts: list[str], length: int, short: bool) -> None:
    found = word_array(strings(*texts))
    expected = [slow_n_grams(row, length, short) for row in by_row(found)]
    assert by_row(ngrams(found, length, short)) == expected


@given(BATCHES, st.data())
def test_a_batch_may_be_cut_anywhere(texts: list[str], data: st.DataObject) -> None:
    """Slices have offsets into the buffers of the whole."""
    start = data.draw(st.integers(0, len(texts)))
    stop = data.draw(st.integers(start, len(texts)))
    whole = strings(*texts)
    for find in (word_array, lambda values: ngrams(word_array(values), 2)):
        assert by_row(find(whole.slice(start, stop - start))) == by_row(find(whole))[start:stop]


@given(TEXTS)
def test_places_are_where_the_words_stand(text: str) -> None:
    starts, stops = word_places(text)
    data = text.encode()
    found = [data[a:b].decode() for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]
    lowered = ["".join(c.lower() if ord(c) < 128 else c for c in word) for word in found]
    assert lowered == slow_words(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World! 2x", ["hello", "world", "2x"]),
        ("it's a-b_c", ["it", "s", "a", "b", "c"]),
        ("na\u00efve \u00dcber", ["na\u00efve", "\u00dcber"]),
        ("one\u00a0two\u2014three\u2026 \u00abfour\u00bb", ["one", "two", "three", "four"]),
        ("漢字kana かな。", ["漢", "字", "kana", "か", "な"]),
        ("漢a", ["漢", "a"]),
        ("ไทยa ລາວ", ["ไ", "ท", "ย", "a", "ລ", "າ", "ວ"]),
        ("မြန် ខ្មែរ", [*"မြန်", *"ខ្មែរ"]),
        ("ქართული \u10a0\u10a1", ["ქართული", "\u10a0\u10a1"]),
        ("（Ａ１），Ｂ！漢：字｡ｱｲ", ["Ａ１", "Ｂ", "漢", "字", "ｱｲ"]),
        ("…", []),
        ("", []),
    ],
)
def test_what_a_word_is(text: str, expected: list[str]) -> None:
    assert slow_words(text) == expected
    assert by_row(word_array(strings(text))) == [[slow_hash(word) for word in expected]]


def test_words_of_two_texts_never_join() -> None:
    one, two = by_row(word_array(strings("foot", "ball")))
    assert one + two == by_row(word_array(strings("foot ball")))[0]
    assert [len(row) for row in by_row(ngrams(word_array(strings("a b", "c d e")), 2))] == [1, 2]


@pytest.mark.parametrize("values", [strings(), strings("a").slice(1), strings("", "", " ")])
def test_nothing_has_no_words(values: pa.StringArray) -> None:
    found = word_array(values)
    assert by_row(found) == [[]] * len(values)
    assert by_row(ngrams(found, 3)) == by_row(ngrams(found, 3, short=False)) == by_row(found)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 15, 16, 17, 24, 25, 63, 64, 65, 200])
def test_a_word_hash_looks_at_every_byte_and_the_length(length: int) -> None:
    same = "a" * length
    changed = [f"{same[:n]}b{same[n + 1 :]}" for n in range(length)]
    found = word_array(strings(" ".join([same, same + "a", *changed]))).hashes
    assert len(np.unique(found)) == length + 2


def test_long_numbers_that_differ_in_the_middle_are_different_words() -> None:
    found = word_array(strings("12345678000000000012345678 12345678999999999912345678")).hashes
    assert found[0] != found[1]


@pytest.mark.parametrize("length", [9, 16, 17, 32, 64, 65])
def test_words_that_differ_at_two_places_have_different_hashes(length: int) -> None:
    """Also where both are the last of the eight bytes that are taken together."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    made = [f"{'x' * 7}{one}{'x' * (length - 9)}{two}" for one in letters for two in letters]
    assert len(np.unique(word_array(strings(" ".join(made))).hashes)) == len(made)


def test_different_words_and_runs_have_different_hashes() -> None:
    chooser = random.Random(5)
    letters = ("".join(chooser.choices("abcdefgh", k=chooser.randint(1, 12))) for _ in range(9999))
    made = list(dict.fromkeys(letters))
    found = word_array(strings(" ".join(made)))
    assert len(np.unique(found.hashes)) == len(made)
    assert len(np.unique(ngrams(found, 3).hashes)) == len(made) - 2
    again = word_array(strings(" ".join(reversed(made))))
    assert not np.isin(ngrams(again, 2).hashes, ngrams(found, 2).hashes).any()


def test_hashes_stay_what_they_are() -> None:
    """Plans and reports of an earlier version compare with them."""
    found = word_array(strings("The quick brown fox"))
    assert by_row(found)[0][0] == slow_hash("the") == 0x873F4F6544132C36
    assert by_row(ngrams(found, 4)) == [[0xFA066288B3554A09]]


# Close together, so that several have the same leading bits; and the ends of the range.
NUMBERS = st.integers(0, 2**64 - 1) | st.integers(2**64 - 9, 2**64 - 1) | st.integers(0, 9)


@given(st.lists(NUMBERS), st.lists(NUMBERS))
def test_known_hashes_are_found_and_no_others(known: list[int], others: list[int]) -> None:
    hashes = np.array(sorted(set(known)), np.uint64)
    wanted = np.array([*others, *known], np.uint64)
    places, numbers = Known(hashes).find(wanted)
    expected = [place for place, number in enumerate([*others, *known]) if number in set(known)]
    assert places.tolist() == expected
    assert hashes[numbers].tolist() == wanted[places].tolist()


@given(st.lists(NUMBERS))
def test_each_value_is_there_once_in_order(values: list[int]) -> None:
    assert each_once(np.array(values, np.uint64)).tolist() == sorted(set(values))


class TestWithoutRepeats:
    # Hashes that differ in their first or last bits alone, beside others.
    hashes = st.sampled_from([0, 1, 2, 2**63, 2**63 + 1, 12345678901234567890, _ALL])

    @given(st.lists(st.tuples(st.lists(hashes, max_size=5), st.booleans()), max_size=9))
    def test_some_rows_have_each_hash_once(self, rows: list[tuple[list[int], bool]]) -> None:
        made, chosen = (
            [row for row, _ in rows],
            [number for number, (_, on) in enumerate(rows) if on],
        )
        offsets = np.cumsum([0, *map(len, made)]).astype(np.uint64)
        every = np.array([value for row in made for value in row], np.uint64)
        once = by_row(without_repeats(Hashed(every, offsets), np.array(chosen, np.int64)))
        for number, row in enumerate(made):
            if number in chosen:
                assert sorted(once[number]) == sorted(set(row))
            else:
                assert once[number] == row
