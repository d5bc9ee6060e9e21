"""The one reader of manifests: older ones, newer ones, foreign and damaged ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from made_reports import as_bytes, made_manifest

from transforms.errors import VerificationFailed
from transforms.records import DatasetFile, Shard
from transforms.storage import manifest as under_test
from transforms.storage.manifest import ManifestFacts, json_text, manifest_json, read_manifest
from transforms.storage.manifest_parts import RejectedRows, RowCounts, Run

FILE = {"path": "train/data-00000-of-00001.arrow", "bytes": 9, "sha256": "0" * 64, "rows": 3}


def changed(place: tuple[str | int, ...], value: object) -> bytes:
    """A whole manifest of one file, with another value at a place."""
    made: Any = {**made_manifest(), "files": [dict(FILE)]}
    part = made
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    return as_bytes(made)


def refusal(data: bytes) -> str:
    with pytest.raises(VerificationFailed) as caught:
        read_manifest(data, "here")
    said = str(caught.value)
    assert said.startswith("manifest.json of here ")
    assert "\n" not in said
    return said


class TestReading:
    def test_a_whole_one(self) -> None:
        data = changed(("dataset",), "größe")
        found = read_manifest(data, "here")
        assert (found.dataset, found.counts.kept, found.counts.rejected.total) == (
            "größe",
            6_726 + 747,
            100,
        )
        assert found.files == (DatasetFile(**FILE),)  # type: ignore[arg-type]
        assert found.quality and found.quality.lengths
        assert list(found.quality.lengths) == ["text", "instruction", "response", "tokens"]
        assert found.plan and found.plan.fields
        assert found.plan.fields.response == ("answer", "proof")

    def test_users_get_the_whole_document(self) -> None:
        data = changed(("a key of a later version",), {"nested": [1.5, None]})
        assert read_manifest(data, "here").to_json() == json.loads(data)

    def test_it_cannot_be_changed(self) -> None:
        found = read_manifest(changed(("dataset",), "a"), "here")
        with pytest.raises(AttributeError):
            found.dataset = "b"  # type: ignore[misc]

    @pytest.mark.parametrize(
        "name", ["quality", "config", "training", "shape", "plan", "run", "dataset", "revision"]
    )
    @pytest.mark.parametrize("null", [True, False])
    def test_an_older_one_lacks_a_part(self, name: str, null: bool) -> None:
        made = {**made_manifest(), "files": [FILE]}
        made.pop(name, None)
        data = as_bytes({**made, name: None} if null else made)
        assert getattr(read_manifest(data, "here"), name) is None

    def test_older_counts_have_no_events(self) -> None:
        made = made_manifest(files=[FILE])
        del made["counts"]["events"]
        assert read_manifest(as_bytes(made), "here").counts.events == {}


class TestVersions:
    def test_a_newer_one_names_the_tool_that_it_needs(self) -> None:
        said = refusal(
            b'{"plan_digest": "a", "format_version": 2,'
            b' "run": {"versions": {"reasonforge-data-prep": "0.9.1"}}}'
        )
        assert said == (
            "manifest.json of here has format version 2, and this version of the tool reads "
            "versions up to 1: install reasonforge-data-prep 0.9.1 or newer"
        )

    @pytest.mark.parametrize("run", [b"null", b"7", b'{"versions": 7}', b'{"versions": {}}'])
    def test_a_newer_one_that_does_not_say_which(self, run: bytes) -> None:
        said = refusal(b'{"plan_digest": "a", "format_version": 99, "run": ' + run + b"}")
        assert said.endswith("install a newer reasonforge-data-prep")

    @pytest.mark.parametrize("version", [None, 0, -1, "1", 1.5, [1], True, 1.0])
    def test_any_other_one_is_damaged(self, version: object) -> None:
        assert f"has format version {version!r}, expected 1" in refusal(
            changed(("format_version",), version)
        )


class TestDamage:
    @pytest.mark.parametrize(
        ("place", "value", "said"),
        [
            (("counts", "train"), "5", "$.counts.train: expected int, found str"),
            (("counts", "train"), True, "$.counts.train: expected int, found bool"),
            (("counts", "train"), 1.5, "$.counts.train: expected int, found float"),
            (("counts", "read"), -1, "$.counts.read: expected int >= 0"),
            (("counts", "read"), 2**63, "$.counts.read: expected int <= 9223372036854775807"),
            (("counts",), None, "$.counts: expected object, found null"),
            (("counts", "rejected"), {}, "$.counts.rejected: object missing required field total"),
            (("files",), 7, "$.files: expected array, found int"),
            (("files", 0), {}, "$.files[0]: object missing required field path"),
            (("files", 0, "rows"), "3", "$.files[0].rows: expected int, found str"),
            (("quality", "version"), [], "$.quality.version: expected int | null, found array"),
            (("quality", "leakage", "checked"), float("inf"), "$.quality.leakage.checked: "),
            (("quality", "balance", 0, "what"), 7, "$.quality.balance[0].what: expected str"),
            (
                ("quality", "lengths", "text", "histogram", "edges"),
                [0, 1],
                "$.quality.lengths[...].histogram: expected one edge more than counts, found 2",
            ),
            (("plan", "split", "val_size"), "0.1", "$.plan.split.val_size: expected"),
            (("training", "snippets"), [], "$.training.snippets: expected object | null, found"),
            (("shape", "names"), "text", "$.shape.names: expected array, found str"),
        ],
    )
    def test_the_message_names_the_place(
        self, place: tuple[str | int, ...], value: object, said: str
    ) -> None:
        found = refusal(changed(place, value))
        assert found.startswith("manifest.json of here is damaged or foreign: ")
        assert said in found
        assert found.endswith("; prepare or fetch the set again")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *(
                ("path", path)
                for path in ("../x", "/x", "a/b/c", "", ".a", "a/", "a\0b", "ä", "a b")
            ),
            *(("path", path) for path in ("manifest.json", "dataset_dict.json", "C:x", "a\\b")),
            *(
                ("path", path)
                for path in ("evil.py", "train/x.py", "_run/x", "train", "test/data-00000-of-00001")
            ),
            *(
                ("path", f"{folder}/data-00000-of-00001.{end}")
                for folder, end in (("test", "arrow"), ("train", "jsonl"), ("rejects", "arrow"))
            ),
            ("path", "train/data-0-of-1.arrow"),
            ("path", "rejects/state.json"),
            ("path", "README.md\n"),
            *(("sha256", digest) for digest in ("", "0" * 63, "0" * 65, "A" * 64, "g" * 64)),
            ("bytes", -1),
            ("rows", -1),
        ],
    )
    def test_a_file_that_no_set_holds(self, name: str, value: object) -> None:
        found = refusal(changed(("files", 0, name), value))
        assert f"lists a file that no set holds: $.files[0].{name} is {value!r}" in found

    def test_a_file_twice(self) -> None:
        found = refusal(changed(("files",), [FILE, {**FILE, "path": "README.md"}, FILE]))
        assert f"lists a file twice: {FILE['path']} in $.files" in found

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"", "is no JSON"),
            (b"{", "is no JSON"),
            (b"\xff", "is no JSON"),
            (b'{"plan_digest": "a", "x": NaN}', "is no JSON"),
            (b"[" * 1_000_000, "is not a manifest of this tool"),
            (b'{"x": ' + b"[" * 1_000_000, "is no JSON"),
            (b'{"x": ' + b'{"a":' * 1_000_000, "is no JSON"),
            (b"[]", "is not a manifest of this tool: $: expected object, found array"),
            (b"{}", "is not a manifest of this tool: $: object missing required field plan_digest"),
            (b'{"plan_digest": 7}', "$.plan_digest: expected str, found int"),
        ],
    )
    def test_what_is_no_manifest(self, data: bytes, said: str) -> None:
        assert said in refusal(data)

    def test_a_part_that_is_nested_too_deeply(self) -> None:
        deep = "[" * 100_000 + "]" * 100_000
        data = changed(("config",), {"a": "DEEP"}).replace(b'"DEEP"', deep.encode())
        assert "is no JSON" in refusal(data)

    def test_one_that_is_too_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = changed(("dataset",), "x" * 9_000)
        monkeypatch.setattr(under_test, "MOST_BYTES", 9_000)
        assert "bytes, expected at most 9,000" in refusal(data)


class TestWriting:
    def test_the_bytes_are_those_of_the_whole_with_sorted_keys(self) -> None:
        counts = RowCounts(read=3, train=3, validation=0, rejected=RejectedRows(0), duplicates=0)
        facts = ManifestFacts(plan_digest="01", counts=counts, files=(), run=Run(runner="é"))
        shard = Shard(0, "train", str(FILE["path"]), 3, 3, 9, "0" * 64)
        text = "".join(manifest_json(facts, {"seed": 42}, [shard]))
        found = json.loads(text)
        assert text == json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False)
        assert (found["files"], found["plan"], found["run"]) == (
            [FILE],
            {"seed": 42},
            {"runner": "é"},
        )
        assert read_manifest(text.encode(), "here").counts == counts

    def test_nothing_else_is_written(self) -> None:
        with pytest.raises(TypeError, match="object is not a part of a manifest"):
            list(json_text({"a": object()}))
