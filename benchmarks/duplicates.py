"""Measures what duplicates cost: ``python benchmarks/duplicates.py``.

The job on the same rows with ``--dedup off``, ``exact`` and ``near``, in turns, whole commands,
medians; then ``exact`` on four million short rows of which every tenth is a copy, for its memory
and its figure.  Exits with 1 if a budget is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

from bench import Budget, made, prepare
from data import copies

MODES = ("off", "exact", "near")
MOST_OVER_OFF = {"exact": 1.6, "near": 6.0}
MOST_PEAK = 1e9


def main() -> int:
    """Runs all; 1 if a budget is missed."""
    parser = argparse.ArgumentParser(description="Measures what duplicates cost.")
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--many", type=int, default=4_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--modes", default=",".join(MODES))
    flags = parser.parse_args()
    modes = flags.modes.split(",")
    walls: dict[str, list[float]] = {mode: [] for mode in modes}
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        source = made("parquet-rows", flags.rows)
        for _ in range(flags.repeat):
            for mode in modes:
                done = prepare(source, Path(work), "--dedup", mode)
                walls[mode].append(done.wall)
                print(
                    f"{mode:6} {done.wall:6.2f} s, phase {done.printed['run']['seconds']:6.2f} s, "
                    f"{done.cpu:6.2f} s of CPU, peak {done.peak / 1e6:,.0f} MB"
                )
        budgets = [
            Budget(f"whole command, {mode} / off", median(walls[mode]) / median(walls["off"]), most)
            for mode, most in MOST_OVER_OFF.items()
            if {mode, "off"} <= set(modes)
        ]
        if flags.many:
            done = prepare(made("copied-rows", flags.many), Path(work), "--dedup", "exact")
            found = done.printed["counts"]["duplicates"]
            print(f"{flags.many:,} rows: {done.wall:.1f} s, {found:,} duplicates")
            budgets += [
                Budget("peak memory, exact, many rows", done.peak / 1e6, MOST_PEAK / 1e6, " MB"),
                Budget("duplicates missed or wrong", abs(found - copies(flags.many)), 0, ""),
            ]
    print("\nbudgets", *budgets, sep="\n")
    return int(any(budget.missed for budget in budgets))


if __name__ == "__main__":
    sys.exit(main())
