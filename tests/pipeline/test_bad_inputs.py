"""Bad requests, files and rows: what the user is told, the exit code, and nothing left that loads.

The tests are in the order of the list of bad inputs in the reliability notes; a number in a name or
an id is the number there.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import pickle
import socket
import subprocess
import sys
import tarfile
import threading
import unicodedata
import zipfile
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_runs import Ended, Prepare, has, lines, put, quiet_process
from datasets import load_from_disk
from hub import Hub, hub_environment, hub_fixture  # noqa: F401 - pytest finds the fixture here

from pipeline.cli import main, signals
from pipeline.request import Request
from transforms.errors import UsageError
from transforms.formats import json_lines

ROWS = [
    {"question": f"What is {i} plus one, please?", "answer": f"It is {i + 1}, of course."}
    for i in range(40)
]
GOOD = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
CSV_ROW = "What is this about?,It is about that.\n"


@pytest.fixture
def prepare(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Prepare]:
    """``prepare(*words, output=…)``: the command line in this process, without upload.

    Every failure is checked here for what holds for all of them: a sentence instead of a traceback,
    and nothing at the output that loads.
    """
    assert signals.received() is None

    def run(*words: object, output: Path | str | None = None) -> Ended:
        place = tmp_path / "out" / "set" if output is None else output
        was_there = (Path(place) / "dataset_dict.json").is_file()
        capfd.readouterr()
        code = main([*map(str, words), "--output", str(place), "--skip-upload"])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        if code:
            assert err.startswith("error: ")
            assert was_there or not (Path(place) / "dataset_dict.json").exists()
            assert not list(tmp_path.rglob(".*.partial"))
        return Ended(code, out, err, Path(place))

    with quiet_process(monkeypatch):
        yield run


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "good.jsonl"
    path.parent.mkdir()
    path.write_bytes(GOOD)
    return path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The addresses that the test's code tried to connect to; no connection is made."""
    tried: list[object] = []

    def connect(self: socket.socket, address: object) -> None:
        tried.append(address)
        raise ConnectionRefusedError("the test allows no connection")

    def lookup(host: object, *_: object, **__: object) -> None:
        tried.append(host)
        raise socket.gaierror("the test allows no lookup")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return tried


