"""Python programs that start in no time: each is a fork of one that has imported Beam and Arrow.

A test of the command line that needs a process of its own, for its environment, then takes a third
of the time.  What reads its settings when it is imported (``datasets``, ``huggingface_hub``, this
project) is not imported before the fork.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_SERVER = """
import json, os, sys
import apache_beam, jinja2, pyarrow.csv, pyarrow.compute, pyarrow.parquet, xxhash
from apache_beam.runners.portability import fn_api_runner

late = {"datasets", "huggingface_hub", "pipeline", "transforms"} & set(sys.modules)
assert not late, late
for line in sys.stdin:
    task = json.loads(line)
    if not os.fork():
        break
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
else:
    sys.exit()
os.chdir(task["folder"])
os.environ.clear()
os.environ.update(task["environment"])
for number, (path, flags) in enumerate([
    (os.devnull, os.O_RDONLY), (task["out"], os.O_WRONLY), (task["err"], os.O_WRONLY)
]):
    opened = os.open(path, flags)
    os.dup2(opened, number)
    os.close(opened)
sys.argv = ["-c", *task["words"]]
code = task["code"]
del line, task, late, opened, number, path, flags
exec(code)
"""


@dataclass(frozen=True)
class Ended:
    """How a program ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def run(
    code: str, words: Sequence[str], environment: Mapping[str, str], folder: Path, seconds: float
) -> Ended:
    """What ``python -c CODE WORDS`` does in a folder; ``TimeoutExpired`` if it takes longer."""
    server = _server()
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        task = {"code": code, "words": list(words), "environment": dict(environment)}
        task |= {"folder": str(folder), "out": out.name, "err": err.name}
        print(json.dumps(task), file=server.stdin, flush=True)
        assert server.stdout is not None
        if not select.select([server.stdout], [], [], seconds)[0]:
            _stop(server)
            raise subprocess.TimeoutExpired(code, seconds, out.read(), err.read())
        answer = server.stdout.readline()
        said = out.read().decode(), err.read().decode()
        assert answer, f"the program that is forked has ended: {said[1]}"
        return Ended(int(answer), *said)


@cache
def _server() -> subprocess.Popen[str]:
    """This process's own."""
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # Beam's warnings when it is imported
        text=True,
        start_new_session=True,
    )
    atexit.register(_stop, server)
    return server


def _stop(server: subprocess.Popen[str]) -> None:
    """Ends it, and the program that may be running."""
    _server.cache_clear()
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
