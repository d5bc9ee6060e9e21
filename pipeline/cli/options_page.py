"""The page of options, made from the declarations: ``python -m pipeline.cli.options_page``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipeline.cli.dataset_flags import ARGUMENTS
from pipeline.cli.flags import DATASET_COMMANDS, GROUPS, PREPARE_COMMANDS, Call
from pipeline.request import Request
from transforms.declaration import Option, options_of

_FLAG = re.compile(r"--[A-Za-z][\w-]*(?:=[\w:]+)?")

_HEAD = """\
# Options

`make check` compares this page with the declarations of the options. It is the output of
`python -m pipeline.cli.options_page > docs/options.md`.

A flag that this page does not list goes to Apache Beam. ● marks the options that decide the bytes
of a set. The `manifest.json` of a set holds them, so that `--config-file` prepares the same bytes
again.
"""

_PREPARE = "These commands have all options from [Source](#source) to [Console](#console).\n"

_SETS = "These commands have the options of [S3](#s3) and [Console](#console), and these.\n"


def page() -> str:
    """The page, as Markdown."""
    options = (*options_of(Request), *options_of(Call))
    blocks = [_HEAD, "## Commands\n", _PREPARE]
    blocks.append(_commands((f"`{name}`", text) for name, text in PREPARE_COMMANDS.items()))
    for group in GROUPS:
        blocks.append(f"## {_sentence(group.title)}\n")
        if group.text:
            text = group.text.replace("docs/clusters.md", "[Clusters](clusters.md)")
            blocks.append(f"{_sentence(_marked(text))}.\n")
        blocks.append(_options(_row(one) for one in options if one.group == group))
    blocks += ["## Commands on a set\n", _SETS]
    blocks.append(_commands((_usage(name), text) for name, text in DATASET_COMMANDS.items()))
    listed = {one.flag for one in options}
    blocks.append(
        _options(
            _row(one, f"{command} " if one.flag in listed else "", f"`{command}`: ")
            for command in DATASET_COMMANDS
            for one in options_of(ARGUMENTS[command])
            if not one.is_positional
        )
    )
    return "\n".join(blocks)


def _row(one: Option, before: str = "", prefix: str = "") -> tuple[str, str, str]:
    value = "" if one.is_switch else f" {one.metavar}"
    only = "".join(f"`{command}`: " for command in one.commands)
    mark = " ●" if one.decides_bytes else ""
    flag = f"`{before}{one.flag}{value}`".replace("|", r"\|")
    default = _marked(one.shown_default)
    if not (one.default_text or one.is_switch or one.required) and default != "none":
        default = f"`{default}`"
    return flag, default, f"{prefix}{only}{_marked(one.help)}{mark}"


def _usage(command: str) -> str:
    values = (
        one.metavar if one.required else f"[{one.metavar}]"
        for one in options_of(ARGUMENTS[command])
        if one.is_positional
    )
    return f"`{' '.join((command, *values))}`"


def _commands(rows: Iterable[tuple[str, str]]) -> str:
    return _table(("command", "what it does"), ((name, _marked(text)) for name, text in rows))


def _options(rows: Iterable[tuple[str, ...]]) -> str:
    return _table(("option", "default", "what it does"), rows)


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    head = f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n"
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _marked(text: str) -> str:
    """A text with its flags as code, and with bars that do not end a cell of a table."""
    return _FLAG.sub(r"`\g<0>`", text.replace("|", r"\|"))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


if __name__ == "__main__":
    print(page(), end="")
