"""The set's card: what it holds, its quality, how trainers read it."""

from __future__ import annotations

from collections.abc import Sequence

from transforms.chat.output_columns import OutputColumns, describe
from transforms.dataset.layout import DEFAULT_COLUMNS
from transforms.report.provenance import load_snippet
from transforms.split import SPLITS
from transforms.storage.manifest_parts import Training
from transforms.storage.names import REPORT


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

```python
{load_snippet(shown)}
```
{_training(training) if training else ""}""".encode()


def _quality(figures: Sequence[tuple[str, str]]) -> str:
    rows = "\n".join(f"| {name} | {told} |" for name, told in figures)
    return f"\n| quality | |\n|---|---|\n{rows}\n\n`{REPORT}` has all figures, with examples.\n"


def _training(facts: Training) -> str:
    """How trainers are told of the set; strings as Python writes them, so that line ends show."""
    rows = [
        ("template", f"`{facts.template}`, SHA-256 `{facts.template_sha256}`"),
        ("user marker", f"`{facts.user_marker!r}`"),
        ("assistant marker", f"`{facts.assistant_marker!r}`"),
        ("end of a text (EOS)", f"`{facts.eos_token!r}`"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    snippets = "\n\n".join(
        f"**{name}**\n\n```\n{snippet}\n```" for name, snippet in (facts.snippets or {}).items()
    )
    return f"\n## Training\n\n| | |\n|---|---|\n{table}\n\n{snippets}\n"
