"""Writes the golden texts and report anew: ``python tests/support/regenerate_golden.py``.

Only a person runs this, after a change of the text, the split or the report that is meant; the
difference that git then shows is what every user's data set will show.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa

from pipeline import Request, prepare
from transforms.chat.builtin_templates import chatml
from transforms.split import SplitRule
from transforms.text.normalization import normalise_keys

HERE = Path(__file__).parent.parent
SAMPLE = HERE.parent / "pipeline" / "sample" / "reasoning.jsonl"
GOLDEN = HERE / "golden" / "sample.jsonl"
REPORT = HERE / "golden" / "report-gsm8k.html"
GSM8K = HERE.parent.parent / "shared" / "data" / "gsm8k" / "train.jsonl"

# The first row that holds each of these, so that the texts show LaTeX, code and Unicode.
FEATURES = ("\\frac", "```", "é", "\u00a0", "の", "ل", "🐱", "👍🏽")


def golden_lines() -> list[str]:
    """The lines of the golden file: the row's number in the sample, its split and its text."""
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    whole = [row["question"] + row["reasoning"] for row in rows]
    questions = pa.array([row["question"] for row in rows])
    validation = SplitRule(0.1, 42).is_validation(normalise_keys(questions)).to_pylist()

    chosen = {0, len(rows) - 1, validation.index(True)}
    for feature in FEATURES:
        chosen.add(next(n for n, text in enumerate(whole) if feature in text))
    return [
        json.dumps(
            {
                "row": n + 1,
                "split": "validation" if validation[n] else "train",
                "text": chatml().render(rows[n]["question"], rows[n]["reasoning"]),
            },
            ensure_ascii=False,
        )
        for n in sorted(chosen)
    ]


def copy_gsm8k(train: Path, folder: Path) -> None:
    """``folder/gsm8k``: both files, as old everywhere: a plan knows its files by their times."""
    (folder / "gsm8k").mkdir()
    for name in ("train.jsonl", "test.jsonl"):
        copy = Path(shutil.copyfile(train.with_name(name), folder / "gsm8k" / name))
        os.utime(copy, (0, 0))


def golden_report() -> bytes:
    """The report on GSM8K, which is no part of the project; named as seen from beside it."""
    with tempfile.TemporaryDirectory() as folder:
        copy_gsm8k(GSM8K, Path(folder))
        os.chdir(folder)
        prepare(Request("gsm8k/*.jsonl", "set", skip_upload=True))
        return Path("set", "report.html").read_bytes()


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text("".join(f"{line}\n" for line in golden_lines()), encoding="utf-8")
    REPORT.write_bytes(golden_report())
    print(f"wrote {GOLDEN} and {REPORT}")
