"""Nothing of the data reaches a terminal raw: every verb without Beam, and the console."""

from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hostile_texts import (
    EVERYTHING,
    NAME,
    check_shown,
    hostile_chats,
    hostile_columns,
    hostile_rows,
)
from made_reports import made_manifest

from pipeline.cli import main as command_line
from pipeline.cli.console import Console, print_json, shown, shown_message, visible_errors
from pipeline.cli.main import main
from pipeline.dataset.catalog import ListedDataset, table
from pipeline.dataset.status import Status

Capture = pytest.CaptureFixture[str]


def printed(
    capfd: Capture, *words: str, codes: tuple[int, ...] = (0,), hostile: bool = True
) -> str:
    """What a command prints, which is checked; with --json its output must be JSON."""
    code = main(words)
    out, err = capfd.readouterr()
    assert code in codes, err
    check_shown(out + err, hostile=hostile)
    if "--json" in words:
        json.loads(out)
    return out


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
class TestPlanning:
    @pytest.mark.parametrize("made", [hostile_rows, hostile_chats, hostile_columns])
    def test_plan_and_preview(
        self,
        made: Callable[[Path], Path],
        more: tuple[str, ...],
        tmp_path: Path,
        capfd: Capture,
    ) -> None:
        source = str(made(tmp_path))
        for words in (("plan",), ("preview", "-n", "20"), ("preview", "--rejected", "-n", "20")):
            printed(
                capfd,
                *(*words, "--dataset", source, *more),
                codes=(0, 2),
                hostile=words[0] == "plan" and made is not hostile_chats,
            )

    def test_names_of_files_that_are_not_there(
        self, more: tuple[str, ...], tmp_path: Path, capfd: Capture
    ) -> None:
        source = str(hostile_rows(tmp_path))
        for flag in ("--dataset", "--template", "--tokenizer", "--decontaminate", "--config-file"):
            words = ("plan", "--dataset", source, flag, f"./{NAME}", *more)
            printed(capfd, *words, codes=(2, 3))

    def test_columns_that_are_not_there(
        self, more: tuple[str, ...], tmp_path: Path, capfd: Capture
    ) -> None:
        source = str(hostile_columns(tmp_path))
        for flag in ("--split-key", "--balance"):
            words = ("plan", "--dataset", source, flag, f"x{NAME}", *more)
            printed(capfd, *words, codes=(2,))
        words = ("plan", "--dataset", source, "--fields", f"instruction={NAME},response=b", *more)
        printed(capfd, *words, codes=(2,))

    def test_splits_of_a_saved_set(
        self, more: tuple[str, ...], tmp_path: Path, capfd: Capture
    ) -> None:
        splits = [f"a{NAME}".replace("\\", ""), "b"]
        folder = tmp_path / "saved"
        (folder / splits[0]).mkdir(parents=True)
        (folder / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
        rows = pa.table({"question": ["What is it?"] * 3, "answer": ["It is that."] * 3})
        with pa.ipc.new_stream(folder / splits[0] / "x.arrow", rows.schema) as out:
            out.write_table(rows)
        state = {"_data_files": [{"filename": "x.arrow"}]}
        (folder / splits[0] / "state.json").write_text(json.dumps(state))
        printed(capfd, "plan", "--dataset", str(folder), *more)
        printed(capfd, "plan", "--dataset", str(folder), "--split", "c", *more, codes=(2,))

    def test_words_of_the_command_line(
        self, more: tuple[str, ...], tmp_path: Path, capfd: Capture
    ) -> None:
        for words in ((f"--{NAME}",), (NAME,), ("--role", NAME), ("verify", "a", NAME)):
            printed(capfd, *words, *more, codes=(2,))

    def test_a_foreign_configuration(
        self, more: tuple[str, ...], tmp_path: Path, capfd: Capture
    ) -> None:
        for config in ({EVERYTHING: 1}, {"dataset": EVERYTHING}, {"seed": EVERYTHING}):
            path = tmp_path / "manifest.json"
            path.write_text(json.dumps(made_manifest(files=[], config=config)))
            printed(capfd, "plan", "--config-file", str(path), *more, codes=(2,))


def hostile(value: Any) -> Any:
    """A manifest with a hostile text for each of its texts, and for each key of a mapping."""
    if isinstance(value, dict):
        return {key: hostile(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [hostile(each) for each in value]
    return f"{value}{EVERYTHING}" if isinstance(value, str) else value


def manifests() -> list[dict[str, Any]]:
    whole = hostile(made_manifest(files=[]))
    whole |= {"plan_digest": EVERYTHING, "dataset": EVERYTHING}
    whole["counts"]["rejected"]["by_reason"] = {EVERYTHING: 100}
    whole["counts"]["events"] = {EVERYTHING: 3}
    file = {"path": EVERYTHING, "bytes": 1, "sha256": "0" * 64, "rows": 1}
    damaged = [
        {"files": [file]},
        {"files": [{**file, "path": "a", "sha256": EVERYTHING}]},
        {"counts": {EVERYTHING: 1}},
        {"counts": EVERYTHING},
        {"format_version": EVERYTHING},
        {"format_version": 9, "run": {"versions": {"reasonforge-data-prep": EVERYTHING}}},
        {"plan": {"columns": {EVERYTHING: 1}}},
        {"quality": {"lengths": {EVERYTHING: 1}}},
        {"run": {"gates": [{EVERYTHING: 1}]}},
    ]
    return [whole, *({**made_manifest(files=[]), **change} for change in damaged)]


@pytest.mark.parametrize("number", range(len(manifests())))
@pytest.mark.parametrize("verb", ["verify", "report", "status", "diff"])
def test_a_foreign_set(
    verb: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.chdir(tmp_path)  # where a report is written
    folder = tmp_path / f"set{NAME}"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(manifests()[number]))
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    places = [str(folder)] * (2 if verb == "diff" else 1)
    for more in ((), ("--json",)):
        printed(capfd, verb, *places, *more, codes=(0, 2, 7))


@pytest.mark.parametrize("number", range(1, len(manifests())))
def test_a_foreign_set_to_upload(number: int, tmp_path: Path, capfd: Capture) -> None:
    folder = tmp_path / f"set{NAME}"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(manifests()[number]))
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    printed(capfd, "upload", str(folder), "s3://bucket/set", codes=(2, 7))


@pytest.mark.parametrize("place", [f"s3://bucket/{NAME}", f"s3://{NAME}/x", f"./{NAME}"])
@pytest.mark.parametrize(
    "words",
    [
        *(("list",), ("prune", "--keep", "1"), ("download",), ("verify",), ("status",)),
        *(("report",), ("upload", "s3://bucket/set"), ("diff", "./x")),
    ],
    ids=lambda words: words[0],
)
def test_a_place_that_is_none(words: tuple[str, ...], place: str, capfd: Capture) -> None:
    verb, *more = words
    printed(capfd, verb, place, *more, codes=(2,))
    printed(capfd, verb, place, *more, "--json", codes=(2,))


class TestTheConsole:
    def test_what_is_listed(self) -> None:
        when = datetime(2026, 1, 1, tzinfo=timezone.utc)
        one = ListedDataset("a", "s3://b/a", when, EVERYTHING, 1, 1, False, EVERYTHING)
        out = io.StringIO()
        Console(out).say(*table([one], "s3://b/").split("\n"))
        check_shown(out.getvalue())
        assert len(out.getvalue().splitlines()) == 2

    @pytest.mark.parametrize("state", ["writing", "submitted", "stopped"])
    def test_a_claim(self, state: str) -> None:
        found = Status("a", state, 3, 1, 10, started=EVERYTHING, job=EVERYTHING)
        out = io.StringIO()
        Console(out).say(*found.describe().split("\n"))
        check_shown(out.getvalue())
        assert len(out.getvalue().splitlines()) <= 3

    def test_a_line_is_one_line(self) -> None:
        out = io.StringIO()
        Console(out).say(EVERYTHING, "ours")
        check_shown(out.getvalue())
        assert out.getvalue().count("\n") == 2

    def test_an_error_has_one_line_at_the_margin(self) -> None:
        told = shown_message(f"a worker{EVERYTHING}:\n  ✗ numpy\nsee there")
        check_shown(told)
        assert [line for line in told.split("\n") if not line.startswith("  ")] == [
            told.split("\n")[0]
        ]
        assert told.endswith("\n  ✗ numpy\n  │ see there")

    def test_passwords_in_addresses_stay_out(self) -> None:
        assert shown("see http://user:PW@host/x") == "see http://…@host/x"

    def test_json_stays_json(self) -> None:
        out = io.StringIO()
        value = {EVERYTHING: [EVERYTHING, 1, None, {"ü": "漢字"}]}
        print_json(value, out)
        check_shown(out.getvalue(), hostile=False)
        assert json.loads(out.getvalue()) == value
        assert "漢字" in out.getvalue()

    def test_warnings_logs_and_errors_of_libraries(
        self, monkeypatch: pytest.MonkeyPatch, capfd: Capture
    ) -> None:
        def run(argv: object) -> int:
            # As Python prints a warning, which pytest would collect.
            sys.stderr.write(warnings.formatwarning(EVERYTHING, UserWarning, NAME, 1))
            handler = logging.StreamHandler()
            logger = logging.Logger("a library")
            logger.addHandler(handler)
            logger.critical("%s", EVERYTHING)
            print(EVERYTHING, file=sys.stderr)
            sys.stderr.writelines([EVERYTHING])
            raise RuntimeError(EVERYTHING)

        monkeypatch.setattr(command_line, "_run", run)
        monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
        before = sys.stderr
        with pytest.raises(RuntimeError) as caught:
            main([])
        sys.excepthook(RuntimeError, caught.value, caught.tb)
        assert sys.stderr is before
        told = capfd.readouterr().err
        for part in ("UserWarning", "in run", "RuntimeError: "):
            assert part in told
        check_shown(told.replace("\n✓ Dataset", "").replace("\nerror: not ours", ""))  # theirs

    def test_a_closed_stderr_is_no_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stderr", None)
        with visible_errors():
            assert sys.stderr is None
