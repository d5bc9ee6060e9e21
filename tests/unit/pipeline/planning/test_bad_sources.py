"""Sources that lead elsewhere: addresses, cards, links, files of kinds that are not read."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from command_runs import has, put
from conversions import Convert
from source_files import (
    GOOD,
    evil_pickle,
    media_source,
    saved_folder,
)


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "file:/etc/passwd",
        "http://169.254.169.254/latest/meta-data/x.jsonl",
        "HTTPS://example.invalid/x.parquet",
        "ftp://example.invalid/x.csv",
        "s3://bucket/x.jsonl",
        "hf://datasets/user/name/x.jsonl",
        "zip://x.jsonl::http://example.invalid/a.zip",
        "memory://x.jsonl",
    ],
)
def test_addresses_are_not_opened(convert: Convert, address: str) -> None:
    ended = convert("--dataset", address)
    assert ended.code == 2
    assert has(ended.err, address, "expected a hub name", "local file")


@pytest.mark.parametrize(
    "place",
    [
        "http://127.0.0.1:9/x.jsonl",
        "file:///etc/passwd",
        "zip://x.jsonl::http://127.0.0.1:9/a.zip",
        "/etc/*",
        "../secret.jsonl",
    ],
)
def test_a_card_cannot_name_files_elsewhere(convert: Convert, good: Path, place: str) -> None:
    put(good.parent.parent / "secret.jsonl", GOOD)
    card = f"---\nconfigs:\n- config_name: default\n  data_files: {json.dumps(place)}\n---\n"
    put(good.parent / "README.md", card)
    ended = convert("--dataset", good.parent)
    assert ended.code == 2
    assert has(ended.err, str(good.parent), place, "not part of it")


def test_yaml_tags_of_a_card_are_not_run(convert: Convert, good: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    tag = f"!!python/object/apply:os.system ['touch {canary}']"
    put(good.parent / "README.md", f"---\nx: {tag}\n---\n")
    ended = convert("--dataset", good.parent)
    assert ended.code == 2
    assert has(ended.err, str(good.parent), "cannot be used")
    assert not canary.exists()


def test_a_link_out_of_the_folder(convert: Convert, good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.jsonl").symlink_to(good)
    ended = convert("--dataset", folder)
    assert ended.code == 2
    assert has(ended.err, "train.jsonl", "link out of the folder", "copy it in")
    # Who names the link itself has seen it.
    assert convert("--dataset", folder / "train.jsonl").code == 0


def test_a_linked_split_of_a_saved_folder(convert: Convert, tmp_path: Path) -> None:
    saved = saved_folder(tmp_path / "elsewhere")
    folder = tmp_path / "data"
    put(folder / "dataset_dict.json", '{"splits": ["train"]}')
    (folder / "train").symlink_to(saved / "train")
    ended = convert("--dataset", folder)
    assert ended.code == 2
    assert has(ended.err, str(folder), "link out of the folder")


@pytest.mark.parametrize(
    "name",
    ["a.pkl", "a.pickle", "a.pt", "a.bin", "a.npy", "a.npz", "a.py", "a.joblib", "a.txt", "a",
     ".jsonl.exe"],
)  # fmt: skip
def test_other_kinds_of_files(convert: Convert, tmp_path: Path, name: str) -> None:
    ended = convert("--dataset", put(tmp_path / name, evil_pickle(tmp_path)))
    assert ended.code == 2
    assert has(ended.err, f"cannot read {name}", "expected .parquet", ".jsonl", ".gz, ")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "name", ["a.tar", "a.tar.gz", "a.tgz", "a.zip", "a.jsonl.bz2", "a.parquet.gz"]
)
def test_archives_are_not_opened(convert: Convert, tmp_path: Path, name: str) -> None:
    ended = convert("--dataset", put(tmp_path / name, evil_pickle(tmp_path)))
    assert ended.code in (2, 3)
    assert has(ended.err, "cannot read", name)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("kind", ["tar", "zip", "pkl", "npy", "bad zip", "bz2"])
def test_a_folder_of_them(convert: Convert, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "in" / "data"
    path = folder / f"a.{kind.split()[-1]}"
    if kind == "bz2":
        path = folder / "a.jsonl.bz2"
    put(path, evil_pickle(tmp_path))
    if kind == "tar":
        with tarfile.open(path, "w") as archive:
            member = tarfile.TarInfo("../../escaped.jsonl")
            member.size = len(GOOD)
            archive.addfile(member, io.BytesIO(GOOD))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("../../escaped.jsonl", GOOD)
            archive.writestr("train.jsonl", GOOD)
    ended = convert("--dataset", folder)
    assert ended.code in (2, 3)
    assert has(ended.err, "data")
    assert not list(tmp_path.rglob("escaped*"))
    assert not (tmp_path / "canary").exists()


def test_a_pickle_under_a_name_that_is_read(convert: Convert, tmp_path: Path) -> None:
    for name in ("a.parquet", "a.jsonl", "a.arrow", "a.json.gz"):
        ended = convert("--dataset", put(tmp_path / name, evil_pickle(tmp_path)))
        assert ended.code == 3
        assert has(ended.err, name)
    assert not (tmp_path / "canary").exists()


def test_a_pickle_beside_the_data_is_left_alone(
    convert: Convert, good: Path, tmp_path: Path
) -> None:
    put(good.parent / "model.pkl", evil_pickle(tmp_path))
    assert convert("--dataset", good.parent).code == 0
    assert not (tmp_path / "canary").exists()


def test_a_script_in_the_folder_is_refused_and_not_run(
    convert: Convert, good: Path, tmp_path: Path
) -> None:
    script = f"open({str(tmp_path / 'canary')!r}, 'w')"
    put(good.parent / f"{good.parent.name}.py", script)
    ended = convert("--dataset", good.parent)
    assert ended.code == 2
    assert has(ended.err, str(good.parent), "scripts are no longer supported")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("media", ["Image", "Audio", "Video"])
@pytest.mark.parametrize("way", ["file", "folder", "saved"])
@pytest.mark.parametrize("place", ["file", "address"])
def test_media_is_never_fetched(
    convert: Convert, tmp_path: Path, media: str, way: str, place: str
) -> None:
    secret = put(tmp_path / "secret.key", b"PRIVATE-KEY-0123456789")
    names = (str(secret), f"file://{secret}")
    if place == "address":
        names = ("http://127.0.0.1:9/x.png", "http://127.0.0.1:9/y.png")
    source = media_source(tmp_path / "in", media, way, *names)
    ended = convert("--dataset", source)
    assert ended.code == 0, ended.err
    assert [row["response"] for row in ended.rows()] == ["It is so.", "It is not."]
    assert "PRIVATE-KEY" not in str(ended.rows())
    assert "secret.key" not in str(ended.rows())

    named = convert("--dataset", source, "--fields", "instruction=question,response=media")
    assert named.code == 2
    assert has(named.err, "'media'", "struct", "text or number column")


def test_a_card_whose_aliases_stand_for_billions_of_values(
    convert: Convert, good: Path, tmp_path: Path
) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    lines += ["configs:", "- config_name: *a9", "  data_files: *a9"]
    put(tmp_path / "in" / "train.jsonl", good.read_bytes())
    for card, before in (("README.md", "---\n"), (".huggingface.yaml", "")):
        path = put(tmp_path / "in" / card, before + "\n".join(lines) + f"\n{before}")
        ended = convert("--dataset", tmp_path / "in")
        assert ended.code == 2
        assert has(ended.err, card, "more than 100,000 values", "correct the card")
        path.unlink()
    assert convert("--dataset", tmp_path / "in").code == 0


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_more_columns_than_a_set_has(convert: Convert, tmp_path: Path, kind: str) -> None:
    names = [f"k{n}" for n in range(20_000)]
    text = json.dumps(dict.fromkeys(names, "v")) + "\n"
    if kind == "csv":
        text = ",".join(names) + "\n" + ",".join(names) + "\n"
    ended = convert("--dataset", put(tmp_path / f"a.{kind}", text))
    assert ended.code == 3
    assert has(ended.err, f"a.{kind}", "more than 10,000 columns", "fixed set of keys")