def parquet(path: Path, table: pa.Table, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def stream(path: Path, table: pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)
    return path


def table_of(**columns: Any) -> pa.Table:
    """A table with a question for every row of the other columns."""
    size = len(next(iter(columns.values())))
    questions = [f"What is number {i} about?" for i in range(size)]
    return pa.table({"question": questions, **columns})


NAMED = ("--fields", "instruction=question,response=answer")
TABLE = pa.Table.from_pylist(ROWS)


class TestRequest:
    """1-6, 10-12: exit 2 (6 where the output is taken) before any work."""

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
    def test_1_no_such_split_or_column(
        self, prepare: Prepare, good: Path, words: list[str], says: list[str]
    ) -> None:
        ended = prepare("--dataset", good, *words)
        assert ended.code == 2
        assert has(ended.err, *says)

    @pytest.mark.parametrize(
        "name", ["./missing.jsonl", "missing.parquet", "in/*.csv", "a/b/c", "data set", "~nobody/x"]
    )
    def test_1_no_such_file(
        self, prepare: Prepare, name: str, offline: list[object], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.chdir(tmp_path)
        ended = prepare("--dataset", name)
        assert ended.code == 2
        assert has(ended.err, f"--dataset {name}")
        assert "does not exist" in ended.err or "matches no file" in ended.err
        assert not offline

    def test_1_no_such_data_set_on_the_hub(self, hub: Hub, tmp_path: Path) -> None:
        hub.valid_tokens.add("hf_known")
        hub.add("user/name", {"train.jsonl": GOOD})
        for name, words, says in (
            ("user/missing", [], ["user/missing", "not on the hub", "--dataset"]),
            ("user/name", ["--split", "dev"], ["--split dev", "found train"]),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "pipeline", "--dataset", name, *words,
                 "--output", str(tmp_path / "set"), "--skip-upload"],
                env=hub_environment(hub, tmp_path, "hf_known"), cwd=tmp_path,
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert done.returncode == 2
            assert has(done.stderr, *says)
            assert "Traceback" not in done.stderr
            assert not (tmp_path / "set").exists()

    @pytest.mark.parametrize("overwrite", [[], ["--overwrite"]], ids=["plain", "overwrite"])
    def test_4_an_output_that_is_not_ours_is_left_alone(
        self, prepare: Prepare, good: Path, tmp_path: Path, overwrite: list[str]
    ) -> None:
        notes = put(tmp_path / "thesis" / "notes.txt", "years of work")
        ended = prepare("--dataset", good, *overwrite, output=notes.parent)
        assert ended.code == 6
        assert has(ended.err, str(notes.parent), "no prepared data set", "another --output")
        assert [path.name for path in notes.parent.iterdir()] == ["notes.txt"]
        assert notes.read_text() == "years of work"

    def test_4_an_output_with_another_plan_is_refused_and_unchanged(
        self, prepare: Prepare, good: Path
    ) -> None:
        first = prepare("--dataset", good)
        assert first.code == 0
        before = (first.output / "manifest.json").read_bytes()
        ended = prepare("--dataset", good, "--seed", "7")
        assert ended.code == 6
        assert has(ended.err, str(ended.output), "--overwrite", "another --output")
        assert (ended.output / "manifest.json").read_bytes() == before

    @pytest.mark.parametrize("inner", ["", "file.jsonl", "file.jsonl/set"])
    def test_4_an_output_that_is_a_file(
        self, prepare: Prepare, good: Path, tmp_path: Path, inner: str
    ) -> None:
        taken = put(tmp_path / "file.jsonl", GOOD)
        ended = prepare("--dataset", good, output=tmp_path / (inner or "file.jsonl"))
        assert ended.code == 2
        assert has(ended.err, "file.jsonl is a file", "give a folder")
        assert taken.read_bytes() == GOOD

    @pytest.mark.parametrize("where", ["equal", "inside", "above", "link"])
    def test_5_output_and_input_are_kept_apart(
        self, prepare: Prepare, good: Path, tmp_path: Path, where: str
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
            ended = prepare("--dataset", source, output=output)
            assert ended.code == 2
            assert has(ended.err, "--output", str(folder), "lies inside")
        assert [path.name for path in folder.iterdir()] == [good.name]
        assert good.read_bytes() == GOOD

    @pytest.mark.parametrize("output", ["gs://b/a", "file:///x"])
    def test_6_an_output_elsewhere_is_refused(
        self, prepare: Prepare, good: Path, output: str, offline: list[object]
    ) -> None:
        ended = prepare("--dataset", good, output=output)
        assert ended.code == 2
        assert has(ended.err, f"--output {output}", "local folder")
        assert not offline

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
    def test_6_odd_local_names_are_only_names(
        self, prepare: Prepare, tmp_path: Path, name: str
    ) -> None:
        source = put(Path(f"{tmp_path}/in/{name}/it {name.strip('/')[-3:]}.jsonl"), GOOD)
        ended = prepare("--dataset", source, output=f"{tmp_path}/out/{name}")
        assert ended.code == 0, ended.err
        assert len(ended.rows()) == len(ROWS)

    @pytest.mark.parametrize("name", ["a[1]", "a*b", "a?b", "x::y"])
    def test_6_a_folder_that_cannot_be_listed_is_not_called_empty(
        self, prepare: Prepare, tmp_path: Path, name: str
    ) -> None:
        put(tmp_path / "in" / name / "train.jsonl", GOOD)
        ended = prepare("--dataset", tmp_path / "in" / name)
        assert ended.code == 2
        assert has(ended.err, name, "cannot be listed", "rename")

    def test_6_a_file_name_that_is_no_text(self, prepare: Prepare, tmp_path: Path) -> None:
        put(tmp_path / "in" / b"b\xff.jsonl".decode("utf-8", "surrogateescape"), GOOD)
        ended = prepare("--dataset", tmp_path / "in" / "*.jsonl")
        assert ended.code == 2
        assert has(ended.err, "b\\udcff.jsonl", "rename")

    def test_6_a_name_that_is_too_long(self, prepare: Prepare, tmp_path: Path) -> None:
        long = tmp_path / ("x" * 300)
        ended = prepare("--dataset", long)
        assert ended.code == 2
        assert has(ended.err, "--dataset", "too long")
        with pytest.raises(UsageError, match="--output"):
            Request(output=str(long))

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
    def test_10_addresses_are_not_opened(
        self, prepare: Prepare, address: str, offline: list[object]
    ) -> None:
        ended = prepare("--dataset", address)
        assert ended.code == 2
        assert has(ended.err, address, "expected a hub name", "local file")
        assert not offline

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
    def test_10_a_card_cannot_name_files_elsewhere(
        self, prepare: Prepare, good: Path, place: str, offline: list[object]
    ) -> None:
        put(good.parent.parent / "secret.jsonl", GOOD)
        card = f"---\nconfigs:\n- config_name: default\n  data_files: {json.dumps(place)}\n---\n"
        put(good.parent / "README.md", card)
        ended = prepare("--dataset", good.parent)
        assert ended.code == 2
        assert has(ended.err, str(good.parent), place, "not part of it")
        assert not offline

    def test_11_yaml_tags_of_a_card_are_not_run(
        self, prepare: Prepare, good: Path, tmp_path: Path
    ) -> None:
        canary = tmp_path / "canary"
        tag = f"!!python/object/apply:os.system ['touch {canary}']"
        put(good.parent / "README.md", f"---\nx: {tag}\n---\n")
        ended = prepare("--dataset", good.parent)
        assert ended.code == 2
        assert has(ended.err, str(good.parent), "cannot be used")
        assert not canary.exists()

    def test_12_a_link_out_of_the_folder(
        self, prepare: Prepare, good: Path, tmp_path: Path
    ) -> None:
        folder = tmp_path / "data"
        folder.mkdir()
        (folder / "train.jsonl").symlink_to(good)
        ended = prepare("--dataset", folder)
        assert ended.code == 2
        assert has(ended.err, "train.jsonl", "link out of the folder", "copy it in")
        # Who names the link itself has seen it.
        assert prepare("--dataset", folder / "train.jsonl").code == 0

    def test_12_a_linked_split_of_a_saved_folder(self, prepare: Prepare, tmp_path: Path) -> None:
        saved = saved_folder(tmp_path / "elsewhere")
        folder = tmp_path / "data"
        put(folder / "dataset_dict.json", '{"splits": ["train"]}')
        (folder / "train").symlink_to(saved / "train")
        ended = prepare("--dataset", folder)
        assert ended.code == 2
        assert has(ended.err, str(folder), "link out of the folder")


class TestFiles:
    """13-31: exit 3 with the file's name, or 2 where the kind of file is not read at all."""

    @pytest.mark.parametrize("left", [0.5, 0.99, "footer", "magic"])
    def test_13_truncated_parquet(
        self, prepare: Prepare, tmp_path: Path, left: float | str
    ) -> None:
        path = parquet(tmp_path / "a.parquet", TABLE)
        data = path.read_bytes()
        size = {"footer": len(data) - 8, "magic": 4}.get(str(left)) or int(len(data) * float(left))
        put(path, data[:size])
        ended = prepare("--dataset", path)
        assert ended.code == 3
        assert has(ended.err, "cannot read", "a.parquet", "damaged", "replace it")

    def test_13_parquet_with_damaged_pages(self, prepare: Prepare, tmp_path: Path) -> None:
        """Found by a worker, not by the plan: the footer and the first rows are fine."""
        texts = [os.urandom(60).hex() for _ in range(4000)]
        path = parquet(
            tmp_path / "a.parquet", table_of(answer=texts), row_group_size=1000, compression="zstd"
        )
        data = bytearray(path.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 2000] = bytes(2000)
        put(path, bytes(data))
        ended = prepare("--dataset", path, *NAMED)
        assert ended.code == 3
        assert has(ended.err, "cannot read", "a.parquet", "damaged")

    @pytest.mark.parametrize("kind", ["parquet", "jsonl", "json", "csv", "arrow", "csv.gz"])
    def test_14_a_file_of_no_bytes(self, prepare: Prepare, tmp_path: Path, kind: str) -> None:
        ended = prepare("--dataset", put(tmp_path / f"a.{kind}", b""))
        assert ended.code == 3
        assert has(ended.err, f"a.{kind}", "is empty")

    def test_14_a_parquet_file_of_no_bytes_among_others(
        self, prepare: Prepare, tmp_path: Path
    ) -> None:
        put(tmp_path / "in" / "a.parquet", b"")
        parquet(tmp_path / "in" / "b.parquet", TABLE)
        ended = prepare("--dataset", tmp_path / "in" / "*.parquet")
        assert ended.code == 3
        assert has(ended.err, "a.parquet", "cannot read")

    @pytest.mark.parametrize(
        ("name", "data", "says"),
        [
            ("a.parquet", GOOD, "damaged or not of the format"),
            ("a.arrow", GOOD, "no end-of-stream marker"),
            ("a.jsonl", b"PAR1" + bytes(range(256)) * 9, "not JSON Lines"),
            ("a.jsonl", b"hello\nworld\n", "not JSON Lines"),
            ("a.json", json.dumps({"data": ROWS}, indent=1).encode(), "not JSON Lines"),
            ("a.jsonl", GOOD.decode().encode("utf-16"), "iconv -t UTF-8"),
            ("a.csv", (f"question,answer\n{CSV_ROW}").encode("utf-16"), "iconv -t UTF-8"),
            ("a.jsonl.gz", GOOD, "damaged or not of the format"),
            ("a.jsonl.zst", GOOD, "damaged or not of the format"),
            ("a.csv", b"\n\n", "damaged or not of the format"),
        ],
    )
    def test_15_not_what_its_name_says(
        self, prepare: Prepare, tmp_path: Path, name: str, data: bytes, says: str
    ) -> None:
        ended = prepare("--dataset", put(tmp_path / name, data))
        assert ended.code == 3
        assert has(ended.err, name, says)

    @pytest.mark.parametrize(
        "name", ["rows.parquet", "groups.parquet", "a.arrow", "a.csv", "b.csv", "a.json", "a.jsonl"]
    )
    def test_16_no_rows(self, prepare: Prepare, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        if name == "groups.parquet":
            pq.ParquetWriter(path, TABLE.schema).close()
        elif name == "rows.parquet":
            parquet(path, TABLE.slice(0, 0))
        elif name == "a.arrow":
            stream(path, TABLE.slice(0, 0))
        else:
            text = {"a.csv": "question,answer\n", "b.csv": "question,answer", "a.json": "[ ]"}
            put(path, text.get(name, "\n \n\r\n"))
        ended = prepare("--dataset", path)
        assert ended.code == 3
        assert has(ended.err, name, "contains no rows")

    def test_16_a_first_file_without_rows_among_others(
        self, prepare: Prepare, tmp_path: Path
    ) -> None:
        parquet(tmp_path / "in" / "a.parquet", TABLE.slice(0, 0))
        parquet(tmp_path / "in" / "b.parquet", TABLE)
        ended = prepare("--dataset", tmp_path / "in")
        assert ended.code == 0, ended.err
        assert len(ended.rows()) == len(ROWS)

    @pytest.mark.parametrize("kind", ["parquet", "arrow"])
    @pytest.mark.parametrize(
        ("second", "says"),
        [
            (table_of(answer=[1, 2]), ["'answer'", "int64", "string", "make the types equal"]),
            (table_of(reply=["a", "b"]), ["no column 'answer'", "found question, reply"]),
            (table_of(answer=[["a"], ["b"]]), ["'answer'", "list", "make the types equal"]),
        ],
        ids=["other type", "missing", "nested"],
    )
    def test_17_files_of_different_schemas(
        self, prepare: Prepare, tmp_path: Path, kind: str, second: pa.Table, says: list[str]
    ) -> None:
        write = {"parquet": parquet, "arrow": stream}[kind]
        write(tmp_path / "in" / f"a.{kind}", TABLE)
        write(tmp_path / "in" / f"b.{kind}", second)
        ended = prepare("--dataset", tmp_path / "in")
        assert ended.code == 3
        assert has(ended.err, f"b.{kind}", "first file", *says)

    def test_17_csv_without_a_column(self, prepare: Prepare, tmp_path: Path) -> None:
        put(tmp_path / "in" / "a.csv", f"question,answer\n{CSV_ROW}")
        put(tmp_path / "in" / "b.csv", f"question,reply\n{CSV_ROW}")
        ended = prepare("--dataset", tmp_path / "in")
        assert ended.code == 3
        assert has(ended.err, "b.csv", "no column 'answer'", "found question, reply")

    def test_17_another_order_of_the_columns_is_fine(
        self, prepare: Prepare, tmp_path: Path
    ) -> None:
        parquet(tmp_path / "in" / "a.parquet", TABLE.slice(0, 20))
        second = TABLE.slice(20).select(["answer", "question"]).append_column("n", [range(20)])
        parquet(tmp_path / "in" / "b.parquet", second)
        ended = prepare("--dataset", tmp_path / "in")
        assert ended.code == 0, ended.err
        pairs = {(row["instruction"], row["response"]) for row in ended.rows()}
        assert pairs == {(row["question"], row["answer"]) for row in ROWS}

    def test_17_a_mixture_of_formats(self, prepare: Prepare, good: Path) -> None:
        put(good.parent / "b.json", json.dumps(ROWS))
        parquet(good.parent / "c.parquet", TABLE)
        ended = prepare("--dataset", good.parent / "*")
        assert ended.code == 2
        assert has(ended.err, "c.parquet", "different formats", "glob")

    def test_17_a_json_array_behind_json_lines(self, prepare: Prepare, good: Path) -> None:
        put(good.parent / "z.jsonl", json.dumps(ROWS))
        ended = prepare("--dataset", good.parent / "*.jsonl")
        assert ended.code == 3
        assert has(ended.err, "z.jsonl", "JSON array", "separately")

    @pytest.mark.parametrize("kind", ["parquet", "arrow", "csv"])
    def test_18_a_column_name_that_stands_twice(
        self, prepare: Prepare, tmp_path: Path, kind: str
    ) -> None:
        path = tmp_path / f"a.{kind}"
        table = pa.table([["a b c"], ["d e f"], ["g h i"]], names=["question", "answer", "answer"])
        if kind == "csv":
            put(path, "question,answer,answer\na b c,d e f,g h i\n")
        else:
            {"parquet": parquet, "arrow": stream}[kind](path, table)
        ended = prepare("--dataset", path)
        assert ended.code == 3
        assert has(ended.err, f"a.{kind}", "more than one column named 'answer'", "rename")

    @pytest.mark.parametrize(
        ("values", "text"),
        [
            (pa.array(["It is so."]).dictionary_encode(), "It is so."),
            (pa.array(["It is so."], pa.large_string()), "It is so."),
            (pa.array(["It is so."], pa.string_view()), "It is so."),
            (pa.array(["It is so."], pa.large_string()).dictionary_encode(), "It is so."),
            (pa.array([Decimal("1.50")], pa.decimal128(10, 2)), "1.50"),
            (pa.array([Decimal("-1.5")], pa.decimal256(50, 1)), "-1.5"),
            (pa.array([2**64 - 1], pa.uint64()), "18446744073709551615"),
            (pa.array([7]).dictionary_encode(), "7"),
            (pa.array([1.5], pa.float16()), "1.5"),
            (pa.array([True]), "true"),
            (pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}'])), '{"a": 1}'),
        ],
        ids=lambda value: str(value.type)[:24] if isinstance(value, pa.Array) else "",
    )
    @pytest.mark.parametrize("write", [parquet, stream])
    def test_19_text_of_any_arrow_type(
        self, prepare: Prepare, tmp_path: Path, values: pa.Array, text: str, write: Any
    ) -> None:
        if write is parquet and isinstance(values, pa.DictionaryArray):
            values = values.cast(values.type.value_type)  # Parquet keeps few kinds of dictionaries
        kind = "parquet" if write is parquet else "arrow"
        ended = prepare("--dataset", write(tmp_path / f"a.{kind}", table_of(answer=values)), *NAMED)
        assert ended.code == 0, ended.err
        assert [row["response"] for row in ended.rows()] == [text]

    @pytest.mark.parametrize("media", ["Image", "Audio", "Video"])
    @pytest.mark.parametrize("way", ["file", "folder", "saved"])
    @pytest.mark.parametrize("place", ["file", "address"])
    def test_21_22_media_is_never_fetched(
        self, prepare: Prepare, tmp_path: Path, media: str, way: str, place: str
    ) -> None:
        secret = put(tmp_path / "secret.key", b"PRIVATE-KEY-0123456789")
        with server() as (url, asked):
            names = [str(secret), f"file://{secret}"] if place == "file" else [f"{url}/x.png"] * 2
            struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
            cells = pa.array([{"bytes": None, "path": name} for name in names], struct)
            table = table_of(answer=["It is so.", "It is not."], media=cells)
            features = {
                "question": {"dtype": "string", "_type": "Value"},
                "answer": {"dtype": "string", "_type": "Value"},
                "media": {"_type": media},
            }
            metadata = {"huggingface": json.dumps({"info": {"features": features}})}
            table = table.replace_schema_metadata(metadata)
            if way == "saved":
                source = saved_folder(tmp_path / "in", table, features)
            else:
                source = parquet(tmp_path / "in" / "train.parquet", table)
                source = source.parent if way == "folder" else source

            ended = prepare("--dataset", source)
            assert ended.code == 0, ended.err
            assert [row["response"] for row in ended.rows()] == ["It is so.", "It is not."]
            everything = b"".join(p.read_bytes() for p in ended.output.rglob("*") if p.is_file())
            assert b"PRIVATE-KEY" not in everything
            assert b"secret.key" not in everything

            named = prepare(
                "--dataset", source, "--fields", "instruction=question,response=media",
                output=tmp_path / "out" / "named",
            )  # fmt: skip
            assert named.code == 2
            assert has(named.err, "'media'", "struct", "text or number column")
            assert asked == []


class TestJsonLines:
    """23: one bad line is one reject with its place; the file goes on."""

    @pytest.mark.parametrize(
        ("line", "code"),
        [
            (b'{"question": "What is this?", "answer": "It', "broken-json"),
            (b"not json at all", "broken-json"),
            (b'{"question": "What is \x00 it?", "answer": "It is."}', "broken-json"),
            (b'{"question": "What is \x1b it?", "answer": "It is."}', "broken-json"),
            (b'{"question": "What?", "answer": "It is."} {"question": "2", "answer": "2"}',)
            + ("broken-json",),
            (b'{"question": "What?", "answer": "It is."},', "broken-json"),
            (b"null", "not-an-object"),
            (b'"text"', "not-an-object"),
            (b"[1, 2]", "not-an-object"),
            (b"17", "not-an-object"),
            (b'{"question": "What is \xff it?", "answer": "It is."}', "invalid-unicode"),
            (b'{"question": "What is \xed\xa0\x80 it?", "answer": "It is."}', "invalid-unicode"),
            (b'{"question": "What is \\ud800 it?", "answer": "It is."}', "invalid-unicode"),
            (b'{"question": "What is \\udc00 it?", "answer": "It is."}', "invalid-unicode"),
            (b'{"question": "What?", "answer": "' + b"x" * 3000 + b'"}', "row-too-large"),
            (b"x" * 3000, "row-too-large"),
            (b"{}", "null-instruction"),
        ],
    )
    @pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gz"])
    @pytest.mark.parametrize("before", [0, 30])
    def test_23_a_bad_line_is_a_reject_with_its_place(
        self, prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes,
        code: str, compressed: bool, before: int,
    ) -> None:  # fmt: skip
        if code == "row-too-large":
            monkeypatch.setattr(json_lines, "MAX_ROW_BYTES", 2000)
        parts = GOOD.splitlines(keepends=True)
        data = b"".join([*parts[:before], b"\n", line + b"\n", *parts[before:]])
        name = "a.jsonl.gz" if compressed else "a.jsonl"
        path = put(tmp_path / name, gzip.compress(data) if compressed else data)
        ended = prepare("--dataset", path)
        if line.startswith(b"[") and not before:  # then the whole file must be one array
            assert ended.code == 3
            assert has(ended.err, name, "more text after the closing bracket after 2 elements")
            return
        assert ended.code == 0, ended.err
        assert ended.rejects == [(name, before + 2, code)]
        pairs = [(row["instruction"], row["response"]) for row in ended.rows()]
        assert sorted(pairs) == sorted((row["question"], row["answer"]) for row in ROWS)

    def test_23_a_file_that_starts_with_null_does_not_crash(self, tmp_path: Path) -> None:
        """Arrow's parser would end the process with a signal."""
        path = put(tmp_path / "a.jsonl", b"null\n" * 3 + GOOD)
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", "--dataset", str(path), "--skip-upload", "--json",
             "--output", str(tmp_path / "set"), "--max-reject-rate", "0.5"],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["counts"]["rejected"]["by_reason"] == {"not-an-object": 3}

    def test_23_too_many_bad_lines_fail_with_the_reasons_and_places(
        self, prepare: Prepare, tmp_path: Path
    ) -> None:
        data = GOOD + b"{broken\n" * 6 + b'{"question": "", "answer": "x"}\n' * 4 + b"[]\n" * 2
        ended = prepare("--dataset", put(tmp_path / "a.jsonl", data))
        assert ended.code == 8
        assert has(
            ended.err,
            "12 of 52 rows were rejected (23.1%)",
            "broken-json 6 (first: a.jsonl row 41)",
            "empty-instruction 4 (first: a.jsonl row 47)",
            "not-an-object 2 (first: a.jsonl row 51)",
            "--max-reject-rate",
        )

    def test_23_the_row_is_right_behind_a_cut(self, prepare: Prepare, tmp_path: Path) -> None:
        """The second unit knows only its bytes, not the lines before them."""
        filler = json.dumps({"question": "What is it, then?", "answer": "It is. " * 30}).encode()
        parts = [filler] * 9000
        parts[8000] = b"{broken"
        path = put(tmp_path / "a.jsonl", b"\n".join(parts))
        ended = prepare("--dataset", path, "--shard-size", "1MiB")
        assert ended.code == 0, ended.err
        assert len(ended.manifest["plan"]["units"]) > 1
        assert ended.rejects == [("a.jsonl", 8001, "broken-json")]

    @pytest.mark.parametrize("form", ["bom", "crlf", "blank lines", "no final newline"])
    def test_23_harmless_forms_change_no_text(
        self, prepare: Prepare, tmp_path: Path, form: str
    ) -> None:
        data = {
            "bom": b"\xef\xbb\xbf" + GOOD,
            "crlf": GOOD.replace(b"\n", b"\r\n"),
            "blank lines": b"\n" + GOOD.replace(b"\n", b"\n \r\n\n"),
            "no final newline": GOOD.rstrip(),
        }[form]
        ended = prepare("--dataset", put(tmp_path / "a.jsonl", data))
        assert ended.code == 0, ended.err
        assert ended.counts["rejected"]["by_reason"] == {}
        pairs = [(row["instruction"], row["response"]) for row in ended.rows()]
        assert sorted(pairs) == sorted((row["question"], row["answer"]) for row in ROWS)

    def test_of_two_equal_keys_the_last_counts(self, prepare: Prepare, tmp_path: Path) -> None:
        line = b'{"question": "What is it?", "answer": "first", "answer": "second"}\n'
        ended = prepare("--dataset", put(tmp_path / "a.jsonl", line * 3))
        assert ended.code == 0, ended.err
        assert {row["response"] for row in ended.rows()} == {"second"}

    @pytest.mark.parametrize("inner", [b"[" * 100_000 + b"]" * 100_000, b"1" * 5000, b"[NaN]"])
    @pytest.mark.parametrize("neighbour", [b"", b"{broken\n"], ids=["alone", "beside a bad line"])
    def test_columns_that_are_not_read_break_no_row(
        self, prepare: Prepare, tmp_path: Path, inner: bytes, neighbour: bytes
    ) -> None:
        """Nor does it matter what stands beside the row: a bad line changes how it is parsed."""
        odd = b'{"question": "What is it?", "answer": "It is so.", "extra": ' + inner + b"}\n"
        ended = prepare("--dataset", put(tmp_path / "a.jsonl", GOOD + odd + neighbour))
        assert ended.code == 0, ended.err
        assert ended.counts["rejected"]["by_reason"] == ({"broken-json": 1} if neighbour else {})
        assert "It is so." in {row["response"] for row in ended.rows()}


class TestJsonArray:
    @pytest.mark.parametrize(
        ("data", "says"),
        [
            (json.dumps(ROWS).encode()[:-1], "the end of the file after 40 elements"),
            (json.dumps(ROWS).encode()[:-30], "after 39 elements"),
            (json.dumps(ROWS).encode() * 2, "more text after the closing bracket after 40"),
            (b"[]" + GOOD, "more text after the closing bracket after 0"),
            (b'[{"question": "a b c", "answer": "d"} {"question": "e"}]', "after 1 elements"),
            (b'[{"question": "a b c", "answer": "d"}, {"question": tru}]', "after 1 elements"),
            (b"[" * 100_000, "after 0 elements"),
        ],
        ids=["unclosed", "cut", "two arrays", "lines behind", "no comma", "literal", "deep"],
    )
    def test_23_a_broken_array_is_refused_whole(
        self, prepare: Prepare, tmp_path: Path, data: bytes, says: str
    ) -> None:
        ended = prepare("--dataset", put(tmp_path / "a.json", data))
        assert ended.code == 3
        assert has(ended.err, "a.json", "not a whole JSON array", says, "replace it")

    def test_23_bad_elements_are_rejects_with_their_number(
        self, prepare: Prepare, tmp_path: Path
    ) -> None:
        bad = ["null", "17", '{"question": "What?", "answer": "\\ud800"}']
        text = ",".join([*bad, *map(json.dumps, ROWS), '{"question": "What?", "answer": 5}'])
        path = put(tmp_path / "a.json", f"[{text}]")
        ended = prepare("--dataset", path, "--max-reject-rate", "0.5")
        assert ended.code == 0, ended.err
        assert ended.rejects == [
            ("a.json", 1, "not-an-object"),
            ("a.json", 2, "not-an-object"),
            ("a.json", 3, "invalid-unicode"),
            ("a.json", 44, "not-text"),
        ]


class TestDelimited:
    """24: ragged rows are rejects; what would swallow rows is an error."""

    @pytest.mark.parametrize("kind", ["csv", "tsv"])
    def test_24_ragged_rows(self, prepare: Prepare, tmp_path: Path, kind: str) -> None:
        rows = ["question,answer\n", *[CSV_ROW] * 40]
        rows[3:3] = ["too,many,cells\n"]
        rows[20:20] = ["\n", "too few\n", '"quoted\nover lines",and,more\n']
        rows.append("one,too,many")
        text = "".join(rows)
        path = put(tmp_path / f"a.{kind}", text.replace(",", "\t") if kind == "tsv" else text)
        ended = prepare("--dataset", path, "--dedup", "off", "--max-reject-rate", "0.2")
        assert ended.code == 0, ended.err
        # Rows are counted, not lines, and blank lines are no rows.
        assert ended.rejects == [(path.name, n, "ragged-row") for n in (3, 20, 21, 44)]
        assert len(ended.rows()) == 40

    def test_24_cells_and_ragged_rows_that_are_no_utf8(
        self, prepare: Prepare, tmp_path: Path
    ) -> None:
        good = CSV_ROW.encode()
        rows = [good, b"gr\xfcn,It is.\n", good, b"a\xff,b,c\n", "grün,It is.\n".encode()]
        path = put(tmp_path / "a.csv", b"question,answer\n" + b"".join(rows))
        ended = prepare("--dataset", path, "--dedup", "off", "--max-reject-rate", "0.5")
        assert ended.code == 0, ended.err
        assert ended.rejects == [("a.csv", 2, "invalid-unicode"), ("a.csv", 4, "ragged-row")]
        assert len(ended.rows()) == 3

    def test_24_a_file_of_bad_rows_only(self, prepare: Prepare, tmp_path: Path) -> None:
        ended = prepare("--dataset", put(tmp_path / "a.csv", "question,answer\na,b,c\nd\n"))
        assert ended.code == 3
        assert has(ended.err, "none of the first 2 rows", "a.csv", "2 cells", "','")

    @pytest.mark.parametrize(
        "row",
        ['"What is it?,It is.\n', 'What is it?,"It is.\n', 'What is it?,"It is.', '"', '"a""'],
    )
    def test_24_a_quote_that_is_not_closed(
        self, prepare: Prepare, tmp_path: Path, row: str
    ) -> None:
        """All that follows would be one cell, and one reject at most."""
        rest = CSV_ROW * 3 if row.endswith("\n") else ""
        text = "question,answer\n" + CSV_ROW * 99 + row + rest
        ended = prepare("--dataset", put(tmp_path / "a.csv", text))
        assert ended.code == 3
        assert has(ended.err, "a.csv", "quote that is not closed")

    def test_24_a_row_too_long_for_the_parser(self, prepare: Prepare, tmp_path: Path) -> None:
        row = '"' + "What is it? " * 1_000_000 + '",It is.\n'
        ended = prepare("--dataset", put(tmp_path / "a.csv", "question,answer\n" + CSV_ROW + row))
        assert ended.code == 3
        assert has(ended.err, "a.csv", "longer than", "JSON Lines")


class TestCompressed:
    """25: cut or damaged streams are errors; a bomb costs no memory."""

    @pytest.mark.parametrize("compression", ["gzip", "zstd"])
    @pytest.mark.parametrize("left", [-1, -8, 0.5])
    @pytest.mark.parametrize("first", [b"", GOOD], ids=["one member", "second member"])
    def test_25_truncated(
        self, prepare: Prepare, tmp_path: Path, compression: str, left: float, first: bytes
    ) -> None:
        packed = pa.compress(GOOD, compression, asbytes=True)
        cut = packed[: int(left) if left < 0 else int(len(packed) * left)]
        whole = pa.compress(first, compression, asbytes=True) if first else b""
        name = {"gzip": "a.jsonl.gz", "zstd": "a.jsonl.zst"}[compression]
        ended = prepare("--dataset", put(tmp_path / name, whole + cut))
        assert ended.code == 3
        assert has(ended.err, "cannot read", name, "runcated", "damaged", "replace it")

    @pytest.mark.parametrize("compression", ["gzip", "zstd"])
    def test_25_several_members_are_one_file(
        self, prepare: Prepare, tmp_path: Path, compression: str
    ) -> None:
        middle = GOOD.index(b"\n", len(GOOD) // 2) - 5
        parts = (GOOD[:middle], GOOD[middle:])
        data = b"".join(pa.compress(part, compression, asbytes=True) for part in parts)
        name = {"gzip": "a.jsonl.gz", "zstd": "a.jsonl.zst"}[compression]
        ended = prepare("--dataset", put(tmp_path / name, data))
        assert ended.code == 0, ended.err
        assert len(ended.rows()) == len(ROWS)

    def test_25_a_changed_byte(self, prepare: Prepare, tmp_path: Path) -> None:
        data = bytearray(gzip.compress(GOOD))
        data[len(data) // 2] ^= 1
        ended = prepare("--dataset", put(tmp_path / "a.jsonl.gz", bytes(data)))
        assert ended.code == 3
        assert has(ended.err, "a.jsonl.gz", "damaged")

    @pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
    def test_25_a_bomb_is_a_reject_or_an_error_in_flat_memory(
        self, tmp_path: Path, kind: str
    ) -> None:
        path = tmp_path / f"bomb.{kind}.gz"
        cell = b'{"question": "What is it?", "answer": "'
        start = {
            "jsonl": GOOD * 13 + cell,  # more rows than the plan looks at
            "json": b"[" + GOOD.replace(b"\n", b",") * 13 + cell,
            "csv": b"question,answer\n" + CSV_ROW.encode() * 520 + b'What is it?,"',
        }[kind]
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(start)
            for _ in range(400):
                file.write(bytes(2**20).replace(b"\0", b"0"))
            file.write({"jsonl": b'"}\n' + GOOD, "json": b'"}]', "csv": b'"\n'}[kind])
        assert path.stat().st_size < 2**21 * 4
        script = """
import resource, sys
from pipeline.cli.main import main
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
def run(source, name):
    words = ["--dataset", source, "--output", f"{sys.argv[3]}/{name}", "--skip-upload", "--quiet"]
    return main(words)
assert run(sys.argv[1], "small") == 0
before = peak()
code = run(sys.argv[2], "bomb")
print(code, round(peak() - before))
"""
        small = put(tmp_path / "small.jsonl", GOOD)
        done = subprocess.run(
            [sys.executable, "-c", script, str(small), str(path), str(tmp_path)],
            capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        code, grown = map(int, done.stdout.split())
        assert grown < 390, "less than the 400 MiB of the row"
        bomb = Ended(code, done.stdout, done.stderr, tmp_path / "bomb")
        if kind == "jsonl":
            assert code == 0, done.stderr
            assert bomb.rejects == [(path.name, 521, "row-too-large")]
            assert bomb.manifest["counts"]["read"] == 561
        else:
            assert code == 3
            says = {"json": "an element of more than", "csv": "row longer than"}[kind]
            assert has(done.stderr, path.name, says)
            assert not bomb.output.exists()


class TestKindsThatAreNotRead:
    """26, 27, 30, 31: formats that run code or hold other files."""

    @pytest.mark.parametrize(
        "name",
        ["a.tar", "a.tar.gz", "a.tgz", "a.zip", "a.pkl", "a.pickle", "a.pt", "a.bin", "a.npy",
         "a.npz", "a.py", "a.joblib", "a.jsonl.bz2", "a.parquet.gz", "a.txt", "a", ".jsonl.exe"],
    )  # fmt: skip
    def test_26_27_31_other_kinds_of_files(
        self, prepare: Prepare, tmp_path: Path, name: str
    ) -> None:
        ended = prepare("--dataset", put(tmp_path / name, evil_pickle(tmp_path)))
        assert ended.code == 2
        assert has(ended.err, f"cannot read {name}", "expected .parquet", ".jsonl", ".gz or .zst")
        assert not (tmp_path / "canary").exists()

    @pytest.mark.parametrize("kind", ["tar", "zip", "pkl", "npy", "bad zip", "bz2"])
    def test_26_27_31_a_folder_of_them(self, prepare: Prepare, tmp_path: Path, kind: str) -> None:
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
        ended = prepare("--dataset", folder)
        assert ended.code in (2, 3)
        assert has(ended.err, "data")
        assert not list(tmp_path.rglob("escaped*"))
        assert not (tmp_path / "canary").exists()

    def test_31_a_pickle_under_a_name_that_is_read(self, prepare: Prepare, tmp_path: Path) -> None:
        for name in ("a.parquet", "a.jsonl", "a.arrow", "a.json.gz"):
            ended = prepare("--dataset", put(tmp_path / name, evil_pickle(tmp_path)))
            assert ended.code == 3
            assert has(ended.err, name)
        assert not (tmp_path / "canary").exists()

    def test_31_a_pickle_beside_the_data_is_left_alone(
        self, prepare: Prepare, good: Path, tmp_path: Path
    ) -> None:
        put(good.parent / "model.pkl", evil_pickle(tmp_path))
        assert prepare("--dataset", good.parent).code == 0
        assert not (tmp_path / "canary").exists()

    def test_30_a_script_in_the_folder_is_refused_and_not_run(
        self, prepare: Prepare, good: Path, tmp_path: Path
    ) -> None:
        script = f"open({str(tmp_path / 'canary')!r}, 'w')"
        put(good.parent / f"{good.parent.name}.py", script)
        ended = prepare("--dataset", good.parent)
        assert ended.code == 2
        assert has(ended.err, str(good.parent), "scripts are no longer supported")
        assert not (tmp_path / "canary").exists()


def evil_pickle(folder: Path) -> bytes:
    """A pickle that makes ``folder/canary`` when it is loaded."""

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {folder / 'canary'}",)

    return pickle.dumps(Evil())


def saved_folder(
    path: Path, table: pa.Table = TABLE, features: object = None, files: object = None
) -> Path:
    """A folder as ``save_to_disk`` writes it, with one split; ``files`` is what it says it has."""
    stream(path / "train" / "data-00000-of-00001.arrow", table)
    put(path / "dataset_dict.json", '{"splits": ["train"]}')
    names = [{"filename": "data-00000-of-00001.arrow"}] if files is None else files
    put(path / "train" / "state.json", json.dumps({"_data_files": names, "_fingerprint": "0"}))
    put(path / "train" / "dataset_info.json", json.dumps({"features": features or {}}))
    return path


class TestSavedFolders:
    """28, 29: what a folder says of itself is not trusted."""

    @pytest.mark.parametrize(
        "name",
        ["../secret.arrow", "/etc/passwd", "..", ".", "", "a/../../secret.arrow", None, 7, "a\0b"],
    )
    def test_28_files_outside_of_the_folder(
        self, prepare: Prepare, tmp_path: Path, name: object
    ) -> None:
        stream(tmp_path / "in" / "secret.arrow", TABLE)
        source = saved_folder(tmp_path / "in", files=[{"filename": name}])
        ended = prepare("--dataset", source)
        assert ended.code == 3
        assert has(ended.err, "state.json", "expected file names in its folder")

    @pytest.mark.parametrize("splits", [["../other"], ["/etc"], [".."], [], "train", [7]])
    def test_28_splits_outside_of_the_folder(
        self, prepare: Prepare, tmp_path: Path, splits: object
    ) -> None:
        source = saved_folder(tmp_path / "in")
        put(source / "dataset_dict.json", json.dumps({"splits": splits}))
        ended = prepare("--dataset", source)
        assert ended.code == 3
        assert has(ended.err, "dataset_dict.json", "splits")

    @pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'{"_data_files": 5}', b"\xff"])
    def test_28_a_broken_state(self, prepare: Prepare, tmp_path: Path, data: bytes) -> None:
        source = saved_folder(tmp_path / "in")
        put(source / "train" / "state.json", data)
        ended = prepare("--dataset", source)
        assert ended.code == 3
        assert has(ended.err, "state.json")

    def test_28_a_missing_shard(self, prepare: Prepare, tmp_path: Path) -> None:
        source = saved_folder(tmp_path / "in", files=[{"filename": "data-00001-of-00002.arrow"}])
        ended = prepare("--dataset", source)
        assert ended.code == 3
        assert has(ended.err, "data-00001-of-00002.arrow is missing", "state.json")

    def test_28_a_linked_shard(self, prepare: Prepare, tmp_path: Path) -> None:
        secret = stream(tmp_path / "secret.arrow", TABLE)
        source = saved_folder(tmp_path / "in", files=[{"filename": "link.arrow"}])
        (source / "train" / "link.arrow").symlink_to(secret)
        ended = prepare("--dataset", source)
        assert ended.code == 2
        assert has(ended.err, "link.arrow", "link out of the folder")

    @pytest.mark.parametrize("way", ["file", "saved"])
    @pytest.mark.parametrize("ending", range(8))
    def test_29_a_stream_cut_between_batches(
        self, prepare: Prepare, tmp_path: Path, way: str, ending: int
    ) -> None:
        """A cut stream reads without error, and may end with zeros like a whole one."""
        sink, batches = io.BytesIO(), []
        # Each batch by itself: slices of a larger one are not padded with zeros.
        for part in range(3):
            texts = ["It is so."] * 9 + ["It is" + "." * ending]
            batches.append(table_of(answer=texts[part:]).combine_chunks().to_batches()[0])
        with pa.ipc.new_stream(sink, batches[0].schema) as writer:
            ends = [writer.write_batch(batch) or sink.tell() for batch in batches]
        source = saved_folder(tmp_path / "in")
        shard = source / "train" / "data-00000-of-00001.arrow"
        for end in (*ends, len(sink.getvalue()) - 8, len(sink.getvalue()) - 4):
            put(shard, sink.getvalue()[:end])
            ended = prepare("--dataset", source if way == "saved" else shard)
            assert ended.code == 3
            assert has(ended.err, shard.name, "no end-of-stream marker", "rows are missing")
        put(shard, sink.getvalue())
        assert prepare("--dataset", source if way == "saved" else shard).code == 0

    def test_29_two_streams_in_one_file(self, prepare: Prepare, tmp_path: Path) -> None:
        path = stream(tmp_path / "a.arrow", TABLE)
        put(path, path.read_bytes() * 2)
        ended = prepare("--dataset", path)
        assert ended.code == 3
        assert has(ended.err, "a.arrow", "goes on after the end", "one stream")


class TestRows:
    """32-35, 39, 41, 42: rejects with reason and place; what is kept is kept as it is."""

    @pytest.mark.parametrize(
        ("row", "code"),
        [
            ({"question": None, "answer": "It is."}, "null-instruction"),
            ({"question": "", "answer": "It is."}, "empty-instruction"),
            ({"question": " \t\n\u00a0\u3000", "answer": "It is."}, "blank-instruction"),
            ({"answer": "It is."}, "null-instruction"),
            ({"question": "What?", "answer": None}, "null-response"),
            ({"question": "What?", "answer": ""}, "empty-response"),
            ({"question": "What?", "answer": "\r\n"}, "blank-response"),
            ({"question": "What?"}, "null-response"),
        ],
    )
    @pytest.mark.parametrize("kind", ["jsonl", "parquet"])
    def test_32_null_empty_and_blank_text(
        self, prepare: Prepare, tmp_path: Path, row: dict[str, Any], code: str, kind: str
    ) -> None:
        rows = [*ROWS[:5], row, *ROWS[5:]]
        path = tmp_path / f"a.{kind}"
        if kind == "jsonl":
            lines(path, *rows)
        else:
            parquet(path, pa.Table.from_pylist(rows, TABLE.schema))
        ended = prepare("--dataset", path)
        assert ended.code == 0, ended.err
        assert ended.rejects == [(path.name, 6, code)]
        assert len(ended.rows()) == len(ROWS)

    @pytest.mark.parametrize(
        ("messages", "code"),
        [
            (
                [{"role": "assistant", "content": "So."}, {"role": "user", "content": "What?"}],
                "starts-with-assistant",
            ),
            (
                [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
                "no-assistant-turn",
            ),
            ([{"role": "wizard", "content": "a"}], "unknown-role"),
        ],
        ids=["assistant first", "two users", "unknown role"],
    )
    def test_33_conversations_without_an_answer_to_learn(
        self, prepare: Prepare, tmp_path: Path, messages: list[Any], code: str
    ) -> None:
        path = lines(tmp_path / "a.jsonl", *[{"id": i, "messages": messages} for i in range(9)])
        ended = prepare("--dataset", path)
        assert ended.code == 8
        assert has(ended.err, "9 of 9 rows", f"{code} 9", "--max-reject-rate")

    def test_33_a_column_of_empty_lists(self, prepare: Prepare, tmp_path: Path) -> None:
        path = lines(tmp_path / "a.jsonl", *[{"id": i, "messages": []} for i in range(9)])
        ended = prepare("--dataset", path)
        assert ended.code == 2
        assert has(ended.err, "cannot detect the columns", "messages (list)", "--fields")
        ended = prepare("--dataset", path, "--fields", "instruction=messages,response=messages")
        assert ended.code == 2
        assert has(ended.err, "'messages'", "list", "text or number column")

    @pytest.mark.parametrize(
        "content", [["a", "b"], [], {"text": "a"}, {}, 7, 1.5, True, [{"type": "text"}]]
    )
    def test_34_content_that_is_no_text(
        self, prepare: Prepare, tmp_path: Path, content: object
    ) -> None:
        rows = [*ROWS, {"question": "What is it?", "answer": content}, *ROWS]
        for path in (
            lines(tmp_path / "a.jsonl", *rows),
            put(tmp_path / "a.json", json.dumps(rows)),
        ):
            ended = prepare(
                "--dataset", path, "--dedup", "off", output=tmp_path / f"set {path.suffix}"
            )
            assert ended.code == 0, ended.err
            assert ended.rejects == [(path.name, 41, "not-text")]
            assert len(ended.rows()) == 2 * len(ROWS)

    TEXTS = (
        "NUL \0 and bell \a and escape \x1b[31m and delete \x7f",
        "right \u202eto left\u202c, isolates \u2066x\u2069, marks \u200f\u200e",
        unicodedata.normalize("NFC", "é ü ﬁ Å 각"),
        unicodedata.normalize("NFD", "é ü ﬁ Å 각"),
        "zero width \u200b\u200d\ufeff and separators \u2028 \u2029 \x85 \x0b \x0c",
        "  led and trailed by space \t\r\n\r ",
        "e" + "\u0301" * 5000 + " combining",
        "private \ue000 \U0010fffd, not a character \ufffe \ufdd0, emoji 👩‍👩‍👧‍👦",
        "<|im_sta" + "\u00ad" + "rt|>",
        "{{ 7*7 }} {% for x in range(9**9) %}{{ x }}{% endfor %} {{ ''.__class__ }} ${7*7}",
        "%(a)s {0}",
        "'; DROP TABLE t; -- <script>alert(1)</script> $(touch x) `id` \\n \\u0041",
    )

    @pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "arrow", "csv"])
    def test_35_39_odd_text_survives_byte_for_byte(
        self, prepare: Prepare, tmp_path: Path, kind: str
    ) -> None:
        # In both fields, which would also show a text that is put together and parsed again.
        rows = [{"question": text, "answer": text[::-1]} for text in self.TEXTS]
        path = tmp_path / f"a.{kind}"
        if kind == "jsonl":
            put(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        elif kind == "json":
            put(path, json.dumps(rows))
        elif kind == "csv":
            quoted = [
                ",".join('"' + cell.replace('"', '""') + '"' for cell in row.values())
                for row in rows
            ]
            put(path, "\r\n".join(["question,answer", *quoted]))
        else:
            {"parquet": parquet, "arrow": stream}[kind](path, pa.Table.from_pylist(rows))
        ended = prepare("--dataset", path, *NAMED)
        assert ended.code == 0, ended.err
        assert ended.counts["rejected"]["by_reason"] == {}
        found = {row["instruction"]: row for row in ended.rows()}
        for text in self.TEXTS:
            assert found[text]["response"] == text[::-1]
            assert found[text]["text"].endswith(
                f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n{text[::-1]}<|im_end|>"
            )

    def test_35_arrow_text_that_is_no_utf8(self, prepare: Prepare, tmp_path: Path) -> None:
        """Neither Parquet nor Arrow promises that a string is text."""
        raw = [b"What is it, then?"] * 600 + [b"What is \xff?", b"\xed\xa0\x80 is what?"]
        questions = pa.array(raw).view(pa.string())
        table = pa.table({"question": questions, "answer": ["It is so."] * len(raw)})
        for write, kind in ((parquet, "parquet"), (stream, "arrow")):
            path = write(tmp_path / f"a.{kind}", table)
            ended = prepare("--dataset", path, "--dedup", "off", output=tmp_path / f"set-{kind}")
            assert ended.code == 0, ended.err
            assert ended.rejects == [(path.name, row, "invalid-unicode") for row in (601, 602)]
            assert len(ended.rows()) == 600

    @pytest.mark.parametrize("kind", ["parquet", "arrow"])
    def test_35_arrow_text_that_is_no_utf8_among_the_first_rows(
        self, prepare: Prepare, tmp_path: Path, kind: str
    ) -> None:
        raw = [b"What is \xff, then?"] + [b"What is it, then?"] * 40
        table = pa.table(
            {"question": pa.array(raw).view(pa.string()), "answer": ["It is so."] * len(raw)}
        )
        path = {"parquet": parquet, "arrow": stream}[kind](tmp_path / f"a.{kind}", table)
        ended = prepare("--dataset", path)
        assert ended.code == 0, ended.err
        assert ended.rejects == [(path.name, 1, "invalid-unicode")]

    @pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
    def test_41_numbers_that_say_nothing(self, prepare: Prepare, tmp_path: Path, kind: str) -> None:
        values = [1.5, math.nan, math.inf, -math.inf, -2.25, None, 1e300]
        questions = [f"What is number {i}?" for i in range(len(values))]
        path = tmp_path / f"a.{kind}"
        if kind == "parquet":
            parquet(path, table_of(answer=pa.array(values, pa.float64())))
        else:
            rows = [{"question": q, "answer": v} for q, v in zip(questions, values, strict=True)]
            put(path, json.dumps(rows)) if kind == "json" else lines(path, *rows)
        ended = prepare("--dataset", path, *NAMED, "--max-reject-rate", "1")
        assert ended.code == 0, ended.err
        assert ended.rejects == [(path.name, row, "null-response") for row in (2, 3, 4, 6)]
        assert {row["response"] for row in ended.rows()} == {"1.5", "-2.25", "1e+300"}

    @pytest.mark.parametrize("kind", ["jsonl", "json"])
    def test_41_integers_that_no_int64_holds(
        self, prepare: Prepare, tmp_path: Path, kind: str
    ) -> None:
        good = [0, -1, 2**63 - 1, -(2**63)]
        rows = [{"question": f"What is number {i}?", "answer": i} for i in good * 150]
        rows += [{"question": "What is it?", "answer": i} for i in (2**63, -(2**63) - 1, 10**400)]
        path = tmp_path / f"a.{kind}"
        put(path, json.dumps(rows)) if kind == "json" else lines(path, *rows)
        ended = prepare("--dataset", path, *NAMED)
        assert ended.code == 0, ended.err
        assert ended.rejects == [(path.name, row, "wrong-type") for row in (601, 602, 603)]
        assert {row["response"] for row in ended.rows()} == {str(i) for i in good}

    @pytest.mark.parametrize(
        ("values", "kind"),
        [
            (pa.array([date(1969, 12, 31)]), "date32"),
            (pa.array([datetime(1066, 10, 14)]), "timestamp"),
            (pa.array([b"bytes"]), "binary"),
            (pa.array([["a"]]), "list"),
            (pa.array([{"a": "b"}]), "struct"),
            (pa.nulls(1), "null"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_41_columns_that_are_neither_text_nor_number(
        self, prepare: Prepare, tmp_path: Path, values: pa.Array, kind: str
    ) -> None:
        path = parquet(tmp_path / "a.parquet", table_of(answer=values))
        ended = prepare("--dataset", path, *NAMED)
        assert ended.code == 2
        assert has(ended.err, "--fields", "'answer'", kind, "text or number column is needed")

    def test_42_every_row_rejected(self, prepare: Prepare, tmp_path: Path) -> None:
        rows = [{"question": f"What {i}?", "answer": ""} for i in range(30)]
        words = ("--dataset", lines(tmp_path / "a.jsonl", *rows), *NAMED)
        ended = prepare(*words)
        assert ended.code == 8
        assert has(ended.err, "30 of 30 rows", "100.0%", "empty-response 30", "--max-reject-rate")

        ended = prepare(*words, "--max-reject-rate", "1")
        assert ended.code == 0, ended.err
        assert has(ended.out, "Warning", "every row was rejected", "empty")
        data = load_from_disk(str(ended.output))
        assert {split: data[split].num_rows for split in data} == {"train": 0, "validation": 0}
        assert data["train"].column_names == ["text", "instruction", "response"]
        assert ended.counts["rejected"]["by_reason"] == {"empty-response": 30}


class TestOutput:
    """Where the output cannot be written as asked."""

    def test_an_output_below_a_system_folder(self, prepare: Prepare, good: Path) -> None:
        ended = prepare("--dataset", good, output="/proc/no/such/set")
        assert ended.code in (4, 5)
        assert has(ended.err, "/proc/no/such/set")

    def test_an_output_that_is_a_link_is_written_where_it_points(
        self, prepare: Prepare, good: Path, tmp_path: Path
    ) -> None:
        for name in ("present", "absent"):
            (tmp_path / f"to {name}").symlink_to(tmp_path / name)
        (tmp_path / "present").mkdir()
        for name in ("present", "absent"):
            ended = prepare("--dataset", good, output=tmp_path / f"to {name}")
            assert ended.code == 0, ended.err
            assert (tmp_path / f"to {name}").is_symlink()
            assert (tmp_path / name / "dataset_dict.json").is_file()

    def test_json_errors_are_one_object_on_stdout(self, prepare: Prepare, tmp_path: Path) -> None:
        ended = prepare("--dataset", put(tmp_path / "a.jsonl", b"hello\n"), "--json", "--quiet")
        assert ended.code == 3
        error = json.loads(ended.out)["error"]
        assert error["exit_code"] == 3
        assert error["message"] in ended.err


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_error(404)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


class server:  # noqa: N801 - a context manager
    """A web server on this machine: its address, and the paths that were asked for."""

    def __enter__(self) -> tuple[str, list[str]]:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.asked = []  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}", self._server.asked  # type: ignore[attr-defined]

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
