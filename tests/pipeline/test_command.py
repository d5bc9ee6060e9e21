"""The command line as a user sees it: console, JSON, exit codes, signals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from means import REPOSITORY

from pipeline.cli.console import Console, progress_line
from pipeline.cli.main import main
from pipeline.planning.preview import visible
from pipeline.request import Request
from transforms.errors import UsageError

SAMPLE = REPOSITORY / "pipeline" / "sample" / "reasoning.jsonl"


def command(*words: str, **options: object) -> "subprocess.CompletedProcess[str]":
    """Runs the command line as a shell would."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *words], capture_output=True, text=True, **options
    )


class TestFlags:
    def test_a_wrong_flag_is_one_sentence_and_exit_code_2(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["--val-sze", "0.2"]) == 2
        ended = capsys.readouterr()
        assert ended.out == ""
        assert ended.err == "error: unknown '--val-sze'; did you mean --val-size? (see --help)\n"

    def test_an_unknown_runner_is_a_usage_error(self, tmp_path: Path) -> None:
        done = command(
            "--dataset", str(SAMPLE), "--output", str(tmp_path / "out"), "--skip-upload", "--quiet",
            "--runner=NoSuchRunner",
        )  # fmt: skip
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert "NoSuchRunner" in done.stderr
        assert "Traceback" not in done.stderr


class TestPrepare:
    def test_the_console_and_the_exit_codes_without_upload(self, tmp_path: Path) -> None:
        output = tmp_path / "cache" / "set"
        words = ("--dataset", str(SAMPLE), "--output", str(output))
        done = command(*words, "--skip-upload")
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        for line in (
            "DATA PREPARATION PIPELINE",
            f"  Dataset: {SAMPLE}",
            "✓ Found split 'train': 1 file",
            "  Fields: instruction=question,response=reasoning (columns question+reasoning)",
            "  │ <|im_start|>system\n  │ You are a helpful assistant",
            "✓ Formatted 400 examples of 400 rows read",
            "✅ DATA PREPARATION COMPLETE!",
            f"  --dataset-path '{output}'",
        ):
            assert line in done.stdout

        again = command(*words, "--skip-upload")
        assert again.returncode == 0
        assert "Already complete" in again.stdout

        other = command(*words, "--skip-upload", "--seed", "7", "--quiet")
        assert (other.returncode, other.stdout) == (6, "")
        assert "add --overwrite" in other.stderr

        replaced = command(*words, "--skip-upload", "--seed", "7", "--json", "--overwrite")
        assert replaced.returncode == 0
        manifest = json.loads(replaced.stdout)
        assert manifest["path"] == str(output)
        assert manifest["plan"]["split"]["seed"] == 7
        assert "DATA PREPARATION PIPELINE" in replaced.stderr
        left = sorted(path.name for path in output.parent.iterdir())
        assert left in (["set"], [".set.lock", "set"])

    def test_json_holds_the_error(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--dataset", str(tmp_path / "no.jsonl"), "--json", "--quiet"]) == 2
        error = json.loads(capsys.readouterr().out)["error"]
        assert error["exit_code"] == 2
        assert "does not exist" in error["message"]

    @pytest.mark.parametrize("mode", ["in_memory", "multi_threading", "multi_processing"])
    def test_a_users_mistake_that_workers_meet_is_one_sentence(
        self, tmp_path: Path, mode: str
    ) -> None:
        source = tmp_path / "rows.jsonl"
        source.write_text(
            '{"question": "q", "reasoning": "r"}\n{"question": "", "reasoning": "r"}\n'
        )
        done = command(
            "--dataset", str(source), "--output", str(tmp_path / "out"), "--skip-upload", "--quiet",
            f"--direct_running_mode={mode}", "--direct_num_workers=2",
        )  # fmt: skip
        assert done.returncode == 8
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("error: not published: 1 of 2 rows were rejected (50.0%)")
        assert "empty-instruction 1 (first: rows.jsonl row 2)" in done.stderr
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("mode", ["in_memory", "multi_threading", "multi_processing"])
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_leaves_nothing_behind(
        self, tmp_path: Path, mode: str, number: signal.Signals
    ) -> None:
        source = tmp_path / "rows.jsonl"
        row = json.dumps({"question": "why? " * 100, "reasoning": "because " * 500}) + "\n"
        source.write_text(row * 60_000)
        output = tmp_path / "cache" / "set"
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "--dataset", str(source), "--output", str(output),
             "--skip-upload", "--quiet", f"--direct_running_mode={mode}"],
            stderr=subprocess.PIPE,
            text=True,
            # A shell that starts a job in the background makes it ignore SIGINT.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        work = output.with_name(".set.work")
        deadline = time.monotonic() + 60
        while not (work.is_dir() and any(path.name != "_RUN.json" for path in work.iterdir())):
            assert process.poll() is None, "ended before it was stopped"
            assert time.monotonic() < deadline
            os.sched_yield()
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        assert said.strip().startswith("stopped: nothing was published; run again to start over")
        assert not output.exists()


