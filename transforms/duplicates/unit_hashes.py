"""Hashes of the rows of a work unit, handed on in parts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from transforms.duplicates.content_hash import both_halves, content_hashes, contents, first_of_each
from transforms.duplicates.exact import Fingerprints, fingerprints
from transforms.duplicates.minhash import Banded, banded, min_hashes

HASH_KEY, BAND_KEY = "hashes", "band"
"""Begin the keys of what is compared with each other: ``hashes/BUCKET``, ``band/BAND/BUCKET``."""

ROWS_PER_PART = 100_000
"""Rows after which a unit's hashes are handed on."""


class UnitHashes:
    """Collects the hashes of rows of one unit until they are taken.

    Args:
        unit: The unit's number.
        dedup: The rule: ``off``, ``exact`` or ``near``.
        bucket_count: The number of buckets, the same for all units.
        prompts_only: Are the rows compared by their instruction alone?
    """

    def __init__(self, unit: int, dedup: str, bucket_count: int, prompts_only: bool) -> None:
        self._unit, self._dedup, self._bucket_count = unit, dedup, bucket_count
        self._prompts_only = prompts_only
        self._clear()

    def _clear(self) -> None:
        self.rows = 0
        self._exact: list[tuple[np.ndarray, ...]] = []
        self._near: list[tuple[np.ndarray, ...]] = []

    def add(self, rows: pa.Table, prompts: np.ndarray, places: np.ndarray) -> None:
        """Hashes rows that ``Normalize`` made.

        Args:
            rows: The rows.
            prompts: Their ``prompt_hashes``, uint64 of shape (n,).
            places: Where they lie, uint64 of shape (n,), ascending.
        """
        self.rows += rows.num_rows
        if self._dedup == "off":
            return
        hashes = both_halves(prompts) if self._prompts_only else content_hashes(rows, prompts)
        self._exact.append((*hashes, places))
        if self._dedup == "near":
            first = first_of_each(hashes)  # the exact rule finds the others
            values, which = min_hashes(contents(rows.take(pa.array(first))))
            self._near.append((values, places[first][which]))

    def take(self) -> Iterator[tuple[str, Fingerprints | Banded]]:
        """(key, hashes) of the rows that were added since the last call."""
        if self._exact:
            first, second, places = map(np.concatenate, zip(*self._exact, strict=True))
            hashes = (first, second)
            for bucket, part in fingerprints(self._unit, hashes, places, self._bucket_count):
                yield f"{HASH_KEY}/{bucket}", part
        if self._near:
            values, places = map(np.concatenate, zip(*self._near, strict=True))
            for (band, bucket), rows in banded(self._unit, values, places, self._bucket_count):
                yield f"{BAND_KEY}/{band}/{bucket}", rows
        self._clear()
