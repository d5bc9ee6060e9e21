"""What readers leave behind in their process: no crash, no thread."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS = [{"n": i, "q": f'Zeile {i}, "漢字"\nund mehr', "other": "x" * i} for i in range(40)]


DAMAGE = """
import random, sys
from pathlib import Path
from transforms.formats.file_names import format_of_name
from transforms.formats import source_reader as formats
from transforms.errors import DataPrepError
from transforms.conversations.pair_mapping import PairMapping
from transforms.conversations.pairs import to_pairs
from transforms.records import Column, FileRange

path, out = Path(sys.argv[1]), Path(sys.argv[2])
data, chance, form = path.read_bytes(), random.Random(7), format_of_name(path.name)
read = refused = 0
for attempt in range(300):
    damaged = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        damaged[chance.randrange(len(damaged))] = chance.choice([0, 1, 127, 128, 255])
    broken = out / f"{attempt}-{path.name}"
    broken.write_bytes(damaged)
    try:
        formats.read_sample(str(broken), form)
        cuts = list(formats.cuts(str(broken), form, "", len(data), ["q", "n"], 2**20))
        piece = FileRange("", 0, len(cuts))
        for rows in formats.read(str(broken), form, piece, [Column("q", "string")]):
            to_pairs(rows.table, PairMapping(("q",), ("q",)))
        read += 1
    except DataPrepError:
        refused += 1
print(read, refused)
"""


@pytest.mark.parametrize("name", ["a.parquet", "stream.arrow", "file.arrow"])
@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int8(), pa.string())])
def test_damaged_files_are_refused_and_never_end_the_process(
    tmp_path: Path, name: str, kind: pa.DataType
) -> None:
    """Arrow trusts the offsets in a file: unchecked ones read foreign memory, or crash."""
    table = pa.table({"q": pa.array([row["q"] for row in ROWS[:9]]).cast(kind), "n": range(9)})
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(table, path, compression="NONE")
    else:
        with (pa.ipc.new_file if "file" in name else pa.ipc.new_stream)(
            str(path), table.schema
        ) as writer:
            writer.write_table(table)
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", DAMAGE, str(path), str(tmp_path / "out")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    read, refused = map(int, done.stdout.split())
    assert read + refused == 300
    assert refused > 50


def test_no_thread_of_arrows_reads_a_delimited_file_that_was_left(tmp_path: Path) -> None:
    """One that did while the interpreter ends would abort the process."""
    code = """
import sys, time
from transforms.formats import csv_text, delimited, source_reader as formats
from transforms.formats.source_reader import FileFormat
from transforms.records import Column, FileRange

class Slow(csv_text.Lent):
    def read(self, size=-1):
        data = super().read(size)
        time.sleep(0.05)
        return data

delimited._BLOCK, csv_text.Lent = 4000, Slow
form, path = FileFormat("delimited"), sys.argv[1]
rows = formats.read(path, form, FileRange("", 0, 0), [Column("q", "string")], 50)
try:
    print(next(rows).table.num_rows)
    rows.close()
    print(formats.read_sample(path, form).columns)
except Exception as error:
    print(error)
"""
    rows, straddling = tmp_path / "rows.csv", tmp_path / "straddling.csv"
    rows.write_text("q\n" + "an answer\n" * 10_000)
    straddling.write_text("q\n" + "an answer\n" * 100 + "x" * 100_000)
    for path, printed in ((rows, "Column(name='q'"), (straddling, "longer than")):
        ended = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        assert printed in ended.stdout
