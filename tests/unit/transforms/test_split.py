"""The split rule: a key's hash decides, alone, always the same way."""

from __future__ import annotations

import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from transforms.split import SPLITS, VERSION, SplitRule, hash64
from transforms.text.normalization import STABLE, normalise_keys

# Text in which white space, composed and decomposed letters are common.
TRICKY = " \t\n\r\x0b\x0c\x1c\x1f\x85\u00a0\u2003\u2028\u3000ab.\0"
TRICKY += "ée\u0301\u0323Å\u212b한\u1112\u1161ﬁ漢😀"
texts = st.text(st.one_of(st.sampled_from(TRICKY), st.characters(exclude_categories=["Cs"])))


def strings(values: list[str]) -> pa.StringArray:
    return pa.array(values, pa.string())


def is_validation(rule: SplitRule, keys: list[str]) -> list[bool]:
    return rule.is_validation(strings(keys)).to_pylist()


@pytest.mark.parametrize(
    ("seed", "key", "expected"),
    [
        (0, "", 0x2D06800538D394C2),  # the reference vector of XXH3-64
        (42, "", 0xB029411FF43D84D2),
        (42, "What is 2 + 2?", 0xD73525169106137C),
        (42, "Wie spät ist es? 漢字 😀", 0x549471A9420381BD),
        (7, "What is 2 + 2?", 0x583D914D4AD242D1),
        (-1, "What is 2 + 2?", 0xE705F35542E70102),
        (42, "x" * 1000, 0xCB10F5998C4773FF),
    ],
)
def test_hashes_never_change(seed: int, key: str, expected: int) -> None:
    # A change here moves rows between the splits of every data set: it needs a new VERSION.
    assert hash64(seed, strings([key])).tolist() == [expected]
    assert VERSION == 1


def test_golden_split_of_fifty_keys() -> None:
    marks = is_validation(SplitRule(0.3, 42), [f"prompt {n}" for n in range(50)])
    assert "".join("v" if mark else "t" for mark in marks) == (
        "ttttvtvtvtttttvttvttvttttttvtvvtvttttttttvttttvtvv"
    )


@given(seed=st.integers(), keys=st.lists(texts), start=st.integers(0, 5), length=st.integers(0, 9))
def test_hashing_a_slice_of_a_batch_equals_hashing_one_by_one(
    seed: int, keys: list[str], start: int, length: int
) -> None:
    part = strings(keys).slice(min(start, len(keys)), length)
    expected = [xxh3_64_intdigest(k.encode(), seed % 2**64) for k in part.to_pylist()]
    assert hash64(seed, part).tolist() == expected
    large = strings(keys).cast(pa.large_binary()).slice(min(start, len(keys)), length)
    assert hash64(seed, large).tolist() == expected


@given(values=st.lists(texts))
def test_normalised_keys_are_composed_trimmed_and_folded(values: list[str]) -> None:
    expected = [" ".join(unicodedata.normalize("NFC", value).split()) for value in values]
    assert normalise_keys(strings(values)).to_pylist() == expected


def stable_characters() -> list[str]:
    return [
        chr(code) for a, b in zip(STABLE[::2], STABLE[1::2], strict=True) for code in range(a, b)
    ]


def test_what_is_called_stable_is_composed_alone_and_with_others() -> None:
    second = {
        chr(int(parts[1], 16))
        for code in range(0x110000)
        if len(parts := unicodedata.decomposition(chr(code)).split()) == 2 and parts[0][0] != "<"
    }
    # Korean syllables are composed by arithmetic.
    second |= {chr(code) for code in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}
    for character in stable_characters():
        assert unicodedata.is_normalized("NFC", character), hex(ord(character))
        assert not unicodedata.combining(character), hex(ord(character))
        assert not character.isspace(), hex(ord(character))
        assert character not in second, hex(ord(character))


@given(st.lists(st.text(st.sampled_from([*stable_characters(), *"aé \t\n\u00a0\u0301\u3000ᄀ각ᆨ"]))))
def test_what_is_called_stable_takes_the_fast_way_to_the_same_keys(values: list[str]) -> None:
    expected = [" ".join(unicodedata.normalize("NFC", value).split()) for value in values]
    assert normalise_keys(strings(values)).to_pylist() == expected


