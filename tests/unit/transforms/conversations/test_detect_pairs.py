"""The field rule: which columns are the instruction and the response, and what it says of them."""

from __future__ import annotations

import pytest

from transforms.conversations.detect_pairs import PairMapping, detect, parse, require_column
from transforms.errors import UsageError
from transforms.records import Column

PROSE = ["How many trees grow here?", "What is the sum of both?", "Name a river in Peru."]


def text(*names: str) -> list[Column]:
    return [Column(name, "string") for name in names]


def rows(**cells: object) -> list[dict[str, object]]:
    """Sample rows; a cell that is no list stands in every row, and a list fills the column."""
    count = max([len(c) for c in cells.values() if isinstance(c, list)], default=3)
    lists = {k: c if isinstance(c, list) else [c] * count for k, c in cells.items()}
    return [{k: c[n] for k, c in lists.items()} for n in range(count)]


def chosen(columns: list[Column], sample: list[dict[str, object]] | None = None) -> PairMapping:
    if sample is None:
        sample = rows(**{column.name: PROSE for column in columns})
    return detect(columns, sample).mapping


@pytest.mark.parametrize(
    ("instruction", "response"),
    [
        ("question", "reasoning"),
        ("prompt", "completion"),
        ("instruction", "output"),
        ("input", "output"),
        ("question", "answer"),
        ("problem", "solution"),
        ("instruction", "response"),
    ],
)
class TestEachRule:
    def test_finds_its_columns_in_any_order_among_others(
        self, instruction: str, response: str
    ) -> None:
        columns = text("note", response, "topic", instruction)
        assert chosen(columns) == PairMapping((instruction,), (response,))

    def test_says_which_rule_fired(self, instruction: str, response: str) -> None:
        columns = text("note", instruction, response)
        choice = detect(columns, rows(**{c.name: PROSE for c in columns}))
        assert choice.rule.startswith("columns ")
        assert instruction in choice.rule
        assert choice.rule.endswith(f"+{response}")
        assert choice.unused_text == ("note",)

    def test_ignores_case_where_nothing_matches_exactly(
        self, instruction: str, response: str
    ) -> None:
        columns = text("Note", instruction.upper(), response.title())
        assert chosen(columns) == PairMapping((instruction.upper(),), (response.title(),))

    def test_takes_no_column_of_another_type(self, instruction: str, response: str) -> None:
        columns = [Column(instruction, "list<item: string>"), *text(response, "one", "two")]
        assert instruction not in chosen(columns).instruction


def test_the_rules_go_in_the_issue_s_order() -> None:
    order = [
        ("question", "reasoning"),
        ("prompt", "completion"),
        ("instruction", "output"),
        ("question", "answer"),
        ("problem", "solution"),
        ("instruction", "response"),
    ]
    left = dict.fromkeys(name for pair in order for name in pair)
    for instruction, response in order:
        assert chosen(text(*reversed(left))) == PairMapping((instruction,), (response,))
        del left[response]
    assert chosen(text("answer", "question", "output", "input")).instruction == ("input",)


def test_an_exact_match_of_a_later_rule_comes_before_one_that_ignores_case() -> None:
    assert chosen(text("Question", "Reasoning", "problem", "solution")) == PairMapping(
        ("problem",), ("solution",), reasoning="Reasoning"
    )


def test_exact_names_come_before_the_same_ones_in_other_case() -> None:
    assert chosen(text("Question", "question", "ANSWER", "answer")) == PairMapping(
        ("question",), ("answer",)
    )


