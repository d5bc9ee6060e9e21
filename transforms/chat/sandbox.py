"""The sandbox of chat templates: a child process without secrets, under limits.

A template is a program that comes with a model, so it may be broken or hostile.  Jinja's sandbox
keeps it from Python's internals, but limits neither time nor memory; the process does.
"""

from __future__ import annotations

import importlib.util
import json
import marshal
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import IO

from transforms.errors import DataPrepError, RunnerFailed, UsageError

# Exit codes of the child; importing them from ``sandbox_worker`` would load Jinja here.
_OUT_OF_MEMORY = 81
_TOO_MUCH_OF_A_ROW = 82
_TOO_MUCH_OF_A_BATCH = 83
_BATCH_TIMES = 4

_PATIENCE = 5.0
"""Seconds within which a child must end by itself."""

_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
"""Signals that come from another process, not from what the program did."""


DEFAULT_DATE = "2025-01-01"
"""The current date for templates, so that a set's bytes do not depend on the day."""


@dataclass(frozen=True)
class TemplateSource:
    """A Jinja template and its variables that do not depend on a row.

    Attributes:
        name: for messages.
        text: the template.
        bos_token, eos_token: variables of the template.
        date: YYYY-MM-DD, which ``strftime_now`` formats.

    Raises:
        UsageError: ``date`` is not a date.
    """

    name: str
    text: str
    bos_token: str = ""
    eos_token: str = ""
    date: str = DEFAULT_DATE

    def __post_init__(self) -> None:
        try:
            date.fromisoformat(self.date)
        except ValueError:
            raise UsageError(
                f"the date of the template {self.name} must be YYYY-MM-DD, not {self.date!r}"
            ) from None


@dataclass(frozen=True)
class Refusal:
    """A row that the template did not render: it called ``raise_exception``, or Jinja failed.

    ``reason`` is one printable line of at most 200 characters.
    """

    reason: str


class Sandbox:
    """Renders rows with one template, in a child process that starts with the first ``render``.

    Each thread needs a sandbox of its own.  One that has started cannot be pickled, so a DoFn
    carries the ``TemplateSource`` and makes the sandbox in ``setup``.

    Args:
        source: the template.
        seconds: processor time for a row, and for compiling.
        memory_bytes: memory above that of Python and of the batch (on Linux).
        output_bytes: UTF-8 bytes of a row's text; a batch may give about four times the sum of
            this and its own size.
    """

    def __init__(
        self,
        source: TemplateSource,
        seconds: float = 10.0,
        memory_bytes: int = 2**30,
        output_bytes: int = 64 * 2**20,
    ) -> None:
        self._source = source
        self._seconds, self._memory, self._output = seconds, memory_bytes, output_bytes
        self._child: _Child | None = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def render(self, rows: Sequence[Mapping[str, object]]) -> list[str | Refusal]:
        """The text of each row, or its refusal.

        Args:
            rows: the template's variables (messages, tools, add_generation_prompt…), as JSON
                types.  Without rows the template is only compiled.

        Raises:
            UsageError: the template does not compile, or exceeds a limit.
            RunnerFailed: the child could not start, or another process ended it.  The next call
                starts a new one.
        """
        # First, so that a row which cannot be sent leaves the child as it was.
        request = _marshalled([row if type(row) is dict else dict(row) for row in rows])
        child = self._child
        try:
            if child is None:
                child = self._child = _Child()
                self._compile(child)
            return list(self._exchange(child, request, len(rows))) if rows else []
        except BaseException:
            # The rest of an unfinished reply would be taken for the next one.
            if child is not None:
                child.kill()
            self._child = None
            raise

    def close(self) -> None:
        """Ends the child and waits until it is gone."""
        if self._child is not None:
            self._child.end()
            self._child = None

    def _compile(self, child: _Child) -> None:
        limits = {
            "seconds": self._seconds,
            "memory_bytes": self._memory,
            "output_bytes": self._output,
        }
        child.send(_to_bytes({**asdict(self._source), **limits}))
        error = json.loads(self._reply(child, "to compile"))
        if error is not None:
            line, message = error
            where = f"line {line}: " if line else ""
            raise UsageError(
                f"the template {self._source.name} is not valid Jinja: {where}{message}; "
                "correct it, or use another --template"
            )

    def _exchange(self, child: _Child, request: bytes, count: int) -> Iterator[str | Refusal]:
        child.send(request)
        left = count
        while left:
            part = self._reply(child, "for one row", len(request))
            texts = 8 + int.from_bytes(part[:8], "big")
            rows = json.loads(part[8:texts])
            left -= len(rows)
            for row in rows:
                if isinstance(row, int):
                    yield part[texts : texts + row].decode()
                    texts += row
                else:
                    yield Refusal(row[0])

    def _reply(self, child: _Child, step: str, batch: int = 0) -> bytes:
        data = child.receive()
        if data is None:
            raise self._why(child.code(), step, batch)
        return data

    def _why(self, code: int, step: str, batch: int) -> DataPrepError:
        """The error for a child that ended by itself with an exit code, or minus a signal."""
        name = self._source.name
        if code == -signal.SIGPROF:
            what = f"took longer than {self._seconds:g} s {step}"
        elif code == _OUT_OF_MEMORY:
            what = f"needed more than {self._memory:,} bytes of memory {step}"
        elif code == _TOO_MUCH_OF_A_ROW:
            what = f"made more than {self._output:,} bytes of text {step}"
        elif code == _TOO_MUCH_OF_A_BATCH:
            most = _BATCH_TIMES * (self._output + batch)
            what = f"made more than {most:,} bytes of text for a batch of {batch:,} bytes"
        elif code < 0 and -code not in _FROM_OUTSIDE:
            what = f"broke the process in which it ran ({signal.Signals(-code).name})"
        else:
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            return RunnerFailed(
                f"the process that renders the template {name} was ended {how}, which the template "
                "cannot do; the system does so when memory runs out: run again, with fewer workers "
                "or more memory if it recurs"
            )
        return UsageError(
            f"the template {name} {what} and was stopped; correct it, or use another --template"
        )


