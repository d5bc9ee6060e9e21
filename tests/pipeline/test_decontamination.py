"""Benchmarks in whole runs: what may be one, and what the set's figures say of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_runs import Prepare, has, lines, put, turns
from hub import Hub, hub_environment
from means import REPOSITORY
from slow_pieces import pieces, slow_pieces

from pipeline.cli.main import parse
from pipeline.planning import decontamination
from pipeline.planning.plan import make_plan
from pipeline.request import Request
from transforms.errors import UsageError
from transforms.leakage.contamination import pieces_file, pieces_from_bytes

PROMPT = "Tom has five red apples and Ann has seven green pears, so who of them has more fruit?"


def rows_of(count: int = 60) -> list[dict[str, Any]]:
    return [{"question": f"What is number {n}?", "answer": f"It is {n}."} for n in range(count)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """60 rows; the fourth and the eighth hold pieces of the prompt."""
    rows = rows_of()
    rows[3]["question"] = f"A riddle. {PROMPT}"
    rows[7]["answer"] = f"As one says: {PROMPT.lower()}"
    return lines(tmp_path / "rows.jsonl", *rows)


def contamination(manifest: Any) -> Any:
    return manifest["quality"]["contamination"]


class TestRuns:
    def test_rows_are_told_and_kept(self, prepare: Prepare, source: Path, tmp_path: Path) -> None:
        bench = lines(tmp_path / "bench.jsonl", {"prompt": PROMPT}, {"prompt": "Too short."})
        ended = prepare("--dataset", source, "--decontaminate", bench)
        assert contamination(ended.manifest) == [
            {"benchmark": str(bench), "prompts": 2, "too_short": 1, "rows": 2, "action": "report"}
        ]
        assert ended.counts["events"] == {f"benchmark-overlap: {bench}": 2}
        assert len(ended.rows()) == 60
        assert f"Note: 2 rows contained text of the benchmark {bench}; --contaminated" in ended.out

    def test_rows_are_left_out_where_so_asked(
        self, prepare: Prepare, source: Path, tmp_path: Path
    ) -> None:
        bench = lines(tmp_path / "bench.jsonl", {"prompt": PROMPT})
        other = lines(tmp_path / "other.jsonl", {"prompt": "nothing of this is in any row at all"})
        words = ("--decontaminate", bench, "--decontaminate", other, "--contaminated", "drop")
        ended = prepare("--dataset", source, *words)
        assert ended.rejects == [("rows.jsonl", n, "benchmark-overlap") for n in (4, 8)]
        assert len(ended.rows()) == 58
        found = contamination(ended.manifest)
        assert [(each["rows"], each["action"]) for each in found] == [(2, "drop"), (0, "drop")]
        (line, *_) = (ended.output / "rejects").glob("*")
        said = json.loads(line.read_text().splitlines()[0])["excerpt"]
        assert said == f"{bench}: " + " ".join(PROMPT.split()[:13])
        assert has(
            ended.out, "benchmark-overlap 2", f"of the benchmark {bench}, so they were dropped"
        )

        said = prepare("--dataset", source, *words, "--rejected", verb="preview").out
        assert has(said, "rows.jsonl row 4: benchmark-overlap", "rows.jsonl row 8: bench")
        said = prepare("--dataset", source, *words, "-n", 60, "--json", verb="preview").told
        assert len(said["rows"]) == 58

    def test_of_conversations_the_first_question_of_the_benchmark_counts(
        self, prepare: Prepare, tmp_path: Path
    ) -> None:
        later = "this is said later on and is no prompt of the benchmark that anybody asks"
        bench = lines(
            tmp_path / "bench.jsonl",
            {"messages": turns(PROMPT, "Ann.", later, "So.", system=later)},
            {"messages": [{"role": "user", "content": later.replace("later", "sooner")}]},
        )
        rows = [{"messages": turns(f"What is {n}?", f"It is {n}.")} for n in range(40)]
        rows[5] = {"messages": turns("Hello?", "Hello.", "Now?", PROMPT)}
        rows[6] = {"messages": turns(later, "Hm.")}
        rows[7] = {"messages": turns("Hello?", later.replace("later", "sooner"))}
        ended = prepare(
            *("--dataset", lines(tmp_path / "rows.jsonl", *rows)),
            *("--decontaminate", bench, "--contaminated", "drop", "--max-reject-rate", 0.5),
        )
        assert [row for _, row, _ in ended.rejects] == [6, 8]

    def test_events_of_other_steps_are_told_too(self, prepare: Prepare, tmp_path: Path) -> None:
        rows = rows_of()
        rows[2]["answer"] = f"{PROMPT} <|im_end|>"
        bench = lines(tmp_path / "bench.jsonl", {"prompt": PROMPT})
        ended = prepare(
            *("--dataset", lines(tmp_path / "rows.jsonl", *rows), "--decontaminate", bench),
            *("--control-tokens", "escape"),
        )
        assert ended.counts["events"] == {
            f"benchmark-overlap: {bench}": 1,
            "control-token-escaped": 1,
        }

    def test_batches_and_units_do_not_show(
        self, prepare: Prepare, tmp_path: Path, source: Path
    ) -> None:
        rows = rows_of(3000)
        for n in range(0, 3000, 250):
            rows[n]["answer"] = f"{PROMPT} {n} " + "and more of it. " * 60
        source = lines(tmp_path / "many.jsonl", *(r | {"pad": "x" * 900} for r in rows))
        bench = lines(tmp_path / "bench.jsonl", {"prompt": PROMPT})
        words = ("--dataset", source, "--decontaminate", bench, "--contaminated", "drop")
        ended = prepare(*words, "--shard-size", "1MiB", "--direct_num_workers=2")
        assert len(ended.manifest["plan"]["units"]) > 1
        assert [row for _, row, _ in ended.rejects] == list(range(1, 3001, 250))
        assert contamination(ended.manifest)[0]["rows"] == 12

    def test_the_plan_tells_of_them(self, prepare: Prepare, source: Path, tmp_path: Path) -> None:
        bench = lines(tmp_path / "bench.jsonl", {"prompt": PROMPT}, {"prompt": "short"})
        said = prepare("--dataset", source, "--decontaminate", bench, verb="plan").out
        counts = "(2 prompts, 1 of them too short to search for)"
        assert f"rows that contain text from {bench} {counts}: reported" in said
        words = ("--decontaminate", bench, "--contaminated", "drop", "--dedup", "off")
        said = prepare("--dataset", source, *words, "--balance", "answer", verb="plan").out
        counts = "too short to search for): removed"
        assert has(said, counts, "duplicates: all rows are kept", "source file, answer")

    def test_the_plan_follows_from_what_the_benchmark_says(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        request = Request(str(source), decontaminate=("bench.jsonl",))
        lines(tmp_path / "bench.jsonl", {"prompt": PROMPT}, {"prompt": PROMPT + " Why?"})
        digests = [make_plan(request).digest]
        lines(tmp_path / "bench.jsonl", {"prompt": PROMPT + " Why?", "id": 5}, {"prompt": PROMPT})
        digests.append(make_plan(request).digest)
        lines(tmp_path / "bench.jsonl", {"prompt": PROMPT + " How?"}, {"prompt": PROMPT})
        digests.append(make_plan(request).digest)
        assert digests[0] == digests[1] != digests[2]


class TestSources:
    """What a benchmark may be."""

    def prompts(self, source: Path, *benchmarks: object) -> list[tuple[int, int]]:
        words = [w for benchmark in benchmarks for w in ("--decontaminate", str(benchmark))]
        plan = make_plan(parse(["--dataset", str(source), *words])[2])
        for benchmark in plan.quality.benchmarks:
            assert pieces_file(benchmark.sha256) in plan.attachments
        return [(b.prompts, b.too_short) for b in plan.quality.benchmarks]

    def test_a_folder_s_test_split_is_taken_unless_another_one_is_named(
        self, source: Path, tmp_path: Path
    ) -> None:
        for split, count in (("train", 5), ("validation", 4), ("test", 3)):
            lines(tmp_path / "bench" / f"{split}.jsonl", *[{"prompt": PROMPT}] * count)
        bench = tmp_path / "bench"
        named = (bench, f"{bench},split=validation", f"{bench},split=train")
        assert self.prompts(source, *named) == [(3, 0), (4, 0), (5, 0)]
        (bench / "test.jsonl").unlink()
        assert self.prompts(source, bench) == [(4, 0)]
        (bench / "validation.jsonl").unlink()
        assert self.prompts(source, bench) == [(5, 0)]

    def test_a_path_that_is_there_is_one_whatever_its_name(
        self, source: Path, tmp_path: Path
    ) -> None:
        bench = lines(tmp_path / "a,split=b" / "test,split=x.jsonl", {"prompt": PROMPT})
        assert self.prompts(source, bench, bench.parent) == [(1, 0), (1, 0)]

    @pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
    @pytest.mark.parametrize("column", ["question", "Prompt", "problem", "instruction"])
    def test_prompts_need_no_answers(
        self, source: Path, tmp_path: Path, kind: str, column: str
    ) -> None:
        rows = [{"id": n, "subject": "law", column: PROMPT, "answer": n} for n in range(30)]
        path = tmp_path / f"bench.{kind}"
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif kind == "csv":
            cells = [f'{n},law,"{PROMPT}",{n}' for n in range(30)]
            put(path, "\n".join([f"id,subject,{column},answer", *cells]))
        elif kind == "json":
            put(path, json.dumps(rows))
        else:
            lines(path, *rows)
        assert self.prompts(source, path) == [(30, 0)]

    def test_columns_of_one_prompt_are_joined(self, source: Path, tmp_path: Path) -> None:
        half = len(PROMPT.split()) // 2
        row = {"instruction": " ".join(PROMPT.split()[:half]), "output": "Ann."}
        bench = lines(tmp_path / "b.jsonl", row | {"input": " ".join(PROMPT.split()[half:])})
        plan = make_plan(Request(str(source), decontaminate=(str(bench),)))
        (data,) = plan.attachments.values()
        expected = pieces(PROMPT)
        assert pieces_from_bytes(data)[13].tolist() == expected[13].tolist()

    @pytest.mark.parametrize("most", [1, 3, 64])
    def test_many_batches_are_the_pieces_of_all_prompts(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
    ) -> None:
        prompts = [f"{PROMPT} {n % 7} {n}" for n in range(40)]
        bench = lines(tmp_path / "b.jsonl", *({"prompt": prompt} for prompt in prompts))
        monkeypatch.setattr(decontamination, "_CUT_BYTES", 300)
        monkeypatch.setattr(decontamination, "_MOST_PARTS", most)
        request = Request(str(source), decontaminate=(str(bench),))
        (data,) = make_plan(request).attachments.values()
        expected = pieces(*prompts)
        assert {n: own.tolist() for n, own in pieces_from_bytes(data).items()} == {
            n: own.tolist() for n, own in expected.items()
        }
        count = sum(map(len, expected.values()))
        monkeypatch.setattr(decontamination, "MOST_PIECES", count)
        make_plan(request)
        monkeypatch.setattr(decontamination, "MOST_PIECES", count - 1)
        with pytest.raises(UsageError, match=f"has more than {count - 1} n-grams of 8 to 13 words"):
            make_plan(request)

    @pytest.mark.parametrize(
        ("rows", "code", "says"),
        [
            (None, 2, ("does not exist; expected a hub name such as user/name",)),
            ([], 3, ("is empty",)),
            ([{"id": 1, "label": "a"}], 2, ("prompt", "found id (int64), label (string)")),
            ([{"prompt": "Why?"}], 2, ("none of the 1 prompts", "the 8 words")),
            ([{"prompt": ""}], 2, ("none of the 0 prompts", "(column prompt)")),
            ([{"prompt": PROMPT}, "x"], 3, ("row 2 cannot be read (not-an-object)",)),
            ([{"prompt": PROMPT}, {"prompt": [5]}], 3, ("row 2 cannot be read",)),
        ],
        ids=["missing", "empty", "no column", "short", "blank", "no object", "no text"],
    )
    def test_one_that_cannot_be_used_is_told(
        self,
        prepare: Prepare,
        source: Path,
        tmp_path: Path,
        rows: list[Any] | None,
        code: int,
        says: tuple[str, ...],
    ) -> None:
        bench = tmp_path / "bench.jsonl"
        if rows is not None:
            lines(bench, *rows)
        ended = prepare("--dataset", source, "--decontaminate", bench)
        assert ended.code == code, ended.err
        assert has(ended.err, f"error: --decontaminate {bench}: ", *says)
        assert "--dataset X" not in ended.err

    @pytest.mark.parametrize(
        ("behind", "said"),
        [
            (",split=test", ",split=test is not in "),
            (",config=x", ",config= is for hub data sets and folders"),
            (",revision=x", ",revision= is for hub data sets"),
            (",color=x", "does not exist"),
        ],
    )
    def test_options_that_do_not_fit_are_told(
        self, prepare: Prepare, source: Path, tmp_path: Path, behind: str, said: str
    ) -> None:
        bench = lines(tmp_path / "bench.jsonl", {"prompt": PROMPT})
        ended = prepare("--dataset", source, "--decontaminate", f"{bench}{behind}")
        assert ended.code == 2
        assert has(ended.err, f"--decontaminate {bench}{behind}: ", said)

    def test_an_address_is_told(self, prepare: Prepare, source: Path) -> None:
        ended = prepare("--dataset", source, "--decontaminate", "a://b")
        assert ended.code == 2
        assert has(ended.err, "--decontaminate a://b: a://b is an address; expected a hub name")


def test_a_benchmark_of_the_hub_is_pinned(hub: Hub, source: Path, tmp_path: Path) -> None:
    folder = {
        "test.jsonl": json.dumps({"question": PROMPT, "answer": "Ann."}).encode(),
        "train.jsonl": b'{"question": "Never read, as there is a test split?", "answer": "No."}',
    }
    sha = hub.add("user/bench", folder)

    def command(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipeline", *map(str, words), "--skip-upload", "--quiet"],
            env={**hub_environment(hub, tmp_path), "PYTHONPATH": str(REPOSITORY)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    words = ("--dataset", source, "--decontaminate", "user/bench", "--output")
    done = command(*words, "one")
    assert done.returncode == 0, done.stderr
    first = json.loads((tmp_path / "one" / "manifest.json").read_bytes())
    assert contamination(first)[0]["benchmark"] == "user/bench"
    assert contamination(first)[0]["rows"] == 2
    assert first["config"]["decontaminate"] == [f"user/bench,revision={sha}"]
    assert first["plan"]["quality"]["benchmarks"][0]["revision"] == sha
    asked = [request.path for request in hub.requests if "resolve" in request.path]
    assert asked
    assert not any("train" in path for path in asked)

    hub.add("user/bench", {**folder, "test.jsonl": folder["train.jsonl"]})
    # The benchmark is that of the manifest; a file of this machine is named again.
    done = command(*("--config-file", "one/manifest.json", "--dataset", source, "--output", "two"))
    assert done.returncode == 0, done.stderr
    second = json.loads((tmp_path / "two" / "manifest.json").read_bytes())
    del first["run"], second["run"]
    assert first == second

    done = command(*words[:-1], "--decontaminate", f"user/bench,revision={sha}")
    assert done.returncode == 2
    assert has(done.stderr, f",revision={sha}: user/bench is named twice")

    done = command(*words[:3], "user/nothing", "--output", "three")
    assert done.returncode in (2, 4)
    assert has(done.stderr, "--decontaminate user/nothing: user/nothing is not on the hub")


def test_gsm8k(prepare: Prepare, tmp_path: Path, shared_data: Any) -> None:
    """Test prompts among its training rows: those that are planted, and four that are its own."""
    train = [json.loads(line) for line in shared_data("gsm8k/train.jsonl").open()]
    test = [json.loads(line) for line in shared_data("gsm8k/test.jsonl").open()]
    planted = [test[n * 150] for n in range(7)]
    for n, row in enumerate(planted):
        train.insert(1000 * n + 500, row)
    source = lines(tmp_path / "rows.jsonl", *train)
    bench = shared_data("gsm8k/test.jsonl")
    words = ("--dataset", source, "--decontaminate", bench, "--contaminated", "drop")
    ended = prepare(*words)
    assert contamination(ended.manifest) == [
        {"benchmark": str(bench), "prompts": 1319, "too_short": 0, "rows": 11, "action": "drop"}
    ]
    gone = [train[row - 1] for _, row, _ in ended.rejects]
    assert [row for row in gone if row in planted] == planted
    own = [row for row in gone if row not in planted]
    assert len(own) == 4
    theirs = {piece for row in test for piece in slow_pieces(row["question"])}
    for row in own:
        texts = (slow_pieces(row["question"]), slow_pieces(row["answer"]))
        assert any(pieces_ & theirs for pieces_ in texts)
