"""Local files: found once each, of a kind that can be read, and what their names say they are."""

from __future__ import annotations

import bz2
import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conversions import Convert

from pipeline.cli import config_file
from pipeline.cli.main import parse
from pipeline.request import Request
from transforms.errors import UsageError

COMMIT, OTHER = "a" * 40, "b" * 40


def text(start: int = 0, count: int = 3) -> bytes:
    rows = [
        {"instruction": f"What is number {n} of the list?", "output": f"It is the word {n}."}
        for n in range(start, start + count)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def put(path: Path, data: bytes = text()) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


class TestGlobs:
    def test_a_loop_of_links_is_walked_once(self, convert: Convert, tmp_path: Path) -> None:
        folder = tmp_path / "d"
        put(folder / "a.jsonl")
        put(folder / "below" / "deep" / "b.jsonl", text(3))
        (folder / "self").symlink_to(".")
        (folder / "below" / "up").symlink_to("..")
        ended = convert("--dataset", folder / "**" / "*.jsonl")
        assert ended.read == 6
        assert [name for name, _ in ended.plan.source.files] == ["a.jsonl", "below/deep/b.jsonl"]

    @pytest.mark.parametrize("link", [os.link, os.symlink])
    def test_a_file_with_two_names_is_read_once(
        self, convert: Convert, tmp_path: Path, link: object
    ) -> None:
        link(put(tmp_path / "a.jsonl"), tmp_path / "b.jsonl")  # type: ignore[operator]
        ended = convert("--dataset", tmp_path / "*.jsonl")
        assert ended.read == 3
        assert ended.plan.source.notes == ("b.jsonl is the same file as a.jsonl, and is read once",)

    def test_hidden_files_are_not_found(self, convert: Convert, tmp_path: Path) -> None:
        put(tmp_path / "a.jsonl")
        put(tmp_path / ".hidden" / "b.jsonl", text(3))
        put(tmp_path / ".c.jsonl", text(6))
        assert convert("--dataset", tmp_path / "**" / "*.jsonl").read == 3
        assert convert("--dataset", tmp_path / "**" / ".*.jsonl").read == 3


class TestSeveralPaths:
    @pytest.mark.parametrize("flags", [1, 2])
    def test_they_are_one_source_in_their_order(
        self, convert: Convert, tmp_path: Path, flags: int
    ) -> None:
        first, second = put(tmp_path / "b.jsonl"), put(tmp_path / "in" / "a.jsonl", text(3))
        words = ["--dataset", first, *(["--dataset"] if flags == 2 else []), second]
        ended = convert(*words)
        assert ended.read == 6
        assert [name for name, _ in ended.plan.source.files] == ["b.jsonl", "in/a.jsonl"]
        assert ended.plan.dataset == f"{first} {second}"

    def test_files_folders_and_globs(self, convert: Convert, tmp_path: Path) -> None:
        put(tmp_path / "a.jsonl")
        put(tmp_path / "in" / "b.jsonl", text(3))
        put(tmp_path / "c1.jsonl", text(6))
        put(tmp_path / "c2.jsonl", text(9))
        places = (tmp_path / "a.jsonl", tmp_path / "in", tmp_path / "c*.jsonl")
        assert convert("--dataset", *places).read == 12

    def test_one_that_is_named_twice_is_read_once(self, convert: Convert, tmp_path: Path) -> None:
        path = put(tmp_path / "a.jsonl")
        ended = convert("--dataset", path, tmp_path / "*.jsonl")
        assert ended.read == 3
        assert ended.plan.source.notes == ("a.jsonl is named twice, and is read once",)

    def test_one_path_is_the_same_plan_as_before(self, convert: Convert, tmp_path: Path) -> None:
        path = put(tmp_path / "a.jsonl")
        plans = [convert("--dataset", path, *more).plan for more in ((), ("--dataset", path))]
        assert plans[0].dataset == str(path)
        assert plans[0].source.revision == plans[1].source.revision

    @pytest.mark.parametrize(
        ("names", "says"),
        [
            (("a.jsonl", "user/name"), "user/name is no local file"),
            (("user/name", "other/name"), "user/name is no local file"),
            (("a.jsonl", "plan"), "plan is no local file"),
            (("a.jsonl", "b.csv"), "of different formats"),
            (("a.jsonl", " "), "must name a hub data set or a local file"),
        ],
    )
    def test_refused(
        self,
        convert: Convert,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        names: tuple[str, ...],
        says: str,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        put(tmp_path / "a.jsonl")
        put(tmp_path / "b.csv", b"question,answer\na,b\n")
        ended = convert("--dataset", *names)
        assert (ended.code, says in ended.err) == (2, True), ended.err

    def test_a_configuration_file_holds_them(self, tmp_path: Path) -> None:
        names = tuple(str(put(tmp_path / name)) for name in ("a.jsonl", "b.jsonl"))
        request = parse(["--dataset", *names, "--save-config", str(tmp_path / "c.toml")])[2]
        assert request.dataset == names
        config_file.save(str(tmp_path / "c.toml"), {"dataset": names})
        assert parse(["--config-file", str(tmp_path / "c.toml")])[2].dataset == names
        config_file.save(str(tmp_path / "c.toml"), {"dataset": names[0]})
        assert parse(["--config-file", str(tmp_path / "c.toml")])[2].dataset == names[0]

    @pytest.mark.parametrize("value", [(), ("a", 1), 3])
    def test_values_that_are_none(self, value: object) -> None:
        with pytest.raises(UsageError, match="--dataset must be"):
            Request(value)  # type: ignore[arg-type]


class TestKinds:
    @pytest.mark.parametrize("place", ["alone", "in a glob"])
    def test_what_can_be_read_once_is_not_opened(
        self, convert: Convert, tmp_path: Path, place: str
    ) -> None:
        path = tmp_path / "x.jsonl"
        os.mkfifo(path)
        put(tmp_path / "y.jsonl")
        ended = convert("--dataset", path if place == "alone" else tmp_path / "*.jsonl")
        assert ended.code == 2
        assert f"{path} is a pipe" in ended.err

    def test_a_device(self, convert: Convert) -> None:
        ended = convert("--dataset", "/dev/zero")
        assert (ended.code, "/dev/zero is a device" in ended.err) == (2, True)


class TestContents:
    @pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.arrow"])
    @pytest.mark.parametrize(
        ("data", "says"),
        [
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
            (b"\n<!DOCTYPE html>\n<html><body>Log in</body></html>", "a page of a web site"),
            (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a page of a web"),
            (b"PK\x03\x04" + bytes(100), "a zip archive"),
            (b"\xfd7zXZ\0" + bytes(100), "compressed with xz"),
        ],
        ids=["pointer", "page", "error", "zip", "xz"],
    )
    def test_what_is_no_data(
        self, convert: Convert, tmp_path: Path, name: str, data: bytes, says: str
    ) -> None:
        ended = convert("--dataset", put(tmp_path / name, data))
        assert (ended.code, name in ended.err, says in ended.err) == (3, True, True)

    def test_a_pointer_among_files(self, convert: Convert, tmp_path: Path) -> None:
        put(tmp_path / "in" / "a.jsonl")
        put(tmp_path / "in" / "b.jsonl", b"version https://git-lfs.github.com/spec/v1\n")
        ended = convert("--dataset", tmp_path / "in")
        assert (ended.code, "b.jsonl is a Git LFS pointer" in ended.err) == (3, True)

    @pytest.mark.parametrize(
        ("name", "data", "says"),
        [
            ("a.jsonl", gzip.compress(text()), "compressed with gzip"),
            ("a.jsonl", bz2.compress(text()), "compressed with bzip2"),
            ("a.jsonl.gz", text(), "is plain text"),
            ("a.jsonl.gz", bz2.compress(text()), "compressed with bzip2"),
            ("a.parquet.gz", gzip.compress(text()), "compressed with gzip"),
            ("a.csv", b"PAR1" + bytes(100), "a Parquet file"),
        ],
    )
    def test_another_content_than_the_name_says(
        self, convert: Convert, tmp_path: Path, name: str, data: bytes, says: str
    ) -> None:
        ended = convert("--dataset", put(tmp_path / name, data))
        assert (ended.code, says in ended.err) == (3, True)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "data"),
        [
            ("A.JSONL", text()),
            ("a.jsonlines", text()),
            ("a.jsonl.bz2", bz2.compress(text(0, 2)) + bz2.compress(text(2, 1))),
            ("a.jsonl.gz", gzip.compress(text(0, 2)) + gzip.compress(text(2, 1))),
            ("a.jsonl.gzip", gzip.compress(text())),
        ],
    )
    def test_text(self, convert: Convert, tmp_path: Path, name: str, data: bytes) -> None:
        assert convert("--dataset", put(tmp_path / name, data)).read == 3

    @pytest.mark.parametrize("name", ["a.pq", "a.parquet.gzip", "a.snappy.parquet", "A.PARQUET"])
    def test_parquet(self, convert: Convert, tmp_path: Path, name: str) -> None:
        rows = [json.loads(line) for line in text().splitlines()]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
        assert convert("--dataset", tmp_path / name).read == 3

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("a.zip", "unzip a.zip"),
            ("a.tar.gz", "tar -xf a.tar.gz"),
            ("a.tgz", "tar -xf a.tgz"),
            ("a.jsonl.xz", "unxz --keep a.jsonl.xz"),
            ("a.txt", "in .jsonl for one JSON object per line, in .tsv for cells with tabs"),
            ("a.xlsx", "save the sheet as CSV UTF-8"),
            ("a.pkl", "expected .parquet"),
        ],
    )
    def test_refused_with_what_to_do(
        self, convert: Convert, tmp_path: Path, name: str, says: str
    ) -> None:
        ended = convert("--dataset", put(tmp_path / name))
        assert (ended.code, says in ended.err) == (2, True), ended.err

    @pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.bz2"])
    @pytest.mark.parametrize("cut", [1, 8, 20])
    def test_a_file_that_was_cut_is_an_error(
        self, convert: Convert, tmp_path: Path, name: str, cut: int
    ) -> None:
        data = (gzip if name.endswith("gz") else bz2).compress(text())[:-cut]
        ended = convert("--dataset", put(tmp_path / name, data))
        assert (ended.code, name in ended.err) == (3, True)


