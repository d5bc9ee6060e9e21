"""Makes the benchmark's inputs, and keeps them: ``python benchmarks/data.py KIND SIZE FILE``.

The rows look like a reasoning data set: a question of about 300 characters (line breaks in a third
of the rows, letters beyond ASCII in a tenth), a reasoning of about 1,600, and an id column that
nobody reads.  400,000 of them are about 308 MB of Parquet and 1.6 GB of Arrow after preparation.
Everything follows from one seed, so an input that is already there need not be made again.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

GROUP_ROWS = 10_000
"""Rows in a row group, and in one step of the generator."""

_SEED = 7
_WORDS, _SENTENCES = 900, 50_000
_BEYOND_ASCII = ("naïve", "Größe", "São", "π≈3.14", "數學", "δx", "café", "Ωm", "🙂", "Łódź")


def rows(start: int, count: int) -> pa.Table:
    """Rows ``start`` to ``start + count``; each step of ``GROUP_ROWS`` has a seed of its own."""
    random = np.random.default_rng((_SEED, start))
    plain, special = _SPOKEN
    numbers = pa.array([f"[{n}]" for n in range(start, start + count)])
    opening = pc.if_else(
        pa.array(random.random(count) < 0.1),
        special.take(pa.array(random.integers(0, len(special), count))),
        plain.take(pa.array(random.integers(0, len(plain), count))),
    )
    breaks = pc.if_else(pa.array(random.random(count) < 1 / 3), "\n", " ")
    question = pc.binary_join_element_wise(
        opening, _joined(random, plain, 1, 5, breaks), numbers, breaks
    )
    reasoning = _joined(random, plain, 13, 27, pa.array(random.choice(["\n\n", " "], count)))
    return pa.table(
        {
            "id": pa.array([f"row-{n:09d}" for n in range(start, start + count)]),
            "question": question,
            "reasoning": reasoning,
        }
    )


def _joined(
    random: np.random.Generator, sentences: pa.Array, low: int, high: int, breaks: pa.Array
) -> pa.Array:
    """For each break, ``low`` to ``high - 1`` sentences with it between them."""
    lengths = random.integers(low, high, len(breaks))
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    chosen = sentences.take(pa.array(random.integers(0, len(sentences), int(offsets[-1]))))
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), chosen), breaks)


def _sentences() -> tuple[pa.Array, pa.Array]:
    """Plain sentences, and sentences with letters beyond ASCII."""
    random = np.random.default_rng(_SEED)
    letters = np.array(list("etaoinshrdlucmfw"))
    # As in a language, few words are most of the text: it compresses about as prose does.
    words = ["".join(random.choice(letters, n)) for n in random.integers(2, 10, _WORDS)]
    weights = 1 / np.arange(1, _WORDS + 1)
    spoken = iter(random.choice(words, _SENTENCES * 14, p=weights / weights.sum()).tolist())
    made = []
    for length in random.integers(8, 15, _SENTENCES):
        made.append(" ".join(next(spoken) for _ in range(length)).capitalize() + ".")
    special = [f"{made[n]} {word}?" for n, word in enumerate(_BEYOND_ASCII * 100)]
    return pa.array(made), pa.array(special)


_SPOKEN = _sentences()


def parquet_of_rows(count: int, path: Path) -> None:
    """A Parquet file of ``count`` rows."""
    with pq.ParquetWriter(path, rows(0, 1).schema) as writer:
        for start in range(0, count, GROUP_ROWS):
            writer.write_table(rows(start, min(GROUP_ROWS, count - start)))


def messages_of_rows(count: int, path: Path) -> None:
    """The same rows as one column of two turns each."""
    turn = pa.struct([("role", pa.string()), ("content", pa.string())])
    schema = pa.schema([("id", pa.string()), ("messages", pa.list_(turn))])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, GROUP_ROWS):
            writer.write_table(_as_messages(rows(start, min(GROUP_ROWS, count - start))))


def _as_messages(table: pa.Table) -> pa.Table:
    count = table.num_rows
    both = pa.chunked_array([*table["question"].chunks, *table["reasoning"].chunks])
    places = np.arange(2 * count).reshape(2, count).T.ravel()
    content = both.combine_chunks().take(pa.array(places))
    roles = pa.array(["user", "assistant"] * count)
    turns = pa.StructArray.from_arrays([roles, content], names=["role", "content"])
    offsets = pa.array(np.arange(0, 2 * count + 1, 2), pa.int32())
    return pa.table({"id": table["id"], "messages": pa.ListArray.from_arrays(offsets, turns)})


def answers_with_reasoning(count: int, path: Path) -> None:
    """The same rows as a question, its reasoning, and an answer of some sentences."""
    names = ("id", "question", "reasoning", "answer")
    schema = pa.schema([(name, pa.string()) for name in names])
    plain, _ = _SPOKEN
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, GROUP_ROWS):
            table = rows(start, min(GROUP_ROWS, count - start))
            random = np.random.default_rng((_SEED, start, 1))
            answers = _joined(random, plain, 2, 6, pa.array([" "] * table.num_rows))
            writer.write_table(table.append_column("answer", answers).cast(schema))


def five_turns(count: int, path: Path) -> None:
    """Rows of five turns: a system prompt, and two questions with short answers."""
    turn = pa.struct([("role", pa.string()), ("content", pa.string())])
    schema = pa.schema([("messages", pa.list_(turn))])
    names = ("system", "user", "assistant", "user", "assistant")
    plain, _ = _SPOKEN
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, GROUP_ROWS):
            table = rows(start, min(GROUP_ROWS, count - start))
            random = np.random.default_rng((_SEED, start, 2))
            blanks = pa.array([" "] * table.num_rows)
            spoken = [_joined(random, plain, 2, 4, blanks) for _ in range(4)]
            spoken.insert(1, table["question"].combine_chunks())
            places = np.arange(5 * table.num_rows).reshape(5, -1).T.ravel()
            content = pa.concat_arrays(spoken).take(pa.array(places))
            roles = pa.array(names * table.num_rows)
            turns = pa.StructArray.from_arrays([roles, content], names=["role", "content"])
            offsets = pa.array(np.arange(0, 5 * table.num_rows + 1, 5), pa.int32())
            lists = pa.ListArray.from_arrays(offsets, turns)
            writer.write_table(pa.table({"messages": lists}, schema=schema))


def _originals(places: np.ndarray) -> np.ndarray:
    """The row that stands at each place: of each ten one repeats a row up to a million before."""
    back = 10 * (1 + places * 7919 % 100_000) + 3
    return np.where((places % 10 == 9) & (places > back), places - back, places)


def copies(count: int) -> int:
    """How many of the first ``count`` rows repeat another one."""
    return count - len(np.unique(_originals(np.arange(count))))


def copied_rows(count: int, path: Path) -> None:
    """A Parquet file of ``count`` short rows; each tenth is a copy of one some way before it."""
    schema = pa.schema([("question", pa.string()), ("answer", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, GROUP_ROWS):
            numbers = pa.array(_originals(np.arange(start, min(start + GROUP_ROWS, count))))
            question = pc.binary_join_element_wise("How much is", numbers.cast(pa.string()), " ")
            answer = pc.binary_join_element_wise("As much as", numbers.cast(pa.string()), " ")
            writer.write_table(pa.table({"question": question, "answer": answer}, schema=schema))


_FRAME = " ".join(f"frame{n}" for n in range(35))
_ENDING = " ".join(f"ending{n}" for n in range(35))


def framed_rows(count: int, path: Path) -> None:
    """A Parquet file whose prompts are one frame of 35 words, and three words of their own."""

    def prompts(random: np.random.Generator, numbers: np.ndarray) -> Iterator[str]:
        for own in random.integers(0, 5_000, (len(numbers), 3)).tolist():
            yield f"{_FRAME} word{own[0]} word{own[1]} word{own[2]}"

    _rows_of_prompts(prompts, count, path)


def numbered_rows(count: int, path: Path) -> None:
    """A Parquet file whose prompts differ by one number only."""

    def prompts(_: np.random.Generator, numbers: np.ndarray) -> Iterator[str]:
        return (f"{_FRAME} {number} {_ENDING}" for number in numbers.tolist())

    _rows_of_prompts(prompts, count, path)


def small_vocabulary_rows(count: int, path: Path) -> None:
    """A Parquet file whose prompts are 8 to 20 of 30 words."""

    def prompts(random: np.random.Generator, numbers: np.ndarray) -> Iterator[str]:
        for length in random.integers(8, 21, len(numbers)).tolist():
            yield " ".join(f"w{n}" for n in random.integers(0, 30, length).tolist())

    _rows_of_prompts(prompts, count, path)


def _rows_of_prompts(
    prompts: Callable[[np.random.Generator, np.ndarray], Iterator[str]], count: int, path: Path
) -> None:
    """Writes prompts with answers that no other row has."""
    schema = pa.schema([("question", pa.string()), ("answer", pa.string())])
    plain, _ = _SPOKEN
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, GROUP_ROWS):
            random = np.random.default_rng((_SEED, start))
            numbers = np.arange(start, min(start + GROUP_ROWS, count))
            spoken = _joined(random, plain, 3, 7, pa.array([" "] * len(numbers)))
            answers = pc.binary_join_element_wise(spoken, pa.array(numbers).cast(pa.string()), " ")
            columns = [pa.array(list(prompts(random, numbers)), pa.string()), answers]
            writer.write_table(pa.table(columns, schema=schema))


def sized_parquet(size: int, path: Path) -> None:
    """A Parquet file of at least ``size`` bytes."""
    with open(path, "wb") as file, pq.ParquetWriter(file, rows(0, 1).schema) as writer:
        for table in _endless():
            writer.write_table(table)
            if file.tell() >= size:
                return


def sized_json_lines(size: int, path: Path) -> None:
    """A JSON Lines file of at least ``size`` bytes."""
    with open(path, "wb") as file:
        for table in _endless():
            lines = (json.dumps(row, ensure_ascii=False) for row in table.to_pylist())
            file.write("".join(f"{line}\n" for line in lines).encode())
            if file.tell() >= size:
                return


def _endless() -> Iterator[pa.Table]:
    start = 0
    while True:
        yield rows(start, GROUP_ROWS)
        start += GROUP_ROWS


KINDS = {
    "parquet-rows": parquet_of_rows,
    "messages-rows": messages_of_rows,
    "reasoning-rows": answers_with_reasoning,
    "five-turns": five_turns,
    "copied-rows": copied_rows,
    "framed-rows": framed_rows,
    "numbered-rows": numbered_rows,
    "small-vocabulary": small_vocabulary_rows,
    "parquet-bytes": sized_parquet,
    "jsonl-bytes": sized_json_lines,
}


def main() -> None:
    """Makes one input; it appears whole or not at all."""
    kind, size, path = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    path.parent.mkdir(parents=True, exist_ok=True)
    growing = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        KINDS[kind](size, growing)
        growing.replace(path)
    finally:
        growing.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
