"""What a runner writes to stderr is kept off the console, and shown when it is needed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from pipeline.cli import signals
from pipeline.cli.console import progress_line, runner_output_aside
from transforms.errors import StorageError


@pytest.fixture(autouse=True)
def _stderr() -> Iterator[None]:
    before = sys.stderr
    yield
    sys.stderr = before


def write() -> None:
    print("from a step", file=sys.stderr)
    os.write(2, b"from grpc\n")


def test_is_shown_with_an_error_of_the_runner(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), runner_output_aside():
        write()
        raise RuntimeError
    assert sorted(capfd.readouterr().err.splitlines()) == ["from a step", "from grpc"]


def test_is_not_shown_where_one_sentence_tells_it(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StorageError), runner_output_aside():
        write()
        raise StorageError("a file is broken")
    write()
    assert sorted(capfd.readouterr().err.splitlines()) == ["from a step", "from grpc"]


def test_of_a_stopped_run_its_threads_stay_unheard_although_they_go_on(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(signals.Stopped), runner_output_aside():
        write()
        monkeypatch.setattr(signals, "_received", [(signal.SIGINT, 0.0)])
        raise signals.Stopped
    print("Traceback of an interrupted step", file=sys.stderr)
    assert capfd.readouterr().err == ""


def test_before_a_unit_is_finished_the_line_shows_the_scan() -> None:
    assert progress_line(9, [], 1.0, scanned=4) == "  scan: 4/9 units"
