"""The flags of every verb, as argparse parsers; nothing heavy is imported for ``--help``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from pipeline.request import (
    CHOICES,
    DEFAULT_BUCKET,
    DEFAULT_DATASET,
    DEFAULT_OUTPUT,
    parse_size,
)
from transforms.chat.sandbox import DEFAULT_DATE
from transforms.errors import UsageError
from transforms.storage.s3.uri import S3Options

PREPARING = ("prepare", "submit", "plan", "preview")
MOVING = ("status", "upload", "download", "verify", "report", "diff", "list", "prune")

_EPILOG = """\
verbs:
  prepare   (the default) write the data set
  submit    prepare on a cluster; with --detach, leave the job to it and return
  status    tell how far a set is, from what lies at its output
  plan      show source, files, units and fields, and why; write nothing
  preview   show rendered rows, with white space visible; write nothing
  upload    send a prepared folder to S3; goes on where an earlier try broke off
  download  fetch a set from S3, checked; goes on where an earlier try broke off
  verify    check every file of a set, in a folder or on S3
  report    make one HTML page that tells a set's quality, with sample rows
  diff      tell which rows of two sets differ
  list      show the sets below an S3 address
  prune     delete all but the newest sets below an S3 address

exit codes:
  0 ok   2 request   3 input   4 credentials   5 storage, network or cluster
  6 output taken   7 verification   8 quality gate   1 anything else   130, 143 stopped by a signal

Other flags of prepare go to Apache Beam, for example --direct_num_workers=4 or
--direct_running_mode=multi_processing.
"""


def nearest(word: str, known: Sequence[str]) -> str:
    """A hint at the known word that is most like this one; "" where none is."""
    found = get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""


class Parser(argparse.ArgumentParser):
    """Raises ``UsageError`` instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see --help)")


