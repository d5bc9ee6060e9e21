"""Runs a case of ``remedy_cases`` without and with its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_runs import has, lines, put
from conversions import Convert
from made_tokenizers import byte_bpe
from remedy_cases import Case

from transforms.conversations.remedies import REMEDIES


def check_case(case: Case, convert: Convert, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row is rejected with its code; with the flags that its remedy names it is kept."""
    monkeypatch.chdir(folder)
    for name, content in case.files.items():
        if isinstance(content, str):
            put(folder / name, content)
        else:
            lines(folder / name, *content)
    if "--tokenizer" in case.flags:
        put(folder / "tokenizer.json", byte_bpe())
    path = lines(folder / "rows.jsonl", *case.before, case.row)
    place = len(case.before) + 1

    def rejected(*flags: str) -> dict[int, str]:
        done = convert("--dataset", path, *flags)
        assert done.code == 0, done.err
        return {row: code for _, row, code in done.rejects}

    assert rejected(*case.flags)[place] == case.code
    text = " ".join(case.flags).replace(" ".join(case.without), "")
    assert place not in rejected(*text.split(), *case.cure)
    assert has(REMEDIES[case.code], case.named)
