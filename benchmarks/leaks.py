"""Measures what the search for leaks costs: ``python benchmarks/leaks.py``.

The job on the same rows with its default split and with ``--val-size 0``, which searches nothing,
in turns, whole commands, medians.  Prompts are free, have one frame and three words of their own,
differ by one number, or have few words to choose from.  Exits with 1 if a budget is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

from bench import Budget, made, prepare
from measure import RowStats

MOST_OVER_NONE = {
    "parquet-rows": 1.3,
    "framed-rows": 1.7,
    "numbered-rows": 2.0,
    "small-vocabulary": 1.5,
}
FREE_ROWS, ALIKE_ROWS = 400_000, 100_000


def main() -> int:
    """Runs all; 1 if a budget is missed."""
    parser = argparse.ArgumentParser(description="Measures what the search for leaks costs.")
    parser.add_argument("--rows", type=int, default=FREE_ROWS, help="rows with free prompts")
    parser.add_argument("--alike", type=int, default=ALIKE_ROWS, help="rows of each other kind")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default=",".join(MOST_OVER_NONE))
    flags = parser.parse_args()
    budgets = []
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        for kind in flags.only.split(","):
            source = made(kind, flags.rows if kind == "parquet-rows" else flags.alike)
            prepare(source, Path(work))  # fills the caches
            runs: dict[str, list[RowStats]] = {"0.1": [], "0": []}
            for _ in range(flags.repeat):
                for size, done in runs.items():
                    done.append(prepare(source, Path(work), "--val-size", size))
            wall = {size: median(one.wall for one in done) for size, done in runs.items()}
            cpu = {size: median(one.cpu for one in done) for size, done in runs.items()}
            leaks = runs["0.1"][0].printed["quality"]["leakage"]
            print(
                f"{kind:16} {wall['0.1']:6.2f} s, without {wall['0']:6.2f} s, CPU "
                f"{cpu['0.1'] / cpu['0']:.2f}x, {leaks['rows']:,} of {leaks['checked']:,} leak"
            )
            budgets.append(
                Budget(f"{kind}, with / without", wall["0.1"] / wall["0"], MOST_OVER_NONE[kind])
            )
    print("\nbudgets", *budgets, sep="\n")
    return int(any(budget.missed for budget in budgets))


if __name__ == "__main__":
    sys.exit(main())
