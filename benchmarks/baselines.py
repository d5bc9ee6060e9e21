"""The other ways to the same folder: ``python benchmarks/baselines.py NAME IN OUT``.

``bench.py`` and ``chats.py`` run and measure them from outside; ``script`` also takes a TEMPLATE.
Each prints one JSON line: the rows it wrote and the seconds of its own work, without the
interpreter's start and the imports.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SYSTEM = "You are a helpful assistant that provides detailed reasoning and explanations."
BEFORE = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n"
BETWEEN = "<|im_end|>\n<|im_start|>assistant\n"
END = "<|im_end|>"
VAL_SIZE, SEED = 0.1, 42
RECORD_BATCH_ROWS = 1000


def guide(source: str, target: str) -> int:
    """The guide's way: load, format row by row, split, save."""
    return _with_datasets(source, target, _row, batched=False)


def batched(source: str, target: str) -> int:
    """What an expert makes of the guide's way: the same, a thousand rows a call, one process."""
    return _with_datasets(source, target, _rows, batched=True)


def _row(row: dict[str, str]) -> dict[str, str]:
    question, reasoning = row["question"], row["reasoning"]
    text = f"{BEFORE}{question}{BETWEEN}{reasoning}{END}"
    return {"text": text, "instruction": question, "response": reasoning}


def _rows(rows: dict[str, list[str]]) -> dict[str, list[str]]:
    questions, answers = rows["question"], rows["reasoning"]
    texts = [f"{BEFORE}{q}{BETWEEN}{a}{END}" for q, a in zip(questions, answers, strict=True)]
    return {"text": texts, "instruction": questions, "response": answers}


def script(source: str, target: str, template: str) -> int:
    """What a user writes for conversations: the guide's way with the model's Jinja template."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    made.globals["strftime_now"] = lambda _: "2025-01-01"
    path = Path(__file__).parents[1] / "transforms" / "chat" / "templates" / f"{template}.jinja"
    jinja = made.from_string(path.read_text(encoding="utf-8"))
    constants = {"bos_token": "", "eos_token": "</s>", "think": "auto"}

    def row(row: dict[str, Any]) -> dict[str, str]:
        turns = row.get("messages")
        if turns is None:
            answer = {"content": row["answer"], "reasoning_content": row["reasoning"]}
            turns = [{"role": "user", "content": row["question"]}, {"role": "assistant", **answer}]
        return {"text": jinja.render(messages=turns, **constants)}

    return _with_datasets(source, target, row, batched=False)


def _with_datasets(source: str, target: str, form: Callable[..., Any], batched: bool) -> int:
    from datasets import DatasetDict, load_dataset

    loaded = load_dataset("parquet", data_files=source, split="train")
    formatted = loaded.map(form, batched=batched, remove_columns=loaded.column_names)
    split = formatted.train_test_split(test_size=VAL_SIZE, seed=SEED)
    both = DatasetDict({"train": split["train"], "validation": split["test"]})
    both.save_to_disk(target)
    return len(both["train"]) + len(both["validation"])


def copied(source: str, target: str) -> int:
    """The job into a local folder, then a copy to S3 as ``aws s3 cp --recursive`` makes it."""
    import subprocess
    import tempfile
    from concurrent.futures import ThreadPoolExecutor

    import boto3

    bucket, _, prefix = target.removeprefix("s3://").partition("/")
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "set"
        words = ["--dataset", source, "--output", str(local), "--skip-upload", "--json", "--quiet"]
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", *words], check=True, capture_output=True
        )
        client = boto3.client("s3")
        paths = [path for path in local.rglob("*") if path.is_file()]
        keys = [f"{prefix}/{path.relative_to(local)}" for path in paths]
        with ThreadPoolExecutor(10) as pool:  # as many as the command line tool's default
            list(pool.map(lambda p, k: client.upload_file(str(p), bucket, k), paths, keys))
    counts = json.loads(done.stdout)["counts"]
    return int(counts["train"] + counts["validation"])


def loop(source: str, target: str, flush: bool = False) -> int:
    """The floor: read, join, hash, filter, write, by hand, a process a core, and nothing else.

    No field detection, checks, rejects, checksums, manifest or safety against a crash.
    """
    import multiprocessing

    import pyarrow.parquet as pq

    for split in ("train", "validation"):
        (Path(target) / split).mkdir(parents=True)
    workers = len(os.sched_getaffinity(0))
    with pq.ParquetFile(source) as file:
        groups = range(file.num_row_groups)
    tasks = [(source, target, n, groups[n::workers], flush) for n in range(workers)]
    # fork: the quickest start, which only makes the floor lower.
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return sum(pool.starmap(_loop_worker, tasks, chunksize=1))


def flushed(source: str, target: str) -> int:
    """The floor of a writer whose files survive a power cut: the loop, then an fsync of each."""
    return loop(source, target, flush=True)


def _loop_worker(source: str, target: str, worker: int, groups: range, flush: bool) -> int:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
    from xxhash import xxh3_64_intdigest

    schema = pa.schema([(name, pa.string()) for name in ("text", "instruction", "response")])
    threshold = round(VAL_SIZE * 2**64)
    files = [f"{target}/{split}/data-{worker:05d}.arrow" for split in ("train", "validation")]
    count = 0
    with (
        pq.ParquetFile(source) as file,
        pa.ipc.new_stream(files[0], schema) as train,
        pa.ipc.new_stream(files[1], schema) as validation,
    ):
        for group in groups:
            table = file.read_row_group(group, ["question", "reasoning"], use_threads=False)
            question, answer = table["question"], table["reasoning"]
            text = pc.binary_join_element_wise(BEFORE, question, BETWEEN, answer, END, "")
            rows = pa.table([text, question, answer], schema=schema)
            keys = question.cast(pa.binary()).to_pylist()
            chosen = pa.array([xxh3_64_intdigest(key, SEED) < threshold for key in keys])
            train.write_table(rows.filter(pc.invert(chosen)), RECORD_BATCH_ROWS)
            validation.write_table(rows.filter(chosen), RECORD_BATCH_ROWS)
            count += rows.num_rows
    for path in files if flush else ():
        with open(path, "rb") as written:
            os.fsync(written.fileno())
    return count


CONTESTANTS: dict[str, Callable[..., int]] = {
    "guide": guide,
    "datasets": guide,  # with an s3:// address, as datasets itself writes there
    "batched": batched,
    "copied": copied,
    "loop": loop,
    "flushed": flushed,
    "script": script,
}


def main() -> None:
    """Runs one contestant."""
    name, source, target, *more = sys.argv[1:]
    if name in ("loop", "flushed"):
        import pyarrow.parquet  # noqa: F401 (before the clock starts, as for the others)
        import xxhash  # noqa: F401
    else:
        import datasets  # noqa: F401
    start = time.perf_counter()
    count = CONTESTANTS[name](source, target, *more)
    print(json.dumps({"rows": count, "seconds": round(time.perf_counter() - start, 3)}))


if __name__ == "__main__":
    main()
