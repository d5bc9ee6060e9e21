"""Measures conversations: what turns cost over pairs, and how fast Jinja renders.

``python benchmarks/chats.py``: the job on the same rows as a question and an answer and as a column
of two turns, in turns, whole commands, medians; first the sandbox with Qwen3's template, itself
and its child on one core.  Exits with 1 if a budget is missed.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
from pathlib import Path
from statistics import median

from bench import HERE, Budget, made, prepare

MOST_OVER_PAIRS = 1.5
LEAST_ROWS_A_SECOND = 15_000.0
_JINJA_ROWS = 100_000  # so that the start of the child does not count
_BATCH = 2_000


def main() -> int:
    """Runs both; 1 if a budget is missed."""
    parser = argparse.ArgumentParser(description="Measures conversations.")
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--repeat", type=int, default=3)
    flags = parser.parse_args()
    rate = jinja_rate()
    print(f"Jinja (qwen3): {rate:,.0f} rows/s on one core")
    walls: dict[str, list[float]] = {"parquet-rows": [], "messages-rows": []}
    phases: dict[str, list[float]] = {"parquet-rows": [], "messages-rows": []}
    sources = {kind: made(kind, flags.rows) for kind in walls}
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        for turn in range(flags.repeat + 1):
            for kind, source in sources.items():
                # Both kinds without a system prompt, so that the texts are the same.
                done = prepare(source, Path(work), "--system-prompt", "none")
                if turn:  # the first one only fills the caches
                    walls[kind].append(done.wall)
                    phases[kind].append(float(done.printed["run"]["seconds"]))
                    print(f"{kind:14} {done.wall:6.2f} s, peak {done.peak / 1e6:,.0f} MB")
    pairs, turns = (median(walls[kind]) for kind in ("parquet-rows", "messages-rows"))
    phase = median(phases["messages-rows"]) / median(phases["parquet-rows"])
    print(f"phase, turns / pairs: {phase:.2f}x")
    budgets = [
        Budget("whole command, turns / pairs", turns / pairs, MOST_OVER_PAIRS),
        Budget("Jinja rows a second", rate, LEAST_ROWS_A_SECOND, "", at_least=True),
    ]
    print("\nbudgets", *budgets, sep="\n")
    return int(any(budget.missed for budget in budgets))


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
    chat = ChatFormat(built_in("qwen3", DEFAULT_DATE))
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
