"""The report: a page whose numbers are the manifest's, where every text of a row is only text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import regenerate_golden
from command_runs import (
    Prepare,
    lines,
)
from datasets import load_dataset, load_from_disk
from hypothesis import given
from hypothesis import strategies as st
from made_reports import MadeFiles, Page, at, made_files, made_manifest, made_page, text_of
from made_sets import local_set, s3_set, use_server
from means import examples
from s3_servers import S3Server

from pipeline.cli.main import main
from transforms.chat.segments import Markers, split_text
from transforms.errors import VerificationFailed
from transforms.report import samples
from transforms.report.elements import DISTANCE, NOTHING, SHARE, Figure, Table, number
from transforms.report.headline import headlines
from transforms.storage.manifest import read_manifest

GSM8K = ("--dataset", "gsm8k/*.jsonl")
PARTS = ("duplicates", "contamination", "truncated", "leakage", "lengths", "tokenizer", "balance")
HOSTILE = (
    "<script>alert(1)</script>",
    "</pre></div></details><img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)> '",
    "{{ 7 * 7 }}{% raw %}&lt;&amp;",
    "<!-- ]]> -->\x00\x1b[31m\u202e",
)


class TestNumbers:
    @pytest.mark.parametrize(
        ("figure", "shown"),
        [
            (Figure(0), "0"),
            (Figure(1234567), "1,234,567"),
            (Figure(0.0, kind=SHARE), "0%"),
            (Figure(1.0, kind=SHARE), "100.0%"),
            (Figure(0.0412, kind=SHARE), "4.1%"),
            (Figure(0.0004, kind=SHARE), "0.04%"),
            (Figure(1e-9, kind=SHARE), "below 0.0001%"),
            (Figure(0.8, kind=DISTANCE), "0.8"),
            (Figure(0.03449, kind=DISTANCE), "0.034"),
            (Figure(0, kind=DISTANCE), "0"),
        ],
    )
    def test_are_shown_in_one_way(self, figure: Figure, shown: str) -> None:
        assert number(figure) == shown


def figures_equal(html: str, manifest: dict[str, Any]) -> int:
    """Every number that names its place is what stands there; how many there are."""
    known = [one for one in Page(html).numbers if one[0] is not None]
    for place, value, shown in known:
        assert place is not None
        expected = at(manifest, place)
        assert json.loads(value) == expected, place
        if type(expected) is int and "val_size" not in place:
            assert shown.replace(",", "") == str(expected), place
    return len(known)


class TestThePage:
    def test_its_numbers_are_the_manifest_s(self) -> None:
        manifest = made_manifest()
        assert figures_equal(made_page(manifest), manifest) > 150

    def test_tells_every_part_of_the_quality(self) -> None:
        places = {place for place, _, _ in Page(made_page()).numbers if place}
        quality = made_manifest()["quality"]
        told = {place.split("/")[2] for place in places if place.startswith("/quality/")}
        assert told == {*quality}
        for split in ("train", "validation"):
            for kind in ("text", "instruction", "response", "tokens"):
                assert f"/quality/lengths/{kind}/{split}/quantiles/0.95" in places
                filled = [
                    n for n, c in enumerate(quality["lengths"][kind]["histogram"][split]) if c
                ]
                assert {f"/quality/lengths/{kind}/histogram/{split}/{n}" for n in filled} <= places

    def test_the_five_that_matter_stand_first(self) -> None:
        text = Page(made_page()).text.partition("What was read")[0]
        for words in ("7,473 of 8,925", "1,352", "13 of 747", "1,355 tokens", "10.0% of the rows"):
            assert words in text
        assert "Warning: the source has many duplicates" in text

    def test_is_accessible(self) -> None:
        found = Page(made_page())
        names = found.names()
        assert ("html", {"lang": "en"}) in found.elements
        assert "title" in names
        levels = [int(name[1]) for name in names if name in ("h1", "h2", "h3", "h4")]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(later - one <= 1 for one, later in zip(levels, levels[1:], strict=False))
        assert all("scope" in attrs for name, attrs in found.elements if name == "th")
        assert names.count("caption") == names.count("table")
        assert names.count("svg") == 4
        assert all(attrs.get("aria-label") for name, attrs in found.elements if name == "svg")
        ids = [attrs["id"] for _, attrs in found.elements if "id" in attrs]
        links = [str(attrs["href"])[1:] for name, attrs in found.elements if name == "a"]
        assert len(ids) == len(set(ids))
        assert set(links) == set(ids)

    def test_asks_for_nothing_and_runs_nothing(self) -> None:
        html = made_page()
        assert not {"script", "iframe", "img", "object", "form"} & set(Page(html).names())
        assert [word for word in ("http://", "https://", "@import", "url(") if word in html] == []
        assert "default-src 'none'" in html

    def test_the_same_manifest_and_files_give_the_same_page(self) -> None:
        manifest = made_manifest()
        again = json.loads(json.dumps(manifest, sort_keys=True))
        again["run"] = {"finished": "now", "runner": "Another"}
        assert made_page(manifest) == made_page(again)

    @pytest.mark.parametrize("part", PARTS)
    def test_one_part_may_be_missing(self, part: str) -> None:
        manifest = made_manifest()
        del manifest["quality"][part]
        html = made_page(manifest)
        if part not in ("truncated", "tokenizer"):
            assert "not measured" in html.lower()
        assert figures_equal(html, manifest) > 50

    def test_of_a_set_made_step_by_step_it_says_what_is_not_measured(self) -> None:
        manifest = made_manifest(quality=None, plan=None, training=None, config=None)
        for name in ("quality", "training", "config"):
            del manifest[name]
        text = Page(made_page(manifest)).text
        for what in ("Duplicates were", "Lengths were", "splits' balance was", "in train were"):
            assert f"{what} not measured" in text
        assert "The chosen columns are unknown" in text

    @pytest.mark.parametrize(
        ("by_prompt", "key", "exact", "said"),
        [
            (
                True,
                None,
                0,
                "exact duplicates: 0, as rows with equal prompts are kept in one split.",
            ),
            (False, "domain", 0, "0; rows are split by the column domain, so equal prompts"),
            (False, "domain", 5, "5; rows are split by the column domain, so equal prompts"),
            (False, None, 0, "0; rows are split before prompts are escaped, so equal prompts"),
            (None, None, 0, "exact duplicates: 0."),
        ],
    )
    def test_it_tells_what_the_split_has_to_do_with_copies(
        self, by_prompt: bool | None, key: str | None, exact: int, said: str
    ) -> None:
        manifest = made_manifest()
        manifest["quality"]["leakage"].update(by_prompt=by_prompt, exact=exact)
        manifest["plan"]["split"]["key"] = key
        assert said in Page(made_page(manifest)).text

    def test_without_dedup_it_does_not_say_that_there_are_none(self) -> None:
        manifest = made_manifest()
        manifest["quality"]["duplicates"]["mode"] = "off"
        assert "Duplicates were not searched (--dedup off)" in Page(made_page(manifest)).text

    def test_an_empty_set_has_a_page(self) -> None:
        manifest = made_manifest()
        nothing = {"rows": 0, "min": None, "max": None, "total": 0, "quantiles": {"0.95": None}}
        for own in manifest["quality"]["lengths"].values():
            own.update(train=nothing, validation=nothing)
            own["histogram"] = {"edges": [0, 1], "train": [0], "validation": [0]}
        manifest["counts"].update(read=0, train=0, validation=0, duplicates=0)
        made = MadeFiles()
        for split in ("train", "validation"):
            made.shard(f"{split}/data-00000-of-00001.arrow", [])
        text = Page(made_page(manifest, made)).text
        assert "The set has no rows." in text
        assert "0 of 0" in text

    def test_only_columns_of_numbers_are_set_as_numbers(self) -> None:
        table = Table(
            "", ("a", "b", "c"), ((("x",), (Figure(1),), (Figure(2),)), (("y",), NOTHING, ("z",)))
        )
        assert table.numbers == (False, True, False)


class TestEscaping:
    @examples(40)
    @given(st.text(min_size=1, max_size=60) | st.sampled_from(HOSTILE))
    def test_a_text_of_a_row_is_only_ever_text(self, text: str) -> None:
        text = text.encode("utf-8", "replace").decode()
        plain = Page(made_page(files=made_files(3, "x")))
        manifest = made_manifest(dataset=text)
        quality = manifest["quality"]
        quality["leakage"]["examples"][0].update(train=text, validation=text)
        quality["contamination"][0]["benchmark"] = text
        quality["balance"][1]["values"][0]["value"] = text
        quality["balance"][0]["what"] = text
        quality["duplicates"]["by_file"] = {text: 2, "b": 1}
        manifest["plan"]["fields"]["rule"] = text
        manifest["plan"]["columns"] = {text: "string", "": text}
        manifest["training"]["snippets"] = {text: text}
        reasons = {text: 60, "empty-response": 40}
        manifest["counts"]["rejected"]["by_reason"] = reasons
        files = made_files(3, text)
        told = {"file": text, "row": 1, "code": text, "excerpt": text}
        files.put("rejects/data-00001-of-00002.jsonl", f"{json.dumps(told)}\n".encode(), 1)
        found = Page(made_page(manifest, files))

        # The same elements but for the headings of that reason and what it holds.
        assert set(found.names()) == set(plain.names())
        assert all(set(attrs) <= KNOWN for _, attrs in found.elements)
        shown = "".join(
            chr(0x2400 + ord(c)) if ord(c) < 32 and c not in "\t\n" else c for c in text
        )
        assert found.text.count(shown.replace("\x7f", "\u2421")) >= 10 + 12

    def test_lone_surrogates_of_foreign_rejects_are_replaced(self) -> None:
        files = made_files(3)
        told = {"file": "a", "row": 1, "code": "unknown-role", "excerpt": "a\ud800b"}
        files.put("rejects/data-00000-of-00001.jsonl", f"{json.dumps(told)}\n".encode(), 1)
        files.files.insert(0, files.files.pop())
        assert "a?b" in made_page(files=files)

    def test_lone_surrogates_of_a_foreign_manifest_are_refused(self) -> None:
        with pytest.raises(VerificationFailed, match="^manifest.json of here is no JSON"):
            made_page(made_manifest(dataset="a\ud800b"))


KNOWN = {
    *("lang", "charset", "name", "content", "http-equiv", "rel", "href", "class", "id", "scope"),
    *("tabindex", "role", "aria-label", "aria-labelledby", "aria-hidden", "value", "data-at"),
    *("viewbox", "preserveaspectratio", "x", "y", "width", "height", "d", "style", "open", "dir"),
}


def damaged(*path: str | int) -> list[tuple[tuple[str | int, ...], object]]:
    return [(path, value) for value in ("<b>", -1, [], {}, 1.5, [{}], [[]], True, 1e999, 10**400)]


class TestForeignManifests:
    @pytest.mark.parametrize(
        ("path", "value"),
        [
            *damaged("quality"),
            *damaged("quality", "duplicates"),
            *damaged("quality", "duplicates", "by_file"),
            *damaged("quality", "leakage", "checked"),
            *damaged("quality", "leakage", "examples"),
            *damaged("quality", "lengths", "text"),
            *damaged("quality", "lengths", "text", "histogram"),
            *damaged("quality", "lengths", "text", "histogram", "edges"),
            *damaged("quality", "lengths", "tokens", "above"),
            *damaged("quality", "tokenizer"),
            *damaged("quality", "balance"),
            *damaged("quality", "contamination"),
            *damaged("plan"),
            *damaged("plan", "source"),
            *damaged("plan", "source", "files"),
            *damaged("plan", "fields"),
            *damaged("plan", "template"),
            *damaged("plan", "template", "control_tokens"),
            *damaged("plan", "split"),
            *damaged("training"),
            *damaged("training", "snippets"),
            *damaged("shape"),
            *damaged("counts", "events"),
            *damaged("dataset"),
            *damaged("revision"),
        ],
    )
    def test_are_told_in_a_sentence_or_shown_as_far_as_known(
        self, path: tuple[str | int, ...], value: object
    ) -> None:
        manifest = made_manifest()
        part: Any = manifest
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = value
        try:
            html = made_page(manifest)
        except VerificationFailed as error:
            assert str(error).startswith("manifest.json of here is damaged or foreign")
        else:
            assert "<b>" not in html

    def test_shards_that_are_none(self) -> None:
        made = made_files()
        made.put("train/data-00002-of-00002.arrow", b"no Arrow at all", 5)
        with pytest.raises(VerificationFailed, match="train/data-00002-of-00002.arrow cannot be"):
            made_page(files=made)

    def test_shards_of_other_columns(self) -> None:
        made = MadeFiles()
        made.shard("train/data-00000-of-00001.arrow", ["a"], pa.schema([("b", pa.string())]))
        with pytest.raises(VerificationFailed, match="the rows of train/data-00000"):
            made_page(files=made)


class TestSamples:
    def test_are_of_both_splits_and_all_shards(self) -> None:
        made = MadeFiles()
        for split, counts in (("train", [0, 2000, 5, 1, 3000]), ("validation", [1, 1])):
            for shard, rows in enumerate(counts):
                made.put(f"{split}/data-0000{shard}-of-00005.arrow", b"", rows)
        chosen = samples.choose(made.files)
        assert [(file.path.partition("-of")[0], rows) for file, rows in chosen] == [
            ("train/data-00001", [0, 166, 333, 500, 666, 833]),
            ("train/data-00002", [0, 1, 2, 3, 4]),
            ("train/data-00003", [0]),
            ("train/data-00004", [0, 166, 333, 500, 666, 833]),
            ("validation/data-00000", [0]),
            ("validation/data-00001", [0]),
        ]

    @given(st.lists(st.integers(0, 30), max_size=8), st.lists(st.integers(0, 30), max_size=8))
    def test_are_twenty_where_there_are_so_many(self, train: list[int], other: list[int]) -> None:
        made = MadeFiles()
        for split, counts in (("train", train), ("validation", other)):
            for shard, rows in enumerate(counts):
                made.put(f"{split}/data-0000{shard}-of-00008.arrow", b"", rows)
        chosen = samples.choose(made.files)
        assert sum(len(rows) for _, rows in chosen) == min(20, sum(train) + sum(other))
        assert all(len(set(rows)) == len(rows) for _, rows in chosen)
        assert all(max(rows) < file.rows for file, rows in chosen if rows)

    def test_read_only_the_first_batch_of_a_shard(self) -> None:
        made = MadeFiles()
        texts = [text_of(str(n), "x" * 100) for n in range(5000)]
        made.shard("train/data-00000-of-00001.arrow", texts)
        found = samples.read_samples(made.files, made.chunks, Markers(), "here")
        assert len(found) == 20
        assert sum(made.read.values()) < made.files[0].bytes / 4

    def test_long_texts_are_cut(self) -> None:
        files = made_files(3, "y" * 10_000)
        text = Page(made_page(files=files)).text
        assert max(map(len, text.split())) <= samples.MOST_CHARS
        assert "more characters are not shown" in text

    def test_batches_that_are_too_large_are_not_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(samples, "_MOST_BATCH_BYTES", 2000)
        assert "too large to be shown" in made_page()

    @pytest.mark.parametrize("columns", ["messages", "prompt-completion", "text"])
    def test_of_every_shape_are_shown(self, prepare: Prepare, tmp_path: Path, columns: str) -> None:
        source = lines(
            tmp_path / "a.jsonl", *({"question": f"Q{n}?", "answer": f"A<{n}>."} for n in range(40))
        )
        done = prepare("--dataset", source, "--columns", columns)
        assert done.code == 0, done.err
        html = (done.output / "report.html").read_text(encoding="utf-8")
        shown = [n for n in range(40) if f"A&lt;{n}&gt;." in html and f"Q{n}?" in html]
        assert len(shown) == 20
        assert Page(html).names().count("details") >= 20

    def test_rejects_have_three_examples_a_reason(self, prepare: Prepare, tmp_path: Path) -> None:
        rows = [{"question": f"Q{n}?", "answer": "" if n % 4 == 0 else "<i>"} for n in range(40)]
        source = lines(tmp_path / "a.jsonl", *rows)
        done = prepare("--dataset", source, "--max-reject-rate", "1")
        assert done.code == 0, done.err
        found = Page((done.output / "report.html").read_text(encoding="utf-8"))
        (reason,) = done.manifest["counts"]["rejected"]["by_reason"]
        assert found.text.count(f"Examples of {reason}") == 1
        assert sum(f"a.jsonl row {row}" in found.text for row in (1, 5, 9, 13)) == 3
        assert figures_equal((done.output / "report.html").read_text(), done.manifest) > 30


class TestTextParts:
    @given(st.lists(st.sampled_from(["<|a|>", "<|u|>", "<|e|>", "x", "<", "|>", "\n"])))
    def test_together_are_the_text(self, pieces: list[str]) -> None:
        text = "".join(pieces)
        marks = Markers("<|u|>", "<|a|>", ("<|e|>", "<|u|>"))
        found = list(split_text(text, marks))
        assert "".join(piece for _, piece in found) == text
        assert {kind for kind, _ in found} <= {"template", "prompt", "response"}
        assert not any(
            mark in piece for kind, piece in found if kind != "template" for mark in marks.all
        )

    def test_only_the_last_answer_is_the_response(self) -> None:
        found = list(split_text("<|a|>one<|u|>two<|a|>three", Markers("<|u|>", "<|a|>")))
        assert found == [
            ("template", "<|a|>"),
            ("prompt", "one"),
            ("template", "<|u|>"),
            ("prompt", "two"),
            ("template", "<|a|>"),
            ("response", "three"),
        ]


class TestOfTheJob:
    def test_gsm8k(
        self,
        prepare: Prepare,
        shared_data: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        regenerate_golden.copy_gsm8k(shared_data("gsm8k/train.jsonl"), tmp_path)
        monkeypatch.chdir(tmp_path)
        done = prepare(*GSM8K)
        assert done.code == 0, done.err
        own = (done.output / "report.html").read_bytes()
        assert figures_equal(own.decode(), done.manifest) > 100
        assert own == regenerate_golden.REPORT.read_bytes(), (
            "the report on GSM8K is another than the golden one; if it is meant so, run "
            "python tests/support/regenerate_golden.py"
        )

        page_file = tmp_path / "page.html"
        again = prepare(done.output, "--output", page_file, verb="report")
        assert again.code == 0, again.err
        assert page_file.read_bytes() == own
        for one in headlines(read_manifest((done.output / "manifest.json").read_bytes(), "here")):
            assert one.name in done.out
            assert one.name in again.out
            assert f"| {one.name} |" in (done.output / "README.md").read_text()
        assert f"Report: {done.output}/report.html" in done.out
        assert prepare(done.output, verb="verify").code == 0
        assert (
            load_from_disk(str(done.output)).num_rows
            == load_dataset(str(done.output), cache_dir=str(tmp_path / "cache")).num_rows
        )

    def test_holds_duplicates_and_a_script_only_as_text(
        self, prepare: Prepare, tmp_path: Path
    ) -> None:
        row = {"question": HOSTILE[0], "answer": HOSTILE[1]}
        source = lines(
            tmp_path / "a.jsonl",
            *[row] * 3,
            *({"question": f"Q{n}", "answer": "A"} for n in range(200)),
        )
        done = prepare("--dataset", source)
        assert "Removed 2 duplicate rows (exact 2, near 0)" in done.out
        html = (done.output / "report.html").read_text(encoding="utf-8")
        assert "&lt;script&gt;alert(1)" in html
        assert "script" not in Page(html).names()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


class TestTheVerb:
    def test_writes_to_a_file_named_after_the_set(self, prepare: Prepare, here: Path) -> None:
        made = local_set(here.parent)
        before = sorted(path for path in made.root.rglob("*"))
        assert prepare(made.place, verb="report").code == 0
        assert (here / "report-set.html").read_bytes() == made.read("report.html")
        assert (
            prepare(f"{made.place}/", "--json", verb="report").told["report"] == "report-set.html"
        )
        assert [path.name for path in here.iterdir()] == ["report-set.html"]
        assert sorted(path for path in made.root.rglob("*")) == before

    def test_is_the_same_for_s3(
        self,
        here: Path,
        s3_server: S3Server,
        bucket: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        use_server(monkeypatch, s3_server)
        made = s3_set(s3_server, bucket)
        assert main(["report", made.place]) == 0
        assert "rows kept" in capsys.readouterr().out
        assert (here / "report-set.html").read_bytes() == made.read("report.html")

    def test_of_an_older_set_says_what_is_not_measured(self, prepare: Prepare, here: Path) -> None:
        made = local_set(here.parent)
        manifest = made.manifest()
        for name in ("quality", "config", "training"):
            del manifest[name]
        made.put_manifest(manifest)
        assert "not measured" in prepare(made.place, verb="report").out
        assert "Lengths were not measured" in (here / "report-set.html").read_text()

    def test_never_writes_into_a_set(
        self, prepare: Prepare, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = local_set(here.parent)
        other = here / "link"
        other.symlink_to(made.root / "train")
        for output in (made.root / "x.html", made.root / "train" / "x.html", other / "x.html"):
            found = main(["report", made.place, "--output", str(output)])
            assert found == 2
            assert not output.exists()
        monkeypatch.chdir(made.root)
        assert main(["report", "."]) == 2
        assert made.manifest()

    def test_replaces_a_report_and_nothing_else(self, here: Path) -> None:
        made = local_set(here.parent)
        output = here / "mine.html"
        output.write_text("mine")
        assert main(["report", made.place, "--output", str(output)]) == 2
        assert output.read_text() == "mine"
        output.unlink()
        for _ in range(2):
            assert main(["report", made.place, "--output", str(output)]) == 0
        assert main(["report", made.place, "--output", str(here)]) == 2
        assert main(["report", made.place, "--output", str(here / "no" / "x.html")]) == 5

    def test_of_a_damaged_or_foreign_set_is_a_sentence(
        self, here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made = local_set(here.parent)
        good = made.manifest()
        bad: list[Any] = [
            {**good, "quality": "<script>"},
            {**good, "files": [{**good["files"][0], "path": "../../etc/passwd"}]},
            {**good, "counts": {**good["counts"], "rejected": {"total": 1, "by_reason": [1]}}},
            [],
        ]
        for manifest in bad:
            made.put_manifest(manifest)
            assert main(["report", made.place]) == 7
            said = capsys.readouterr().err
            assert said.startswith("error: ")
            assert said.count("\n") == 1
        made.put_manifest(good)
        made.remove("train/data-00000-of-00002.arrow")
        assert main(["report", made.place]) == 7
        assert main(["report", str(here / "none")]) == 2
        assert not list(here.iterdir())

    def test_opens_the_page(
        self, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made = local_set(here.parent)
        opened: list[str] = []
        monkeypatch.setattr("webbrowser.open", lambda address: bool(opened.append(address)))
        assert main(["report", made.place, "--open"]) == 0
        assert opened == [(here / "report-set.html").as_uri()]
        assert "no browser could be opened" in capsys.readouterr().out
