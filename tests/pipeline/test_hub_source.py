"""Hub data sets go through the command line as local files do: same bytes, or one clear error."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hub import Hub, Request, hub_environment
from hub_runs import (
    NAME,
    Run,
    arrow_stream,
    card,
    configuration,
    delimited,
    json_lines,
    parquet,
    refused,
    run,
)

from transforms.errors import StorageError
from transforms.formats.opening import open_binary

ROWS = [
    {"question": f"Wie viel ist {i} plus {i}? 漢字", "answer": f"{2 * i}, denn …\n" + "so " * i}
    for i in range(400)
]
OTHER_ROWS = [{"question": f"other {i}", "answer": f"none of these {i}"} for i in range(50)]


def asked(hub: Hub, ending: str) -> list[Request]:
    """The requests for files of this ending."""
    return [request for request in hub.requests if request.path.endswith(ending)]


def fetched(hub: Hub, ending: str) -> int:
    """How many bytes of files of this ending were asked for, all by ranges."""
    ranges = [str(r.range).removeprefix("bytes=").split("-") for r in asked(hub, ending)]
    return sum(int(last) - int(first) + 1 for first, last in ranges)


class Watched(list[Request]):
    """Requests of a hub that does something at the first one with this ending."""

    def __init__(self, ending: str, act: Callable[[], object]) -> None:
        super().__init__()
        self.ending, self.acts = ending, [act]

    def append(self, request: Request) -> None:
        super().append(request)
        while self.acts and request.path.endswith(self.ending):
            self.acts.pop()()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The set that `ROWS` become when they are read from a disk."""
    folder = tmp_path_factory.mktemp("reference")
    (folder / "train.parquet").write_bytes(parquet(ROWS))
    result = run(dict(os.environ), folder, "--dataset", str(folder / "train.parquet"))
    assert result.manifest["counts"]["read"] == len(ROWS)
    return result


# ---- what is read


@dataclass(frozen=True)
class Media:
    """A run over a hub repository with media, and over the same files on a disk."""

    hub: Hub
    sha: str
    size: int
    result: Run
    local: Run
    secret: bytes
    lured: Hub


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Media]:
    """Two train files of several row groups with images that point to places they must not reach,
    split into several units, beside a second split and a second configuration.
    """
    folder = tmp_path_factory.mktemp("media")
    secret = b"-----the bytes of a file that nobody asked for-----" * 20
    (folder / "secret.png").write_bytes(secret)
    hub, lured = Hub(), Hub()

    def image(i: int) -> dict[str, Any]:
        if i % 3:
            return {"bytes": bytes(10_000) + str(i).encode(), "path": None}
        return {
            "bytes": None,
            "path": lured.url + "/x.png" if i % 2 else str(folder / "secret.png"),
        }

    rows = [
        {
            "id": i,
            "question": f"Frage {i}?",
            "image": image(i),
            "answer": f"Antwort {i} " * 100,
            "unused": f"unused words {i} " * 100,
        }
        for i in range(2000)
    ]
    kinds = {"id": "Value", "question": "Value", "image": "Image", "answer": "Value"}
    files = {f"data/train-{i}.parquet": parquet(rows[i::2], kinds) for i in range(2)}
    extra = {"data/test-0.parquet": parquet(rows[:9]), "extra/train.parquet": parquet(rows[:9])}
    main = configuration("main", train="data/train-*", test="data/test-*") | {"default": True}
    readme = card(
        configs=[main, configuration("extra", train="extra/*")],
        dataset_info={"features": [{"name": "image", "dtype": "image"}]},
    )
    sha = hub.add(NAME, {**files, **extra, "README.md": readme})
    for path, content in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)
    flags = ("--shard-size", "1MiB", "--direct_num_workers", "2")
    result = run(hub_environment(hub, folder), folder, "--dataset", NAME, *flags)
    local = run(dict(os.environ), folder, "--dataset", str(folder / "data" / "*.parquet"), *flags)
    yield Media(hub, sha, sum(map(len, files.values())), result, local, secret, lured)
    hub.stop()
    lured.stop()


