"""The command line: flags become a ``Request``, errors become a sentence and an exit code.

Nothing heavy is imported before the flags are parsed, so ``--help`` answers at once.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TextIO

from pipeline.cli import process_tuning, signals
from pipeline.cli.console import Console, print_json, shown_message, visible_errors
from pipeline.cli.dataset_flags import ARGUMENTS, dataset_parser
from pipeline.cli.flags import (
    DATASET_COMMANDS,
    PREPARE_COMMANDS,
    Call,
    Printing,
    prepare_parser,
)
from pipeline.request import Request
from transforms.declaration import build
from transforms.errors import DataPrepError, UsageError
from transforms.storage.s3.uri import S3Options, is_s3
from transforms.text.addresses import shown_address, without_credentials

Values = dict[str, object]
"""Values of options by key: those of the command line and of its configuration file."""


_SIGPIPE = 128 + signal.SIGPIPE
"""What a shell reports of a program whose reader, such as ``head``, has left."""


def parse(argv: Sequence[str]) -> tuple[str, Call, Request]:
    """The command, the options of this call, and the request of a command line.

    Args:
        argv: a command line of ``prepare``, ``submit``, ``plan`` or ``preview``.

    Raises:
        UsageError: the command line, or the configuration file that it names, is wrong.
    """
    command, call, values, beam_args = _parse(argv)
    return command, call, _request(command, values, beam_args)


def parse_on_set(argv: Sequence[str]) -> tuple[str, object, Printing, S3Options]:
    """The command, its arguments, what it prints, and how S3 is reached.

    Args:
        argv: a command line of a command on a finished set.

    Raises:
        UsageError: the command line is wrong.
    """
    command, *rest = argv
    parser = dataset_parser(command)
    values, unknown = parser.values(rest)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    arguments: object = build(ARGUMENTS[command], values)
    for name, value in vars(arguments).items():
        _check_place(name, value)
    return command, arguments, build(Printing, values), build(S3Options, values)


def _check_place(name: str, value: object) -> None:
    expected = {"local": "a local folder", "output": "a local file"}.get(name)
    if isinstance(value, str) and "://" in value and (expected or not is_s3(value)):
        raise UsageError(
            f"{shown_address(value)} is an address; expected "
            f"{expected or 'a local folder, or s3://BUCKET/PREFIX'}"
        )


def _parse(argv: Sequence[str]) -> tuple[str, Call, Values, tuple[str, ...]]:
    rest = list(argv)
    command = rest.pop(0) if rest and rest[0] in PREPARE_COMMANDS else "prepare"
    parser = prepare_parser(command)
    values, rest = parser.values(rest)
    call = build(Call, values)
    if call.config_file:
        from pipeline.cli import config_file

        values = {**config_file.load(call.config_file, command, values.keys()), **values}
    if rest:
        from pipeline.cli.beam_flags import check

        check(rest, [*parser.flags, *PREPARE_COMMANDS, *DATASET_COMMANDS])
    return command, call, values, tuple(rest)


def _request(command: str, values: Values, beam_args: tuple[str, ...]) -> Request:
    if command in ("plan", "preview"):  # they need no bucket
        values = {**values, "skip-upload": True}
    return build(Request, values, beam_args=beam_args)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    signals.install()
    try:
        with visible_errors():
            _silence_libraries()
            try:
                return _run(argv)
            except DataPrepError as error:
                return _fail(str(error), error.exit_code, "--json" in argv)
            finally:
                _flush()
    except BrokenPipeError:
        if not _reader_has_left():
            raise
        return _SIGPIPE
    except BaseException:
        number = signals.received()
        if number is None:
            raise
        signals.leave(number)


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()  # the interpreter would do it when nobody can handle the error any more


def _reader_has_left() -> bool:
    """Is stdout a pipe that nobody reads any more?  What waits to be written is dropped then."""
    if sys.stdout is None:
        return False
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    if not output.poll(0):  # it reports errors only
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _run(argv: Sequence[str]) -> int:
    if argv and argv[0] in DATASET_COMMANDS:
        return _run_on_set(argv)
    command, call, values, beam_args = _parse(argv)
    request = _request(command, values, beam_args)
    if call.save_config:
        from pipeline.cli import config_file

        config_file.save(call.save_config, values)
    if command == "plan":
        _plan(call, request)
    elif command == "preview":
        from pipeline.planning.plan import make_plan
        from pipeline.planning.preview import preview

        preview(make_plan(request), call.n, as_json=call.json, rejected=call.rejected)
    else:
        _prepare(call, request)
    return 0


def _plan(call: Call, request: Request) -> None:
    from pipeline.planning.plan import make_plan
    from pipeline.planning.plan_text import explain

    plan = make_plan(request)
    if call.json:
        _print_json({**plan.to_json(), "digest": plan.digest})
    else:
        Console(sys.stdout).say(*explain(plan))


def _prepare(call: Call, request: Request) -> None:
    with process_tuning.long_lived_imports():
        from pipeline.cli.prepare_command import run_prepare, run_submit

    console = Console(_out(call), call.quiet)
    if request.detach:
        submitted = run_submit(request, console)
        if call.json:
            _print_json(asdict(submitted))
        return
    outcome, uploaded = run_prepare(request, console)
    if call.json:
        more = {"s3_uri": uploaded.uri} if uploaded else {}
        own = {"path": outcome.path, "manifest_sha256": outcome.manifest.sha256}
        _print_json({**outcome.manifest.to_json(), **own, **more})


def _run_on_set(argv: Sequence[str]) -> int:
    command, arguments, call, options = parse_on_set(argv)

    from pipeline.cli import dataset_commands

    run: Callable[..., dict[str, object]] = getattr(dataset_commands, command)
    found = run(arguments, options, Console(_out(call), call.quiet))
    if call.json:
        _print_json(found)
    return 0


def _out(call: Printing) -> TextIO:
    # A handle of its own: while the job runs, stderr is set aside.
    return os.fdopen(os.dup(2), "w", encoding="utf-8") if call.json else sys.stdout


def _print_json(value: object) -> None:
    print_json(value, sys.stdout)


def _fail(message: str, code: int, as_json: bool) -> int:
    print(f"error: {shown_message(message)}", file=sys.stderr)
    if as_json:
        _print_json({"error": {"message": without_credentials(message), "exit_code": code}})
    return code


def _silence_libraries() -> None:
    """Keeps the output of the libraries off the console."""
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
