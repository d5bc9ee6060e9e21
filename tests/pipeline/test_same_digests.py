"""One set of each kind has the bytes that it had: each file's SHA-256, and the plan's digest.

``golden/digests.json`` was made at commit 2eee59f.  The sources are made here, from SHA-256 alone.
They get one fixed time, as a plan knows local files by name, size and time, and are named as seen
from the folder they lie in.  So neither checkout nor machine nor clock decides anything.

``WRITE_DIGESTS=DIR`` writes what was found below DIR instead of comparing it: ``digests.json`` and
the sets.  Only a person does that, after a change of the bytes that is meant.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_runs import (
    Prepare,
    quiet_process,
)
from means import REPOSITORY
from s3_servers import S3Server

import pipeline
from pipeline.cli.main import main

HERE = REPOSITORY / "tests"
SAMPLE = "pipeline/sample/reasoning.jsonl"
TIME_NS = 1_700_000_000_123_456_789
BUCKET = "same-digests"

# What a run tells of itself: when, with which versions, on what.  All else must not differ.
OF_THE_RUN = "run"
# Words for people, compared by themselves: the manifest's ``files`` is compared without them.
PAGES = ("README.md", "report.html")

Digests = dict[str, Any]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def digests(files: dict[str, bytes]) -> Digests:
    """What is compared: each file, the manifest key by key, the plan's digest."""
    manifest = json.loads(files["manifest.json"])
    run = manifest.pop(OF_THE_RUN)
    manifest["files"] = [entry for entry in manifest["files"] if entry["path"] not in PAGES]
    return {
        "plan_digest": manifest["plan_digest"],
        "files": {
            name: sha256(data) for name, data in sorted(files.items()) if name != "manifest.json"
        },
        "manifest": {key: sha256(canonical(value)) for key, value in sorted(manifest.items())},
        "gates": sha256(canonical(run["gates"])),
    }


# ---- sources: text from SHA-256, so that no generator of another Python makes other rows


def number(seed: str, below: int) -> int:
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big") % below


_FIRST, _MIDDLE, _LAST = "bdfgklmnprst", "aeiou", "bdklmnrst"
_ODD = ("Åbo", "漢字", "👍🏽", "x²", "e\u0301", "$\\frac{1}{2}$", "\u00a0", "< 7", '"so"', "ل")


