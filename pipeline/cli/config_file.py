"""Configuration files: the options of a run in TOML, to be read, kept and run again.

Keys are flags without their dashes, ``val-size = 0.2``.  The ``manifest.json`` of a set is a
configuration file, too: its ``config`` holds the options that decided the bytes.  As a manifest may
come from a stranger, it can set these and the gates, but not, for example, where a set is uploaded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import tomli_w

from pipeline.cli.flags import nearest
from pipeline.request import Request
from transforms.declaration import options_of
from transforms.errors import UsageError
from transforms.quality.gates import PASSED

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DECIDE_BYTES = frozenset(one.key for one in options_of(Request) if one.decides_bytes)
"""The keys that a manifest's ``config`` may hold."""

GATES = tuple(one.key for one in options_of(Request) if one.group.gate)
"""The keys that a manifest's ``run`` may set."""


def load(path: str, command: str) -> dict[str, object]:
    """The values of a TOML file or of a manifest, by key.

    Args:
        path: the file.
        command: the command, which must have the options.

    Raises:
        UsageError: the file cannot be read, is neither, or sets what it may not set; a key is
            unknown, or its value has the wrong type.
    """
    known = {one.key: one for one in options_of(Request) if one.saved and one.is_of(command)}
    values = {}
    for key, value in _read(path).items():
        if key not in known:
            raise UsageError(f"--config-file {path}: unknown key {key!r}{nearest(key, [*known])}")
        try:
            values[key] = known[key].from_file(value)
        except UsageError as error:
            raise UsageError(f"--config-file {path}: {error}") from error
    return values


def _read(path: str) -> dict[str, object]:
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
        raise UsageError(f"--config-file {path} is neither TOML nor a manifest: {error}") from error
    if not isinstance(found, dict):
        raise UsageError(
            f"--config-file {path} is JSON without a config; expected TOML, or the manifest.json "
            "of a set that this version prepared"
        )
    foreign = sorted(found.keys() - DECIDE_BYTES)
    if foreign:
        raise UsageError(
            f"--config-file {path}: the manifest's config sets {', '.join(foreign)}; expected only "
            "options that decide the bytes of a set. Remove them from the manifest; set those that "
            "you want on the command line or in a TOML file"
        )
    return {**_gates(manifest.get("run")), **found}


def _gates(run: object) -> dict[str, object]:
    """The limits that the set of a manifest met; they are in its ``run``, not in its ``config``,
    because no byte depends on them.
    """
    verdicts = run.get("gates") if isinstance(run, dict) else None
    limits: dict[str, object] = {
        verdict["gate"]: verdict.get("limit")
        for verdict in (verdicts if isinstance(verdicts, list) else [])
        if isinstance(verdict, dict)
        and isinstance(verdict.get("gate"), str)
        and verdict.get("result") == PASSED
    }
    return {gate: limits[f"--{gate}"] for gate in GATES if limits.get(f"--{gate}") is not None}


def save(path: str, values: Mapping[str, object]) -> None:
    """Writes the data set and the values that are not the defaults, as TOML.

    Args:
        path: the file; replaced if it is there.
        values: values by key.

    Raises:
        UsageError: the file cannot be written.
    """
    kept = {}
    for one in options_of(Request):
        value = values.get(one.key, one.default)
        if one.saved and (one.key == "dataset" or value != one.default):
            kept[one.key] = one.to_file(value)
    try:
        Path(path).write_bytes(tomli_w.dumps(kept, multiline_strings=True).encode())
    except OSError as error:
        raise UsageError(f"--save-config {path} cannot be written: {error.strerror}") from error
