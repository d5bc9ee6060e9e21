"""The command line: flags become a ``Request``, errors become a sentence and an exit code.

Nothing heavy is imported before the flags are understood, so ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from pipeline import signals
from pipeline.request import DEFAULT_BUCKET, DEFAULT_DATASET, DEFAULT_OUTPUT, Request, parse_size
from transforms.errors import DataPrepError, UploadUnavailable, UsageError

VERBS = ("prepare", "plan", "preview")
_EPILOG = """\
verbs:
  prepare   (the default) write the data set
  plan      show source, files, units and fields, and why; write nothing
  preview   show rendered rows, with white space visible; write nothing

exit codes:
  0 ok   2 request   3 input   4 credentials   5 storage or network   6 output taken
  7 verification   9 prepared, but upload is not available   1 anything else

Other flags go to Apache Beam, for example --direct_num_workers=4 or
--direct_running_mode=multi_processing.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see --help)")


def _size(text: str) -> int:
    return parse_size(text)


def _parser(verb: str) -> _Parser:
    parser = _Parser(
        prog=f"python -m pipeline [{'|'.join(VERBS)}]" if verb == "prepare" else f"pipeline {verb}",
        description="Turns an instruction data set into training text: finds the fields, renders "
        "the chat format, splits train and validation, saves as Arrow.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
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
    text = parser.add_argument_group("text")
    text.add_argument(
        "--fields",
        metavar="instruction=A,response=B+C",
        help="the columns to use; + joins columns with a blank line (default: detected)",
    )
    text.add_argument(
        "--system-prompt",
        metavar="TEXT",
        help='system turn of every text; "" leaves the turn out (default: the guide\'s)',
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
    output = parser.add_argument_group("output")
    output.add_argument(
        "--output", default=DEFAULT_OUTPUT, metavar="DIR", help=f"(default {DEFAULT_OUTPUT})"
    )
    output.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the data set at the output, once the new one is complete",
    )
    output.add_argument(
        "--shard-size",
        type=_size,
        metavar="SIZE",
        help="text in a work unit, which becomes one shard a split (64MiB)",
    )
    output.add_argument(
        "--max-reject-rate",
        type=float,
        default=0.05,
        metavar="F",
        help="fail when a larger share of the rows is rejected, 0 to 1 (0.05)",
    )
    output.add_argument("--s3-bucket", default=DEFAULT_BUCKET, metavar="NAME", help="upload target")
    output.add_argument("--skip-upload", action="store_true", help="prepare the local folder only")
    console = parser.add_argument_group("console")
    console.add_argument(
        "--json", action="store_true", help="one JSON object on stdout, the story on stderr"
    )
    console.add_argument("--quiet", action="store_true", help="print errors only")
    if verb == "preview":
        console.add_argument("-n", type=int, default=3, metavar="N", help="rows to show (3)")
    return parser


def parse(argv: Sequence[str]) -> tuple[str, argparse.Namespace, Request]:
    """(verb, console flags, request) of a command line; ``UsageError`` where it is wrong."""
    words = list(argv)
    verb = words.pop(0) if words and words[0] in VERBS else "prepare"
    parser = _parser(verb)
    flags, rest = parser.parse_known_args(words)
    if rest:
        from pipeline.beam_flags import check

        own = [option for action in parser._actions for option in action.option_strings]
        check(rest, [*own, *VERBS])
    request = Request(
        dataset=flags.dataset,
        output=flags.output,
        config=flags.config,
        split=flags.split,
        revision=flags.revision,
        val_size=flags.val_size,
        max_samples=flags.max_samples,
        seed=flags.seed,
        split_key=flags.split_key,
        fields=flags.fields,
        system_prompt=flags.system_prompt,
        shard_size=flags.shard_size,
        max_reject_rate=flags.max_reject_rate,
        overwrite=flags.overwrite,
        s3_bucket=flags.s3_bucket,
        skip_upload=flags.skip_upload or verb != "prepare",
        beam_args=tuple(rest),
    )
    return verb, flags, request


def nearest(word: str, known: Sequence[str]) -> str:
    """A hint at the known word that is most like this one; "" where none is."""
    found = get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line; returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    _calm()
    signals.install()
    try:
        verb, flags, request = parse(words)
        return _run(verb, flags, request)
    except DataPrepError as error:
        return _fail(str(error), error.exit_code, "--json" in words)
    except BaseException:
        number = signals.received()
        if number is None:
            raise
        signals.leave(number)


def _run(verb: str, flags: argparse.Namespace, request: Request) -> int:
    if verb == "plan":
        from pipeline.explain import explain
        from pipeline.plan import make_plan

        plan = make_plan(request)
        if flags.json:
            _print_json({**plan.to_json(), "digest": plan.digest})
        else:
            print(explain(plan))
        return 0
    if verb == "preview":
        from pipeline.plan import make_plan
        from pipeline.preview import preview

        if flags.n < 1:
            raise UsageError(f"-n must be at least 1, found {flags.n}")
        preview(make_plan(request), flags.n, as_json=flags.json)
        return 0

    from pipeline.console import Console
    from pipeline.story import prepare_with_story

    # A handle of its own: while the job runs, stderr is set aside.
    out = os.fdopen(os.dup(2), "w", encoding="utf-8") if flags.json else sys.stdout
    outcome = prepare_with_story(request, Console(out, flags.quiet))
    if flags.json:
        _print_json({**outcome.manifest, "path": outcome.path})
    if not request.skip_upload:
        raise UploadUnavailable(
            f"the data set is prepared at {outcome.path}, but this version cannot upload it to "
            f"s3://{request.s3_bucket}; copy the folder with your own tools, or add --skip-upload "
            "to prepare locally without this message"
        )
    return 0


def _print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2, sort_keys=True, ensure_ascii=False)
    sys.stdout.write("\n")


def _fail(message: str, code: int, as_json: bool) -> int:
    if as_json and code != UploadUnavailable.exit_code:
        _print_json({"error": {"message": message, "exit_code": code}})
    print(f"error: {message}", file=sys.stderr)
    return code


def _calm() -> None:
    """Keeps the libraries' own chatter off the console."""
    # Beam and datasets log at import and from worker threads; what matters reaches the user as an
    # error of ours.
    logging.basicConfig(level=logging.CRITICAL)
    logging.getLogger().setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("DATASETS_VERBOSITY", "critical")
    os.environ.setdefault("HF_HUB_VERBOSITY", "critical")


if __name__ == "__main__":
    sys.exit(main())
