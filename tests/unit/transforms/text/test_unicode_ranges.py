"""Characters beyond ASCII and ranges of them, against Python's own strings."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from transforms.text.unicode_ranges import TAIL, beyond_ascii, bounds, within

TEXTS = st.text(
    st.characters(exclude_categories=("Cs",)) | st.sampled_from("a\x7f\x80é\u07ff\u0800")
)


@given(TEXTS)
def test_places_and_code_points_are_those_of_the_text(text: str) -> None:
    places, codes = beyond_ascii(np.frombuffer(text.encode() + bytes(TAIL), np.uint8))
    expected = [
        (len(text[:index].encode()), ord(character))
        for index, character in enumerate(text)
        if ord(character) >= 0x80
    ]
    assert list(zip(places.tolist(), codes.tolist(), strict=True)) == expected


def test_the_first_and_the_last_of_each_length() -> None:
    text = "\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"
    _, codes = beyond_ascii(np.frombuffer(text.encode() + bytes(TAIL), np.uint8))
    assert codes.tolist() == [ord(character) for character in text[1:]]


def test_both_ends_belong_to_a_range() -> None:
    codes = np.array([0, 4, 5, 6, 7, 8, 9, 10])
    assert codes[within(codes, bounds((5, 7), (9, 9)))].tolist() == [5, 6, 7, 9]
