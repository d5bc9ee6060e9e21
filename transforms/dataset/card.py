"""The set's card: what it holds, its quality, how trainers read it.

Names and values of the source stand in code spans, so that no Markdown or HTML in them counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from transforms.chat.output_columns import OutputColumns, describe
from transforms.dataset.layout import DEFAULT_COLUMNS
from transforms.dataset.trainer_snippets import LANGUAGES
from transforms.report.provenance import load_snippet
from transforms.split import SPLITS
from transforms.storage.manifest_parts import Training
from transforms.storage.names import REPORT
from transforms.text.visible import visible, visible_lines

_TICKS = re.compile("`+")
_MARKED = re.compile(r"[\\`*_\[\]<>|&~#]")


def card(
    facts: str,
    splits: Sequence[str] = SPLITS,
    output_columns: OutputColumns = DEFAULT_COLUMNS,
    training: Training | None = None,
    figures: Sequence[tuple[str, str]] = (),
) -> bytes:
    """The card: front matter that names the files of ``splits``, the columns, ``facts`` as prose,
    ``training`` (see ``transforms.dataset.trainer_facts``), how trainers are told of the set, and
    ``figures``, (name, what is told) of its quality, where there is a report with all of them.

    ``splits`` are those that hold rows: ``load_dataset`` raises ValueError for an empty one.
    ``facts`` is Markdown: what it tells of the source is in spans of ``code_span``.
    """
    columns = "\n".join(
        f"| `{name}` | {what} |" for name, what in describe(output_columns.features)
    )
    shown = output_columns.columns[0]
    configs = "\n".join(f"  - split: {split}\n    path: {split}/*.arrow" for split in splits)
    return f"""---
configs:
- config_name: default
  data_files:
{configs}
---

# Prepared instruction data

{facts}
{_quality(figures) if figures else ""}
| column | what it holds |
|---|---|
{columns}

{fenced(load_snippet(shown), "python")}
{_training(training) if training else ""}""".encode("utf-8", "replace")


def code_span(text: str) -> str:
    """A text as one Markdown code span, which shows it as it is and runs nothing of it."""
    shown = visible(text)
    ticks = "`" * (1 + max(map(len, _TICKS.findall(shown)), default=0))
    space = " " if shown[:1] in ("", "`", " ") or shown[-1:] in ("`", " ") else ""
    return f"{ticks}{space}{shown}{space}{ticks}"


def escaped(text: str) -> str:
    """A text as prose or a cell of a table, without a meaning in Markdown or HTML."""
    return _MARKED.sub(r"\\\g<0>", visible(text))


def fenced(text: str, language: str = "") -> str:
    """A text of some lines as a code block that it cannot leave."""
    shown = visible_lines(text)
    ticks = "`" * max(3, 1 + max(map(len, _TICKS.findall(shown)), default=0))
    return f"{ticks}{language}\n{shown}\n{ticks}"


def _quality(figures: Sequence[tuple[str, str]]) -> str:
    rows = "\n".join(f"| {escaped(name)} | {escaped(told)} |" for name, told in figures)
    return f"\n| quality | |\n|---|---|\n{rows}\n\n`{REPORT}` has all figures, with examples.\n"


def _training(facts: Training) -> str:
    """How trainers are told of the set; strings as Python writes them, so that line ends show."""
    notes = [*(facts.notes or ())]
    notes.append("`FOLDER` is the folder of this set, or its `s3://` address.")
    strings = [
        ("template", f"{code_span(facts.template or '')}, SHA-256 `{facts.template_sha256}`"),
        ("user marker", code_span(repr(facts.user_marker))),
        ("assistant marker", code_span(repr(facts.assistant_marker))),
        ("end of a text (EOS)", code_span(repr(facts.eos_token))),
    ]
    settings = [
        f"**{trainer}**\n\n{fenced(snippet, LANGUAGES.get(trainer, ''))}"
        for trainer, snippet in (facts.snippets or {}).items()
    ]
    settings += [f"**{trainer}**: {told}" for trainer, told in (facts.instead or {}).items()]
    parts = [*notes, "\n".join(f"- {name}: {value}" for name, value in strings), *settings]
    return "\n## Training\n\n" + "\n\n".join(parts) + "\n"
