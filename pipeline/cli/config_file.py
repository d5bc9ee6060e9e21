"""Configuration files: the flags of a run in TOML, to be read, kept and run again.

Keys are flags without their dashes, ``val-size = 0.2``; a flag on the command line goes before its
key.  A prepared set's ``manifest.json`` counts as one, too: its ``config`` holds what decided the
set's bytes.  As it may be a stranger's, it says nothing else: not where rows are sent, for one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from pipeline.cli.flags import nearest
from pipeline.planning.plan_flags import OF_A_SET
from transforms.errors import UsageError
from transforms.quality.gates import PASSED

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_OF_A_CALL = ("help", "config-file", "save-config", "json", "quiet", "resume", "overwrite", "n")
"""Flags that say something of one call and not of the set."""


GATES = ("max-reject-rate", "max-duplicates", "max-leakage", "max-truncated", "min-validation")
"""Flags that a manifest's ``run`` may set."""


def load(path: str) -> dict[str, Any]:
    """The keys of a TOML file, or of a manifest's ``config``.

    Raises ``UsageError`` where the file is not there or is neither, and where a manifest has a key
    that does not decide a set's bytes.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"--config-file {path} cannot be read: {error.strerror}") from error
    try:
        text = data.decode()
        if not text.lstrip().startswith("{"):
            return tomllib.loads(text)
        manifest = json.loads(text)
        found = manifest.get("config")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--config-file {path} is no TOML, and no manifest: {error}") from error
    if not isinstance(found, dict):
        raise UsageError(
            f"--config-file {path} is JSON without a config; expected TOML, or the manifest.json "
            "of a set that this version prepared"
        )
    foreign = sorted(found.keys() - set(OF_A_SET))
    if foreign:
        raise UsageError(
            f"--config-file {path}: the manifest's config sets {', '.join(foreign)}; expected only "
            "what decides a set's bytes. Take them out; what you want of them say on the command "
            "line or in a TOML file"
        )
    return {**_gates(manifest), **found}


def _gates(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The limits that a manifest's set had to keep: they stand under ``run``, as no byte of the set
    follows from them.
    """
    run = manifest.get("run")
    verdicts = run.get("gates") if isinstance(run, dict) else None
    limits = {
        verdict.get("gate"): verdict.get("limit")
        for verdict in (verdicts if isinstance(verdicts, list) else [])
        if isinstance(verdict, dict)
        and isinstance(verdict.get("gate"), str)
        and verdict.get("result") == PASSED
    }
    return {gate: limits[f"--{gate}"] for gate in GATES if limits.get(f"--{gate}") is not None}


def set_defaults(parser: argparse.ArgumentParser, values: Mapping[str, Any], path: str) -> None:
    """Makes a file's values the parser's defaults.

    Raises ``UsageError`` for a key that is no flag, and for a value of the wrong kind.
    """
    actions = {
        option[2:]: action
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--") and option[2:] not in _OF_A_CALL
    }
    for key, value in values.items():
        if key not in actions:
            raise UsageError(f"--config-file {path}: unknown key {key!r}{nearest(key, [*actions])}")
        action = actions[key]
        parser.set_defaults(**{action.dest: _checked(action, key, value, path)})


def _checked(action: argparse.Action, key: str, value: Any, path: str) -> Any:
    kind: tuple[type, ...] = (str,)
    if isinstance(action.default, bool):
        kind = (bool,)
    elif isinstance(action.default, list):
        kind = (list,)
    elif action.type is float:
        kind = (float, int)
    elif action.type is not None:
        kind = (int,) if action.type is int else (str, int)
    if not isinstance(value, kind) or (isinstance(value, bool) and bool not in kind):
        raise UsageError(f"--config-file {path}: {key} must be {kind[0].__name__}, found {value!r}")
    if isinstance(value, list) and not all(isinstance(item, str) for item in value):
        raise UsageError(f"--config-file {path}: {key} must be a list of str, found {value!r}")
    try:
        return float(value) if action.type is float and isinstance(value, int) else value
    except OverflowError as error:
        said = f"{key} must be a number that a float can hold, found a larger one"
        raise UsageError(f"--config-file {path}: {said}") from error


def save(path: str, parser: argparse.ArgumentParser, flags: argparse.Namespace) -> None:
    """Writes the data set and the flags that are not at ``parser``'s defaults, as TOML."""
    kept = {}
    for action in parser._actions:
        name = next((o[2:] for o in action.option_strings if o.startswith("--")), "help")
        value = getattr(flags, action.dest, None)
        if name in _OF_A_CALL or value is None:
            continue
        if name == "dataset" or value != action.default:
            kept[name] = value
    try:
        Path(path).write_bytes(tomli_w.dumps(kept, multiline_strings=True).encode())
    except OSError as error:
        raise UsageError(f"--save-config {path} cannot be written: {error.strerror}") from error
