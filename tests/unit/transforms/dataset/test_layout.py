"""The layout rule: the names and JSON that ``datasets`` reads."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
import yaml

from transforms.dataset import layout
from transforms.dataset.card import card
from transforms.dataset.shard_writer import ShardWriter
from transforms.records import DatasetFile
from transforms.storage.names import CARD, DATASET_DICT, DATASET_DICT_CONTENT, shard_path


@pytest.mark.parametrize(
    ("split", "number", "of", "path"),
    [
        ("train", 3, 12, "train/data-00003-of-00012.arrow"),
        ("validation", 0, 1, "validation/data-00000-of-00001.arrow"),
        ("rejects", 11, 12, "rejects/data-00011-of-00012.jsonl"),
        ("train", 123456, 200000, "train/data-123456-of-200000.arrow"),
    ],
)
def test_shards_names(split: str, number: int, of: int, path: str) -> None:
    assert shard_path(split, number, of) == path


def test_state_json_is_what_save_to_disk_writes(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["a"]}, split="train").save_to_disk(tmp_path / "theirs")
    theirs = json.loads((tmp_path / "theirs/state.json").read_bytes())
    shards = [DatasetFile(f"train/data-0000{n}-of-00002.arrow", 2, "", 1) for n in (0, 1)]
    data = layout.split_files("train", shards, "0123456789abcdef")["train/state.json"]
    ours = json.loads(data)
    assert ours.pop("_data_files") == [
        {"filename": "data-00000-of-00002.arrow"},
        {"filename": "data-00001-of-00002.arrow"},
    ]
    assert ours.pop("_fingerprint") == "0123456789abcdef"
    assert ours == {k: v for k, v in theirs.items() if k not in ("_data_files", "_fingerprint")}
    assert data.startswith(b'{\n  "_data_files": [\n')


def test_dataset_info_tells_features_rows_and_bytes() -> None:
    shards = [DatasetFile("validation/x.arrow", 70, "", 5)] * 2
    files = layout.split_files("validation", shards, "f")
    assert list(files) == ["validation/state.json", "validation/dataset_info.json"]
    info = json.loads(files["validation/dataset_info.json"])
    assert info["features"] == {
        name: {"dtype": "string", "_type": "Value"} for name in ("text", "instruction", "response")
    }
    assert info["splits"] == {
        "validation": {"name": "validation", "num_bytes": 140, "num_examples": 10}
    }


def test_the_schema_carries_the_features_for_datasets() -> None:
    assert layout.SCHEMA.names == ["text", "instruction", "response"]
    assert json.loads(layout.SCHEMA.metadata[b"huggingface"]) == {
        "info": {"features": layout.DEFAULT_COLUMNS.features}
    }
    assert datasets.Features.from_arrow_schema(layout.SCHEMA) == datasets.Features(
        {name: datasets.Value("string") for name in layout.COLUMNS}
    )


def test_dataset_dict_names_both_splits() -> None:
    assert json.loads(DATASET_DICT_CONTENT) == {"splits": ["train", "validation"]}


def test_equal_values_give_equal_json() -> None:
    one = {"b": [1, {"z": "é", "a": None}], "a": 0.1}
    other = {"a": 0.1, "b": [1, {"a": None, "z": "é"}]}
    assert layout.to_json(one) == layout.to_json(other)
    assert json.loads(layout.to_json(one)) == one
    assert "é".encode() in layout.to_json(one)


def test_the_card_s_front_matter_names_the_splits_files() -> None:
    text = card("Facts of the set: `a`.").decode()
    _, front, body = text.split("---\n", 2)
    (config,) = yaml.safe_load(front)["configs"]
    assert config == {
        "config_name": "default",
        "data_files": [
            {"split": "train", "path": "train/*.arrow"},
            {"split": "validation", "path": "validation/*.arrow"},
        ],
    }
    assert "\nFacts of the set: `a`.\n" in body


def test_the_card_leaves_out_a_split_without_rows() -> None:
    _, front, _ = card("", ["train"]).decode().split("---\n", 2)
    (config,) = yaml.safe_load(front)["configs"]
    assert config["data_files"] == [{"split": "train", "path": "train/*.arrow"}]


@pytest.mark.parametrize("rows", [0, 3])
def test_a_folder_of_these_files_loads_even_with_an_empty_split(tmp_path: Path, rows: int) -> None:
    folder = tmp_path / "set"
    for split, count in (("train", 3), ("validation", rows)):
        path = folder / shard_path(split, 0, 1)
        path.parent.mkdir(parents=True)
        writer = ShardWriter(path)
        cells = [f"row {n}" for n in range(count)]
        writer.append(pa.table([cells] * 3, schema=layout.SCHEMA))
        done = writer.close()
        file = DatasetFile(f"{split}/{path.name}", done.bytes, done.sha256, done.rows)
        for name, data in layout.split_files(split, [file], split).items():
            (folder / name).write_bytes(data)
    (folder / CARD).write_bytes(card(""))

    with pytest.raises(FileNotFoundError):
        datasets.load_from_disk(str(folder))
    (folder / DATASET_DICT).write_bytes(DATASET_DICT_CONTENT)
    loaded = datasets.load_from_disk(str(folder))
    assert {name: split.num_rows for name, split in loaded.items()} == {
        "train": 3,
        "validation": rows,
    }
    assert loaded["train"][2] == dict.fromkeys(layout.COLUMNS, "row 2")
    assert loaded["validation"].column_names == list(layout.COLUMNS)
