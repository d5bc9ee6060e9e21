"""The claim of a local output between processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from transforms.errors import OutputTaken
from transforms.storage.local import LocalStore

HOLD = """
import sys
from transforms.storage.local import LocalStore
with LocalStore(sys.argv[1]).claimed():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path / "cache" / "out"))


def make(folder: LocalStore, digest: str = "plan-one", text: bytes = b"one") -> None:
    """A finished set, as a run leaves it."""
    with folder.claimed():
        fill(folder, digest, text)
        folder.finish(digest)


def fill(folder: LocalStore, digest: str, text: bytes) -> None:
    folder.put("train/data", text)
    folder.put("manifest.json", json.dumps({"plan_digest": digest}).encode())
    folder.put("dataset_dict.json", b"{}")


def data(folder: LocalStore) -> bytes:
    return Path(folder.path, "train/data").read_bytes()


def test_a_run_in_another_process_excludes_this_one_until_it_ends(folder: LocalStore) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, folder.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(OutputTaken), folder.claimed():
            pytest.fail("two runs at one output")
        assert folder.staging.exists()
        other.communicate("")
    make(folder)
    assert data(folder) == b"one"


def test_a_killed_run_leaves_the_claim_free_and_its_staging_is_emptied(folder: LocalStore) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, folder.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        (folder.staging / "left-over").touch()
        other.kill()
    assert folder.staging.exists()
    with folder.claimed():
        assert not (folder.staging / "left-over").exists()
