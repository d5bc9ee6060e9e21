"""What TRL's own data code makes of each output shape: the tokens, the EOS, and what is masked."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import trl_environment
from means import REPOSITORY
from oracles import NAMES, published

from pipeline import Request, prepare
from transforms.dataset.trl_templates import BUILT_IN, KNOWN

Messages = list[dict[str, str]]
Row = dict[str, Any]
Found = dict[str, Any]
RowsOf = Callable[[Found, str], list[tuple[Row, Row]]]

EOS = "<|im_end|>"
SPLITS = ("train", "validation")
SHAPES = ("text", "prompt-completion", "messages")
CHECK = REPOSITORY / "tests" / "support" / "trl_check.py"


def turns(*contents: str, system: str = "") -> Messages:
    """A conversation of user and assistant in turn."""
    roles = ("user", "assistant")
    said = [{"role": roles[n % 2], "content": content} for n, content in enumerate(contents)]
    return [{"role": "system", "content": system}, *said] if system else said


CONVERSATIONS = [
    turns("hi", "hello"),
    turns("What is 2 + 2?", "It is 4.", system="You are brief."),
    turns("Name a tree.", "An oak.", "Another?", "A birch.", "One more?", "An elm."),
    turns("漢字は？ Åbo e\u0301 👩\u200d👧", "はい。 x² ≤ 7 \u202eabc", "ok\u00a0?", "😀"),
    turns("  \n surrounded \t", "\n\n  by white space  \n", system=" as is\n"),
    turns("\tagain\n", " first \n", "\n\n then ", "   last\r\n\n"),
    turns("im_end <im_end> |im_end|", "assistant\nuser\nassistant\n"),
    turns("Why?", "Because of this.\n\nAnd of that."),
    turns("A", "B", "C", "D", system="You count."),
]


def text_of(messages: Messages) -> str:
    return "\n".join(f"<|im_start|>{m['role']}\n{m['content']}{EOS}" for m in messages)


def make_set(folder: Path, shape: str, conversations: list[Messages]) -> None:
    """Prepares the conversations as a set of one shape."""
    source = folder.with_suffix(".jsonl")
    lines = (json.dumps({"messages": messages}) + "\n" for messages in conversations)
    source.write_text("".join(lines))
    # TRL must know the template, or it cannot mask the prompts of messages.
    request = Request(
        str(source),
        str(folder),
        columns=shape,
        template="qwen3-2507",
        val_size=0.3,
        skip_upload=True,
    )
    counts = prepare(request)["counts"]
    assert counts["rejected"]["total"] == 0
    assert counts["train"] and counts["validation"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A set of each shape, and two that the command line never writes."""
    base = tmp_path_factory.mktemp("sets")
    found = {shape: base / shape for shape in (*SHAPES, "text-and-newline", "both")}
    for shape in SHAPES:
        make_set(found[shape], shape, CONVERSATIONS)
    texts, pairs, messages = (
        datasets.load_from_disk(str(found[shape]))
        for shape in ("text", "prompt-completion", "messages")
    )
    longer = texts.map(lambda row: {"text": row["text"] + "\n"})
    longer.save_to_disk(str(found["text-and-newline"]))
    datasets.DatasetDict(
        {
            name: datasets.concatenate_datasets([messages[name], pairs[name]], axis=1)
            for name in SPLITS
        }
    ).save_to_disk(str(found["both"]))
    return found


# ---- running TRL


