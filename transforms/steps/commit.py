"""Commit: the shards add up, the set's own files are written, the set appears."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from transforms.dataset.publish import Contents, commit
from transforms.records import Shard
from transforms.storage.store import DatasetStore


@dataclass
class Commit(beam.PTransform):
    """(``Shard``, ``dict``, …) ``-> dict``: the counts, once, after the folder is in place.

    All inputs but the first are parts of the manifest's ``quality``, each with keys of its own.
    The result is not the manifest: Beam would encode all of it, to learn its size.
    """

    store: DatasetStore
    units: int
    contents: Contents

    def expand(self, inputs: tuple[beam.PCollection[Any], ...]) -> beam.PCollection[dict[str, Any]]:
        return (
            inputs
            | beam.Flatten()
            | "OneKey" >> beam.WithKeys(0)
            | "All" >> beam.GroupByKey()
            | "Publish" >> beam.MapTuple(self._publish)
        )

    def _publish(self, _: int, inputs: Iterable[Shard | dict[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def shards() -> Iterator[Shard]:
            for one in inputs:
                if isinstance(one, Shard):
                    yield one
                else:
                    found.update(one)

        return commit(self.store, self.units, self.contents, shards(), found)
