"""Verify: whatever is wrong with a set, in a folder or on S3, is found and named."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from made_sets import FILES, MadeSet, local_set, s3_set, use_server
from s3_servers import S3Server

from pipeline.dataset.verify import verify
from transforms.dataset.layout import SCHEMA
from transforms.errors import AccessDenied, StorageError, UsageError, VerificationFailed
from transforms.storage import reader
from transforms.storage.s3.bucket import Bucket
from transforms.storage.s3.uri import S3Options

TRAIN, OTHER = "train/data-00000-of-00002.arrow", "train/data-00001-of-00002.arrow"
VALIDATION = "validation/data-00000-of-00002.arrow"


@pytest.fixture(params=["local", "s3"])
def made(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> MadeSet:
    """A good set, in a folder and on S3."""
    if request.param == "local":
        return local_set(tmp_path)
    server: S3Server = request.getfixturevalue("s3_server")
    use_server(monkeypatch, server)
    return s3_set(server, request.getfixturevalue("bucket"))


@pytest.fixture
def on_s3(s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> MadeSet:
    use_server(monkeypatch, s3_server)
    return s3_set(s3_server, bucket)


def problems(made: MadeSet, quick: bool = False) -> list[str]:
    """What verify names, one line a problem."""
    with pytest.raises(VerificationFailed) as caught:
        verify(made.place, quick=quick)
    assert caught.value.exit_code == 7
    first, *lines, last = str(caught.value).split("\n")
    assert first.startswith(f"{made.place} is not the set that its manifest.json describes (")
    assert last.startswith("do not train on it")
    return [line.strip() for line in lines]


def refusal(place: str) -> str:
    with pytest.raises(VerificationFailed) as caught:
        verify(place)
    return str(caught.value)


def flipped(data: bytes) -> bytes:
    """The data with one bit changed, in the text of a row."""
    where = data.index(b"train 0 1234") + 3
    return data[:where] + bytes([data[where] ^ 1]) + data[where + 1 :]


def cut(data: bytes, batches: int) -> bytes:
    """The first record batches of a stream, and nothing that says it ends."""
    with pa.BufferReader(data) as source:
        reader = pa.ipc.open_stream(source)
        for _ in range(batches):
            reader.read_next_batch()
        return data[: source.tell()]


class TestGoodSets:
    @pytest.mark.parametrize("quick", [False, True])
    def test_a_good_set_passes(self, made: MadeSet, quick: bool) -> None:
        manifest = made.manifest()
        size = sum(file["bytes"] for file in manifest["files"])
        found = verify(made.place, quick=quick)
        assert found.to_json() == {
            "path": made.place,
            "counts": manifest["counts"],
            "files": FILES,
            "bytes": size,
            "quick": quick,
            "manifest_sha256": hashlib.sha256(made.read("manifest.json")).hexdigest(),
        }
        assert found.counts.train == 5000
        assert len(manifest["files"]) == FILES
        json.dumps(found.to_json())

    @pytest.mark.parametrize("quick", [False, True])
    def test_all_bytes_are_told_by_one_thread_at_a_time(self, made: MadeSet, quick: bool) -> None:
        told: list[int] = []
        inside = threading.Lock()

        def on_bytes(size: int) -> None:
            assert inside.acquire(blocking=False)
            time.sleep(0.001)
            told.append(size)
            inside.release()

        found = verify(made.place, quick=quick, on_bytes=on_bytes)
        assert sum(told) == found.bytes

    def test_quick_reads_no_shard(self, made: MadeSet, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = []
        place = reader.S3Reader if made.on_s3 else reader.LocalReader
        chunks = place.chunks

        def spy(self: Any, name: str) -> Iterator[bytes]:
            seen.append(name)
            return chunks(self, name)

        monkeypatch.setattr(place, "chunks", spy)
        verify(made.place, quick=True)
        assert not [name for name in seen if not name.endswith(".json")]
        verify(made.place)
        assert sorted(name for name in seen if name.startswith("train/data-")) == [TRAIN, OTHER]

    def test_what_a_run_leaves_on_s3_is_no_matter(self, made: MadeSet) -> None:
        if not made.on_s3:  # a copy that another tool fetched
            (made.root / "_run").mkdir()
        made.put("_run/00000-splits.json", b"[]")
        made.put("_RUN.json", b"{}")
        verify(made.place)

    def test_the_folder_mark_of_an_s3_console_is_no_file(self, on_s3: MadeSet) -> None:
        on_s3.put("train/", b"")
        assert on_s3.place.removeprefix("s3://").partition("/")[2]
        verify(on_s3.place)

    def test_an_address_with_a_closing_slash_is_the_same(self, on_s3: MadeSet) -> None:
        assert verify(f"{on_s3.place}/") == verify(on_s3.place)

    def test_a_linked_folder_is_the_set_that_it_points_to(self, tmp_path: Path) -> None:
        made = local_set(tmp_path)
        (tmp_path / "link").symlink_to(made.root)
        assert verify(str(tmp_path / "link")).files == FILES


class TestForeign:
    """Whatever is no file of the set is named: what reads the folder may read it, too."""

    @pytest.mark.parametrize("quick", [False, True])
    @pytest.mark.parametrize(
        ("name", "told"),
        [
            (".huggingface.yaml", "extra): remove it"),
            ("evil/x.arrow", "): "),
            ("test/data-00000-of-00001.arrow", "): "),
            ("t.py", "extra): remove it"),
            ("notes.txt", "extra): remove it"),
            (".DS_Store", "left by a file manager): remove it"),
            ("train/._data-00000-of-00002.arrow", "left by a file manager): remove it"),
            ("rejects/notes.txt", "extra): remove it"),
            ("_run/notes.md", "extra): remove it"),
            ("_run/evil/x.json", "): "),
            ("train/more/x.arrow", "): "),
        ],
    )
    def test_anywhere(self, made: MadeSet, name: str, told: str, quick: bool) -> None:
        if not made.on_s3:
            (made.root / name).parent.mkdir(parents=True, exist_ok=True)
        made.put(name, b"x")
        (problem,) = problems(made, quick)
        first, _, rest = problem.partition("' is not part of the set (")
        assert name.startswith(first[1:])
        assert told in rest

    @pytest.mark.parametrize("name", ["train", TRAIN, "README.md", "manifest.json"])
    def test_a_link_in_place_of_what_it_leads_to(self, tmp_path: Path, name: str) -> None:
        made = local_set(tmp_path)
        (made.root / name).rename(tmp_path / "elsewhere")
        (made.root / name).symlink_to(tmp_path / "elsewhere")
        assert problems(made) == [
            f"{name!r} is not part of the set (a link): move it away, for what reads the folder "
            "may read it too"
        ]

    def test_an_empty_folder_is_named_too(self, tmp_path: Path) -> None:
        made = local_set(tmp_path)
        (made.root / "test").mkdir()
        (problem,) = problems(made)
        assert problem.startswith("'test/' is not part of the set (a folder): move it away")


class TestStructure:
    """With digests that fit: what a stranger can write who also writes the manifest."""

    @pytest.mark.parametrize("name", ["README.md", "report.html", "validation/state.json"])
    def test_a_file_that_every_set_has(self, made: MadeSet, name: str) -> None:
        manifest = made.manifest()
        manifest["files"] = [file for file in manifest["files"] if file["path"] != name]
        made.put_manifest(manifest)
        assert f"manifest.json does not name {name}" in problems(made)

    def test_a_set_from_before_there_were_reports_has_none(self, made: MadeSet) -> None:
        manifest = made.manifest()
        manifest["files"] = [f for f in manifest["files"] if f["path"] != "report.html"]
        del manifest["quality"]
        made.put_manifest(manifest)
        made.remove("report.html")
        verify(made.place)

    @pytest.mark.parametrize(
        ("name", "change", "told"),
        [
            ("train/state.json", {"_format_type": "torch"}, "says 'torch' as _format_type, exp"),
            ("train/state.json", {"_indices_files": []}, "has the key '_indices_files', which no"),
            ("train/state.json", {"_split": "test"}, "says 'test' as _split, expected 'train'"),
            ("train/state.json", {"_fingerprint": "../x"}, "expected 16 hexadecimal digits"),
            ("train/state.json", {"_output_all_columns": 0}, "says 0 as _output_all_columns"),
            ("validation/dataset_info.json", {"features": {}}, "says {} as features, expected"),
            ("validation/dataset_info.json", {"builder_name": "x"}, "has the key 'builder_name'"),
            ("validation/dataset_info.json", {"size_in_bytes": 1}, "says 1 as size_in_bytes"),
        ],
    )
    def test_what_no_set_says(
        self, made: MadeSet, name: str, change: dict[str, Any], told: str
    ) -> None:
        made.forge(name, json.dumps({**json.loads(made.read(name)), **change}).encode())
        (problem,) = problems(made)
        assert problem.startswith(f"{name} ")
        assert told in problem

    @pytest.mark.parametrize("name", ["train/state.json", "validation/dataset_info.json"])
    def test_a_key_that_is_missing(self, made: MadeSet, name: str) -> None:
        values = json.loads(made.read(name))
        key = sorted(values)[-1]
        made.forge(name, json.dumps({k: v for k, v in values.items() if k != key}).encode())
        assert problems(made) == [f"{name} lacks the key {key!r}"]

    def test_an_entry_of_a_state_that_says_more(self, made: MadeSet) -> None:
        state = json.loads(made.read("train/state.json"))
        state["_data_files"][1]["skip"] = 7
        made.forge("train/state.json", json.dumps(state).encode())
        (problem,) = problems(made)
        assert "'skip': 7} as shard 1, expected 'data-00001-of-00002.arrow'" in problem

    @pytest.mark.parametrize(
        "data",
        [b'{"splits": ["train", "validation"], "x": 1}', b'{"splits":["train","validation"]}'],
    )
    def test_a_commit_file_that_says_more(self, made: MadeSet, data: bytes) -> None:
        made.put("dataset_dict.json", data)
        (problem,) = problems(made)
        assert problem.endswith("does not name the splits train and validation and nothing else")


class TestManifestDigest:
    def test_the_very_set(self, made: MadeSet) -> None:
        digest = hashlib.sha256(made.read("manifest.json")).hexdigest()
        assert verify(made.place, manifest_sha256=digest).manifest_sha256 == digest
        assert verify(made.place, manifest_sha256=digest.upper()).manifest_sha256 == digest

    def test_another_manifest_that_is_whole(self, made: MadeSet) -> None:
        digest = hashlib.sha256(made.read("manifest.json")).hexdigest()
        made.put_manifest({**made.manifest(), "dataset": "another/set"})
        verify(made.place)
        with pytest.raises(VerificationFailed, match=f"expected {digest}; fetch the set again"):
            verify(made.place, quick=True, manifest_sha256=digest)

    def test_s3_keeps_the_digest_of_the_manifest_that_was_published(self, on_s3: MadeSet) -> None:
        on_s3.put("manifest.json", json.dumps(on_s3.manifest()).encode())
        assert "but the set was published with one of" in refusal(on_s3.place)


class TestDamage:
    def test_one_flipped_bit(self, made: MadeSet) -> None:
        made.damage(TRAIN, flipped(made.read(TRAIN)))
        (problem,) = problems(made)
        assert problem.startswith(f"{TRAIN} holds other bytes than")

    def test_one_flipped_bit_that_the_store_knows_nothing_of(self, made: MadeSet) -> None:
        made.put(TRAIN, flipped(made.read(TRAIN)))
        (problem,) = problems(made)
        assert problem.startswith(f"{TRAIN} holds other bytes than were written (SHA-256 ")
        (entry,) = (file for file in made.manifest()["files"] if file["path"] == TRAIN)
        assert f"expected {entry['sha256'][:12]}" in problem

    def test_a_flipped_bit_of_a_small_file(self, made: MadeSet) -> None:
        for name in ("README.md", "train/dataset_info.json", "rejects/data-00001-of-00002.jsonl"):
            data = bytearray(made.read(name))
            data[1] ^= 1
            made.damage(name, bytes(data))
        found = problems(made)
        assert len([problem for problem in found if "holds other bytes than" in problem]) == 3

    @pytest.mark.parametrize("quick", [False, True])
    @pytest.mark.parametrize("name", [TRAIN, "README.md", "train/state.json"])
    def test_a_missing_file(self, made: MadeSet, name: str, quick: bool) -> None:
        made.remove(name)
        assert problems(made, quick) == [f"{name} is missing"]

    @pytest.mark.parametrize("quick", [False, True])
    def test_a_shard_that_ends_after_a_record_batch(self, made: MadeSet, quick: bool) -> None:
        whole = made.read(TRAIN)
        less = cut(whole, 2)
        assert pa.ipc.open_stream(less).read_all().num_rows == 2000  # nothing seems to be wrong
        made.put(TRAIN, less)
        assert problems(made, quick) == [
            f"{TRAIN} has {len(less):,} bytes, expected {len(whole):,}"
        ]

    def test_a_shard_that_ends_after_a_record_batch_in_a_manifest_that_agrees(
        self, made: MadeSet
    ) -> None:
        made.forge(TRAIN, cut(made.read(TRAIN), 2))
        assert problems(made) == [f"{TRAIN} holds 2,000 rows, expected 2,500"]

    def test_a_manifest_that_agrees_with_a_cut_shard_in_its_rows_too(self, made: MadeSet) -> None:
        made.forge(TRAIN, cut(made.read(TRAIN), 2), rows=2000)
        assert problems(made) == [
            "manifest.json counts 5,000 rows train, but the files that it names in train/ have "
            "4,500"
        ]

    @pytest.mark.parametrize("quick", [False, True])
    def test_two_files_in_each_other_s_place(self, made: MadeSet, quick: bool) -> None:
        one, other = made.read(TRAIN), made.read(VALIDATION)
        made.put(TRAIN, other)
        made.put(VALIDATION, one)
        assert [problem.partition(" ")[0] for problem in problems(made, quick)] == [
            TRAIN,
            VALIDATION,
        ]

    def test_two_files_of_equal_size_in_each_other_s_place(self, made: MadeSet) -> None:
        one, other = made.read(TRAIN), made.read(OTHER)
        assert len(one) == len(other)
        made.put(TRAIN, other)
        made.put(OTHER, one)
        assert [problem.partition(" ")[0] for problem in problems(made)] == [TRAIN, OTHER]

    def test_what_is_no_arrow_stream(self, made: MadeSet) -> None:
        made.forge(TRAIN, b"not Arrow at all")
        (problem,) = problems(made)
        assert problem.startswith(f"{TRAIN} is no Arrow stream (")

    @pytest.mark.parametrize("change", ["columns", "types", "metadata"])
    def test_another_schema(self, made: MadeSet, change: str) -> None:
        schema = {
            "columns": pa.schema(list(SCHEMA)[:2], metadata=SCHEMA.metadata),
            "types": pa.schema([(n, pa.large_string()) for n in SCHEMA.names], SCHEMA.metadata),
            "metadata": SCHEMA.remove_metadata(),
        }[change]
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as stream:
            stream.write_table(pa.table([["x"] * 2500] * len(schema), schema=schema))
        made.forge(TRAIN, sink.getvalue().to_pybytes())
        (problem,) = problems(made)
        assert problem.startswith(f"{TRAIN} has other columns")

    def test_a_folder_in_place_of_a_shard_is_a_missing_shard(self, tmp_path: Path) -> None:
        made = local_set(tmp_path)
        made.remove(TRAIN)
        (made.root / TRAIN).mkdir()
        extra, missing = problems(made)
        assert extra.startswith(f"'{TRAIN}/' is not part of the set (a folder)")
        assert missing == f"{TRAIN} is missing"

    def test_a_pipe_in_place_of_a_shard_keeps_nobody_waiting(self, tmp_path: Path) -> None:
        made = local_set(tmp_path)
        made.remove(TRAIN)
        os.mkfifo(made.root / TRAIN)
        extra, missing = problems(made)
        assert extra.startswith(f"'{TRAIN}' is not part of the set (a device, pipe or socket)")
        assert missing == f"{TRAIN} is missing"

    def test_a_file_that_the_disk_cannot_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = local_set(tmp_path)

        def chunks(self: object, name: str) -> Iterator[bytes]:
            with reader.readable(name):
                yield b"x"
                raise OSError(5, "Input/output error")

        monkeypatch.setattr(reader.LocalReader, "read", lambda self, name: made.read(name))
        monkeypatch.setattr(reader.LocalReader, "chunks", chunks)
        found = problems(made)
        assert found[0] == "README.md cannot be read (Input/output error)"
        assert found[-1] == f"and {FILES - 5} more"

    def test_quick_on_s3_believes_the_store_s_checksum(self, on_s3: MadeSet) -> None:
        on_s3.damage(TRAIN, flipped(on_s3.read(TRAIN)))
        verify(on_s3.place, quick=True)
        on_s3.put(TRAIN, on_s3.read(TRAIN))  # now the store has the checksum of what is there
        (problem,) = problems(on_s3, quick=True)
        assert problem.startswith(f"{TRAIN} holds other bytes than were written (SHA-256 ")

    def test_quick_on_s3_names_what_has_no_checksum(
        self, on_s3: MadeSet, s3_server: S3Server, bucket: str
    ) -> None:
        # As a foreign tool without checksums leaves it.
        client = s3_server.client(request_checksum_calculation="when_required")
        client.put_object(Bucket=bucket, Key=f"datasets/set/{TRAIN}", Body=on_s3.read(TRAIN))
        assert problems(on_s3, quick=True) == [
            f"{TRAIN} has no checksum at the store: verify without --quick"
        ]
        verify(on_s3.place)

    def test_quick_on_s3_names_a_state_that_came_damaged(self, on_s3: MadeSet) -> None:
        name = "train/state.json"
        on_s3.damage(name, on_s3.read(name).replace(b'"train"', b'"trein"'))
        expected = [f"{name} holds other bytes than its checksum at S3 says"]
        assert problems(on_s3, quick=True) == expected
        assert problems(on_s3) == expected  # once, although it is read twice


class TestNames:
    @pytest.mark.parametrize("quick", [False, True])
    @pytest.mark.parametrize("split", ["train", "validation"])
    def test_an_extra_shard(self, made: MadeSet, split: str, quick: bool) -> None:
        made.put(f"{split}/data-00002-of-00003.arrow", made.read(TRAIN))
        (problem,) = problems(made, quick)
        assert problem.startswith(f"'{split}/data-00002-of-00003.arrow' is not part of the set")

    def test_a_cache_of_datasets_is_told_as_such(self, made: MadeSet) -> None:
        made.put("train/cache-0123.arrow", b"x")
        (problem,) = problems(made)
        assert "'train/cache-0123.arrow' is not part of the set (left by map()" in problem

    def test_an_extra_file_whose_name_would_steer_a_terminal(self, tmp_path: Path) -> None:
        made = local_set(tmp_path)
        made.put("train/\x1b[2J\n.arrow", b"x")
        (problem,) = problems(made)
        assert problem.startswith(r"'train/\x1b[2J\n.arrow' is not part")

    @pytest.mark.parametrize("quick", [False, True])
    @pytest.mark.parametrize(
        "name", ["data-00001-of-00002.arrow", "../validation/data-00000-of-00002.arrow", "/x", 7]
    )
    def test_a_state_that_names_another_file(
        self, made: MadeSet, name: object, quick: bool
    ) -> None:
        state = json.loads(made.read("train/state.json"))
        state["_data_files"][0]["filename"] = name
        made.forge("train/state.json", json.dumps(state).encode())
        assert problems(made, quick) == [
            f"train/state.json names {name!r} as shard 0, expected 'data-00000-of-00002.arrow'"
        ]

    def test_a_state_that_was_changed_is_told_by_its_bytes_too(self, made: MadeSet) -> None:
        data = made.read("train/state.json")
        made.put("train/state.json", data.replace(b"data-00000", b"../../../x"))
        names, other = problems(made)
        assert names.startswith("train/state.json names '../../../x-of-00002.arrow' as shard 0")
        assert other.startswith("train/state.json holds other bytes")

    @pytest.mark.parametrize(
        ("entries", "told"),
        [
            ([0], "names nothing as shard 1, expected 'data-00001-of-00002.arrow'"),
            ([0, 1, 1], "names 'data-00001-of-00002.arrow' as shard 2, expected nothing"),
            ([1, 0], "names 'data-00001-of-00002.arrow' as shard 0, expected 'data-00000-of-"),
            ([0, 1, None], "names None as shard 2, expected nothing"),
        ],
    )
    def test_a_state_with_other_shards(
        self, made: MadeSet, entries: list[int | None], told: str
    ) -> None:
        state = json.loads(made.read("train/state.json"))
        state["_data_files"] = [
            {} if number is None else state["_data_files"][number] for number in entries
        ]
        made.forge("train/state.json", json.dumps(state).encode())
        (problem,) = problems(made)
        assert problem.startswith(f"train/state.json {told}")

    @pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"_data_files": 1}'])
    def test_a_state_that_is_none(self, made: MadeSet, data: bytes) -> None:
        made.forge("validation/state.json", data)
        assert problems(made) == ["validation/state.json is damaged: it lists no shards"]

    @pytest.mark.parametrize("data", [b"", b"[]", b'{"splits": ["train", "../x"]}'])
    def test_a_commit_file_that_names_other_splits(self, made: MadeSet, data: bytes) -> None:
        made.put("dataset_dict.json", data)
        assert problems(made) == [
            "dataset_dict.json does not name the splits train and validation and nothing else"
        ]


class TestManifest:
    @pytest.mark.parametrize("path", ["../x", "train/../../x", "/x", "a/b/c", "manifest.json"])
    def test_a_path_that_is_no_file_of_a_set(self, made: MadeSet, path: str) -> None:
        manifest = made.manifest()
        manifest["files"][0]["path"] = path
        made.put_manifest(manifest)
        assert "lists a file that no set holds" in refusal(made.place)

    @pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"plan_digest": 7}'])
    def test_a_foreign_manifest(self, made: MadeSet, data: bytes) -> None:
        made.put("manifest.json", data)
        assert f"manifest.json of {made.place} is n" in refusal(made.place)

    @pytest.mark.parametrize(
        "counts", [None, 7, {}, {"rejected": 0}, {"train": "5000"}, {"read": -1}, {"train": True}]
    )
    def test_no_counts(self, made: MadeSet, counts: Any) -> None:
        manifest = made.manifest()
        if counts:
            counts = {**manifest["counts"], **counts} if isinstance(counts, dict) else counts
        manifest["counts"] = counts
        made.put_manifest(manifest)
        assert "is damaged or foreign: $.counts" in refusal(made.place)

    def test_counts_that_do_not_add_up(self, made: MadeSet) -> None:
        manifest = made.manifest()
        manifest["counts"]["read"] += 1
        made.put_manifest(manifest)
        assert problems(made) == [
            "manifest.json counts 7,403 rows read, but 5,000 train + 2,400 validation + "
            "0 duplicates + 2 rejected"
        ]

    @pytest.mark.parametrize("group", ["train", "validation", "rejected"])
    def test_counts_that_are_not_the_files(self, made: MadeSet, group: str) -> None:
        manifest = made.manifest()
        manifest["counts"]["read"] += 1
        if group == "rejected":
            manifest["counts"]["rejected"]["total"] += 1
            manifest["counts"]["rejected"]["by_reason"]["broken-json"] += 1
        else:
            manifest["counts"][group] += 1
        made.put_manifest(manifest)
        (problem,) = problems(made)
        assert f"rows {group}, but the files that it names in" in problem

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (("counts", "rejected", "by_reason", 3), "counts 2 rows rejected, but 3 by reason"),
            (("counts", "events", 9_999), "counts 9,999 rows with the note 'x' of 7,402 read"),
            (("quality", "duplicates", "exact", 5), "counts 0 duplicates, but 5 in its quality"),
            (("quality", "duplicates", "by_file", {"a": 1}), "0 duplicates in its quality, but 1"),
            (("quality", "truncated", 9_999), "counts 9,999 rows cut short of 7,400 kept"),
            (("quality", "leakage", "checked", 2_401), "among 2,401 rows checked of 2,400 valid"),
            (("quality", "leakage", "rows", 1), "counts 1 leaks, 0 of them exact, among 0 rows"),
        ],
    )
    def test_parts_that_do_not_add_up(
        self, made: MadeSet, change: tuple[Any, ...], told: str
    ) -> None:
        manifest = made.manifest()
        *where, value = change
        part = manifest
        for key in where[:-1]:
            part = part[key]
        if where[-1] in ("by_reason", "events"):
            value = {"broken-json" if where[-1] == "by_reason" else "x": value}
        part[where[-1]] = value
        made.put_manifest(manifest)
        assert any(told in problem for problem in problems(made))

    @pytest.mark.parametrize("name", [OTHER, "train/state.json", "train/dataset_info.json"])
    def test_a_file_that_the_manifest_does_not_name(self, made: MadeSet, name: str) -> None:
        manifest = made.manifest()
        manifest["files"] = [file for file in manifest["files"] if file["path"] != name]
        made.put_manifest(manifest)
        found = problems(made)
        assert any(problem.startswith(f"'{name}' is not part of the set") for problem in found)
        if name.endswith(".json"):
            assert f"manifest.json does not name {name}" in found

    def test_a_split_without_a_shard_does_not_load(self, made: MadeSet) -> None:
        manifest = made.manifest()
        shards = [f for f in manifest["files"] if f["path"].startswith("validation/data-")]
        manifest["files"] = [file for file in manifest["files"] if file not in shards]
        manifest["counts"]["validation"] = 0
        manifest["counts"]["read"] -= 2400
        made.put_manifest(manifest)
        for shard in shards:
            made.remove(shard["path"])
        state = json.loads(made.read("validation/state.json"))
        made.forge("validation/state.json", json.dumps({**state, "_data_files": []}).encode())
        assert problems(made)[0] == (
            "validation/ has no shard in manifest.json: the set cannot be loaded"
        )


class TestReport:
    def test_all_problems_are_named(self, made: MadeSet) -> None:
        made.remove(VALIDATION)
        made.damage(TRAIN, flipped(made.read(TRAIN)))
        made.put(OTHER, b"short")
        made.put("train/more.arrow", b"x")
        found = problems(made)
        assert len(found) == 4
        for name in (VALIDATION, TRAIN, OTHER, "'train/more.arrow'"):
            assert [problem for problem in found if problem.startswith(name)]

    def test_of_many_problems_five_are_named_and_all_counted(self, made: MadeSet) -> None:
        for file in made.manifest()["files"]:
            made.remove(file["path"])
        *named, more = problems(made)
        assert named[:2] == [
            "README.md is missing",
            "rejects/data-00000-of-00002.jsonl is missing",
        ]
        assert more == f"and {FILES - 5} more"


class TestNoSet:
    def test_a_local_path_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="nothing does not exist; expected a prepared set"):
            verify(str(tmp_path / "nothing"))

    def test_a_local_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(UsageError, match="file is a file; expected a prepared set's folder"):
            verify(str(tmp_path / "file"))

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        assert "holds no complete set: dataset_dict.json is missing" in refusal(str(tmp_path))

    def test_an_empty_address(self, on_s3: MadeSet) -> None:
        place = f"{on_s3.place}-other"
        assert f"{place} holds no complete set: dataset_dict.json is missing" in refusal(place)

    def test_without_the_commit_file(self, made: MadeSet) -> None:
        made.remove("dataset_dict.json")
        assert "holds no complete set: dataset_dict.json is missing, a run broke" in refusal(
            made.place
        )

    def test_without_a_manifest(self, made: MadeSet) -> None:
        made.remove("manifest.json")
        assert "holds no complete set of this tool: manifest.json, which" in refusal(made.place)

    def test_a_manifest_that_comes_damaged_from_s3(self, on_s3: MadeSet) -> None:
        on_s3.damage("manifest.json", on_s3.read("manifest.json").replace(b"7402", b"7403"))
        assert "manifest.json holds other bytes than its checksum at S3 says" in refusal(
            on_s3.place
        )

    def test_a_bucket_that_is_not_there(self, on_s3: MadeSet) -> None:
        with pytest.raises(UsageError, match="the bucket no-such-bucket does not exist"):
            verify("s3://no-such-bucket/datasets/set")

    def test_an_address_that_is_none(self) -> None:
        with pytest.raises(UsageError):
            verify("s3:/bucket/set")


class TestOtherFailures:
    """What is no fault of the set ends at once, as what it is."""

    def test_a_connection_that_breaks(
        self, on_s3: MadeSet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chunks = Bucket.chunks

        def broken(self: Bucket, key: str, size: int) -> Iterator[bytes]:
            yield next(chunks(self, key, 1000))
            raise StorageError("the connection broke")

        monkeypatch.setattr(Bucket, "chunks", broken)
        with pytest.raises(StorageError, match="the connection broke"):
            verify(on_s3.place)

    def test_a_reader_who_may_not(
        self, on_s3: MadeSet, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        s3_server.make_user(f"reader-of-{bucket}", "secret-of-the-user")
        use_server(monkeypatch, s3_server, f"reader-of-{bucket}", "secret-of-the-user")
        with pytest.raises(AccessDenied, match=r"dataset_dict\.json .*s3:GetObject"):
            verify(on_s3.place)
        s3_server.set_policy(bucket, f"reader-of-{bucket}", "s3:GetObject", "s3:ListBucket")
        verify(on_s3.place)

    def test_a_bucket_of_somebody_else(self, on_s3: MadeSet) -> None:
        with pytest.raises(UsageError, match="does not belong to the account stranger"):
            verify(on_s3.place, S3Options(expected_owner="stranger"))

    def test_a_permission_error_is_no_damage(self, tmp_path: Path) -> None:
        with (
            pytest.raises(AccessDenied, match="no permission to read /x: run as"),
            reader.readable("x"),
        ):
            raise PermissionError(13, "Permission denied", "/x")

    def test_whoever_stops_it_need_not_wait_for_whole_files(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Stopped(BaseException):
            """As the handler of a signal raises it."""

        whole = reader.LocalReader.chunks
        reading, stop = threading.Event(), threading.Event()
        slow: list[int] = []

        def chunks(self: Any, name: str) -> Iterator[bytes]:
            if name == TRAIN:
                slow.append(threading.get_ident())
                reading.set()
                while time.monotonic() < started + 30:  # a file that takes long
                    yield b"0" * 1000
            if name == OTHER:
                reading.wait()
                stop.set()
            yield from whole(self, name)

        def on_bytes(_: int) -> None:
            if stop.is_set() and threading.get_ident() not in slow:
                raise Stopped

        made = local_set(tmp_path)
        monkeypatch.setattr(reader.LocalReader, "chunks", chunks)
        started = time.monotonic()
        with pytest.raises(Stopped):
            verify(made.place, on_bytes=on_bytes)
        assert time.monotonic() < started + 15
