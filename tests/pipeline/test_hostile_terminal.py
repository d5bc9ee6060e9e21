"""Whole commands on hostile data, in this process and in a pseudo-terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_runs import Prepare
from hostile_texts import EVERYTHING, check_shown, hostile_chats, hostile_columns, hostile_rows
from means import REPOSITORY

_OWN = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[hl]|[0-9]*[AK])|\r")
"""What rich writes for colours and the live line; a terminal gets a CR before each LF."""


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("made", [hostile_rows, hostile_chats, hostile_columns])
def test_preparing_prints_nothing_raw(
    made: object, more: tuple[str, ...], prepare: Prepare, tmp_path: Path
) -> None:
    source = made(tmp_path)  # type: ignore[operator]
    words = ("--dataset", source, "--role", f"{EVERYTHING}=user", *more)
    ended = prepare(*words, "--max-reject-rate", "1", "--val-size", "0.3")
    check_shown(ended.out + ended.err)
    if more:
        json.loads(ended.out)


def in_a_terminal(*words: str, folder: Path) -> tuple[int, str]:
    """A command whose output is a terminal, and all that the terminal got."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm-256color"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    got = b""
    try:
        while piece := os.read(ours, 2**16):
            got += piece
    except OSError:  # Linux tells the end so
        pass
    finally:
        os.close(ours)
    return process.wait(120), got.decode()


@pytest.mark.parametrize(
    "words",
    [
        ("prepare", "--output", "set", "--skip-upload", "--max-reject-rate", "1"),
        ("preview", "-n", "3"),
        ("submit", "--output", "set", "--skip-upload", "--max-reject-rate", "1"),
    ],
    ids=lambda words: words[0],
)
def test_a_terminal_gets_nothing_raw(words: tuple[str, ...], tmp_path: Path) -> None:
    source = hostile_rows(tmp_path)
    code, got = in_a_terminal(*words, "--dataset", str(source), folder=tmp_path)
    assert code == 0, got
    # Of the data's own sequences none is left that the terminal would take for ours.
    assert "\x1b]" not in got
    assert "\x1b[2J" not in got
    assert got.count("\x1b[31m") == 0, "no line of ours is red"
    check_shown(_OWN.sub("", got))
