"""The guide's Python API: the same rules as the job, step by step, on ``datasets`` objects.

    processor = DatasetProcessor("user/name")
    data = processor.load_dataset_from_hf()
    data = processor.format_dataset_for_training(data)
    data = processor.create_train_val_split(data, val_size=0.1, seed=42)
    path = processor.save_dataset_locally(data)
    uri = processor.upload_to_s3(path)

The same rows get the same text and land in the same split as with ``pipeline.prepare``; but
duplicates are kept, of which the job leaves exact ones out by default.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, Features, Value, load_dataset

from pipeline.dataset.destinations import dated_folders
from pipeline.dataset.download import download
from pipeline.dataset.upload import claimed, kept, local_manifest, note, send
from pipeline.planning.source_files import choose_split
from pipeline.request import DEFAULT_BUCKET, DEFAULT_DATASET, check_output
from transforms.chat.builtin_templates import chatml
from transforms.chat.output_columns import OutputColumns
from transforms.chat.render_rows import render, sandbox_of
from transforms.chat.template import ChatFormat
from transforms.conversations.column_parts import refuse_lists
from transforms.conversations.detect_pairs import detect
from transforms.conversations.field_mapping import FieldMapping
from transforms.conversations.normalize_rows import rows_of
from transforms.conversations.remedies import remedy_of
from transforms.dataset import layout
from transforms.dataset.card import card, code_span
from transforms.dataset.publish import fingerprint, put_file
from transforms.dataset.shard_writer import ShardWriter
from transforms.errors import BadInput, UsageError
from transforms.formats.arrow_types import as_text, text_rows, typed_columns
from transforms.formats.source_rows import numbered
from transforms.records import Column, DatasetFile, one_array
from transforms.split import SPLITS, SplitRule
from transforms.storage import names
from transforms.storage.local import LocalStore
from transforms.storage.manifest_parts import RejectedRows, RowCounts
from transforms.storage.s3.uri import S3Options, S3Uri
from transforms.text.normalization import normalise_keys
from transforms.text.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
            _print(f"  - {name}: {len(part):,} examples")
        return data

    def format_dataset_for_training(self, dataset: Dataset | DatasetDict) -> Dataset | DatasetDict:
        """Finds the fields and renders the chat format: ``text``, ``instruction``, ``response``,
        and ``reasoning`` where the data has it.

        Rows that cannot be trained on are left out, and counted with their reasons on the console.
        Raises ``UsageError`` where no fields are found.
        """
        if isinstance(dataset, DatasetDict):
            return DatasetDict({k: self._format(part, k) for k, part in dataset.items()})
        return self._format(dataset, "dataset")

    def _format(self, dataset: Dataset, name: str) -> Dataset:
        data = dataset.with_format("arrow")
        head = data[: min(_SAMPLE_ROWS, len(data))]
        columns = typed_columns(head.schema, self.dataset_name)
        sample = text_rows(head)
        choice = detect(columns, sample)
        if choice.guess:
            _print(f"  {choice.guess_note}")
        refuse_lists(choice.mapping.opened, sample)
        fields = choice.mapping.with_marks(columns, sample, ignored=False)
        fields = fields.with_watched(columns, sample).without_tools()  # they are not rendered
        chat, output_columns = _way(fields)
        rejected: Counter[str] = Counter()
        formatted = data.select_columns(list(fields.columns)).map(
            _format_batch,
            batched=True,
            batch_size=_BATCH_ROWS,
            fn_kwargs={
                "fields": fields,
                "columns": [fields.narrowed(c) for c in columns if c.name in fields.columns],
                "chat": chat,
                "output_columns": output_columns,
                "rejected": rejected,
            },
            remove_columns=list(fields.columns),
            features=Features({column: Value("string") for column in output_columns.columns}),
            load_from_cache_file=False,  # a cached result would not count its rejects
        )
        _print(f"✓ Formatted {len(formatted):,} of {len(dataset):,} examples ({name})")
        for code, count in rejected.most_common():
            remedy = remedy_of(code)
            _print(f"  - rejected {code}: {count:,}" + (f" ({remedy})" if remedy else ""))
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
                _print(f"  Left out: split {', '.join(left_out)}")
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
            _print(f"  - {name}: {len(split[name]):,} examples")
        return split

    def save_dataset_locally(self, dataset: DatasetDict, name: str = "processed_reasoning") -> Path:
        """Saves ``train`` and ``validation`` under the cache folder; returns the folder.

        The layout is the job's; its manifest has no plan.  Raises ``OutputTaken`` where the folder
        holds anything already.
        """
        if set(dataset) != set(SPLITS):
            raise UsageError(
                f"expected the splits train and validation, found {', '.join(dataset)}"
            )
        if not name or Path(name).name != name:
            raise UsageError(f"name must be a plain folder name, found {name!r}")
        path = self.local_cache_dir / name
        check_output(str(path))
        folder = LocalStore(str(path.absolute()))
        with folder.claimed():
            folder.check_free("", overwrite=False)
            files = [_save_split(folder, split, dataset[split]) for split in SPLITS]
            filled = [split for split in SPLITS if len(dataset[split])]
            output_columns = _output_columns(dataset["train"])
            page = card(
                f"Made from {code_span(self.dataset_name)}.", filled or SPLITS, output_columns
            )
            files.append([put_file(folder, names.CARD, page)])
            manifest = _manifest(self.dataset_name, dataset, sum(files, []))
            folder.put(names.MANIFEST, layout.to_json(manifest))
            folder.put(names.DATASET_DICT, names.DATASET_DICT_CONTENT)
            folder.finish("")
        _print(f"✓ Dataset saved to {path}")
        return path

    def upload_to_s3(self, local_path: str | Path, s3_prefix: str = "datasets") -> str:
        """Sends a saved set to ``s3://BUCKET/PREFIX/NAME_TIMESTAMP``; returns that address.

        Writes ``upload_metadata_TIMESTAMP.json`` into the cache folder.  Raises
        ``transforms.errors.DataPrepError`` (credentials, bucket, network); the set is then kept
        where it is, and nothing that loads is at the address.
        """
        local = Path(local_path)
        place = S3Uri.parse(f"s3://{self.s3_bucket}/{s3_prefix.strip('/')}", "s3_prefix")
        digest = local_manifest(local).plan_digest
        folders = dated_folders(place, local.absolute().name, self._s3)
        with claimed(folders, digest, resume=False) as folder, kept(local, folder):
            done = send(local, folder, lambda count: None, lambda line: _print(f"  {line}"))
        _, noted = note(self.local_cache_dir, done, self.dataset_name)
        _print(f"✓ Upload complete: {done.uri}")
        _print(f"  {noted}")
        return done.uri

    def download_from_s3(self, s3_uri: str, local_path: str | Path) -> Path:
        """Fetches a set from S3 into ``local_path``, every file checked; returns the folder.

        Raises ``transforms.errors.DataPrepError``; ``local_path`` is then as it was.
        """
        return Path(download(s3_uri, Path(local_path), self._s3).path)

    @property
    def _s3(self) -> S3Options:
        return S3Options(region=self.aws_region)


def _print(line: str) -> None:
    """Prints a line: names in it may come from anybody."""
    print(visible(line))


def _way(fields: FieldMapping) -> tuple[ChatFormat, OutputColumns]:
    """How rows become text: as the job does it without further flags."""
    chat = chatml("") if fields.is_conversation else chatml()
    return chat, OutputColumns(reasoning=fields.has_reasoning)


def _format_batch(
    batch: pa.Table,
    fields: FieldMapping,
    columns: Sequence[Column],
    chat: ChatFormat,
    output_columns: OutputColumns,
    rejected: Counter[str],
) -> pa.Table:
    rows, rejects = rows_of(numbered(as_text(batch, columns), 1), fields)
    with sandbox_of(chat) as sandbox:
        done = render(rows, chat, output_columns, sandbox)
    rejected.update(pa.concat_tables([rejects, done.rejects])["code"].to_pylist())
    return done.kept.combine_chunks()


def _save_split(folder: LocalStore, split: str, data: Dataset) -> list[DatasetFile]:
    path = names.shard_path(split, 0, 1)
    output_columns = _output_columns(data)
    writer = ShardWriter(folder.scratch_file(), output_columns.schema)
    for table in _tables(data):
        writer.append(table)
    done = writer.close()
    folder.publish(writer.path, path, done)
    file = DatasetFile(path, done.bytes, done.sha256, done.rows)
    small = layout.split_files(split, [file], fingerprint(done.sha256, split), output_columns)
    return [file, *(put_file(folder, name, content) for name, content in small.items())]


def _manifest(
    dataset_name: str, dataset: DatasetDict, files: list[DatasetFile]
) -> dict[str, object]:
    digests = [file.sha256 for file in files]
    rows = {split: len(dataset[split]) for split in SPLITS}
    return {
        "format_version": names.FORMAT_VERSION,
        "dataset": dataset_name,
        "revision": "",
        "plan_digest": fingerprint("".join(digests), "steps"),
        "plan": None,
        "counts": RowCounts(
            read=sum(rows.values()),
            train=rows["train"],
            validation=rows["validation"],
            rejected=RejectedRows(0),
            duplicates=0,
        ),
        "shape": asdict(_output_columns(dataset["train"])),
        "files": sorted(files, key=lambda file: file.path),
        "run": {"finished": datetime.now(timezone.utc).isoformat(timespec="seconds")},
    }


def _output_columns(data: Dataset) -> OutputColumns:
    return OutputColumns(reasoning="reasoning" in data.column_names)


def _tables(data: Dataset) -> Iterator[pa.Table]:
    output_columns = _output_columns(data)
    missing = [name for name in output_columns.columns if name not in data.column_names]
    if missing:
        raise BadInput(
            f"the data set has no column {', '.join(missing)}; call "
            "format_dataset_for_training first"
        )
    for table in (
        data.select_columns(list(output_columns.columns)).with_format("arrow").iter(_BATCH_ROWS)
    ):
        yield table.cast(output_columns.schema)
