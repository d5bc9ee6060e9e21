"""Hashes of the rows of a work unit, handed on in parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.duplicates.content_hash import both_halves, content_hashes, contents, first_of_each
from transforms.duplicates.exact import fingerprints
from transforms.duplicates.minhash import banded, min_hashes


class _Key:
    """What is compared with each other: the rows of a bucket, or of a band's; all prompts."""

    HASHES, BAND, PROMPTS = "hashes", "band", "prompts"


class _Part:
    """Hashes of some rows of a unit, until they are taken."""

    def __init__(self, unit: int, dedup: str, bucket_count: int, alone: bool) -> None:
        self._unit, self._dedup, self._bucket_count, self._alone = unit, dedup, bucket_count, alone
        self._clear()

    def _clear(self) -> None:
        self.rows = 0
        self._hashed: list[tuple[np.ndarray, ...]] = []
        self._near: list[tuple[np.ndarray, ...]] = []

    def add(self, rows: pa.Table, asked: np.ndarray, places: np.ndarray) -> None:
        self.rows += rows.num_rows
        if self._dedup == "off":
            return
        hashes = both_halves(asked) if self._alone else content_hashes(rows, asked)
        self._hashed.append((*hashes, places))
        if self._dedup == "near":
            first = first_of_each(hashes)  # exact copies need no second look
            values, which = min_hashes(contents(rows.take(pa.array(first))))
            self._near.append((values, places[first][which]))

    def taken(self) -> Iterator[tuple[str, Any]]:
        """What the hashes are for the survey's outputs; there are none left then."""
        if self._hashed:
            first, second, places = map(np.concatenate, zip(*self._hashed, strict=True))
            for bucket, prints in fingerprints(
                self._unit, (first, second), places, self._bucket_count
            ):
                yield f"{_Key.HASHES}/{bucket}", prints
        if self._near:
            values, places = map(np.concatenate, zip(*self._near, strict=True))
            for (band, bucket), entry in banded(self._unit, values, places, self._bucket_count):
                yield f"{_Key.BAND}/{band}/{bucket}", entry
        self._clear()


_ROWS_A_PART = 100_000
"""Rows after which a unit's hashes are handed on."""
