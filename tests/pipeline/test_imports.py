"""What is imported when: `--help` and planning wait for nothing that they do not need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from means import REPOSITORY, SAMPLE

import pipeline

BEAM = "apache_beam"
HEAVY = {BEAM, "datasets", "pyarrow", "numpy", "huggingface_hub", "rich"}

COMMAND = """
import json, runpy, sys
sys.argv = ["pipeline", *sys.argv[1:]]
code = None
try:
    runpy.run_module("pipeline", run_name="__main__")
except SystemExit as end:
    code = end.code
print("\\n" + json.dumps([code, sorted(sys.modules)]))
"""


def modules_of(*words: object) -> tuple[int, set[str], str]:
    """The exit code of a command, the modules it imported, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, words)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,  # the assertion shows what it printed
    )
    assert done.returncode == 0, done.stderr
    *printed, last = done.stdout.splitlines()
    code, modules = json.loads(last)
    return code, set(modules), "\n".join(printed)


@pytest.mark.parametrize("words", [["--help"], ["plan", "--help"], ["preview", "--help"]])
def test_help_waits_for_no_heavy_library(words: list[str]) -> None:
    code, modules, printed = modules_of(*words)
    assert code == 0
    assert "--dataset" in printed
    assert not modules & HEAVY


def test_a_mistyped_value_waits_for_no_heavy_library() -> None:
    code, modules, _ = modules_of("--val-size", "many")
    assert code == 2
    assert not modules & HEAVY


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, ["plan", "--dataset", SAMPLE]),
        (0, ["plan", "--dataset", SAMPLE, "--json", "--template", "qwen3"]),
        (0, ["preview", "--dataset", SAMPLE, "-n", "1"]),
        (2, ["--dataset", SAMPLE, "--fields", "instruction=none,response=answer"]),
        (2, ["--dataset", SAMPLE, "--template", "no-such", "--skip-upload"]),
        (2, ["--dataset", SAMPLE.with_name("absent.jsonl"), "--skip-upload"]),
        (2, ["plan", "--dataset", SAMPLE, "--save-config", "no/such/folder/run.toml"]),
    ],
)
def test_planning_and_what_it_refuses_import_no_beam(code: int, words: list[object]) -> None:
    ended, modules, _ = modules_of(*words)
    assert ended == code
    assert BEAM not in modules


def test_configuration_files_import_no_beam(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    ended, modules, _ = modules_of(
        "plan", "--dataset", SAMPLE, "--seed", 7, "--save-config", config
    )
    assert ended == 0 and BEAM not in modules
    ended, modules, printed = modules_of("plan", "--config-file", config, "--json")
    assert ended == 0 and BEAM not in modules
    assert json.loads(printed)["split"]["seed"] == 7


def test_a_run_imports_beam() -> None:
    """Else the tests above would prove nothing."""
    assert BEAM in modules_of("--no-such-flag")[1]


def test_the_public_names_are_these() -> None:
    assert pipeline.__all__ == [
        "DatasetProcessor", "Request", "S3Handler", "__version__", "prepare"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["DatasetProcessor", "Request", "S3Handler", "prepare"])
def test_every_public_name_can_be_had(name: str) -> None:
    found = getattr(pipeline, name)
    assert found.__name__ == name
    assert found.__module__.startswith("pipeline.")
    assert found.__doc__


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'pipeline' has no attribute 'nothing'"):
        _ = pipeline.nothing
