"""The commands that work on a finished set: what each does (its docstring), and its arguments."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.cli.flags import Parser, Printing
from transforms.declaration import REQUIRED, Option, check_options, option, options_of
from transforms.storage.s3.uri import S3Options

_SET = "a local set, or s3://BUCKET/PREFIX"
_SETS = "s3://BUCKET/datasets/"


def _digest(value: str) -> str:
    right = re.fullmatch("[0-9a-fA-F]{64}", value)
    return "" if right else "must be 64 hexadecimal digits"


@dataclass(frozen=True)
class Status:
    """Show whether a set is complete, in progress (and how far), stopped, or missing.

    Reads only the output, not the runner.
    """

    address: str = option(REQUIRED, "output of prepare or submit", flag="PATH-OR-URI")


@dataclass(frozen=True)
class Upload:
    """Upload a local set to S3.

    Files that are there already are not sent again. The file that makes the set load is sent
    last.
    """

    local: str = option(REQUIRED, "folder of the set", flag="LOCAL")
    address: str = option(
        REQUIRED, "s3://BUCKET/PREFIX; a closing slash adds a name with the time", flag="S3-URI"
    )
    resume: bool = option(False, "take over at once from an upload of this set that died")


@dataclass(frozen=True)
class Download:
    """Download a set from S3.

    The folder appears when every file is there and checked.
    """

    address: str = option(REQUIRED, "s3://BUCKET/PREFIX", flag="S3-URI")
    local: str | None = option(
        None, "folder to create", flag="LOCAL", default_text="data_cache/NAME"
    )


@dataclass(frozen=True)
class Verify:
    """Check a set: that every file is there with its size and SHA-256, that no other file is, that
    the row counts match, and that it loads."""

    address: str = option(REQUIRED, _SET, flag="PATH-OR-URI")
    quick: bool = option(False, "compare sizes and stored checksums only; read no data")
    manifest_sha256: str | None = option(
        None,
        "SHA-256 that manifest.json must have, as prepare and upload print it",
        metavar="HEX",
        check=_digest,
    )

    def __post_init__(self) -> None:
        """Raises ``UsageError`` where the digest is none."""
        check_options(self)


@dataclass(frozen=True)
class Report:
    """Write the quality report of a set as an HTML page, from its manifest and some of its rows.

    The page goes to the current folder, never into a set.
    """

    address: str = option(REQUIRED, _SET, flag="PATH-OR-URI")
    output: str | None = option(
        None,
        "file to write; an earlier report is replaced, any other file is kept",
        metavar="FILE",
        default_text="report-NAME.html",
    )
    open: bool = option(False, "open the page in the browser")


@dataclass(frozen=True)
class Diff:
    """Count the rows that differ between two sets: added, removed, changed, or in another split."""

    first: str = option(
        REQUIRED,
        "the earlier set: a local folder or s3://BUCKET/PREFIX",
        flag="first",
        metavar="PATH-OR-URI",
    )
    second: str = option(REQUIRED, "the later set", flag="second", metavar="PATH-OR-URI")


@dataclass(frozen=True)
class List:
    """List the sets directly below an S3 address: name, time, source, rows, size, state."""

    address: str = option(REQUIRED, _SETS, flag="S3-URI")


@dataclass(frozen=True)
class Prune:
    """Delete all complete sets below an S3 address except the newest, by the time of the store.

    Without --yes, show them only. A set with other objects in it is kept. Needs s3:DeleteObject.
    """

    address: str = option(REQUIRED, _SETS, flag="S3-URI")
    keep: int = option(REQUIRED, "number of newest sets to keep", metavar="N")
    yes: bool = option(False, "delete the sets")


ARGUMENTS: dict[str, type] = {
    one.__name__.lower(): one
    for one in (Status, Upload, Download, Verify, Report, Diff, List, Prune)
}
"""The arguments of each command, whose description is the docstring."""


def dataset_options(command: str) -> tuple[Option, ...]:
    """The options of a command on a set."""
    return (*options_of(ARGUMENTS[command]), *options_of(S3Options), *options_of(Printing))


def dataset_parser(command: str) -> Parser:
    """The parser of a command on a set."""
    parser = Parser(
        prog=f"python -m pipeline {command}",
        description=ARGUMENTS[command].__doc__,
        allow_abbrev=False,
    )
    parser.add_options(dataset_options(command))
    return parser
