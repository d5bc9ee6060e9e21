"""The rows that rendering kept, and those that it rejected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class RenderedRows:
    """The result of rendering a table.

    Attributes:
        kept: the output columns of the rows that are kept.
        rejects: the ``REJECTS`` of the others.
        note_counts: note -> number of rows.
        rows: the ``ROW`` of each row that is kept.
    """

    kept: pa.Table
    rejects: pa.Table
    note_counts: Mapping[str, int]
    rows: pa.ChunkedArray
