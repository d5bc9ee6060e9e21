"""What a worker is like: sent there as source text, so it needs nothing but Python and Beam.

A worker that lacks this project, or has another Python, could not load a step of ours.  It would
fail without a message that helps, or hang.  ``worker_check`` sends the text of this module instead;
it compares the worker with the launcher before anything of ours is loaded.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pickle
import platform
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import apache_beam as beam

MARK = "reasonforge-worker-report:"
"""Begins a report that travels as an error's text: runners hand nothing else back."""

DISTRIBUTION = "reasonforge-data-prep"
PACKAGES = ("pipeline", "transforms")
BEAM = "apache-beam"


class Facts(TypedDict):
    """A process: host, versions of Python and of packages, code, free bytes in ``scratch``.

    A version is None where there is no such package, ``code`` where the project is not there.
    """

    host: str
    python: str
    versions: dict[str, str | None]
    code: str | None
    scratch: str
    free: int


class Needs(TypedDict):
    """What fits the launcher: its own facts, and the versions of each package that do.

    ``free`` are the bytes that are needed in ``scratch``, or in the temporary folder where that is
    None.
    """

    host: str
    python: str
    versions: dict[str, str | None]
    code: str | None
    ranges: dict[str, str]
    scratch: str | None
    free: int


class Report(Facts, total=False):
    """The facts of a worker, and what does not fit, or what error of which step it has met."""

    misfits: list[str]
    kind: str
    step: str
    message: str


def facts(names: list[str], scratch: str | None = None) -> Facts:
    """This process, with the versions of the named packages.

    ``free`` are the bytes on the disk of ``scratch``, or of the temporary folder where that is None
    or not there.
    """
    code = digest()
    versions = {name: _version(name) for name in [BEAM, *names]}
    versions[DISTRIBUTION] = _version(DISTRIBUTION) if code else None
    place = scratch if scratch and Path(scratch).is_dir() else tempfile.gettempdir()
    return {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "versions": versions,
        "code": code,
        "scratch": place,
        "free": shutil.disk_usage(place).free,
    }


def digest() -> str | None:
    """SHA-256 in hex over this project's modules as they would be imported; None without them."""
    whole = hashlib.sha256()
    for package in PACKAGES:
        root = root_of(package)
        if root is None:
            return None
        files = (*root.rglob("*.py"), *root.rglob("*.jinja"))  # templates decide bytes, too
        for path in sorted(files):
            if path.suffix == ".py" and not (path.parent / "__init__.py").is_file():
                continue  # a script of the checkout, which is not installed
            data = path.read_bytes()
            name = f"{package}/{path.relative_to(root).as_posix()}"
            whole.update(f"{name}\0{len(data)}\0".encode() + data)
    return whole.hexdigest()


def root_of(package: str) -> Path | None:
    """The folder from which a package would be imported; None where there is none."""
    spec = importlib.util.find_spec(package)
    found = list(spec.submodule_search_locations or ()) if spec else []
    return Path(found[0]) if found else None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def misfits(found: Facts, wanted: Needs) -> list[str]:
    """What of a worker does not fit: ``python``, names of packages, ``code``, ``free``."""
    from packaging.specifiers import SpecifierSet  # Beam needs it, too

    def minor(version: str) -> list[str]:
        return version.split(".")[:2]

    wrong = ["python"] if minor(found["python"]) != minor(wanted["python"]) else []
    for name, version in found["versions"].items():
        if version is None or version not in SpecifierSet(wanted["ranges"][name]):
            wrong.append(name)
    if found["code"] is not None and found["code"] != wanted["code"]:
        wrong.append("code")
    if found["free"] < wanted["free"]:
        wrong.append("free")
    return wrong


def report(found: Facts, **more: object) -> str:
    """A report as text that survives being quoted in errors of several languages."""
    return f"{MARK}{json.dumps({**found, **more}).encode().hex()};"


class Spread(beam.DoFn):
    """One element -> keys 0, 1, 2…, so that all workers get some."""

    def __init__(self, keys: int) -> None:
        self._keys = keys

    def process(self, _: object) -> Iterator[tuple[int, int]]:
        for key in range(self._keys):
            yield key, os.getpid()


class Examine(beam.DoFn):
    """A key -> nothing: fails with a report, or lets the project itself look at source and output.

    ``look`` is a pickled function of the project, called with the key and this worker's facts.
    """

    def __init__(self, wanted: Needs, look: bytes) -> None:
        self._wanted, self._look = wanted, look

    def process(self, element: tuple[int, object]) -> Iterator[None]:
        names = [name for name in self._wanted["ranges"] if name != DISTRIBUTION]
        found = facts(names, self._wanted["scratch"])
        wrong = misfits(found, self._wanted)
        if wrong:
            raise RuntimeError(report(found, misfits=wrong))
        # Only now: it is made by this very code and can be loaded by it alone.
        pickle.loads(self._look)(element[0], found)  # noqa: S301 (the launcher's own)
        yield from ()
