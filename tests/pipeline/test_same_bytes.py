"""The job end to end: the same bytes on every way of running it, every row once, golden texts."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import random
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import regenerate_golden
from environments import environment, pins, pip

from pipeline import Request, prepare
from pipeline.planning.plan import make_plan
from transforms.chat.builtin_templates import chatml
from transforms.errors import GateFailed
from transforms.split import SPLITS

ONE_THREAD = ("--direct_running_mode=in_memory", "--direct_num_workers=1")
TWO_THREADS = ("--direct_running_mode=multi_threading", "--direct_num_workers=2")
TWO_PROCESSES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
SMALL_BATCHES = 2_000
LARGE_BATCHES = 2**22
UNIT_BYTES = 170_000

Row = dict[str, str]
Loader = Callable[[Path, Path], dict[str, list[Row]]]


def small_request(source: Path, output: Path, **more: Any) -> Request:
    """A request for units far below what users may ask for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.request.MIN_SHARD_BYTES", 1)
        more = {"shard_size": UNIT_BYTES, "max_reject_rate": 0.5, **more}
        return Request(str(source), str(output), skip_upload=True, **more)


def files_of(output: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file()
    }


def result(output: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Every file of a set but the manifest, and the manifest without ``run``."""
    files = files_of(output)
    manifest = json.loads(files.pop("manifest.json"))
    del manifest["run"]
    return files, manifest


def make_rows(count: int) -> list[dict[str, object]]:
    """Rows of uneven length, some with equal prompts; no rejects."""
    chance = random.Random(7)
    words = [
        "sum",
        "of",
        "the",
        "trees",
        "in",
        "Åbo",
        "漢字",
        "😀",
        "x²",
        "< 7",
        "\n\t",
        "$\\frac$",
    ]
    return [
        {
            "question": f"{' '.join(chance.choices(words, k=chance.randint(1, 9)))} {n % 4000}?",
            "id": n,
            "answer": " ".join(["So", *chance.choices(words, k=chance.randint(1, 20))]),
        }
        for n in range(count)
    ]


def spoil(lines: list[bytes]) -> list[bytes]:
    """The lines with every kind of bad one among them."""
    bad = [
        b'{"question": "", "answer": "no question"}',
        b'{"question": " \\n\\t", "answer": "no question"}',
        b'{"question": "no answer", "answer": null}',
        b'{"question": "no answer"}',
        b'{"question": "no answer", "answer": ""}',
        b'{"question": "cut off", "ans',
        b'["a", "list"]',
        b'{"question": [5], "answer": "a list"}',
        b'{"question": "not UTF-8 \xff", "answer": "x"}',
        b'{"question": "half a pair \\ud83d", "answer": "x"}',
        b"",  # a blank line is no row
        b"\x00",
    ]
    chance = random.Random(8)
    for n in range(10 * len(bad)):
        lines.insert(chance.randrange(len(lines)), bad[n % len(bad)])
    return lines


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good and bad rows, in more than five units of more than a thousand rows each."""
    path = tmp_path_factory.mktemp("source") / "rows.jsonl"
    lines = [json.dumps(row, ensure_ascii=False).encode() for row in make_rows(7_000)]
    path.write_bytes(b"\n".join(spoil(lines)) + b"\n")
    return path


@pytest.fixture(scope="module")
def reference(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set as one thread makes it, with the batches that users have."""
    output = tmp_path_factory.mktemp("reference") / "out"
    prepare(small_request(source, output, beam_args=ONE_THREAD))
    return output


class TestSameBytes:
    def test_the_reference_has_what_a_difference_would_show_in(self, reference: Path) -> None:
        files, manifest = result(reference)
        for split in SPLITS:
            assert len([f for f in files if f.startswith(f"{split}/data-")]) >= 5
        assert max(f["rows"] for f in manifest["files"] if f["path"].startswith("train")) > 1000
        assert sum(f.startswith("rejects/") for f in files) >= 5
        counts = manifest["counts"]
        assert counts["read"] == 7_110 == counts["train"] + counts["validation"] + 110
        assert counts["rejected"] == {
            "total": 110,
            "by_reason": {
                "blank-instruction": 10,
                "broken-json": 20,
                "empty-instruction": 10,
                "empty-response": 10,
                "invalid-unicode": 20,
                "not-an-object": 10,
                "not-text": 10,
                "null-response": 20,
            },
        }

    @pytest.mark.parametrize(
        ("beam_args", "batch_bytes"),
        [
            pytest.param(ONE_THREAD, SMALL_BATCHES, id="one thread, small batches"),
            pytest.param(TWO_THREADS, LARGE_BATCHES, id="two threads, large batches"),
            pytest.param(TWO_THREADS, SMALL_BATCHES, id="two threads, small batches"),
            pytest.param(TWO_PROCESSES, LARGE_BATCHES, id="two processes, large batches"),
            pytest.param(TWO_PROCESSES, SMALL_BATCHES, id="two processes, small batches"),
            pytest.param((), 50_000, id="the project's own choice, batches in between"),
        ],
    )
    def test_every_way_of_running_gives_the_same_bytes(
        self,
        source: Path,
        reference: Path,
        tmp_path: Path,
        beam_args: tuple[str, ...],
        batch_bytes: int,
    ) -> None:
        request = small_request(source, tmp_path / "out", beam_args=beam_args)
        prepare(request, batch_bytes=batch_bytes)
        files, manifest = result(tmp_path / "out")
        expected_files, expected_manifest = result(reference)
        assert list(files) == list(expected_files)
        assert [path for path in files if files[path] != expected_files[path]] == []
        assert manifest == expected_manifest

    def test_the_manifest_lists_every_file_with_its_sha256(self, reference: Path) -> None:
        files, manifest = result(reference)
        del files["dataset_dict.json"]  # written after the manifest
        assert {entry["path"]: entry["sha256"] for entry in manifest["files"]} == {
            path: hashlib.sha256(data).hexdigest() for path, data in files.items()
        }

    def test_only_run_may_differ_and_tells_when_and_where(self, reference: Path) -> None:
        run = json.loads((reference / "manifest.json").read_bytes())["run"]
        assert set(run) >= {"started", "finished", "seconds", "runner", "versions"}

    def test_the_plan_does_not_depend_on_how_it_will_run(
        self, source: Path, tmp_path: Path
    ) -> None:
        plans = [
            make_plan(small_request(source, tmp_path / name, beam_args=beam_args))
            for name, beam_args in (("a", ()), ("b", ONE_THREAD), ("c", TWO_PROCESSES))
        ]
        assert len({plan.digest for plan in plans}) == 1
        assert plans[0].units == plans[1].units == plans[2].units

    def test_the_set_holds_no_path_of_this_machine(self, source: Path, reference: Path) -> None:
        for path, data in files_of(reference).items():
            if path not in ("README.md", "manifest.json", "report.html"):  # they repeat --dataset
                assert str(source.parent).encode() not in data, path
        assert str(reference).encode() not in b"".join(files_of(reference).values())

    def test_rejects_name_the_line_in_the_file(self, source: Path, reference: Path) -> None:
        lines = source.read_bytes().split(b"\n")
        rejects = [
            json.loads(line)
            for path, data in files_of(reference).items()
            if path.startswith("rejects/")
            for line in data.splitlines()
        ]
        assert len(rejects) == 110
        assert [reject["row"] for reject in rejects] == sorted(r["row"] for r in rejects)
        for reject in rejects:
            line = lines[reject["row"] - 1]
            assert reject["file"] == "rows.jsonl"
            if reject["code"] == "broken-json":
                assert line.startswith((b'{"question": "cut off"', b"\x00"))
            elif reject["code"] == "not-an-object":
                assert line.startswith(b"[")
            else:
                assert line.startswith(b'{"question": ')


def write_parquet(path: Path, rows: list[dict[str, object]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=700)


def write_arrow(path: Path, rows: list[dict[str, object]]) -> None:
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(path, table.schema) as stream:
        stream.write_table(table, max_chunksize=700)


def write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(text.getvalue().encode())


def write_json(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("rows.parquet", write_parquet),
        ("rows.arrow", write_arrow),
        ("rows.csv", write_csv),
        ("rows.tsv", write_csv),
        ("rows.json", write_json),
    ],
)
def test_batch_sizes_show_in_no_format(
    tmp_path: Path, name: str, write: Callable[[Path, list[dict[str, object]]], None]
) -> None:
    rows = make_rows(2_500)
    for n in range(0, 2_500, 100):
        rows[n]["answer"] = ""
    write(tmp_path / name, rows)
    results = []
    for batch_bytes in (SMALL_BATCHES, LARGE_BATCHES):
        output = tmp_path / f"out-{batch_bytes}"
        request = small_request(tmp_path / name, output, beam_args=ONE_THREAD)
        prepare(request, batch_bytes=batch_bytes)
        results.append(result(output))
    assert results[0] == results[1]
    counts = results[0][1]["counts"]
    assert (counts["read"], counts["rejected"]["by_reason"]) == (2_500, {"empty-response": 25})


def test_added_rows_move_no_old_row(source: Path, reference: Path, tmp_path: Path) -> None:
    lines = source.read_bytes().splitlines(keepends=True)
    (tmp_path / "fewer.jsonl").write_bytes(b"".join(lines[::3]))
    prepare(small_request(tmp_path / "fewer.jsonl", tmp_path / "out", beam_args=ONE_THREAD))
    before, after = (
        {split: {row["instruction"] for row in rows} for split, rows in from_disk(p, p).items()}
        for p in (tmp_path / "out", reference)
    )
    assert before["train"] <= after["train"]
    assert before["validation"] <= after["validation"]
    assert len(before["validation"]) > 100
    assert not after["train"] & after["validation"]


def test_the_first_rows_are_taken_in_source_order(source: Path, tmp_path: Path) -> None:
    request = small_request(source, tmp_path / "out", max_samples=1_500, beam_args=TWO_THREADS)
    manifest = prepare(request, batch_bytes=SMALL_BATCHES)
    assert manifest["counts"]["read"] == 1_500
    good = [json.loads(line) for line in source.read_bytes().splitlines() if is_good(line)]
    kept = manifest["counts"]["train"] + manifest["counts"]["validation"]
    assert multiset(from_disk(tmp_path / "out", tmp_path)) == Counter(
        (row["question"], row["answer"]) for row in good[:kept]
    )


def is_good(line: bytes) -> bool:
    """Is this one of the lines that make_rows made?"""
    return b'"id": ' in line


# ---- every row once, whichever way the folder is loaded


def from_disk(folder: Path, cache: Path) -> dict[str, list[Row]]:
    return {name: split.to_list() for name, split in datasets.load_from_disk(str(folder)).items()}


def from_folder(folder: Path, cache: Path) -> dict[str, list[Row]]:
    loaded = datasets.load_dataset(str(folder), cache_dir=str(cache))
    return {name: split.to_list() for name, split in loaded.items()}


def streamed(folder: Path, cache: Path) -> dict[str, list[Row]]:
    loaded = datasets.load_dataset(str(folder), streaming=True, cache_dir=str(cache))
    return {name: list(split) for name, split in loaded.items()}


WAYS = pytest.mark.parametrize("load", [from_disk, from_folder, streamed])


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def multiset(loaded: dict[str, list[Row]]) -> Counter[tuple[str, str]]:
    return Counter(
        (row["instruction"], row["response"]) for split in loaded.values() for row in split
    )


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@WAYS
def test_every_good_row_is_there_once_and_no_other(
    source: Path, reference: Path, tmp_path: Path, load: Loader
) -> None:
    good = [json.loads(line) for line in source.read_bytes().splitlines() if is_good(line)]
    assert len(good) == 7_000
    loaded = load(reference, tmp_path)
    assert list(loaded) == ["train", "validation"]
    assert multiset(loaded) == Counter((row["question"], row["answer"]) for row in good)
    for split in loaded.values():
        assert all(
            row["text"] == chatml().render(row["instruction"], row["response"]) for row in split
        )


@pytest.mark.parametrize(("val_size", "filled"), [(0.0, "train"), (1.0, "validation")])
def test_a_set_with_an_empty_split_loads_in_every_way(
    source: Path, tmp_path: Path, val_size: float, filled: str
) -> None:
    output = tmp_path / "out"
    prepare(small_request(source, output, val_size=val_size, beam_args=ONE_THREAD))
    loaded = from_disk(output, tmp_path)
    assert {name: len(rows) for name, rows in loaded.items()} == {
        "train": 0,
        "validation": 0,
        filled: 7_000,
    }
    # load_dataset refuses a split without rows (datasets 3.6 and 5.2), so the card leaves it out.
    assert from_folder(output, tmp_path) == {filled: loaded[filled]}
    assert streamed(output, tmp_path) == {filled: loaded[filled]}


def test_a_source_of_rejects_alone_gives_no_set(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"question": "Q", "answer": ""}\n' * 3 + '["x"]\n')
    request = small_request(
        tmp_path / "rows.jsonl",
        tmp_path / "out",
        max_reject_rate=1.0,
        fields="instruction=question,response=answer",
    )
    with pytest.raises(GateFailed, match="no training rows: of 4 rows read, 4 were rejected"):
        prepare(request)
    assert not (tmp_path / "out" / "dataset_dict.json").exists()


class TestSample:
    """The data set that the project ships."""

    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        output = tmp_path_factory.mktemp("sample") / "out"
        prepare(Request(str(regenerate_golden.SAMPLE), str(output), skip_upload=True))
        return output

    def test_texts_and_splits_are_the_golden_ones(self, folder: Path) -> None:
        source = lines_of(regenerate_golden.SAMPLE)
        loaded = from_disk(folder, folder)
        golden = lines_of(regenerate_golden.GOLDEN)
        assert {line["split"] for line in golden} == set(SPLITS)
        for line in golden:
            question = source[line["row"] - 1]["question"]
            found = [r["text"] for r in loaded[line["split"]] if r["instruction"] == question]
            assert line["text"] in found

    def test_the_golden_texts_are_those_of_the_sample_s_rows(self) -> None:
        # Fails when the sample was changed: then run tests/regenerate_golden.py.
        source = lines_of(regenerate_golden.SAMPLE)
        for line in lines_of(regenerate_golden.GOLDEN):
            row = source[line["row"] - 1]
            assert line["text"].split("<|im_start|>")[2:] == [
                f"user\n{row['question']}<|im_end|>\n",
                f"assistant\n{row['reasoning']}<|im_end|>",
            ]

    @WAYS
    def test_every_row_is_there_once(self, folder: Path, tmp_path: Path, load: Loader) -> None:
        rows = [(r["question"], r["reasoning"]) for r in lines_of(regenerate_golden.SAMPLE)]
        assert multiset(load(folder, tmp_path)) == Counter(rows)

    def test_rows_stand_in_source_order(self, folder: Path) -> None:
        place = {row["question"]: n for n, row in enumerate(lines_of(regenerate_golden.SAMPLE))}
        for rows in from_disk(folder, folder).values():
            numbers = [place[row["instruction"]] for row in rows]
            assert len(numbers) > 10
            assert numbers == sorted(numbers)


class TestRealData:
    def test_gsm8k_goes_through_with_every_row(
        self, shared_data: Callable[[str], Path], tmp_path: Path
    ) -> None:
        source = shared_data("gsm8k/train.jsonl")
        manifest = prepare(Request(str(source), str(tmp_path / "out"), skip_upload=True))
        assert manifest["counts"]["read"] == 7_473
        assert manifest["counts"]["rejected"]["total"] == 0
        rows = Counter((row["question"], row["answer"]) for row in lines_of(source))
        assert rows.total() == 7_473
        for load in (from_disk, from_folder, streamed):
            assert multiset(load(tmp_path / "out", tmp_path / "cache")) == rows

    def test_alpaca_goes_through_with_every_row_and_its_input(
        self, shared_data: Callable[[str], Path], tmp_path: Path
    ) -> None:
        source = shared_data("llama_factory_demo/alpaca_en_demo.json")
        manifest = prepare(
            Request(str(source), str(tmp_path / "out"), skip_upload=True, dedup="off")
        )
        rows = json.loads(source.read_text(encoding="utf-8"))
        assert manifest["counts"]["read"] == len(rows) > 900
        assert manifest["counts"]["rejected"]["total"] == 0
        assert any(row["input"] for row in rows)
        expected = Counter(
            (row["instruction"] + f"\n{row['input']}" * bool(row["input"].strip()), row["output"])
            for row in rows
        )
        for load in (from_disk, from_folder, streamed):
            assert multiset(load(tmp_path / "out", tmp_path / "cache")) == expected


# ---- a reader of another time

READ = """
import hashlib, json, sys
import datasets
folder, cache = sys.argv[1:]
ways = {
    "from_disk": datasets.load_from_disk(folder),
    "from_folder": datasets.load_dataset(folder, cache_dir=cache),
    "streamed": datasets.load_dataset(folder, cache_dir=cache, streaming=True),
}
found = {
    way: {name: [hashlib.sha256(json.dumps(row).encode()).hexdigest() for row in split]
          for name, split in loaded.items()}
    for way, loaded in ways.items()
}
print(json.dumps([datasets.__version__, found]))
"""


@pytest.fixture(scope="module")
def old_python() -> Path:
    """The interpreter of an environment with datasets 3.6, made once and kept in a cache folder."""
    return environment("old-reader", lambda python: pip(python, *pins("old-reader")["packages"]))


@pytest.mark.parametrize("val_size", [0.1, 0.0])
def test_an_old_reader_loads_the_folder_in_every_way(
    old_python: Path, tmp_path: Path, val_size: float
) -> None:
    output = tmp_path / "out"
    sample = str(regenerate_golden.SAMPLE)
    prepare(Request(sample, str(output), val_size=val_size, skip_upload=True))
    done = subprocess.run(
        [old_python, "-c", READ, str(output), str(tmp_path / "cache")],
        env={**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,  # the assertion shows what it said
    )
    assert done.returncode == 0, done.stderr
    version, found = json.loads(done.stdout)
    assert version == "3.6.0"
    expected = {
        name: [hashlib.sha256(json.dumps(row).encode()).hexdigest() for row in rows]
        for name, rows in from_disk(output, output).items()
    }
    assert sum(map(len, expected.values())) == len(lines_of(regenerate_golden.SAMPLE))
    assert bool(expected["validation"]) == bool(val_size)
    assert found["from_disk"] == expected
    filled = {name: rows for name, rows in expected.items() if rows}
    assert found["streamed"] == filled
    assert found["from_folder"] == filled
