"""The walls between the parts: who may import whom, and what is loaded when."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from means import REPOSITORY

import pipeline

PURE = (
    *("built_in", "chat", "chat_fields", "concatenation", "control_tokens", "conversation"),
    *(
        "errors",
        "fields",
        "jinja_rows",
        "layout",
        "mappings",
        "pair_turns",
        "pairs",
        "reading_turns",
        "reasoning",
        "records",
    ),
    *("rendering", "roles", "sandbox", "shapes", "shards", "split", "turns", "units"),
    *("quality.balance", "quality.content", "quality.duplicates", "quality.gates"),
    *("quality.leakage", "quality.lengths", "quality.minhash", "quality.overlap"),
    *("quality.validation_prompts", "quality.words", "report.page"),
)
BEAM = "apache_beam"
NETWORK = ("boto3", "datasets", "httpx", "huggingface_hub", "requests", "socket", "urllib.request")

# What the pure modules stand on.  pyarrow itself loads `socket`, to find free ports.
FOUNDATION = ("numpy", "pyarrow", "pyarrow.compute", "xxhash")

LOADED = """
import importlib, json, sys
for name in sys.argv[1].split():
    importlib.import_module(name)
before = set(sys.modules)
importlib.import_module(sys.argv[2])
print(json.dumps([sorted(before), sorted(sys.modules)]))
"""

HELP = """
import json, runpy, sys
sys.argv = ["pipeline", *sys.argv[1:]]
code = None
try:
    runpy.run_module("pipeline", run_name="__main__")
except SystemExit as end:
    code = end.code
print("\\n" + json.dumps([code, sorted(sys.modules)]))
"""


def imports(source: str, module: str = "") -> Iterator[str]:
    """Every module that a source imports anywhere, by statement or by name."""
    package = module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            origin = ".".join(filter(None, (base, node.module)))
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("import_module", "__import__"):
                yield from (c.value for c in ast.walk(node) if is_text(c))  # type: ignore[attr-defined]


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def is_part(module: str, of: str) -> bool:
    return module == of or module.startswith(f"{of}.")


def sources(package: str) -> list[Path]:
    return sorted((REPOSITORY / package).rglob("*.py"))


def child(script: str, *arguments: str) -> str:
    """What a script prints in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,  # the assertion shows what it said
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pipeline", "pipeline"),
        ("import os, pipeline.planning.plan as p", "pipeline.planning.plan"),
        ("from pipeline.planning.plan import Plan", "pipeline.planning.plan"),
        ("def f():\n    from pipeline import plan", "pipeline.planning.plan"),
        ("if True:\n    import pipeline", "pipeline"),
        (
            "import importlib\nimportlib.import_module('pipeline.planning.plan')",
            "pipeline.planning.plan",
        ),
        ("__import__('pipeline')", "pipeline"),
        ("from . import chat", "transforms.chat.template"),
        ("from .chat import chatml", "transforms.chat.template"),
    ],
)
def test_the_search_for_imports_finds_them_all(source: str, found: str) -> None:
    assert found in list(imports(source, "transforms.here"))


@pytest.mark.parametrize("path", sources("transforms"), ids=lambda path: path.stem)
def test_transforms_never_imports_pipeline(path: Path) -> None:
    module = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    wrong = [name for name in imports(path.read_text(), module) if is_part(name, "pipeline")]
    assert not wrong


def test_transforms_can_be_imported_without_pipeline() -> None:
    names = [
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
        for path in sources("transforms")
    ]
    assert len(names) > 15
    _, after = json.loads(child(LOADED, " ".join(names), "transforms"))
    assert not [name for name in after if is_part(name, "pipeline")]


@pytest.mark.parametrize("module", PURE)
class TestPureModules:
    def test_import_neither_beam_nor_the_network(self, module: str) -> None:
        source = (REPOSITORY / "transforms" / f"{module.replace('.', '/')}.py").read_text()
        found = list(imports(source, f"transforms.{module}"))
        assert found, "an empty module proves nothing"
        wrong = [n for n in found for forbidden in (BEAM, *NETWORK) if is_part(n, forbidden)]
        assert not wrong

    def test_load_neither_beam_nor_the_network(self, module: str) -> None:
        before, after = json.loads(child(LOADED, " ".join(FOUNDATION), f"transforms.{module}"))
        assert f"transforms.{module}" in after
        loaded = set(after) - set(before)
        assert not loaded & {BEAM, *NETWORK}
        assert not set(after) & {BEAM, *NETWORK} - {"socket"}


def test_the_look_at_loaded_modules_sees_the_network() -> None:
    before, after = json.loads(child(LOADED, " ".join(FOUNDATION), "urllib.request"))
    assert "urllib.request" in set(after) - set(before)


@pytest.mark.parametrize("words", [["--help"], ["plan", "--help"], ["preview", "--help"]])
def test_help_waits_for_no_heavy_library(words: list[str]) -> None:
    printed = child(HELP, *words)
    code, modules = json.loads(printed.splitlines()[-1])
    assert code == 0
    assert "--dataset" in printed
    assert not set(modules) & {BEAM, "datasets", "pyarrow", "numpy", "huggingface_hub", "rich"}


def test_a_mistyped_value_waits_for_no_heavy_library() -> None:
    code, modules = json.loads(child(HELP, "--val-size", "many").splitlines()[-1])
    assert code == 2
    assert not set(modules) & {BEAM, "datasets", "pyarrow"}


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


def test_the_version_is_the_distribution_s() -> None:
    assert version("reasonforge-data-prep") == pipeline.__version__
