"""Measures the ways to S3 on one real server on this machine: part of ``make bench``.

Compared are medians of whole commands, run in turn on the same cores as the server:

    straight  python -m pipeline --output s3://…: workers write to S3 themselves
    guide     python -m pipeline --s3-bucket …: the local folder first, then our upload
    copied    the local folder first, then an upload as `aws s3 cp --recursive` does it
    datasets  load_dataset + map row by row + train_test_split + save_to_disk("s3://…")

Memory is that of the command, without the server's.  Exits with 1 if a budget is missed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from bench import MOST_GROWTH, MOST_PEAK, ROWS, TIMES_MORE, Budget, made
from measure import RowStats, run

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

BUCKET = "benchmarks"
CONTESTANTS = ("straight", "guide", "copied", "datasets")
LEAST_SPEEDUP = 2.0


def main() -> int:
    """Runs the race and the check of memory; 1 if a budget is missed."""
    parser = argparse.ArgumentParser(description="Measures the ways to S3.")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--work", help="folder for local outputs; default: a temporary one")
    flags = parser.parse_args()
    from s3_servers import S3Server

    with S3Server() as server, tempfile.TemporaryDirectory(dir=flags.work) as work:
        server.make_bucket(BUCKET)
        race = Race(server.environment(), server.data / BUCKET, Path(work))
        runs: dict[str, list[RowStats]] = {}
        source = made("parquet-rows", flags.rows)
        for turn in range(flags.repeat):
            shift = turn % len(CONTESTANTS)
            for name in CONTESTANTS[shift:] + CONTESTANTS[:shift]:
                runs.setdefault(name, []).append(race.run(name, source))
        large = race.run("straight", made("parquet-rows", TIMES_MORE * flags.rows))
    print(f"{flags.rows:,} rows to S3\n{'':12}{'wall s':>8}{'(from-to)':>14}{'peak MB':>9}")
    for name, measured in [*runs.items(), (f"{TIMES_MORE}x rows", [large])]:
        walls = [one.wall for one in measured]
        spread = f"({min(walls):.1f}-{max(walls):.1f})"
        peak = median(one.peak for one in measured) / 1e6
        print(f"{name:12}{median(walls):8.2f}{spread:>14}{peak:9.0f}")
    wall = {name: median(one.wall for one in measured) for name, measured in runs.items()}
    usual = median(one.peak for one in runs["straight"])
    budgets = [
        Budget(
            "to S3, datasets / straight", wall["datasets"] / wall["straight"], LEAST_SPEEDUP,
            at_least=True,
        ),
        Budget(f"peak memory at {TIMES_MORE}x / 1x the rows", large.peak / usual, MOST_GROWTH),
        Budget(f"peak memory at {TIMES_MORE}x the rows", large.peak / 1e6, MOST_PEAK / 1e6, " MB"),
    ]  # fmt: skip
    print(f"       to S3, copied / straight: {wall['copied'] / wall['straight']:.2f}x")
    print("\nbudgets", *budgets, sep="\n")
    return int(any(budget.missed for budget in budgets))


class Race:
    """Runs contestants against one server, whose bucket is the folder ``bucket``."""

    def __init__(self, env: dict[str, str], bucket: Path, work: Path) -> None:
        self._env, self._bucket, self._work = env, bucket, work

    def run(self, name: str, source: Path) -> RowStats:
        """One run, measured; nothing of it stays."""
        words = ["-m", "pipeline", "--dataset", str(source), "--json", "--quiet"]
        if name == "straight":
            words += ["--output", f"s3://{BUCKET}/out"]
        elif name == "guide":
            words += ["--output", str(self._work / "set"), "--s3-bucket", BUCKET]
        else:
            words = [str(HERE / "baselines.py"), name, str(source), f"s3://{BUCKET}/out"]
        env = {**self._env, "HF_HOME": str(self._work / "caches"), "TMPDIR": str(self._work)}
        env |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
        try:
            # The server keeps an object as a file, so the bucket's folder is the output.
            return run([sys.executable, *words], source, self._bucket, HERE.parent, env)
        finally:
            for left in self._work.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            self._bucket.mkdir(exist_ok=True)
            os.sync()


if __name__ == "__main__":
    sys.exit(main())
