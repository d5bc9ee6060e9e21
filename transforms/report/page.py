"""The page itself: a manifest and some rows, put into ``report.jinja``.

Everything that comes from a row or a manifest is escaped by the template's engine; the page has no
script, and its policy forbids any, as it forbids to load anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from transforms.chat.segments import Markers
from transforms.report import length_section, provenance, row_sections
from transforms.report.elements import Figure, number, plain
from transforms.report.headline import headlines
from transforms.report.manifest_view import ManifestView
from transforms.report.samples import MOST_CHARS, Chunks, Files, read_rejects, read_samples

BEGINNING = b'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<meta name="generator" '
"""Every report begins like that."""

_MOST_TOKENS = 1000
_CONTROLS = {c: 0x2400 + c for c in range(32) if chr(c) not in "\t\n"} | {0x7F: 0x2421}


def page(manifest: Mapping[str, Any], files: Files, chunks: Chunks, where: str) -> bytes:
    """The report on a set as HTML in UTF-8; equal sets have equal reports.

    ``files`` are those of the manifest, in its order; ``chunks`` reads one.  Raises
    ``VerificationFailed``, naming the set at ``where``, if it is not what it should be.
    """
    # Through JSON, as a manifest that was read has other types than one that is being made.
    told = ManifestView(json.loads(json.dumps(provenance.known(manifest))), where)
    reasons = [name for name, _ in told.part("counts", "rejected", "by_reason").items()]
    rejects = read_rejects(files, chunks, reasons)
    return (
        _template()
        .render(
            name=told.part("dataset").text() if told.part("dataset") else "",
            headlines=headlines(told),
            before=(
                row_sections.read(told, rejects),
                provenance.source(told),
                row_sections.splits(told, files),
                length_section.lengths(told),
                row_sections.duplicates(told),
                row_sections.leaks(told),
                row_sections.overlap(told),
                row_sections.balance(told),
            ),
            samples=read_samples(files, chunks, _marks(told), where),
            after=(provenance.provenance(told), provenance.loading(told)),
            most_chars=MOST_CHARS,
        )
        .encode("utf-8", "replace")
    )


def _marks(told: ManifestView) -> Markers:
    training, template = told.part("training"), told.part("plan", "template")
    user, assistant = training.part("user_marker"), training.part("assistant_marker")
    tokens = template.part("control_tokens").entries(_MOST_TOKENS)
    return Markers(
        user.text() if user else "",
        assistant.text() if assistant else "",
        tuple(token.text() for token in tokens),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("transforms.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "count": _count, "plain": plain, "shown": _shown}
    environment.tests["figure"] = lambda value: isinstance(value, Figure)
    return environment.get_template("report.jinja")


def _count(value: int) -> str:
    return number(Figure(value))


def _shown(text: str) -> str:
    """A text of a row with its control characters as pictures, which HTML cannot hold."""
    return text.translate(_CONTROLS)
