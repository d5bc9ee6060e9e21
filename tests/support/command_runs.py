"""Whole runs of the command line in this process, and what they left."""

from __future__ import annotations

import json
import logging
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ended import Ended

from pipeline.cli.main import main

Prepare = Callable[..., Ended]
"""``prepare(*words, verb="prepare", output=…)``: a command line in this process."""


@contextmanager
def quiet_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the command line changes in this process (signals, logging, warnings) is put back."""
    for name in ("HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS"):
        monkeypatch.setenv(name, "1")
    for name in ("DATASETS_VERBOSITY", "HF_HUB_VERBOSITY"):
        monkeypatch.setenv(name, "critical")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    level = logging.getLogger().level
    with warnings.catch_warnings():
        yield
    logging.getLogger().setLevel(level)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(name="prepare")
def prepare_fixture(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Prepare]:
    """The command line in this process, without upload.

    Every failure is checked for what holds for all of them: one sentence instead of a traceback,
    and nothing at the output that loads.
    """
    number = 0

    def run(*words: object, verb: str = "prepare", output: Path | str | None = None) -> Ended:
        nonlocal number
        number += 1
        place = output or tmp_path / "out" / f"set-{number}"
        was_there = (Path(place) / "dataset_dict.json").is_file()
        more = ["--output", str(place), "--skip-upload"] if verb == "prepare" else []
        capfd.readouterr()
        code = main([verb, *map(str, words), *more])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        if code:
            assert err.startswith("error: ") and err.count("\n") == 1
            assert was_there or not (Path(place) / "dataset_dict.json").exists()
            assert not list(tmp_path.rglob(".*.partial"))
        return Ended(code, out, err, Path(place))

    with quiet_process(monkeypatch):
        yield run


def has(said: str, *words: str) -> bool:
    """Does a message hold all of these words?"""
    absent = [word for word in words if word not in said]
    assert not absent, f"{absent} not in {said!r}"
    return True


def put(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def lines(path: Path, *rows: object) -> Path:
    return put(path, "".join(json.dumps(row) + "\n" for row in rows))


def turns(*texts: str, system: str | None = None) -> list[dict[str, Any]]:
    """Messages of a user and an assistant in turn."""
    first = [] if system is None else [{"role": "system", "content": system}]
    roles = ("user", "assistant")
    return [*first, *({"role": roles[n % 2], "content": text} for n, text in enumerate(texts))]


def in_order(text: str, parts: Sequence[str]) -> bool:
    """Do the parts stand in the text, one behind the other?"""
    at = 0
    for part in parts:
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return True
