"""The process in which a chat template runs: only the standard library and Jinja, under limits.

``sandbox`` starts this file by its path and does not import it.  So the child loads neither this
package nor Arrow, and is ready in a tenth of a second.

Both directions use frames: eight bytes of length, then the content.  The first request is the
template with its limits, as JSON; the reply is null or the error of compiling.  Every later request
is a list of rows in Python's marshal format: parent and child run the same Python, and JSON took
longer than rendering.  The parent does not trust the replies, so they are simple: eight bytes of
length, a JSON list with the size of each text or a refusal, then the texts in UTF-8.  The replies
to a request have one entry per row in all.  Exceeding a limit ends the process, and its exit status
says which limit: a process without memory cannot be relied on to write a message.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # The folder of Jinja in the parent's environment; the environment here is empty.  It comes
    # last, so that no module beside Jinja hides one of Python's.
    sys.path += sys.argv[1:]

import codecs
import html  # noqa: F401 (see _drop_rights)
import json
import marshal
import os
import pprint  # noqa: F401
import resource
import signal
import textwrap  # noqa: F401
import unicodedata  # noqa: F401
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, BinaryIO

import jinja2.debug  # noqa: F401
from jinja2 import Environment, TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

OUT_OF_MEMORY = 81
TOO_MUCH_OF_A_ROW = 82
TOO_MUCH_OF_A_BATCH = 83

REASON_CHARACTERS = 200
BATCH_TIMES = 4
"""A batch's texts have at most this many times the bytes of its rows and the largest text."""

_PART_BYTES = 2**20
"""A reply is sent in parts of about this size, so that texts do not wait for their batch."""

_MEMORY_PER_BYTE = 32
"""Python's objects of a request take at most about this many times its bytes."""

_to_json = json.JSONEncoder(ensure_ascii=False).encode


class Generation(Extension):
    """``{% generation %}…{% endgeneration %}``: marks the model's text; renders its body."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        """The block as a call, as transformers makes it: a name set inside is not set after it."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Macro) -> str:
        return caller()


_OF_DICTS = frozenset(dir(dict))


class Rules(ImmutableSandboxedEnvironment):
    """Jinja's own rules of what a template may access, evaluated in about half the time."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._safe: dict[tuple[type, str], bool] = {}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may access ``obj.attr``, which depends on the type and the name."""
        key = (type(obj), attr)
        is_safe = self._safe.get(key)
        if is_safe is None:
            is_safe = super().is_safe_attribute(obj, attr, value)
            if len(self._safe) < 1000:  # a template can invent names
                self._safe[key] = is_safe
        return is_safe

    def getattr(self, obj: Any, attribute: str) -> Any:
        """``obj.attribute``; a dict's key at once, unless it is the name of a method."""
        if type(obj) is dict and attribute not in _OF_DICTS:
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)


def environment(date: str) -> Environment:
    """Jinja as in transformers' ``apply_chat_template``, without what differs between runs.

    ``strftime_now`` formats ``date`` (YYYY-MM-DD); ``lipsum`` and ``random`` are removed.
    """
    made = Rules(
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
        extensions=[Generation, loopcontrols],
    )
    day = datetime.fromisoformat(date)

    def raise_exception(message: object) -> None:
        raise TemplateError(str(message))

    def strftime_now(format: str) -> str:  # noqa: A002 (templates may name it)
        return day.strftime(format)

    # Jinja's own filter escapes for HTML; a model must see the text.
    def tojson(
        x: object,
        ensure_ascii: bool = False,
        indent: int | str | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            x,
            ensure_ascii=ensure_ascii,
            indent=indent,
            separators=separators,
            sort_keys=sort_keys,
        )

    made.filters["tojson"] = tojson
    made.globals.update(raise_exception=raise_exception, strftime_now=strftime_now)
    del made.globals["lipsum"], made.filters["random"]
    return made


def one_line(error: BaseException) -> str:
    """An error's message as one line that is safe to show on a terminal."""
    try:
        # str() would add a line of the program that Jinja generated.
        message = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception:  # noqa: BLE001 (it may quote a value that cannot be shown)
        message = "no message"
    if isinstance(error, SecurityError):
        message = f"unsafe: {message}"
    elif not isinstance(error, TemplateError):  # whose messages need no name
        message = f"{type(error).__name__}: {message}"
    line = " ".join(message[: 8 * REASON_CHARACTERS].split())[:REASON_CHARACTERS]
    return "".join(c if c.isprintable() else "?" for c in line) or "no reason given"


