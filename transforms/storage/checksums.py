"""Two things that are done with a file on a disk: its bytes are hashed, or made to survive."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path


def hash_file(path: Path, also: Callable[[bytes], None] | None = None) -> tuple[int, str]:
    """(bytes, SHA-256 in hex) of a file, read in steps; ``also`` sees the same bytes."""
    size, found = 0, sha256()
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
