"""A source that changes while it is read: the rows of one state as a whole, or exit 3.

Changes come at random moments of a job: before and after each check and batch of each pass.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from command_runs import Prepare, has
from source_changes import CHANGES, FORMATS, KEEP_SIZE_AND_TIME, Moments, rows

from transforms.formats import file_state
from transforms.steps import scan

FLAGS = {
    "two passes": (),
    "near": ("--dedup", "near"),
    "one pass": ("--dedup", "off", "--val-size", "0"),
    "prompts first": (),
}
ROWS = 1800  # of each of two files: two work units
IN_CI = 4
NIGHTLY = 30

SEEDS = [
    pytest.param(seed, marks=[pytest.mark.nightly] if seed >= IN_CI else [])
    for seed in range(NIGHTLY)
]


def make(folder: Path, ending: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    files = [folder / f"rows-{number}{ending}" for number in range(2)]
    for number, path in enumerate(files):
        path.write_bytes(FORMATS[ending](rows(number * 900, ROWS)))
    return files


def published(output: Path) -> list[tuple[str, list[str]]]:
    """The texts of each split in order."""
    found = []
    for split in ("train", "validation"):
        texts: list[str] = []
        for shard in sorted((output / split).glob("*.arrow")):
            with pa.ipc.open_stream(shard.read_bytes()) as stream:
                texts += stream.read_all()["text"].to_pylist()
        found.append((split, texts))
    return found


_undisturbed: dict[tuple[str, str], tuple[int, list[tuple[str, list[str]]]]] = {}
"""The moments of a job, and what it publishes, by format and flags."""


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> Moments:
    return Moments(monkeypatch)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("ending", FORMATS)
def test_rows_of_two_states_are_never_mixed(
    ending: str,
    seed: int,
    prepare: Prepare,
    moments: Moments,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = random.Random(f"{ending} {seed}")
    way = list(FLAGS)[seed % len(FLAGS)]
    kind = chance.choice(list(CHANGES))
    if way == "prompts first":
        monkeypatch.setattr(scan, "MANY_ROWS", 100)
    if kind in KEEP_SIZE_AND_TIME and seed % 2:
        # As on a share that shows no such time: then the bytes alone tell.
        state = file_state._state
        monkeypatch.setattr(file_state, "_state", lambda found: replace(state(found), changed=0))
    files = make(tmp_path / "source", ending)
    words = ("--dataset", str(tmp_path / "source"), "--shard-size", "1MiB", "--quiet")
    words = (*words, "--direct_running_mode=in_memory", *FLAGS[way])

    if (ending, way) not in _undisturbed:
        whole = prepare(*words)
        assert whole.code == 0, whole.err
        _undisturbed[ending, way] = moments.count, published(whole.output)
    count, before = _undisturbed[ending, way]
    assert count > 20

    changed = files[chance.randrange(2)]
    old = rows(files.index(changed) * 900, ROWS)
    at = chance.randrange(count)
    moments.start(at, lambda: CHANGES[kind](changed, old, FORMATS[ending]))
    ended = prepare(*words)
    moments.start(-1, lambda: None)
    what = f"{kind} at {at} of {count}, {way}"
    if ended.code:
        assert ended.code == 3, f"{what}: {ended.err}"
        assert has(ended.err, str(changed), "changed while it was read", "run again"), what
        assert not ended.output.exists()
        return
    after = published(ended.output)
    if after != before:
        clean = prepare(*words)
        assert (clean.code, after) == (0, published(clean.output)), what


# A command that stops itself when it has written a work file whose name has this end.
_HELD = """
import os, signal, sys
from transforms.storage.local import LocalStore
end, put_work = sys.argv.pop(1), LocalStore.put_work
def held(self, name, data):
    global end
    put_work(self, name, data)
    if end and name.endswith(end):
        end = ""
        os.kill(os.getpid(), signal.SIGSTOP)
