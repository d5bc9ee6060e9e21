"""``--fields``: what a value says, what it refuses, and which part of a column it can name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.conversations.column_parts import ColumnPart
from transforms.conversations.fields_flag import parse, require_column
from transforms.conversations.fields_grammar import split_fields
from transforms.conversations.pair_mapping import PairMapping
from transforms.errors import UsageError
from transforms.formats.json_parsing import columns_of
from transforms.records import Column


def text(*names: str) -> list[Column]:
    return [Column(name, "string") for name in names]


class TestParse:
    COLUMNS = (*text("q", "r", "a", "two words"), Column("n", "int64"), Column("l", "list<item>"))

    @pytest.mark.parametrize(
        ("flag", "instruction", "response"),
        [
            ("instruction=q,response=r", ("q",), ("r",)),
            ("response=r,instruction=q", ("q",), ("r",)),
            ("instruction=q,response=r+a", ("q",), ("r", "a")),
            ("instruction=q+a,response=r+n", ("q", "a"), ("r", "n")),
            (" instruction = q , response = r + a ", ("q",), ("r", "a")),
            ("instruction=two words,response=q", ("two words",), ("q",)),
        ],
    )
    def test_reads(
        self, flag: str, instruction: tuple[str, ...], response: tuple[str, ...]
    ) -> None:
        assert parse(flag, self.COLUMNS) == PairMapping(instruction, response)

    def test_names_may_be_quoted(self) -> None:
        columns = text("Frage, kurz", "Antwort (A+B)", 'a "b"', " x ")
        flag = 'instruction="Frage, kurz" + " x ",response="Antwort (A+B)",system=a "b"'
        mapping = parse(flag, columns)
        assert mapping == PairMapping(("Frage, kurz", " x "), ("Antwort (A+B)",), system='a "b"')
        assert parse(mapping.flag, columns) == mapping

    @given(st.lists(st.text('ab",+= ', min_size=1), min_size=4, max_size=4, unique=True))
    def test_any_name_can_be_written(self, names: list[str]) -> None:
        mapping = PairMapping((names[0], names[1]), (names[2],), system=names[3])
        assert split_fields(mapping.flag) == [
            ("instruction", (names[0], names[1])),
            ("response", (names[2],)),
            ("system", (names[3],)),
        ]

    def test_joined_columns_stand_a_blank_line_apart(self) -> None:
        mapping = parse("instruction=q+a,response=r+a", self.COLUMNS)
        assert (mapping.instruction_separator, mapping.response_separator) == ("\n\n", "\n\n")

    @pytest.mark.parametrize(
        ("flag", "message"),
        [
            ("", "is not of the form"),
            ("q", "is not of the form"),
            ("instruction", "is not of the form"),
            ("instruction=q,answer=r", "is not of the form"),
            ("instruction=q,instruction=a,response=r", "is not of the form"),
            ("instruction=q, instruction=a,response=r", "is not of the form"),
            ("instruction=q,response=r,", "is not of the form"),
            ("instruction=q", "must name both instruction and response"),
            ("instruction=,response=r", "names the column ''"),
            ("instruction=q,response=r+", "names the column ''"),
            ("instruction=q,response=x", "names the column 'x', which is not in the data; found q"),
            ("instruction=Q,response=r", "names the column 'Q', which is not in the data"),
            ("instruction=q,response=l", "whose type is list<item>; a text or number column"),
        ],
    )
    def test_refuses(self, flag: str, message: str) -> None:
        with pytest.raises(UsageError, match="--fields") as caught:
            parse(flag, self.COLUMNS)
        assert message in str(caught.value)

    def test_what_describe_says_can_be_parsed(self) -> None:
        mapping = PairMapping(("q", "a"), ("r", "n"))
        assert parse(mapping.describe(), self.COLUMNS) == mapping


class TestRequireColumn:
    @pytest.mark.parametrize(
        "kind", ["string", "int64", "double", "bool", "decimal128(10, 2)", "decimal256(40, 2)"]
    )
    def test_takes_text_and_numbers(self, kind: str) -> None:
        assert require_column("x", [Column("x", kind)], "--split-key") == Column("x", kind)

    @pytest.mark.parametrize("kind", ["null", "struct<a: string>", "list<item: string>", "binary"])
    def test_refuses_other_types_naming_the_flag(self, kind: str) -> None:
        with pytest.raises(UsageError, match="--split-key names the column 'x', whose type is"):
            require_column("x", [Column("x", kind)], "--split-key")


class TestParts:
    ROW: dict[str, Any] = {
        "question": "Who?",
        "context": ["One.", "Two."],
        "input": "",
        "answers": {"text": ["Ann"], "answer_start": [3]},
        "answer": ["Ann"],
        "pair": {"en": "Good day", "de": "Guten Tag"},
        "odd.name": "x",
    }

    def parsed(self, flag: str, several: str | None = None) -> PairMapping:
        mapping = parse(flag, columns_of([self.ROW]), [self.ROW], list_answers=several)
        assert isinstance(mapping, PairMapping)
        return mapping

    @pytest.mark.parametrize(
        ("response", "part"),
        [
            ("answers.text", ColumnPart("answers.text", "answers", "text")),
            ("answers", ColumnPart("answers", "answers")),
            ("answer", ColumnPart("answer", "answer")),
        ],
    )
    def test_an_answer_is_a_list_an_object_or_a_key_of_it(
        self, response: str, part: ColumnPart
    ) -> None:
        mapping = self.parsed(f"instruction=question,response={response}")
        assert (mapping.response, mapping.parts) == ((response,), (part,))
        assert mapping.columns == ("question", part.column)

    def test_both_sides_may_be_keys_of_one_column(self) -> None:
        mapping = self.parsed("instruction=pair.en,response=pair.de")
        assert (mapping.instruction, mapping.response) == (("pair.en",), ("pair.de",))
        assert mapping.columns == ("pair",)

    def test_a_column_s_own_name_comes_before_a_key(self) -> None:
        assert self.parsed("instruction=question,response=odd.name").parts == ()

    def test_the_first_of_a_list_is_taken_where_that_is_said(self) -> None:
        mapping = self.parsed("instruction=question,response=answer", "first")
        assert mapping.parts == (ColumnPart("answer", "answer", None, "first"),)
        assert "(the first of each list)" in mapping.describe()

    def test_a_list_of_contexts_is_joined(self) -> None:
        mapping = self.parsed("instruction=context+question,response=answer")
        assert ColumnPart("context", "context", None, "join") in mapping.parts

    def test_another_list_is_no_prompt(self) -> None:
        with pytest.raises(UsageError, match="'answer', whose type is list"):
            self.parsed("instruction=answer,response=question")

    @pytest.mark.parametrize(
        ("instruction", "required"),
        [
            ("question", ()),
            ("context+question", ("question",)),
            ("question+context", ()),
            ("question+input", ("question", "input")),
        ],
    )
    def test_a_context_alone_is_no_prompt(
        self, instruction: str, required: tuple[str, ...]
    ) -> None:
        mapping = self.parsed(f"instruction={instruction},response=pair.en")
        assert mapping.required == required
