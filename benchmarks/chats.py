"""Measures conversations: against a user's script, against pairs, and how fast Jinja renders.

``python benchmarks/chats.py`` measures, whole commands, in turns, medians:

    a shape and a template   the script (``datasets.map`` with the model's Jinja) over the job
    pairs                    the job on the same rows as pairs and as a column of two turns
    jinja                    the sandbox with Qwen3's template, itself and its child on one core

``--only five-turns:qwen3`` measures one of them.  Exits with 1 if a budget is missed.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

from bench import HERE, Budget, made, prepare
from measure import RowStats, run, touch_memory

MOST_OVER_PAIRS = 1.5
LEAST_ROWS_A_SECOND = 15_000.0
_JINJA_ROWS = 100_000  # so that the start of the child does not count
_BATCH = 2_000


SHAPES = {
    **{f"{kind}:qwen3": 2.5 for kind in ("messages-rows", "reasoning-rows", "five-turns")},
    **{
        f"messages-rows:{name}": 2.2
        for name in ("llama3", "gpt-oss", "deepseek-r1", "gemma", "mistral")
    },
}
"""Kind of rows and template -> how many times as long the script has to take."""

PAIRS, JINJA = "pairs", "jinja"


def main() -> int:
    """Runs what was asked for; 1 if a budget is missed."""
    known = [*SHAPES, PAIRS, JINJA]
    parser = argparse.ArgumentParser(description="Measures conversations.")
    parser.add_argument("--rows", type=int, default=400_000, help="rows of pairs")
    parser.add_argument("--script-rows", type=int, default=200_000, help="rows of each shape")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default=",".join(known), help=f"some of {', '.join(known)}")
    flags = parser.parse_args()
    names = flags.only.split(",")
    if unknown := [name for name in names if name not in known]:
        parser.error(f"--only knows {', '.join(known)}; found {', '.join(unknown)}")
    budgets = []
    if JINJA in names:
        rate = jinja_rate()
        print(f"Jinja (qwen3): {rate:,.0f} rows/s on one core")
        budgets.append(Budget("Jinja rows a second", rate, LEAST_ROWS_A_SECOND, "", at_least=True))
    touch_memory()
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        if PAIRS in names:
            budgets.append(over_pairs(Path(work), flags.rows, flags.repeat))
        for name in filter(SHAPES.__contains__, names):
            budgets.append(over_script(name, Path(work), flags.script_rows, flags.repeat))
    print("\nbudgets", *budgets, sep="\n")
    return int(any(budget.missed for budget in budgets))


def over_script(name: str, work: Path, rows: int, repeat: int) -> Budget:
    """The script over the job, with the rows and the template that the name says."""
    kind, template = name.split(":")
    source = made(kind, rows)
    walls: dict[str, list[float]] = {"ours": [], "script": []}
    cpus: dict[str, list[float]] = {"ours": [], "script": []}
    for _ in range(repeat):
        ours = prepare(source, work, "--system-prompt", "none", "--template", template)
        script = _script(source, work, template)
        for who, done in (("ours", ours), ("script", script)):
            walls[who].append(done.wall)
            cpus[who].append(done.cpu)
    wall, cpu = (median(of["script"]) / median(of["ours"]) for of in (walls, cpus))
    print(f"{name:28} script / ours: wall {wall:.2f}x, CPU {cpu:.2f}x", flush=True)
    return Budget(f"{name}, script / ours", wall, SHAPES[name], at_least=True)


def _script(source: Path, work: Path, template: str) -> RowStats:
    target, caches = work / "out", work / "caches"
    words = [str(HERE / "baselines.py"), "script", str(source), str(target), template]
    env = {
        "HF_HOME": str(caches),  # fresh each time: a second map would come from the cache
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "TMPDIR": str(work),
    }
    try:
        return run([sys.executable, *words], source, target, HERE.parent, env)
    finally:
        shutil.rmtree(caches, ignore_errors=True)


def over_pairs(work: Path, rows: int, repeat: int) -> Budget:
    """Turns over pairs."""
    walls: dict[str, list[float]] = {"parquet-rows": [], "messages-rows": []}
    phases: dict[str, list[float]] = {"parquet-rows": [], "messages-rows": []}
    sources = {kind: made(kind, rows) for kind in walls}
    for turn in range(repeat + 1):
        for kind, source in sources.items():
            # Both kinds without a system prompt, so that the texts are the same.
            done = prepare(source, work, "--system-prompt", "none")
            if turn:  # the first one only fills the caches
                walls[kind].append(done.wall)
                phases[kind].append(float(done.printed["run"]["seconds"]))
                print(f"{kind:14} {done.wall:6.2f} s, peak {done.peak / 1e6:,.0f} MB")
    pairs, turns = (median(walls[kind]) for kind in ("parquet-rows", "messages-rows"))
    phase = median(phases["messages-rows"]) / median(phases["parquet-rows"])
    print(f"phase, turns / pairs: {phase:.2f}x")
    return Budget("whole command, turns / pairs", turns / pairs, MOST_OVER_PAIRS)


def jinja_rate() -> float:
    """Rows a second of processor time, that of the job and of the sandbox's child together."""
    sys.path.insert(0, str(HERE.parent))
    import pyarrow.parquet as pq

    from transforms.chat.builtin_templates import built_in
    from transforms.chat.output_columns import OutputColumns
    from transforms.chat.render_rows import render, sandbox_of
    from transforms.chat.template import DEFAULT_DATE, ChatFormat
    from transforms.conversations.field_mapping import TurnMapping
    from transforms.conversations.normalize_rows import rows_of
    from transforms.formats.source_rows import numbered

    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # the child inherits it
    table = pq.read_table(made("messages-rows", _JINJA_ROWS), columns=["messages"])
    # Arrow would render these rows: without it they go to the sandbox.
    chat = ChatFormat(replace(built_in("qwen3", DEFAULT_DATE), arrow_renderer=None))
    mapping = TurnMapping(("messages",), "role", "content")
    try:
        with sandbox_of(chat) as sandbox:
            sandbox.render([])  # starts and compiles
            started = _spent()
            for start in range(0, table.num_rows, _BATCH):
                kept, _ = rows_of(numbered(table.slice(start, _BATCH), 1), mapping)
                render(kept, chat, OutputColumns(), sandbox)
        # The child's time is known once it has ended; a little of it went into its start.
        return table.num_rows / (_spent() - started)
    finally:
        os.sched_setaffinity(0, cores)


def _spent() -> float:
    """Processor seconds of this process and of the children that have ended."""
    own, ended = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


if __name__ == "__main__":
    sys.exit(main())
