"""Control tokens are found in texts, however many of their first bytes the texts have."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transforms.chat import control_tokens

TOKENS = ("[INST]", "[/INST]", "</s>", "<｜User｜>")
PIECES = (*TOKENS, "[", "<", "[1]", "[INST", "</", "<｜", "\uff5c", "x", "é")


@pytest.mark.parametrize("most", [0, 2, 20_000])
@given(
    texts=st.lists(st.none() | st.lists(st.sampled_from(PIECES), max_size=5).map("".join)),
    start=st.integers(0, 3),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_texts_taken_as_one_are_searched_whole(
    monkeypatch: pytest.MonkeyPatch, most: int, texts: list[str | None], start: int
) -> None:
    monkeypatch.setattr(control_tokens, "_MOST_PLACES", most)
    array = pa.array(texts, pa.string()).slice(min(start, len(texts)))
    whole = "".join(text or "" for text in texts[start:])
    assert control_tokens.may_contain(array, TOKENS) == any(token in whole for token in TOKENS)
    found = control_tokens.find_texts(array, TOKENS)
    marks = [text is not None and any(t in text for t in TOKENS) for text in texts[start:]]
    assert (found is None and not any(marks)) or (found is not None and found.tolist() == marks)
