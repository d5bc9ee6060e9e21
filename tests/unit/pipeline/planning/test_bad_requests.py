"""Requests that cannot be planned: the message, the exit code, and no connection."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_runs import has, put
from conversions import Convert
from source_files import (
    GOOD,
    ROWS,
)

from pipeline.request import Request
from transforms.errors import UsageError


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--split", "test"], ["--split test", "found train"]),
        (["--config", "main"], ["--config", "good.jsonl"]),
        (["--revision", "v1"], ["--revision", "local path"]),
        (["--split-key", "id"], ["--split-key", "'id'", "found question, answer"]),
        (
            ["--fields", "instruction=prompt,response=answer"],
            ["--fields", "'prompt'", "found question, answer"],
        ),
        (["--fields", "question"], ["--fields", "instruction=COLUMN,response=COLUMN"]),
        (["--fields", "instruction=question"], ["--fields", "both"]),
        (["--fields", "instruction=question,response=answer+"], ["--fields", "''"]),
    ],
    ids=lambda value: value[0] + " " + value[1] if value[0].startswith("--") else "",
)
def test_no_such_split_or_column(
    convert: Convert, good: Path, words: list[str], says: list[str]
) -> None:
    ended = convert("--dataset", good, *words)
    assert ended.code == 2
    assert has(ended.err, *says)


@pytest.mark.parametrize(
    "name", ["./missing.jsonl", "missing.parquet", "in/*.csv", "a/b/c", "data set", "~nobody/x"]
)
def test_no_such_file(
    convert: Convert, name: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    ended = convert("--dataset", name)
    assert ended.code == 2
    assert has(ended.err, f"--dataset {name}")
    assert "does not exist" in ended.err or "matches no file" in ended.err


@pytest.mark.parametrize("where", ["equal", "inside", "above", "link"])
def test_output_and_input_are_kept_apart(
    convert: Convert, good: Path, tmp_path: Path, where: str
) -> None:
    folder = good.parent
    (tmp_path / "link").symlink_to(folder)
    output = {
        "equal": folder,
        "inside": folder / "new" / "set",
        "above": tmp_path,
        "link": tmp_path / "link" / "set",
    }[where]
    for source in (folder, folder / "*.jsonl") if where in ("equal", "above") else (folder,):
        ended = convert("--dataset", source, output=output)
        assert ended.code == 2
        assert has(ended.err, "--output", str(folder), "lies inside")
    assert [path.name for path in folder.iterdir()] == [good.name]
    assert good.read_bytes() == GOOD


@pytest.mark.parametrize("output", ["gs://b/a", "file:///x"])
def test_an_output_elsewhere_is_refused(convert: Convert, good: Path, output: str) -> None:
    ended = convert("--dataset", good, output=output)
    assert ended.code == 2
    assert has(ended.err, f"--output {output}", "local folder")


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "a#b",
        "a?b",
        "a%20b",
        "ä ö",
        "a*b",
        "a[1]",
        "-x",
        "a//b/",
        "x/../y",
        "$HOME",
        "'q'",
    ],
)
def test_odd_local_names_are_only_names(convert: Convert, tmp_path: Path, name: str) -> None:
    source = put(Path(f"{tmp_path}/in/{name}/it {name.strip('/')[-3:]}.jsonl"), GOOD)
    ended = convert("--dataset", source, output=f"{tmp_path}/out/{name}")
    assert ended.code == 0, ended.err
    assert len(ended.rows()) == len(ROWS)


@pytest.mark.parametrize("name", ["a[1]", "a*b", "a?b", "x::y"])
def test_a_folder_that_cannot_be_listed_is_not_called_empty(
    convert: Convert, tmp_path: Path, name: str
) -> None:
    put(tmp_path / "in" / name / "train.jsonl", GOOD)
    ended = convert("--dataset", tmp_path / "in" / name)
    assert ended.code == 2
    assert has(ended.err, name, "cannot be listed", "rename")


def test_a_file_name_that_is_no_text(convert: Convert, tmp_path: Path) -> None:
    put(tmp_path / "in" / b"b\xff.jsonl".decode("utf-8", "surrogateescape"), GOOD)
    ended = convert("--dataset", tmp_path / "in" / "*.jsonl")
    assert ended.code == 2
    assert has(ended.err, "b\\udcff.jsonl", "rename")


def test_a_name_that_is_too_long(convert: Convert, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 300)
    ended = convert("--dataset", long)
    assert ended.code == 2
    assert has(ended.err, "--dataset", "too long")
    with pytest.raises(UsageError, match="--output"):
        Request(output=str(long))
