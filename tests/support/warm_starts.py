"""Python programs that start at once: each is a fork of one that has imported Beam and Arrow.

A test of the command line that needs a process of its own, for its environment, then takes a third
of the time.  What reads its settings when it is imported (``datasets``, ``huggingface_hub``, this
project) is not imported before the fork; what Beam, Arrow and Python itself read then is that of
the test's process.
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
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

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
exec(task["code"], {"__name__": "__main__"})
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
    server, log = _server()
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        task = {"code": code, "words": list(words), "environment": dict(environment)}
        task |= {"folder": str(folder), "out": out.name, "err": err.name}
        try:
            print(json.dumps(task), file=server.stdin, flush=True)
            if not select.select([server.stdout], [], [], seconds)[0]:
                raise subprocess.TimeoutExpired(code, seconds, out.read(), err.read())
            return Ended(int(server.stdout.readline()), out.read().decode(), err.read().decode())
        except (BrokenPipeError, ValueError) as error:
            _stop(server)
            raise RuntimeError(f"what is forked has ended: {log.read_text()}") from error
        except BaseException:  # Ctrl-C, too: the answer would be taken for the next one's
            _stop(server)
            raise


@cache
def _server() -> tuple[Any, Path]:
    """This process's own, and the file of what it says."""
    number, log = tempfile.mkstemp(prefix="warm-starts-")
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=number,
        text=True,
        start_new_session=True,
    )
    os.close(number)
    atexit.register(Path(log).unlink)
    atexit.register(_stop, server)
    return server, Path(log)


def _stop(server: subprocess.Popen[str]) -> None:
    """Ends it, and the program that may be running."""
    _server.cache_clear()
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    with suppress(BrokenPipeError):
        server.communicate()
