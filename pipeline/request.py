"""What the user asks for: one immutable value, checked when it is made."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path

from transforms.chat.sandbox import DEFAULT_DATE
from transforms.conversations.roles import role_table
from transforms.errors import AccessDenied, UsageError
from transforms.quality.gates import FEW_VALIDATION_ROWS, Gates
from transforms.storage.s3.uri import S3Options, S3Uri, check_bucket_name, is_s3

DEFAULT_DATASET = "TuringEnterprises/Turing-Open-Reasoning"
DEFAULT_BUCKET = "reasonforge-datasets-dev-071909720457"
DEFAULT_OUTPUT = "data_cache/processed_reasoning"
MIN_SHARD_BYTES = 2**20
MAX_SHARD_BYTES = 2**30

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")  # Python takes other forms, too

CHOICES = {
    "think": ("auto", "keep", "strip", "empty"),
    "control_tokens": ("reject", "escape", "keep"),
    "bos": ("drop", "keep"),
    "same_role": ("reject", "merge"),
    "ends_with_user": ("reject", "trim"),
    "dedup": ("exact", "off", "near"),
    "contaminated": ("report", "drop"),
    "too_long": ("reject", "truncate-response", "raise"),
}
"""What may be said of the rows; the first is the default."""

_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMG]?)(?:i?B)?", re.IGNORECASE)


@dataclass(frozen=True)
class Request:
    """A data set to prepare.

    Attributes:
        dataset: hub name, or a local file, folder or glob.
        output: the folder to make, or ``s3://bucket/prefix``; with a closing slash the set gets a
            name with the time below that address.
        config: the hub data set's configuration; None takes the only or default one.
        split: the source split; None takes ``train``, else the only or first one.
        revision: branch, tag or commit on the hub; None takes ``main``.
        val_size: expected fraction of validation rows, 0 to 1.
        max_samples: the first so many rows in source order; None takes all.
        seed: seed of the split's hash.
        split_key: column whose equal values stay in one split; None takes the instruction.
        fields: ``instruction=a,response=b+c``; None detects the columns.
        system_prompt: for rows without a system turn of their own; None takes the guide's for
            questions and answers and none for conversations; "" gives none.
        template: a built-in chat template, a Jinja file, a tokenizer's folder, or ``hub:NAME``.
        think: what texts hold of reasoning: auto, keep, strip or empty.
        control_tokens: rows whose content holds the template's tokens: reject, escape or keep.
        columns: the set's columns: text, messages, prompt-completion, or two of them.
        bos: keep or drop the template's first token, which trainers add.
        tools: render the tools that rows offer.
        roles: ``NAME=ROLE`` for each name of a role that is not known.
        same_role: two turns of one role in a row: reject or merge.
        ends_with_user: what follows the last answer: reject or trim.
        assistant_first: take conversations that begin with the assistant.
        unpack_json: responses are JSON objects of reasoning and answer.
        template_date: what templates take for today, YYYY-MM-DD.
        shard_size: text bytes of a work unit, which becomes a shard; None takes 64 MiB.
        dedup: rows that stand in the source already: exact or near copies are left out, or off.
        decontaminate: benchmarks (hub names, files) whose prompts are looked for in the rows.
        contaminated: rows that hold a piece of one: report or drop.
        tokenizer: a hub model, a tokenizer's folder or its JSON, to count tokens with.
        max_tokens: the most tokens of a text; None sets no limit.
        too_long: texts with more: reject, truncate-response or raise.
        balance: columns whose values are compared between the splits.
        max_reject_rate: share of rows, 0 to 1, above which rejects fail the job.
        max_duplicates: the same for duplicates; None sets no limit.
        max_leakage: share of the validation rows with a near copy in training; None sets no limit.
        min_validation: rows that validation must have; None warns where there are few.
        max_truncated: share of rows cut to ``max_tokens``; None sets no limit.
        overwrite: replace a set that is at the output already; never on S3.
        resume: go on with what an earlier run of the same plan finished at the output.
        s3_bucket: the guide's bucket for uploads of a local output.
        skip_upload: do not upload.
        s3: how S3 is reached.
        shared_filesystem: a local output is one and the same for workers on other machines.
        detach: leave the job to the cluster as soon as that has it.
        skip_worker_check: do not ask the workers of a cluster whether they fit before the job.
        start_timeout: seconds within which they must have answered.
        stall_timeout: seconds without a further finished unit after which a cluster's job is
            given up.
        beam_args: options for Beam, as on a command line.

    Raises ``UsageError`` for values that can never work.
    """

    dataset: str = DEFAULT_DATASET
    output: str = DEFAULT_OUTPUT
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    val_size: float = 0.1
    max_samples: int | None = None
    seed: int = 42
    split_key: str | None = None
    fields: str | None = None
    system_prompt: str | None = None
    template: str = "chatml"
    think: str = "auto"
    control_tokens: str = "reject"
    columns: str = "text"
    bos: str = "drop"
    tools: bool = False
    roles: tuple[str, ...] = ()
    same_role: str = "reject"
    ends_with_user: str = "reject"
    assistant_first: bool = False
    unpack_json: bool = False
    template_date: str = DEFAULT_DATE
    shard_size: int | None = None
    dedup: str = "exact"
    decontaminate: tuple[str, ...] = ()
    contaminated: str = "report"
    tokenizer: str | None = None
    max_tokens: int | None = None
    too_long: str = "reject"
    balance: tuple[str, ...] = ()
    max_reject_rate: float = 0.05
    max_duplicates: float | None = None
    max_leakage: float | None = None
    min_validation: int | None = None
    max_truncated: float | None = None
    overwrite: bool = False
    resume: bool = False
    s3_bucket: str = DEFAULT_BUCKET
    skip_upload: bool = False
    s3: S3Options = S3Options()
    shared_filesystem: bool = False
    detach: bool = False
    skip_worker_check: bool = False
    start_timeout: float = 300.0
    stall_timeout: float = 1800.0
    beam_args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require_text(self)
        _require_fraction("--val-size", self.val_size)
        for share in ("max_reject_rate", "max_duplicates", "max_leakage", "max_truncated"):
            value = getattr(self, share)
            if value is not None:
                _require_fraction(f"--{share.replace('_', '-')}", value)
        if self.min_validation is not None and self.min_validation < 0:
            raise UsageError(f"--min-validation must not be negative, found {self.min_validation}")
        if self.min_validation and not self.val_size:
            raise UsageError(
                "--val-size 0 makes no validation rows, but --min-validation asks for "
                f"{self.min_validation}; leave one of the two out"
            )
        if self.max_tokens is not None and self.max_tokens < 1:
            raise UsageError(f"--max-tokens must be at least 1, found {self.max_tokens}")
        if self.max_tokens is not None and self.tokenizer is None:
            raise UsageError("--max-tokens counts tokens; name the model's with --tokenizer")
        if self.max_samples is not None and self.max_samples < 1:
            raise UsageError(f"--max-samples must be at least 1, found {self.max_samples}")
        size = self.shard_size
        if size is not None and not MIN_SHARD_BYTES <= size <= MAX_SHARD_BYTES:
            raise UsageError(f"--shard-size must be between 1MiB and 1GiB, found {size:,} bytes")
        _require_positive("--start-timeout", self.start_timeout)
        _require_positive("--stall-timeout", self.stall_timeout)
        if not self.dataset.strip():
            raise UsageError("--dataset is empty; name a hub data set or a local file")
        for flag, choices in CHOICES.items():
            value = getattr(self, flag)
            if value not in choices:
                raise UsageError(
                    f"--{flag.replace('_', '-')} must be one of {', '.join(choices)}, found {value}"
                )
        if not _DAY.fullmatch(self.template_date) or not _is_day(self.template_date):
            raise UsageError(
                f"--template-date must be a day as YYYY-MM-DD, found {self.template_date}"
            )
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
    def gates(self) -> Gates:
        """What the set must be like to be published."""
        return Gates(
            self.max_reject_rate,
            self.max_duplicates,
            self.max_leakage,
            self.min_validation,
            self.max_truncated,
            # Where no validation is asked for, that there is none needs no telling.
            FEW_VALIDATION_ROWS if self.val_size else 0,
        )

    @property
    def uploads(self) -> bool:
        """Is the prepared folder to be sent to ``s3_bucket``?"""
        return not self.skip_upload and not is_s3(self.output)


def check_output(output: str) -> None:
    """``UsageError`` where an output can never be written."""
    if is_s3(output):
        if not S3Uri.parse(output, "--output").prefix:
            raise UsageError(f"--output {output} is a whole bucket; give a prefix in it")
        return
    if "://" in output:
        raise UsageError(f"--output {output} is an address, expected a local folder or s3://…")
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


def parse_size(text: str) -> int:
    """Bytes of a size such as ``64MiB``, ``1G`` or ``500000``; K, M, G are powers of 1,024."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{text!r} is no size; expected for example 64MiB")
    power = " KMG".index(found["unit"].upper() or " ")
    try:
        return int(float(found["number"]) * 1024**power)
    except OverflowError as error:
        raise UsageError(f"the size {text[:20]}… is beyond all bounds") from error


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _require_text(request: Request) -> None:
    # A command line may hold bytes that are no UTF-8; they arrive as lone surrogates.
    for field in fields(request):
        value = getattr(request, field.name)
        if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
            flag = field.name.replace("_", "-")
            raise UsageError(f"--{flag} {value!r} is no valid text; use UTF-8")


def _require_fraction(flag: str, value: float) -> None:
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise UsageError(f"{flag} must be between 0 and 1, found {value}")


def _require_positive(flag: str, seconds: float) -> None:
    if not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"{flag} must be a number of seconds above 0, found {seconds}")
