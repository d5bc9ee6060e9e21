"""The guide's step API gives what the job gives: same rows, same text, same split, same bytes."""

from pathlib import Path

import pytest
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Value,
    load_dataset,
    load_from_disk,
)
from means import REPOSITORY

from pipeline import DatasetProcessor, Request, prepare
from transforms.errors import OutputTaken, UsageError

SAMPLE = REPOSITORY / "pipeline" / "sample" / "reasoning.jsonl"


@pytest.fixture
def processor(tmp_path: Path) -> DatasetProcessor:
    return DatasetProcessor(local_cache_dir=tmp_path / "cache")


def test_the_steps_give_the_jobs_bytes(tmp_path: Path, processor: DatasetProcessor) -> None:
    data = load_dataset("json", data_files=str(SAMPLE), cache_dir=str(tmp_path / "hf"))
    formatted = processor.format_dataset_for_training(data)
    split = processor.create_train_val_split(formatted, val_size=0.2, seed=7)
    saved = processor.save_dataset_locally(split)
    assert saved == tmp_path / "cache" / "processed_reasoning"

    manifest = prepare(
        Request(dataset=str(SAMPLE), output=str(tmp_path / "job"), val_size=0.2, seed=7)
    )
    assert manifest["counts"]["validation"] == split["validation"].num_rows > 40
    for name in ("train", "validation"):
        shard = f"{name}/data-00000-of-00001.arrow"
        assert (saved / shard).read_bytes() == (tmp_path / "job" / shard).read_bytes()
        assert (saved / name / "dataset_info.json").is_file()
    loaded = load_from_disk(str(saved))
    assert loaded["train"].column_names == ["text", "instruction", "response"]
    assert load_dataset(str(saved), split="train", cache_dir=str(tmp_path / "hf")).num_rows == (
        loaded["train"].num_rows
    )


def test_bad_rows_are_left_out_and_counted(
    processor: DatasetProcessor, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = Dataset.from_dict(
        {"Prompt": ["a b c", None, " ", "d"], "Completion": ["x y z", "x", "x", ""]}
    )
    formatted = processor.format_dataset_for_training(rows)
    assert formatted["instruction"][:] == ["a b c"]
    said = capsys.readouterr().out
    for code in ("null-instruction: 1", "blank-instruction: 1", "empty-response: 1"):
        assert code in said


def test_lists_of_answers_and_classes_are_read_as_the_job_reads_them(
    processor: DatasetProcessor,
) -> None:
    questions = [f"Who built bridge {n}?" for n in range(9)]
    answers = [{"text": [f"Ann {n}"], "answer_start": [1]} for n in range(9)]
    rows = Dataset.from_dict({"question": questions, "answers": answers})
    assert processor.format_dataset_for_training(rows)["response"][4] == "Ann 4"
    features = Features({"question": Value("string"), "answer": ClassLabel(names=["no", "yes"])})
    rows = Dataset.from_dict({"question": questions, "answer": [0, 1, 1] * 3}, features=features)
    formatted = processor.format_dataset_for_training(rows)
    assert formatted["response"][:3] == ["no", "yes", "yes"]


def test_a_guess_is_told_and_a_mark_refused(
    processor: DatasetProcessor, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {
        "frage": [f"Who built bridge {n}?" for n in range(9)],
        "antwort": [f"Ann built bridge {n}." for n in range(9)],
    }
    processor.format_dataset_for_training(Dataset.from_dict(texts))
    assert "The columns are a guess" in capsys.readouterr().out
    marked = Dataset.from_dict({**texts, "weight": [1] * 8 + [0]})
    with pytest.raises(UsageError, match="'weight' marks rows that must not be trained"):
        processor.format_dataset_for_training(marked)


def test_a_split_may_be_empty(tmp_path: Path, processor: DatasetProcessor) -> None:
    rows = Dataset.from_dict({"text": ["t"], "instruction": ["i"], "response": ["r"]})
    split = processor.create_train_val_split(rows, val_size=0)
    assert (split["train"].num_rows, split["validation"].num_rows) == (1, 0)
    saved = processor.save_dataset_locally(split, name="tiny")
    assert load_from_disk(str(saved))["validation"].num_rows == 0


def test_a_dict_is_split_by_its_train_part(
    processor: DatasetProcessor, capsys: pytest.CaptureFixture[str]
) -> None:
    part = Dataset.from_dict({"instruction": ["a", "b"], "response": ["c", "d"]})
    split = processor.create_train_val_split(DatasetDict({"test": part, "train": part}))
    assert split["train"].num_rows + split["validation"].num_rows == 2
    assert "Left out: split test" in capsys.readouterr().out


def test_nothing_is_written_over(tmp_path: Path, processor: DatasetProcessor) -> None:
    rows = Dataset.from_dict({"text": ["t"], "instruction": ["i"], "response": ["r"]})
    split = processor.create_train_val_split(rows)
    saved = processor.save_dataset_locally(split)
    before = (saved / "dataset_dict.json").stat()
    with pytest.raises(OutputTaken):
        processor.save_dataset_locally(split)
    assert (saved / "dataset_dict.json").stat() == before


@pytest.mark.parametrize("name", ["../out", "a/b", ""])
def test_a_name_is_no_path(processor: DatasetProcessor, name: str) -> None:
    part = Dataset.from_dict({"text": ["t"], "instruction": ["i"], "response": ["r"]})
    with pytest.raises(UsageError):
        processor.save_dataset_locally(DatasetDict({"train": part, "validation": part}), name)


def test_no_fields_is_an_error_that_lists_the_columns(processor: DatasetProcessor) -> None:
    with pytest.raises(UsageError, match=r"found id \(int64\)"):
        processor.format_dataset_for_training(Dataset.from_dict({"id": [1, 2]}))
