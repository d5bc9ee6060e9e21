"""A local set that is not what this tool writes is refused before anything is sent; its digest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_sets import MadeSet, local_set

from pipeline.cli.main import main
from pipeline.dataset.upload import Uploaded, local_manifest, write_metadata
from transforms.errors import VerificationFailed


@pytest.fixture
def made(tmp_path: Path) -> MadeSet:
    return local_set(tmp_path)


def test_a_good_set(made: MadeSet) -> None:
    assert local_manifest(made.root).counts.train == 5000


@pytest.mark.parametrize("name", ["evil.py", "train/x.py", "_run/x", "test/data-00000-of-00001"])
def test_a_manifest_that_names_what_no_set_has(made: MadeSet, name: str) -> None:
    evil = {"path": name, "bytes": 0, "sha256": "0" * 64, "rows": 0}
    made.put_manifest({**made.manifest(), "files": [*made.manifest()["files"], evil]})
    assert main(["upload", made.place, "s3://bucket-of-nobody/x"]) == 7


@pytest.mark.parametrize("name", ["README.md", "train/state.json", "validation/dataset_info.json"])
def test_a_manifest_that_lacks_a_file(made: MadeSet, name: str) -> None:
    files = [file for file in made.manifest()["files"] if file["path"] != name]
    made.put_manifest({**made.manifest(), "files": files})
    with pytest.raises(VerificationFailed, match=f"manifest.json does not name {name}"):
        local_manifest(made.root)


def test_a_state_that_leads_elsewhere(made: MadeSet) -> None:
    state = json.loads(made.read("train/state.json"))
    state["_data_files"][0]["filename"] = "../../secret.arrow"
    made.forge("train/state.json", json.dumps(state).encode())
    with pytest.raises(VerificationFailed, match=r"names '\.\./\.\./secret\.arrow' as shard 0"):
        local_manifest(made.root)


def test_a_commit_file_that_says_more(made: MadeSet) -> None:
    made.put("dataset_dict.json", b'{"splits": ["train", "validation"], "x": 1}')
    with pytest.raises(VerificationFailed, match="does not name the splits"):
        local_manifest(made.root)


def test_the_record_of_an_upload_has_the_manifest_s_digest(made: MadeSet, tmp_path: Path) -> None:
    manifest = local_manifest(made.root)
    path = write_metadata(tmp_path, Uploaded("s3://b/x", manifest, (), 0), "some/set")
    assert json.loads(path.read_text())["manifest_sha256"] == manifest.sha256
    assert Uploaded("s3://b/x", manifest, (), 0).to_json()["manifest_sha256"] == manifest.sha256


@pytest.mark.parametrize("digest", ["zz", "0" * 63, "0" * 65, "g" * 64, ""])
def test_verify_takes_only_a_digest(
    made: MadeSet, digest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", made.place, "--manifest-sha256", digest]) == 2
    assert "64 hexadecimal digits" in capsys.readouterr().err


def test_verify_tells_the_digest_and_compares_it(
    made: MadeSet, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = local_manifest(made.root).sha256
    assert main(["verify", made.place, "--manifest-sha256", digest]) == 0
    assert f"Manifest SHA-256: {digest} (as expected)" in capsys.readouterr().out
    assert main(["verify", made.place, "--manifest-sha256", "0" * 64]) == 7
