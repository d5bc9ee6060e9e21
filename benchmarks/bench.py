"""Measures the job against other ways to the same folder: ``make bench``.

All contestants run in turn on the same cores, each as a command of its own that is measured from
outside, several times over; figures of different runs of this script must not be compared, and
those of a busy machine say little.  Compared are medians:

    ours      python -m pipeline, whole command; "phase" is its manifest's run.seconds
    guide     load_dataset + map row by row + train_test_split + save_to_disk, in a fresh cache
    batched   the same with map(batched=True), one process
    loop      a pyarrow loop written by hand, a process a core: the floor
    flushed   that loop, flushing its files to disk as ours does: what durability costs

"phase" leaves out the interpreter's start and the imports; for all but ours it is what
``baselines.py`` says.  Then, ours alone: memory at four times the rows, and whether one big Parquet
file and one big JSON Lines file keep the cores busy (CPU over wall, of the whole command).

Disk noise: before every run the last output is deleted and ``sync`` called, so nobody pays for what
another left to be written; the input is read into the page cache.  Ours flushes its files within
its time, guide, batched and loop leave theirs to the kernel.  ``--work /dev/shm`` leaves the disk
out altogether.  Exits with 1 if a budget is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from measure import RowStats, run

HERE = Path(__file__).resolve().parent
CONTESTANTS = ("ours", "guide", "batched", "loop", "flushed")
CHECKS = ("memory", "big-parquet", "big-jsonl")
ROWS, TIMES_MORE = 400_000, 4
PARQUET_BYTES, JSONL_BYTES = 2_000_000_000, 1_000_000_000

LEAST_SPEEDUP = 3.0
MOST_OVER_LOOP = 1.3
MOST_GROWTH, MOST_PEAK = 1.2, 700 * 10**6
LEAST_BUSY = 1.5


@dataclass(frozen=True)
class Budget:
    """A figure with its limit; ``found`` is None where it was not measured."""

    what: str
    found: float | None
    limit: float
    unit: str = "x"
    at_least: bool = False

    @property
    def missed(self) -> bool:
        """Was it measured, and beyond the limit?"""
        if self.found is None:
            return False
        return self.found < self.limit if self.at_least else self.found > self.limit

    def __str__(self) -> str:
        side = "at least" if self.at_least else "at most"
        limit = f"({side} {self.limit:g}{self.unit})"
        if self.found is None:
            return f"  -    {self.what}: not measured {limit}"
        word = "FAIL" if self.missed else "PASS"
        return f"  {word} {self.what}: {self.found:.2f}{self.unit} {limit}"


def main() -> int:
    """Runs what was asked for; 1 if a budget is missed."""
    flags = _parse()
    cores = sorted(os.sched_getaffinity(0))[: flags.cores]
    os.sched_setaffinity(0, cores)  # children inherit it
    with tempfile.TemporaryDirectory(prefix="bench-", dir=flags.work) as work:
        bench = Bench(Path(work), flags.rows)
        print(
            f"{flags.rows:,} rows, {len(cores)} cores, load {os.getloadavg()[0]:.1f}; "
            + ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
        )
        budgets = [
            *bench.race([name for name in CONTESTANTS if name in flags.only], flags.repeat),
            *bench.checks([name for name in CHECKS if name in flags.only]),
        ]
    print("\nbudgets")
    print(*budgets, sep="\n")
    return int(any(budget.missed for budget in budgets))


_LIBRARIES = ("reasonforge-data-prep", "apache-beam", "pyarrow", "datasets")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures the job against other ways.")
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the comparison")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each contestant")
    parser.add_argument("--cores", type=int, default=2, help="cores that all may use")
    parser.add_argument("--work", help="folder for outputs, which are deleted; default: a temp one")
    parser.add_argument("--only", help=f"some of {','.join((*CONTESTANTS, *CHECKS))}")
    parser.add_argument("--skip-large", action="store_true", help=f"leave out {','.join(CHECKS)}")
    flags = parser.parse_args()
    known = (*CONTESTANTS, *CHECKS)
    flags.only = flags.only.split(",") if flags.only else list(known)
    if unknown := [name for name in flags.only if name not in known]:
        parser.error(f"--only knows {', '.join(known)}; found {', '.join(unknown)}")
    if flags.skip_large:
        flags.only = [name for name in flags.only if name not in CHECKS]
    return flags


class Bench:
    """Runs contestants in a work folder, and remembers what was measured."""

    def __init__(self, work: Path, rows: int) -> None:
        self._work, self._rows = work, rows
        self._runs: dict[str, list[RowStats]] = {}

    def race(self, names: list[str], repeat: int) -> Iterator[Budget]:
        """Runs the contestants in turn, prints a table, yields the budgets of speed."""
        source = made("parquet-rows", self._rows)
        warm_up = made("parquet-rows", 1000)
        for name in names:
            self._run(name, warm_up)  # compiles modules, fills the page cache with libraries
        for turn in range(repeat):
            # Each turn starts with another one, so that no one always follows the same neighbour.
            shift = turn % max(1, len(names))
            for name in names[shift:] + names[:shift]:
                measured = self._run(name, source)
                _expect_rows(name, measured, self._rows)
                self._runs.setdefault(name, []).append(measured)
        print(f"\n{'':12}{'wall s':>8}{'(from-to)':>14}{'phase s':>9}{'CPU s':>8}", end="")
        print(f"{'peak MB':>9}{'written MB':>12}")
        for name in names:
            self._print(name)
        ours, guide = self._median("ours", "wall"), self._median("guide", "wall")
        batched = self._median("batched", "wall")
        phase, loop = self._median("ours", "phase"), self._median("loop", "phase")
        yield Budget(
            "whole command, guide / ours", _ratio(guide, ours), LEAST_SPEEDUP, at_least=True
        )
        yield Budget("phase, ours / loop", _ratio(phase, loop), MOST_OVER_LOOP)
        print()
        _print_result("whole command, batched / ours", _ratio(batched, ours))
        _print_result("whole command, ours / loop", _ratio(ours, self._median("loop", "wall")))
        _print_result("phase, ours / flushed loop", _ratio(phase, self._median("flushed", "phase")))

    def checks(self, names: list[str]) -> Iterator[Budget]:
        """Runs ours on large inputs, yields the budgets of memory and of busy cores."""
        peak, growth = None, None
        if "memory" in names:
            if "ours" not in self._runs:
                self._runs["ours"] = [self._run("ours", made("parquet-rows", self._rows))]
            large = self._alone(f"{TIMES_MORE}x rows", "parquet-rows", TIMES_MORE * self._rows)
            usual = self._median("ours", "peak")
            peak, growth = large.peak / 1e6, _ratio(large.peak, usual)
        yield Budget(f"peak memory at {TIMES_MORE}x / 1x the rows", growth, MOST_GROWTH)
        yield Budget(f"peak memory at {TIMES_MORE}x the rows", peak, MOST_PEAK / 1e6, " MB")
        for name, kind, size in (
            ("big-parquet", "parquet-bytes", PARQUET_BYTES),
            ("big-jsonl", "jsonl-bytes", JSONL_BYTES),
        ):
            busy = None
            if name in names:
                large = self._alone(name, kind, size)
                busy = large.cpu / large.wall
            yield Budget(f"{name}: CPU / wall", busy, LEAST_BUSY, at_least=True)

    def _alone(self, label: str, kind: str, size: int) -> RowStats:
        source = made(kind, size)
        self._runs[label] = [self._run("ours", source)]
        self._print(label)
        return self._runs[label][0]

    def _run(self, name: str, source: Path) -> RowStats:
        target = self._work / "out"
        room = shutil.disk_usage(self._work).free
        if room < 8 * source.stat().st_size:
            sys.exit(f"{room / 1e9:.1f} GB free for outputs are too few: give another --work")
        if name == "ours":
            words = ["-m", "pipeline", "--dataset", str(source), "--output", str(target)]
            words += ["--skip-upload", "--overwrite", "--json", "--quiet"]
        else:
            words = [str(HERE / "baselines.py"), name, str(source), str(target)]
        caches = self._work / "caches"
        env = {
            "HF_HOME": str(caches),  # fresh each time: a second map would come from the cache
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            "TMPDIR": str(self._work),
        }
        try:
            return run([sys.executable, *words], source, target, HERE.parent, env)
        finally:
            shutil.rmtree(caches, ignore_errors=True)

    def _median(self, name: str, field: str) -> float | None:
        runs = self._runs.get(name)
        return median(_field(one, field) for one in runs) if runs else None

    def _print(self, name: str) -> None:
        wall, phase, cpu, peak, written = (
            self._median(name, field) or 0 for field in ("wall", "phase", "cpu", "peak", "written")
        )
        walls = [one.wall for one in self._runs[name]]
        spread = f"({min(walls):.1f}-{max(walls):.1f})"
        print(f"{name:12}{wall:8.2f}{spread:>14}{phase:9.2f}{cpu:8.2f}", end="")
        print(f"{peak / 1e6:9.0f}{written / 1e6:12.0f}", flush=True)


def prepare(source: Path, work: Path, *more: str) -> RowStats:
    """One run of the job with further flags; its set is deleted."""
    target = work / "out"
    words = ["-m", "pipeline", "--dataset", str(source), "--output", str(target), "--skip-upload"]
    words += ["--overwrite", "--json", "--quiet", *more]
    try:
        return run([sys.executable, *words], source, target, HERE.parent, {"TMPDIR": str(work)})
    finally:
        shutil.rmtree(target, ignore_errors=True)


def made(kind: str, size: int) -> Path:
    """The input, from the cache, where it stays until the generator changes.

    Another process makes it: a child's peak memory, as the kernel tells it, is never below that of
    the process that started it, so this one stays small.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "reasonforge-data-prep" / "bench"
    generator = HERE / "data.py"
    edition = hashlib.sha256(generator.read_bytes()).hexdigest()[:8]
    suffix = "jsonl" if kind.startswith("jsonl") else "parquet"
    path = folder / f"{kind}-{size}-{edition}.{suffix}"
    if not path.exists():
        for outdated in folder.glob(f"{kind}-{size}-*.{suffix}"):
            outdated.unlink()
        print(f"making {path.name}", file=sys.stderr, flush=True)
        words = [str(generator), kind, str(size), str(path)]
        subprocess.run([sys.executable, *words], check=True)
    return path


def _field(measured: RowStats, field: str) -> float:
    if field == "phase":
        printed = measured.printed
        return float(printed["run"]["seconds"] if "run" in printed else printed["seconds"])
    return float(getattr(measured, field))


def _expect_rows(name: str, measured: RowStats, rows: int) -> None:
    printed = measured.printed
    counts = printed.get("counts", {})
    found = counts["train"] + counts["validation"] if counts else printed["rows"]
    if found != rows:
        sys.exit(f"{name} wrote {found:,} rows where {rows:,} were due")


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _print_result(what: str, ratio: float | None) -> None:
    if ratio is not None:
        print(f"       {what}: {ratio:.2f}x")


if __name__ == "__main__":
    sys.exit(main())
