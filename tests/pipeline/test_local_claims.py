"""The claim of a local output between processes."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from transforms.errors import OutputTaken
from transforms.storage.local import LocalStore
from transforms.storage.names import DATASET_DICT_CONTENT

SHARD = "train/data-00000-of-00001.arrow"

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
    counts = {"read": 0, "train": 0, "validation": 0, "duplicates": 0, "rejected": {"total": 0}}
    file = {"path": SHARD, "bytes": len(text), "sha256": sha256(text).hexdigest(), "rows": 0}
    found = {"format_version": 1, "plan_digest": digest, "counts": counts, "files": [file]}
    folder.put(SHARD, text)
    folder.put("manifest.json", json.dumps(found).encode())
    folder.put("dataset_dict.json", DATASET_DICT_CONTENT)


def data(folder: LocalStore) -> bytes:
    return Path(folder.path, SHARD).read_bytes()


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
        (folder.staging / "report.html").touch()
        other.kill()
    assert folder.staging.exists()
    with folder.claimed():
        assert not (folder.staging / "report.html").exists()
