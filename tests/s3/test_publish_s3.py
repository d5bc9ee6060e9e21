"""A set on a real S3 server, by either way: what readers get is what a local folder holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset, load_from_disk
from s3_servers import S3Server

from pipeline.cli.main import main

WORDS = ("--shard-size", "1MiB", "--quiet")
STORAGE = "storage_options"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three units' worth of rows, some of them rejects."""
    path = tmp_path_factory.mktemp("source") / "rows.jsonl"
    lines = [{"question": f"Frage {n}, 漢字?", "reasoning": "Weil. " * 250} for n in range(2000)]
    lines[7]["reasoning"] = " "
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def aws(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[dict[str, Any]]:
    """The environment of a user of the server, in a folder of its own; yields s3fs's options."""
    for name, value in s3_server.environment({}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    yield {"endpoint_url": s3_server.endpoint}


def objects(server: S3Server, bucket: str, prefix: str) -> dict[str, bytes]:
    """Name below the prefix -> bytes, without the claim and the records of the run."""
    client = server.client()
    names = [key[len(prefix) + 1 :] for key in server.keys(bucket, f"{prefix}/")]
    return {
        name: client.get_object(Bucket=bucket, Key=f"{prefix}/{name}")["Body"].read()
        for name in names
        if not name.startswith("_")
    }


def same(files: dict[str, bytes]) -> dict[str, Any]:
    """What may not differ between two runs of one plan."""
    manifest = json.loads(files["manifest.json"])
    del manifest["run"]
    return {**files, "manifest.json": manifest}


def test_both_ways_give_the_bytes_of_the_local_folder(
    rows: Path, s3_server: S3Server, bucket: str, aws: dict[str, Any], tmp_path: Path
) -> None:
    local = tmp_path / "cache" / "processed_reasoning"
    assert (
        main(["--dataset", str(rows), "--output", str(local), "--s3-bucket", bucket, *WORDS]) == 0
    )
    assert main(["--dataset", str(rows), "--output", f"s3://{bucket}/straight/one", *WORDS]) == 0

    (dated,) = {key.split("/")[1] for key in s3_server.keys(bucket, "datasets/")}
    assert dated.startswith("processed_reasoning_20")
    uploaded = objects(s3_server, bucket, f"datasets/{dated}")
    straight = objects(s3_server, bucket, "straight/one")
    here = {
        str(path.relative_to(local)): path.read_bytes()
        for path in local.rglob("*")
        if path.is_file()
    }
    assert uploaded == here
    assert same(straight) == same(here)
    assert sum(name.endswith(".arrow") for name in here) == 6
    assert s3_server.pending_uploads(bucket) == []


def test_readers_get_every_row(
    rows: Path, s3_server: S3Server, bucket: str, aws: dict[str, Any], tmp_path: Path
) -> None:
    address = f"s3://{bucket}/datasets/set"
    assert main(["--dataset", str(rows), "--output", address, *WORDS]) == 0
    loaded = load_from_disk(address, storage_options=aws)
    assert len(loaded["train"]) + len(loaded["validation"]) == 1999
    streamed = load_dataset(
        "arrow",
        data_files={split: f"{address}/{split}/*.arrow" for split in ("train", "validation")},
        storage_options=aws,
        streaming=True,
    )
    for split in ("train", "validation"):
        assert list(streamed[split]) == list(loaded[split])

    # A trainer's own way: every key below the prefix, downloaded.
    for name, data in objects(s3_server, bucket, "datasets/set").items():
        path = tmp_path / "trainer" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    own = load_from_disk(str(tmp_path / "trainer"))
    assert own["train"]["text"] == loaded["train"]["text"]
    assert own["validation"]["text"] == loaded["validation"]["text"]


def test_a_closing_slash_makes_a_dated_name(
    rows: Path, s3_server: S3Server, bucket: str, aws: dict[str, Any], tmp_path: Path
) -> None:
    words = ["--dataset", str(rows), "--output", f"s3://{bucket}/datasets/", *WORDS]
    assert main(words) == 0
    assert main(words) == 0  # another second, or the same with a suffix
    names = {key.split("/")[1] for key in s3_server.keys(bucket, "datasets/")}
    assert len(names) == 2
    for name in names:
        assert len(load_from_disk(f"s3://{bucket}/datasets/{name}", storage_options=aws)) == 2


def test_the_metadata_file_is_the_guides_and_more(
    rows: Path, s3_server: S3Server, bucket: str, aws: dict[str, Any], tmp_path: Path
) -> None:
    local = tmp_path / "cache" / "processed_reasoning"
    assert (
        main(["--dataset", str(rows), "--output", str(local), "--s3-bucket", bucket, *WORDS]) == 0
    )
    (path,) = (tmp_path / "cache").glob("upload_metadata_*.json")
    told = json.loads(path.read_bytes())
    manifest = json.loads((local / "manifest.json").read_bytes())
    assert told["dataset_name"] == str(rows)
    assert path.name == f"upload_metadata_{told['timestamp']}.json"
    assert told["s3_uri"] == f"s3://{bucket}/datasets/processed_reasoning_{told['timestamp']}"
    prefix = told["s3_uri"].removeprefix(f"s3://{bucket}/")
    assert sorted(told["files"]) == [
        key for key in s3_server.keys(bucket, f"{prefix}/") if "/_RUN" not in key
    ]
    assert told["files"][-1] == f"{prefix}/dataset_dict.json"
    assert told["sha256"] == {file["path"]: file["sha256"] for file in manifest["files"]}
    for name in ("counts", "revision", "plan_digest"):
        assert told[name] == manifest[name]
    assert told["versions"] == manifest["run"]["versions"]
    assert told["bytes"] == sum(file["bytes"] for file in manifest["files"])


def test_the_same_request_again_is_already_complete_and_another_is_refused(
    rows: Path, bucket: str, aws: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dataset", str(rows), "--output", f"s3://{bucket}/sets/one", "--shard-size", "1MiB"]
    assert main(words) == 0
    capsys.readouterr()
    assert main(words) == 0
    assert f"Already complete: s3://{bucket}/sets/one was made from this plan" in (
        capsys.readouterr().out
    )
    assert main([*words, "--seed", "7"]) == 6
    assert "give another" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 2
    assert "never replaced" in capsys.readouterr().err


def test_the_guides_steps_go_to_s3_and_back(
    rows: Path, s3_server: S3Server, bucket: str, aws: dict[str, Any], tmp_path: Path
) -> None:
    from datasets import Dataset

    from pipeline import DatasetProcessor

    processor = DatasetProcessor("some/set", bucket, tmp_path / "cache")
    data = Dataset.from_json(str(rows), cache_dir=str(tmp_path / "hf"))
    split = processor.create_train_val_split(processor.format_dataset_for_training(data))
    uri = processor.upload_to_s3(processor.save_dataset_locally(split))
    assert uri.startswith(f"s3://{bucket}/datasets/processed_reasoning_20")
    back = processor.download_from_s3(uri, tmp_path / "back")
    assert load_from_disk(str(back))["train"]["text"] == split["train"]["text"]
    assert main(["verify", uri, "--quiet"]) == 0
    assert len(list((tmp_path / "cache").glob("upload_metadata_*.json"))) == 1
