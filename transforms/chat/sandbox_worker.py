"""The process in which a chat template runs: standard library and Jinja alone, under limits.

``sandbox`` starts this file by its path, and asks; it is never imported on that way, so a child
loads neither this package nor Arrow and is ready in a tenth of a second.

Both directions carry frames: eight bytes of length, then the content.  The first request is the
template with its limits, as JSON, and its reply is None or what does not compile.  Every later
request is a list of rows as Python marshals it: parent and child are one Python, and JSON took
longer than rendering.  The replies are not to be trusted, so they are plain: eight bytes of length,
a JSON list with the size of each text or a refusal, then the texts' UTF-8.  Together they have an
entry for each row.  A limit that is passed ends the process, and how it ended says which: what has
run out of memory cannot be relied on to write a message.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # Jinja's own folder, wherever the parent has it from: the environment that could name it is
    # empty here.  It comes last, so nothing beside Jinja hides a part of Python.
    sys.path += sys.argv[1:]

import codecs
import html  # noqa: F401 (see _close_doors)
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
"""A batch's texts are at most so many times the bytes of its rows and of the largest text."""

_PART_BYTES = 2**20
"""A reply leaves in parts of about this size, so that texts do not wait here for their batch."""

_MEMORY_PER_BYTE = 32
"""Python's objects for a request take at most about this many times its bytes."""

_to_json = json.JSONEncoder(ensure_ascii=False).encode


class Generation(Extension):
    """``{% generation %}…{% endgeneration %}``: what the model wrote; renders as its body does."""

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
    """Jinja's own rules of what a template may reach, found in about half the time."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._answers: dict[tuple[type, str], bool] = {}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may have ``obj.attr``; Jinja asks for the type and the name alone."""
        asked = (type(obj), attr)
        answer = self._answers.get(asked)
        if answer is None:
            answer = super().is_safe_attribute(obj, attr, value)
            if len(self._answers) < 1000:  # a template can make names up
                self._answers[asked] = answer
        return answer

    def getattr(self, obj: Any, attribute: str) -> Any:
        """``obj.attribute``; of a dict a key, at once where it cannot be one of dict's methods."""
        if type(obj) is dict and attribute not in _OF_DICTS:
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)


def environment(date: str) -> Environment:
    """Jinja as transformers' ``apply_chat_template`` sets it up, less what differs between runs.

    ``strftime_now`` formats ``date`` (YYYY-MM-DD), and neither ``lipsum`` nor ``random`` is there.
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

    # Jinja's own escapes what HTML would; a model is to see the text.
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
    """What an error says, on one line that may be shown on a terminal."""
    try:
        # Python's own would add a line of the program that Jinja made.
        said = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception:  # noqa: BLE001 (it may quote a value that cannot be shown)
        said = "no message"
    if isinstance(error, SecurityError):
        said = f"unsafe: {said}"
    elif not isinstance(error, TemplateError):  # whose messages need no name
        said = f"{type(error).__name__}: {said}"
    words = " ".join(said[: 8 * REASON_CHARACTERS].split())[:REASON_CHARACTERS]
    return "".join(c if c.isprintable() else "?" for c in words) or "no reason given"


class Limits:
    """What one row may take: seconds of processor time, bytes of address space and of text."""

    def __init__(self, seconds: float, memory_bytes: int, output_bytes: int) -> None:
        self._seconds, self._memory, self.output = seconds, memory_bytes, output_bytes
        self._at_start = _address_space()
        # A signal that the parent ignores or holds back would be so here, too; untouched it ends
        # the process, within a long call to C as well.
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])

    def start_clock(self) -> None:
        """Gives whatever runs next its whole time."""
        # Processor time: a machine that stood still for long is not the template's fault.
        signal.setitimer(signal.ITIMER_PROF, self._seconds)

    def stop_clock(self) -> None:
        """Lets the process wait for its parent as long as it takes."""
        signal.setitimer(signal.ITIMER_PROF, 0)

    def set_memory(self, request: int) -> None:
        """Bounds the address space to that at start, the limit, and what ``request`` bytes need."""
        if self._at_start is None:
            return
        wanted = self._at_start + self._memory + _MEMORY_PER_BYTE * request
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


def _address_space() -> int | None:
    """This process' address space in bytes; None on systems that neither tell nor limit it."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return None


def _close_doors() -> None:
    """Takes from this process what no template needs: to open, to connect and to start anything.

    The sandbox keeps templates from all of it; this is for the day it does not.  Python must have
    loaded all that Jinja imports as late as it is called, hence the unused imports above.
    """
    codecs.lookup("unicode_escape")  # Jinja reads string literals with it
    for what in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE):
        with suppress(ValueError, OSError):
            resource.setrlimit(what, (0, 0))


def _render(
    texts: Callable[[dict[str, Any]], Iterator[str]],
    rows: Sequence[dict[str, Any]],
    limits: Limits,
    most: int,
) -> Iterator[bytes | list[str]]:
    """Each row's text, or why there is none; ends the process where a limit is passed."""
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
    told = json.loads(first.decode("utf-8", "surrogatepass"))
    limits = Limits(told["seconds"], told["memory_bytes"], told["output_bytes"])
    _close_doors()
    limits.set_memory(len(first))
    limits.start_clock()
    wrong: list[int | str | None] | None = None
    try:
        names = {"bos_token": told["bos_token"], "eos_token": told["eos_token"]}
        template = environment(told["date"]).from_string(told["text"], globals=names)
    except MemoryError:
        raise
    except TemplateSyntaxError as error:
        wrong = [error.lineno, one_line(error)]
    except Exception as error:  # noqa: BLE001 (Python compiles what Jinja makes of it)
        wrong = [None, one_line(error)]
    limits.stop_clock()
    _write(replies, _to_json(wrong).encode())
    if wrong:
        return

    def texts(row: dict[str, Any]) -> Iterator[str]:
        # render() would make a traceback with the template's lines for every refused row.
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
    """The next frame; None where the parent has closed its end, or is no more."""
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
    # A user's Ctrl-C reaches all processes of the terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = 0
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except MemoryError:
        code = OUT_OF_MEMORY
    except OSError:
        code = 1  # the parent went away while it was written to
    # Nothing is left to flush, and nobody to tell what cannot be.
    os._exit(code)


if __name__ == "__main__":
    main()
