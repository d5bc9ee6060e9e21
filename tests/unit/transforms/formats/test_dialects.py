"""Separators, quotes and encodings of CSV files: rows come out as they were written, or not at all.

Whatever wrote the file, a row that is read equals the row that was written, and every row is read
or rejected; a file that is not clear is refused, and the message's remedy works.
"""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pytest
from command_runs import has, put
from conversions import Convert
from hypothesis import assume, example, given
from hypothesis import strategies as st

from transforms.conversations.remedies import REMEDIES
from transforms.errors import BadInput, DataPrepError, UsageError
from transforms.formats import csv_text, delimited, source_reader
from transforms.formats.file_names import format_of_name
from transforms.formats.source_reader import FileFormat
from transforms.options import NO_FLAGS, TextFlags
from transforms.records import ROW, Column, FileRange

NAMES = ["question", "answer"]
COLUMNS = tuple(Column(name, "string") for name in NAMES)
WORDS = st.sampled_from(
    [*("plain", "a, b", "x; y", "a|b", "tab\there", 'say "hi"', '"start', 'end"', '"', '""'),
     *("back\\slash", '\\"', "\\", "two\nlines", "", " ", "it’s", "café", "naïve – “so”")]
)  # fmt: skip
CELLS = st.lists(WORDS, min_size=1, max_size=4).map(" ".join) | WORDS
WESTERN = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252")


def read_rows(
    path: Path, flags: TextFlags = NO_FLAGS, block: int | None = None
) -> tuple[FileFormat, dict[int, object]]:
    """The format that is found, and row number -> cells, or the reject code in a tuple of one."""
    found: dict[int, object] = {}
    with pytest.MonkeyPatch.context() as patch:
        if block:
            patch.setattr(delimited, "_BLOCK", block)
        sample = source_reader.read_sample(str(path), format_of_name(path.name), flags)
        for rows in source_reader.read(str(path), sample.file_format, FileRange("", 0, 0), COLUMNS):
            for row in rows.table.to_pylist():
                found[row[ROW]] = [row[name] for name in NAMES]
            for reject in rows.rejects.to_pylist() if rows.rejects else ():
                assert reject["row"] not in found
                found[reject["row"]] = (reject["code"],)
    return sample.file_format, found


def check(path: Path, rows: list[list[str]], flags: TextFlags, block: int) -> bool:
    """Is every row as it was written, or rejected?  False if the file is refused."""
    try:
        _, found = read_rows(path, flags, block)
    except DataPrepError:
        return False
    assert sorted(found) == list(range(1, len(rows) + 1))
    for number, row in enumerate(rows, start=1):
        assert found[number] == row or isinstance(found[number], tuple)
    return True


