"""What cells say of a column without a known name: prose or not, and whether it asks."""

from __future__ import annotations

import pytest

from transforms.conversations.prose import asks, is_prose

PROSE = ["How many trees grow here?", "What is the sum of both?", "Name a river in Peru."]


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
def test_ids_labels_dates_and_addresses_are_no_prose(kind: str, values: list[str | None]) -> None:
    assert not is_prose([value for value in values if value and value.strip()])


def test_an_enumeration_of_long_values_is_no_prose() -> None:
    assert not is_prose(["a label of many words", "another label of many words"] * 15)


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
def test_sentences_are_prose(value: str) -> None:
    assert is_prose([value] * 3)


def test_a_column_of_mixed_values_is_prose_from_half_on() -> None:
    assert is_prose([PROSE[0], PROSE[1], "a1", "a2"])
    assert not is_prose([PROSE[0], "a1", "a2", "a3"])


def test_long_hostile_values_are_judged_at_once() -> None:
    # Patterns that backtrack would not come back from these.
    hostile = ["1" * 400, "1,1:" * 100, "/a b" * 100, "1T1" * 100 + " é é", "a://" * 100]
    is_prose(hostile)
    asks(hostile)


@pytest.mark.parametrize(
    "value",
    [
        "What is 2 + 2?",
        "The river in Peru is called what? ",
        '"Is it so?"',
        "今天天气怎么样？",
        "Write a poem about tools.",
        "  please shorten the text",
        "Explain: why is the sky blue",
    ],
)
def test_questions_and_instructions_ask(value: str) -> None:
    assert asks([value])


@pytest.mark.parametrize("value", ["It is four.", "The report says so.", "42", "¿", "...", ""])
def test_statements_do_not_ask(value: str) -> None:
    assert not asks([value])


def test_half_of_the_cells_is_not_enough() -> None:
    assert not asks(["Why?", "It is so."])
    assert asks(["Why?", "How?", "It is so."])
    assert not asks([])
