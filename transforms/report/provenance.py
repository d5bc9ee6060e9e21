"""The page's sections on where a set comes from, why its columns, and how it is loaded."""

from __future__ import annotations

from transforms.report.elements import Example, Figure, Section, Table, Words, at
from transforms.storage.manifest import ManifestFacts
from transforms.storage.manifest_parts import Fields, PlanFacts, Source, Template, Training
from transforms.storage.names import MANIFEST

_MOST_FILES = 20
_MOST_COLUMNS = 50
_MOST_KEYS = 20


def source(manifest: ManifestFacts) -> Section:
    """Which files of which data set, and which of their columns became what, and why."""
    plan = manifest.plan or PlanFacts()
    own = plan.source or Source()
    rows: list[tuple[Words, ...]] = [
        (("data set",), (manifest.dataset or "unknown",)),
        (("revision",), (manifest.revision or "unknown",)),
    ]
    for name, value in (("kind", own.kind), ("config", own.config), ("split", own.split)):
        if value is not None:
            rows.append(((name,), (value,)))
    if own.format:
        rows.append((("format",), (own.format.name.replace("_", " "),)))
    if plan.max_samples is not None:
        first = Figure(plan.max_samples, at("plan", "max_samples"))
        rows.append((("first rows only",), (first,)))
    tables = [Table("Source", ("what", "which"), tuple(rows))]
    files = own.files or ()
    shown = tuple(
        ((file.name,), (Figure(file.bytes, at("plan", "source", "files", n, "bytes")),))
        for n, file in enumerate(files[:_MOST_FILES])
    )
    if shown:
        tables.append(Table("Files read", ("file", "bytes"), shown))
    words: list[Words] = []
    if len(files) > len(shown):
        words.append((Figure(len(files) - len(shown)), " further files were read."))
    if plan.fields:
        words.append((f"Rule that chose the columns: {plan.fields.rule}.",))
        if plan.fields.guess:
            words.append(("The columns are a guess, as their names do not say what they hold.",))
        tables.append(Table("Columns chosen", ("for", "column"), _mapping(plan.fields)))
    else:
        words.append(("The chosen columns are unknown.",))
    if plan.columns is not None:
        types = tuple(((name,), (plan.columns[name],)) for name in sorted(plan.columns))
        tables.append(Table("Columns read", ("column", "type"), types[:_MOST_COLUMNS]))
    return Section("source", "Source and columns", tuple(words), tuple(tables))


def _mapping(fields: Fields) -> tuple[tuple[Words, ...], ...]:
    columns = (
        ("instruction", fields.instruction),
        ("response", fields.response),
        ("turns", fields.turns),
        ("role key", fields.role_key),
        ("text key", fields.text_key),
        ("reasoning", fields.reasoning),
        ("system", fields.system),
        ("history", fields.history),
        ("tools", fields.tools),
    )
    return tuple(
        ((label,), (names if isinstance(names, str) else " + ".join(names),))
        for label, names in columns
        if names
    )


def provenance(manifest: ManifestFacts) -> Section:
    """What is needed to make this set again, and to recognise it."""
    plan, quality = manifest.plan or PlanFacts(), manifest.quality
    template, training = plan.template or Template(), manifest.training or Training()
    version = Figure(manifest.format_version, at("format_version"))
    rows: list[tuple[Words, ...]] = [
        (("plan digest",), (manifest.plan_digest,)),
        (("format version of the manifest",), (version,)),
    ]
    for label, number, place in (
        (
            "version of the quality figures",
            quality.version if quality else None,
            at("quality", "version"),
        ),
        ("version of the text rules", template.version, at("plan", "template", "version")),
        (
            "version of the split rule",
            plan.split.version if plan.split else None,
            at("plan", "split", "version"),
        ),
    ):
        if number is not None:
            rows.append(((label,), (Figure(number, place),)))
    for label, value in (
        ("template", training.template),
        ("template, SHA-256", training.template_sha256),
        ("system prompt for rows without one", template.system_prompt),
        ("reasoning", template.think),
        ("control tokens in rows", template.control_token_policy),
        ("user marker", training.user_marker),
        ("assistant marker", training.assistant_marker),
        ("end of a text (EOS)", training.eos_token),
    ):
        if value is not None:
            # As Python writes it, so that line ends and blanks are seen.
            text = repr(value) if "marker" in label or "EOS" in label else value
            rows.append(((label,), (text,)))
    words: tuple[Words, ...] = ()
    if manifest.config is not None:
        again = (
            f"prepare --config-file {MANIFEST} makes the same bytes from the same source. It names "
            "no files of a machine: give --dataset and other files again."
        )
        words = ((again,),)
    return Section(
        "provenance", "Provenance", words, (Table("Made by", ("what", "which"), tuple(rows)),)
    )


def loading(manifest: ManifestFacts) -> Section:
    """The card's snippets; FOLDER is the place of the set."""
    columns = list(manifest.shape.names) if manifest.shape else []
    first = "messages" if columns == ["messages"] else "text"
    if columns == ["prompt-completion"]:
        first = "prompt"
    snippets = (manifest.training and manifest.training.snippets) or {}
    examples = [Example("Python", (("", load_snippet(first)),))]
    for name in sorted(snippets)[:_MOST_KEYS]:
        examples.append(Example(name, (("", snippets[name]),)))
    training = manifest.training or Training()
    words: list[Words] = [("FOLDER is the folder of the set, or its s3:// address.",)]
    words += [(note,) for note in training.notes or ()]
    words += [(f"{trainer}: {told}",) for trainer, told in sorted((training.instead or {}).items())]
    return Section("loading", "How to load it", tuple(words[:_MOST_KEYS]), examples=tuple(examples))


def load_snippet(column: str) -> str:
    """Python that loads the set and shows a column; ``FOLDER`` stands for its place."""
    return (
        "from datasets import load_from_disk\n\n"
        'data = load_from_disk("FOLDER")\n'
        f'print(data["train"][0]["{column}"])'
    )
