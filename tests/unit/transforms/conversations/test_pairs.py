"""The pair rule: which rows are kept as they are, and which are rejects with which reason."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.conversations import pairs
from transforms.conversations.pair_mapping import PairMapping
from transforms.conversations.pairs import to_pairs as numbered_pairs
from transforms.records import EXCERPT_CHARS, REJECTS, ROW


def to_pairs(
    table: pa.Table, fields: PairMapping, key: str | None = None
) -> tuple[pa.Table, pa.Table]:
    """What ``to_pairs`` makes, without the rows' numbers."""
    kept, rejects = numbered_pairs(table, fields, key)
    return kept.drop_columns(ROW), rejects


QA = PairMapping(("q",), ("a",))
texts = st.text(
    st.one_of(st.sampled_from(" \t\n\u00a0\u3000x"), st.characters(exclude_categories=["Cs"]))
)
cells = st.none() | texts


def source(**columns: object) -> pa.Table:
    """A table as Read yields it, rows numbered from 1."""
    table = pa.table(columns)
    return table.append_column(ROW, pa.array(range(1, table.num_rows + 1), pa.int64()))


def raw(*values: bytes | None) -> pa.StringArray:
    """A string array of bytes that nobody checked, as a Parquet file may hold them."""
    return pa.array(values, pa.binary()).view(pa.string())


def codes(table: pa.Table, fields: PairMapping = QA, key: str | None = None) -> dict[int, str]:
    """Row number -> reject code."""
    _, rejects = to_pairs(table, fields, key)
    assert rejects.schema == REJECTS
    return dict(zip(rejects["row"].to_pylist(), rejects["code"].to_pylist(), strict=True))


def kept(table: pa.Table, fields: PairMapping = QA) -> list[tuple[str, str]]:
    good, _ = to_pairs(table, fields)
    assert good.schema == pa.schema({"instruction": pa.string(), "response": pa.string()})
    return [(row["instruction"], row["response"]) for row in good.to_pylist()]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (None, "null"),
        ("", "empty"),
        (" ", "blank"),
        ("\n\t \r\n", "blank"),
        ("\u00a0\u2003\u3000", "blank"),
    ],
)
def test_null_empty_and_blank_rows_are_rejects_with_their_reason(bad: str, code: str) -> None:
    table = source(q=["Hi", bad, "Hi", "Hi"], a=["Ho", "Ho", bad, "Ho"])
    assert codes(table) == {2: f"{code}-instruction", 3: f"{code}-response"}
    assert kept(table) == [("Hi", "Ho"), ("Hi", "Ho")]


@pytest.mark.parametrize("good", ["0", "\u200b", "\0", "\u0301", "\u202e", " x ", ".", "\ufeff"])
def test_whatever_is_not_white_space_is_kept_as_it_is(good: str) -> None:
    assert kept(source(q=[good], a=[good])) == [(good, good)]


@given(rows=st.lists(st.tuples(cells, cells)))
def test_every_row_is_kept_unchanged_or_rejected_in_order(
    rows: list[tuple[str | None, str | None]],
) -> None:
    table = source(
        q=pa.array([q for q, _ in rows], pa.string()), a=pa.array([a for _, a in rows], pa.string())
    )
    bad = [n for n, row in enumerate(rows, 1) if not all(cell and cell.strip() for cell in row)]
    assert list(codes(table)) == bad
    assert kept(table) == [row for n, row in enumerate(rows, 1) if n not in bad]


@given(
    rows=st.lists(st.tuples(cells, cells), max_size=12),
    cuts=st.lists(st.integers(0, 12), max_size=4),
)
def test_a_batch_of_many_chunks_gives_what_its_parts_give(
    rows: list[tuple[str | None, str | None]], cuts: list[int]
) -> None:
    table = source(
        q=pa.array([q for q, _ in rows], pa.string()), a=pa.array([a for _, a in rows], pa.string())
    )
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    parts = [table.slice(a, b - a) for a, b in zip(edges, edges[1:], strict=False)]
    chunked = pa.concat_tables(parts) if parts else table
    assert [part.to_pylist() for part in to_pairs(chunked, QA)] == [
        part.to_pylist() for part in to_pairs(table, QA)
    ]
    one_by_one = [to_pairs(part, QA) for part in parts]
    assert [row for good, _ in one_by_one for row in good.to_pylist()] == to_pairs(table, QA)[
        0
    ].to_pylist()


def test_the_instruction_s_fault_is_named_before_the_response_s() -> None:
    assert codes(source(q=["", None], a=[None, " "])) == {
        1: "empty-instruction",
        2: "null-instruction",
    }


def test_an_empty_batch_gives_empty_tables() -> None:
    good, rejects = to_pairs(source(q=pa.array([], pa.string()), a=pa.array([], pa.string())), QA)
    assert good.schema.names == ["instruction", "response"]
    assert (good.num_rows, rejects.num_rows) == (0, 0)


