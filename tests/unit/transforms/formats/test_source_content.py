"""The hash of a unit's bytes: any change of what its rows are read from shows, others do not."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pytest
from source_changes import FORMATS, rows

from transforms.errors import BadInput
from transforms.formats import source_content as module
from transforms.formats.file_names import format_of_name
from transforms.formats.file_state import state_of
from transforms.formats.source_content import (
    SourceContent,
    joined,
    require_same_content,
    source_content,
)
from transforms.formats.source_reader import Source, cuts, read, read_sample
from transforms.records import Column, FileRange, WorkUnit

COUNT = 1000


def file_format_of(path: Path):  # noqa: ANN201
    return read_sample(str(path), format_of_name(path.name)).file_format


@pytest.fixture(params=[*FORMATS, "file.arrow"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"rows{Path(request.param).suffix or request.param}"
    if request.param == "file.arrow":
        table, sink = pa.Table.from_pylist(rows(0, COUNT)), io.BytesIO()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=200)
        path.write_bytes(sink.getvalue())
    else:
        path.write_bytes(FORMATS[request.param](rows(0, COUNT)))
    return path


def halves(path: Path) -> tuple[Source, list[WorkUnit]]:
    """The file as two units, or one where it cannot be cut."""
    file_format, size = file_format_of(path), path.stat().st_size
    found = list(cuts(str(path), file_format, path.name, size, ["question", "answer"], size // 4))
    middle = len(found) // 2 or 1
    parts = [part for part in (found[:middle], found[middle:]) if part]
    units = [
        WorkUnit(n, (FileRange(path.name, part[0].start, part[-1].stop),))
        for n, part in enumerate(parts)
    ]
    return Source(f"{path.parent}/", file_format, (Column("answer", "string"),)), units


def test_a_change_of_any_row_of_a_unit_shows(path: Path) -> None:
    source, units = halves(path)
    whole = path.read_bytes()
    before = [source_content(source, unit) for unit in units]
    assert [source_content(source, unit) for unit in units] == before
    assert len({content.digest for content in before}) == len(units)
    seen = set()
    for row in range(0, COUNT, 90):
        answer = f"It is {rows(row, 1)[0]['answer'].split()[2]} ".encode()
        at = whole.index(answer)
        path.write_bytes(whole[:at] + b"At" + whole[at + 2 :])
        after = [source_content(source, unit) for unit in units]
        differs = {n for n, content in enumerate(after) if content != before[n]}
        assert differs, row
        seen |= differs
        path.write_bytes(whole)
    assert seen == {unit.number for unit in units}


def test_the_bytes_that_are_hashed_hold_all_rows_that_are_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row of a unit lies within the places that are hashed for it."""
    monkeypatch.setattr("transforms.formats.json_lines._STEP", 1000)
    source, units = halves(path)
    whole = path.read_bytes()
    for unit in units:
        (file_range,) = unit.file_ranges
        places = list(module._places(source, str(path), file_range))
        hashed = b"".join(whole[start:stop] for start, stop in places)
        for batch in read(str(path), source.file_format, file_range, source.columns):
            for answer in batch.table["answer"].to_pylist():
                assert answer.encode() in hashed


def test_a_difference_names_the_file(tmp_path: Path) -> None:
    source = Source(f"{tmp_path}/", format_of_name("a.jsonl"), ())
    unit = WorkUnit(0, (FileRange("a.jsonl", 0, 9), FileRange("b.jsonl", 0, 9)))
    require_same_content(source, unit, SourceContent(("1", "2")), SourceContent(("1", "2")))
    with pytest.raises(BadInput, match=r"/b\.jsonl changed while it was read \(its bytes differ"):
        require_same_content(source, unit, SourceContent(("1", "2")), SourceContent(("1", "3")))


def test_a_file_that_is_not_as_planned_is_not_hashed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n")
    unit = WorkUnit(0, (FileRange("a.jsonl", 0, 3, state=state_of(path)),))
    source = Source(f"{tmp_path}/", format_of_name("a.jsonl"), ())
    assert source_content(source, unit).digest
    path.write_bytes(b"{}\n{}\n")
    with pytest.raises(BadInput, match="a.jsonl changed while it was read"):
        source_content(source, unit)
    path.unlink()
    with pytest.raises(BadInput, match="it is gone"):
        source_content(source, unit)


def test_a_hub_source_has_none(tmp_path: Path) -> None:
    source = Source("hf://datasets/user/name@abc/", format_of_name("a.jsonl"), ())
    content = source_content(source, WorkUnit(0, (FileRange("a.jsonl", 0, 0),)))
    assert (content, content.digest) == (SourceContent(()), "")


def test_of_a_file_of_which_some_rows_are_taken_the_beginning_is_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else ten rows of a file of a terabyte would take an hour."""
    monkeypatch.setattr(module, "_MOST_OF_LIMITED", 100)
    path = tmp_path / "a.csv"
    source = Source(f"{tmp_path}/", format_of_name("a.csv"), ())
    found = []
    for tail in (b"x", b"y"):
        path.write_bytes(b"q,a\n" + 100 * b"1,2\n" + tail)
        found.append(
            [
                source_content(source, WorkUnit(0, (FileRange("a.csv", 0, 0, limit),))).digest
                for limit in (None, 10)
            ]
        )
    (whole, some), (other_whole, other_some) = found
    assert (whole != other_whole, some == other_some) == (True, True)


def test_the_digest_of_parts_depends_on_their_order_and_needs_all() -> None:
    assert joined(["a1", "b2"]) != joined(["b2", "a1"])
    assert joined(["a1", ""]) == joined([]) == ""
