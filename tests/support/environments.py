"""What tests install: made once, and kept in the user's cache folder by the digest of its pins."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import tomllib
from filelock import FileLock
from means import absent

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_LOCK = Path(__file__).with_name("lock.toml")
_MINUTES = 30  # the slowest takes four of one core; the rest is for a busy machine


@cache
def _lock() -> dict[str, dict[str, Any]]:
    return tomllib.loads(_LOCK.read_text(encoding="utf-8"))


def pins(name: str) -> dict[str, Any]:
    """A section of ``lock.toml``."""
    return _lock()[name]


def cache_folder() -> Path:
    """The project's folder in the user's cache, where a new checkout finds it, too."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "reasonforge-data-prep"


def made_once(name: str, make: Callable[[Path], None], *also: str) -> Path:
    """The folder that ``make`` fills, by the digest of the section ``name`` and of ``also``.

    It appears by a rename, so it is whole.  Ends the test as absent where it cannot be made.
    """
    content = json.dumps([pins(name), also], sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    target = cache_folder() / f"{name}-{digest}"
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            FileLock(f"{target}.lock"),
            tempfile.TemporaryDirectory(dir=target.parent) as fresh,
        ):
            if not target.is_dir():  # else another process has made it while this one waited
                whole = Path(fresh, "whole")
                whole.mkdir()
                make(whole)
                whole.rename(target)
    except subprocess.CalledProcessError as error:
        printed = (error.stderr or error.stdout or "").strip()[-1000:]
        absent(f"{name} cannot be installed: {printed or error}")
    except (subprocess.SubprocessError, OSError) as error:
        absent(f"{name} cannot be installed: {error}")
    return target


def go_program(name: str) -> Path:
    """The Go program of this name, built first if this machine has none of its version yet."""
    pinned = pins(name)

    def build(folder: Path) -> None:
        if shutil.which("go") is None:
            absent(f"needs Go to build {name}, and there is no `go` on the PATH")
        run("go", "install", f"{pinned['package']}@{pinned['version']}", GOBIN=str(folder))

    return made_once(name, build) / Path(pinned["package"]).name


def environment(name: str, fill: Callable[[Path], None]) -> Path:
    """The interpreter of an environment that ``fill`` installs into, given its interpreter."""

    def make(folder: Path) -> None:
        run(sys.executable, "-m", "venv", str(folder))
        fill(folder / "bin" / "python")

    return made_once(name, make, sys.version) / "bin" / "python"


def run(*command: str, **environment: str) -> str:
    """What a command prints."""
    done = subprocess.run(
        command,
        env=os.environ | environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=_MINUTES * 60,
    )
    return done.stdout.strip()


def pip(python: Path, *arguments: str) -> None:
    """Installs into the environment of that interpreter."""
    quiet = ("--quiet", "--disable-pip-version-check", "--no-cache-dir", "--no-compile")
    run(str(python), "-m", "pip", "install", *quiet, *arguments)


def pip_download(requirement: str, to: Path, *options: str) -> Path:
    """The one file of a package, which is not installed: no matter which Python it needs."""
    pip_of_ours = (
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
    )
    run(*pip_of_ours, "--no-deps", *options, "--dest", str(to), requirement)
    (file,) = to.iterdir()
    return file