def first_key(seed: int) -> str:
    """The column that TRL would look at with this PYTHONHASHSEED: it takes one out of a set."""
    code = "print({key for key in ['messages', 'prompt', 'completion'] if key}.pop())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def runs(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    """What TRL makes of every set, with two hash seeds: named by the kind of column it looks at."""
    python = trl_environment.trl_python()
    base = tmp_path_factory.mktemp("trl")
    sets = [f"{name}={folder}" for name, folder in folders.items()]
    sets.append(f"messages-unset={folders['messages']}")

    seeds: dict[str, int] = {}
    for seed in range(21):
        kind = "messages" if first_key(seed) == "messages" else "a string"
        seeds.setdefault(kind, seed)
    assert set(seeds) == {"messages", "a string"}

    running = {}
    for kind, seed in seeds.items():
        environment = {
            **os.environ,
            "PYTHONHASHSEED": str(seed),
            "HF_HOME": str(base / f"home-{seed}"),
            "HF_HUB_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
        environment.pop("LD_BIND_NOW", None)
        running[kind] = subprocess.Popen(
            # -P: the modules beside the script are none of TRL's
            [python, "-P", str(CHECK), *sets],
            env=environment,
            cwd=base,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    found = {}
    try:
        for kind, process in running.items():
            out, err = process.communicate(timeout=300)
            assert process.returncode == 0, err
            found[kind] = json.loads(out.splitlines()[-1])
    finally:
        for process in running.values():
            process.kill()
    return found


@pytest.fixture(params=["messages", "a string"])
def found(runs: dict[str, Found], request: pytest.FixtureRequest) -> Found:
    return runs[request.param]


@pytest.fixture
def rows_of(folders: dict[str, Path]) -> RowsOf:
    """Each row of a set, and what TRL made of it."""

    def pairs(found: Found, name: str) -> list[tuple[Row, Row]]:
        stored = datasets.load_from_disk(str(folders[name.removesuffix("-unset")]))
        assert sum(map(len, stored.values())) == len(CONVERSATIONS)
        assert all(map(len, stored.values()))
        return [
            pair
            for split in SPLITS
            for pair in zip(stored[split].to_list(), found[name][split], strict=True)
        ]

    return pairs


def trained_of(response: str) -> str:
    """What the loss is taken of: the response, and the newline before it if that is one token with
    newlines that the response starts with (it belongs to the prompt; TRL warns of it).
    """
    return "\n" * bool(re.match(r"\s*[\r\n]", response)) + response


# ---- the shapes


def test_trl_masks_the_templates_of_which_the_card_says_so(found: Found) -> None:
    assert KNOWN.keys() <= set(found["patched"])
    digests = {name: published(name).sha256 for name in NAMES}
    assert {name for name in NAMES if digests[name] in KNOWN} == BUILT_IN


def test_it_is_the_real_trl(found: Found) -> None:
    assert f"trl=={found['trl']}" in trl_environment.pins("trl")["alone"]
    assert found["torch"].startswith("2.15.0")


def test_text_is_taken_as_it_is_and_no_second_eos_is_added(found: Found, rows_of: RowsOf) -> None:
    for stored, made in rows_of(found, "text"):
        assert made["decoded"] == stored["text"]
        assert made["eos"] == stored["text"].count(EOS)
        assert made["eos_at_end"] == 1


def test_of_text_everything_is_trained(found: Found, rows_of: RowsOf) -> None:
    for stored, made in rows_of(found, "text"):
        assert made["unmasked"] == [stored["text"]]


def test_a_newline_at_the_end_of_text_would_get_a_second_eos(found: Found, rows_of: RowsOf) -> None:
    for stored, made in rows_of(found, "text-and-newline"):
        assert made["decoded"] == stored["text"] + EOS
        assert made["eos"] == stored["text"].count(EOS) + 1


def test_of_prompt_and_completion_the_completion_alone_is_trained(
    found: Found, rows_of: RowsOf
) -> None:
    for stored, made in rows_of(found, "prompt-completion"):
        assert made["decoded"] == stored["prompt"] + stored["completion"]
        assert made["eos"] == stored["prompt"].count(EOS) + 1
        assert made["eos_at_end"] == 1
        assert made["unmasked"] == [trained_of(stored["completion"])]


def test_of_messages_the_assistants_turns_alone_are_trained(found: Found, rows_of: RowsOf) -> None:
    assert found["messages"]["conversational"]
    for stored, made in rows_of(found, "messages"):
        messages = stored["messages"]
        # Qwen3's template ends every turn with a newline, which TRL counts to the turn.
        assert made["decoded"] == text_of(messages) + "\n"
        assert made["eos"] == len(messages)
        assert made["unmasked"] == [
            trained_of(message["content"]) + EOS + "\n"
            for message in messages
            if message["role"] == "assistant"
        ]


def test_of_messages_everything_is_trained_unless_asked_otherwise(
    found: Found, rows_of: RowsOf
) -> None:
    for stored, made in rows_of(found, "messages-unset"):
        assert made["unmasked"] == [text_of(stored["messages"]) + "\n"]


def test_padding_is_never_trained(found: Found) -> None:
    rows = [
        row
        for name in (*SHAPES, "text-and-newline", "messages-unset")
        for split in SPLITS
        for row in found[name][split]
    ]
    assert len(rows) == 5 * len(CONVERSATIONS)
    assert all(row["padding_masked"] for row in rows)


def test_no_good_shape_depends_on_the_hash_seed(runs: dict[str, Found]) -> None:
    one, other = ({**found, "both": None} for found in runs.values())
    assert one == other


def test_messages_beside_prompt_are_seen_or_not_by_chance(
    runs: dict[str, Found], rows_of: RowsOf
) -> None:
    """Why no set has both: one seed refuses it; another trains on it, but not on the assistants'
    earlier turns, which were asked for with assistant_only_loss.
    """
    refused = runs["a string"]["both"]
    assert not refused["conversational"]
    assert "the dataset is not conversational" in refused["refused"]
    assert runs["messages"]["both"]["conversational"]
    for stored, made in rows_of(runs["messages"], "both"):
        assert made["unmasked"] == [trained_of(stored["completion"])]
