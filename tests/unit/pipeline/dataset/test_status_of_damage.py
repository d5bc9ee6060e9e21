"""``status`` of a folder whose set cannot be read says so in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_sets import MadeSet, local_set

from pipeline.cli.main import main
from pipeline.dataset.status import look
from transforms.errors import UsageError, VerificationFailed
from transforms.storage.s3.uri import S3Options


@pytest.fixture
def made(tmp_path: Path) -> MadeSet:
    return local_set(tmp_path)


@pytest.mark.parametrize(
    "manifest",
    [
        {"plan_digest": "x", "counts": "x", "files": []},
        {"plan_digest": "x", "counts": {}, "files": [{}]},
        {"plan_digest": "x", "counts": {"read": 1}, "files": 7},
        {"files": []},
        [],
    ],
)
def test_a_damaged_manifest_is_a_sentence(
    made: MadeSet, manifest: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    made.put("manifest.json", json.dumps(manifest).encode())
    assert main(["status", made.place]) == 7
    said = capsys.readouterr().err
    assert said.startswith(f"error: manifest.json of {made.place} ")
    assert said.count("\n") == 1


def test_a_newer_version_is_named_with_what_to_install(made: MadeSet) -> None:
    manifest = made.manifest()
    manifest["run"]["versions"] = {"reasonforge-data-prep": "9.1.0"}
    made.put_manifest({**manifest, "format_version": 2})
    with pytest.raises(VerificationFailed, match=r"install reasonforge-data-prep 9\.1\.0 or newer"):
        look(made.place, S3Options())


@pytest.mark.parametrize("name", ["manifest.json", "dataset_dict.json"])
def test_half_a_set(made: MadeSet, name: str) -> None:
    made.remove(name)
    with pytest.raises(VerificationFailed, match=f"holds no complete set.*{name}"):
        look(made.place, S3Options())


def test_a_folder_without_a_set_is_none(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match="holds no data set, and none was begun there"):
        look(str(tmp_path), S3Options())
