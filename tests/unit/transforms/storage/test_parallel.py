"""Work by several threads: order, the first error, and what ends it early."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from threading import Barrier, Event

import pytest

from transforms.storage.parallel import for_each, in_parallel

WAIT = 30
"""Seconds after which a test that hangs fails."""


def test_results_come_in_the_order_of_the_items() -> None:
    assert list(in_parallel(lambda n: n * n, range(2500), 16)) == [n * n for n in range(2500)]
    assert list(in_parallel(lambda n: n, [], 4)) == []


def test_a_slow_item_holds_back_no_work_but_the_results_behind_it() -> None:
    others = Event()
    done: list[int] = []

    def work(n: int) -> int:
        if n == 0:
            assert others.wait(WAIT)
        done.append(n)
        if len(done) == 5:
            others.set()
        return n

    assert list(in_parallel(work, range(6), 2)) == [0, 1, 2, 3, 4, 5]
    assert done[:5] == [1, 2, 3, 4, 5]


def test_as_many_work_at_a_time_as_there_are_threads() -> None:
    together = Barrier(4)
    for_each(lambda n: together.wait(WAIT), range(4), 4)


def test_few_items_are_taken_at_a_time() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(100_000):
            taken.append(number)
            yield number

    found = in_parallel(lambda n: n, items(), 16)
    assert next(found) == 0
    assert len(taken) <= 1000
    found.close()


def test_the_error_that_comes_first_in_time_is_raised_and_the_rest_cancelled() -> None:
    stopped = Event()
    begun: list[int] = []

    def work(n: int) -> None:
        begun.append(n)
        if n == 1:
            raise KeyError(n)
        assert stopped.wait(WAIT)  # in progress when another one fails, and ends early
        raise ValueError("later")

    with pytest.raises(KeyError, match="^1$"):
        for_each(work, range(900), 2, stopped)
    assert stopped.is_set()
    assert len(begun) <= 3  # the two, and one that began while the others were cancelled
    assert threading.active_count() == 1 or not any(
        thread.name.startswith("ThreadPoolExecutor") for thread in threading.enumerate()
    )


def test_results_before_the_error_are_yielded_in_order() -> None:
    found = []

    def work(n: int) -> int:
        if n == 3:
            raise ValueError(n)
        return n

    with pytest.raises(ValueError, match="^3$"):
        for n in in_parallel(work, range(2000), 1):
            found.append(n)
    assert found == [0, 1, 2]


def test_a_closed_iterator_cancels_what_waits() -> None:
    stopped, begun = Event(), []
    found = in_parallel(begun.append, range(500_000), 2, stopped)
    next(found)
    assert not stopped.is_set()
    found.close()  # type: ignore[attr-defined]
    assert stopped.is_set()
    count = len(begun)
    assert count <= 1001
    assert len(begun) == count


def test_ctrl_c_cancels_what_waits_and_ends_what_is_in_progress() -> None:
    stopped, begun = Event(), []

    def work(n: int) -> None:
        begun.append(n)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        assert stopped.wait(WAIT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            for_each(work, range(900), 2, stopped)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(begun) <= 3
