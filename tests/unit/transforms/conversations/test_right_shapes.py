"""Shapes that were always read right stay so: odd text, types and JSON, inline reasoning."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from command_runs import lines, put, turns
from conversions import Convert
from source_files import parquet

ROWS = 24
SYSTEM = "You are a helpful assistant that provides detailed reasoning and explanations."


def ask(i: int) -> str:
    return f"How would you mend the kettle number {i} before winter?"


def answer(i: int) -> str:
    return f"Start with step {i}: look at it slowly, and write down what you saw."


def chatml(*said: str, system: str | None = SYSTEM) -> str:
    """The turns as the default template writes them."""
    roles = ("user", "assistant")
    turns = [(roles[n % 2], text) for n, text in enumerate(said)]
    first = [] if system is None else [("system", system)]
    return "\n".join(f"<|im_start|>{role}\n{text}<|im_end|>" for role, text in [*first, *turns])


def test_separators_and_scripts_stay_in_the_text(convert: Convert, tmp_path: Path) -> None:
    said = (
        "A\u2028B\u2029C\u0085D \u200f\u05e9\u05dc\u05d5\u05dd \U0001f469\u200d\U0001f680 e\u0301"
    )
    rows = [{"instruction": ask(i), "output": f"{said} {i}"} for i in range(ROWS)]
    path = put(
        tmp_path / "a.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
    )
    expected = [chatml(ask(i), f"{said} {i}") for i in range(ROWS)]
    assert convert("--dataset", path).texts() == expected
    assert convert("--dataset", lines(tmp_path / "b.jsonl", *rows)).texts() == expected


def test_half_a_pair_of_surrogates_rejects_its_row_alone(convert: Convert, tmp_path: Path) -> None:
    rows = [{"instruction": ask(i), "output": "smile \U0001f600"} for i in range(ROWS)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    bad = '{"instruction": "What?", "output": "\\ud83d"}\n'
    done = convert("--dataset", put(tmp_path / "a.jsonl", text + bad))
    assert done.rejects == [("a.jsonl", ROWS + 1, "invalid-unicode")]
    assert done.texts()[0] == chatml(ask(0), "smile \U0001f600")


def test_columns_of_other_types_change_nothing(convert: Convert, tmp_path: Path) -> None:
    day = datetime(2024, 1, 1, tzinfo=timezone.utc)
    table = pa.table(
        {
            "question": pa.array([ask(i) for i in range(ROWS)]).dictionary_encode(),
            "answer": pa.array([answer(i) for i in range(ROWS)], pa.large_string()),
            "price": pa.array([Decimal(i) / 100 for i in range(ROWS)], pa.decimal128(9, 2)),
            "when": pa.array([day] * ROWS, pa.timestamp("us", "UTC")),
            "marks": pa.array([[("k", str(i))] for i in range(ROWS)], pa.map_("str", "str")),
            "blob": pa.array([b"\xff\xfe"] * ROWS, pa.binary()),
            "f": pa.nulls(ROWS),
        }
    )
    done = convert("--dataset", parquet(tmp_path / "a.parquet", table))
    assert done.texts() == [chatml(ask(i), answer(i)) for i in range(ROWS)]


def test_odd_json(convert: Convert, tmp_path: Path) -> None:
    extras = {
        0: ', "n": 123456789012345678901234567890',
        1: ', "n": NaN',
        2: ', "n": -Infinity',
        3: ', "output": "second wins"',
        4: ', "n": 1e999',
        6: ', "z": "a\\u0000b"',
    }
    data = b"\xef\xbb\xbf"
    for i in range(ROWS):
        data += b"\r\n\r\n" if i == 5 else b""
        row = json.dumps({"instruction": ask(i), "output": answer(i)})[:-1]
        data += (row + extras.get(i, ', "n": 1') + "}\r\n").encode()
    data += b'\x00\x00\n{"instruction": "cut off in the midd'
    done = convert("--dataset", put(tmp_path / "a.jsonl", data))
    assert done.reasons == {"broken-json": 2}
    assert done.texts() == [
        chatml(ask(i), "second wins" if i == 3 else answer(i)) for i in range(ROWS)
    ]


def test_conversations_as_json_text_with_nulls(convert: Convert, tmp_path: Path) -> None:
    cells = [
        None
        if i % 8 == 0
        else json.dumps([{"from": "human", "value": ask(i)}, {"from": "gpt", "value": answer(i)}])
        for i in range(ROWS)
    ]
    done = convert("--dataset", parquet(tmp_path / "a.parquet", pa.table({"conversations": cells})))
    assert done.reasons == {"null-messages": 3}
    assert done.texts() == [chatml(ask(i), answer(i), system=None) for i in range(ROWS) if i % 8]


def test_gsm8k(convert: Convert, tmp_path: Path) -> None:
    rows = [
        {"question": f"Ann has {i} nuts. How many?", "answer": f"<<{i}+0={i}>>{i}\n#### {i}"}
        for i in range(ROWS)
    ]
    done = convert("--dataset", lines(tmp_path / "a.jsonl", *rows))
    assert done.texts() == [chatml(row["question"], row["answer"]) for row in rows]


def test_a_long_row(convert: Convert, tmp_path: Path) -> None:
    rows = [
        {"instruction": ask(i), "output": answer(i) * (60_000 if i == 3 else 1)}
        for i in range(ROWS)
    ]
    done = convert("--dataset", lines(tmp_path / "a.jsonl", *rows))
    assert done.texts()[3] == chatml(ask(3), rows[3]["output"])


def test_reasoning_inside_of_messages(convert: Convert, tmp_path: Path) -> None:
    said = [f"<think>They ask about {i}.</think>{answer(i)}" for i in range(ROWS)]
    rows: list[Any] = [
        {"messages": turns(ask(i), said[i], system="Be brief.")} for i in range(ROWS)
    ]
    done = convert("--dataset", lines(tmp_path / "a.jsonl", *rows))
    assert done.texts() == [chatml(ask(i), said[i], system="Be brief.") for i in range(ROWS)]
