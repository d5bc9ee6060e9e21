"""Every work file that a run writes has a name that a clean-up knows as ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.launch import worker_check
from transforms.chat.token_counter import TOKENIZER_FILE
from transforms.dataset.publish import PLAN_FILE
from transforms.leakage.contamination import pieces_file
from transforms.leakage.prompts import PROMPTS_FILE
from transforms.steps import read
from transforms.storage.local import _REPLACES, LocalStore
from transforms.storage.names import is_work_file
from transforms.storage.store import (
    REJECTS_RECORD,
    SPLITS_RECORD,
    note_scanned,
    record_name,
)


@pytest.mark.parametrize(
    "name",
    [
        PLAN_FILE,
        TOKENIZER_FILE,
        PROMPTS_FILE,
        pieces_file("0" * 64),
        record_name(0, SPLITS_RECORD),
        record_name(123_456, REJECTS_RECORD),
        read._name(0),
        read._name(100_000),
        worker_check._record(0),
        worker_check._record(100),
        worker_check._LAUNCHERS,
        _REPLACES,
    ],
)
def test_it_is_known(name: str) -> None:
    assert is_work_file(name)


@pytest.mark.parametrize("content", ["", "0123456789abcdef0123456789abcdef"])
def test_a_note_of_the_first_pass_is_known(tmp_path: Path, content: str) -> None:
    folder = LocalStore(str(tmp_path / "out"))
    with folder.claimed():
        note_scanned(folder, 123_456, content)
        (name,) = (path.name for path in folder.work.iterdir() if path.name != "_RUN.json")
        assert is_work_file(name)


@pytest.mark.parametrize(
    "name", ["notes.txt", "plan.json.bak", "x/plan.json", ".hidden", "_RUN.json", "0-x.json", ""]
)
def test_others_are_not(name: str) -> None:
    assert not is_work_file(name)