class TestAlpaca:
    MAPPING = PairMapping(("instruction", "input"), ("output",), instruction_separator="\n")

    def test_the_input_is_joined_with_a_newline(self) -> None:
        assert chosen(text("instruction", "input", "output")) == self.MAPPING

    def test_the_input_may_be_blank_in_the_whole_sample(self) -> None:
        # It may be filled in a row after the sample, and must not be lost then.
        columns = text("instruction", "input", "output")
        sample = rows(instruction=PROSE, input=["", " ", None], output=PROSE)
        assert chosen(columns, sample) == self.MAPPING

    def test_without_an_input_there_is_no_join(self) -> None:
        assert chosen(text("instruction", "output")) == PairMapping(("instruction",), ("output",))

    def test_the_case_of_the_input_is_ignored_too(self) -> None:
        mapping = chosen(text("Instruction", "Input", "Output"))
        assert (mapping.instruction, mapping.response) == (("Instruction", "Input"), ("Output",))


def test_the_default_data_set_maps_question_to_answer() -> None:
    columns = text("conversation_id", "domain", "sub-domain", "question", "answer", "code")
    sample = rows(
        conversation_id=["4711", "4712", "4713"],
        domain="Mathematics and its applications",
        question=PROSE,
        answer=PROSE,
        code=["", None, "print('x y z')"],
        **{"sub-domain": "Algebra of the real numbers"},
    )
    choice = detect(columns, sample)
    assert choice.mapping == PairMapping(("question",), ("answer",))
    assert choice.rule == "columns question+answer"
    assert choice.unused_text == ("conversation_id", "domain", "sub-domain", "code")
    assert choice.hint == ""


class TestHint:
    @pytest.mark.parametrize("answer", ["answer", "solution", "Answer"])
    def test_an_unused_answer_is_named_with_the_flag_that_joins_it(self, answer: str) -> None:
        columns = text("question", "reasoning", answer)
        choice = detect(columns, rows(**{c.name: PROSE for c in columns}))
        assert choice.mapping == PairMapping(("question",), ("reasoning",))
        flag = f"instruction=question,response=reasoning+{answer}"
        assert f"--fields {flag}" in choice.hint
        assert repr(answer) in choice.hint
        assert parse(flag, columns) == PairMapping(("question",), ("reasoning", answer))

    def test_there_is_none_without_an_answer(self) -> None:
        columns = text("question", "reasoning", "note")
        assert detect(columns, rows(question=PROSE, reasoning=PROSE, note=PROSE)).hint == ""

    def test_there_is_none_where_the_answer_is_blank(self) -> None:
        columns = text("question", "reasoning", "answer")
        assert detect(columns, rows(question=PROSE, reasoning=PROSE, answer="")).hint == ""


def test_a_column_that_is_blank_in_the_sample_is_not_chosen() -> None:
    sample = rows(question=PROSE, reasoning=["", None, " "], answer=PROSE)
    assert chosen(text("question", "reasoning", "answer"), sample).response == ("answer",)


