"""What a trainer must be told of a set: its template, its markers, and what it learns from it.

Kept in the manifest and shown on the card.  A trainer for which no settings are safe gets a
sentence that says how to prepare the set for it.
"""

from __future__ import annotations

from transforms.chat.output_columns import OutputColumns
from transforms.chat.template import ChatFormat
from transforms.dataset import trainer_snippets
from transforms.dataset.trl_templates import KNOWN, can_mask
from transforms.storage.manifest_parts import Training


def training_facts(
    chat: ChatFormat, output_columns: OutputColumns, with_validation: bool = True
) -> Training:
    """Names, strings and sentences for trainers, with a snippet for each that can use the set.

    Args:
        chat: The chat format of the texts.
        output_columns: The columns of the set.
        with_validation: Whether trainers are told of the validation split.
    """
    template = chat.template
    snippets, instead = trainer_snippets.snippets(chat, output_columns, with_validation)
    return Training(
        template=template.name,
        template_sha256=template.sha256,
        user_marker=template.user_marker,
        assistant_marker=template.assistant_marker,
        eos_token=template.eos,
        bos_in_text=bool(chat.start),
        notes=tuple(_notes(chat, output_columns)),
        snippets=snippets,
        instead=instead,
    )


def _notes(chat: ChatFormat, output_columns: OutputColumns) -> list[str]:
    """What the columns mean for the loss, the most important first."""
    names, template = output_columns.names, chat.template
    masked = "messages" in names and can_mask(template)
    notes = []
    if names == ("text",):
        notes.append(
            "TRL and axolotl learn the prompts of this set, too: they compute the loss on the "
            "whole `text`. `--columns prompt-completion` trains on the last answer only, "
            "`--columns messages` on every answer."
        )
    elif "text" in names and not output_columns.with_prompts and not masked:
        notes.append(
            "TRL learns the prompts of this set, too: it computes the loss on the whole `text`. "
            "`--columns prompt-completion` trains on the last answer only."
        )
    if output_columns.with_prompts:
        notes.append(
            "Only the last answer of a conversation is trained. Earlier answers are part of its "
            "`prompt`."
        )
    if "messages" in names:
        notes.append(
            "Trainers render `messages` with the model's own template, so what they train on can "
            "differ from `text` and be longer. `--max-tokens` and token counts hold for `text`."
        )
        if masked and template.name == "llama3":
            notes.append(
                "TRL knows the template of Llama 3, and stops at that of Llama 3.1 and later: use "
                "`--columns prompt-completion` for those."
            )
        if masked and "qwen3" in (template.name, KNOWN.get(template.sha256)):
            notes.append(
                "TRL's template for Qwen3 writes an empty `<think>` block into every answer "
                "without reasoning; the published one writes it into the last answer only."
            )
    if chat.start and names != ("messages",):
        notes.append(
            "Each text begins with the BOS token. A trainer that adds one, too, has it twice; "
            "prepare without `--bos keep` for those."
        )
    return notes