@given(
    rows=st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=12),
    delimiter=st.sampled_from(",;\t|"),
    name=st.sampled_from(["a.csv", "a.tsv"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    doubled=st.booleans(),
    ending=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(WESTERN),
    said=st.booleans(),
    flagged=st.booleans(),
    block=st.integers(400, 900),
)
def test_rows_of_any_dialect_come_out_as_they_were_written_or_not_at_all(
    rows: list[list[str]],
    delimiter: str,
    name: str,
    quoting: int,
    doubled: bool,
    ending: str,
    encoding: str,
    said: bool,
    flagged: bool,
    block: int,
) -> None:
    if not flagged and not doubled:  # nothing tells that two backslashes mean one
        assume(not any("\\" in cell for row in rows for cell in row))
    text = io.StringIO()
    if said:
        text.write(f"sep={delimiter}{ending}")
    escape = None if doubled else "\\"
    writer = csv.writer(
        text,
        delimiter=delimiter,
        quoting=quoting,  # type: ignore[arg-type]
        doublequote=doubled,
        escapechar=escape,
        lineterminator=ending,
    )
    writer.writerows([NAMES, *rows])
    quotes = "doubled" if doubled else "backslash"
    flags = TextFlags(delimiter, encoding, quotes) if flagged else NO_FLAGS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(text.getvalue().encode(encoding))
        read = check(path, rows, flags, block)
    assert read or not flagged


@given(
    rows=st.lists(
        st.lists(CELLS.filter(lambda cell: not set(cell) & set("\t\n")), min_size=2, max_size=2),
        min_size=1,
        max_size=12,
    ),
    encoding=st.sampled_from(WESTERN),
    flagged=st.booleans(),
)
@example(rows=[['"a', "b"], ["c", 'd"']], encoding="utf-8", flagged=False)
@example(rows=[['"a', 'b"']], encoding="utf-8", flagged=False)
def test_quotes_that_are_no_quotes_swallow_no_row(
    rows: list[list[str]], encoding: str, flagged: bool
) -> None:
    """A cell that is enclosed in quotes is always taken for a quoted one, unless a flag says so."""
    if not flagged:
        assume(not any(c[:1] == '"' == c[-1:] and len(c) > 1 for row in rows for c in row))
    text = "".join("\t".join(row) + "\n" for row in [NAMES, *rows])
    flags = TextFlags("\t", encoding, "none") if flagged else NO_FLAGS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tsv"
        path.write_bytes(text.encode(encoding))
        assert check(path, rows, flags, 900) or not flagged


ROWS = [[f"What is number {n}, please?", f"It is {n}; of course."] for n in range(40)]


def made(
    rows: list[list[str]] = ROWS, encoding: str = "utf-8", before: str = "", **dialect: object
) -> bytes:
    """A CSV file as the standard library writes it."""
    text = io.StringIO()
    text.write(before)
    csv.writer(text, **dialect).writerows([NAMES, *rows])  # type: ignore[arg-type]
    return text.getvalue().encode(encoding)


WESTERN_ROWS = [[q, f"{a} It’s a “café” – naïve."] for q, a in ROWS]
PLAIN_TSV = "".join("\t".join(row) + "\n" for row in [NAMES, *ROWS])
ODD_TSV = PLAIN_TSV.replace("What is number 5,", '"Well, what is 5,').replace(
    "What is number 9,", '"Well, what is 9,'
)
UNIX: dict[str, object] = {"lineterminator": "\n"}
ESCAPED = [[q, f'{a} They call it "the {n}".'] for n, (q, a) in enumerate(ROWS)]


@pytest.mark.parametrize(
    ("name", "data", "wanted"),
    [
        ("a.csv", made(), {}),
        ("a.tsv", made(delimiter="\t"), {"delimiter": "\t"}),
        ("a.csv", made(delimiter=";"), {"delimiter": ";"}),
        ("a.csv", made(delimiter=";", encoding="utf-8-sig"), {"delimiter": ";"}),
        ("a.csv", made(delimiter=";", before="sep=;\r\n"), {"delimiter": ";"}),
        ("a.csv", made(delimiter="^", before="sep=^\r\n"), {"delimiter": "^"}),
        ("a.csv", made(delimiter="|"), {"delimiter": "|"}),
        ("a.csv", made(delimiter="\t"), {"delimiter": "\t"}),
        ("a.tsv", made(), {"delimiter": ","}),
        ("a.csv", made(lineterminator="\r", quoting=csv.QUOTE_ALL), {}),
        ("a.csv", made(WESTERN_ROWS, "cp1252"), {"encoding": "cp1252"}),
        ("a.csv", made(WESTERN_ROWS, "utf-16"), {"encoding": "utf-16"}),
        ("a.csv", made(WESTERN_ROWS, "utf-16-be"), {"encoding": "utf-16-be"}),
        ("a.csv", made(WESTERN_ROWS, "utf-32"), {"encoding": "utf-32"}),
        (
            "a.csv",
            made(WESTERN_ROWS, "utf-16", delimiter="\t"),
            {"encoding": "utf-16", "delimiter": "\t"},
        ),
        (
            "a.csv",
            made(ESCAPED, escapechar="\\", doublequote=False, quoting=csv.QUOTE_ALL),
            {"quotes": "escaped-quotes"},
        ),
        ("a.tsv", ODD_TSV.encode(), {"delimiter": "\t", "quotes": "none"}),
    ],
)
def test_what_is_found_is_in_the_plan_and_the_rows_are_right(
    convert: Convert, tmp_path: Path, name: str, data: bytes, wanted: dict[str, str]
) -> None:
    done = convert("--dataset", put(tmp_path / name, data))
    assert done.code == 0, done.err
    found = done.plan.to_json()["source"]["format"]
    assert found == {"name": "delimited", "compression": None, "delimiter": ",", **wanted}
    rows = next(
        rows for rows in (WESTERN_ROWS, ESCAPED, ROWS)
        if (rows is WESTERN_ROWS) == ("encoding" in wanted) and
        (rows is ESCAPED) == (wanted.get("quotes") == "escaped-quotes")
    )  # fmt: skip
    if name == "a.tsv" and "quotes" in wanted:
        rows = [line.split("\t") for line in ODD_TSV.splitlines()[1:]]
    assert [[row["instruction"], row["response"]] for row in done.rows()] == rows


@pytest.mark.parametrize(
    ("name", "data", "seen", "cures"),
    [
        # Two separators fit.
        ("a.csv", b"question;x|answer\n" + b"What is it, friend?;a|It is, so.\n" * 9,
         ["';'", "'|'"],
         [["--delimiter", ";", "--fields", "instruction=question,response=x|answer"]]),
        # Quotes in quoted cells that are not doubled.
        ("a.csv", b"question,answer\n" + b'"What is it?","It is "so" now."\n' * 9,
         ["text follows a closing quote in 9"], [["--quotes", "none"]]),
        # Lines that are rows, or a cell of several lines.
        ("a.csv", b'question,answer\n"What is it?,It is.\n' + b"What is this?,It is this.\n" * 9
         + b'What is that?,It is that."\n' + b"What is this?,It is this.\n" * 9,
         ["each line has 2 cells"], [["--quotes", "none"], ["--quotes", "doubled"]]),
        # Escaped quotes, and backslashes that may be escapes.
        ("a.csv", b'question,answer\n"What is it?","It is \\"so\\" in C:\\\\dir."\n' * 9,
         ["backslashes", "--quotes backslash"], [["--quotes", "backslash"]]),
        ("a.csv", b'question,answer\nWhat is it?,It is \\"so\\" now.\n' * 9,
         ["in cells without quotes"], [["--quotes", "backslash"], ["--quotes", "doubled"]]),
        # An encoding that only its reader knows.
        ("a.csv", b"question,answer\n" + "Что это такое?,Это дом и сад.\n".encode("cp1251") * 9,
         ["line 2", "--encoding", "'Что это' in cp1251"], [["--encoding", "cp1251"]]),
        ("a.csv", b"question,answer\n" + "Mi az?,Az egy jó idõ.\n".encode("cp1252") * 9,
         ["line 2", "idő", "in cp1250"], [["--encoding", "cp1250"], ["--encoding", "cp1252"]]),
        ("a.csv", b"question,answer\n" + "这是什么?,这是一本书。\n".encode("gb18030") * 9,
         ["'这是什么?,' in gb18030"], [["--encoding", "gb18030"]]),
    ],
)  # fmt: skip
def test_what_is_not_clear_is_refused_with_a_remedy_that_works(
    convert: Convert,
    tmp_path: Path,
    name: str,
    data: bytes,
    seen: list[str],
    cures: list[list[str]],
) -> None:
    path = put(tmp_path / name, data)
    refused = convert("--dataset", path)
    assert refused.code == 2
    assert has(refused.err, path.name, *seen), refused.err
    for cure in cures:
        assert cure[0] in refused.err
        assert convert("--dataset", path, *cure).rows()
    if cures[0][0] == "--encoding":
        assert not convert("--dataset", path, *cures[0]).reasons


def test_the_remedy_for_spaces_before_quotes_works(
    convert: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "question, answer\n" + '"What is it?", "It is so, now."\n' * 9
    refused = convert("--dataset", put(tmp_path / "FILE", text).rename(tmp_path / "a.csv"))
    assert refused.code == 2
    assert has(refused.err, "begin with a space and a quote")
    code = refused.err.partition('python -c "')[2].rpartition('"')[0]
    put(tmp_path / "FILE", text)
    monkeypatch.chdir(tmp_path)
    exec(code, {})  # noqa: S102 (what the message says)
    assert convert("--dataset", tmp_path / "NEW.csv").texts()


CSV_ROWS = b"What is this about?,It is about that.\n"


@pytest.mark.parametrize("block", [400, 2**22])
def test_text_after_a_closing_quote_rejects_its_row_alone(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [CSV_ROWS] * 40
    rows[7] = b'"What is "this" about?",It is about that.\n'
    rows[21] = b'What is this about?,"It is" "about that."\n'
    rows[30] = b'What is 5" wide?,"It is ""that""."\n'
    _, found = read_rows(
        put(tmp_path / "a.csv", b"question,answer\n" + b"".join(rows)), block=block
    )
    assert {n: row for n, row in found.items() if row != found[1]} == {
        8: ("stray-quote",),
        22: ("stray-quote",),
        31: ['What is 5" wide?', 'It is "that".'],
    }


def test_text_after_a_closing_quote_of_an_earlier_line_ends_the_run(tmp_path: Path) -> None:
    rows = [CSV_ROWS] * 3000
    rows[2000] = b'"What is this about?,It is about that.\n'
    rows[2009] = b'"What is this about?","It is ""about"" that."\n'
    path = put(tmp_path / "a.csv", b"question,answer\n" + b"".join(rows))
    with pytest.raises(BadInput, match=r"line 2,011, and the quote before it in line 2,002"):
        read_rows(path)
    assert len(read_rows(path, TextFlags(quotes="none"))[1]) == 3000


@given(
    parts=st.lists(
        st.sampled_from(['"', ",", "\n", "\r", "a", '"",', '","', "\r\n", '""']), max_size=30
    ),
    size=st.integers(1, 7),
)
def test_quotes_are_followed_wherever_blocks_end(parts: list[str], size: int) -> None:
    data = "".join(parts).encode()

    def marked(step: int) -> bytes | None:
        check = csv_text.QuoteCheck(",", b"<stray>", "a.csv")
        blocks = [data[at : at + step] for at in range(0, len(data), step)]
        try:
            return b"".join(check.checked(block) for block in blocks)
        except BadInput:
            return None

    assert marked(size) == marked(len(data) + 1) == _marked_slowly(data)


def _marked_slowly(data: bytes) -> bytes | None:
    """The rule, a byte at a time; None where a cell of several lines has a stray quote."""
    out, inside, at, opened = b"", False, 0, 0
    while at < len(data):
        byte, before = data[at : at + 1], data[at - 1 : at] or b"\n"
        after = data[at + 1 : at + 2] or b"\n"
        out += byte
        if byte == b'"' and not inside:
            inside, opened = before in b",\r\n", at
        elif byte == b'"' and after == b'"':
            out, at = out + after, at + 1
        elif byte == b'"':
            inside = False
            if after not in b",\r\n":
                if set(data[opened:at]) & set(b"\r\n"):
                    return None
                out += b"<stray>"
        at += 1
    return out


@pytest.mark.parametrize(
    ("code", "late", "cure"),
    [
        ("stray-quote", b'"What" is this about?,It is "that".\n', ["--quotes", "none"]),
        (
            "unclear-backslash",
            b'"What is \\\\ about?","It is \\"that\\"."\n',
            ["--quotes", "backslash"],
        ),
        ("invalid-unicode", b"What is caf\xe9?,It is that.\n", ["--encoding", "latin-1"]),
    ],
)
def test_rows_after_the_sample_are_kept_with_the_flag_of_the_remedy(
    convert: Convert, tmp_path: Path, code: str, late: bytes, cure: list[str]
) -> None:
    sample = ESCAPED if code == "unclear-backslash" else ROWS
    data = made(sample * 600, escapechar="\\", doublequote=False, quoting=csv.QUOTE_ALL)
    if sample is ROWS:
        data = b"question,answer\n" + CSV_ROWS * 30_000
    assert len(data) > delimited._START_BYTES
    path = put(tmp_path / "a.csv", data + late)
    done = convert("--dataset", path)
    assert [found for _, _, found in done.rejects] == [code]
    assert cure[0] in REMEDIES[code]
    assert not convert("--dataset", path, *cure).rejects


def test_columns_without_a_name(convert: Convert, tmp_path: Path) -> None:
    """Spreadsheets write empty ones after the last, pandas its index as the first."""
    lines = [",question,answer,,\n", *[f"{n},What is {n} now?,It is {n}.,,\n" for n in range(40)]]
    done = convert("--dataset", put(tmp_path / "a.csv", "".join(lines)))
    assert len(done.rows()) == 40
    assert [c.name for c in done.plan.columns] == ["Unnamed: 0", "question", "answer"]
    lines[5] = "4,What is it now?,It is 4, so it is.,\n"
    done = convert("--dataset", put(tmp_path / "a.csv", "".join(lines)))
    assert done.rejects == [("a.csv", 5, "unnamed-cell")]
    notes = [lines[0], *(line[:-3] + ",a note,\n" for line in lines[1:])]
    done = convert("--dataset", put(tmp_path / "a.csv", "".join(notes)))
    assert done.code == 3
    assert has(done.err, "behind its last named column", "name their columns")


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (made(), made(delimiter=";"), ["b.csv", "no column 'question'", "found question;answer"]),
        (made(), made(encoding="utf-16"), ["b.csv", "not UTF-8"]),
        (made(encoding="utf-16"), made(), ["b.csv", "no byte order mark", "utf-16"]),
        (made(WESTERN_ROWS, "cp1252"), made(WESTERN_ROWS), ["b.csv", "UTF-8 text", "cp1252"]),
        (
            made(WESTERN_ROWS, "cp1252"),
            made(WESTERN_ROWS, "utf-8-sig"),
            ["b.csv", "byte order mark", "cp1252"],
        ),
    ],
)
def test_a_later_file_of_another_dialect_is_refused(
    convert: Convert, tmp_path: Path, first: bytes, second: bytes, says: list[str]
) -> None:
    put(tmp_path / "in" / "a.csv", first)
    put(tmp_path / "in" / "b.csv", second)
    ended = convert("--dataset", tmp_path / "in" / "*.csv")
    assert ended.code == 3
    assert has(ended.err, *says), ended.err


def test_a_later_file_may_order_its_columns_differently(convert: Convert, tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.csv", made(delimiter=";"))
    turned = "answer;question\n" + "".join(f'"{a}";{q}\n' for q, a in ROWS)
    put(tmp_path / "in" / "b.csv", "sep=;\n" + turned)
    done = convert("--dataset", tmp_path / "in" / "*.csv")
    assert [[row["instruction"], row["response"]] for row in done.rows()] == ROWS * 2


def test_bytes_that_the_encoding_lacks_reject_their_row(convert: Convert, tmp_path: Path) -> None:
    data = made(WESTERN_ROWS, "cp1252").replace(b"number 30", b"number \x81")
    done = convert("--dataset", put(tmp_path / "a.csv", data), "--encoding", "windows-1252")
    assert done.rejects == [("a.csv", 31, "invalid-unicode")]
    assert done.plan.source.file_format.encoding == "cp1252"
    wide = made(WESTERN_ROWS, "utf-16-le")
    at = wide.index("number 30".encode("utf-16-le"))
    done = convert("--dataset", put(tmp_path / "b.csv", wide[:at] + b"\x00\xd8" + wide[at + 2 :]))
    assert done.rejects == [("b.csv", 31, "invalid-unicode")]


def test_a_few_damaged_bytes_are_no_other_encoding(convert: Convert, tmp_path: Path) -> None:
    data = made(WESTERN_ROWS).replace(b"number 30", b"number \xff")
    done = convert("--dataset", put(tmp_path / "a.csv", data))
    assert done.rejects == [("a.csv", 31, "invalid-unicode")]
    data = made().replace(b"number 30", b"number \xff")
    done = convert("--dataset", put(tmp_path / "a.csv", data))
    assert done.rejects == [("a.csv", 31, "invalid-unicode")]


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        *(("--delimiter", value) for value in ("", ",,", '"', "\\", "\n", "é")),
        *(("--encoding", value) for value in ("", "latin-99", "idna", "rot13", "hex", "base64")),
        *(("--encoding", value) for value in ("unicode_escape", "utf-7", "punycode", "undefined")),
        ("--quotes", "single"),
    ],
)
def test_flags_that_can_never_work(flag: str, value: str) -> None:
    from pipeline.cli.main import parse

    with pytest.raises((UsageError, SystemExit)):
        parse(["--dataset", "a.csv", flag, value])


