"""A manifest's ``config``: all options that decide the bytes, and no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from command_runs import lines, put, turns
from made_tokenizers import byte_bpe

from pipeline.planning.plan import Plan, make_plan
from pipeline.planning.plan_flags import config_of
from pipeline.request import Request
from transforms.declaration import own_options
from transforms.storage.s3.uri import S3Options

DECLARED = {one.key for one in own_options(Request) if one.decides_bytes}


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    """A request with a value for every option that pairs can have."""
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "tokenizer.json", byte_bpe())
    lines(tmp_path / "benchmark.jsonl", {"prompt": "this is the prompt of a benchmark " * 3})
    row = {"q": "What is one?", "a": '{"process": "One.", "final_answer": "It is 1."}'}
    source = lines(tmp_path / "pairs.jsonl", *[row] * 20)
    return Request(
        dataset=str(source),
        fields="instruction=q,response=a",
        split_key="q",
        balance=("q",),
        unpack_json=True,
        ignore_training_marks=True,
        list_answers="first",
        max_samples=9,
        system_prompt="Be kind.",
        tokenizer="tokenizer.json",
        max_tokens=999,
        decontaminate=("benchmark.jsonl",),
    )


CELLS = ("delimiter", "encoding", "quotes")


def config(request: Request, plan: Plan) -> dict[str, object]:
    """The config, as if the source were on the hub."""
    source = replace(plan.source, kind="hub", revision="f00", config="name")
    return config_of(request, replace(plan, source=source))


def test_all_options_that_decide_the_bytes_are_in_it(pairs: Request, tmp_path: Path) -> None:
    with_turns = Request(
        dataset=str(lines(tmp_path / "turns.jsonl", *[{"messages": turns("Hi", "Hello")}] * 20)),
        roles=("sage=assistant",),
    )
    with_cells = Request(
        dataset=str(put(tmp_path / "cells.csv", "question;answer\nWhat is it?;It is this.\n")),
        delimiter=";",
        encoding="cp1252",
        quotes="doubled",
    )
    of_cells = config(with_cells, make_plan(with_cells))
    of_pairs = config(pairs, make_plan(pairs))
    of_turns = config(with_turns, make_plan(with_turns))
    assert of_pairs.keys() == DECLARED - {"role", *CELLS}
    assert [of_cells[key] for key in CELLS] == [";", "cp1252", "doubled"]
    assert of_turns.keys() <= DECLARED - {"unpack-json"}
    assert of_pairs.keys() | of_turns.keys() | of_cells.keys() == DECLARED
    assert of_turns["role"] == ["sage=assistant"]


def test_what_planning_resolved_takes_the_place_of_the_request(pairs: Request) -> None:
    found = config(replace(pairs, same_role="merge", balance=("q", "q")), make_plan(pairs))
    assert (found["revision"], found["split"], found["config"]) == ("f00", "train", "name")
    assert found["same-role"] == "reject"  # pairs have no roles
    assert (found["balance"], found["shard-size"]) == (["q"], 64 * 2**20)
    assert (found["system-prompt"], found["template"]) == ("Be kind.", "chatml")


def test_no_other_option_changes_the_plan(pairs: Request) -> None:
    others = Request(
        output="elsewhere",
        max_reject_rate=0.5,
        max_duplicates=0.5,
        max_leakage=0.5,
        min_validation=1,
        max_truncated=0.5,
        overwrite=True,
        resume=True,
        s3_bucket="another-bucket",
        skip_upload=True,
        s3=S3Options(region="there"),
        shared_filesystem=True,
        detach=True,
        skip_worker_check=True,
        start_timeout=1,
        stall_timeout=1,
    )
    names = [one.name for one in own_options(Request) if not one.decides_bytes] + ["s3"]
    for name in names:
        assert getattr(others, name) != getattr(pairs, name), f"{name} is not tried here"
    changed = replace(pairs, **{name: getattr(others, name) for name in names})
    plan = make_plan(pairs)
    assert make_plan(changed).digest == plan.digest
    assert config_of(changed, plan) == config_of(pairs, plan)