class Limits:
    """The limits of a row: processor time in seconds, address space and text in bytes."""

    def __init__(self, seconds: float, memory_bytes: int, output_bytes: int) -> None:
        self._seconds, self._memory, self.output = seconds, memory_bytes, output_bytes
        self._at_start = _address_space()
        # A child inherits signals that the parent ignores or blocks.  The default action ends the
        # process, also within a long call to C.
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])

    def start_clock(self) -> None:
        """Starts the time limit."""
        # Processor time, since a busy machine is not the template's fault.
        signal.setitimer(signal.ITIMER_PROF, self._seconds)

    def stop_clock(self) -> None:
        """Ends the time limit while the process waits for its parent."""
        signal.setitimer(signal.ITIMER_PROF, 0)

    def set_memory(self, request: int) -> None:
        """Limits the address space: that at start, the limit, and the needs of a request."""
        if self._at_start is None:
            return
        most = self._at_start + self._memory + _MEMORY_PER_BYTE * request
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _address_space() -> int | None:
    """This process' address space in bytes; None on systems that do not limit it."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return None


def _drop_rights() -> None:
    """Removes the right to open files, to connect and to start processes.

    Jinja's sandbox already prevents all of it; this is a second defence.  Jinja imports some
    modules only when it uses them, and Python must load them before: hence the unused imports.
    """
    codecs.lookup("unicode_escape")  # Jinja reads string literals with it
    for what in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE):
        with suppress(ValueError, OSError):
            resource.setrlimit(what, (0, 0))


def _render(
    texts: Callable[[dict[str, object]], Iterator[str]],
    rows: Sequence[dict[str, object]],
    limits: Limits,
    most: int,
) -> Iterator[bytes | list[str]]:
    """Each row's text or the reason of its refusal; exceeding a limit ends the process."""
    whole = 0
    for row in rows:
        limits.start_clock()
        try:
            text = "".join(texts(row)).encode()
            if len(text) > limits.output:
                os._exit(TOO_MUCH_OF_A_ROW)
            whole += len(text)
            if whole > most:
                os._exit(TOO_MUCH_OF_A_BATCH)
        except MemoryError:
            raise  # main ends the process
        except UnicodeEncodeError:
            yield ["the text is not Unicode: it holds half a surrogate pair"]
        except Exception as error:  # noqa: BLE001 (a template may raise anything)
            yield [one_line(error)]
        else:
            yield text


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Compiles the template of the first request and renders the rows of all others."""
    first = _read(requests)
    if first is None:
        return
    source = json.loads(first.decode("utf-8", "surrogatepass"))
    limits = Limits(source["seconds"], source["memory_bytes"], source["output_bytes"])
    _drop_rights()
    limits.set_memory(len(first))
    limits.start_clock()
    failure: list[int | str | None] | None = None
    try:
        names = {"bos_token": source["bos_token"], "eos_token": source["eos_token"]}
        template = environment(source["date"]).from_string(source["text"], globals=names)
    except MemoryError:
        raise
    except TemplateSyntaxError as error:
        failure = [error.lineno, one_line(error)]
    except Exception as error:  # noqa: BLE001 (Python compiles what Jinja makes of it)
        failure = [None, one_line(error)]
    limits.stop_clock()
    _write(replies, _to_json(failure).encode())
    if failure:
        return

    def texts(row: dict[str, object]) -> Iterator[str]:
        # render() would build a traceback with the template's lines for every refused row.
        return template.root_render_func(template.new_context(row))

    while (request := _read(requests)) is not None:
        limits.set_memory(len(request))
        rows = marshal.loads(request)  # noqa: S302 (the parent is trusted)
        most = BATCH_TIMES * (limits.output + len(request))
        waiting: list[bytes | list[str]] = []
        size = 0
        for shown in _render(texts, rows, limits, most):
            waiting.append(shown)
            size += len(shown)
            if size > _PART_BYTES:
                limits.stop_clock()
                _write(replies, _reply(waiting))
                waiting, size = [], 0
        limits.stop_clock()
        _write(replies, _reply(waiting))


def _reply(rows: Sequence[bytes | list[str]]) -> bytes:
    head = _to_json([len(row) if isinstance(row, bytes) else row for row in rows]).encode()
    texts = (row for row in rows if isinstance(row, bytes))
    return b"".join((len(head).to_bytes(8, "big"), head, *texts))


def _read(stream: BinaryIO) -> bytes | None:
    """The next frame; None if the parent has closed its end or has ended."""
    head = stream.read(8)
    size = int.from_bytes(head, "big")
    data = stream.read(size) if len(head) == 8 else b""
    return data if len(head) == 8 and len(data) == size else None


def _write(stream: BinaryIO, data: bytes) -> None:
    stream.write(len(data).to_bytes(8, "big"))
    stream.write(data)
    stream.flush()


def main() -> None:
    """Serves standard input until it ends."""
    # Ctrl-C reaches all processes of the terminal; the parent decides what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = 0
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except MemoryError:
        code = OUT_OF_MEMORY
    except OSError:
        code = 1  # the parent ended during a reply
    # There is nothing to flush and nobody to report an error to.
    os._exit(code)


if __name__ == "__main__":
    main()