def test_the_same_files_give_the_same_bytes_from_the_hub_and_from_a_disk(media: Media) -> None:
    assert len(media.result.shards) > 4  # so several units were read, by two threads
    assert media.result.shards == media.local.shards
    assert media.result.manifest["counts"] == media.local.manifest["counts"]
    assert media.result.manifest["counts"]["read"] == 2000


def test_the_commit_is_pinned_and_recorded(media: Media) -> None:
    assert media.result.manifest["revision"] == media.sha
    assert media.result.manifest["plan"]["source"]["revision"] == media.sha
    floating = [r.path for r in media.hub.requests if media.sha not in r.path]
    assert floating == [f"/api/datasets/{NAME}/auth-check", f"/api/datasets/{NAME}"]


def test_workers_ask_for_ranges_of_the_chosen_files_only(media: Media) -> None:
    data = [r for r in media.hub.requests if r.path.endswith(".parquet")]
    assert {r.path for r in data} == {
        f"/datasets/{NAME}/resolve/{media.sha}/data/train-{i}.parquet" for i in range(2)
    }
    assert {r.method for r in data} == {"GET"} and all(r.range for r in data)
    first = media.hub.requests.index(data[0])
    assert media.hub.requests[first:] == data  # the planning was over


def test_columns_that_are_not_used_are_not_fetched(media: Media) -> None:
    """An eighth of the bytes are those of the used columns; the plan looks at all text columns."""
    used = 2000 * len("Frage 1000?" + "Antwort 1000 " * 100)
    # Twice: a first pass looks for duplicates.
    assert 2 * used < fetched(media.hub, ".parquet") < 2 * media.size / 3


def test_images_are_never_followed(media: Media) -> None:
    assert media.lured.requests == []
    files = [path for path in media.result.output.rglob("*") if path.is_file()]
    assert len(files) > 6
    assert not any(media.secret[:50] in path.read_bytes() for path in files)


def test_the_console_says_what_is_left_out(media: Media) -> None:
    assert "configuration 'main'" in media.result.out
    assert "Left out: split test" in media.result.out
    assert media.sha in media.result.out


