"""Environments of their own for tests, made once and kept in the user's cache folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock
from means import CACHE, absent

MINUTES = 15


def environment(name: str, made_of: Sequence[str], what: str, fill: Callable[[Path], None]) -> Path:
    """The interpreter of an environment that ``fill`` installs into.

    It is made anew where ``made_of`` or the Python is another one than when it was made.  ``what``
    names it where it cannot be made.
    """
    place = CACHE / name
    python = place / "bin" / "python"
    made, wanted = place / "made-of.txt", "\n".join((sys.version, *made_of))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):
            if not (made.is_file() and made.read_text() == wanted and python.is_file()):
                run(sys.executable, "-m", "venv", "--clear", str(place))
                fill(python)
                made.write_text(wanted)
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).decode(errors="replace").strip().splitlines()
        absent(f"{what} cannot be installed: {said[-1] if said else error}")
    except (OSError, subprocess.TimeoutExpired) as error:
        absent(f"{what} cannot be installed: {error}")
    return python


def run(*command: str) -> str:
    """What a command prints."""
    done = subprocess.run(command, check=True, capture_output=True, timeout=MINUTES * 60)
    return done.stdout.decode().strip()


def pip(python: Path, *arguments: str) -> None:
    """Installs into the environment of that interpreter."""
    quiet = ("--quiet", "--disable-pip-version-check", "--no-cache-dir", "--no-compile")
    run(str(python), "-m", "pip", "install", *quiet, *arguments)
