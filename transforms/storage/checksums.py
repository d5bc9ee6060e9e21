"""Two things that are done with a file on a disk: its bytes are hashed, or made to survive."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from xxhash import xxh3_128


def hash_file(
    path: Path, also: Callable[[bytes], None] | None = None, xxh3: bool = False
) -> tuple[int, str]:
    """(bytes, SHA-256 in hex) of a file, read in steps; ``also`` sees the same bytes.

    With ``xxh3`` the digest is XXH3-128: it finds damage as surely, but anybody can make another
    file that has it.
    """
    size, found = 0, xxh3_128() if xxh3 else sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(2**20):
            size += len(block)
            found.update(block)
            if also:
                also(block)
    return size, found.hexdigest()


def sync(path: Path) -> None:
    """Flushes a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