class TestJoin:
    FIELDS = PairMapping(("q", "extra"), ("a", "b", "c"), instruction_separator="\n")

    def joined(self, **columns: object) -> list[tuple[str, str]]:
        return kept(source(**columns), self.FIELDS)

    def test_parts_stand_apart_by_the_separators(self) -> None:
        assert self.joined(q=["Q"], extra=["E"], a=["A"], b=["B"], c=["C"]) == [
            ("Q\nE", "A\n\nB\n\nC")
        ]

    @pytest.mark.parametrize("blank", [None, "", " \n"])
    def test_blank_optional_parts_are_left_out(self, blank: str | None) -> None:
        parts = pa.array([blank], pa.string())
        assert self.joined(q=["Q"], extra=parts, a=["A"], b=parts, c=["C"]) == [("Q", "A\n\nC")]

    def test_nothing_is_trimmed(self) -> None:
        assert self.joined(q=[" Q "], extra=[" E "], a=["A\n"], b=["\nB"], c=["C "]) == [
            (" Q \n E ", "A\n\n\n\nB\n\nC ")
        ]

    @pytest.mark.parametrize(("blank", "code"), [(None, "null"), ("", "empty"), (" ", "blank")])
    def test_other_parts_do_not_make_up_for_a_blank_first_one(
        self, blank: str | None, code: str
    ) -> None:
        bad = pa.array([blank, "Q"], pa.string())
        table = source(q=bad, extra=["E"] * 2, a=["A"] * 2, b=["B"] * 2, c=["C"] * 2)
        assert codes(table, self.FIELDS) == {1: f"{code}-instruction"}
        table = source(q=["Q"] * 2, extra=["E"] * 2, a=bad, b=["B"] * 2, c=["C"] * 2)
        assert codes(table, self.FIELDS) == {1: f"{code}-response"}

    def test_numbers_are_joined_as_text_and_nan_is_left_out(self) -> None:
        rows = self.joined(
            q=pa.array([1, 2, 3]),
            extra=pa.array([0.5, float("nan"), float("inf")]),
            a=pa.array([True, False, True]),
            b=pa.array([-1, None, 2**62]),
            c=["x"] * 3,
        )
        assert rows == [
            ("1\n0.5", "true\n\n-1\n\nx"),
            ("2", "false\n\nx"),
            ("3", f"true\n\n{2**62}\n\nx"),
        ]


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf"), None])
@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
def test_a_number_that_says_nothing_is_null(odd: float, kind: pa.DataType) -> None:
    table = source(q=pa.array([1.5, odd], kind), a=["x", "x"])
    assert codes(table) == {2: "null-instruction"}
    assert kept(table) == [("1.5", "x")]


class TestInvalidUtf8:
    BAD = (b"ok", b"\xff\xfe", None, b"", b"ab\xc3", "é".encode())

    def test_only_the_rows_that_hold_it_are_rejects(self) -> None:
        table = source(q=raw(*self.BAD), a=["x"] * 6)
        assert codes(table) == {
            2: "invalid-unicode",
            3: "null-instruction",
            4: "empty-instruction",
            5: "invalid-unicode",
        }
        assert kept(table) == [("ok", "x"), ("é", "x")]

    def test_in_an_optional_part_too(self) -> None:
        table = source(q=["x"] * 6, e=raw(*self.BAD), a=["y"] * 6)
        assert codes(table, PairMapping(("q", "e"), ("a",))) == {
            2: "invalid-unicode",
            5: "invalid-unicode",
        }

    def test_what_is_rejected_can_be_written(self) -> None:
        _, rejects = to_pairs(source(q=raw(b"\xff"), a=["é"]), QA)
        rejects.validate(full=True)
        assert json.loads(rejects["excerpt"][0].as_py()) == {"q": None, "a": "é"}


class TestTooLarge:
    @pytest.fixture(autouse=True)
    def limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pairs, "MAX_ROW_BYTES", 10)

    def test_a_field_above_the_limit_is_a_reject(self) -> None:
        table = source(q=["x" * 10, "x" * 11, "é" * 6, "x"], a=["y", "y", "y", "y" * 11])
        assert codes(table) == dict.fromkeys((2, 3, 4), "row-too-large")

    def test_parts_count_together(self) -> None:
        table = source(q=["x" * 5] * 2, e=["y" * 3, "y" * 4], a=["z"] * 2)
        assert codes(table, PairMapping(("q", "e"), ("a",))) == {2: "row-too-large"}


class TestSplitKey:
    def test_the_key_column_comes_third(self) -> None:
        good, _ = to_pairs(source(q=["Q"], a=["A"], k=pa.array([7])), QA, "k")
        assert good.to_pylist() == [{"instruction": "Q", "response": "A", "key": "7"}]

    def test_the_key_may_be_one_of_the_fields(self) -> None:
        good, _ = to_pairs(source(q=["Q"], a=["A"]), QA, "a")
        assert good.to_pylist() == [{"instruction": "Q", "response": "A", "key": "A"}]

    @pytest.mark.parametrize(("bad", "code"), [(None, "null"), ("", "empty"), (" ", "blank")])
    def test_a_row_without_a_key_is_a_reject(self, bad: str | None, code: str) -> None:
        table = source(q=["Q", "Q"], a=["A", "A"], k=pa.array([bad, "K"], pa.string()))
        assert codes(table, key="k") == {1: f"{code}-split-key"}


def test_rejects_keep_the_row_s_number_and_the_fields_beginnings() -> None:
    table = source(q=["x", "é" * 500], a=["y", " "], z=["other", "other"]).slice(1)
    _, rejects = to_pairs(table, QA)
    (reject,) = rejects.to_pylist()
    assert (reject["row"], reject["code"]) == (2, "blank-response")
    assert reject["excerpt"].startswith('{"q": "' + "é" * 100 + '", "a": " "')
    assert len(reject["excerpt"]) <= EXCERPT_CHARS
    assert "other" not in reject["excerpt"]