class _Child:
    """The child process, and the frames that it receives and sends."""

    def __init__(self) -> None:
        script = Path(__file__).absolute().with_name("sandbox_worker.py")
        # -I and -S: no variable, folder or package of this environment takes part.
        command = [sys.executable, "-I", "-S", str(script), *_folders("jinja2", "markupsafe")]
        try:
            self._process = subprocess.Popen(  # noqa: S603 (our own Python and file)
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=_environment(),
            )
        except OSError as error:
            raise RunnerFailed(
                f"cannot start {sys.executable} to render a chat template ({error.strerror}): "
                "this machine must be able to start another Python; make room for it and run again"
            ) from error
        # Ends with this object or this interpreter, whichever is first.
        self._end = weakref.finalize(self, _stop, self._process, _PATIENCE)

    def send(self, data: bytes) -> None:
        """Writes one frame; if the child has ended, reading its reply gives the reason."""
        with suppress(BrokenPipeError):
            stream = _there(self._process.stdin)
            stream.write(len(data).to_bytes(8, "big"))
            stream.write(data)
            stream.flush()

    def receive(self) -> bytes | None:
        """The next frame; None where the child ended instead."""
        stream = _there(self._process.stdout)
        head = stream.read(8)
        size = int.from_bytes(head, "big")
        data = stream.read(size) if len(head) == 8 else b""
        return data if len(head) == 8 and len(data) == size else None

    def code(self) -> int:
        """The exit code of a child that has closed its output."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        self.kill()
        return self._process.wait()

    def end(self) -> None:
        """Lets it end by itself, and kills it if it does not."""
        self._end()

    def kill(self) -> None:
        """Ends it at once, even while it renders."""
        self._end.detach()
        _stop(self._process, 0)


def _stop(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Closes a child's input, and kills it if it has not ended after ``seconds``."""
    with suppress(OSError):  # what is buffered for a child that is gone
        _there(process.stdin).close()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _there(process.stdout).close()


def _there(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("a child without its pipes")
    return stream


def _folders(*packages: str) -> list[str]:
    """The folders from which this process imports the packages, without duplicates."""
    found = []
    for name in packages:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise RunnerFailed(
                f"chat templates need the package {name}, which is not installed where they are "
                "rendered; install it there (pip install 'jinja2>=3.1.6') and run again"
            )
        found.append(str(Path(next(iter(spec.submodule_search_locations))).absolute().parent))
    return list(dict.fromkeys(found))


def _environment() -> dict[str, str]:
    """The child's whole environment: the folders of Python's libraries, and a fixed time zone.

    The parent's environment has credentials, so nothing else is passed on.
    """
    libraries = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    kept = {name: os.environ[name] for name in libraries if name in os.environ}
    return {**kept, "TZ": "UTC"}


def _marshalled(rows: list[dict[str, object]]) -> bytes:
    try:
        return marshal.dumps(rows)
    except ValueError as error:
        raise TypeError("a row has a value that cannot be sent to a template") from error


def _to_bytes(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, check_circular=False, separators=(",", ":"))
    # Half a surrogate pair then makes the child refuse one row, not all rows fail here.
    return text.encode("utf-8", "surrogatepass")
