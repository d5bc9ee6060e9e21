"""A set is prepared again from its own manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_runs import lines, put
from made_tokenizers import byte_bpe

from pipeline.cli.main import main

ROWS = [
    {
        "conversations": [
            {"from": "human", "value": f"What is {n}?"},
            {"from": "sage", "value": f"It is {n}."},
        ],
        "q": f"Q {n}?",
        "a": f"A {n}.",
    }
    for n in range(30)
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


WORDS = [
    ("--role", "sage=assistant", "--template", "qwen3", "--think", "strip", "--val-size", "0.25"),
    (
        *("--fields", "instruction=q,response=a", "--dedup", "near", "--contaminated", "drop"),
        *("--decontaminate", "one.jsonl", "--decontaminate", "two.jsonl", "--balance", "q"),
        *("--balance", "a", "--tokenizer", "tokenizer.json", "--max-tokens", "999"),
        *("--too-long", "truncate-response", "--max-reject-rate", "1", "--max-duplicates", "1"),
        *("--max-leakage", "0.5", "--max-truncated", "0.25", "--min-validation", "1"),
    ),
]


@pytest.fixture(autouse=True)
def _beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a request may name beside its rows lies where the command runs."""
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "tokenizer.json", byte_bpe())
    for name in ("one", "two"):
        lines(tmp_path / f"{name}.jsonl", {"prompt": f"this is the prompt {name} " * 3})


@pytest.mark.parametrize("words", WORDS, ids=["turns", "quality"])
def test_a_set_is_prepared_again_from_its_manifest(
    source: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    words = (*words, "--skip-upload", "--quiet", "--output", str(one), "--dataset", str(source))
    assert main([*words]) == 0
    again = ["--skip-upload", "--quiet", "--config-file", str(one / "manifest.json")]
    assert main([*again, "--output", str(other)]) == 2  # its files are named by the user alone
    for flag, value in zip(words, words[1:], strict=False):
        if flag in ("--dataset", "--decontaminate", "--tokenizer"):
            again += [flag, value]
    assert main([*again, "--output", str(other)]) == 0
    first, second = (json.loads((at / "manifest.json").read_text()) for at in (one, other))
    for verdict in (*first["run"]["gates"], *second["run"]["gates"]):
        assert verdict["result"] != "failed"
    limits = [{v["gate"]: v["limit"] for v in made.pop("run")["gates"]} for made in (first, second)]
    assert limits[0] == limits[1]
    assert first == second
