"""The rows that rendering made, and those that it could not take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class RenderedRows:
    """The shape's columns of the rows that are kept, the ``REJECTS`` of the others, and events.

    ``rows`` is the ``ROW`` of each row that is kept.
    """

    kept: pa.Table
    rejects: pa.Table
    note_counts: Mapping[str, int]
    rows: pa.ChunkedArray