def test_an_image_is_no_field(hub: Hub, tmp_path: Path) -> None:
    rows = [{"question": "a b", "image": {"bytes": None, "path": "/etc/hostname"}}] * 8
    hub.add(NAME, {"train.parquet": parquet(rows, {"question": "Value", "image": "Image"})})
    flags = ("--dataset", NAME, "--fields", "instruction=question,response=image")
    refused(run(hub_environment(hub, tmp_path), tmp_path, *flags), 2, "image")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("train.jsonl", json_lines(ROWS)),
        ("train.json", json.dumps(ROWS).encode()),
        ("train.csv", delimited(ROWS, ",")),
        ("train.tsv", delimited(ROWS, "\t")),
        ("train.jsonl.gz", gzip.compress(json_lines(ROWS))),
        ("train.tsv.gz", gzip.compress(delimited(ROWS, "\t"))),
        ("train.arrow", arrow_stream(ROWS)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_format_gives_the_bytes_of_a_local_run(
    hub: Hub, tmp_path: Path, reference: Run, file: str, content: bytes
) -> None:
    hub.add(NAME, {file: content})
    result = run(hub_environment(hub, tmp_path), tmp_path, "--dataset", NAME)
    assert result.shards == reference.shards
    assert all(request.range for request in asked(hub, file))


def test_configuration_and_split_are_chosen(hub: Hub, tmp_path: Path) -> None:
    files = {f"{c}/{s}.jsonl": json_lines(ROWS[:5]) for c in "ab" for s in ("one", "two", "train")}
    configs = [
        configuration("a", one="a/one.jsonl", train="a/train.jsonl"),
        configuration("b", two="b/two.jsonl", one="b/one.jsonl"),
    ]
    hub.add(NAME, {**files, "README.md": card(configs=configs)})
    environment = hub_environment(hub, tmp_path)

    def chosen(*flags: str) -> tuple[list[str], str]:
        result = run(environment, tmp_path, "--dataset", NAME, *flags, verb="plan")
        assert result.code == 0, result.err
        left_out = [line for line in result.out.splitlines() if "Left out" in line]
        return [f for f in files if f" {f} " in result.out], "".join(left_out).strip()

    hint = "(choose with --split)"
    assert chosen("--config", "a") == (["a/train.jsonl"], f"Left out: split one {hint}")
    assert chosen("--config", "b") == (["b/two.jsonl"], f"Left out: split one {hint}")
    assert chosen("--config", "b", "--split", "one")[0] == ["b/one.jsonl"]
    no_config = run(environment, tmp_path, "--dataset", NAME)
    refused(no_config, 2, "--config", "'a', 'b'")
    wrong_config = run(environment, tmp_path, "--dataset", NAME, "--config", "c")
    refused(wrong_config, 2, "'c'", "'a', 'b'", "--config")
    wrong_split = run(environment, tmp_path, "--dataset", NAME, "--config", "a", "--split", "two")
    refused(wrong_split, 2, "--split two", "one, train")


def test_an_older_commit_is_read(hub: Hub, tmp_path: Path, reference: Run) -> None:
    old = hub.add(NAME, {"data/train-0.jsonl": json_lines(ROWS)})
    new = hub.add(NAME, {"data/train-1.jsonl": json_lines(OTHER_ROWS)})
    flags = ("--dataset", NAME, "--revision", old)
    result = run(hub_environment(hub, tmp_path), tmp_path, *flags)
    assert result.shards == reference.shards
    assert result.manifest["revision"] == old
    assert not [r for r in hub.requests if new in r.path or r.path.endswith("train-1.jsonl")]


@pytest.mark.parametrize("moment", ["/README.md", "/train.jsonl"], ids=["planning", "reading"])
def test_a_new_commit_during_the_run_changes_nothing(
    hub: Hub, tmp_path: Path, reference: Run, moment: str
) -> None:
    readme = card(configs=[configuration(train="train.jsonl")])
    old = hub.add(NAME, {"README.md": readme, "train.jsonl": json_lines(ROWS)})
    new_files = {"README.md": readme + b"new", "train.jsonl": json_lines(OTHER_ROWS)}
    hub.requests = Watched(moment, lambda: hub.add(NAME, new_files))
    result = run(hub_environment(hub, tmp_path), tmp_path, "--dataset", NAME)
    assert hub.requests.acts == []  # the new commit did come
    assert result.shards == reference.shards
    assert result.manifest["revision"] == old
    assert all(old in request.path for request in hub.requests[2:])


# ---- who may read


def test_private_and_gated_sets_with_the_right_token(
    hub: Hub, tmp_path: Path, reference: Run
) -> None:
    hub.valid_tokens.add("hf_right")
    hub.grants["hf_right"] = {"user/gated"}
    hub.add("user/private", {"train.jsonl": json_lines(ROWS)}, private=True)
    hub.add("user/gated", {"train.jsonl": json_lines(ROWS)}, gated=True)
    environment = hub_environment(hub, tmp_path, "hf_right")
    plan = run(environment, tmp_path, "--dataset", "user/private", verb="plan")
    assert plan.code == 0, plan.err
    result = run(environment, tmp_path, "--dataset", "user/gated")
    assert result.shards == reference.shards
    assert all(request.had_token for request in hub.requests)
    written = b"".join(path.read_bytes() for path in result.output.rglob("*") if path.is_file())
    assert b"hf_right" not in written + result.out.encode()


@pytest.mark.parametrize(
    ("kind", "token", "code", "words"),
    [
        ("private", None, 4, ["private", "HF_TOKEN"]),
        ("private", "hf_wrong", 4, ["401", "HF_TOKEN"]),
        ("gated", None, 4, ["gated", "HF_TOKEN"]),
        ("gated", "hf_wrong", 4, ["401", "HF_TOKEN"]),
        ("gated", "hf_stranger", 4, ["gated", "request access"]),
        ("open", "hf_wrong", 4, ["401", "HF_TOKEN"]),
        # The hub does not tell strangers which private repositories there are.
        ("missing", None, 4, ["not on the hub", "private"]),
        ("missing", "hf_stranger", 2, ["not on the hub", "--dataset"]),
    ],
)
def test_a_login_that_does_not_fit_is_refused(
    hub: Hub, tmp_path: Path, kind: str, token: str | None, code: int, words: list[str]
) -> None:
    hub.valid_tokens.add("hf_stranger")
    hub.add("user/open", {"train.jsonl": json_lines(ROWS)})
    hub.add("user/private", {"train.jsonl": json_lines(ROWS)}, private=True)
    hub.add("user/gated", {"train.jsonl": json_lines(ROWS)}, gated=True)
    result = run(hub_environment(hub, tmp_path, token), tmp_path, "--dataset", f"user/{kind}")
    refused(result, code, f"user/{kind}" if kind != "open" and "401" not in words else "", *words)
    assert result.waits == []  # a refusal is not waited out
    assert asked(hub, ".jsonl") == []


def test_a_token_that_is_revoked_while_reading(hub: Hub, tmp_path: Path) -> None:
    hub.valid_tokens.add("hf_right")
    files = {f"train-{i}.jsonl": json_lines(ROWS) for i in range(2)}
    hub.add(NAME, files, private=True)
    hub.requests = Watched("/train-1.jsonl", lambda: hub.revoke("hf_right"))
    result = run(hub_environment(hub, tmp_path, "hf_right"), tmp_path, "--dataset", NAME)
    refused(result, 4, "train-1.jsonl", "401", "HF_TOKEN")


def test_a_missing_revision(hub: Hub, tmp_path: Path) -> None:
    hub.add(NAME, {"train.jsonl": json_lines(ROWS)})
    flags = ("--dataset", NAME, "--revision", "v2")
    refused(run(hub_environment(hub, tmp_path), tmp_path, *flags), 2, "'v2'", "--revision")


# ---- what passes


@pytest.mark.parametrize("status", [503, 429])
def test_short_outages_are_waited_out(
    hub: Hub, tmp_path: Path, reference: Run, status: int
) -> None:
    """Whichever request it is, and where two are needed to go on."""
    readme = card(configs=[configuration(train="data/*.parquet")])
    sha = hub.add(NAME, {"README.md": readme, "data/x.parquet": parquet(ROWS)})
    endings = [f"/{NAME}/auth-check", f"/api/datasets/{NAME}", "/README.md", f"/revision/{sha}"]
    endings += [f"/tree/{sha}/data", "/x.parquet", "/.huggingface.yaml"]
    for ending in endings:
        hub.fail(ending, status, times=2)
    result = run(hub_environment(hub, tmp_path), tmp_path, "--dataset", NAME)
    assert result.shards == reference.shards
    assert [fault.times for fault in hub.faults] == [0] * len(endings)


@pytest.mark.parametrize("file", ["README.md", ".huggingface.yaml"])
def test_a_card_that_comes_late_is_not_taken_for_missing(
    hub: Hub, tmp_path: Path, file: str
) -> None:
    """Without its card the set would have other splits and files."""
    body = card(configs=[configuration(train="late.jsonl")])
    if file.endswith("yaml"):
        body = body.split(b"---\n")[1]
    hub.add(NAME, {file: body, "late.jsonl": json_lines(ROWS), "train.jsonl": json_lines(ROWS)})
    hub.fail(f"/{file}", 503, times=3)
    result = run(hub_environment(hub, tmp_path), tmp_path, "--dataset", NAME, verb="plan")
    assert result.code == 0, result.err
    assert "late.jsonl" in result.out and "train.jsonl" not in result.out
    hub.fail(f"/{file}", 503, times=None)
    refused(run(hub_environment(hub, tmp_path), tmp_path, "--dataset", NAME), 5)


@pytest.mark.parametrize(
    ("file", "content", "after"),
    [
        ("train.parquet", parquet(ROWS), 3000),
        ("train.jsonl", json_lines(ROWS), 100_000),
        ("train.csv", delimited(ROWS, ","), 1),
        ("train.jsonl.gz", gzip.compress(json_lines(ROWS)), 10_000),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_cut_connections_lose_no_row(
    hub: Hub, tmp_path: Path, reference: Run, file: str, content: bytes, after: int
) -> None:
    """Twice while the plan is made, and again and again within one read of a worker."""
    hub.add(NAME, {file: content})
    hub.cut(f"/{file}", after_bytes=after, times=2)
    hub.cut(f"/{file}", after_bytes=after // 2, times=4)
    result = run(hub_environment(hub, tmp_path), tmp_path, "--dataset", NAME)
    assert result.shards == reference.shards
    assert result.pairs() == sorted((row["question"], row["answer"]) for row in ROWS)
    assert [fault.times for fault in hub.faults] == [0, 0]


# ---- what lasts


@pytest.mark.parametrize("file", ["train.jsonl", "train.parquet", "train.csv"])
def test_a_lasting_outage_of_a_data_file_ends_the_run(hub: Hub, tmp_path: Path, file: str) -> None:
    """The second file is read by workers only, except for the footer of a Parquet file."""
    stem, ending = file.split(".")
    writers = {"jsonl": json_lines, "parquet": parquet, "csv": lambda rows: delimited(rows, ",")}
    files = {f"{stem}-{i}.{ending}": writers[ending](ROWS) for i in range(2)}
    hub.add(NAME, files)
    hub.fail(f"-1.{ending}", 503, times=None)
    result = run(hub_environment(hub, tmp_path), tmp_path, "--dataset", NAME)
    refused(result, 5, f"-1.{ending}", "503", "run again")
    assert 30 < sum(result.waits) < 180


def test_a_data_file_whose_connection_is_always_cut_ends_the_run(hub: Hub, tmp_path: Path) -> None:
    hub.add(NAME, {"train.jsonl": json_lines(ROWS)})
    hub.cut("train.jsonl", after_bytes=1000, times=None)
    result = run(hub_environment(hub, tmp_path), tmp_path, "--dataset", NAME)
    refused(result, 5, "train.jsonl", "run again")
    assert 30 < sum(result.waits) < 180


def test_a_listed_file_that_is_not_there(hub: Hub, tmp_path: Path) -> None:
    hub.add(NAME, {f"train-{i}.jsonl": json_lines(ROWS) for i in range(2)})
    hub.fail("train-1.jsonl", 404, times=None)
    result = run(hub_environment(hub, tmp_path), tmp_path, "--dataset", NAME)
    refused(result, 3, "train-1.jsonl", "404")
    assert result.waits == []


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("train.parquet", parquet(ROWS)[:-50]),
        ("train.parquet", b""),
        ("train.jsonl.gz", gzip.compress(json_lines(ROWS))[:-50]),
        ("train.arrow", arrow_stream(ROWS)[:-8]),
        ("train.json", json.dumps(ROWS).encode()[:-50]),
    ],
    ids=["parquet", "empty-parquet", "gz", "arrow", "array"],
)
def test_a_damaged_file(hub: Hub, tmp_path: Path, file: str, content: bytes) -> None:
    hub.add(NAME, {file: content})
    result = run(hub_environment(hub, tmp_path), tmp_path, "--dataset", NAME)
    refused(result, 3, file if content else NAME)


def test_hub_down_with_a_cold_cache(hub: Hub, tmp_path: Path) -> None:
    hub.stop()
    result = run(hub_environment(hub, tmp_path), tmp_path, "--dataset", NAME)
    refused(result, 5, "cannot be reached", "run again")
    assert 3 < sum(result.waits) < 15


@dataclass(frozen=True)
class Warm:
    """A private set on a hub, and an environment whose caches hold all of it."""

    hub: Hub
    environment: dict[str, str]


@pytest.fixture
def warm(hub: Hub, tmp_path: Path) -> Warm:
    hub.valid_tokens |= {"hf_right", "hf_other"}
    hub.add(NAME, {"train.jsonl": json_lines(ROWS), "README.md": b"# A\n"}, private=True)
    environment = hub_environment(hub, tmp_path, "hf_right")
    load = "import datasets, sys; print(len(datasets.load_dataset(sys.argv[1], split='train')))"
    child = subprocess.run(
        [sys.executable, "-c", load, NAME],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.strip() == str(len(ROWS))
    hub.requests.clear()
    return Warm(hub, environment)


def test_a_warm_cache_stands_in_for_nothing(warm: Warm, tmp_path: Path) -> None:
    """Not for a hub that stumbles after the first answers, a token that was never valid, one that
    was revoked, or a hub that is down.
    """
    hub, flags = warm.hub, ("--dataset", NAME)
    hub.fail("", 503, times=None)
    hub.faults[-1].suffix = "/revision/" + next(iter(hub._repositories[NAME].revisions))
    refused(run(warm.environment, tmp_path, *flags), 5, "503")
    hub.faults.clear()
    wrong = warm.environment | {"HF_TOKEN": "hf_wrong"}
    refused(run(wrong, tmp_path, *flags), 4, "401", "HF_TOKEN")
    hub.revoke("hf_right")
    refused(run(warm.environment, tmp_path, *flags), 4, "401", "HF_TOKEN")
    hub.stop()
    refused(run(warm.environment, tmp_path, *flags), 5, "cannot be reached")
    assert asked(hub, ".jsonl") == []


# ---- what is refused


def test_a_script_is_never_run(hub: Hub, tmp_path: Path) -> None:
    marker = tmp_path / "was-run"
    script = f"open({str(marker)!r}, 'w')".encode()
    hub.add(NAME, {"name.py": script, "train.jsonl": json_lines(ROWS)})
    result = run(hub_environment(hub, tmp_path), tmp_path, "--dataset", NAME)
    refused(result, 2, NAME, "scripts", "name.py")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("README.md", "{url}/x.jsonl"),
        (".huggingface.yaml", "{url}/x.jsonl"),
        ("README.md", "zip://*.jsonl::{url}/x.zip"),
        ("README.md", "{folder}/*.jsonl"),
    ],
    ids=["url", "url-yaml", "archive", "absolute"],
)
def test_a_card_leads_to_nothing_outside_of_its_set(
    hub: Hub, tmp_path: Path, file: str, place: str
) -> None:
    lured = Hub()
    (tmp_path / "x.jsonl").write_bytes(json_lines(ROWS))
    place = place.format(url=lured.url, folder=tmp_path)
    body = card(configs=[configuration(train=[place])])
    if file.endswith("yaml"):
        body = body.split(b"---\n")[1]
    hub.add(NAME, {file: body, "train.jsonl": json_lines(ROWS)})
    result = run(hub_environment(hub, tmp_path), tmp_path, "--dataset", NAME)
    lured.stop()
    refused(result, 2, NAME, place, "not part of it")
    assert lured.requests == []


def test_neither_does_the_card_of_a_downloaded_folder(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "downloaded"
    folder.mkdir()
    place = f"{hub.url}/x.jsonl"
    (folder / "README.md").write_bytes(card(configs=[configuration(train=place)]))
    (folder / "train.jsonl").write_bytes(json_lines(ROWS))
    result = run(hub_environment(hub, tmp_path), tmp_path, "--dataset", str(folder))
    refused(result, 2, place, "not part of it")
    assert hub.requests == []


@pytest.mark.parametrize(
    ("readme", "words"),
    [
        (card(configs=[configuration(train="gone-*.csv")]), ["no data files"]),
        (card(configs=[configuration(train="gone.csv")]), ["gone.csv", "not there"]),
        (card(configs=[configuration() | {"data_files": "x.csv", "header": None}]), ["header"]),
        (card(configs=["x"]), ["cannot be used"]),
        (b"---\nconfigs: [\n---\n", ["cannot be used"]),
    ],
    ids=["glob", "file", "option", "configs", "yaml"],
)
def test_a_card_that_cannot_be_followed(
    hub: Hub, tmp_path: Path, readme: bytes, words: list[str]
) -> None:
    hub.add(NAME, {"README.md": readme, "x.csv": delimited(ROWS, ",")})
    result = run(hub_environment(hub, tmp_path), tmp_path, "--dataset", NAME)
    refused(result, 2, "name", *words)


# ---- how a file is read, without a hub


class Answer:
    """As much of an HTTP answer as the reader looks at."""

    def __init__(self, status: int, content: bytes, content_range: str = "") -> None:
        self.status_code, self.content = status, content
        self.headers = {"Content-Range": content_range} if content_range else {}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int, int], Answer]], None]:
    """Replaces the network: `answers(reply)` where reply(first, last) is the hub's answer."""

    def set_up(reply: Callable[[int, int], Answer]) -> None:
        def get(method: str, url: str, headers: dict[str, str], **_: object) -> Answer:
            first, last = headers["Range"].removeprefix("bytes=").split("-")
            return reply(int(first), int(last))

        monkeypatch.setattr("huggingface_hub.utils.http_backoff", get)
        monkeypatch.setattr("huggingface_hub.utils.hf_raise_for_status", lambda answer: None)

    return set_up


