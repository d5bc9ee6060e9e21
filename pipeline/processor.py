"""The guide's Python API: the same rules as the job, step by step, on ``datasets`` objects.

    processor = DatasetProcessor("user/name")
    data = processor.load_dataset_from_hf()
    data = processor.format_dataset_for_training(data)
    data = processor.create_train_val_split(data, val_size=0.1, seed=42)
    path = processor.save_dataset_locally(data)

The same rows get the same text and land in the same split as with ``pipeline.prepare``.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, Features, Value, load_dataset

from pipeline.request import DEFAULT_BUCKET, DEFAULT_DATASET, check_output
from pipeline.source import choose_split
from transforms import layout
from transforms.chat import chatml
from transforms.commit import fingerprint
from transforms.errors import BadInput, UsageError
from transforms.fields import FieldMapping, detect
from transforms.formats.rows import numbered, text_rows, typed_columns
from transforms.pairs import to_pairs
from transforms.records import one_array
from transforms.shards import ShardWriter
from transforms.split import SPLITS, SplitRule, normalise_keys
from transforms.storage import LocalFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

_SAMPLE_ROWS = 500
_BATCH_ROWS = 1000


class DatasetProcessor:
    """The steps of the guide for one data set.

    Args:
        dataset_name: hub name, or anything else that ``datasets.load_dataset`` takes.
        s3_bucket: bucket for uploads.
        local_cache_dir: folder under which ``save_dataset_locally`` writes.
        aws_region: region of the bucket.
    """

    def __init__(
        self,
        dataset_name: str = DEFAULT_DATASET,
        s3_bucket: str = DEFAULT_BUCKET,
        local_cache_dir: str | Path = "./data_cache",
        aws_region: str = "us-east-1",
    ) -> None:
        self.dataset_name = dataset_name
        self.s3_bucket = s3_bucket
        self.local_cache_dir = Path(local_cache_dir)
        self.aws_region = aws_region

    def load_dataset_from_hf(self, split: str | None = None) -> Dataset | DatasetDict:
        """Downloads the data set, or takes it from the local cache; None loads all splits."""
        data = load_dataset(self.dataset_name, split=split)
        for name, part in data.items() if isinstance(data, DatasetDict) else [(split, data)]:
            print(f"  - {name}: {len(part):,} examples")
        return data

    def format_dataset_for_training(self, dataset: Dataset | DatasetDict) -> Dataset | DatasetDict:
        """Finds the fields and renders the chat format: ``text``, ``instruction``, ``response``.

        Rows whose instruction or response is null, empty or blank are left out, and counted on the
        console.  Raises ``UsageError`` where no fields are found.
        """
        if isinstance(dataset, DatasetDict):
            return DatasetDict({k: self._format(part, k) for k, part in dataset.items()})
        return self._format(dataset, "dataset")

    def _format(self, dataset: Dataset, name: str) -> Dataset:
        data = dataset.with_format("arrow")
        head = data[: min(_SAMPLE_ROWS, len(data))]
        columns = typed_columns(head.schema, self.dataset_name)
        fields = detect(columns, text_rows(head)).mapping
        rejected: Counter[str] = Counter()
        formatted = data.select_columns(list(fields.columns)).map(
            _format_batch,
            batched=True,
            batch_size=_BATCH_ROWS,
            fn_kwargs={"fields": fields, "rejected": rejected},
            remove_columns=list(fields.columns),
            features=Features({column: Value("string") for column in layout.COLUMNS}),
            load_from_cache_file=False,  # a cached result would not count its rejects
        )
        print(f"✓ Formatted {len(formatted):,} of {len(dataset):,} examples ({name})")
        for code, count in rejected.most_common():
            print(f"  - rejected {code}: {count:,}")
        return formatted.with_format(None)

    def create_train_val_split(
        self, dataset: Dataset | DatasetDict, val_size: float = 0.1, seed: int = 42
    ) -> DatasetDict:
        """Splits by a stable hash of each row's instruction; equal prompts stay together.

        A ``DatasetDict`` gives its ``train`` split, else its first, and the console says what is
        left out.
        """
        if not 0 <= val_size <= 1:
            raise UsageError(f"val_size must be between 0 and 1, found {val_size}")
        if isinstance(dataset, DatasetDict):
            chosen = choose_split(list(dataset), None, self.dataset_name)
            left_out = [name for name in dataset if name != chosen]
            if left_out:
                print(f"  Left out: split {', '.join(left_out)}")
            dataset = dataset[chosen]
        rule = SplitRule(val_size, seed)
        marks = [
            rule.is_validation(normalise_keys(one_array(part["instruction"])))
            for part in dataset.with_format("arrow").iter(_BATCH_ROWS)
        ]
        marked = pa.chunked_array(marks, pa.bool_())
        places = {"train": pc.invert(marked), "validation": marked}
        split = DatasetDict(
            {
                # A list: ``select`` takes numpy's integers for fractions where they are in a row.
                name: dataset.select(pc.indices_nonzero(mask).to_pylist())
                for name, mask in places.items()
            }
        )
        for name in SPLITS:
            print(f"  - {name}: {len(split[name]):,} examples")
        return split

    def save_dataset_locally(self, dataset: DatasetDict, name: str = "processed_reasoning") -> Path:
        """Saves ``train`` and ``validation`` under the cache folder; returns the folder.

        The layout is the job's, without a manifest.  Raises ``OutputTaken`` where the folder holds
        anything already.
        """
        if set(dataset) != set(SPLITS):
            raise UsageError(
                f"expected the splits train and validation, found {', '.join(dataset)}"
            )
        if not name or Path(name).name != name:
            raise UsageError(f"name must be a plain folder name, found {name!r}")
        path = self.local_cache_dir / name
        check_output(str(path))
        folder = LocalFolder(str(path.absolute()))
        with folder.claimed():
            folder.check_free("", overwrite=False)
            for split in SPLITS:
                _save_split(folder, split, dataset[split])
            filled = [split for split in SPLITS if len(dataset[split])]
            card = layout.card(f"Made from `{self.dataset_name}`.", filled or SPLITS)
            folder.put(layout.CARD, card)
            folder.put(layout.DATASET_DICT, layout.dataset_dict())
            folder.finish("")
        print(f"✓ Dataset saved to {path}")
        return path


def _format_batch(batch: pa.Table, fields: FieldMapping, rejected: Counter[str]) -> pa.Table:
    pairs, rejects = to_pairs(numbered(batch, 1), fields)
    rejected.update(rejects["code"].to_pylist())
    columns = [one_array(pairs[name]) for name in ("instruction", "response")]
    text = chatml().render_arrays(*columns)
    return pa.table([text, *columns], schema=pa.schema(layout.SCHEMA).remove_metadata())


def _save_split(folder: LocalFolder, split: str, data: Dataset) -> None:
    path = layout.shard_path(split, 0, 1)
    writer = ShardWriter(folder.scratch_file())
    for table in _tables(data):
        writer.append(table)
    done = writer.close()
    folder.publish(writer.path, path)
    file = {"path": path, "rows": done.rows, "bytes": done.bytes}
    for name, content in layout.split_files(split, [file], fingerprint(done.sha256, split)).items():
        folder.put(name, content)


def _tables(data: Dataset) -> Iterator[pa.Table]:
    missing = [name for name in layout.COLUMNS if name not in data.column_names]
    if missing:
        raise BadInput(
            f"the data set has no column {', '.join(missing)}; call "
            "format_dataset_for_training first"
        )
    for table in data.select_columns(list(layout.COLUMNS)).with_format("arrow").iter(_BATCH_ROWS):
        yield table.cast(layout.SCHEMA)