def preparing(verb: str) -> Parser:
    """The parser of ``prepare``, ``submit``, ``plan`` and ``preview``."""
    verbs = "|".join((*PREPARING, *MOVING))
    parser = Parser(
        prog=f"python -m pipeline [{verbs}]" if verb == "prepare" else f"python -m pipeline {verb}",
        usage="%(prog)s [flags]",
        description="Turns an instruction data set into training text: finds the fields, renders "
        "the chat format, splits train and validation, saves as Arrow, shares through S3.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _source(parser)
    _text_and_split(parser)
    quality_flags(parser)
    gate_flags(parser)
    _output(parser)
    _configuration(parser)
    _cluster(parser)
    s3_flags(parser)
    console = console_flags(parser)
    if verb == "submit":
        parser.add_argument(
            "--detach",
            action="store_true",
            help="return as soon as the cluster has the job; `status OUTPUT` tells how far it is",
        )
    if verb == "preview":
        console.add_argument("-n", type=int, default=3, metavar="N", help="rows to show (3)")
        console.add_argument(
            "--rejected", action="store_true", help="show rows that would be rejected, and why"
        )
    return parser


def _source(parser: Parser) -> None:
    source = parser.add_argument_group("source")
    source.add_argument(
        "--dataset",
        default=DEFAULT_DATASET,
        metavar="NAME|PATH",
        help="hub name, or local file, folder or glob: Parquet, JSON Lines, JSON, CSV, TSV, Arrow "
        f"(text ones also .gz or .zst), or a save_to_disk folder (default {DEFAULT_DATASET})",
    )
    source.add_argument("--config", help="configuration of the hub data set")
    source.add_argument("--split", help="source split (default train, else the only or first one)")
    source.add_argument("--revision", help="branch, tag or commit on the hub (default main)")
    source.add_argument(
        "--max-samples", type=int, metavar="N", help="take only the first N rows, in source order"
    )


def _text_and_split(parser: Parser) -> None:
    text = parser.add_argument_group("text")
    text.add_argument(
        "--fields",
        metavar="instruction=A,response=B+C",
        help="the columns to use; + joins columns with a blank line; also reasoning=, system=, "
        "history=; or messages=A,system=B,tools=C for turns (default: detected)",
    )
    text.add_argument(
        "--template",
        default="chatml",
        metavar="NAME|FILE|hub:NAME",
        help="chat format: chatml, qwen3, qwen3-2507, qwen2.5, llama3, mistral, gemma, "
        "deepseek-r1, gpt-oss; a Jinja file, a tokenizer's folder, or hub:MODEL (default chatml)",
    )
    text.add_argument(
        "--system-prompt",
        metavar="TEXT|none",
        help="system turn of texts whose row has none of its own (default: the guide's for "
        "questions and answers, none for conversations)",
    )
    text.add_argument(
        "--think",
        default="auto",
        metavar="|".join(CHOICES["think"]),
        help="what texts hold of reasoning: as the model's own template does (auto), all of it, "
        "none, or an empty block in each answer",
    )
    text.add_argument(
        "--control-tokens",
        default="reject",
        metavar="|".join(CHOICES["control_tokens"]),
        help="rows whose content holds a token of the template, such as <|im_end|> (reject)",
    )
    text.add_argument(
        "--columns",
        default="text",
        metavar="LIST",
        help="text, messages or prompt-completion; or text and one of the others, with a comma "
        "(text)",
    )
    text.add_argument("--tools", action="store_true", help="render the tools that rows offer")
    text.add_argument(
        "--bos",
        default="drop",
        metavar="drop|keep",
        help="the token that texts of some models begin with; trainers add it themselves (drop)",
    )
    text.add_argument(
        "--template-date",
        default=DEFAULT_DATE,
        metavar="DAY",
        help=f"what templates take for today, as bytes must not depend on it ({DEFAULT_DATE})",
    )
    chat = parser.add_argument_group("conversations")
    chat.add_argument(
        "--role",
        action=Repeated,
        default=[],
        metavar="NAME=ROLE",
        help="a further name of system, user, assistant, tool or function_call; may be repeated",
    )
    chat.add_argument(
        "--same-role",
        default="reject",
        metavar="reject|merge",
        help="two turns of one role in a row (reject)",
    )
    chat.add_argument(
        "--ends-with-user",
        default="reject",
        metavar="reject|trim",
        help="conversations whose last turn is not the assistant's (reject)",
    )
    chat.add_argument(
        "--assistant-first", action="store_true", help="take conversations that it begins"
    )
    chat.add_argument(
        "--unpack-json",
        action="store_true",
        help="responses are JSON objects of reasoning and answer, such as "
        '{"process": …, "final_answer": …}',
    )
    split = parser.add_argument_group("split")
    split.add_argument(
        "--val-size", type=float, default=0.1, metavar="F", help="validation share, 0 to 1 (0.1)"
    )
    split.add_argument("--seed", type=int, default=42, help="seed of the split (42)")
    split.add_argument(
        "--split-key",
        metavar="COLUMN",
        help="rows with equal values stay in one split (default: the instruction)",
    )


def _output(parser: Parser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument(
        "--output",
        metavar="DIR|S3-URI",
        help=f"folder (default {DEFAULT_OUTPUT}), or s3://BUCKET/PREFIX, which workers write "
        "themselves; with a closing slash the set gets a dated name below that address",
    )
    output.add_argument(
        "--resume",
        metavar="DIR|S3-URI",
        help="as --output, going on with what an earlier run with the same flags finished there",
    )
    output.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the data set in the output folder, once the new one is complete",
    )
    output.add_argument(
        "--shard-size",
        type=_size,
        metavar="SIZE",
        help="text in a work unit, which becomes one shard a split (64MiB)",
    )
    output.add_argument(
        "--s3-bucket",
        default=DEFAULT_BUCKET,
        metavar="NAME",
        help="where a prepared folder is sent, below datasets/ (default the guide's)",
    )
    output.add_argument("--skip-upload", action="store_true", help="prepare the local folder only")


def _cluster(parser: Parser) -> None:
    cluster = parser.add_argument_group(
        "cluster", "which one: --runner=FlinkRunner --flink_master=HOST:8081, and see the README"
    )
    cluster.add_argument(
        "--shared-filesystem",
        action="store_true",
        help="a local output is on a file system that workers on other machines share",
    )
    cluster.add_argument(
        "--start-timeout",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="how long workers may take to start and answer a first small task (300)",
    )
    cluster.add_argument(
        "--stall-timeout",
        type=float,
        default=1800.0,
        metavar="SECONDS",
        help="give a job up that finishes no further unit for so long (1800)",
    )
    cluster.add_argument(
        "--skip-worker-check",
        action="store_true",
        help="do not ask the workers first whether they fit the job",
    )


def s3_flags(parser: Parser) -> None:
    """Adds how S3 is reached."""
    s3 = parser.add_argument_group("S3", "credentials come from the AWS environment only")
    s3.add_argument("--endpoint-url", metavar="URL", help="another store that speaks S3")
    s3.add_argument("--region", help="the bucket's region (default: the AWS environment's)")
    s3.add_argument("--profile", help="a profile of the AWS configuration files")
    s3.add_argument(
        "--expected-bucket-owner",
        metavar="ACCOUNT",
        help="refuse a bucket that is not this account's",
    )
    s3.add_argument("--sse", metavar="KIND", help="encryption at rest: AES256 or aws:kms")
    s3.add_argument("--sse-kms-key-id", metavar="KEY", help="the key for --sse aws:kms")
    s3.add_argument(
        "--request-checksum-calculation",
        default="when_supported",
        metavar="WHEN",
        help="when_required for stores that know no checksums (when_supported)",
    )


def s3_options(flags: argparse.Namespace) -> S3Options:
    """What the S3 flags say."""
    return S3Options(
        endpoint_url=flags.endpoint_url,
        region=flags.region,
        profile=flags.profile,
        expected_owner=flags.expected_bucket_owner,
        sse=flags.sse,
        sse_key=flags.sse_kms_key_id,
        checksums=flags.request_checksum_calculation,
    )


def _configuration(parser: Parser) -> None:
    files = parser.add_argument_group("configuration")
    files.add_argument(
        "--config-file",
        metavar="FILE",
        help="flags from a TOML file (val-size = 0.2), or from the manifest.json of a prepared "
        "set; the command line goes before it",
    )
    files.add_argument(
        "--save-config", metavar="FILE", help="write the flags of this run as such a file"
    )


def console_flags(parser: Parser) -> argparse._ArgumentGroup:
    """Adds what is printed."""
    console = parser.add_argument_group("console")
    console.add_argument(
        "--json", action="store_true", help="one JSON object on stdout, the story on stderr"
    )
    console.add_argument("--quiet", action="store_true", help="print errors only")
    return console


def _size(text: str) -> int:
    return parse_size(text)


def quality_flags(parser: argparse.ArgumentParser) -> None:
    """Adds what is looked for in the rows, and which of them it costs."""
    quality = parser.add_argument_group("quality")
    quality.add_argument(
        "--dedup",
        default="exact",
        metavar="off|exact|near",
        help="leave out rows that stand in the source already, exactly or nearly; the first stays "
        "(exact)",
    )
    quality.add_argument(
        "--decontaminate",
        action=Repeated,
        default=[],
        metavar="NAME|PATH",
        help="look in the rows for 13 words in a row of this benchmark's prompts, or a whole short "
        "prompt; as --dataset, with ,config=C ,split=S ,revision=R behind it (the split test, else "
        "validation, else as for --dataset); may be repeated",
    )
    quality.add_argument(
        "--contaminated",
        default="report",
        metavar="report|drop",
        help="rows that hold them are counted, or left out (report)",
    )
    quality.add_argument(
        "--tokenizer",
        metavar="NAME|PATH",
        help="count tokens with this model's: a hub name, a tokenizer's folder or tokenizer.json",
    )
    quality.add_argument(
        "--max-tokens", type=int, metavar="N", help="the most tokens of a text (no limit)"
    )
    quality.add_argument(
        "--too-long",
        default="reject",
        metavar="|".join(CHOICES["too_long"]),
        help="texts with more: left out, their last response cut, or the run fails (reject)",
    )
    quality.add_argument(
        "--balance",
        action=Repeated,
        default=[],
        metavar="COLUMN",
        help="compare this column's values between train and validation; may be repeated",
    )


def gate_flags(parser: argparse.ArgumentParser) -> None:
    """Adds what a set must be like to be published."""
    gates = parser.add_argument_group(
        "gates", "what a set must be like to be published; else the run fails with exit code 8"
    )
    for name, what, default in (
        ("--max-reject-rate", "rows that are rejected", 0.05),
        ("--max-duplicates", "rows that are duplicates", None),
        ("--max-leakage", "validation rows with a near copy in training", None),
        ("--max-truncated", "rows that are cut to --max-tokens", None),
    ):
        gates.add_argument(
            name,
            type=float,
            default=default,
            metavar="F",
            help=f"the largest share of {what}, 0 to 1 ({default or 'no limit'})",
        )
    gates.add_argument(
        "--min-validation",
        type=int,
        metavar="N",
        help="the fewest validation rows (a warning below 100)",
    )


class Repeated(argparse.Action):
    """Collects the values of a flag; they stand in for the default, such as a file's list.

    argparse's own ``append`` would add them to it.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        value: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*(before if before is not self.default else ()), value])
