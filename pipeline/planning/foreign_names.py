"""Which values of a foreign ``config`` name, or may name, a file of this machine.

A manifest may come from a stranger.  If it could choose files, preparing its set again would put
the user's own credentials into a set that is then published.  Hub names and built-in templates
are the same for everybody.  A name that could be both is a path where a path of that name exists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.planning.sources import HUB_NAME
from transforms.chat.builtin_templates import NAMES

_HUB = "hub:"
_OPTIONS = re.compile(r"(,(config|split|revision)=[^,]+)*$")


def _is_there(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # a name that is too long, or holds a NUL
        return True


def _is_data(name: str) -> bool:
    return HUB_NAME.fullmatch(name) is not None and not _is_there(name)


def _is_benchmark(name: str) -> bool:
    return not _is_there(name) and _is_data(_OPTIONS.sub("", name, count=1))


def _is_template(name: str) -> bool:
    return name in NAMES or name.startswith(_HUB)


def _is_tokenizer(name: str) -> bool:
    return name.startswith(_HUB) or ("/" in name and _is_data(name))


_RULES: dict[str, Callable[[str], bool]] = {
    "dataset": _is_data,
    "template": _is_template,
    "tokenizer": _is_tokenizer,
    "decontaminate": _is_benchmark,
}

NAMING_KEYS = frozenset(_RULES)
"""The keys of the options that decide the bytes and can name a file."""


def local_names(config: Mapping[str, object]) -> dict[str, list[str]]:
    """The values that may name a path on this machine, by key; values that are no text among them.

    Args:
        config: options by key, of a manifest that anybody may have written.
    """
    found = {}
    for key, is_foreign in _RULES.items():
        given = config.get(key)
        if given is None:
            continue
        values = given if isinstance(given, list | tuple) else [given]
        names = [str(v) for v in values if not isinstance(v, str) or not is_foreign(v)]
        if names:
            found[key] = names
    return found
