"""How Beam encodes a ``Batch``: a pickle that holds its tables as Arrow IPC streams.

Beam samples the size of elements by *encoding* them.  With the default coder that pickles tables
which nobody sends; ``estimate_size`` answers from the table's own accounting instead.
"""

from __future__ import annotations

import pickle
from dataclasses import replace

from apache_beam import coders

from transforms.records import Batch, table_from_bytes, table_to_bytes


class BatchCoder(coders.Coder):
    """Encodes a ``Batch``; a slice of a table is encoded without the rest of its buffers."""

    def encode(self, value: Batch) -> bytes:
        rejects = None if value.rejects is None else table_to_bytes(value.rejects)
        return pickle.dumps(replace(value, table=table_to_bytes(value.table), rejects=rejects))

    def decode(self, encoded: bytes) -> Batch:
        value: Batch = pickle.loads(encoded)  # noqa: S301 (what encode made, from another worker)
        rejects = None if value.rejects is None else table_from_bytes(value.rejects)
        return replace(value, table=table_from_bytes(value.table), rejects=rejects)

    def estimate_size(self, value: Batch) -> int:
        return int(value.table.nbytes)

    def is_deterministic(self) -> bool:
        return True

    def to_type_hint(self) -> type[Batch]:
        return Batch


coders.registry.register_coder(Batch, BatchCoder)
