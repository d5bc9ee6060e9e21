"""Scalars of JSON become the same text, whatever a column's type in the sample and its batches."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.conversations.pairs import field_text
from transforms.formats import source_reader
from transforms.formats.json_parsing import Fault, columns_of, scalar_text
from transforms.formats.source_reader import FileFormat
from transforms.records import Column, FileRange

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
WHOLE = st.integers(-(2**64), 2**64)
SCALAR = st.none() | TEXT | WHOLE | st.booleans() | st.floats(allow_nan=False)
CELLS = (
    st.lists(SCALAR, min_size=1, max_size=9)
    | st.lists(st.integers(-9, 9) | st.none(), min_size=1, max_size=9)
    | st.lists(st.booleans(), min_size=1, max_size=9)
    | st.lists(st.floats(-9, 9), min_size=1, max_size=9)
)


def expected(cell: object) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    return None if isinstance(cell, float) and not math.isfinite(cell) else json.dumps(cell)


@pytest.mark.parametrize("kind", ["json_lines", "json_array"])
@given(cells=CELLS, seen=st.integers(1, 9), batch_bytes=st.integers(1, 400))
def test_each_scalar_is_written_as_json_writes_it(
    kind: str, cells: list[object], seen: int, batch_bytes: int
) -> None:
    rows = [{"q": cell} for cell in cells]
    (column,) = columns_of(rows[:seen])
    text = Column(column.name, column.type, text=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(lines if kind == "json_lines" else json.dumps(rows), encoding="utf-8")
        found: list[str | None] = []
        for part in source_reader.read(
            str(path), FileFormat(kind), FileRange("", 0, 0), [text], batch_bytes
        ):
            assert part.rejects is None
            found += field_text(part.table["q"])[0].to_pylist()
    assert found == [expected(cell) for cell in cells]


@given(st.lists(st.none() | st.floats(), min_size=1))
def test_a_typed_column_of_numbers_gives_the_same_texts(cells: list[float | None]) -> None:
    found, invalid = field_text(pa.chunked_array([pa.array(cells, pa.float64())]))
    assert invalid is None
    assert found.to_pylist() == [expected(cell) for cell in cells]


@pytest.mark.parametrize("cell", [[], ["a"], {}, {"a": 1}])
def test_lists_and_objects_are_no_scalars(cell: object) -> None:
    with pytest.raises(Fault, match="not-text"):
        scalar_text(cell)
