"""Configuration files: the options of a run in TOML, to be read, kept and run again.

Keys are flags without their dashes, ``val-size = 0.2``.  The ``manifest.json`` of a set is a
configuration file, too: its ``config`` holds the options that decided the bytes.  As a manifest may
come from a stranger, it can set these and the gates, but not, for example, where a set is uploaded,
and it names no file of this machine.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import tomli_w

from pipeline.cli.flags import nearest
from pipeline.request import Request
from transforms.declaration import options_of
from transforms.errors import UsageError, VerificationFailed
from transforms.quality.gates import PASSED
from transforms.storage.manifest import MOST_BYTES, read_manifest
from transforms.storage.manifest_parts import Run
from transforms.text.addresses import shown_address

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DECIDE_BYTES = frozenset(one.key for one in options_of(Request) if one.decides_bytes)
"""The keys that a manifest's ``config`` may hold."""

GATES = tuple(one.key for one in options_of(Request) if one.group.gate)
"""The keys that a manifest's ``run`` may set."""

_METAVARS = {one.key: one.metavar for one in options_of(Request)}


def load(path: str, command: str, given: Collection[str] = ()) -> dict[str, object]:
    """The values of a TOML file or of a manifest, by key.

    Args:
        path: the file.
        command: the command, which must have the options.
        given: the keys that the command line sets; it takes precedence, so a manifest may hold
            anything there.

    Raises:
        UsageError: the file cannot be read, is neither, or sets what it may not set; a key is
            unknown, or its value has the wrong type.
    """
    known = {one.key: one for one in options_of(Request) if one.saved and one.is_of(command)}
    flag = f"--config-file {shown_address(path)}"
    values = {}
    for key, value in _read(path, flag, given).items():
        if key not in known:
            raise UsageError(f"{flag}: unknown key {key!r}{nearest(key, [*known])}")
        try:
            values[key] = known[key].from_file(value)
        except UsageError as error:
            raise UsageError(f"{flag}: {error}") from error
    return values


def _read(path: str, flag: str, given: Collection[str]) -> dict[str, object]:
    if Path(path).is_char_device() or Path(path).is_block_device():
        raise UsageError(f"{flag} is a device; expected a TOML file or a manifest.json")
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{flag} cannot be read: {error.strerror}") from error
    if data.lstrip().startswith(b"{"):
        return _of_manifest(path, flag, data, given)
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{flag} is neither TOML nor a manifest: {error}") from error


def _of_manifest(path: str, flag: str, data: bytes, given: Collection[str]) -> dict[str, object]:
    """What a manifest says of how its set was made, without what only this machine's user may say.

    It may come from a stranger: it sets options that decide the bytes and gates, and names no file
    of this machine.
    """
    try:
        manifest = read_manifest(data, shown_address(path))
    except VerificationFailed as error:
        raise UsageError(f"{flag} is neither TOML nor a manifest: {error}") from error
    if manifest.config is None:
        raise UsageError(
            f"{flag} is a manifest without a config; expected TOML, or the "
            "manifest.json of a set that this version prepared"
        )
    found = {key: value for key, value in manifest.config.items() if key not in given}
    foreign = sorted(found.keys() - DECIDE_BYTES)
    if foreign:
        raise UsageError(
            f"{flag}: the manifest's config sets {', '.join(foreign)}; expected only "
            "options that decide the bytes of a set. Remove them from the manifest; set those that "
            "you want on the command line or in a TOML file"
        )
    from pipeline.planning.foreign_names import local_names  # reads data: not for --help

    local = local_names(found)
    if local:
        named = "; ".join(f"{key} {', '.join(map(repr, names))}" for key, names in local.items())
        flags = " ".join(f"--{key} {_METAVARS[key]}" for key in local)
        raise UsageError(
            f"{flag}: the manifest's config names what may be files of this machine "
            f"({named}). A manifest can come from anybody, so expected hub names only. Give the "
            f"files that you mean on the command line: {flags}"
        )
    return {**_gates(manifest.run), **found}


def _gates(run: Run | None) -> dict[str, object]:
    """The limits that the set of a manifest met; they are in its ``run``, not in its ``config``,
    because no byte depends on them.
    """
    verdicts = run.gates if run and run.gates else ()
    limits = {verdict.gate: verdict.limit for verdict in verdicts if verdict.result == PASSED}
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
        raise UsageError(
            f"--save-config {shown_address(path)} cannot be written: {error.strerror}"
        ) from error