LocalStore.put_work = held
from pipeline.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("ending", "kind", "moment"),
    [
        (".jsonl", "replaced", "validation-prompts.ipc"),
        (".arrow", "cut", "00000-splits.json"),
        pytest.param(".csv", "deleted", "00000-splits.json", marks=pytest.mark.nightly),
        pytest.param(
            *(".parquet", "edited at the same time", "-survey.json"), marks=pytest.mark.nightly
        ),
        pytest.param(".json", "appended", "00001-splits.json", marks=pytest.mark.nightly),
    ],
)
def test_a_whole_command_that_is_held(ending: str, kind: str, moment: str, tmp_path: Path) -> None:
    files = make(tmp_path / "source", ending)
    words = ["--dataset", "source", "--output", "set", "--skip-upload", "--shard-size", "1MiB"]
    with subprocess.Popen(
        [sys.executable, "-c", _HELD, moment, *words, "--quiet"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as held:
        _, status = os.waitpid(held.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        CHANGES[kind](files[1], rows(900, ROWS), FORMATS[ending])
        held.send_signal(signal.SIGCONT)
        _, err = held.communicate()
    assert held.returncode == 3, err
    assert err.startswith(f"error: {files[1]} changed while it was read (")
    assert err.count("\n") == 1
    assert not (tmp_path / "set").exists()


def edit_and_keep_times(path: Path) -> None:
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"It is 7.", b"It is 8."))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


class TestAnEditThatKeepsSizeAndTime:
    """The plan is the same, so a set that is there would seem to be the one."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return make(tmp_path / "source", ".jsonl")[0]

    def test_a_set_of_other_bytes_is_not_complete(self, prepare: Prepare, source: Path) -> None:
        first = prepare("--dataset", source)
        before = {p: p.read_bytes() for p in first.output.rglob("*") if p.is_file()}
        edit_and_keep_times(source)
        ended = prepare("--dataset", source, output=first.output)
        assert ended.code == 6
        assert has(ended.err, str(first.output), "other bytes", "--overwrite", "another --output")
        assert {p: p.read_bytes() for p in first.output.rglob("*") if p.is_file()} == before

    def test_overwrite_makes_the_set_of_the_new_rows(self, prepare: Prepare, source: Path) -> None:
        first = prepare("--dataset", source)
        before = published(first.output)
        edit_and_keep_times(source)
        again = prepare("--dataset", source, "--overwrite", output=first.output)
        assert again.code == 0
        assert "Already complete" not in again.out
        assert before != published(again.output)
        assert published(again.output) == published(prepare("--dataset", source).output)
        third = prepare("--dataset", source, "--overwrite", output=first.output)
        assert "✓ Already complete" in third.out

    def test_a_set_of_the_same_bytes_is_complete_whoever_touched_the_file(
        self, prepare: Prepare, source: Path
    ) -> None:
        first = prepare("--dataset", source)
        before = source.stat()
        source.chmod(0o600)
        copy = source.with_name("copy")
        copy.write_bytes(source.read_bytes())
        os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
        copy.replace(source)
        assert "✓ Already complete" in prepare("--dataset", source, output=first.output).out

    def test_hashing_a_large_source_is_told(
        self, prepare: Prepare, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = prepare("--dataset", source)
        assert "Comparing" not in prepare("--dataset", source, output=first.output).out
        monkeypatch.setattr("pipeline.launch.job._MANY_BYTES", 10)
        told = prepare("--dataset", source, output=first.output).out
        assert "  Comparing the source (0.0 GB) with that of an earlier run..." in told

    def test_a_set_of_an_older_version_tells_no_bytes_and_is_taken_as_it_is(
        self, prepare: Prepare, source: Path
    ) -> None:
        first = prepare("--dataset", source)
        path = first.output / "manifest.json"
        manifest = json.loads(path.read_bytes())
        del manifest["run"]["source_content"]
        path.write_text(json.dumps(manifest))
        assert "✓ Already complete" in prepare("--dataset", source, output=first.output).out


def test_a_benchmark_that_changes_while_it_is_read(
    prepare: Prepare, moments: Moments, tmp_path: Path, good: Path
) -> None:
    benchmark = make(tmp_path / "benchmark", ".jsonl")[0]
    words = ("--dataset", good, "--decontaminate", benchmark, "--quiet")
    moments.start(3, lambda: CHANGES["edited"](benchmark, rows(0, ROWS), FORMATS[".jsonl"]))
    ended = prepare(*words)
    assert ended.code == 3
    assert has(ended.err, str(benchmark), "changed while it was read")
