"""The text rule: exactly the guide's text, one row or many."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.chat.builtin_templates import chatml
from transforms.chat.template import DEFAULT_SYSTEM_PROMPT

texts = st.text(st.characters(exclude_categories=["Cs"]))


def test_the_text_is_exactly_the_issue_s() -> None:
    assert chatml().render("{instruction}", "{response}") == (
        "<|im_start|>system\n"
        "You are a helpful assistant that provides detailed reasoning and explanations.<|im_end|>\n"
        "<|im_start|>user\n"
        "{instruction}<|im_end|>\n"
        "<|im_start|>assistant\n"
        "{response}<|im_end|>"
    )


def test_the_default_system_prompt_is_the_guide_s() -> None:
    assert chatml() == chatml(DEFAULT_SYSTEM_PROMPT)
    assert DEFAULT_SYSTEM_PROMPT == (
        "You are a helpful assistant that provides detailed reasoning and explanations."
    )


def test_an_empty_system_prompt_leaves_the_system_turn_out() -> None:
    assert chatml("").render("Hi", "Ho") == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>"
    )


def test_another_system_prompt_is_taken_as_it_is() -> None:
    text = chatml("Reply in verse.\nAlways.").render("Hi", "Ho")
    assert text.startswith("<|im_start|>system\nReply in verse.\nAlways.<|im_end|>\n<|im_start|>u")


@given(prompt=texts, instruction=texts, response=texts)
def test_the_text_ends_at_the_end_of_turn_without_a_newline(
    prompt: str, instruction: str, response: str
) -> None:
    assert chatml(prompt).render(instruction, response).endswith(f"{response}<|im_end|>")


@given(prompt=texts, pairs=st.lists(st.tuples(texts, texts)), start=st.integers(0, 5))
def test_many_rows_are_rendered_as_each_one_is(
    prompt: str, pairs: list[tuple[str, str]], start: int
) -> None:
    template = chatml(prompt)
    instructions = pa.array([i for i, _ in pairs], pa.string()).slice(min(start, len(pairs)))
    responses = pa.array([r for _, r in pairs], pa.string()).slice(min(start, len(pairs)))
    expected = [template.render(*pair) for pair in pairs[start:]]
    assert template.render_pairs(instructions, responses).to_pylist() == expected


@pytest.mark.parametrize("odd", ["{{ 7*7 }}", "{0} {instruction} %s \\n", "\0\u202e\u0301", ""])
def test_what_looks_like_a_template_stays_text(odd: str) -> None:
    text = chatml("").render(odd, odd)
    assert text == f"<|im_start|>user\n{odd}<|im_end|>\n<|im_start|>assistant\n{odd}<|im_end|>"


def test_three_turns_hold_six_control_tokens() -> None:
    text = chatml().render("Hi", "Ho")
    assert [text.count(token) for token in ("<|im_start|>", "<|im_end|>")] == [3, 3]
