"""How the process of a job keeps its memory: less of it, and less often given back.

Both settings are for a process that is this job alone, before it does anything.
"""

from __future__ import annotations

import ctypes
import os

_ARENA_MAX = -8  # M_ARENA_MAX of glibc's malloc.h


def tune_allocators() -> None:
    """Tells the C library and Arrow's allocator how a job works: in large pieces, over and over.

    glibc gives each thread an arena of its own, and keeps what a thread has freed there for that
    thread.  Beam works through each stage with other threads, so what one stage held would stay
    beside what the next one needs: a quarter of the peak of 1.6 million rows.  Other C libraries
    have no such arenas.

    Arrow's allocator gives memory back after ten milliseconds, and asks the system for the same
    again with the next batch, which takes a twelfth of the time.  What the user has set stays.
    """
    os.environ.setdefault("MIMALLOC_PURGE_DELAY", "-1")  # read when Arrow is imported
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(_ARENA_MAX, 1)
