"""The cards of a data set, which say where its data files are, checked before ``datasets`` reads
them.

Anybody may have written them.  YAML's aliases let some hundred bytes stand for billions of nodes,
which whoever walks over them, or prints them in an error, does not survive; and a card could send
the job to files that are no part of the data set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import yaml  # type: ignore[import-untyped]

from transforms.errors import UsageError

CARDS = ("README.md", ".huggingface.yaml")
MOST_NODES = 100_000
"""Of a card, each alias counted as what it stands for; a card with 10,000 data files has fewer."""


def check_card(name: str, card: str, text: str) -> None:
    """``UsageError`` where a card names data files elsewhere, or stands for too much.

    Args:
        name: the data set, for the message.
        card: the card's file name, for the message.
        text: its YAML.
    """
    _require_small(name, card, text)
    found = yaml.safe_load(text)
    configs = found.get("configs") if isinstance(found, dict) else None
    for settings in configs or ():
        for place in (*_texts(settings.get("data_files")), *_texts(settings.get("data_dir"))):
            if re.search(r"://|::|^[/~]|(^|/)\.\.(/|$)", place):
                raise elsewhere(name, place)


def elsewhere(name: str, place: str) -> UsageError:
    """The error of a data set that names a file which is no part of it."""
    return UsageError(
        f"{name} names the data file {place}, which is not part of it; download the file and name "
        "the local copy"
    )


def _require_small(path: str, card: str, text: str) -> None:
    """Counts nodes without making them."""
    anchors: dict[str, int] = {}
    open_: list[tuple[str | None, int]] = []  # (anchor, nodes) of the lists and maps around
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            open_.append((event.anchor, 1))
            continue
        if isinstance(event, yaml.AliasEvent):
            anchor, nodes = None, anchors.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            anchor, nodes = event.anchor, 1
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            anchor, nodes = open_.pop()
        else:
            continue
        if anchor is not None:
            anchors[anchor] = nodes
        if open_:
            outer, before = open_.pop()
            open_.append((outer, before + nodes))
        if nodes > MOST_NODES:
            raise UsageError(
                f"the card {card} of {path} stands for more than {MOST_NODES:,} values, most of "
                "them by aliases; name its data files with a glob, or correct the card"
            )


def _texts(value: object) -> Iterator[str]:
    """All strings in a value that was read from YAML."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)
