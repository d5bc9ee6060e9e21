"""The page itself: a manifest and some rows, put into ``report.jinja``.

Everything that comes from a row or a manifest is escaped by the template's engine; the page has no
script, and its policy forbids any, as it forbids to load anything.
"""

from __future__ import annotations

from functools import cache

import jinja2

from transforms.chat.segments import Markers
from transforms.report import length_section, provenance, row_sections
from transforms.report.elements import Figure, number, plain
from transforms.report.headline import headlines
from transforms.report.samples import MOST_CHARS, Chunks, Files, read_rejects, read_samples
from transforms.storage.manifest import ManifestFacts
from transforms.storage.manifest_parts import PlanFacts, Quality, Template, Training

BEGINNING = b'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<meta name="generator" '
"""Every report begins like that."""

_MOST_TOKENS = 1000
_CONTROLS = {c: 0x2400 + c for c in range(32) if chr(c) not in "\t\n"} | {0x7F: 0x2421}


def page(manifest: ManifestFacts, files: Files, chunks: Chunks, where: str) -> bytes:
    """The report on a set as HTML in UTF-8; equal sets have equal reports.

    ``files`` are those of the manifest, in its order; ``chunks`` reads one.  Raises
    ``VerificationFailed``, naming the set at ``where``, if it is not what it should be.
    """
    counts, quality = manifest.counts, manifest.quality or Quality()
    rejects = read_rejects(files, chunks, sorted(counts.rejected.by_reason))
    return (
        _template()
        .render(
            name=manifest.dataset or "",
            headlines=headlines(manifest),
            before=(
                row_sections.read(counts, rejects),
                provenance.source(manifest),
                row_sections.splits(manifest, files),
                length_section.lengths(quality),
                row_sections.duplicates(counts, quality),
                row_sections.leaks(manifest),
                row_sections.overlap(quality),
                row_sections.balance(quality),
            ),
            samples=read_samples(files, chunks, _marks(manifest), where),
            after=(provenance.provenance(manifest), provenance.loading(manifest)),
            most_chars=MOST_CHARS,
        )
        .encode("utf-8", "replace")
    )


def _marks(manifest: ManifestFacts) -> Markers:
    training = manifest.training or Training()
    template = (manifest.plan or PlanFacts()).template or Template()
    return Markers(
        training.user_marker or "",
        training.assistant_marker or "",
        (template.control_tokens or ())[:_MOST_TOKENS],
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("transforms.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
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
