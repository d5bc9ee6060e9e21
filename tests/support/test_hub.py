"""The stand-in for the hub answers the real clients the way the hub does."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import forks
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub import Hub, hub_environment

pytestmark = pytest.mark.doubles

ROWS = [{"id": i, "text": f"Zeile {i} äöü 漢字"} for i in range(2000)]
JSON_LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()

# The libraries wait for seconds between two tries. The child notes the waits instead, so the tests
# are fast and can check them. `outcome` gives the result of a call or the name of its exception.
PREAMBLE = """
import json, sys, time
waits = []
time.sleep = waits.append
def outcome(call):
    try:
        return call()
    except Exception as error:
        return type(error).__name__
"""

READ = """
import hashlib
from datasets.utils.file_utils import xopen
size, digest = int(sys.argv[2]), hashlib.sha256()
with xopen(sys.argv[1], "rb") as file:
    while block := file.read(size):
        digest.update(block)
print(json.dumps([digest.hexdigest(), waits]))
"""


def run_child(environment: dict[str, str], script: str, *arguments: str) -> Any:
    """Run the script in a process of its own and return what it printed as JSON."""
    # In an empty folder: a folder "user/name" there would be preferred to the hub.
    folder = Path(environment["HF_HOME"])
    child = forks.run(PREAMBLE + script, arguments, environment, folder, seconds=120)
    assert child.code == 0, child.err
    return json.loads(child.out)


def parquet(rows: list[dict[str, Any]]) -> bytes:
    """A Parquet file with several row groups."""
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=500)
    return sink.getvalue()


def data_requests(hub: Hub, path: str) -> list[str | None]:
    """The Range headers of all GET requests for a file."""
    return [r.range for r in hub.requests if r.method == "GET" and r.path.endswith(path)]


def test_builder_lists_the_files_of_the_revision_asked_for(hub: Hub, tmp_path: Path) -> None:
    """Nothing of a newer head gets into a builder of an older commit."""
    old = hub.add("user/name", {"README.md": b"# One\n", "data/train-0.jsonl": JSON_LINES})
    new = hub.add("user/name", {"README.md": b"# Two\n", "data/train-1.jsonl": JSON_LINES})
    script = """
import datasets
from huggingface_hub import HfApi
files = {}
for sha in sys.argv[1:]:
    builder = datasets.load_dataset_builder("user/name", revision=sha)
    files[sha] = [str(path) for path in builder.config.data_files["train"]]
print(json.dumps([HfApi().dataset_info("user/name").sha, files]))
"""
    head, files = run_child(hub_environment(hub, tmp_path), script, old, new)
    assert head == new != old
    assert files == {
        old: [f"hf://datasets/user/name@{old}/data/train-0.jsonl"],
        new: [f"hf://datasets/user/name@{new}/data/train-1.jsonl"],
    }


def test_commit_id_depends_on_the_files_only(hub: Hub) -> None:
    sha = hub.add("user/name", {"a": b"1", "b": b"2"})
    assert len(sha) == 40 and int(sha, 16)
    assert hub.add("user/other", {"b": b"2", "a": b"1"}, private=True) == sha
    assert hub.add("user/name", {"a": b"12", "b": b""}) != sha
    assert hub.add("user/name", {"a": b"2", "b": b"1"}) != sha
    assert hub.add("user/name", {"a": b"1", "b": b"2"}) == sha


@pytest.mark.parametrize("cuts", [0, 2])
@pytest.mark.parametrize("name", ["train.parquet", "train.jsonl"])
def test_streaming_reads_every_row(hub: Hub, tmp_path: Path, name: str, cuts: int) -> None:
    content = parquet(ROWS) if name.endswith("parquet") else JSON_LINES
    sha = hub.add("user/name", {f"data/{name}": content})
    hub.cut(name, after_bytes=1000, times=cuts)
    script = """