@given(values=st.lists(texts), start=st.integers(0, 5), length=st.integers(0, 9))
def test_normalising_a_slice_of_a_batch_equals_normalising_one_by_one(
    values: list[str], start: int, length: int
) -> None:
    part = strings(values).slice(min(start, len(values)), length)
    alone = [normalise_keys(strings([value]))[0].as_py() for value in part.to_pylist()]
    assert normalise_keys(part).to_pylist() == alone


@given(value=texts)
def test_normalising_twice_changes_nothing(value: str) -> None:
    once = normalise_keys(strings([value]))
    assert normalise_keys(once).equals(once)


def test_equal_prompts_in_other_normal_forms_and_white_space_land_together() -> None:
    forms = [
        "Wie spät ist es in Åbo?",
        unicodedata.normalize("NFD", "Wie spät ist es in Åbo?"),
        "  Wie  spät\tist es\nin\u00a0\u212bbo? \r\n",
    ]
    assert len(set(forms)) == 3
    assert set(normalise_keys(strings(forms)).to_pylist()) == {forms[0]}
    plain = ["What is it?", " What\n\nis it?\x0b", "What is\x1cit?", "What\u3000is it?"]
    assert set(normalise_keys(strings(plain)).to_pylist()) == {plain[0]}


def test_different_prompts_stay_different() -> None:
    prompts = ["a b", "ab", "A b", "a b.", "ﬁ", "fi", "²", "2"]
    assert normalise_keys(strings(prompts)).to_pylist() == prompts


@given(keys=st.lists(texts, min_size=1), seed=st.integers())
def test_val_size_zero_and_one_take_none_and_all(keys: list[str], seed: int) -> None:
    assert not any(is_validation(SplitRule(0.0, seed), keys))
    assert all(is_validation(SplitRule(1.0, seed), keys))


@given(
    old=st.lists(texts),
    new=st.lists(texts),
    at=st.integers(0, 9),
    val_size=st.floats(0, 1),
    seed=st.integers(0, 2**64 - 1),
)
def test_adding_rows_moves_no_old_row(
    old: list[str], new: list[str], at: int, val_size: float, seed: int
) -> None:
    rule = SplitRule(val_size, seed)
    before = is_validation(rule, old)
    grown = is_validation(rule, old[:at] + new + old[at:])
    assert grown[: len(old[:at])] + grown[len(old[:at]) + len(new) :] == before


@given(keys=st.lists(texts), small=st.floats(0, 1), large=st.floats(0, 1))
def test_a_larger_val_size_only_adds_validation_rows(
    keys: list[str], small: float, large: float
) -> None:
    small, large = sorted((small, large))
    pairs = zip(
        is_validation(SplitRule(small, 42), keys),
        is_validation(SplitRule(large, 42), keys),
        strict=True,
    )
    assert all(more or not fewer for fewer, more in pairs)


@pytest.mark.parametrize("val_size", [0.001, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 42])
def test_the_fraction_is_met_in_expectation(val_size: float, seed: int) -> None:
    rows = 20_000
    found = sum(is_validation(SplitRule(val_size, seed), [f"key {n}" for n in range(rows)]))
    deviation = (rows * val_size * (1 - val_size)) ** 0.5
    assert abs(found - rows * val_size) < 4 * deviation


def test_the_seed_changes_which_rows_are_validation() -> None:
    keys = [f"key {n}" for n in range(1000)]
    one, other = (is_validation(SplitRule(0.5, seed), keys) for seed in (1, 2))
    assert 400 < sum(a != b for a, b in zip(one, other, strict=True)) < 600


def test_the_threshold_is_the_share_of_the_hash_range() -> None:
    key = "What is 2 + 2?"
    share = int(hash64(42, strings([key]))[0]) / 2**64
    assert SplitRule(0.5, 42).threshold == 2**63
    assert is_validation(SplitRule(share + 1e-9, 42), [key]) == [True]
    assert is_validation(SplitRule(share - 1e-9, 42), [key]) == [False]


def test_an_empty_batch_has_an_empty_answer() -> None:
    empty = pa.chunked_array([], pa.string()).combine_chunks()
    assert SplitRule(0.5, 42).is_validation(normalise_keys(empty)).to_pylist() == []


def test_the_splits_names() -> None:
    assert SPLITS == ("train", "validation")