class TestFallback:
    def test_takes_the_first_two_prose_columns(self) -> None:
        choice = detect(text("b", "a", "c"), rows(a=PROSE, b=PROSE, c=PROSE))
        assert choice.mapping == PairMapping(("b",), ("a",))
        assert choice.rule == "the first two text columns that hold prose"
        assert choice.unused_text == ("c",)

    @pytest.mark.parametrize(
        ("kind", "values"),
        [
            ("numbers", ["1", "22", "-3.5"]),
            ("ids", ["conv_0001", "conv_0002", "conv_0003"]),
            ("uuids", ["0b6b3c1e-26a4-4a3c-9a2c-000000000001"] * 3),
            ("hashes", ["9f86d081884c7d659a2feaa0c55ad015"] * 3),
            ("labels", ["positive", "negative", "very-neutral"]),
            ("two-word labels", ["Linear Algebra", "Number Theory", "Set Theory"]),
            ("dates", ["2024-01-31", "31.01.2024", "1/31/24"]),
            ("times", ["2024-01-31 10:00:00", "2024-01-31T10:00:00Z", "2024-01-31 10:00 +0100"]),
            ("written dates", ["12 January 2024", "Jan 31, 2024", "Fri, 3rd of May 2024 10:30 am"]),
            ("timestamps", ["2024-01-31 10:00:00 +0000", "Mon Jan 01 10:00:00 2024", "1 2 3"]),
            ("URLs", ["https://example.com/a?b=c", "s3://bucket/key", "http://a.b/c#d"]),
            ("URLs of CJK words", ["https://例え.jp/文字文字文字"] * 3),
            ("paths", ["/data/a/b.txt", "../x/y", "./images/1.png"]),
            (
                "paths with spaces",
                ["/home/me/My Documents/a b.txt", "~/a b/c d.md", "../a b c/d.py"],
            ),
            ("Windows paths", ["C:\\Program Files\\A B\\c.txt", "\\\\host\\share", "D:/a b c/d"]),
            ("CJK paths", ["/数据/文件/路径/图片.png"] * 3),
            ("blank cells", ["", " ", None]),
        ],
    )
    def test_skips(self, kind: str, values: list[str | None]) -> None:
        columns = text("odd", "ask", "reply")
        sample = rows(odd=values, ask=PROSE, reply=PROSE)
        assert chosen(columns, sample) == PairMapping(("ask",), ("reply",))

    def test_skips_an_enum_of_long_values(self) -> None:
        many = [f"{line} ({n})" for n in range(10) for line in PROSE]
        enum = ["a label of many words", "another label of many words"] * 15
        columns = text("kind", "ask", "reply")
        assert chosen(columns, rows(kind=enum, ask=many, reply=many)).instruction == ("ask",)

    @pytest.mark.parametrize(
        "value",
        [
            "What is 2 + 2?",
            "May I come in?",
            "1 + 1 is two",
            "今天天气怎么样",
            "오늘 날씨",
            "/ is the root folder, is it not?",
            "\\frac{1}{2} of the cake is left",
            "Read https://example.com and say what it says.",
            "On 2024-01-31 it rained.",
        ],
    )
    def test_takes_prose(self, value: str) -> None:
        columns = text("id", "ask", "reply")
        sample = rows(id=["a1", "a2", "a3"], ask=value, reply=value)
        assert chosen(columns, sample) == PairMapping(("ask",), ("reply",))

    def test_a_column_of_mixed_values_is_prose_from_half_on(self) -> None:
        columns = text("x", "y", "z")
        half = [PROSE[0], PROSE[1], "a1", "a2"]
        assert chosen(columns, rows(x=half, y=PROSE[:1] * 4, z="No more of it")).instruction == (
            "x",
        )
        less = [PROSE[0], "a1", "a2", "a3"]
        assert chosen(columns, rows(x=less, y=PROSE[:1] * 4, z="No more of it")).instruction == (
            "y",
        )

    def test_long_hostile_values_are_judged_at_once(self) -> None:
        # Patterns that backtrack would not come back from these.
        hostile = ["1" * 400, "1,1:" * 100, "/a b" * 100, "1T1" * 100 + " é é", "a://" * 100]
        columns = text("odd", "ask", "reply")
        sample = rows(odd=hostile, ask="Is it fast enough?", reply="It is fast enough.")
        assert "ask" in chosen(columns, sample).columns


class TestNothingSuitable:
    def test_the_error_lists_the_columns_and_shows_the_flag(self) -> None:
        columns = [Column("id", "string"), Column("score", "double"), Column("note", "string")]
        with pytest.raises(UsageError) as caught:
            detect(columns, rows(id=["1", "2", "3"], score=[0.5, 1.0, 2.0], note=PROSE))
        message = str(caught.value)
        assert "found id (string), score (double), note (string)" in message
        assert "--fields instruction=COLUMN,response=COLUMN" in message
        assert "question+reasoning" in message
        assert caught.value.exit_code == 2

    def test_no_columns_at_all(self) -> None:
        with pytest.raises(UsageError, match="found no columns"):
            detect([], [])


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


def test_columns_are_read_once_each_instruction_first() -> None:
    assert PairMapping(("a", "b"), ("b", "c", "a")).columns == ("a", "b", "c")
