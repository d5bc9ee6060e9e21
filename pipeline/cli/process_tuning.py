"""How the process of a job uses its memory: less of it, and given back less often.

All settings are for a process that runs this job alone.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_ARENA_MAX = -8  # M_ARENA_MAX of glibc's malloc.h


@contextmanager
def long_lived_imports() -> Iterator[None]:
    """Tunes the process for what the body imports, and for the job that follows.

    Beam and other libraries create half a million objects that live as long as the process.  The
    garbage collector runs neither while they are created nor over them later; both would take a
    second of ten.  A process that has imported the job before belongs to another program, with
    objects of its own, and is left alone.
    """
    if "pipeline.launch.job" in sys.modules:
        yield
        return
    tune_allocators()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def tune_allocators() -> None:
    """Sets up the allocators of the C library and of Arrow for large blocks that are reused.

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
