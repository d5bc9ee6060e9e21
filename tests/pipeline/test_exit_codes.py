"""Whole commands that fail: one for each exit code, and what they leave at the output."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_runs import Ended, Prepare, has, lines, put
from hub import Hub, hub_environment
from source_files import (
    CSV_ROW,
    GOOD,
    NAMED,
    ODD_TEXTS,
    ROWS,
    media_source,
    odd_texts,
    parquet,
    table_of,
)


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]], ids=["plain", "overwrite"])
def test_an_output_that_is_not_ours_is_left_alone(
    prepare: Prepare, good: Path, tmp_path: Path, overwrite: list[str]
) -> None:
    notes = put(tmp_path / "thesis" / "notes.txt", "years of work")
    ended = prepare("--dataset", good, *overwrite, output=notes.parent)
    assert ended.code == 6
    assert has(ended.err, str(notes.parent), "no prepared data set", "another --output")
    assert [path.name for path in notes.parent.iterdir()] == ["notes.txt"]
    assert notes.read_text() == "years of work"


def test_an_output_with_another_plan_is_refused_and_unchanged(prepare: Prepare, good: Path) -> None:
    first = prepare("--dataset", good)
    assert first.code == 0
    before = (first.output / "manifest.json").read_bytes()
    ended = prepare("--dataset", good, "--seed", "7", output=first.output)
    assert ended.code == 6
    assert has(ended.err, str(ended.output), "--overwrite", "another --output")
    assert (ended.output / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("inner", ["", "file.jsonl", "file.jsonl/set"])
def test_an_output_that_is_a_file(prepare: Prepare, good: Path, tmp_path: Path, inner: str) -> None:
    taken = put(tmp_path / "file.jsonl", GOOD)
    ended = prepare("--dataset", good, output=tmp_path / (inner or "file.jsonl"))
    assert ended.code == 2
    assert has(ended.err, "file.jsonl is a file", "give a folder")
    assert taken.read_bytes() == GOOD


def test_no_such_data_set_on_the_hub(hub: Hub, tmp_path: Path) -> None:
    hub.valid_tokens.add("hf_known")
    hub.add("user/name", {"train.jsonl": GOOD})
    for name, words, says in (
        ("user/missing", [], ["user/missing", "not on the hub", "--dataset"]),
        ("user/name", ["--split", "dev"], ["--split dev", "found train"]),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", "--dataset", name, *words,
             "--output", str(tmp_path / "set"), "--skip-upload"],
            env=hub_environment(hub, tmp_path, "hf_known"), cwd=tmp_path,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert has(done.stderr, *says)
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("name", ["a b#c?d%20e*", "ä ö[1]", "-x", "a//b/", "x/../y", "$HOME 'q'"])
def test_odd_local_names_are_only_names(prepare: Prepare, tmp_path: Path, name: str) -> None:
    source = put(Path(f"{tmp_path}/in/{name}/it {name.strip('/')[-3:]}.jsonl"), GOOD)
    ended = prepare("--dataset", source, output=f"{tmp_path}/out/{name}")
    assert ended.code == 0, ended.err
    assert len(ended.rows()) == len(ROWS)


def test_parquet_with_damaged_pages(prepare: Prepare, tmp_path: Path) -> None:
    """Found by a worker, not by the plan: the footer and the first rows are fine."""
    texts = [os.urandom(60).hex() for _ in range(4000)]
    path = parquet(
        tmp_path / "a.parquet", table_of(answer=texts), row_group_size=1000, compression="zstd"
    )
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    put(path, bytes(data))
    ended = prepare("--dataset", path, *NAMED)
    assert ended.code == 3
    assert has(ended.err, "cannot read", "a.parquet", "damaged")


def test_media_is_never_read(prepare: Prepare, tmp_path: Path) -> None:
    secret = put(tmp_path / "secret.key", b"PRIVATE-KEY-0123456789")
    names = (str(secret), f"file://{secret}")
    ended = prepare("--dataset", media_source(tmp_path / "in", "Image", "folder", *names))
    assert ended.code == 0, ended.err
    assert [row["response"] for row in ended.rows()] == ["It is so.", "It is not."]
    everything = b"".join(p.read_bytes() for p in ended.output.rglob("*") if p.is_file())
    assert b"PRIVATE-KEY" not in everything
    assert b"secret.key" not in everything


def test_a_file_that_starts_with_null_does_not_crash(tmp_path: Path) -> None:
    """Arrow's parser would end the process with a signal."""
    path = put(tmp_path / "a.jsonl", b"null\n" * 3 + GOOD)
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "--dataset", str(path), "--skip-upload", "--json",
         "--output", str(tmp_path / "set"), "--max-reject-rate", "0.5"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["rejected"]["by_reason"] == {"not-an-object": 3}