class TestTheCacheOfTheHub:
    @pytest.fixture
    def repository(self, tmp_path: Path) -> Path:
        """A data set as the hub's cache keeps it, with one snapshot."""
        made = tmp_path / "hub" / "datasets--me--things"
        put(made / "blobs" / "0", text())
        put(made / "blobs" / "1", text(10, 5))
        put(made / "refs" / "main", COMMIT.encode())
        self.snapshot(made, COMMIT, "0")
        return made

    def snapshot(self, repository: Path, commit: str, blob: str) -> Path:
        folder = repository / "snapshots" / commit
        folder.mkdir(parents=True)
        (folder / "train.jsonl").symlink_to(f"../../blobs/{blob}")
        return folder

    @pytest.mark.parametrize("below", [".", "snapshots", f"snapshots/{COMMIT}", ".."])
    def test_a_snapshot_is_read(self, convert: Convert, repository: Path, below: str) -> None:
        ended = convert("--dataset", repository / below)
        assert (ended.code, ended.read) == (0, 3), ended.err

    @pytest.mark.parametrize("below", [".", "snapshots", ".."])
    def test_of_two_the_one_that_main_names_is_read(
        self, convert: Convert, repository: Path, below: str
    ) -> None:
        self.snapshot(repository, OTHER, "1")
        assert convert("--dataset", repository / below).read == 3
        (repository / "refs" / "main").write_text(OTHER)
        assert convert("--dataset", repository / below).read == 5

    def test_of_two_without_main_none_is_read(self, convert: Convert, repository: Path) -> None:
        self.snapshot(repository, OTHER, "1")
        (repository / "refs" / "main").unlink()
        ended = convert("--dataset", repository)
        assert (ended.code, COMMIT in ended.err, OTHER in ended.err) == (2, True, True)
        assert convert("--dataset", repository / "snapshots" / OTHER).read == 5

    def test_a_cache_of_several_data_sets(self, convert: Convert, repository: Path) -> None:
        other = repository.parent / "datasets--me--others"
        put(other / "blobs" / "0")
        self.snapshot(other, COMMIT, "0")
        ended = convert("--dataset", repository.parent)
        assert (ended.code, "datasets--me--others" in ended.err) == (2, True)

    def test_a_link_out_of_the_repository(self, convert: Convert, repository: Path) -> None:
        secret = put(repository.parent / "secret.jsonl")
        (repository / "snapshots" / COMMIT / "train-2.jsonl").symlink_to(secret)
        ended = convert("--dataset", repository)
        assert (ended.code, "is a link out of the folder" in ended.err) == (2, True)
