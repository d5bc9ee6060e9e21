"""Work on many items by some threads: results in order, the first error ends it all.

A pool of its own would start what waits after an error, would report an error only where its item's
turn has come, and would hold a kilobyte for every item from the beginning.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from threading import Event
from typing import TypeVar

_MOST_WAITING = 1000
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_parallel(
    work: Callable[[_Item], _Result],
    items: Iterable[_Item],
    threads: int,
    stopped: Event | None = None,
) -> Iterator[_Result]:
    """Yields ``work(item)`` for each item, in the order of the items.

    At most 1,000 items are taken from ``items`` ahead of the results.

    Args:
        work: may be called by several threads at a time.
        items: consumed by the calling thread.
        threads: the number of threads.
        stopped: set when an error, a closed iterator or Ctrl-C ends the work early, so that calls
            in progress can end early as well.

    Raises:
        Exception: the error of ``work`` that came first in time; calls that have not begun are
            cancelled, and those in progress have ended.
    """
    left = iter(items)
    waiting: deque[Future[_Result]] = deque()
    finished: SimpleQueue[Future[_Result]] = SimpleQueue()
    ready: set[Future[_Result]] = set()
    with ThreadPoolExecutor(threads) as pool:
        try:
            while True:
                for item in islice(left, _MOST_WAITING - len(waiting)):
                    future = pool.submit(work, item)
                    waiting.append(future)
                    future.add_done_callback(finished.put)
                if not waiting:
                    return
                future = finished.get()
                future.result()
                ready.add(future)
                while waiting and waiting[0] in ready:
                    first = waiting.popleft()
                    ready.remove(first)
                    yield first.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            if stopped:  # after it, so that calls that end early make room for no other
                stopped.set()
            raise


def for_each(
    work: Callable[[_Item], object],
    items: Iterable[_Item],
    threads: int,
    stopped: Event | None = None,
) -> None:
    """``in_parallel`` for work without a result."""
    deque(in_parallel(work, items, threads, stopped), maxlen=0)