ADDRESS = f"hf://datasets/{NAME}@{'a' * 40}/x.bin"
BYTES = b"".join(i.to_bytes(4, "big") for i in range(2**20))


def ranged(first: int, last: int) -> Answer:
    part = BYTES[first : last + 1]
    return Answer(206, part, f"bytes {first}-{first + len(part) - 1}/{len(BYTES)}")


def test_a_file_is_whole_wherever_and_in_whatever_steps_it_is_read(answers: Any) -> None:
    answers(ranged)
    with open_binary(ADDRESS) as file:
        assert file.seek(0, 2) == len(BYTES) and file.read(1) == b""
        for step in (1000, 2**16, 300_001, len(BYTES), -1):
            file.seek(0)
            parts = list(iter(lambda step=step: file.read(step), b""))
            assert b"".join(parts) == BYTES
            assert all(len(part) == step for part in parts[:-1])
        for at in range(0, len(BYTES), 654_321):  # streams side by side, and jumps back
            for start in (at, len(BYTES) - at, at // 2):
                file.seek(start)
                assert file.read(70_000) == BYTES[start : start + 70_000]


def test_reading_on_takes_few_requests_and_jumps_fetch_little(answers: Any) -> None:
    asked: list[int] = []

    def reply(first: int, last: int) -> Answer:
        asked.append(last - first + 1)
        return ranged(first, last)

    answers(reply)
    with open_binary(ADDRESS) as file:
        while file.read(2**16):
            pass
    assert len(asked) < 10 and sum(asked) == len(BYTES)
    asked.clear()
    with open_binary(ADDRESS) as file:
        for start in range(2**20, 2**22, 2**20):
            file.seek(start)
            file.read(100_000)
    assert sum(asked) == 2**16 + 3 * 100_000


@pytest.mark.parametrize(
    "reply",
    [
        lambda first, last: Answer(206, b"", f"bytes {first}-{last}/{len(BYTES)}"),
        lambda first, last: Answer(206, BYTES[first:last], f"bytes {first}-{last}/{len(BYTES)}"),
        lambda first, last: Answer(200, BYTES),
        lambda first, last: Answer(206, BYTES[first : last + 1], f"bytes {first}-{last}/*"),
    ],
    ids=["nothing", "short", "ranges-ignored", "size-untold"],
)
def test_an_answer_that_is_not_what_was_asked_for_is_an_error(answers: Any, reply: Any) -> None:
    """It must not look like the end of the file."""
    answers(reply)
    with pytest.raises(StorageError, match=r"x\.bin"):
        open_binary(ADDRESS)
    answers(ranged)
    with open_binary(ADDRESS) as file:
        answers(reply)
        with pytest.raises(StorageError, match=r"x\.bin"):
            file.read()
