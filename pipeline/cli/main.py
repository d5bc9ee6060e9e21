"""The command line: flags become a ``Request``, errors become a sentence and an exit code.

Nothing heavy is imported before the flags are understood, so ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TextIO

from pipeline.cli import process_tuning, signals
from pipeline.cli.dataset_flags import moving
from pipeline.cli.flags import MOVING, PREPARING, preparing, s3_options
from pipeline.request import DEFAULT_OUTPUT, Request
from transforms.errors import DataPrepError, UsageError


def parse(argv: Sequence[str]) -> tuple[str, argparse.Namespace, Request]:
    """(verb, console flags, request) of a command line of a verb that prepares.

    Raises ``UsageError`` where it is wrong.
    """
    words = list(argv)
    verb = words.pop(0) if words and words[0] in PREPARING else "prepare"
    parser = preparing(verb)
    flags, rest = parser.parse_known_args(words)
    if flags.config_file:
        from pipeline.cli import config_file

        config_file.set_defaults(parser, config_file.load(flags.config_file), flags.config_file)
        flags, rest = parser.parse_known_args(words)
    if rest:
        from pipeline.cli.beam_flags import check

        own = [option for action in parser._actions for option in action.option_strings]
        check(rest, [*own, *PREPARING, *MOVING])
    if flags.output and flags.resume and flags.output != flags.resume:
        raise UsageError(
            f"--resume {flags.resume} and --output {flags.output} name two places; give --resume"
        )
    request = Request(
        dataset=flags.dataset,
        output=flags.resume or flags.output or DEFAULT_OUTPUT,
        config=flags.config,
        split=flags.split,
        revision=flags.revision,
        val_size=flags.val_size,
        max_samples=flags.max_samples,
        seed=flags.seed,
        split_key=flags.split_key,
        fields=flags.fields,
        system_prompt="" if flags.system_prompt == "none" else flags.system_prompt,
        template=flags.template,
        think=flags.think,
        control_tokens=flags.control_tokens,
        columns=flags.columns,
        bos=flags.bos,
        tools=flags.tools,
        roles=tuple(flags.role),
        same_role=flags.same_role,
        ends_with_user=flags.ends_with_user,
        assistant_first=flags.assistant_first,
        unpack_json=flags.unpack_json,
        template_date=flags.template_date,
        shard_size=flags.shard_size,
        dedup=flags.dedup,
        decontaminate=tuple(flags.decontaminate),
        contaminated=flags.contaminated,
        tokenizer=flags.tokenizer,
        max_tokens=flags.max_tokens,
        too_long=flags.too_long,
        balance=tuple(flags.balance),
        max_reject_rate=flags.max_reject_rate,
        max_duplicates=flags.max_duplicates,
        max_leakage=flags.max_leakage,
        min_validation=flags.min_validation,
        max_truncated=flags.max_truncated,
        overwrite=flags.overwrite,
        resume=bool(flags.resume),
        s3_bucket=flags.s3_bucket,
        skip_upload=flags.skip_upload or verb in ("plan", "preview"),
        s3=s3_options(flags),
        shared_filesystem=flags.shared_filesystem,
        detach=getattr(flags, "detach", False),
        skip_worker_check=flags.skip_worker_check,
        start_timeout=flags.start_timeout,
        stall_timeout=flags.stall_timeout,
        beam_args=tuple(rest),
    )
    return verb, flags, request


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line; returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    _calm()
    signals.install()
    try:
        if words and words[0] in MOVING:
            return _move(words[0], moving(words[0]).parse_args(words[1:]))
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
    if flags.save_config:
        from pipeline.cli import config_file

        config_file.save(flags.save_config, preparing(verb), flags)
    if verb == "plan":
        from pipeline.planning.plan import make_plan
        from pipeline.planning.plan_text import explain

        plan = make_plan(request)
        if flags.json:
            _print_json({**plan.to_json(), "digest": plan.digest})
        else:
            print(explain(plan))
        return 0
    if verb == "preview":
        from pipeline.planning.plan import make_plan
        from pipeline.planning.preview import preview

        if flags.n < 1:
            raise UsageError(f"-n must be at least 1, found {flags.n}")
        preview(make_plan(request), flags.n, as_json=flags.json, rejected=flags.rejected)
        return 0

    _import_the_job()
    from pipeline.cli.console import Console
    from pipeline.cli.prepare_command import run_prepare, run_submit

    if request.detach:
        submitted = run_submit(request, Console(_out(flags), flags.quiet))
        if flags.json:
            _print_json(asdict(submitted))
        return 0
    outcome, uploaded = run_prepare(request, Console(_out(flags), flags.quiet))
    if flags.json:
        more = {"s3_uri": uploaded.uri} if uploaded else {}
        _print_json({**outcome.manifest, "path": outcome.path, **more})
    return 0


def _import_the_job() -> None:
    """Imports what a run needs, and keeps the garbage collector from looking through it.

    Beam and its like leave half a million objects that stay; collections during the imports, and
    full ones during the run, would take a second of ten.
    """
    if "pipeline.cli.prepare_command" in sys.modules:
        return  # another program's process, which has objects of its own
    process_tuning.tune_allocators()
    gc.disable()
    try:
        import pipeline.cli.prepare_command  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()


def _move(verb: str, flags: argparse.Namespace) -> int:
    from pipeline.cli import dataset_commands
    from pipeline.cli.console import Console

    act: Callable[..., dict[str, Any]] = getattr(dataset_commands, verb)
    found = act(flags, s3_options(flags), Console(_out(flags), flags.quiet))
    if flags.json:
        _print_json(found)
    return 0


def _out(flags: argparse.Namespace) -> TextIO:
    # A handle of its own: while the job runs, stderr is set aside.
    return os.fdopen(os.dup(2), "w", encoding="utf-8") if flags.json else sys.stdout


def _print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2, sort_keys=True, ensure_ascii=False)
    sys.stdout.write("\n")


def _fail(message: str, code: int, as_json: bool) -> int:
    if as_json:
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
