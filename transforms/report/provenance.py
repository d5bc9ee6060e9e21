"""The page's sections on where a set comes from, why its columns, and how it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transforms.report.elements import Example, Figure, Section, Table, Words
from transforms.report.manifest_view import ManifestView
from transforms.storage.names import MANIFEST

_MOST_FILES = 20
_MOST_COLUMNS = 50
_MOST_KEYS = 20
_OF_A_MAPPING = (
    *("instruction", "response", "turns", "role_key", "text_key"),
    *("reasoning", "system", "history", "tools"),
)


def known(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What of a manifest stands on the page; what grows with the set or differs by run does not."""
    names = (
        *("format_version", "dataset", "revision", "plan_digest", "counts"),
        *("quality", "shape", "training", "config"),
    )
    told = {name: manifest.get(name) for name in names}
    plan = manifest.get("plan")
    if isinstance(plan, Mapping):
        kept = {name: value for name, value in plan.items() if name != "units"}
        source = plan.get("source")
        if isinstance(source, Mapping) and isinstance(source.get("files"), list):
            files = source["files"][:_MOST_FILES]
            more = len(source["files"]) - len(files)
            kept["source"] = {**source, "files": files, "other_files": more}
        told["plan"] = kept
    return told


def source(manifest: ManifestView) -> Section:
    """Which files of which data set, and which of their columns became what, and why."""
    plan = manifest.part("plan")
    own, fields = plan.part("source"), plan.part("fields")
    rows: list[tuple[Words, ...]] = [
        (("data set",), (_text(manifest.part("dataset")),)),
        (("revision",), (_text(manifest.part("revision")),)),
    ]
    for name in ("kind", "config", "split"):
        if own.part(name):
            rows.append(((name,), (own.part(name).text(),)))
    if own.part("format"):
        rows.append((("format",), (own.part("format", "name").text().replace("_", " "),)))
    if plan.part("max_samples"):
        rows.append((("only the first rows",), (plan.part("max_samples").count(),)))
    tables = [Table("Source", ("what", "which"), tuple(rows))]
    files = tuple(
        ((one.part("name").text(),), (one.part("bytes").count(),))
        for one in own.part("files").entries(_MOST_FILES)
    )
    if files:
        tables.append(Table("Files read", ("file", "bytes"), files))
    words: list[Words] = []
    if own.part("other_files") and (more := own.part("other_files").count().value):
        words.append((Figure(more), " further files were read."))
    if fields:
        rule = fields.part("rule").text()
        words.append((f"The columns were chosen by this rule: {rule}.",))
        tables.append(Table("Columns chosen", ("for", "column"), _mapping(fields)))
    else:
        words.append(("Which columns were chosen, and why, is not known.",))
    if plan.part("columns"):
        types = tuple(((name,), (one.text(),)) for name, one in plan.part("columns").items())
        tables.append(Table("Columns read", ("column", "type"), types[:_MOST_COLUMNS]))
    return Section("source", "Source and columns", tuple(words), tuple(tables))


def _mapping(fields: ManifestView) -> tuple[tuple[Words, ...], ...]:
    rows: list[tuple[Words, ...]] = []
    for name in _OF_A_MAPPING:
        one = fields.part(name)
        if one and one.value != []:
            names = one.texts() if isinstance(one.value, list) else [one.text()]
            rows.append(((name.replace("_", " "),), (" + ".join(names),)))
    return tuple(rows)


def provenance(manifest: ManifestView) -> Section:
    """What one needs to make the very set again, and to know that it is the one."""
    plan, template = manifest.part("plan"), manifest.part("plan", "template")
    rows: list[tuple[Words, ...]] = [
        (("plan digest",), (manifest.part("plan_digest").text(),)),
        (("format version of the manifest",), (manifest.part("format_version").count(),)),
    ]
    for label, found in (
        ("version of the quality figures", manifest.part("quality", "version")),
        ("version of the text rules", template.part("version")),
        ("version of the split rule", plan.part("split", "version")),
    ):
        if found:
            rows.append(((label,), (found.count(),)))
    training = manifest.part("training")
    for label, found in (
        ("template", training.part("template")),
        ("template, SHA-256", training.part("template_sha256")),
        ("system prompt for rows without one", template.part("system_prompt")),
        ("reasoning", template.part("think")),
        ("control tokens in rows", template.part("control_token_policy")),
        ("before the user's part", training.part("user_marker")),
        ("before the assistant's part", training.part("assistant_marker")),
        ("end of a text", training.part("eos_token")),
    ):
        if found:
            value = found.text()
            # As Python writes it, so that line ends and blanks are seen.
            shown = repr(value) if label.startswith(("before", "end")) else value
            rows.append(((label,), (shown,)))
    words: tuple[Words, ...] = ()
    if manifest.part("config"):
        again = f"prepare --config-file {MANIFEST} makes the same bytes again from the same source."
        words = ((again,),)
    return Section(
        "provenance", "Provenance", words, (Table("Made by", ("what", "which"), tuple(rows)),)
    )


def loading(manifest: ManifestView) -> Section:
    """The card's snippets; FOLDER is the place of the set."""
    columns = manifest.part("shape", "names")
    first = "messages" if columns and columns.texts() == ["messages"] else "text"
    if columns and columns.texts() == ["prompt-completion"]:
        first = "prompt"
    examples = [Example("Python", (("", load_snippet(first)),))]
    for name, one in list(manifest.part("training", "snippets").items())[:_MOST_KEYS]:
        examples.append(Example(name, (("", one.text()),)))
    words: Words = ("FOLDER stands for the set's folder, or its s3:// address.",)
    return Section("loading", "How to load it", (words,), examples=tuple(examples))


def _text(found: ManifestView) -> str:
    return found.text() if found and found.value != "" else "not known"


def load_snippet(column: str) -> str:
    """Python that loads the set and shows a column; ``FOLDER`` stands for its place."""
    return (
        "from datasets import load_from_disk\n\n"
        'data = load_from_disk("FOLDER")\n'
        f'print(data["train"][0]["{column}"])'
    )
