"""Chat sets as users bring them, by the whole command: what was lost or trained by mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_runs import Prepare, has, lines, put
from datasets import load_from_disk

ROWS = 30

Message = dict[str, Any]


def user(i: int) -> Message:
    return {"role": "user", "content": f"How many of number {i}?"}


def assistant(text: str, **more: object) -> Message:
    return {"role": "assistant", "content": text, **more}


def test_a_function_call_is_in_text_and_messages(prepare: Prepare, tmp_path: Path) -> None:
    rows = [
        {
            "messages": [
                user(i),
                assistant("", function_call={"name": "stock", "arguments": f'{{"item": {i}}}'}),
                {"role": "function", "name": "stock", "content": f'{{"count": {i}}}'},
                assistant(f"There are {i}."),
            ]
        }
        for i in range(ROWS)
    ]
    ended = prepare(
        "--dataset", lines(tmp_path / "a.jsonl", *rows), "--columns", "text,messages",
        "--template", "qwen3",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert ended.counts["rejected"]["total"] == 0
    for row in load_from_disk(str(ended.output))["train"]:
        number = row["text"].partition("number ")[2].partition("?")[0]
        assert f'{{"name": "stock", "arguments": {{"item": {number}}}}}' in row["text"]
        (call,) = row["messages"][1]["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == {"item": int(number)}


def test_glaive_s_transcripts_are_turns(prepare: Prepare, tmp_path: Path) -> None:
    rows = [
        {
            "system": "SYSTEM: You count.\n",
            "chat": f"USER: {user(i)['content']}\n\n\nASSISTANT: There are {i}. <|endoftext|>\n\n",
        }
        for i in range(ROWS)
    ]
    ended = prepare(
        "--dataset", lines(tmp_path / "a.jsonl", *rows), "--columns", "prompt-completion"
    )
    assert ended.code == 0, ended.err
    for row in load_from_disk(str(ended.output))["train"]:
        number = row["prompt"].partition("number ")[2].partition("?")[0]
        assert "<|im_start|>system\nYou count.<|im_end|>" in row["prompt"]
        assert row["completion"].startswith(f"There are {number}.")
        assert "<|endoftext|>" not in row["prompt"] + row["completion"]


@pytest.mark.parametrize("key", ["weight", "train"])
def test_marked_answers_are_refused_or_trained_by_a_flag(
    prepare: Prepare, tmp_path: Path, key: str
) -> None:
    off, on = (0, 1) if key == "weight" else (False, True)
    rows = [
        {
            "messages": [
                user(i), assistant(f"A wrong draft {i}.", **{key: off}),
                user(i + 100), assistant(f"There are {i}.", **{key: on}),
            ]
        }
        for i in range(ROWS)
    ]  # fmt: skip
    path = lines(tmp_path / "a.jsonl", *rows)
    refused = prepare("--dataset", path)
    assert refused.code == 2
    assert has(refused.err, f"the key '{key}'", "--ignore-training-marks")
    assert not refused.output.exists()
    ended = prepare("--dataset", path, "--ignore-training-marks")
    assert ended.code == 0, ended.err
    assert has(ended.out, "they are trained on all the same (--ignore-training-marks)")
    config = json.loads((ended.output / "manifest.json").read_text())["config"]
    assert config["ignore-training-marks"] is True


def test_other_shapes_are_sets_whose_manifest_prepares_them_again(
    prepare: Prepare, tmp_path: Path
) -> None:
    made = {
        "exchanges": [{"conversation": [{"human": f"What {i}?", "assistant": f"It is {i}."}]}
                      for i in range(ROWS)],
        "alternating": [{"data": [f"What {i}?", f"It is {i}."]} for i in range(ROWS)],
        "either": [{("messages" if i % 2 else "conversations"):
                    [{"role": "user", "content": f"What {i}?"}, assistant(f"It is {i}.")]}
                   for i in range(ROWS)],
        "transcripts": [{"text": f"### Human: What {i}?### Assistant: It is {i}."}
                        for i in range(ROWS)],
    }  # fmt: skip
    listed = [[{"from": "human", "value": f"What {i}?"}, {"from": "gpt", "value": f"It is {i}."}]
              for i in range(ROWS)]  # fmt: skip
    paths = [lines(tmp_path / f"{name}.jsonl", *rows) for name, rows in made.items()]
    paths.append(put(tmp_path / "lists.json", json.dumps(listed)))
    texts = []
    for path in paths:
        ended = prepare("--dataset", path)
        assert ended.code == 0, ended.err
        data = load_from_disk(str(ended.output))
        texts.append(sorted(row["text"] for split in data.values() for row in split))
        again = prepare("--config-file", ended.output / "manifest.json", "--dataset", path)
        assert again.code == 0, again.err
        digests = [
            json.loads((one.output / "manifest.json").read_text())["plan_digest"]
            for one in (ended, again)
        ]
        assert digests[0] == digests[1]
    assert all(found == texts[0] for found in texts)
    assert len(texts[0]) == ROWS