def test_flags_for_csv_are_refused_for_other_formats(convert: Convert, tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", '{"question": "What is it?", "answer": "It is."}\n')
    refused = convert("--dataset", path, "--encoding", "cp1252")
    assert refused.code == 2
    assert has(refused.err, "--encoding", "CSV", "json lines")


def test_flags_that_say_what_is_found_anyway_change_nothing(
    convert: Convert, tmp_path: Path
) -> None:
    path = put(tmp_path / "a.csv", made())
    flags = ("--delimiter", ",", "--encoding", "UTF8", "--quotes", "doubled")
    assert convert("--dataset", path).plan.digest == convert("--dataset", path, *flags).plan.digest


def test_names_with_commas_can_be_named(convert: Convert, tmp_path: Path) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["No.", "Frage, kurz", "Antwort (A+B)"]])
    csv.writer(text).writerows([[n, f"Sinn {n}?", f"ja {n}"] for n in range(9)])
    path = put(tmp_path / "a.csv", text.getvalue())
    refused = convert("--dataset", path)
    assert has(refused.err, '"Frage, kurz" (string)', '"Antwort (A+B)" (string)')
    flag = 'instruction="Frage, kurz",response="Antwort (A+B)"'
    done = convert("--dataset", path, "--fields", flag)
    assert done.rows()[3]["response"] == "ja 3"
    assert done.plan.fields.mapping.flag == flag
