"""The tables of names: who speaks, and which part of an answer is reasoning."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.conversations.reasoning import KEYS, NAMES, block, split
from transforms.conversations.roles import ALIASES, FUNCTION_CALL, ROLES, role_of, role_table
from transforms.errors import UsageError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


class TestRoles:
    @pytest.mark.parametrize(
        ("names", "role"),
        [
            (("human", "user", "question"), "user"),
            (("gpt", "assistant", "bot", "model", "chatgpt"), "assistant"),
            (("system", "developer"), "system"),
            (("tool", "function", "observation", "ipython"), "tool"),
            (("function_call",), FUNCTION_CALL),
        ],
    )
    def test_each_has_its_names_in_any_case_and_with_white_space_around(
        self, names: tuple[str, ...], role: str
    ) -> None:
        for name in names:
            for written in (name, name.upper(), name.title(), f" {name}\n"):
                assert role_of(written, ALIASES) == role

    @pytest.mark.parametrize("name", ["", " ", "narrator", "us er", "users", "user:"])
    def test_other_names_are_unknown(self, name: str) -> None:
        assert role_of(name, ALIASES) is None

    @pytest.mark.parametrize("name", [None, 0, 1, True, ["user"], {"user": 1}, b"user"])
    def test_what_is_no_text_is_no_name(self, name: object) -> None:
        assert role_of(name, ALIASES) is None

    @given(TEXT)
    def test_a_name_is_known_or_not_whatever_its_case(self, name: str) -> None:
        assert role_of(name, ALIASES) == role_of(f"\t{name} ", ALIASES)
        assert role_of(name, ALIASES) in (*ROLES, FUNCTION_CALL, None)

    def test_a_flag_adds_names(self) -> None:
        table = role_table(["Narrator=user", " Erzählerin = assistant ", "call=function_call"])
        assert role_of("narrator", table) == "user"
        assert role_of("ERZÄHLERIN", table) == "assistant"
        assert role_of("call", table) == FUNCTION_CALL
        assert {name: table[name] for name in ALIASES} == ALIASES

    def test_a_flag_changes_names_and_the_last_one_counts(self) -> None:
        table = role_table(["human=system", "Human=tool"])
        assert role_of("human", table) == "tool"
        assert ALIASES["human"] == "user"

    def test_without_flags_the_table_is_as_it_is(self) -> None:
        assert role_table([]) == ALIASES

    @pytest.mark.parametrize(
        "flag",
        ["", "narrator", "=user", " =user", "narrator=", "narrator=gpt", "a=b=user", "a=User"],
    )
    def test_a_flag_of_another_form_is_refused(self, flag: str) -> None:
        with pytest.raises(UsageError, match="NAME=ROLE.*system, user, assistant, tool, function_"):
            role_table([flag])


class TestReasoning:
    @pytest.mark.parametrize(
        ("text", "reasoning", "gap", "answer"),
        [
            ("<think>\nr\n</think>\n\na", "r", "\n\n", "a"),
            ("<think>r</think>a", "r", "", "a"),
            ("r\n</think>\na", "r", "\n", "a"),
            ("\n <think>r</think>a", "r", "", "a"),
            ("<think>\n\n</think>\n\na", "", "\n\n", "a"),
            ("<think></think>", "", "", ""),
            ("<think>\n r \n</think> a ", " r ", "", " a "),
            ("</think>a", "", "", "a"),
        ],
    )
    def test_inline_it_ends_at_the_closing_tag(
        self, text: str, reasoning: str, gap: str, answer: str
    ) -> None:
        assert split(text) == (reasoning, gap, answer, True)

    @pytest.mark.parametrize(
        "text",
        [
            *("", "a", "<think>", "<think>a", "a<think>b", "&lt;/think&gt;", "</Think>a"),
            "said before <think>r</think>a",
            "<think>r</think>a</think>",
            "<think>r</think>a<think>",
            "<think><think>r</think>a",
            "<think>r</think>a<think>s</think>b",
        ],
    )
    def test_a_text_of_another_form_is_all_answer(self, text: str) -> None:
        assert split(text) == ("", "", text, False)

    @given(TEXT, TEXT)
    def test_a_block_and_an_answer_are_parted_again(self, thoughts: str, answer: str) -> None:
        thoughts, answer = thoughts.strip("\n"), answer.lstrip("\n")
        assert split(block(thoughts) + answer) == (thoughts, "\n\n", answer, True)

    @given(st.lists(st.sampled_from(["<think>", "</think>", "\n", "a", " "]), max_size=8))
    def test_nothing_is_lost(self, pieces: list[str]) -> None:
        text = "".join(pieces)
        parted = split(text)
        assert text.endswith(parted.gap + parted.answer)
        assert parted.reasoning in text
        assert text.count("a") == parted.reasoning.count("a") + parted.answer.count("a")

    def test_a_turn_s_keys_are_among_the_names_of_columns(self) -> None:
        assert set(KEYS) <= set(NAMES)
        assert [name.lower() for name in NAMES] == list(NAMES)
        wanted = ("reasoning", "thinking", "thought", "cot", "complex_cot", "rationale")
        assert set(wanted) <= set(NAMES)
