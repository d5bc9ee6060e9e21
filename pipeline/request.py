"""The request: one immutable value, checked when it is made, and the declaration of every option.

A new option is a new field here.  Its flag, its help, the key in a configuration file, the check of
its value, its row in ``docs/options.md`` and, if it decides the bytes, its place in a manifest's
``config`` follow from the field: see ``transforms/declaration.py``.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from transforms.chat.sandbox import DEFAULT_DATE
from transforms.conversations.roles import role_table
from transforms.declaration import Group, at_least, between, check_options, parse_size
from transforms.errors import AccessDenied, UsageError
from transforms.formats.encodings import known_encoding
from transforms.options import TextFlags
from transforms.quality.gates import FEW_VALIDATION_ROWS, Gates
from transforms.storage.s3.uri import S3Options, S3Uri, check_bucket_name, is_s3
from transforms.text.addresses import shown_address

DEFAULT_DATASET = "TuringEnterprises/Turing-Open-Reasoning"
DEFAULT_BUCKET = "reasonforge-datasets-dev-071909720457"
DEFAULT_OUTPUT = "data_cache/processed_reasoning"
MIN_SHARD_BYTES = 2**20
MAX_SHARD_BYTES = 2**30

SOURCE = Group("source", decides_bytes=True)
TEXT = Group("text", decides_bytes=True)
CONVERSATIONS = Group("conversations", decides_bytes=True)
SPLIT = Group("split", decides_bytes=True)
QUALITY = Group("quality", decides_bytes=True)
GATES = Group("gates", "limits that a set must meet to be published (exit code 8)", gate=True)
OUTPUT = Group("output")
CLUSTER = Group(
    "cluster",
    "choose one with --runner, for example --runner=FlinkRunner --flink_master=HOST:8081; see "
    "docs/clusters.md",
)

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")  # Python takes other forms, too


def _named(value: str | tuple[str, ...]) -> str:
    names = [value] if isinstance(value, str) else value
    return "" if all(name.strip() for name in names) else "must name a hub data set or a local file"


def _delimiter(value: str) -> str:
    return "\t" if value in ("tab", "\\t") else value


def _one_character(value: str) -> str:
    right = len(value) == 1 and value.isascii() and value not in '"\\\r\n\0'
    return "" if right else "must be one ASCII character, or tab; no quote, backslash or line end"


def _encoding(value: str) -> str:
    return known_encoding(value) or value


def _known(value: str) -> str:
    return "" if known_encoding(value) else "must name an encoding, such as utf-8, utf-16 or cp1252"


def _shard_size(value: int) -> str:
    right = MIN_SHARD_BYTES <= value <= MAX_SHARD_BYTES
    return "" if right else "must be between 1MiB and 1GiB"


def _day(value: str) -> str:
    try:
        date.fromisoformat(value)
    except ValueError:
        right = False
    else:
        right = _DAY.fullmatch(value) is not None
    return "" if right else "must be a day as YYYY-MM-DD"


def _seconds(value: float) -> str:
    return "" if 0 < value < math.inf else "must be a number of seconds above 0"


@dataclass(frozen=True)
class Request:
    """A data set to prepare; ``docs/options.md`` describes every field.

    Attributes:
        s3: how S3 is reached.
        beam_args: options for Beam, as on a command line.

    Raises:
        UsageError: a value can never work.
    """

    dataset: str | tuple[str, ...] = SOURCE.option(
        DEFAULT_DATASET,
        "hub name, or local file, folder or glob: Parquet, JSON Lines, JSON, CSV, TSV (text "
        "formats also as .gz, .zst or .bz2), Arrow, or a save_to_disk folder; several local ones "
        "are one source",
        metavar="NAME|PATH",
        check=_named,
    )
    output: str = OUTPUT.option(
        DEFAULT_OUTPUT,
        "local folder, or s3://BUCKET/PREFIX to which the workers write; a closing slash adds a"
        " name with the time",
        metavar="DIR|S3-URI",
    )
    config: str | None = SOURCE.option(
        None,
        "configuration of the hub data set",
        metavar="NAME",
        default_text="its default or only one",
    )
    split: str | None = SOURCE.option(
        None,
        "split of the source",
        metavar="NAME",
        default_text="train, else the only or first one",
    )
    revision: str | None = SOURCE.option(
        None, "branch, tag or commit on the hub", metavar="REF", default_text="main"
    )
    delimiter: str | None = SOURCE.option(
        None,
        "what separates the cells of CSV files: one character, or tab",
        metavar="CHAR",
        default_text="found in the first rows",
        parse=_delimiter,
        check=_one_character,
    )
    encoding: str | None = SOURCE.option(
        None,
        "encoding of CSV files, such as cp1252 or utf-16",
        metavar="NAME",
        default_text="found in the first bytes: UTF-8, UTF-16 or cp1252",
        parse=_encoding,
        check=_known,
    )
    quotes: str | None = SOURCE.option(
        None,
        'quotes inside of the quoted cells of CSV files: doubled is "", backslash is \\" (and '
        "\\\\ for a backslash); none takes all quotes as text",
        choices=("doubled", "backslash", "none"),
        default_text="found in the first rows",
    )
    val_size: float = SPLIT.option(
        0.1, "expected share of validation rows, 0 to 1", metavar="F", check=between(0, 1)
    )
    max_samples: int | None = SOURCE.option(
        None,
        "read only the first N rows, in source order",
        metavar="N",
        default_text="all rows",
        check=at_least(1),
    )
    seed: int = SPLIT.option(42, "seed of the split", metavar="N")
    split_key: str | None = SPLIT.option(
        None,
        "column to split by: rows with equal values stay together",
        metavar="COLUMN",
        default_text="the instruction",
    )
    fields: str | None = TEXT.option(
        None,
        "columns to use: instruction=A,response=B+C (+ joins columns with a blank line; also "
        "reasoning=, system=, history=), or messages=A,system=B,tools=C",
        metavar="instruction=A,response=B+C",
        default_text="detected",
    )
    system_prompt: str | None = TEXT.option(
        None,
        "system prompt for rows that have none; none sets no prompt",
        metavar="TEXT|none",
        default_text='"You are a helpful assistant…" for questions and answers, else none',
        empty="none",
    )
    template: str = TEXT.option(
        "chatml",
        "chat template: chatml, qwen3, qwen3-2507, qwen2.5, llama3, mistral, gemma, "
        "deepseek-r1, gpt-oss, a Jinja file, a tokenizer folder, or hub:MODEL",
        metavar="NAME|FILE|hub:MODEL",
    )
    think: str = TEXT.option(
        "auto",
        "reasoning in the text: auto follows the model's template, keep includes all, strip "
        "includes none, empty writes an empty block in each answer",
        choices=("auto", "keep", "strip", "empty"),
    )
    control_tokens: str = TEXT.option(
        "reject",
        "for rows that contain a token of the template, such as <|im_end|>: reject the row, "
        "escape the token, or keep it",
        choices=("reject", "escape", "keep"),
    )
    columns: str = TEXT.option(
        "text",
        "columns of the set: text, messages or prompt-completion; text can be combined with one"
        " of the others, as text,messages",
        metavar="text|messages|prompt-completion",
    )
    bos: str = TEXT.option(
        "drop",
        "keep or drop the BOS token at the start of the text; most trainers add it",
        choices=("drop", "keep"),
    )
    tools: bool = TEXT.option(False, "render the tools that a row offers")
    roles: tuple[str, ...] = CONVERSATIONS.option(
        (),
        "map another role name to system, user, assistant, tool or function_call; can be repeated",
        flag="--role",
        metavar="NAME=ROLE",
    )
    same_role: str = CONVERSATIONS.option(
        "reject",
        "for two neighbouring turns of one role: reject the row, or merge the turns",
        choices=("reject", "merge"),
    )
    ends_with_user: str = CONVERSATIONS.option(
        "reject",
        "for conversations that do not end with the assistant: reject the row, or trim the "
        "turns after its last one",
        choices=("reject", "trim"),
    )
    assistant_first: bool = CONVERSATIONS.option(
        False, "accept conversations that the assistant begins"
    )
    list_answers: str | None = CONVERSATIONS.option(
        None,
        "for lists of several answers to one prompt: take the first, or reject the row",
        choices=("first", "reject"),
        default_text="refused if the first rows have any, else reject",
    )
    unpack_json: bool = CONVERSATIONS.option(
        False,
        'read responses as JSON objects with reasoning and an answer, such as {"process": …, '
        '"final_answer": …}',
    )
    ignore_training_marks: bool = CONVERSATIONS.option(
        False,
        "train also on rows and turns that the source marks as not to train, by label, weight, "
        "train or loss_mask",
    )
    template_date: str = TEXT.option(
        DEFAULT_DATE,
        "date that templates use as today, so that the bytes do not depend on the day",
        metavar="DAY",
        check=_day,
    )
    shard_size: int | None = OUTPUT.option(
        None,
        "text per work unit; each work unit becomes one shard per split",
        metavar="SIZE",
        default_text="64MiB",
        parse=parse_size,
        check=_shard_size,
        decides_bytes=True,
    )
    dedup: str = QUALITY.option(
        "exact",
        "remove duplicates of earlier rows: exact, near (which includes exact), or off",
        choices=("exact", "off", "near"),
    )
    decontaminate: tuple[str, ...] = QUALITY.option(
        (),
        "benchmark to search for: a row is contaminated if it contains 13 consecutive words of "
        "one of its prompts, or a whole prompt of 8 to 12 words; takes what --dataset takes, "
        "with ,config=C ,split=S ,revision=R appended; can be repeated",
        metavar="NAME|PATH",
        default_text="none; split test, else validation",
    )
    contaminated: str = QUALITY.option(
        "report", "report contaminated rows, or drop them", choices=("report", "drop")
    )
    tokenizer: str | None = QUALITY.option(
        None,
        "tokenizer to count tokens with: a hub model, a tokenizer folder, or its tokenizer.json",
        metavar="NAME|PATH",
    )
    max_tokens: int | None = QUALITY.option(
        None,
        "maximum number of tokens in a text; needs --tokenizer",
        metavar="N",
        default_text="no limit",
        check=at_least(1),
    )
    too_long: str = QUALITY.option(
        "reject",
        "for texts above --max-tokens: reject the row, truncate its last response, or raise an "
        "error",
        choices=("reject", "truncate-response", "raise"),
    )
    balance: tuple[str, ...] = QUALITY.option(
        (),
        "compare the values of this column between train and validation; can be repeated",
        metavar="COLUMN",
    )
    max_reject_rate: float = GATES.option(
        0.05, "maximum share of rejected rows, 0 to 1", metavar="F", check=between(0, 1)
    )
    max_duplicates: float | None = GATES.option(
        None,
        "maximum share of duplicate rows, 0 to 1",
        metavar="F",
        default_text="no limit",
        check=between(0, 1),
    )
    max_leakage: float | None = GATES.option(
        None,
        "maximum share of validation rows with a near duplicate in train, 0 to 1",
        metavar="F",
        default_text="no limit",
        check=between(0, 1),
    )
    min_validation: int | None = GATES.option(
        None,
        "minimum number of validation rows",
        metavar="N",
        default_text="none, with a warning below 100",
        check=at_least(0),
    )
    max_truncated: float | None = GATES.option(
        None,
        "maximum share of rows truncated to --max-tokens, 0 to 1",
        metavar="F",
        default_text="no limit",
        check=between(0, 1),
    )
    overwrite: bool = OUTPUT.option(
        False, "replace the local set at the output when the new one is complete", saved=False
    )
    resume: bool = OUTPUT.option(
        False,
        "continue an earlier run with the same flags at this output",
        metavar="DIR|S3-URI",
        takes="output",
        saved=False,
    )
    s3_bucket: str = OUTPUT.option(
        DEFAULT_BUCKET, "bucket to which a local set is uploaded, below datasets/", metavar="NAME"
    )
    skip_upload: bool = OUTPUT.option(False, "do not upload the local set")
    s3: S3Options = S3Options()
    shared_filesystem: bool = CLUSTER.option(
        False, "the local output is on a file system that all workers share"
    )
    detach: bool = CLUSTER.option(
        False,
        "return as soon as the cluster has the job; status OUTPUT shows its progress",
        commands=("submit",),
    )
    skip_worker_check: bool = CLUSTER.option(False, "do not check the workers before the job")
    start_timeout: float = CLUSTER.option(
        300.0,
        "seconds within which a worker must start and answer",
        metavar="SECONDS",
        default_text="300",
        check=_seconds,
    )
    stall_timeout: float = CLUSTER.option(
        1800.0,
        "cancel a job that finishes no work unit for this many seconds",
        metavar="SECONDS",
        default_text="1800",
        check=_seconds,
    )
    beam_args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_options(self)
        if self.min_validation and not self.val_size:
            raise UsageError(
                "--val-size 0 makes no validation rows, but --min-validation requires "
                f"{self.min_validation}; leave one of the two out"
            )
        if self.max_tokens is not None and self.tokenizer is None:
            raise UsageError("--max-tokens counts tokens; name the model's tokenizer: --tokenizer")
        role_table(self.roles)
        check_output(self.output)
        if self.uploads:
            check_bucket_name(self.s3_bucket, "--s3-bucket", self.s3_bucket)
        if self.resume and is_s3(self.output) and self.output.endswith("/"):
            raise UsageError(
                f"--resume {self.output} makes a new name below that address; give the address of "
                "the set that was begun, without a closing slash"
            )
        if self.overwrite and is_s3(self.output):
            raise UsageError(
                "--overwrite does not apply to S3: a set there may be in use and is never "
                "replaced; give another --output (with a closing slash a new name is made)"
            )

    @property
    def dataset_name(self) -> str:
        """The data set as a command line names it."""
        return self.dataset if isinstance(self.dataset, str) else shlex.join(self.dataset)

    @property
    def gates(self) -> Gates:
        """The limits that the set must meet to be published."""
        return Gates(
            self.max_reject_rate,
            self.max_duplicates,
            self.max_leakage,
            self.min_validation,
            self.max_truncated,
            # Nobody who switches validation off needs a warning that there is none.
            FEW_VALIDATION_ROWS if self.val_size else 0,
            may_lack_training=self.val_size == 1,
        )

    @property
    def text_flags(self) -> TextFlags:
        """What the flags say about the text files of the source."""
        return TextFlags(self.delimiter, self.encoding, self.quotes, self.split)

    @property
    def uploads(self) -> bool:
        """Is the prepared folder uploaded to ``s3_bucket``?"""
        return not self.skip_upload and not is_s3(self.output)


def check_output(output: str) -> None:
    """``UsageError`` where an output can never be written."""
    if is_s3(output):
        if not S3Uri.parse(output, "--output").prefix:
            raise UsageError(
                f"--output {shown_address(output)} is a whole bucket; give a prefix in it"
            )
        return
    if "://" in output:
        raise UsageError(
            f"--output {shown_address(output)} is an address, expected a local folder or s3://…"
        )
    if not output.strip() or "\0" in output:
        raise UsageError("--output is empty or holds a NUL character; give a folder")
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 (the other raises where there is none)
    try:
        if Path(output).resolve() in (Path("/"), home, Path.cwd()):
            raise UsageError(
                f"--output {output} is the root, home or current folder; give a new one"
            )
        for place in (Path(output), *Path(output).parents):
            if place.exists() and not place.is_dir():
                raise UsageError(f"--output {output}: {place} is a file; give a folder")
    except PermissionError as error:
        raise AccessDenied(f"no permission to look at --output {output}") from error
    except (OSError, RuntimeError) as error:  # a name that is too long, links in a circle
        raise UsageError(f"--output {output} cannot be made: {error}; give another one") from error