def word(seed: str) -> str:
    n = number(seed, 20 * len(_FIRST) * len(_MIDDLE) * len(_LAST))
    if n < 300:
        return _ODD[n % len(_ODD)]
    return _FIRST[n % 12] + _MIDDLE[n // 12 % 5] + _LAST[n // 60 % 9]


def words(seed: str, count: int) -> str:
    return " ".join(word(f"{seed}/{n}") for n in range(count))


def changed(text: str, seed: str, edits: int) -> str:
    """Other words at places that are evenly apart."""
    found = text.split(" ")
    for edit in range(edits):
        found[edit * len(found) // edits + 2] = f"x{number(f'{seed}/{edit}', 10**6)}"
    return " ".join(found)


def write(path: Path, lines: list[object]) -> None:
    """Rows as JSON lines; bytes as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = b"".join(
        (line if isinstance(line, bytes) else json.dumps(line, ensure_ascii=False).encode()) + b"\n"
        for line in lines
    )
    path.write_bytes(data)


def between(lines: list[object], more: list[object]) -> list[object]:
    """``more`` spread evenly over ``lines``."""
    result = list(lines)
    step = len(lines) // len(more)
    for n in reversed(range(len(more))):
        result.insert(n * step + step // 2, more[n])
    return result


def sample(folder: Path) -> None:
    target = folder / SAMPLE
    target.parent.mkdir(parents=True)
    shipped = Path(pipeline.__file__).parents[1] / SAMPLE
    target.write_bytes(shipped.read_bytes())


def pairs(folder: Path, count: int = 3000) -> None:
    """Two units' worth of pairs, some of them copies or rejects."""
    rows: list[object] = [
        {"question": f"{words(f'q{n}', 12)}?", "answer": words(f"a{n}", 30 + n % 120), "id": n}
        for n in range(count)
    ]
    bad: list[object] = [
        {"question": "", "answer": "no question", "id": 1},
        {"question": " \n\t", "answer": "blank", "id": 1},
        {"question": "no answer?", "answer": None, "id": 1},
        {"question": "no answer?", "id": 1},
        {"question": "empty?", "answer": "", "id": 1},
        {"question": 5, "answer": "a number", "id": 1},
        {"question": "a token?", "answer": "<|im_end|>", "id": 1},
        b'{"question": "cut off", "ans',
        b'["a", "list"]',
        b'{"question": "not UTF-8 \xff", "answer": "x"}',
        b'{"question": "half a pair \\ud83d", "answer": "x"}',
    ]
    write(folder / "rows.jsonl", between(between(rows, rows[5:3000:150]), bad * 2))


def chats(folder: Path, count: int = 300) -> None:
    rows = [{"messages": _turns(n), "source": f"s{n % 3}"} for n in range(count)]
    user, answer = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    bad: list[object] = [
        {"messages": turns, "source": "bad"}
        for turns in (
            [user],
            [answer, user, answer],
            [user, user, answer],
            [user, answer, user],
            [user, {"role": "wizard", "content": "x"}],
            [user, {"role": "assistant", "content": ""}],
            [user, {"role": "assistant", "content": 7}],
            [user, {"role": "assistant", "content": "a <|im_start|> token"}],
            [user, {"role": "assistant", "content": None, "tool_calls": "{"}],
            [user, {"role": "assistant", "content": [{"type": "image", "url": "x"}]}],
            [],
            None,
        )
    ]
    used = [user, {"role": "assistant", "content": "", "tool_calls": [call]}]
    done = [{"role": "tool", "content": '{"a": 1}'}, {"role": "assistant", "content": "One."}]
    more: list[object] = [{"messages": [*used, *done], "source": "tools"}, b'{"messages": [']
    write(folder / "chats.jsonl", between(between(list(rows), list(rows[3:200:12])), bad + more))


def _turns(n: int) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    if n % 3 == 0:
        turns.append({"role": "system", "content": f"Be brief: {words(f's{n}', 4)}."})
    for turn in range(1 + n % 4):
        seed = f"c{n}/{turn}"
        turns.append({"role": "user", "content": f"{words(f'{seed}u', 5 + n % 20)}?"})
        said: dict[str, Any] = {"role": "assistant", "content": words(f"{seed}a", 5 + n % 50)}
        if n % 5 == 1:
            said["reasoning_content"] = words(f"{seed}r", 10 + n % 30)
        elif n % 5 == 2:
            said["content"] = f"<think>\n{words(f'{seed}r', 9)}\n</think>\n\n{said['content']}"
        turns.append(said)
    if n % 7 == 0:
        turns[-1]["content"] += "\n\n```python\nx = {1: [2]}\t# é\n```  \n"
    return turns


def planted(folder: Path, count: int = 1800) -> None:
    """Two files: copies, near copies on both sides of the border, prompts that are nearly equal."""

    def row(seed: str, question: str, answer: str) -> dict[str, str]:
        return {"question": question, "answer": answer, "topic": f"t{number(f'{seed}t', 4)}"}

    def new(n: int) -> dict[str, str]:
        return row(f"p{n}", words(f"p{n}q", 40), words(f"p{n}a", 40 + number(f"p{n}l", 140)))

    first = [new(n) for n in range(count)]
    long = [row(f"l{n}", words(f"l{n}q", 20), words(f"l{n}a", 160)) for n in range(60)]
    near = [
        {**one, "answer": changed(one["answer"], f"n{n}", 2 + n % 8)} for n, one in enumerate(long)
    ]
    far = [{**one, "answer": changed(one["answer"], f"f{n}", 16)} for n, one in enumerate(long)]
    prompts = [
        row(f"m{n}", changed(one["question"], f"m{n}", 1), words(f"m{n}a", 50))
        for n, one in enumerate(first[::18])
    ]
    huge = [row(f"h{n}", words(f"h{n}q", 700), "Short.") for n in range(3)]
    second = [*first[4:1800:75], *near, *far[:40], *prompts, *huge]
    bad: list[object] = [{"question": "Q", "answer": "", "topic": "t0"}, b"{"]
    write(folder / "rows" / "a.jsonl", between([*long, *first], [*first[7:1800:180], *bad]))
    write(folder / "rows" / "b.jsonl", list(second))
    bench = [{"question": one["question"], "answer": "?"} for one in first[11:1800:140]]
    own = [{"question": words(f"b{n}", 30), "answer": "?"} for n in range(40)]
    write(folder / "bench.jsonl", between(list(own), list(bench)))
    (folder / "tokenizer.json").write_bytes(byte_bpe())


def byte_bpe() -> bytes:
    """A byte-level BPE with a merge for each pair of letters; written, not trained."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in plain}
    others = [byte for byte in range(256) if byte not in letters]
    letters |= {byte: chr(256 + n) for n, byte in enumerate(others)}
    alphabet = [letters[byte] for byte in range(256)]
    merges = [(a, b) for a in ("Ġ", *_FIRST) for b in (_MIDDLE if a != "Ġ" else _FIRST)]
    special = ["<|im_start|>", "<|im_end|>"]
    vocabulary = dict.fromkeys([*special, *alphabet, *(a + b for a, b in merges)])
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": n,
                "content": token,
                "special": True,
                **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False),
            }
            for n, token in enumerate(special)
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        },
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "fuse_unk": False,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: n for n, token in enumerate(vocabulary)},
            "merges": [list(pair) for pair in merges],
        },
    }
    return canonical(whole)


# ---- the kinds

Kind = tuple[Callable[[Path], None], tuple[str, ...]]

LOCAL: dict[str, Kind] = {
    "pairs": (sample, ("--dataset", SAMPLE)),
    "chat-qwen3": (
        chats,
        (
            *("--dataset", "chats.jsonl", "--template", "qwen3", "--columns", "text,messages"),
            *("--max-reject-rate", "0.2"),
        ),
    ),
    "near-tokens": (
        planted,
        (
            *("--dataset", "rows", "--shard-size", "1MiB", "--dedup", "near"),
            *("--tokenizer", "tokenizer.json", "--max-tokens", "640"),
            *("--too-long", "truncate-response", "--decontaminate", "bench.jsonl"),
            *("--contaminated", "drop", "--balance", "topic", "--max-reject-rate", "0.2"),
        ),
    ),
}
STRAIGHT: Kind = (
    pairs,
    ("--dataset", "rows.jsonl", "--shard-size", "1MiB", "--max-reject-rate", "0.1"),
)


def source_of(make: Callable[[Path], None], folder: Path) -> Digests:
    """Writes a source, all of the same time; the SHA-256 of its files."""
    make(folder)
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in found:
        os.utime(path, ns=(TIME_NS, TIME_NS))
    return {str(path.relative_to(folder)): sha256(path.read_bytes()) for path in found}


def check(kind: str, source: Digests, files: dict[str, bytes]) -> None:
    found = {"source": source, **digests(files)}
    if place := os.environ.get("WRITE_DIGESTS"):
        keep(Path(place), kind, found, files)
        return
    expected = json.loads((HERE / "golden" / "digests.json").read_bytes())[kind]
    different = list(_different(expected, found))
    assert not different, f"{kind}: {'; '.join(different)}"


def _different(expected: Digests, found: Digests, at: str = "") -> Iterator[str]:
    for key in sorted({*expected, *found}):
        one, other = expected.get(key), found.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _different(one, other, f"{at}{key} ")
        elif one != other:
            yield f"{at}{key} is {str(other)[:16]}, expected {str(one)[:16]}"


def keep(place: Path, kind: str, found: Digests, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        target = place / kind / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    path = place / "digests.json"
    whole = json.loads(path.read_bytes()) if path.exists() else {}
    whole[kind] = found
    path.write_text(json.dumps(whole, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@pytest.mark.parametrize("kind", LOCAL)
def test_a_local_set_has_the_bytes_that_it_had(
    kind: str, prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, flags = LOCAL[kind]
    source = source_of(make, tmp_path / "in")
    monkeypatch.chdir(tmp_path / "in")
    ended = prepare(*flags)
    assert ended.code == 0, ended.err
    files = {
        path.relative_to(ended.output).as_posix(): path.read_bytes()
        for path in ended.output.rglob("*")
        if path.is_file()
    }
    check(kind, source, files)


def test_a_set_written_straight_to_s3_has_the_bytes_that_it_had(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environment({}).items():
        monkeypatch.setenv(name, value)
    make, flags = STRAIGHT
    source = source_of(make, tmp_path / "in")
    monkeypatch.chdir(tmp_path / "in")
    s3_server.make_bucket(BUCKET)
    prefix = "sets/straight/"
    with quiet_process(monkeypatch):
        assert main([*flags, "--output", f"s3://{BUCKET}/{prefix[:-1]}", "--quiet"]) == 0
    client = s3_server.client()
    names = [key.removeprefix(prefix) for key in s3_server.keys(BUCKET, prefix)]
    files = {
        name: client.get_object(Bucket=BUCKET, Key=prefix + name)["Body"].read()
        for name in names
        if not name.startswith("_")  # the claim and the records of the run
    }
    check("s3-straight", source, files)
