"""Nothing of a foreign set on S3 reaches a terminal raw: list, status, verify, download, prune."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile_texts import EVERYTHING, NAME, STEERING, check_shown
from made_sets import MadeSet, s3_set, use_server
from s3_servers import S3Server

from pipeline.cli.main import main
from transforms.storage.s3.bucket import Bucket


@pytest.fixture
def foreign(s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> MadeSet:
    """A set that loads, whose manifest has hostile texts wherever a set may have a text."""
    use_server(monkeypatch, s3_server)
    made = s3_set(s3_server, bucket)
    manifest = made.manifest()
    manifest["dataset"] = manifest["revision"] = f"{STEERING}{EVERYTHING}"
    manifest["run"]["runner"] = EVERYTHING
    made.put_manifest(manifest)
    return made


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("verb", ["list", "status", "verify", "report", "download", "prune"])
def test_a_foreign_set(
    verb: str,
    more: tuple[str, ...],
    foreign: MadeSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    place, words = foreign.place, list(more)
    if verb in ("list", "prune"):
        place = place.rpartition("/")[0] + "/"
    if verb == "prune":
        newer(foreign)
        words += ["--keep", "1", "--yes"]
    code = main((verb, place, *words))
    out, err = capfd.readouterr()
    check_shown(out + err, hostile=verb in ("list", "prune"))
    assert code in (0, 7), err


def newer(old: MadeSet) -> None:
    """A second set beside ``old``, so that one is pruned."""
    bucket, key = old._object("manifest.json")
    for name in ("manifest.json", "dataset_dict.json"):
        bucket.put(key.replace("/set/manifest.json", f"/newer/{name}"), old.read(name))


def test_names_of_folders(
    s3_server: S3Server,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    use_server(monkeypatch, s3_server)
    for name in ("manifest.json", "dataset_dict.json"):
        Bucket(bucket).put(f"sets/{NAME.replace('/', '')}/{name}", b"{}")
    for verb, *more in (("list",), ("prune", "--keep", "1", "--yes")):
        assert main((verb, f"s3://{bucket}/sets/", *more)) == 0
        out, err = capfd.readouterr()
        check_shown(out + err, hostile=False)
