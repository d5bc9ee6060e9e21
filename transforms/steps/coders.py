"""How Beam encodes a ``Batch``: Arrow IPC with a header, and a size it can tell without encoding.

Beam samples the size of elements by *encoding* them.  With the default coder that pickles tables
which nobody sends; ``estimate_size`` answers from the table's own accounting instead.
"""

from __future__ import annotations

import json
import struct
from dataclasses import astuple

import pyarrow as pa
from apache_beam import coders

from transforms.records import Batch, FileRange


class BatchCoder(coders.Coder):
    """Encodes a ``Batch`` as: header length, JSON header, Arrow IPC stream(s)."""

    def encode(self, value: Batch) -> bytes:
        table = _to_ipc(value.table)
        rejects = b"" if value.rejects is None else _to_ipc(value.rejects)
        header = json.dumps(
            [
                *(value.unit, value.index, value.last, value.read, astuple(value.file_range)),
                *(len(table), dict(value.note_counts), value.duplicates),
            ]
        ).encode()
        return b"".join((struct.pack("<I", len(header)), header, table, rejects))

    def decode(self, encoded: bytes) -> Batch:
        start = 4 + struct.unpack_from("<I", encoded)[0]
        unit, index, last, read, file_range, length, note_counts, duplicates = json.loads(
            encoded[4:start]
        )
        table, rejects = encoded[start : start + length], encoded[start + length :]
        return Batch(
            unit=unit,
            index=index,
            last=last,
            file_range=FileRange(*file_range),
            table=_from_ipc(table),
            read=read,
            rejects=_from_ipc(rejects) if rejects else None,
            note_counts=note_counts,
            duplicates=tuple(duplicates),
        )

    def estimate_size(self, value: Batch) -> int:
        return int(value.table.nbytes)

    def is_deterministic(self) -> bool:
        return True

    def to_type_hint(self) -> type[Batch]:
        return Batch


def _to_ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _from_ipc(data: bytes) -> pa.Table:
    return pa.ipc.open_stream(data).read_all()


coders.registry.register_coder(Batch, BatchCoder)
