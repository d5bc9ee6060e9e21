"""The parser of a command line, made from the declared options; it imports nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NoReturn

from pipeline.request import (
    CLUSTER,
    CONVERSATIONS,
    GATES,
    OUTPUT,
    QUALITY,
    SOURCE,
    SPLIT,
    TEXT,
    Request,
)
from transforms.declaration import UNGROUPED, Group, Option, at_least, check_options, options_of
from transforms.errors import UsageError
from transforms.storage.s3.uri import S3

PREPARE_COMMANDS = {
    "prepare": "prepare a data set (the default command)",
    "submit": "prepare a data set on a cluster; with --detach, return once the cluster has the job",
    "plan": "show what the job will do and why; write nothing",
    "preview": "show rendered rows with visible white space; write nothing",
}
"""The commands that take a request, each with what it does."""

DATASET_COMMANDS = {
    "status": "show the progress of a set",
    "upload": "upload a local set to S3; continues an upload that stopped",
    "download": "download a set from S3 and check it; continues a download that stopped",
    "verify": "check every file of a set",
    "report": "write the quality report of a set as an HTML page",
    "diff": "count the rows that differ between two sets",
    "list": "list the sets directly below an S3 address",
    "prune": "delete old sets below an S3 address",
}
"""The commands that work on a finished set."""

CONFIGURATION, PREVIEW, CONSOLE = Group("configuration"), Group("preview"), Group("console")

GROUPS = (
    *(SOURCE, TEXT, CONVERSATIONS, SPLIT, QUALITY, GATES, OUTPUT, CONFIGURATION, CLUSTER, S3),
    *(PREVIEW, CONSOLE),
)
"""The headings in the order of the help."""

_DESCRIPTION = (
    "Prepare an instruction data set for fine-tuning: detect the columns, remove duplicates, "
    "render the chat format, split train and validation, save Arrow shards."
)

_EXIT_CODES = {
    "0": "done or already complete",
    "1": "other error",
    "2": "wrong request",
    "3": "unreadable source",
    "4": "credentials or permissions",
    "5": "storage, network or cluster",
    "6": "output in use",
    "7": "verification failed",
    "8": "quality gate missed",
    "130, 143": "stopped by a signal",
    "141": "nobody reads the output any more",
}


@dataclass(frozen=True)
class Printing:
    """What a command prints."""

    json: bool = CONSOLE.option(False, "print one JSON object to stdout and all messages to stderr")
    quiet: bool = CONSOLE.option(False, "print errors only")

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class Call(Printing):
    """What is said of one call of a command that takes a request, and not of the set."""

    config_file: str | None = CONFIGURATION.option(
        None,
        "read flags from a TOML file (val-size = 0.2) or from the manifest.json of a set; flags on "
        "the command line take precedence",
        metavar="FILE",
    )
    save_config: str | None = CONFIGURATION.option(
        None, "write the flags of this run to a TOML file", metavar="FILE"
    )
    n: int = PREVIEW.option(
        3, "number of rows to show", flag="-n", check=at_least(1), commands=("preview",)
    )
    rejected: bool = PREVIEW.option(
        False, "show the rows that would be rejected, and why", commands=("preview",)
    )


class Parser(argparse.ArgumentParser):
    """A parser of declared options that raises ``UsageError`` instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        """Raises the error of a command line that cannot be parsed."""
        raise UsageError(f"{message} (see --help)")

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._lists: dict[str, Option] = {}

    def add_options(self, options: Sequence[Option]) -> None:
        """Adds options, each below the heading of its group."""
        for group in sorted({one.group for one in options}, key=(UNGROUPED, *GROUPS).index):
            place = self.add_argument_group(group.title, group.text) if group.title else self
            for one in options:
                if one.group == group:
                    self._lists[_add(place, one)] = one

    def values(self, argv: Sequence[str]) -> tuple[dict[str, object], list[str]]:
        """The values that a command line gives, by key, and the arguments that are no options."""
        namespace, rest = self.parse_known_args(argv)
        return {
            name.replace("_", "-"): self._lists[name].from_list(value)
            if isinstance(value, list)
            else value
            for name, value in vars(namespace).items()
        }, rest

    @property
    def flags(self) -> list[str]:
        """All flags that the parser has."""
        return [flag for action in self._actions for flag in action.option_strings]


def _add(group: argparse._ActionsContainer, one: Option) -> str:
    """Adds an option; the name of its value."""
    # Without argparse's defaults, only what is given is a value; ``build`` applies the defaults.
    text = one.help
    if one.is_switch:
        group.add_argument(
            one.flag, action="store_true", default=argparse.SUPPRESS, help=text.replace("%", "%%")
        )
        return one.name
    if not one.required:
        text += f" (default: {one.shown_default})"
    action = group.add_argument(
        one.flag,
        action="extend" if one.several else "append" if one.kind is tuple else "store",
        nargs="+" if one.several else "?" if one.is_positional and not one.required else None,
        type=one.parse or (one.kind if one.kind in (int, float) else str),
        default=argparse.SUPPRESS,
        metavar=one.metavar,
        help=text.replace("%", "%%"),
    )
    action.required = one.required
    return action.dest


def prepare_parser(command: str) -> Parser:
    """The parser of ``prepare``, ``submit``, ``plan`` or ``preview``."""
    names = "|".join((*PREPARE_COMMANDS, *DATASET_COMMANDS))
    parser = Parser(
        prog=f"python -m pipeline {f'[{names}]' if command == 'prepare' else command}",
        usage="%(prog)s [flags]",
        description=_DESCRIPTION,
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    options = (*options_of(Request), *options_of(Call))
    parser.add_options([one for one in options if one.is_of(command)])
    return parser


def _epilog() -> str:
    return "\n".join(
        (
            "commands:",
            *(f"  {n:<9} {text}" for n, text in {**PREPARE_COMMANDS, **DATASET_COMMANDS}.items()),
            "\nexit codes:",
            *(f"  {code:<9} {text}" for code, text in _EXIT_CODES.items()),
            "\nOther flags go to Apache Beam, for example --direct_num_workers=4.",
        )
    )


def nearest(word: str, known: Sequence[str]) -> str:
    """A hint at the known word that is most like this one; "" where none is."""
    found = get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""