MEASURED = """
import json, resource, sys
from pipeline.cli.main import main
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
def run(source, name):
    words = ["--dataset", source, "--output", f"{sys.argv[1]}/{name}", "--skip-upload", "--quiet"]
    return main(words)
small, *bombs = sys.argv[2:]
assert run(small, "small") == 0
before, codes = peak(), {}
for bomb in bombs:
    codes[bomb] = run(bomb, bomb.split(".")[-2])
print(json.dumps([codes, round(peak() - before)]))
"""
ENDS = {"jsonl": b'"}\n' + GOOD, "json": b'"}]', "csv": b'"\n'}


def test_a_bomb_is_a_reject_or_an_error_in_flat_memory(tmp_path: Path) -> None:
    cell = b'{"question": "What is it?", "answer": "'
    starts = {
        "jsonl": GOOD * 13 + cell,  # more rows than the plan looks at
        "json": b"[" + GOOD.replace(b"\n", b",") * 13 + cell,
        "csv": b"question,answer\n" + CSV_ROW.encode() * 520 + b'What is it?,"',
    }
    for kind, start in starts.items():
        path = tmp_path / f"bomb.{kind}.gz"
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(start)
            for _ in range(400):
                file.write(b"0" * 2**20)
            file.write(ENDS[kind])
        assert path.stat().st_size < 2**21 * 4
    put(tmp_path / "small.jsonl", GOOD)
    names = ["small.jsonl", *(f"bomb.{kind}.gz" for kind in starts)]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path), *names],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    codes, grown = json.loads(done.stdout)
    assert grown < 390, "less than the 400 MiB of the row"
    assert codes == {"bomb.jsonl.gz": 0, "bomb.json.gz": 3, "bomb.csv.gz": 3}
    bomb = Ended(0, done.stdout, done.stderr, tmp_path / "jsonl")
    assert bomb.rejects == [("bomb.jsonl.gz", 521, "row-too-large")]
    assert bomb.manifest["counts"]["read"] == 561
    assert has(done.stderr, "bomb.json.gz", "an element of more than")
    assert has(done.stderr, "bomb.csv.gz", "row longer than")
    assert not (tmp_path / "json").exists()
    assert not (tmp_path / "csv").exists()


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_odd_text_survives_byte_for_byte(prepare: Prepare, tmp_path: Path, kind: str) -> None:
    # In both fields, which would also show a text that is put together and parsed again.
    path = odd_texts(tmp_path, kind)
    ended = prepare("--dataset", path, *NAMED)
    assert ended.code == 0, ended.err
    assert ended.counts["rejected"]["by_reason"] == {}
    found = {row["instruction"]: row for row in ended.rows()}
    for text in ODD_TEXTS:
        assert found[text]["response"] == text[::-1]
        assert found[text]["text"].endswith(
            f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n{text[::-1]}<|im_end|>"
        )


def test_every_conversation_rejected(prepare: Prepare, tmp_path: Path) -> None:
    messages = [{"role": "wizard", "content": "a"}]
    path = lines(tmp_path / "a.jsonl", *[{"id": i, "messages": messages} for i in range(9)])
    ended = prepare("--dataset", path)
    assert ended.code == 8
    assert has(ended.err, "9 of 9 rows", "unknown-role 9", "--max-reject-rate")


def test_every_row_rejected(prepare: Prepare, tmp_path: Path) -> None:
    rows = [{"question": f"What {i}?", "answer": ""} for i in range(30)]
    words = ("--dataset", lines(tmp_path / "a.jsonl", *rows), *NAMED)
    ended = prepare(*words)
    assert ended.code == 8
    assert has(ended.err, "30 of 30 rows", "100.0%", "empty-response 30", "--max-reject-rate")

    ended = prepare(*words, "--max-reject-rate", "1")
    assert ended.code == 8
    assert has(ended.err, "no training rows", "of 30 rows read, 30 were rejected")
    assert not ended.output.exists()


def test_an_output_below_a_system_folder(prepare: Prepare, good: Path) -> None:
    ended = prepare("--dataset", good, output="/proc/no/such/set")
    assert ended.code in (4, 5)
    assert has(ended.err, "/proc/no/such/set")


def test_an_output_that_is_a_link_is_written_where_it_points(
    prepare: Prepare, good: Path, tmp_path: Path
) -> None:
    for name in ("present", "absent"):
        (tmp_path / f"to {name}").symlink_to(tmp_path / name)
    (tmp_path / "present").mkdir()
    for name in ("present", "absent"):
        ended = prepare("--dataset", good, output=tmp_path / f"to {name}")
        assert ended.code == 0, ended.err
        assert (tmp_path / f"to {name}").is_symlink()
        assert (tmp_path / name / "dataset_dict.json").is_file()


def test_json_errors_are_one_object_on_stdout(prepare: Prepare, tmp_path: Path) -> None:
    ended = prepare("--dataset", put(tmp_path / "a.jsonl", b"hello\n"), "--json", "--quiet")
    assert ended.code == 3
    error = json.loads(ended.out)["error"]
    assert error["exit_code"] == 3
    assert error["message"] in ended.err
