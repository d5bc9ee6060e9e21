"""A data set with known faults: copies, near copies, and validation prompts that leak."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from transforms.split import SplitRule
from transforms.text.normalization import normalise_keys

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdklmnrst"]


@dataclass
class Planted:
    """What was put where.

    ``copies`` counts exact copies by file; ``near`` has the rows that are ``near`` copies of
    earlier ones (0.91 alike) and those that are ``far`` (0.61); ``prompts`` are pairs of nearly
    equal ones.
    """

    files: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    copies: dict[str, int] = field(default_factory=dict)
    near: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    prompts: list[tuple[str, str]] = field(default_factory=list)

    def write(self, folder: Path) -> Path:
        """The files; returns their folder."""
        folder.mkdir(exist_ok=True)
        for name, rows in self.files.items():
            text = "".join(f"{json.dumps(row)}\n" for row in rows)
            (folder / name).write_text(text, encoding="utf-8")
        return folder


def words(order: random.Random, count: int) -> list[str]:
    return order.choices(WORDS, k=count)


def changed(text: list[str], order: random.Random, edits: int) -> list[str]:
    """Other words at places that are far apart: each changes three word 3-grams."""
    copy = list(text)
    step = len(text) // edits
    for edit in range(edits):
        copy[edit * step + order.randrange(3, step - 3)] = f"x{order.randrange(10**9)}"
    return copy


def jaccard(one: str, other: str) -> float:
    """Of the word 3-grams; words are apart by single spaces."""

    def shingles(text: str) -> set[tuple[str, ...]]:
        found = text.split()
        return set(zip(found, found[1:], found[2:], strict=False))

    return len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))


def plant(rows: int = 2500) -> Planted:
    """Rows in two files; the second begins with the copies of rows of the first."""
    order = random.Random(11)
    made = Planted()

    def row(question: list[str], length: int) -> dict[str, str]:
        return {"question": " ".join(question), "answer": " ".join(words(order, length))}

    first = [row(words(order, 40), order.randrange(40, 200)) for _ in range(rows)]
    inside = order.sample(first, 30)
    second = order.sample(first, 50) * 2
    # 198 3-grams: with three words changed the similarity is 0.91, with sixteen 0.61.
    for kind, count, edits in (("near", 100, 3), ("far", 60, 16)):
        for _ in range(count):
            base = row(words(order, 40), 160)
            answer = changed(base["answer"].split(), order, edits)
            first.append(base)
            second.append({"question": base["question"], "answer": " ".join(answer)})
            made.near.setdefault(kind, []).append(second[-1])
    # Prompts that differ in a word, with answers of their own.
    for one in order.sample(first, 200):
        other = changed(one["question"].split(), order, 1)
        second.append(row(other, order.randrange(40, 200)))
        made.prompts.append((one["question"], " ".join(other)))
    made.files = {"a.jsonl": first + inside, "b.jsonl": second}
    made.copies = {"a.jsonl": 30, "b.jsonl": 100}
    return made


def in_validation(prompt: str) -> bool:
    """By the default split."""
    return bool(SplitRule(0.1, 42).is_validation(normalise_keys(pa.array([prompt])))[0].as_py())