import datasets
rows = datasets.load_dataset("user/name", revision=sys.argv[1], split="train", streaming=True)
print(json.dumps(list(rows)))
"""
    assert run_child(hub_environment(hub, tmp_path), script, sha) == ROWS
    assert all(range_ is not None for range_ in data_requests(hub, name))


def test_access(hub: Hub, tmp_path: Path) -> None:
    """Info, gate and file of a private and a gated repository, for each kind of token."""
    hub.valid_tokens |= {"hf_known", "hf_granted", "hf_revoked"}
    hub.grants = {"hf_granted": {"user/gated"}, "hf_revoked": {"user/gated"}}
    hub.revoke("hf_revoked")
    for name in ("open", "private", "gated"):
        hub.add(f"user/{name}", {"a.txt": b"abc"}, private=name == "private", gated=name == "gated")
    script = """
from huggingface_hub import HfApi, HfFileSystem
api, fs = HfApi(), HfFileSystem()
print(json.dumps({name: [
    outcome(lambda: bool(api.dataset_info(f"user/{name}").sha)),
    outcome(lambda: api.auth_check(f"user/{name}", repo_type="dataset")),
    outcome(lambda: fs.read_text(f"datasets/user/{name}/a.txt")),
] for name in ("open", "private", "gated", "missing")}))
"""
    fine = [True, None, "abc"]
    unknown = ["RepositoryNotFoundError", "RepositoryNotFoundError", "FileNotFoundError"]
    closed = [True, "GatedRepoError", "GatedRepoError"]
    refused = ["HfHubHTTPError"] * 3
    assert {
        token: list(run_child(hub_environment(hub, tmp_path, token), script).values())
        for token in (None, "hf_known", "hf_granted", "hf_revoked", "hf_wrong")
    } == {
        None: [fine, unknown, closed, unknown],
        "hf_known": [fine, fine, closed, unknown],
        "hf_granted": [fine, fine, fine, unknown],
        "hf_revoked": [refused] * 4,
        "hf_wrong": [refused] * 4,
    }


def test_builder_without_access(hub: Hub, tmp_path: Path) -> None:
    hub.add("user/private", {"a.jsonl": JSON_LINES}, private=True)
    hub.add("user/gated", {"a.jsonl": JSON_LINES}, gated=True)
    hub.add("user/open", {"a.jsonl": JSON_LINES})
    script = """
import datasets
calls = [("private", None), ("gated", None), ("missing", None), ("open", "f" * 40)]
print(json.dumps([
    outcome(lambda: datasets.load_dataset_builder(f"user/{name}", revision=revision))
    for name, revision in calls
]))
"""
    environment = hub_environment(hub, tmp_path)
    assert run_child(environment, script) == ["DatasetNotFoundError"] * 4


@pytest.mark.parametrize("size", [-1, 10_000], ids=["whole", "blocks"])
@pytest.mark.parametrize("fault", ["none", "cut", "unavailable"])
def test_opened_file_is_read_completely(hub: Hub, tmp_path: Path, size: int, fault: str) -> None:
    """A whole file is asked for without a range, blocks with one; both survive short faults."""
    sha = hub.add("user/name", {"data/x.jsonl": JSON_LINES})
    if fault == "cut":
        hub.cut("data/x.jsonl", after_bytes=1000)
    elif fault == "unavailable":
        hub.fail("data/x.jsonl", 503, times=2)
    url = f"hf://datasets/user/name@{sha}/data/x.jsonl"
    digest, waits = run_child(hub_environment(hub, tmp_path), READ, url, str(size))
    assert digest == hashlib.sha256(JSON_LINES).hexdigest()
    asked = data_requests(hub, "x.jsonl")
    assert set(asked) == {None if size < 0 else f"bytes=0-{len(JSON_LINES) - 1}"}
    assert len(asked) == {"none": 1, "cut": 2, "unavailable": 3}[fault]
    # A cut of the stream of a whole file is made up for at once, everything else after a wait.
    assert waits == {"none": [], "cut": [] if size < 0 else [1], "unavailable": [1, 2]}[fault]


def test_lasting_faults_are_reported(hub: Hub, tmp_path: Path) -> None:
    sha = hub.add("user/name", {"cut": b"abc", "fail": b"abc"})
    hub.cut("cut", after_bytes=5, times=None)
    hub.fail("fail", 503, times=None)
    script = """
from datasets.utils.file_utils import xopen
def read(name):
    with xopen(f"hf://datasets/user/name@{sys.argv[1]}/{name}", "rb") as file:
        return len(file.read())
