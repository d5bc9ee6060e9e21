"""A plan of more than a thousand units travels as files; the set must not show it."""

import json
from pathlib import Path

import apache_beam as beam
import pytest

import pipeline.launch.graph_inputs
import transforms.steps.read
from pipeline.launch.job import run
from pipeline.planning.plan import make_plan
from pipeline.request import Request
from transforms.records import FileRange, WorkUnit
from transforms.steps.read import StoredWorkUnits
from transforms.storage.local import LocalStore


@pytest.fixture
def few_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two units in a file instead of a thousand."""
    monkeypatch.setattr(transforms.steps.read, "MAX_INLINE", 2)
    monkeypatch.setattr(pipeline.launch.graph_inputs, "MAX_INLINE", 2)


def rows_file(folder: Path) -> Path:
    path = folder / "rows.jsonl"
    rows = [{"question": f"Question {n}?", "reasoning": "Because. " * 500} for n in range(1500)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_units_come_back_as_they_were_stored(tmp_path: Path, few_inline: None) -> None:
    folder = LocalStore(str(tmp_path / "out"))
    units = [WorkUnit(n, (FileRange(f"f{n}", n, n + 1, None if n % 2 else n),)) for n in range(5)]
    with folder.claimed():
        stored = StoredWorkUnits.written(folder, units)
        assert len(stored.parts) == 3
        assert [unit for part in stored.parts for unit in stored.load(part)] == units


def test_a_stored_plan_gives_the_same_set_as_an_inline_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    source = str(rows_file(tmp_path))

    def prepared(name: str) -> dict[str, object]:
        asked = Request(dataset=source, output=str(tmp_path / name), shard_size=2**20)
        plan = make_plan(asked)
        assert len(plan.units) > 2
        manifest = run(plan, asked).manifest.to_json()
        return {key: value for key, value in manifest.items() if key != "run"}

    inline = prepared("inline")
    request.getfixturevalue("few_inline")
    assert prepared("stored") == inline


def test_a_large_plan_leaves_the_graph_small(tmp_path: Path) -> None:
    asked = Request(dataset=str(rows_file(tmp_path)), output=str(tmp_path / "out"))
    plan = make_plan(asked)
    folder = LocalStore(str(tmp_path / "out"))
    graph = beam.Pipeline()
    contents = pipeline.launch.graph_inputs.contents_of(plan, asked, "Test")
    pipeline.launch.graph.assemble(graph, plan, StoredWorkUnits(folder, 100_000), folder, contents)
    assert len(graph.to_runner_api().SerializeToString()) < 2**20