class TestPlanAndPreview:
    def test_plan_explains_and_writes_nothing(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["plan", "--dataset", str(SAMPLE), "--output", str(tmp_path / "out")]
        assert main(words) == 0
        said = capsys.readouterr().out
        for part in ("columns question+reasoning", "first question:", "Units      1", "Digest"):
            assert part in said
        assert list(tmp_path.iterdir()) == []
        assert main([*words, "--json"]) == 0
        plan = json.loads(capsys.readouterr().out)
        assert plan["fields"]["instruction"] == ["question"]
        assert plan["digest"] in said

    def test_plan_names_the_fields_that_would_join_the_answer(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        source = tmp_path / "rows.jsonl"
        source.write_text('{"question": "q q q", "reasoning": "r r r", "answer": "a a a"}\n')
        assert main(["plan", "--dataset", str(source)]) == 0
        said = capsys.readouterr().out
        assert "--fields instruction=question,response=reasoning+answer" in said
        assert "text columns not used: answer" in said

    def test_preview_tells_the_parts_apart_and_shows_white_space(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        source = tmp_path / "rows.jsonl"
        rows = [{"question": "a  b", "reasoning": "c\n\td"}, {"question": "", "reasoning": "x"}]
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert main(["preview", "-n", "5", "--dataset", str(source)]) == 0
        said = capsys.readouterr().out
        assert "  prompt │ a··b" in said
        assert "response │ c⏎" in said
        assert "response │ →d" in said
        assert said.count("──") == 2  # one row: the other would be rejected

    @pytest.mark.parametrize(
        ("argv", "unbuffered", "code", "error"),
        [
            (("plan", "--dataset", str(SAMPLE)), "", 141, ""),
            (("plan", "--dataset", str(SAMPLE), "--json"), "1", 141, ""),
            (("preview", "--dataset", str(SAMPLE)), "", 141, ""),
            (("--val-size", "2", "--json"), "1", 141,
             "error: --val-size must be between 0 and 1, found 2.0\n"),
            (("--help",), "", 0, ""),
        ],
    )  # fmt: skip
    def test_a_reader_that_leaves_ends_the_command_quietly(
        self, argv: tuple[str, ...], unbuffered: str, code: int, error: str
    ) -> None:
        reading, writing = os.pipe()
        os.close(reading)  # as `head` does when it has its lines
        with open(writing, "w") as out:
            ended = subprocess.run(
                [sys.executable, "-m", "pipeline", *argv],
                env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
                stdout=out,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert (ended.returncode, ended.stderr) == (code, error)

    def test_visible_keeps_every_line(self) -> None:
        assert visible("a b\n\n c") == ["a·b⏎", "⏎", "·c"]
        assert visible("end\n") == ["end⏎"]


def test_progress_line_shows_the_time_left() -> None:
    finished = [{"rows": 1000, "bytes": 5}, {"rows": 3000, "bytes": 5}]
    line = progress_line(8, finished, 10.0)
    assert line == "  4,000 rows, 400 rows/s, 2/8 shards, about 30 s left"
    assert progress_line(8, [], 1.0) == "  0 rows, 0 rows/s, 0/8 shards"


def test_a_console_that_cannot_show_a_sign_prints_the_rest(tmp_path: Path) -> None:
    with open(tmp_path / "out", "w", encoding="ascii") as out:
        Console(out).say("✓ 3 rows")
    assert (tmp_path / "out").read_text() == "? 3 rows\n"


def test_a_request_that_can_never_work_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for wrong in (
        {"output": "s3://bucket"},
        {"output": "s3://bucket/prefix", "overwrite": True},
        {"output": "s3://bucket/datasets/", "resume": True},
        {"output": "/"},
        {"output": str(tmp_path / "file")},
        {"dataset": " "},
        {"think": "never"},
        {"template_date": "today"},
        {"roles": ("narrator",)},
        {"s3_bucket": "s3://bucket"},
    ):
        with pytest.raises(UsageError):
            Request(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [{}, {"MIMALLOC_PURGE_DELAY": "10", "MALLOC_ARENA_MAX": "4"}])
def test_what_the_user_has_set_of_the_allocators_stays(given: dict[str, str]) -> None:
    code = (
        "import os; from pipeline.cli.process_tuning import tune_allocators; tune_allocators(); "
        "print(os.environ)"
    )
    env = {name: value for name, value in os.environ.items() if not name.endswith(_SETTINGS)}
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**env, **given},
        capture_output=True,
        text=True,
        check=True,
    )
    for name, value in (given or {"MIMALLOC_PURGE_DELAY": "-1"}).items():
        assert f"'{name}': '{value}'" in ended.stdout


_SETTINGS = ("MIMALLOC_PURGE_DELAY", "MALLOC_ARENA_MAX")