print(json.dumps([outcome(lambda: read("cut")), outcome(lambda: read("fail"))]))
"""
    environment = hub_environment(hub, tmp_path)
    assert run_child(environment, script, sha) == ["ConnectionError", "HfHubHTTPError"]
    hub.faults.clear()
    assert run_child(environment, script, sha) == [3, 3]


def test_listings(hub: Hub, tmp_path: Path) -> None:
    sha = hub.add("user/name", {"a b.txt": b"1", "d/e/f#1.txt": b"22", "d/g.txt": b"333"})
    hub.valid_tokens.add("hf_known")
    script = """
from huggingface_hub import HfApi, HfFileSystem
api, name, data = HfApi(), "user/name", {"repo_type": "dataset"}
tree = lambda *a, **k: [entry.path for entry in api.list_repo_tree(name, *a, **data, **k)]
print(json.dumps([
    tree(), tree("d"), tree(recursive=True), tree("d/e", revision=sys.argv[1]),
    outcome(lambda: tree("nothing")), outcome(lambda: tree(revision="refs/pr/1")),
    [(e.path, e.size) for e in api.get_paths_info(name, ["d/g.txt", "nothing"], **data)],
    [branch.target_commit for branch in api.list_repo_refs(name, **data).branches],
    api.whoami()["name"],
    [s.size for s in api.dataset_info(name, files_metadata=True).siblings],
    [s.size for s in api.dataset_info(name).siblings],
    HfFileSystem().read_text(f"datasets/{name}/d/e/f#1.txt"),
]))
"""
    assert run_child(hub_environment(hub, tmp_path, "hf_known"), script, sha) == [
        ["d", "a b.txt"],
        ["d/e", "d/g.txt"],
        ["d", "d/e", "a b.txt", "d/e/f#1.txt", "d/g.txt"],
        ["d/e/f#1.txt"],
        "RemoteEntryNotFoundError",
        "RevisionNotFoundError",
        [["d/g.txt", 3]],
        [sha],
        "tester",
        [1, 2, 3],
        [None, None, None],
        "22",
    ]


@pytest.mark.parametrize(
    ("asked", "status", "body", "content_range"),
    [
        (None, 200, b"0123456789", None),
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=7-99", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
def test_ranges(
    hub: Hub, asked: str | None, status: int, body: bytes, content_range: str | None
) -> None:
    sha = hub.add("name", {"a": b"0123456789"})
    client = http.client.HTTPConnection(urlsplit(hub.url).netloc)
    client.request(
        "GET", "/datasets/name/resolve/main/a", headers={"Range": asked} if asked else {}
    )
    reply = client.getresponse()
    assert (reply.status, reply.read()) == (status, body)
    assert reply.headers["Content-Range"] == content_range
    assert reply.headers["X-Repo-Commit"] == sha
    assert hub.requests == [("GET", "/datasets/name/resolve/main/a", asked, False)]
    client.close()


def test_stopped_hub_ends_connections_and_refuses_new_ones(hub: Hub) -> None:
    hub.add("name", {"a": b"0"})
    client = http.client.HTTPConnection(urlsplit(hub.url).netloc)
    client.request("GET", "/api/datasets/name")
    assert client.getresponse().read()
    hub.stop()
    with pytest.raises(http.client.RemoteDisconnected):
        client.request("GET", "/api/datasets/name")
        client.getresponse()
    with pytest.raises(ConnectionRefusedError):
        client.connect()
    client.close()


def test_environment_has_none_of_the_users_settings(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_DATASETS_CACHE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    environment = hub_environment(hub, tmp_path)
    assert environment["HF_ENDPOINT"] == hub.url
    assert {key for key in environment if key.startswith(("HF_", "TRANSFORMERS"))} == {
        "HF_ENDPOINT",
        "HF_HOME",
        "HF_HUB_DISABLE_TELEMETRY",
    }
    assert hub_environment(hub, tmp_path, "hf_x")["HF_TOKEN"] == "hf_x"
    assert hub_environment(hub, tmp_path)["HF_HOME"] != environment["HF_HOME"]
